//! Which statements of a call D1 drops before they reach the database.

/// Whether there is nothing in a text but white space and comments that white space precedes on their line. D1 runs such a
/// statement of a batch, or such a line of `exec`, as if it were not there; a comment at the beginning of a line it takes for SQL.
pub(crate) fn is_blank(sql: &str) -> bool {
    let mut rest = sql;
    loop {
        let text = rest.trim_start_matches(is_white_space);
        if text.is_empty() {
            return true;
        }
        let is_indented = text.len() < rest.len();
        let Some(comment) = text.strip_prefix("--").filter(|_| is_indented) else { return false };
        let Some((_, next_line)) = comment.split_once(ends_line) else { return true };
        rest = next_line;
    }
}

/// White space of JavaScript, which has one character more than Unicode.
fn is_white_space(character: char) -> bool {
    character.is_whitespace() || character == '\u{feff}'
}

fn ends_line(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::is_blank;

    #[test]
    fn white_space_and_indented_comments_are_no_statement() {
        for sql in [
            "",
            " ",
            "\r",
            "\n\t\r\n",
            "\u{feff}",
            "  -- a",
            "\n-- a",
            "\n  -- a\n",
            "  -- a\n  -- b",
            "\t--",
            " -- a\n\n-- b",
            "  -- a\r\n-- b",
        ] {
            assert!(is_blank(sql), "{sql:?}");
        }
    }

    #[test]
    fn anything_else_is_one() {
        for sql in [
            "-- a",
            ";",
            "SELECT 1",
            " SELECT 1",
            "/* a */",
            "  -- a\n-- b",
            "  -- a\r-- b",
            "  -- a\nSELECT 1",
            "- -",
            "  -",
        ] {
            assert!(!is_blank(sql), "{sql:?}");
        }
    }
}
