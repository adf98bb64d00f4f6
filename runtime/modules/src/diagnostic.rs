//! Problems in a worker's sources, as values: the command line prints them, the error page shows them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::frame::{CodeFrame, FramePlace, FrameStyle, render_code_frame};
use crate::position::PositionRange;

/// One problem in one file.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// What kind of problem it is.
    pub kind: DiagnosticKind,
    /// What is wrong, one line, lower case.
    pub message: String,
    /// The file it is in, absolute.
    pub path: PathBuf,
    /// The file as it is printed: relative to the project, `/` between folders.
    pub file: String,
    /// The text of the file; empty when it could not be read as text.
    pub source: Arc<str>,
    /// Where in the file; `None` when the problem is the file as a whole.
    pub range: Option<PositionRange>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What kind of problem a [`Diagnostic`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiagnosticKind {
    /// The text is not JavaScript, TypeScript or JSON.
    Syntax,
    /// An import leads nowhere, or somewhere it may not lead.
    Import,
    /// A file is there and could not be read, or is not UTF-8.
    Read,
    /// A file is a CommonJS module, which workers cannot load.
    CommonJs,
    /// `tsconfig.json` is not usable.
    Configuration,
}

/// All that kept a graph from loading, and the files to watch for a better try.
#[derive(Debug)]
pub struct ModuleErrors {
    /// The problems, in the order in which the walk met them; never empty.
    pub diagnostics: Vec<Diagnostic>,
    pub(crate) files: Vec<PathBuf>,
}

impl Diagnostic {
    /// `file:line:column`, or the file alone when the problem has no place in it.
    pub fn location(&self) -> String {
        match self.range {
            Some(PositionRange { start, .. }) => format!("{}:{}:{}", self.file, start.line, start.column),
            None => self.file.clone(),
        }
    }

    /// The problem as a code frame.
    pub fn render(&self, style: FrameStyle) -> String {
        let place = self.range.map(|range| FramePlace { source: &self.source, range });
        let frame = CodeFrame { message: &self.message, file: &self.file, place, hint: self.hint.as_deref() };
        render_code_frame(&frame, style)
    }
}

impl ModuleErrors {
    /// All problems as code frames with a blank line between them.
    pub fn render(&self, style: FrameStyle) -> String {
        let frames: Vec<String> = self.diagnostics.iter().map(|diagnostic| diagnostic.render(style)).collect();
        frames.join("\n\n")
    }

    /// Files that a watcher should follow to try again: those that were read, and those that were looked for in vain.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }
}

impl std::fmt::Display for ModuleErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(FrameStyle::Plain))
    }
}

impl std::error::Error for ModuleErrors {}
