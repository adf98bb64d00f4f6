//! What decides how the code of a worker behaves.

use crate::diagnostic::Diagnostic;
use crate::document::Kind;
use crate::section::Section;

/// Flags that choose between two behaviours that the runtime has.
const CHOOSING_FLAGS: [&str; 2] = ["queues_json_messages", "no_queues_json_messages"];

/// Flags of Workers whose behaviour every worker has here, with the flag or without.
const ALWAYS_ON_FLAGS: [&str; 15] = [
    "allow_eval_during_startup",
    "blob_standard_mime_type",
    "brotli_content_encoding",
    "capture_async_api_throws",
    "crypto_preserve_public_exponent",
    "fetch_refuses_unknown_protocols",
    "formdata_parser_supports_files",
    "global_navigator",
    "streams_enable_constructors",
    "strict_compression_checks",
    "strict_crypto_checks",
    "transformstream_enable_standard_constructor",
    "upper_case_all_http_methods",
    "url_standard",
    "urlsearchparams_delete_has_value_arg",
];

/// Flags that make modules of Node importable.
const NODE_FLAGS: [&str; 3] = ["nodejs_compat", "nodejs_compat_v2", "nodejs_als"];

/// The flags as they are written; a warning for each that changes nothing here.
pub(super) fn read_compatibility_flags(root: &Section<'_>) -> Vec<String> {
    let flags = root.strings("compatibility_flags");
    for flag in &flags {
        let name = flag.value.as_str();
        if CHOOSING_FLAGS.contains(&name) || ALWAYS_ON_FLAGS.contains(&name) {
            continue;
        }
        let diagnostic = if NODE_FLAGS.contains(&name) {
            Diagnostic::warning(format!("compatibility flag \"{name}\" is not supported yet"))
                .at(flag.span.clone(), "`node:` modules cannot be imported")
        } else {
            Diagnostic::warning(format!("compatibility flag \"{name}\" has no effect"))
                .at(flag.span.clone(), "workers behave as with the newest compatibility date")
        };
        root.reader.problems.report(diagnostic);
    }
    flags.into_iter().map(|flag| flag.value).collect()
}

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
