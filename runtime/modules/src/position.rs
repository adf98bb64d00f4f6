//! Places in a text, counted the way V8 and editors count them.

use std::ops::Range;

/// A place in a text: line and column from 1, the column in UTF-16 code units, as in a V8 stack frame and in VS Code's
/// `file:line:column` links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in UTF-16 code units.
    pub column: u32,
}

/// A piece of a text, from the first place to the place just behind its last character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PositionRange {
    /// Where the piece begins.
    pub start: Position,
    /// Just behind its last character; equal to `start` for a point.
    pub end: Position,
}

impl Position {
    /// The place of a byte. An offset past the end, or inside a character, means the nearest place before it.
    pub fn of_byte(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() as u32 + 1,
            column: before[line_start..].encode_utf16().count() as u32 + 1,
        }
    }
}

impl PositionRange {
    /// The places of a range of bytes.
    pub fn of_bytes(text: &str, bytes: Range<usize>) -> Self {
        let start = Position::of_byte(text, bytes.start);
        Self { start, end: Position::of_byte(text, bytes.end).max(start) }
    }

    /// A single place.
    pub fn point(at: Position) -> Self {
        Self { start: at, end: at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_utf16_units_from_one() {
        let text = "a\nbé😀c";
        let c = text.find('c').expect("it is in there");
        assert_eq!(Position::of_byte(text, 0), Position { line: 1, column: 1 });
        assert_eq!(Position::of_byte(text, 2), Position { line: 2, column: 1 });
        assert_eq!(Position::of_byte(text, c), Position { line: 2, column: 5 });
    }

    #[test]
    fn an_offset_inside_a_character_or_past_the_end_is_moved_back() {
        assert_eq!(Position::of_byte("😀", 2), Position { line: 1, column: 1 });
        assert_eq!(Position::of_byte("ab", 99), Position { line: 1, column: 3 });
    }
}
