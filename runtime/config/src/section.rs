//! Typed reading of one table: each method reads one key, reports what is wrong with it, and goes on.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Entry, Kind, Table, Value};
use crate::names::is_binding_name;
use crate::references::{Expanded, Lookup, ReferenceError};
use crate::source::{Located, Source, Span};

/// What every section of one file needs.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a Arc<Source>,
    pub(crate) problems: &'a Problems,
    pub(crate) lookup: Lookup<'a>,
}

/// One table of the file.
#[derive(Clone)]
pub(crate) struct Section<'a> {
    pub(crate) reader: &'a Reader<'a>,
    pub(crate) table: &'a Table,
    /// For messages: `[limits]`, `[[d1_databases]]`; empty at the top level.
    pub(crate) title: String,
    /// The header, or the braces of an inline table.
    pub(crate) span: Span,
}

impl Reader<'_> {
    pub(crate) fn span(&self, range: &std::ops::Range<usize>) -> Span {
        Span::new(self.source, range.clone())
    }

    pub(crate) fn error(&self, value: &Value, message: impl Into<String>, label: impl Into<String>) {
        self.problems.report(Diagnostic::error(message).at(self.span(&value.range), label));
    }

    /// Replaces references; reports those that cannot be resolved.
    pub(crate) fn expand(&self, key: &str, text: &str, value: &Value) -> Option<Expanded> {
        let errors = match self.lookup.expand(text) {
            Ok(expanded) => return Some(expanded),
            Err(errors) => errors,
        };
        for error in errors {
            let diagnostic = match error {
                ReferenceError::Unset(name) => Diagnostic::error(format!("the variable \"{name}\" is not set"))
                    .at(self.span(&value.range), format!("`{key}` uses it here"))
                    .help(format!("add `{name}=...` to {}, or set it in the environment", self.lookup.dev_vars.path)),
                ReferenceError::Malformed => Diagnostic::error(format!("`{key}` has a `${{` without a name and `}}`"))
                    .at(self.span(&value.range), "")
                    .help("a reference is `$NAME` or `${NAME}`; write `$$` for a plain dollar sign"),
            };
            self.problems.report(diagnostic);
        }
        None
    }
}

impl<'a> Section<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a Entry> {
        self.table.get(key)
    }

    pub(crate) fn span_of(&self, entry: &Entry) -> Span {
        self.reader.span(&entry.value.range)
    }

    pub(crate) fn string(&self, key: &str) -> Option<Located<String>> {
        let entry = self.get(key)?;
        let Kind::String(text) = &entry.value.kind else {
            self.wrong_kind(entry, "a string");
            return None;
        };
        Some(Located { value: text.clone(), span: self.span_of(entry) })
    }

    /// A string with its `$NAME` references replaced.
    pub(crate) fn expanded(&self, key: &str) -> Option<Located<String>> {
        let text = self.string(key)?;
        let entry = self.get(key)?;
        let expanded = self.reader.expand(key, &text.value, &entry.value)?;
        Some(Located { value: expanded.into_text(), span: text.span })
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        let entry = self.get(key)?;
        let Kind::Boolean(value) = entry.value.kind else {
            self.wrong_kind(entry, "true or false");
            return None;
        };
        Some(value)
    }

    /// An integer within `range`; `unit` is for the message: "milliseconds", or empty.
    pub(crate) fn integer(&self, key: &str, range: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        let entry = self.get(key)?;
        let Kind::Integer(value) = entry.value.kind else {
            self.wrong_kind(entry, "an integer");
            return None;
        };
        match u64::try_from(value) {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                let separator = if unit.is_empty() { "" } else { " " };
                let label = format!("allowed: {} to {}{separator}{unit}", range.start(), range.end());
                self.reader.error(&entry.value, format!("`{}` is out of range: {value}", self.path_of(key)), label);
                None
            }
        }
    }

    /// One of `choices`, as it stands in that list.
    pub(crate) fn choice(&self, key: &str, choices: &[&'static str]) -> Option<&'static str> {
        let text = self.string(key)?;
        let found = choices.iter().find(|choice| **choice == text.value);
        if found.is_none() {
            let quoted: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
            let diagnostic = Diagnostic::error(format!("`{key}` has an unknown value \"{}\"", text.value));
            self.reader.problems.report(diagnostic.at(text.span, format!("allowed: {}", quoted.join(", "))));
        }
        found.copied()
    }

    /// A list of strings; a single string counts as a list of one.
    pub(crate) fn strings(&self, key: &str) -> Vec<Located<String>> {
        let Some(entry) = self.get(key) else {
            return Vec::new();
        };
        let items = match &entry.value.kind {
            Kind::Array(items) => items.as_slice(),
            Kind::String(_) => std::slice::from_ref(&entry.value),
            _ => {
                self.wrong_kind(entry, "a list of strings");
                return Vec::new();
            }
        };
        let mut strings = Vec::with_capacity(items.len());
        for item in items {
            match &item.kind {
                Kind::String(text) => {
                    strings.push(Located { value: text.clone(), span: self.reader.span(&item.range) });
                }
                _ => self.reader.error(
                    item,
                    format!("`{key}` is a list of strings"),
                    format!("expected a string, found {}", item.described()),
                ),
            }
        }
        strings
    }

    /// The table below `key`.
    pub(crate) fn section(&self, key: &str) -> Option<Section<'a>> {
        let entry = self.get(key)?;
        let Kind::Table(table) = &entry.value.kind else {
            self.wrong_kind(entry, "a table");
            return None;
        };
        Some(self.below(entry, table, &entry.value, format!("[{}]", self.path_of(key))))
    }

    /// The tables below `key`: `[[key]]`, or a single `[key]` as a list of one (contract 3.1, `[d1_databases]`).
    pub(crate) fn sections(&self, key: &str) -> Vec<Section<'a>> {
        let Some(entry) = self.get(key) else {
            return Vec::new();
        };
        let items = match &entry.value.kind {
            Kind::Array(items) => items.as_slice(),
            Kind::Table(_) => std::slice::from_ref(&entry.value),
            _ => {
                self.wrong_kind(entry, "a list of tables");
                return Vec::new();
            }
        };
        let title = format!("[[{}]]", self.path_of(key));
        let mut sections = Vec::with_capacity(items.len());
        for item in items {
            match &item.kind {
                Kind::Table(table) => sections.push(self.below(entry, table, item, title.clone())),
                _ => self.reader.error(
                    item,
                    format!("`{key}` is a list of tables"),
                    format!("expected a table, found {}", item.described()),
                ),
            }
        }
        sections
    }

    /// The required name on `env`.
    pub(crate) fn binding(&self) -> Option<Located<String>> {
        self.binding_or(None)
    }

    /// The name on `env`; `default` when the key is absent, an error when there is no default either.
    pub(crate) fn binding_or(&self, default: Option<&str>) -> Option<Located<String>> {
        if self.get("binding").is_none()
            && let Some(default) = default
        {
            return Some(Located { value: default.to_owned(), span: self.span.clone() });
        }
        let binding = self.required("binding")?;
        if is_binding_name(&binding.value) {
            return Some(binding);
        }
        let diagnostic = Diagnostic::error(format!("\"{}\" cannot be the name of a binding", binding.value))
            .at(binding.span, "letters, digits, `_`, `$` and `-`, no digit first");
        self.reader.problems.report(diagnostic);
        None
    }

    /// A string that must be there and not be empty.
    pub(crate) fn required(&self, key: &str) -> Option<Located<String>> {
        if self.get(key).is_none() {
            let diagnostic = Diagnostic::error(format!("`{key}` is missing in {}", self.title));
            self.reader.problems.report(diagnostic.at(self.span.clone(), format!("needs `{key} = \"...\"`")));
            return None;
        }
        let text = self.string(key)?;
        if text.value.is_empty() {
            self.reader.problems.report(Diagnostic::error(format!("`{key}` is empty")).at(text.span, ""));
            return None;
        }
        Some(text)
    }

    /// Reports that the value of `entry` should have been `expected`.
    pub(crate) fn wrong_kind(&self, entry: &Entry, expected: &str) {
        let message = format!("`{}` must be {expected}", self.path_of(&entry.key));
        self.reader.error(&entry.value, message, format!("expected {expected}, found {}", entry.value.described()));
    }

    fn below(&self, entry: &Entry, table: &'a Table, value: &Value, title: String) -> Section<'a> {
        // Tables that only exist through dotted keys have no place of their own.
        let range = if value.range.is_empty() { &entry.key_range } else { &value.range };
        Section { reader: self.reader, table, title, span: self.reader.span(range) }
    }

    fn path_of(&self, key: &str) -> String {
        let parent = self.title.trim_matches(['[', ']']);
        if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
    }
}
