//! The limits of R2 and the exact texts of its errors (Cloudflare contract, sections 4.1, 4.2 and 4.7).
//!
//! What R2 refuses is a [`Problem`]. As an [`Error`] it carries its number as context; [`framed`] makes of any error the text
//! that JavaScript sees: `<action>: <message> (<number>)`.

use aerostack_bindings::{Error, ErrorKind, Result};

use crate::CustomMetadata;
use crate::checksum::{Algorithm, to_hex};

/// The longest key, in bytes of UTF-8.
pub const MAX_KEY_BYTES: usize = 1024;
/// The most custom metadata, as R2 counts it: a text with a character past U+00FF counts double.
pub const MAX_METADATA_SIZE: usize = 2048;
/// The largest object that one `put` stores, and the largest part, in bytes.
pub const MAX_VALUE_BYTES: u64 = 5 * 1024 * 1024 * 1024 - 5 * 1024 * 1024;
/// The largest object there is, in bytes.
pub const MAX_OBJECT_BYTES: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// The smallest part of an upload that is not the last, in bytes.
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
/// The most keys of one delete.
pub const MAX_DELETE_KEYS: usize = 1000;
/// The most objects and prefixes of one page, and how many there are where none is asked for.
pub const MAX_LIST_KEYS: i64 = 1000;
/// The most objects of one page that tells their metadata.
pub const MAX_LIST_KEYS_WITH_METADATA: usize = 100;
/// The numbers a part may have.
pub const PART_NUMBERS: std::ops::RangeInclusive<u32> = 1..=10_000;

/// The name of the context that holds an error's number.
const NUMBER: &str = "r2_error";

/// The operation that an error text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `head`.
    Head,
    /// `get`, and reading the body it gave.
    Get,
    /// `put`.
    Put,
    /// `delete`.
    Delete,
    /// `list`.
    List,
    /// `createMultipartUpload`.
    CreateMultipartUpload,
    /// `uploadPart`.
    UploadPart,
    /// `complete`.
    CompleteMultipartUpload,
    /// `abort`.
    AbortMultipartUpload,
}

/// What R2 refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// R2's answer to what it has no better name for, such as a part that is named twice.
    Internal,
    /// More bytes than an object may have.
    EntityTooLarge,
    /// A part that is not the last is too small.
    EntityTooSmall,
    /// Too much custom metadata.
    MetadataTooLarge,
    /// The key is too long.
    InvalidObjectName,
    /// `limit` is below 1 or above 1000.
    InvalidMaxKeys,
    /// The upload is over, or there never was one.
    NoSuchUpload,
    /// A part that was not uploaded, or has been replaced.
    InvalidPart,
    /// An argument that R2 has no text of its own for.
    InvalidArgument(String),
    /// What was received has another checksum.
    BadDigest {
        /// The algorithm.
        algorithm: Algorithm,
        /// What the caller said.
        provided: Vec<u8>,
        /// What it is.
        actual: Vec<u8>,
    },
    /// There is nothing at that range.
    InvalidRange,
    /// The parts differ in size.
    BadUpload,
}

impl Action {
    /// The name in the error texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::List => "list",
            Self::CreateMultipartUpload => "createMultipartUpload",
            Self::UploadPart => "uploadPart",
            Self::CompleteMultipartUpload => "completeMultipartUpload",
            Self::AbortMultipartUpload => "abortMultipartUpload",
        }
    }
}

impl Problem {
    fn number(&self) -> u32 {
        match self {
            Self::Internal => INTERNAL_NUMBER,
            Self::EntityTooLarge => 100_100,
            Self::EntityTooSmall => 10_011,
            Self::MetadataTooLarge => 10_012,
            Self::InvalidObjectName => 10_020,
            Self::InvalidMaxKeys => 10_022,
            Self::NoSuchUpload => 10_024,
            Self::InvalidPart => 10_025,
            Self::InvalidArgument(_) => 10_029,
            Self::BadDigest { .. } => 10_037,
            Self::InvalidRange => 10_039,
            Self::BadUpload => 10_048,
        }
    }

    fn text(&self) -> String {
        let text = match self {
            Self::Internal => "We encountered an internal error. Please try again.",
            Self::EntityTooLarge => "Your proposed upload exceeds the maximum allowed object size.",
            Self::EntityTooSmall => "Your proposed upload is smaller than the minimum allowed object size.",
            Self::MetadataTooLarge => "Your metadata headers exceed the maximum allowed metadata size.",
            Self::InvalidObjectName => "The specified object name is not valid.",
            Self::InvalidMaxKeys => "MaxKeys params must be positive integer <= 1000.",
            Self::NoSuchUpload => "The specified multipart upload does not exist.",
            Self::InvalidPart => "One or more of the specified parts could not be found.",
            Self::InvalidRange => "The requested range is not satisfiable",
            Self::BadUpload => "There was a problem with the multipart upload.",
            Self::InvalidArgument(text) => text,
            Self::BadDigest { algorithm, provided, actual } => {
                let algorithm = algorithm.title();
                return format!(
                    "The {algorithm} checksum you specified did not match what we received.\n\
                     You provided a {algorithm} checksum with value: {}\n\
                     Actual {algorithm} was: {}",
                    to_hex(provided),
                    to_hex(actual)
                );
            }
        };
        text.to_owned()
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let kind = match problem {
            Problem::NoSuchUpload | Problem::InvalidPart => ErrorKind::NotFound,
            _ => ErrorKind::InvalidInput,
        };
        Self::new(kind, problem.text()).with_context(NUMBER, problem.number().to_string())
    }
}

/// What R2 calls an error that is not the caller's.
const INTERNAL_NUMBER: u32 = 10_001;

/// The text that JavaScript sees of an error. One that is not R2's own has R2's number for an internal error, and says what
/// happened all the same.
pub fn framed(action: Action, error: &Error) -> String {
    let internal = INTERNAL_NUMBER.to_string();
    let number = error.context().iter().find(|(name, _)| *name == NUMBER).map_or(&internal, |(_, number)| number);
    format!("{}: {} ({number})", action.as_str(), error.message())
}

/// Refuses keys that are too long. The empty key is a key.
pub fn check_key(key: &str) -> Result<()> {
    if key.len() <= MAX_KEY_BYTES { Ok(()) } else { Err(Problem::InvalidObjectName.into()) }
}

/// Refuses more bytes than one call may store.
pub fn check_size(bytes: u64) -> Result<()> {
    if bytes <= MAX_VALUE_BYTES { Ok(()) } else { Err(Problem::EntityTooLarge.into()) }
}

/// Refuses too much custom metadata.
pub fn check_metadata(metadata: &CustomMetadata) -> Result<()> {
    let size: usize = metadata.0.iter().map(|(name, value)| counted(name) + counted(value)).sum();
    if size <= MAX_METADATA_SIZE { Ok(()) } else { Err(Problem::MetadataTooLarge.into()) }
}

/// Refuses a number that no part can have. JavaScript has refused it before with a `TypeError`.
pub fn check_part_number(number: u32) -> Result<()> {
    if PART_NUMBERS.contains(&number) {
        return Ok(());
    }
    let text = format!("Part number must be between 1 and 10000 (inclusive). Actual value was: {number}");
    Err(Problem::InvalidArgument(text).into())
}

/// Refuses more keys than one delete takes.
pub fn check_delete_keys(count: usize) -> Result<()> {
    if count <= MAX_DELETE_KEYS {
        return Ok(());
    }
    let text = format!("at most {MAX_DELETE_KEYS} keys can be deleted at once, not {count}");
    Err(Problem::InvalidArgument(text).into())
}

/// How many objects and prefixes a page has at most.
pub fn list_limit(limit: Option<i64>) -> Result<usize> {
    match limit.unwrap_or(MAX_LIST_KEYS) {
        limit @ 1..=MAX_LIST_KEYS => Ok(limit as usize),
        _ => Err(Problem::InvalidMaxKeys.into()),
    }
}

/// In UTF-16 code units, as in JavaScript.
fn counted(text: &str) -> usize {
    let units = text.encode_utf16().count();
    if text.chars().all(|character| u32::from(character) < 256) { units } else { 2 * units }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(outcome: Result<impl Sized>) -> String {
        framed(Action::Put, &outcome.err().expect("an error"))
    }

    #[test]
    fn a_key_may_have_1024_bytes() {
        assert!(check_key("").is_ok());
        assert!(check_key(&"é".repeat(512)).is_ok());
        assert_eq!(text(check_key(&"x".repeat(1025))), "put: The specified object name is not valid. (10020)");
    }

    #[test]
    fn metadata_counts_double_where_a_character_needs_it() {
        let metadata = |name: &str, length: usize| CustomMetadata(vec![(name.to_owned(), "x".repeat(length))]);
        assert!(check_metadata(&metadata("ab", 2046)).is_ok());
        assert!(check_metadata(&metadata("ÿb", 2046)).is_ok());
        assert!(check_metadata(&metadata("€b", 2044)).is_ok());
        assert_eq!(
            text(check_metadata(&metadata("€b", 2045))),
            "put: Your metadata headers exceed the maximum allowed metadata size. (10012)"
        );
        assert!(check_metadata(&metadata("ab", 2047)).is_err());
    }

    #[test]
    fn an_object_may_have_almost_five_gibibytes() {
        assert!(check_size(MAX_VALUE_BYTES).is_ok());
        assert_eq!(
            text(check_size(MAX_VALUE_BYTES + 1)),
            "put: Your proposed upload exceeds the maximum allowed object size. (100100)"
        );
    }

    #[test]
    fn a_page_has_one_to_a_thousand_keys() {
        assert_eq!(list_limit(None).expect("valid"), 1000);
        assert_eq!(list_limit(Some(1)).expect("valid"), 1);
        for limit in [0, -1, 1001, i64::MAX] {
            let error = list_limit(Some(limit)).expect_err("refused");
            assert_eq!(framed(Action::List, &error), "list: MaxKeys params must be positive integer <= 1000. (10022)");
        }
    }

    #[test]
    fn a_wrong_checksum_is_told_with_both_values() {
        let problem = Problem::BadDigest { algorithm: Algorithm::Sha1, provided: vec![0xab; 2], actual: vec![0x01; 2] };
        assert_eq!(
            framed(Action::Put, &problem.into()),
            "put: The SHA-1 checksum you specified did not match what we received.\n\
             You provided a SHA-1 checksum with value: abab\n\
             Actual SHA-1 was: 0101 (10037)"
        );
    }

    #[test]
    fn the_failure_of_a_driver_has_the_number_of_an_internal_error() {
        let error = Error::new(ErrorKind::Unavailable, "nobody answers");
        assert_eq!(framed(Action::CompleteMultipartUpload, &error), "completeMultipartUpload: nobody answers (10001)");
    }
}
