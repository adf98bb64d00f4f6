use std::cell::RefCell;
use std::error::Error;
use std::fmt;

use crate::render::render;
use crate::source::Span;

/// One problem of a config: what, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the config can still be used.
    pub severity: Severity,
    /// What is wrong. Never holds the value of a secret.
    pub message: String,
    /// Where; none when there is no file to point into.
    pub span: Option<Span>,
    /// The text beside the marked place; empty for none.
    pub label: String,
    /// Other places that matter, for example the first use of a name that is used twice.
    pub related: Vec<(Span, String)>,
    /// What to do, a line each.
    pub help: Vec<String>,
}

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// The config can be used, but probably does not do what its author meant.
    Warning,
}

/// Whether rendered text holds ANSI colour codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI codes.
    Always,
}

/// Every problem of a config that cannot be used: at least one error, and the warnings too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The problems, in the order of the files' lines.
    pub diagnostics: Vec<Diagnostic>,
}

/// Collects problems while a config is read, so that all of them are reported at once.
#[derive(Default)]
pub(crate) struct Problems(RefCell<Vec<Diagnostic>>);

impl Diagnostic {
    /// An error without a place.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    /// A warning without a place.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Self {
        Self { severity, message, span: None, label: String::new(), related: Vec::new(), help: Vec::new() }
    }

    /// Points at `span`; an empty `label` marks it without a text.
    #[must_use]
    pub fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.span = Some(span);
        self.label = label.into();
        self
    }

    /// Points at a second place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// The problem with its code frame, without a line end at the end.
    pub fn render(&self, colour: Colour) -> String {
        render(self, colour)
    }
}

impl ConfigErrors {
    /// All problems with their code frames, an empty line between two.
    pub fn render(&self, colour: Colour) -> String {
        render_all(&self.diagnostics, colour)
    }
}

impl From<Diagnostic> for ConfigErrors {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic] }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(Colour::Never))
    }
}

impl Error for ConfigErrors {}

impl Problems {
    /// Adds a problem; one that two readers of the same key both found is kept once.
    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        let mut diagnostics = self.0.borrow_mut();
        if !diagnostics.contains(&diagnostic) {
            diagnostics.push(diagnostic);
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.0.borrow().iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The problems in reading order: files as they were first mentioned, then lines; placeless ones first.
    pub(crate) fn into_sorted(self) -> Vec<Diagnostic> {
        let mut diagnostics = self.0.into_inner();
        let mut files = Vec::new();
        for span in diagnostics.iter().filter_map(|diagnostic| diagnostic.span.as_ref()) {
            if !files.contains(&span.path().to_path_buf()) {
                files.push(span.path().to_path_buf());
            }
        }
        diagnostics.sort_by_key(|diagnostic| {
            diagnostic.span.as_ref().map(|span| (files.iter().position(|file| file == span.path()), span.range().start))
        });
        diagnostics
    }
}

/// Several diagnostics with their code frames, an empty line between two.
pub fn render_all(diagnostics: &[Diagnostic], colour: Colour) -> String {
    let rendered: Vec<String> = diagnostics.iter().map(|diagnostic| diagnostic.render(colour)).collect();
    rendered.join("\n\n")
}
