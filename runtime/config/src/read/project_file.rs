use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Kind, SyntaxError, Table, masked_ranges, masked_ranges_of_broken_text, parse_json, parse_toml};
use crate::environment::Environment;
use crate::paths::shown;
use crate::source::{Display, Source, Span};

/// A config file that parses.
pub(crate) struct ProjectFile {
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) source: Arc<Source>,
    pub(crate) document: Table,
    pub(crate) dialect: Dialect,
}

/// Whose file it is; the two read a few values differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `aerostack.toml`.
    Aerostack,
    /// `wrangler.toml`, `wrangler.json`, `wrangler.jsonc`: no references in `[vars]`, Cloudflare's weekday digits, and
    /// `[dev] host` is a host name to pretend.
    Wrangler,
}

impl ProjectFile {
    /// Reads and parses the file at the absolute `path`; none when it does not parse, and then the reasons are reported.
    pub(crate) fn open(path: &Path, environment: &dyn Environment, problems: &Problems) -> Option<Self> {
        let shown_path = shown(path, environment.current_directory());
        let bytes = match environment.read_file(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                problems.report(Diagnostic::error(format!("could not read {}: {error}", shown_path.display())));
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        if let Err(error) = std::str::from_utf8(&bytes) {
            let source = Source::new(shown_path, text, &[], Display::PositionOnly);
            let at = error.valid_up_to();
            let message = format!("{} is not UTF-8 text", source.path().display());
            problems.report(Diagnostic::error(message).at(Span::new(&source, at..at), ""));
            return None;
        }
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let dialect = if file_name.starts_with("wrangler.") { Dialect::Wrangler } else { Dialect::Aerostack };
        let is_json = file_name.ends_with(".json") || file_name.ends_with(".jsonc");
        let root = match if is_json { parse_json(text) } else { parse_toml(text) } {
            Ok(root) => root,
            Err(errors) => {
                let source = Source::new(shown_path, text, &masked_ranges_of_broken_text(text), Display::Frame);
                report_syntax_errors(&errors, &source, problems);
                return None;
            }
        };
        let Kind::Table(document) = root.kind else {
            let source = Source::new(shown_path, text, &[], Display::Frame);
            let diagnostic = Diagnostic::error("a config is a JSON object").at(Span::new(&source, root.range), "");
            problems.report(diagnostic);
            return None;
        };
        let source = Source::new(shown_path, text, &masked_ranges(&document), Display::Frame);
        Some(Self { path: path.to_path_buf(), source, document, dialect })
    }

    /// The absolute folder of the file.
    pub(crate) fn root(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

fn report_syntax_errors(errors: &[SyntaxError], source: &Arc<Source>, problems: &Problems) {
    for error in errors {
        let span = Span::new(source, error.range.clone());
        let diagnostic = Diagnostic::error(error.message.clone()).at(span, "");
        problems.report(match &error.first_use {
            Some(first) => diagnostic.related(Span::new(source, first.clone()), "it is here already"),
            None => diagnostic,
        });
    }
}
