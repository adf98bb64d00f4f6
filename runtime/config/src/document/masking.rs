//! Which parts of a file a code frame must not show: the values of keys that hold passwords and tokens.

use std::ops::Range;

use super::{Kind, Table, Value};

/// Keys whose string values may hold a secret, anywhere in the file.
const SECRET_KEYS: [&str; 11] = [
    "connection_string",
    "localConnectionString",
    "api_key",
    "key",
    "url",
    "password",
    "token",
    "secret",
    "secret_key",
    "secret_access_key",
    "access_key_id",
];

/// Byte ranges of values that may be secrets. A bare reference such as `"$DATABASE_URL"` is not one.
pub(crate) fn masked_ranges(document: &Table) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    collect(document, &mut ranges);
    ranges
}

/// As [`masked_ranges`] for a text that does not parse: the rest of each line that begins with a secret's key.
pub(crate) fn masked_ranges_of_broken_text(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let key = line.trim_start_matches([' ', '\t', '{', ',', '"', '\'']);
        if SECRET_KEYS.iter().any(|secret| key.starts_with(secret))
            && let Some(separator) = line.find(['=', ':'])
        {
            ranges.push(line_start + separator + 1..line_start + line.len());
        }
        line_start += line.len();
    }
    ranges
}

fn collect(table: &Table, ranges: &mut Vec<Range<usize>>) {
    for entry in &table.entries {
        let is_secret = SECRET_KEYS.contains(&entry.key.as_str()) && matches!(entry.value.kind, Kind::String(_));
        if is_secret || entry.key == "options" {
            collect_strings(&entry.value, ranges);
        } else {
            collect_nested(&entry.value, ranges);
        }
    }
}

fn collect_nested(value: &Value, ranges: &mut Vec<Range<usize>>) {
    match &value.kind {
        Kind::Table(table) => collect(table, ranges),
        Kind::Array(items) => items.iter().for_each(|item| collect_nested(item, ranges)),
        _ => {}
    }
}

fn collect_strings(value: &Value, ranges: &mut Vec<Range<usize>>) {
    match &value.kind {
        Kind::String(text) if !is_bare_reference(text) => {
            ranges.push(value.range.start + 1..value.range.end.saturating_sub(1));
        }
        Kind::Table(table) => table.entries.iter().for_each(|entry| collect_strings(&entry.value, ranges)),
        Kind::Array(items) => items.iter().for_each(|item| collect_strings(item, ranges)),
        _ => {}
    }
}

fn is_bare_reference(text: &str) -> bool {
    let Some(name) = text.strip_prefix('$') else {
        return false;
    };
    let name = name.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(name);
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}
