//! `.dev.vars`: `KEY=value` lines (contract 3.7). The syntax is that of dotenv files, with one difference: `#` starts a
//! comment only after white space, so that passwords with a `#` work unquoted.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Problems};
use crate::environment::Environment;
use crate::paths::shown;
use crate::secret::Secret;
use crate::source::{Display, Source, Span};

/// The variables of one `.dev.vars` file, in its order, each name once.
pub(crate) struct DevVars {
    /// As shown in hints, also when there is no such file.
    pub(crate) path: String,
    pub(crate) variables: Vec<DevVar>,
}

pub(crate) struct DevVar {
    pub(crate) name: String,
    pub(crate) value: Secret,
    pub(crate) span: Span,
}

/// Walks over the text; `position` is always on a character border.
struct Cursor<'a> {
    text: &'a str,
    position: usize,
}

impl DevVars {
    /// Reads `path`; a missing file is an empty one, anything else that is wrong is reported with its line.
    pub(crate) fn read(path: &Path, environment: &dyn Environment, problems: &Problems) -> Self {
        let shown_path = shown(path, environment.current_directory());
        let mut result = Self { path: shown_path.display().to_string(), variables: Vec::new() };
        let bytes = match environment.read_file(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return result,
            Err(error) => {
                problems.report(Diagnostic::error(format!("could not read {}: {error}", result.path)));
                return result;
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let source = Source::new(shown_path, text, &[], Display::PositionOnly);
        if let Err(error) = std::str::from_utf8(&bytes) {
            let at = Span::new(&source, error.valid_up_to()..error.valid_up_to());
            problems.report(Diagnostic::error(format!("{} is not UTF-8 text", result.path)).at(at, ""));
            return result;
        }
        result.parse(text, &source, problems);
        result
    }

    pub(crate) fn get(&self, name: &str) -> Option<&DevVar> {
        self.variables.iter().find(|variable| variable.name == name)
    }

    fn parse(&mut self, text: &str, source: &Arc<Source>, problems: &Problems) {
        let mut cursor = Cursor { text, position: 0 };
        while !cursor.rest().is_empty() {
            let line_start = cursor.position;
            match cursor.line() {
                Ok(None) => {}
                Ok(Some((name, name_range, value))) => {
                    let span = Span::new(source, name_range);
                    self.set(DevVar { name, value: Secret::new(value), span }, problems);
                }
                Err((message, range)) => {
                    let error = Diagnostic::error(message).at(Span::new(source, range), "");
                    problems.report(error.help("a line is `KEY=value`, `KEY=\"value\"` or `# a comment`"));
                    cursor.position = line_start;
                    cursor.skip_line();
                }
            }
        }
    }

    fn set(&mut self, variable: DevVar, problems: &Problems) {
        let Some(earlier) = self.variables.iter_mut().find(|earlier| earlier.name == variable.name) else {
            self.variables.push(variable);
            return;
        };
        let (line, _) = earlier.span.line_and_column();
        let message = format!("\"{}\" is set twice; the value of line {line} is not used", variable.name);
        problems.report(Diagnostic::warning(message).at(variable.span.clone(), ""));
        *earlier = variable;
    }
}

/// A name, the range of the name, and the value.
type Assignment = (String, Range<usize>, String);

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    /// Reads one line, or several when a quoted value spans them; none for an empty line or a comment.
    fn line(&mut self) -> Result<Option<Assignment>, (String, Range<usize>)> {
        self.skip_blanks();
        if self.rest().is_empty() || self.rest().starts_with(['#', '\n', '\r']) {
            self.skip_line();
            return Ok(None);
        }
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            self.position += "export".len();
            self.skip_blanks();
        }
        let name_start = self.position;
        let name_length = self.rest().find(|c: char| !is_name_character(c)).unwrap_or(self.rest().len());
        let name_range = name_start..name_start + name_length;
        let name = &self.text[name_range.clone()];
        self.position += name_length;
        self.skip_blanks();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(("a name of letters, digits and `_` was expected".to_owned(), name_start..name_start));
        }
        if !self.rest().starts_with('=') {
            return Err(("`=` was expected after the name".to_owned(), self.position..self.position));
        }
        self.position += 1;
        self.skip_blanks();
        let value = self.value(name)?;
        Ok(Some((name.to_owned(), name_range, value)))
    }

    fn value(&mut self, name: &str) -> Result<String, (String, Range<usize>)> {
        let start = self.position;
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
            return Ok(self.unquoted_value());
        };
        let Some(length) = closing_quote(&self.rest()[1..], quote) else {
            return Err((format!("the quoted value of \"{name}\" has no end"), start..start + 1));
        };
        let inner = &self.rest()[1..=length];
        self.position += length + 2;
        self.skip_blanks();
        if !(self.rest().is_empty() || self.rest().starts_with(['#', '\n', '\r'])) {
            let here = self.position..self.position;
            return Err((format!("text after the closing quote of \"{name}\""), here));
        }
        self.skip_line();
        let inner = inner.replace("\r\n", "\n");
        Ok(if quote == '"' { unescaped(&inner) } else { inner })
    }

    fn unquoted_value(&mut self) -> String {
        let line = self.rest().lines().next().unwrap_or("");
        let comment = line
            .char_indices()
            .find(|(at, c)| *c == '#' && (*at == 0 || line[..*at].ends_with([' ', '\t'])))
            .map_or(line.len(), |(at, _)| at);
        let value = line[..comment].trim().to_owned();
        self.skip_line();
        value
    }

    fn skip_blanks(&mut self) {
        self.position += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    fn skip_line(&mut self) {
        self.position += self.rest().find('\n').map_or(self.rest().len(), |newline| newline + 1);
    }
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

/// The position of the closing quote in the text after the opening one. A backslash before a double quote escapes it.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (position, character) in text.char_indices() {
        if character == quote && !escaped {
            return Some(position);
        }
        escaped = quote == '"' && character == '\\' && !escaped;
    }
    None
}

/// `\n`, `\r`, `\t`, `\"` and `\\` of a double-quoted value; other backslashes stay as they are.
fn unescaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let replacement = match (character, characters.peek()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('t')) => '\t',
            ('\\', Some('"')) => '"',
            ('\\', Some('\\')) => '\\',
            _ => {
                result.push(character);
                continue;
            }
        };
        characters.next();
        result.push(replacement);
    }
    result
}
