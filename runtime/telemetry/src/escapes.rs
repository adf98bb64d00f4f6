use std::borrow::Cow;

use crate::style::Paint;

const ESCAPE: char = '\u{1b}';
const RESET: &str = "\u{1b}[0m";

/// Text from outside as it may be shown: with its colours where the stream has colours, and without them elsewhere. Nothing else in it can
/// act on a terminal: all other control characters but tabs and line ends are shown as U+FFFD. Colours end with the text.
pub fn shown(text: &str, paint: Paint) -> String {
    let mut result = String::with_capacity(text.len());
    let mut is_coloured = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let colour = if character == ESCAPE { colour_at_start(rest) } else { None };
        if let Some(colour) = colour {
            rest = &rest[colour.len()..];
            if paint.is_coloured() {
                result.push_str(colour);
                is_coloured = !matches!(colour, RESET | "\u{1b}[m");
            }
            continue;
        }
        rest = &rest[character.len_utf8()..];
        let acts = character.is_control() && !matches!(character, '\t' | '\n');
        result.push(if acts { '\u{fffd}' } else { character });
    }
    if is_coloured {
        result.push_str(RESET);
    }
    result
}

/// Text for a program: without its colours, and otherwise as it is.
pub fn without_colours(text: &str) -> Cow<'_, str> {
    if !text.contains(ESCAPE) {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(escape) = rest.find(ESCAPE) {
        result.push_str(&rest[..escape]);
        rest = &rest[escape..];
        if let Some(colour) = colour_at_start(rest) {
            rest = &rest[colour.len()..];
        } else {
            result.push(ESCAPE);
            rest = &rest[ESCAPE.len_utf8()..];
        }
    }
    result.push_str(rest);
    Cow::Owned(result)
}

/// The escape sequence that `text` begins with, if it selects a colour or a style ("SGR", ECMA-48 8.3.117).
fn colour_at_start(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':')).count();
    (parameters.as_bytes().get(length) == Some(&b'm')).then(|| &text[..=text.len() - parameters.len() + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_kept_where_there_are_colours_and_removed_elsewhere() {
        let text = "\u{1b}[31mred\u{1b}[0m \u{1b}[1;38;2;1;2;3mbold\u{1b}[m plain";
        assert_eq!(shown(text, Paint::Coloured), text);
        assert_eq!(shown(text, Paint::Plain), "red bold plain");
        assert_eq!(without_colours(text), "red bold plain");
        assert_eq!(without_colours("\u{1b}[2J\u{1b}[1mx\u{1b}"), "\u{1b}[2Jx\u{1b}");
    }

    #[test]
    fn a_colour_that_is_not_reset_ends_with_the_text() {
        assert_eq!(shown("\u{1b}[31mred\nred", Paint::Coloured), "\u{1b}[31mred\nred\u{1b}[0m");
    }

    #[test]
    fn nothing_else_acts_on_a_terminal() {
        for paint in [Paint::Coloured, Paint::Plain] {
            for (text, expected) in [
                ("a\u{1b}[2Jb", "a\u{fffd}[2Jb"),
                ("\u{1b}]0;title\u{7}", "\u{fffd}]0;title\u{fffd}"),
                ("\u{1b}[31", "\u{fffd}[31"),
                ("\u{1b}[?25m", "\u{fffd}[?25m"),
                ("\u{1b}", "\u{fffd}"),
                ("\u{9b}31m\r\0", "\u{fffd}31m\u{fffd}\u{fffd}"),
                ("tab\tline\nä€", "tab\tline\nä€"),
            ] {
                assert_eq!(shown(text, paint), expected, "{text:?}");
            }
        }
    }
}
