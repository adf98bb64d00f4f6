//! The limits of Workers KV and the exact texts of their errors (Cloudflare contract, section 2.2).
//!
//! An error of kind [`ErrorKind::InvalidInput`] made here holds the whole text that JavaScript sees. Any other error is given
//! the same frame by [`framed`].

use aerostack_bindings::{Error, ErrorKind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 512;
/// The longest metadata, in bytes of JSON text.
pub const MAX_METADATA_BYTES: usize = 1024;
/// The longest value, and the most that one bulk get returns, in bytes.
pub const MAX_VALUE_BYTES: usize = 25 * 1024 * 1024;
/// The most keys of one bulk get.
pub const MAX_BULK_KEYS: usize = 100;
/// The most keys of one page of a list, and how many there are where none is asked for.
pub const MAX_LIST_KEYS: i32 = 1000;
/// The least `cacheTtl` of a get, in seconds.
pub const MIN_CACHE_TTL_SECONDS: i32 = 30;
/// The least lifetime of an entry, in seconds, where `[cache] min_ttl` says nothing else.
pub const DEFAULT_MIN_TTL_SECONDS: u64 = 60;

/// The operation that an error text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `get`, `getWithMetadata` and `list`.
    Get,
    /// `get` and `getWithMetadata` of several keys.
    GetBulk,
    /// `put`.
    Put,
    /// `delete`.
    Delete,
}

/// When an entry is to expire, as the caller said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// So many seconds from now (`expirationTtl`).
    After(i32),
    /// At this second since the UNIX epoch (`expiration`).
    At(i32),
}

/// What a bulk get makes of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkForm {
    /// Strings.
    Text,
    /// Parsed JSON.
    Json,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::GetBulk => "GET_BULK",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Refuses keys that are too long. Empty keys, `.` and `..` are `TypeError`s, which the JavaScript face throws.
pub fn check_key(operation: Operation, key: &str) -> Result<()> {
    if key.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    let length = key.len();
    refuse(
        operation,
        414,
        format_args!("UTF-8 encoded length of {length} exceeds key length limit of {MAX_KEY_BYTES}."),
    )
}

/// The second at which an entry written at `now` (seconds since the UNIX epoch) expires.
pub fn expires_at(expiry: Expiry, now: u64, min_ttl_seconds: u64) -> Result<Option<u64>> {
    match expiry {
        Expiry::Never => Ok(None),
        Expiry::After(ttl) => {
            let Some(seconds) = u64::try_from(ttl).ok().filter(|seconds| *seconds > 0) else {
                return refuse(
                    Operation::Put,
                    400,
                    format_args!("Invalid expiration_ttl of {ttl}. Please specify integer greater than 0."),
                );
            };
            if seconds < min_ttl_seconds {
                return refuse(
                    Operation::Put,
                    400,
                    format_args!("Invalid expiration_ttl of {ttl}. Expiration TTL must be at least {min_ttl_seconds}."),
                );
            }
            Ok(Some(now + seconds))
        }
        Expiry::At(expiration) => {
            let Some(seconds) = u64::try_from(expiration).ok().filter(|seconds| *seconds > now) else {
                return refuse(
                    Operation::Put,
                    400,
                    format_args!(
                        "Invalid expiration of {expiration}. Please specify integer greater than the current number of \
                         seconds since the UNIX epoch."
                    ),
                );
            };
            if seconds < now + min_ttl_seconds {
                return refuse(
                    Operation::Put,
                    400,
                    format_args!(
                        "Invalid expiration of {expiration}. Expiration times must be at least {min_ttl_seconds} seconds \
                         in the future."
                    ),
                );
            }
            Ok(Some(seconds))
        }
    }
}

/// Refuses metadata whose JSON text is too long.
pub fn check_metadata(json: &str) -> Result<()> {
    let length = json.len();
    if length <= MAX_METADATA_BYTES {
        return Ok(());
    }
    refuse(Operation::Put, 413, format_args!("Metadata length of {length} exceeds limit of {MAX_METADATA_BYTES}."))
}

/// Refuses a value of so many bytes that it is too long.
pub fn check_value_length(length: u64) -> Result<()> {
    if length <= MAX_VALUE_BYTES as u64 {
        return Ok(());
    }
    refuse(Operation::Put, 413, format_args!("Value length of {length} exceeds limit of {MAX_VALUE_BYTES}."))
}

/// Refuses a `cacheTtl` that is too short. It has no other effect: there is one place where entries are.
pub fn check_cache_ttl(operation: Operation, seconds: i32) -> Result<()> {
    if seconds >= MIN_CACHE_TTL_SECONDS {
        return Ok(());
    }
    refuse(
        operation,
        400,
        format_args!("Invalid cache_ttl of {seconds}. Cache TTL must be at least {MIN_CACHE_TTL_SECONDS}."),
    )
}

/// The form a bulk get is to return, from the name the caller gave; empty means none was given.
pub fn bulk_form(name: &str) -> Result<BulkForm> {
    match name {
        "" | "text" => Ok(BulkForm::Text),
        "json" => Ok(BulkForm::Json),
        _ => refuse(Operation::GetBulk, 400, format_args!("\"{name}\" is not a valid type. Use \"json\" or \"text\"")),
    }
}

/// Refuses too many keys, too few, and keys that name nothing.
pub fn check_bulk_keys(keys: &[String]) -> Result<()> {
    if keys.len() > MAX_BULK_KEYS {
        return refuse(Operation::GetBulk, 400, format_args!("You can request a maximum of {MAX_BULK_KEYS} keys"));
    }
    if keys.is_empty() {
        return refuse(Operation::GetBulk, 400, format_args!("You must request a minimum of 1 key"));
    }
    for key in keys {
        match key.as_str() {
            "" => return refuse(Operation::GetBulk, 400, format_args!("Key names must not be empty")),
            "." | ".." => {
                return refuse(
                    Operation::GetBulk,
                    400,
                    format_args!("Illegal key name \"{key}\". Please use a different name."),
                );
            }
            _ => check_key(Operation::GetBulk, key)?,
        }
    }
    Ok(())
}

/// Refuses a bulk get that found more bytes than one answer may hold.
pub fn check_bulk_bytes(total: usize) -> Result<()> {
    if total <= MAX_VALUE_BYTES {
        return Ok(());
    }
    refuse(Operation::GetBulk, 413, format_args!("Total size of request exceeds the limit of 25MB"))
}

/// The error of a bulk get as JSON that met a value which is none.
pub fn bulk_value_is_not_json() -> Error {
    error(Operation::GetBulk, 400, format_args!("At least one of the requested keys corresponds to a non-json value"))
}

/// How many keys a page of a list holds. A limit below one counts as not given.
pub fn list_limit(limit: i32) -> Result<usize> {
    if limit > MAX_LIST_KEYS {
        return refuse(
            Operation::Get,
            400,
            format_args!("Invalid key_count_limit of {limit}. Please specify an integer less than {MAX_LIST_KEYS}."),
        );
    }
    Ok(usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(MAX_LIST_KEYS as usize))
}

/// The cursor of the page that begins after `key`.
pub fn cursor_after(key: &str) -> String {
    BASE64.encode(key)
}

/// The key that `cursor` was made of; `None` for the empty cursor, which means the beginning.
pub fn key_of_cursor(cursor: &str) -> Result<Option<String>> {
    if cursor.is_empty() {
        return Ok(None);
    }
    match BASE64.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(key) => Ok(Some(key)),
        None => refuse(
            Operation::Get,
            400,
            format_args!("Invalid cursor. Please specify the cursor that a previous list() returned."),
        ),
    }
}

/// The text of `error` that JavaScript sees after `operation` failed with it.
pub fn framed(operation: Operation, error: &Error) -> String {
    let status = match error.kind() {
        ErrorKind::InvalidInput => return error.message().to_owned(),
        ErrorKind::RateLimited => 429,
        ErrorKind::Unavailable => 503,
        ErrorKind::Timeout => 504,
        _ => 500,
    };
    frame(operation, status, format_args!("{}", error.message()))
}

fn refuse<T>(operation: Operation, status: u16, text: std::fmt::Arguments<'_>) -> Result<T> {
    Err(error(operation, status, text))
}

fn error(operation: Operation, status: u16, text: std::fmt::Arguments<'_>) -> Error {
    Error::new(ErrorKind::InvalidInput, frame(operation, status, text))
}

fn frame(operation: Operation, status: u16, text: std::fmt::Arguments<'_>) -> String {
    format!("KV {} failed: {status} {text}", operation.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1000;

    fn text<T: std::fmt::Debug>(outcome: Result<T>) -> String {
        outcome.expect_err("must be refused").to_string()
    }

    fn expiring(expiry: Expiry) -> Result<Option<u64>> {
        expires_at(expiry, NOW, DEFAULT_MIN_TTL_SECONDS)
    }

    #[test]
    fn keys_are_measured_in_bytes_and_may_have_512_of_them() {
        assert!(check_key(Operation::Get, &"é".repeat(256)).is_ok());
        assert_eq!(
            text(check_key(Operation::Delete, &"x".repeat(513))),
            "KV DELETE failed: 414 UTF-8 encoded length of 513 exceeds key length limit of 512."
        );
    }

    #[test]
    fn a_ttl_counts_from_now_and_is_at_least_a_minute() {
        assert_eq!(expiring(Expiry::Never).expect("valid"), None);
        assert_eq!(expiring(Expiry::After(60)).expect("valid"), Some(NOW + 60));
        assert_eq!(
            text(expiring(Expiry::After(0))),
            "KV PUT failed: 400 Invalid expiration_ttl of 0. Please specify integer greater than 0."
        );
        assert_eq!(
            text(expiring(Expiry::After(-1))),
            "KV PUT failed: 400 Invalid expiration_ttl of -1. Please specify integer greater than 0."
        );
        assert_eq!(
            text(expiring(Expiry::After(59))),
            "KV PUT failed: 400 Invalid expiration_ttl of 59. Expiration TTL must be at least 60."
        );
    }

    #[test]
    fn an_expiration_is_at_least_a_minute_ahead() {
        assert_eq!(expiring(Expiry::At(1060)).expect("valid"), Some(1060));
        assert_eq!(
            text(expiring(Expiry::At(1000))),
            "KV PUT failed: 400 Invalid expiration of 1000. Please specify integer greater than the current number of \
             seconds since the UNIX epoch."
        );
        assert_eq!(
            text(expiring(Expiry::At(1030))),
            "KV PUT failed: 400 Invalid expiration of 1030. Expiration times must be at least 60 seconds in the future."
        );
    }

    #[test]
    fn a_lower_minimum_lets_shorter_lives_through_but_never_none() {
        assert_eq!(expires_at(Expiry::After(30), NOW, 30).expect("valid"), Some(NOW + 30));
        assert_eq!(expires_at(Expiry::At(1001), NOW, 0).expect("valid"), Some(1001));
        assert_eq!(
            text(expires_at(Expiry::After(29), NOW, 30)),
            "KV PUT failed: 400 Invalid expiration_ttl of 29. Expiration TTL must be at least 30."
        );
        assert!(expires_at(Expiry::After(0), NOW, 0).is_err());
    }

    #[test]
    fn metadata_and_values_have_their_sizes() {
        assert!(check_metadata(&"x".repeat(1024)).is_ok());
        assert_eq!(
            text(check_metadata(&"x".repeat(1025))),
            "KV PUT failed: 413 Metadata length of 1025 exceeds limit of 1024."
        );
        assert!(check_value_length(26_214_400).is_ok());
        assert_eq!(
            text(check_value_length(26_214_401)),
            "KV PUT failed: 413 Value length of 26214401 exceeds limit of 26214400."
        );
    }

    #[test]
    fn a_cache_ttl_is_at_least_thirty_seconds() {
        assert!(check_cache_ttl(Operation::Get, 30).is_ok());
        assert_eq!(
            text(check_cache_ttl(Operation::Get, 10)),
            "KV GET failed: 400 Invalid cache_ttl of 10. Cache TTL must be at least 30."
        );
    }

    #[test]
    fn a_bulk_get_takes_one_to_a_hundred_keys_as_text_or_json() {
        let keys = |count: usize| (0..count).map(|number| format!("key{number}")).collect::<Vec<_>>();
        assert!(check_bulk_keys(&keys(100)).is_ok());
        assert_eq!(text(check_bulk_keys(&keys(101))), "KV GET_BULK failed: 400 You can request a maximum of 100 keys");
        assert_eq!(text(check_bulk_keys(&[])), "KV GET_BULK failed: 400 You must request a minimum of 1 key");
        assert_eq!(
            text(check_bulk_keys(&["..".to_owned()])),
            "KV GET_BULK failed: 400 Illegal key name \"..\". Please use a different name."
        );
        assert_eq!(bulk_form("").expect("valid"), BulkForm::Text);
        assert_eq!(bulk_form("json").expect("valid"), BulkForm::Json);
        assert_eq!(
            text(bulk_form("invalid")),
            "KV GET_BULK failed: 400 \"invalid\" is not a valid type. Use \"json\" or \"text\""
        );
        assert_eq!(
            text(check_bulk_bytes(MAX_VALUE_BYTES + 1)),
            "KV GET_BULK failed: 413 Total size of request exceeds the limit of 25MB"
        );
    }

    #[test]
    fn a_page_has_a_thousand_keys_unless_fewer_are_asked_for() {
        assert_eq!(list_limit(0).expect("valid"), 1000);
        assert_eq!(list_limit(-5).expect("valid"), 1000);
        assert_eq!(list_limit(7).expect("valid"), 7);
        assert_eq!(
            text(list_limit(1001)),
            "KV GET failed: 400 Invalid key_count_limit of 1001. Please specify an integer less than 1000."
        );
    }

    #[test]
    fn a_cursor_leads_back_to_its_key() {
        assert_eq!(key_of_cursor(&cursor_after("kéy")).expect("valid"), Some("kéy".to_owned()));
        assert_eq!(key_of_cursor("").expect("valid"), None);
        assert!(text(key_of_cursor("%%%")).starts_with("KV GET failed: 400 Invalid cursor."));
    }

    #[test]
    fn the_failure_of_a_driver_gets_the_same_frame() {
        let error = Error::new(ErrorKind::Unavailable, "nobody answers");
        assert_eq!(framed(Operation::Put, &error), "KV PUT failed: 503 nobody answers");
    }
}
