use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that diagnostics point into. It keeps the text only as it may be shown: secrets are starred out when it is made.
#[derive(PartialEq, Eq)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
    display: Display,
}

/// What a diagnostic may show of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Display {
    /// The lines themselves.
    Frame,
    /// The position only: every line of the file may be a secret (`.dev.vars`).
    PositionOnly,
}

/// A place in a file, cheap to clone and able to show itself: `aerostack.toml:3:1`.
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    source: Arc<Source>,
    range: Range<usize>,
}

/// A value and the place it was written at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl Source {
    /// `text` must not start with a byte order mark. `masked` are byte ranges that are never shown.
    pub(crate) fn new(path: PathBuf, text: &str, masked: &[Range<usize>], display: Display) -> Arc<Self> {
        Arc::new(Self { path, text: with_stars(text, masked), display })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn display(&self) -> Display {
        self.display
    }
}

impl Span {
    /// Makes the range safe to slice with: inside the text, on character borders.
    pub(crate) fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        let start = floor_border(&source.text, range.start);
        let end = floor_border(&source.text, range.end.max(start));
        Self { source: Arc::clone(source), range: start..end }
    }

    /// The file, relative to the folder the command ran in where that is possible.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// The byte range, counted from after a byte order mark.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The place of a part of this string, whose value is `text`. The whole place where the file spells the value in another
    /// way than letter by letter.
    pub(crate) fn of_part(&self, text: &str, part: &Range<usize>) -> Self {
        let start = self.range.start + 1;
        if self.source.text.get(start..start + text.len()) != Some(text) || part.len() == text.len() {
            return self.clone();
        }
        Self { source: Arc::clone(&self.source), range: start + part.start..start + part.end }
    }

    /// Line and column of the start, both from 1, the column in characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = &self.source.text[..self.range.start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The part of the range on its first line, so that a code frame never grows past a line.
    pub(crate) fn first_line_range(&self) -> Range<usize> {
        let text = &self.source.text[self.range.clone()];
        let length = text.find(['\n', '\r']).unwrap_or(text.len());
        self.range.start..self.range.start + length
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(formatter, "{}:{line}:{column}", self.path().display())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Span({self})")
    }
}

fn floor_border(text: &str, position: usize) -> usize {
    let mut position = position.min(text.len());
    while !text.is_char_boundary(position) {
        position -= 1;
    }
    position
}

/// Replaces every byte of `masked` but line ends by a star, so that byte positions and lines stay as they were.
fn with_stars(text: &str, masked: &[Range<usize>]) -> String {
    let mut result = String::with_capacity(text.len());
    for (position, character) in text.char_indices() {
        if character != '\n' && character != '\r' && masked.iter().any(|range| range.contains(&position)) {
            result.extend(std::iter::repeat_n('*', character.len_utf8()));
        } else {
            result.push(character);
        }
    }
    result
}
