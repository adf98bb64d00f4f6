//! What a GGUF file says of itself, with errors that name the key.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use candle_core::{Result, bail};

/// The metadata of a GGUF file.
#[derive(Clone, Copy)]
pub(super) struct Metadata<'a>(pub(super) &'a HashMap<String, Value>);

impl<'a> Metadata<'a> {
    /// A text, where it is there.
    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        match self.0.get(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A yes or no, where it is there.
    pub(super) fn flag(self, key: &str) -> Option<bool> {
        match self.0.get(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A whole number of any width, where it is there.
    pub(super) fn integer(self, key: &str) -> Option<usize> {
        match self.0.get(key)? {
            Value::U8(number) => Some(usize::from(*number)),
            Value::U16(number) => Some(usize::from(*number)),
            Value::U32(number) => usize::try_from(*number).ok(),
            Value::U64(number) => usize::try_from(*number).ok(),
            Value::I32(number) => usize::try_from(*number).ok(),
            Value::I64(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A fraction, where it is there.
    pub(super) fn float(self, key: &str) -> Option<f32> {
        match self.0.get(key)? {
            Value::F32(number) => Some(*number),
            Value::F64(number) => Some(*number as f32),
            _ => None,
        }
    }

    /// A whole number that has to be there.
    pub(super) fn required(self, key: &str) -> Result<usize> {
        match self.integer(key) {
            Some(number) => Ok(number),
            None => bail!("the file has no {key}"),
        }
    }

    /// A list, where it is there.
    pub(super) fn list(self, key: &str) -> Option<&'a [Value]> {
        match self.0.get(key) {
            Some(Value::Array(values)) => Some(values),
            _ => None,
        }
    }
}
