//! A parsed file as one tree, whether it was TOML or JSON, with the byte range of every key and value.

mod json;
mod masking;
mod toml;

use std::ops::Range;

pub(crate) use self::json::parse_json;
pub(crate) use self::masking::{masked_ranges, masked_ranges_of_broken_text};
pub(crate) use self::toml::parse_toml;

/// A value and where it stands. It has no `Debug`: the tree holds the secrets of the file.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

/// What a value is. TOML has no null, JSON has no date.
#[derive(Clone)]
pub(crate) enum Kind {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Date(String),
    Null,
    Array(Vec<Value>),
    Table(Table),
}

/// The entries of a table in the order of the file.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// One `key = value`.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_range: Range<usize>,
    pub(crate) value: Value,
}

/// Why a file could not be parsed: a message, where, and a second place when two parts of the file clash.
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) range: Range<usize>,
    pub(crate) first_use: Option<Range<usize>>,
}

impl Table {
    /// The entry of `key`; an explicit JSON null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key && !matches!(entry.value.kind, Kind::Null))
    }
}

impl Value {
    /// The kind in words with its article, for "expected an integer, found ...".
    pub(crate) fn described(&self) -> &'static str {
        match self.kind {
            Kind::String(_) => "a string",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a number with a fraction",
            Kind::Boolean(_) => "a boolean",
            Kind::Date(_) => "a date",
            Kind::Null => "null",
            Kind::Array(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }
}
