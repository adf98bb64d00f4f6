//! The problems of a load, each where its cause is written.

use std::path::Path;
use std::sync::Arc;

use crate::compile::Import;
use crate::diagnostic::{Diagnostic, DiagnosticKind};
use crate::loader::{ImportSite, Walk, Wanted};
use crate::module::Module;
use crate::position::PositionRange;
use crate::resolve::{ResolveError, normalize};

impl Walk<'_> {
    /// The main file is not there, or not where it may be.
    pub(super) fn main_problem(&self, path: &Path, shown: &str, error: Option<&ResolveError>) -> Diagnostic {
        let message = match error {
            None => format!("cannot find the worker's main file {shown}"),
            Some(error) => error.to_string(),
        };
        let mut problem = self.problem_in(&normalize(path), DiagnosticKind::Import, message, &Arc::from(""), None);
        problem.hint = match error {
            None => Some("`main` in aerostack.toml names it".to_owned()),
            Some(error) => error.hint(),
        };
        problem
    }

    pub(super) fn import_problem(&self, module: &Module, import: &Import, error: &ResolveError) -> Diagnostic {
        let hint = match (import.bytes, error) {
            (None, ResolveError::PackageNotInstalled { .. } | ResolveError::NotFound { .. }) => Some(
                "JSX needs this import: name the package in tsconfig.json, as in \"jsxImportSource\": \"hono/jsx\", or in the file, \
                 as in /** @jsxImportSource hono/jsx */"
                    .to_owned(),
            ),
            _ => error.hint(),
        };
        Diagnostic {
            kind: DiagnosticKind::Import,
            message: error.to_string(),
            path: module.path.clone(),
            file: self.resolver.files.display(&module.path),
            source: module.original.clone(),
            range: import.bytes.map(|(start, end)| PositionRange::of_bytes(&module.original, start..end)),
            hint,
        }
    }

    pub(super) fn attribute_problem(&self, module: &Module, import: &Import, attribute: &str) -> Diagnostic {
        let message = format!("import attribute type \"{attribute}\" is not supported");
        let range = import.bytes.map(|(start, end)| PositionRange::of_bytes(&module.original, start..end));
        let mut problem = self.problem_in(&module.path, DiagnosticKind::Import, message, &module.original, range);
        problem.hint = Some("the types are \"json\", \"text\" and \"bytes\"".to_owned());
        problem
    }

    pub(super) fn problem_in(
        &self,
        path: &Path,
        kind: DiagnosticKind,
        message: String,
        source: &Arc<str>,
        range: Option<PositionRange>,
    ) -> Diagnostic {
        let file = self.resolver.files.display(path);
        Diagnostic { kind, message, path: path.to_path_buf(), file, source: source.clone(), range, hint: None }
    }

    /// A problem of the file itself, shown where it is imported: that is the line to change.
    fn problem_at_import(&self, wanted: &Wanted, kind: DiagnosticKind, message: String, hint: &str) -> Diagnostic {
        let mut problem = match &wanted.site {
            Some(ImportSite { importer, bytes, .. }) => {
                let range = bytes.map(|(start, end)| PositionRange::of_bytes(&importer.original, start..end));
                self.problem_in(&importer.path, kind, message, &importer.original, range)
            }
            None => self.problem_in(&wanted.path, kind, message, &Arc::from(""), None),
        };
        problem.hint = Some(hint.to_owned());
        problem
    }

    pub(super) fn commonjs_problem(&self, wanted: &Wanted, text: Option<&Arc<str>>) -> Diagnostic {
        let file = self.resolver.files.display(&wanted.path);
        let message = format!("{file} is a CommonJS module, which a worker cannot load");
        if file.contains("node_modules/") {
            let hint = "look for a version of the package with ES modules, or for another package that has them";
            return self.problem_at_import(wanted, DiagnosticKind::CommonJs, message, hint);
        }
        let hint = "write `export` instead of `module.exports`, and `import` instead of `require()`";
        match text {
            Some(text) => {
                let mut problem = self.problem_in(&wanted.path, DiagnosticKind::CommonJs, message, text, None);
                problem.range = commonjs_place(text);
                problem.hint = Some(hint.to_owned());
                problem
            }
            None => self.problem_at_import(wanted, DiagnosticKind::CommonJs, message, hint),
        }
    }

    pub(super) fn unknown_type_problem(&self, wanted: &Wanted) -> Diagnostic {
        let file = self.resolver.files.display(&wanted.path);
        let specifier = wanted.site.as_ref().map_or_else(|| file.clone(), |site| site.specifier.clone());
        let error = ResolveError::UnknownFileType { specifier, file };
        let hint = error.hint().unwrap_or_default();
        self.problem_at_import(wanted, DiagnosticKind::Import, error.to_string(), &hint)
    }

    pub(super) fn read_problem(&self, path: &Path, error: &std::io::Error) -> Diagnostic {
        let message = format!("cannot read {}: {error}", self.resolver.files.display(path));
        let mut problem = self.problem_in(path, DiagnosticKind::Read, message, &Arc::from(""), None);
        if error.kind() == std::io::ErrorKind::InvalidData {
            problem.hint = Some("save it as UTF-8; files named .bin are imported as bytes".to_owned());
        }
        problem
    }

    pub(super) fn json_problem(&self, path: &Path, text: &Arc<str>, error: &serde_json::Error) -> Diagnostic {
        // serde_json counts columns in bytes and adds the place to its message.
        let line_start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let at = (line_start + error.column().saturating_sub(1)).min(text.len());
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
        let range = PositionRange::of_bytes(text, at..at);
        self.problem_in(path, DiagnosticKind::Syntax, format!("invalid JSON: {message}"), text, Some(range))
    }
}

/// The first mark of CommonJS in a text.
fn commonjs_place(text: &str) -> Option<PositionRange> {
    let marks = ["module.exports", "exports.", "require(", "export ="];
    let (at, mark) = marks.iter().filter_map(|mark| Some((text.find(mark)?, mark))).min()?;
    Some(PositionRange::of_bytes(text, at..at + mark.len()))
}
