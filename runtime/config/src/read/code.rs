//! What decides how the code of a worker behaves.

use crate::document::Kind;
use crate::section::Section;

/// A string or, unquoted, a TOML date.
pub(super) fn read_compatibility_date(root: &Section<'_>) -> Option<String> {
    let entry = root.get("compatibility_date")?;
    let (Kind::String(text) | Kind::Date(text)) = &entry.value.kind else {
        root.wrong_kind(entry, "a date such as \"2026-11-01\"");
        return None;
    };
    if !is_date(text) {
        let message = format!("`compatibility_date` is not a date: \"{text}\"");
        root.reader.error(&entry.value, message, "the form is \"2026-11-01\"");
        return None;
    }
    Some(text.clone())
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let &[year, month, day] = parts.as_slice() else {
        return false;
    };
    let number = |part: &str, length: usize| {
        let is_number = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<u32>().ok()).flatten()
    };
    number(year, 4).is_some()
        && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
}

pub(super) fn read_alias(root: &Section<'_>) -> Vec<(String, String)> {
    let Some(section) = root.section("alias") else {
        return Vec::new();
    };
    section
        .table
        .entries
        .iter()
        .filter_map(|entry| Some((entry.key.clone(), section.string(&entry.key)?.value)))
        .collect()
}
