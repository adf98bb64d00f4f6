//! The limits of Vectorize V2 and the texts of its errors (Cloudflare contract, sections 5.2 to 5.4).
//!
//! The frame `VECTOR_QUERY_ERROR (code = 40006): text` is the contract's. The codes and texts of 40006, 40007, 40008, 40012 and
//! 40025 are those that users of the production service quote; the others are ours in the same frame, without a code where
//! none is known. An error made here holds the text without the frame, which [`framed`] puts around it.

use aerostack_bindings::{Error, ErrorKind, Result};

/// The most dimensions of a vector where the configuration does not name more.
pub const MAX_DIMENSIONS: usize = 1536;
/// The longest id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 64;
/// The longest namespace, in bytes of UTF-8.
pub const MAX_NAMESPACE_BYTES: usize = 64;
/// The longest metadata of one vector, in bytes of JSON text.
pub const MAX_METADATA_BYTES: usize = 10 * 1024;
/// How many matches a query returns where it does not say.
pub const DEFAULT_TOP_K: usize = 5;
/// The most matches of a query.
pub const MAX_TOP_K: usize = 100;
/// The most matches of a query that returns values or all metadata.
pub const MAX_TOP_K_WITH_PAYLOAD: usize = 50;
/// The most vectors of one insert or upsert.
pub const MAX_WRITE_VECTORS: usize = 1000;
/// The most ids of one getByIds.
pub const MAX_GET_IDS: usize = 20;
/// The most ids of one deleteByIds.
pub const MAX_DELETE_IDS: usize = 100;
/// The JSON text of a filter is shorter than this, in bytes.
pub const MAX_FILTER_BYTES: usize = 2048;
/// The longest key of a filter, in characters.
pub const MAX_KEY_CHARACTERS: usize = 512;
/// So many bytes of a string count when it is filtered by.
pub const INDEXED_BYTES: usize = 64;

/// The operation that an error text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `describe`.
    Describe,
    /// `query` and `queryById`.
    Query,
    /// `insert`.
    Insert,
    /// `upsert`.
    Upsert,
    /// `getByIds`.
    Get,
    /// `deleteByIds`.
    Delete,
}

/// The codes of production that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    QueryDimensions = 40006,
    TooManyIds = 40007,
    IdTooLong = 40008,
    NamespaceTooLong = 40009,
    VectorDimensions = 40012,
    TopK = 40025,
}

/// The name under which an error carries its code.
const CODE: &str = "code";

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Describe => "INDEX_GET",
            Self::Query => "VECTOR_QUERY",
            Self::Insert => "VECTOR_INSERT",
            Self::Upsert => "VECTOR_UPSERT",
            Self::Get => "VECTOR_GET",
            Self::Delete => "VECTOR_DELETE",
        }
    }
}

/// The text that JavaScript sees of an error.
pub fn framed(operation: Operation, error: &Error) -> String {
    let operation = operation.as_str();
    match error.context().iter().find(|(name, _)| *name == CODE) {
        Some((_, code)) => format!("{operation}_ERROR (code = {code}): {error}"),
        None => format!("{operation}_ERROR: {error}"),
    }
}

/// Refuses ids that are empty or too long.
pub fn check_id(id: &str) -> Result<()> {
    match id.len() {
        0 => refuse("id is empty; every vector needs one"),
        1..=MAX_ID_BYTES => Ok(()),
        length => refuse_with(Code::IdTooLong, format!("id too long; max is {MAX_ID_BYTES} bytes, got {length} bytes")),
    }
}

/// Refuses namespaces that are empty or too long.
pub fn check_namespace(namespace: &str) -> Result<()> {
    match namespace.len() {
        0 => refuse("namespace is empty; leave it out for none"),
        1..=MAX_NAMESPACE_BYTES => Ok(()),
        length => refuse_with(
            Code::NamespaceTooLong,
            format!("namespace too long; max is {MAX_NAMESPACE_BYTES} bytes, got {length} bytes"),
        ),
    }
}

/// Refuses metadata whose JSON text is too long, or that is no object.
pub fn check_metadata(id: &str, json: &str) -> Result<()> {
    let length = json.len();
    if length > MAX_METADATA_BYTES {
        return refuse(format!(
            "metadata of id={id:?} too large; max is {MAX_METADATA_BYTES} bytes of JSON, got {length} bytes"
        ));
    }
    let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("metadata of id={id:?} is not an object")).with_source(error)
    })?;
    check_metadata_keys(id, &object)
}

/// The number of vectors of one write.
pub fn check_write_count(count: usize) -> Result<()> {
    match count {
        0 => refuse("no vectors in payload; at least one is needed"),
        1..=MAX_WRITE_VECTORS => Ok(()),
        _ => refuse(format!("too many vectors in payload; max vector count is {MAX_WRITE_VECTORS}, got {count}")),
    }
}

/// The number of ids of one call, of which `max` are allowed.
pub fn check_id_count(count: usize, max: usize) -> Result<()> {
    match count {
        0 => refuse("no ids in payload; at least one is needed"),
        count if count > max => {
            refuse_with(Code::TooManyIds, format!("too many ids in payload; max id count is {max}, got {count}"))
        }
        _ => Ok(()),
    }
}

/// Refuses a vector that does not have the index's number of dimensions.
pub fn check_vector_dimensions(id: &str, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    refuse_with(
        Code::VectorDimensions,
        format!("invalid vector for id={id:?}, expected {expected} dimensions, and got {got} dimensions"),
    )
}

/// Refuses a query vector that does not have the index's number of dimensions.
pub fn check_query_dimensions(expected: usize, got: usize) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    refuse_with(
        Code::QueryDimensions,
        format!("invalid query vector, expected {expected} dimensions, and got {got} dimensions"),
    )
}

/// Refuses the first vector of an index that nobody configured, where it has no or too many dimensions.
pub fn check_first_dimensions(id: &str, got: usize) -> Result<()> {
    if (1..=MAX_DIMENSIONS).contains(&got) {
        return Ok(());
    }
    refuse_with(
        Code::VectorDimensions,
        format!(
            "invalid vector for id={id:?}, expected 1 to {MAX_DIMENSIONS} dimensions, and got {got} dimensions; `dimensions` \
             of [[vectorize]] in aerostack.toml allows more"
        ),
    )
}

/// Refuses components that are no numbers, and those that float32 has no room for. `whose` names the vector.
pub fn check_finite(whose: impl FnOnce() -> String, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(place) => refuse(format!("invalid {}: component {place} is not a finite number of 32 bits", whose())),
    }
}

/// The number of matches to return: `asked`, or the default.
pub fn top_k(asked: Option<f64>, with_values: bool, with_all_metadata: bool) -> Result<usize> {
    let Some(asked) = asked else { return Ok(DEFAULT_TOP_K) };
    if asked.fract() != 0.0 || asked < 1.0 {
        return refuse_with(Code::TopK, format!("top K must be a whole number of at least 1, but got {asked}"));
    }
    if (with_values || with_all_metadata) && asked > MAX_TOP_K_WITH_PAYLOAD as f64 {
        return refuse_with(
            Code::TopK,
            format!(
                "with returnValues=true or returnMetadata=all, max top K is {MAX_TOP_K_WITH_PAYLOAD}, but got {asked}; for a \
                 top K up to {MAX_TOP_K}, retry with returnValues=false and returnMetadata=indexed"
            ),
        );
    }
    if asked > MAX_TOP_K as f64 {
        return refuse_with(Code::TopK, format!("max top K is {MAX_TOP_K}, but got {asked}"));
    }
    Ok(asked as usize)
}

/// The part of a string that is compared when it is filtered by.
pub fn indexed_part(text: &str) -> &str {
    &text[..text.floor_char_boundary(INDEXED_BYTES)]
}

/// An error with a text of ours.
pub fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidInput, message))
}

fn refuse_with<T>(code: Code, message: String) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidInput, message).with_context(CODE, (code as u32).to_string()))
}

/// A dot in a key would make it unreachable for filters, to which it means nesting; the rest is what a filter refuses.
fn check_metadata_keys(id: &str, object: &serde_json::Map<String, serde_json::Value>) -> Result<()> {
    for (key, value) in object {
        if key.is_empty() || key.starts_with('$') || key.contains(['.', '"']) {
            return refuse(format!(
                "metadata of id={id:?} has the key {key:?}; a key must not be empty, start with $, or contain a dot or a \
                 double quote"
            ));
        }
        if let serde_json::Value::Object(nested) = value {
            check_metadata_keys(id, nested)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: std::fmt::Debug>(outcome: Result<T>) -> String {
        framed(Operation::Upsert, &outcome.expect_err("refused"))
    }

    #[test]
    fn the_texts_are_those_of_production() {
        assert_eq!(
            text(check_id(&"x".repeat(87))),
            "VECTOR_UPSERT_ERROR (code = 40008): id too long; max is 64 bytes, got 87 bytes"
        );
        assert_eq!(
            text(check_vector_dimensions("test.txt-chunk-0", 768, 1024)),
            "VECTOR_UPSERT_ERROR (code = 40012): invalid vector for id=\"test.txt-chunk-0\", expected 768 dimensions, and got \
             1024 dimensions"
        );
        let query = check_query_dimensions(768, 0).expect_err("refused");
        assert_eq!(
            framed(Operation::Query, &query),
            "VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 768 dimensions, and got 0 dimensions"
        );
        let ids = check_id_count(34, MAX_GET_IDS).expect_err("refused");
        assert_eq!(
            framed(Operation::Get, &ids),
            "VECTOR_GET_ERROR (code = 40007): too many ids in payload; max id count is 20, got 34"
        );
        let many = top_k(Some(100.0), false, true).expect_err("refused");
        assert_eq!(
            framed(Operation::Query, &many),
            "VECTOR_QUERY_ERROR (code = 40025): with returnValues=true or returnMetadata=all, max top K is 50, but got 100; for \
             a top K up to 100, retry with returnValues=false and returnMetadata=indexed"
        );
    }

    #[test]
    fn top_k_is_one_to_a_hundred_and_fifty_with_values_or_metadata() {
        assert_eq!(top_k(None, false, false).expect("valid"), 5);
        assert_eq!(top_k(Some(100.0), false, false).expect("valid"), 100);
        assert_eq!(top_k(Some(50.0), true, true).expect("valid"), 50);
        for bad in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY, 101.0] {
            assert!(top_k(Some(bad), false, false).is_err(), "{bad}");
        }
        assert!(top_k(Some(51.0), true, false).is_err());
    }

    #[test]
    fn ids_and_namespaces_have_one_to_sixty_four_bytes() {
        assert!(check_id(&"é".repeat(32)).is_ok());
        assert!(check_id(&"é".repeat(33)).is_err());
        assert!(check_id("").is_err());
        assert!(check_namespace(&"n".repeat(64)).is_ok());
        assert!(check_namespace(&"n".repeat(65)).is_err());
        assert!(check_namespace("").is_err());
    }

    #[test]
    fn metadata_is_an_object_of_ten_kibibytes_with_keys_a_filter_can_name() {
        assert!(check_metadata("a", "{\"k\":{\"l\":[1]}}").is_ok());
        for bad in ["[]", "1", "null", "{", "{\"a.b\":1}", "{\"$a\":1}", "{\"\":1}", "{\"a\":{\"b\\\"\":1}}"] {
            assert!(check_metadata("a", bad).is_err(), "{bad}");
        }
        let of_length = |length: usize| format!("{{\"k\":\"{}\"}}", "x".repeat(length - 8));
        assert!(check_metadata("a", &of_length(10_240)).is_ok());
        assert!(text(check_metadata("a", &of_length(10_241))).contains("max is 10240 bytes of JSON, got 10241 bytes"));
    }

    #[test]
    fn an_error_without_a_code_has_the_frame_without_one() {
        let error = Error::new(ErrorKind::Unavailable, "nobody answers");
        assert_eq!(framed(Operation::Describe, &error), "INDEX_GET_ERROR: nobody answers");
    }

    #[test]
    fn a_string_is_cut_at_a_character() {
        assert_eq!(indexed_part("short"), "short");
        assert_eq!(indexed_part(&"é".repeat(40)), "é".repeat(32));
        assert_eq!(indexed_part(&format!("x{}", "é".repeat(40))), format!("x{}", "é".repeat(31)));
    }
}
