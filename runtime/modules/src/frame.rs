//! Code frames: a message, `file:line:column`, and the lines around that place with a caret under it.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use crate::position::{Position, PositionRange};

/// What a code frame shows. Borrowed, because a frame is drawn and thrown away.
#[derive(Debug, Clone, Copy)]
pub struct CodeFrame<'a> {
    /// What went wrong, one line as a rule.
    pub message: &'a str,
    /// The file as it should be printed, usually relative to the project.
    pub file: &'a str,
    /// Where in the file; `None` when the problem is the file as a whole.
    pub place: Option<FramePlace<'a>>,
    /// What to do about it.
    pub hint: Option<&'a str>,
}

/// A piece of a source text that a frame points at.
#[derive(Debug, Clone, Copy)]
pub struct FramePlace<'a> {
    /// The whole text of the file.
    pub source: &'a str,
    /// The piece to underline.
    pub range: PositionRange,
}

/// Whether a frame carries terminal colours. It reads the same without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameStyle {
    /// Text alone.
    Plain,
    /// With ANSI colours.
    Coloured,
}

const LINES_BEFORE: usize = 2;
const LINES_AFTER: usize = 2;
const TAB_WIDTH: usize = 4;
/// Minified files have lines of a megabyte: what is wider than this is cut around the caret.
const WIDEST_LINE: usize = 140;

/// Draws a code frame. It ends without a newline. Control characters in the source and in the message are replaced, so that
/// neither can move the cursor of the terminal.
pub fn render_code_frame(frame: &CodeFrame<'_>, style: FrameStyle) -> String {
    let paint = Paint { style };
    let mut out = String::new();
    out.push_str(&paint.error("error"));
    out.push_str(&paint.bold(&format!(": {}", printable(frame.message))));

    let Some(place) = frame.place else {
        let _ = write!(out, "\n {} {}", paint.gutter("-->"), printable(frame.file));
        push_hint(&mut out, frame.hint, 2, &paint);
        return out;
    };

    let start = place.range.start;
    let line_index = (start.line.max(1) - 1) as usize;
    let first_line = line_index.saturating_sub(LINES_BEFORE);
    let lines: Vec<&str> =
        place.source.lines().skip(first_line).take(line_index - first_line + LINES_AFTER + 1).collect();
    let gutter = (first_line + lines.len()).max(1).to_string().len();

    let _ = write!(
        out,
        "\n{:gutter$}{} {}:{}:{}",
        "",
        paint.gutter("-->"),
        printable(frame.file),
        start.line,
        start.column
    );
    if lines.len() > line_index - first_line {
        let _ = write!(out, "\n{:gutter$} {}", "", paint.gutter("|"));
        for (index, line) in lines.iter().enumerate() {
            let number = first_line + index + 1;
            let _ = write!(out, "\n{}", paint.gutter(&format!("{number:>gutter$} |")));
            let cells = Cells::of(line);
            if number != line_index + 1 {
                push_line(&mut out, &cells.window(0));
                continue;
            }
            let from = cells.of_column(start.column);
            let until = match place.range.end {
                Position { line, column } if line == start.line => cells.of_column(column),
                _ => cells.width(),
            };
            let view = cells.view_around(from);
            push_line(&mut out, &cells.window(view));
            let shown_until = until.min(view + WIDEST_LINE);
            let carets = shown_until.saturating_sub(from).max(1);
            let _ = write!(
                out,
                "\n{:gutter$} {} {:indent$}{}",
                "",
                paint.gutter("|"),
                "",
                paint.error(&"^".repeat(carets)),
                indent = from - view
            );
        }
    }
    push_hint(&mut out, frame.hint, gutter + 1, &paint);
    out
}

/// A line of the source behind its gutter. No line ends with blanks.
fn push_line(out: &mut String, line: &str) {
    let line = line.trim_end();
    if !line.is_empty() {
        out.push(' ');
        out.push_str(line);
    }
}

fn push_hint(out: &mut String, hint: Option<&str>, indent: usize, paint: &Paint) {
    if let Some(hint) = hint {
        let _ = write!(out, "\n{:indent$}{} {}", "", paint.hint("= hint:"), printable(hint));
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() && char != '\n' { '\u{FFFD}' } else { char }).collect()
}

/// A line as it is drawn: one entry a terminal cell, `None` for the second cell of a wide character.
struct Cells {
    cells: Vec<Option<char>>,
    /// Cell in which each UTF-16 unit of the line begins, and one more for the place behind the last.
    units: Vec<usize>,
}

impl Cells {
    fn of(line: &str) -> Self {
        let mut cells = Vec::new();
        let mut units = Vec::new();
        for char in line.chars() {
            units.extend(std::iter::repeat_n(cells.len(), char.len_utf16()));
            match char {
                '\t' => cells.extend(std::iter::repeat_n(Some(' '), TAB_WIDTH)),
                char if char.is_control() => cells.push(Some('\u{FFFD}')),
                char => {
                    // A combining mark is drawn over the cell before it; a cell of its own would shift the caret.
                    let width = char.width().unwrap_or(0);
                    if width > 0 {
                        cells.push(Some(char));
                        cells.extend(std::iter::repeat_n(None, width - 1));
                    }
                }
            }
        }
        units.push(cells.len());
        Self { cells, units }
    }

    fn width(&self) -> usize {
        self.cells.len()
    }

    fn of_column(&self, column: u32) -> usize {
        let unit = (column.max(1) - 1) as usize;
        self.units.get(unit).copied().unwrap_or(self.width())
    }

    /// The first cell to draw so that `cell` is seen.
    fn view_around(&self, cell: usize) -> usize {
        if self.width() <= WIDEST_LINE || cell < WIDEST_LINE / 2 { 0 } else { cell - WIDEST_LINE / 2 }
    }

    fn window(&self, first: usize) -> String {
        self.cells.iter().skip(first).take(WIDEST_LINE).flatten().collect()
    }
}

struct Paint {
    style: FrameStyle,
}

impl Paint {
    fn error(&self, text: &str) -> String {
        self.wrap("\x1b[1;31m", text)
    }

    fn bold(&self, text: &str) -> String {
        self.wrap("\x1b[1m", text)
    }

    fn gutter(&self, text: &str) -> String {
        self.wrap("\x1b[34m", text)
    }

    fn hint(&self, text: &str) -> String {
        self.wrap("\x1b[36m", text)
    }

    fn wrap(&self, code: &str, text: &str) -> String {
        match self.style {
            FrameStyle::Plain => text.to_owned(),
            FrameStyle::Coloured => format!("{code}{text}\x1b[0m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_at(source: &str, start: (u32, u32), end: (u32, u32)) -> String {
        let range = PositionRange {
            start: Position { line: start.0, column: start.1 },
            end: Position { line: end.0, column: end.1 },
        };
        let place = Some(FramePlace { source, range });
        render_code_frame(
            &CodeFrame { message: "it broke", file: "src/a.ts", place, hint: Some("mend it") },
            FrameStyle::Plain,
        )
    }

    #[test]
    fn a_frame_shows_two_lines_around_and_underlines_the_piece() {
        let drawn = frame_at("one\ntwo\nthree\nfour five\nsix\nseven\neight\n", (4, 6), (4, 10));
        let expected = "error: it broke
 --> src/a.ts:4:6
  |
2 | two
3 | three
4 | four five
  |      ^^^^
5 | six
6 | seven
  = hint: mend it";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn the_gutter_is_as_wide_as_the_largest_line_number() {
        let source = "x\n".repeat(12);
        let drawn = frame_at(&source, (9, 1), (9, 2));
        assert!(drawn.contains("\n  --> src/a.ts:9:1\n   |\n 7 | x\n"), "{drawn}");
        assert!(drawn.contains("\n11 | x\n   = hint"), "{drawn}");
    }

    #[test]
    fn tabs_and_wide_characters_keep_the_caret_in_place() {
        let drawn = frame_at("\t'漢😀' + oops", (1, 10), (1, 14));
        assert!(drawn.contains("1 |     '漢😀' + oops\n  |              ^^^^"), "{drawn}");
    }

    #[test]
    fn a_megabyte_on_one_line_is_cut_around_the_caret() {
        let source = format!("{}oops{}", "a;".repeat(500_000), "b;".repeat(10));
        let drawn = frame_at(&source, (1, 1_000_001), (1, 1_000_005));
        assert!(drawn.len() < 600, "{}", drawn.len());
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[3].find("oops"), lines[4].find("^^^^"), "{drawn}");
    }

    #[test]
    fn escape_sequences_in_a_source_cannot_reach_the_terminal() {
        let drawn = frame_at("let a = '\x1b[2J'", (1, 5), (1, 6));
        assert!(!drawn.contains('\x1b'), "{drawn:?}");
    }

    #[test]
    fn a_place_outside_the_text_still_names_the_line() {
        let drawn = frame_at("one line", (7, 3), (7, 3));
        assert_eq!(drawn, "error: it broke\n --> src/a.ts:7:3\n  = hint: mend it");
    }

    #[test]
    fn an_empty_file_gets_a_frame_too() {
        assert_eq!(frame_at("", (1, 1), (1, 1)), "error: it broke\n --> src/a.ts:1:1\n  = hint: mend it");
    }

    #[test]
    fn colours_are_only_added_never_needed() {
        let place = Some(FramePlace { source: "a", range: PositionRange::point(Position { line: 1, column: 1 }) });
        let frame = CodeFrame { message: "m", file: "f", place, hint: Some("h") };
        let coloured = render_code_frame(&frame, FrameStyle::Coloured);
        assert!(coloured.contains("\x1b[1;31m^\x1b[0m"));
        let codes = ["\x1b[1;31m", "\x1b[1m", "\x1b[34m", "\x1b[36m", "\x1b[0m"];
        let stripped = codes.iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(stripped, render_code_frame(&frame, FrameStyle::Plain));
    }
}
