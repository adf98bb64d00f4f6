//! The limits of Cloudflare Queues and the exact texts of their errors (Cloudflare contract, section 3.1).
//!
//! An error of kind [`ErrorKind::InvalidInput`] made here holds the whole text that JavaScript sees. Any other error is given
//! the same frame by [`framed`].

use std::fmt;
use std::time::Duration;

use aerostack_bindings::{Error, ErrorKind, Result};

use crate::ContentType;

/// The longest body, in bytes as it is stored.
pub const MAX_MESSAGE_BYTES: usize = 128_000;
/// The most messages of one `sendBatch`.
pub const MAX_BATCH_MESSAGES: usize = 100;
/// The most bytes that the bodies of one `sendBatch` have together.
pub const MAX_BATCH_BYTES: usize = 288_000;
/// The longest delay, in seconds.
pub const MAX_DELAY_SECONDS: i32 = 86_400;

/// The text of the `TypeError` of a message without a body.
pub const BODY_IS_UNDEFINED: &str = "Message body cannot be undefined";
/// The text of the `TypeError` of a `sendBatch` of nothing.
pub const BATCH_IS_EMPTY: &str = "sendBatch() requires at least one message";

/// The operation that an error text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `send`.
    Send,
    /// `sendBatch`.
    SendBatch,
    /// `metrics`.
    Metrics,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::SendBatch => "sendBatch",
            Self::Metrics => "metrics",
        }
    }
}

/// The type of content called `name`, in whatever case. The error's text is that of a `TypeError`.
pub fn content_type(name: &str) -> Result<ContentType> {
    ContentType::from_name(name)
        .ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("Unsupported queue message content type: {name}")))
}

/// The text of the `TypeError` of a body that is not what its type of content asks for. `received` is what `typeof` says of it.
/// `None` where the type takes every value.
pub fn body_mismatch(content_type: ContentType, received: &str) -> Option<String> {
    let required = match content_type {
        ContentType::Text => "string",
        ContentType::Bytes => "ArrayBufferView",
        ContentType::Json | ContentType::V8 => return None,
    };
    let name = content_type.as_str();
    Some(format!("Content Type \"{name}\" requires a value of type {required}, but received: {received}"))
}

/// The type of content that a request from outside names (the service's own text, not that of a `TypeError`).
pub fn requested_content_type(operation: Operation, name: &str) -> Result<ContentType> {
    match ContentType::from_name(name) {
        Some(known) => Ok(known),
        None => refuse(
            operation,
            format_args!(
                "message content type {name} is invalid; if specified, must be one of 'text', 'json', 'bytes', or 'v8'"
            ),
        ),
    }
}

/// Refuses a body that is too long for [`Operation::Send`].
pub fn check_message_bytes(length: usize) -> Result<()> {
    if length <= MAX_MESSAGE_BYTES {
        return Ok(());
    }
    refuse(Operation::Send, format_args!("message length of {length} bytes exceeds limit of {MAX_MESSAGE_BYTES}"))
}

/// Refuses a batch of too many messages, one with a body that is too long, and one that is too long together.
pub fn check_batch(lengths: impl ExactSizeIterator<Item = usize>) -> Result<()> {
    let count = lengths.len();
    if count == 0 {
        return Err(Error::new(ErrorKind::InvalidInput, BATCH_IS_EMPTY));
    }
    if count > MAX_BATCH_MESSAGES {
        return refuse(
            Operation::SendBatch,
            format_args!("batch message count of {count} exceeds limit of {MAX_BATCH_MESSAGES}"),
        );
    }
    let (largest, total) = lengths.fold((0, 0), |(largest, total), length| (length.max(largest), length + total));
    if largest > MAX_MESSAGE_BYTES {
        return refuse(
            Operation::SendBatch,
            format_args!(
                "message in batch has length {largest} bytes which exceeds single message size limit of {MAX_MESSAGE_BYTES}"
            ),
        );
    }
    if total > MAX_BATCH_BYTES {
        return refuse(
            Operation::SendBatch,
            format_args!("batch size of {total} bytes exceeds limit of {MAX_BATCH_BYTES}"),
        );
    }
    Ok(())
}

/// The delay of so many seconds.
pub fn delay(operation: Operation, seconds: i32) -> Result<Duration> {
    match u64::try_from(seconds) {
        Ok(valid) if seconds <= MAX_DELAY_SECONDS => Ok(Duration::from_secs(valid)),
        _ => refuse(
            operation,
            format_args!(
                "message delay {seconds} is invalid: must be a whole number of seconds from 0 to {MAX_DELAY_SECONDS}"
            ),
        ),
    }
}

/// The text of `error` that JavaScript sees after `operation` failed with it.
pub fn framed(operation: Operation, error: &Error) -> String {
    match error.kind() {
        ErrorKind::InvalidInput => error.message().to_owned(),
        _ => frame(operation, format_args!("{}", error.message())),
    }
}

fn refuse<T>(operation: Operation, text: fmt::Arguments<'_>) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidInput, frame(operation, text)))
}

fn frame(operation: Operation, text: fmt::Arguments<'_>) -> String {
    format!("Queue {} failed: {text}", operation.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: fmt::Debug>(outcome: Result<T>) -> String {
        let error = outcome.expect_err("must be refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    }

    #[test]
    fn a_message_has_128000_bytes_at_most() {
        assert!(check_message_bytes(128_000).is_ok());
        assert_eq!(
            text(check_message_bytes(128_001)),
            "Queue send failed: message length of 128001 bytes exceeds limit of 128000"
        );
    }

    #[test]
    fn a_batch_has_one_to_a_hundred_messages_and_288000_bytes() {
        assert!(check_batch(vec![2880; 100].into_iter()).is_ok());
        assert!(check_batch(vec![128_000, 128_000, 32_000].into_iter()).is_ok());
        assert_eq!(text(check_batch([].into_iter())), "sendBatch() requires at least one message");
        assert_eq!(
            text(check_batch(vec![0; 101].into_iter())),
            "Queue sendBatch failed: batch message count of 101 exceeds limit of 100"
        );
        assert_eq!(
            text(check_batch([1, 128_001, 128_000].into_iter())),
            "Queue sendBatch failed: message in batch has length 128001 bytes which exceeds single message size limit of 128000"
        );
        assert_eq!(
            text(check_batch([128_000, 128_000, 32_001].into_iter())),
            "Queue sendBatch failed: batch size of 288001 bytes exceeds limit of 288000"
        );
    }

    #[test]
    fn what_breaks_several_limits_of_a_batch_is_told_of_the_first() {
        assert!(text(check_batch(vec![200_000; 101].into_iter())).contains("batch message count of 101"));
        assert!(text(check_batch(vec![200_000; 2].into_iter())).contains("has length 200000 bytes"));
    }

    #[test]
    fn a_delay_is_at_most_a_day() {
        assert_eq!(delay(Operation::Send, 0).expect("valid"), Duration::ZERO);
        assert_eq!(delay(Operation::Send, 86_400).expect("valid"), Duration::from_hours(24));
        for invalid in [-1, 86_401] {
            assert_eq!(
                text(delay(Operation::SendBatch, invalid)),
                format!(
                    "Queue sendBatch failed: message delay {invalid} is invalid: must be a whole number of seconds from 0 to 86400"
                )
            );
        }
    }

    #[test]
    fn content_types_are_known_in_any_case() {
        assert_eq!(content_type("JSON").expect("known"), ContentType::Json);
        assert_eq!(content_type("v8").expect("known"), ContentType::V8);
        assert_eq!(requested_content_type(Operation::Send, "Bytes").expect("known"), ContentType::Bytes);
        assert_eq!(text(content_type("Xml")), "Unsupported queue message content type: Xml");
        assert_eq!(
            text(requested_content_type(Operation::Send, "xml")),
            "Queue send failed: message content type xml is invalid; if specified, must be one of 'text', 'json', 'bytes', or 'v8'"
        );
    }

    #[test]
    fn a_body_that_does_not_fit_its_type_is_named() {
        assert_eq!(
            body_mismatch(ContentType::Text, "object").expect("a text"),
            "Content Type \"text\" requires a value of type string, but received: object"
        );
        assert_eq!(
            body_mismatch(ContentType::Bytes, "string").expect("a text"),
            "Content Type \"bytes\" requires a value of type ArrayBufferView, but received: string"
        );
        assert_eq!(body_mismatch(ContentType::V8, "symbol"), None);
    }

    #[test]
    fn the_failure_of_a_driver_gets_the_same_frame() {
        let error = Error::new(ErrorKind::Unavailable, "nobody answers");
        assert_eq!(framed(Operation::SendBatch, &error), "Queue sendBatch failed: nobody answers");
        assert_eq!(framed(Operation::Metrics, &error), "Queue metrics failed: nobody answers");
        let error = Error::new(ErrorKind::InvalidInput, "Queue send failed: as it is");
        assert_eq!(framed(Operation::Send, &error), "Queue send failed: as it is");
    }
}
