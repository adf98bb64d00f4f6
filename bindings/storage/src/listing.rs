//! Where a page of a listing begins.
//!
//! A position is the least key that may come next, in the order of UTF-8 bytes. A cursor is a position that callers cannot
//! read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

/// The first position after a key: in the order of bytes, that key and a zero.
pub fn after(key: &str) -> String {
    format!("{key}\0")
}

/// The first position after every key that begins with `prefix`; `None` where nothing comes after them. UTF-8 keeps the order
/// of characters, so it is the prefix with its last character raised by one.
pub fn beyond(prefix: &str) -> Option<String> {
    let mut beyond = prefix.to_owned();
    while let Some(last) = beyond.pop() {
        // The range steps over the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            beyond.push(next);
            return Some(beyond);
        }
    }
    None
}

/// The part of `key` up to and including the first `delimiter` behind `prefix`, where there is one.
pub fn group_of<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let place = key.get(prefix.len()..)?.find(delimiter)?;
    key.get(..prefix.len() + place + delimiter.len())
}

/// The cursor of a position.
pub fn cursor_of(position: &str) -> String {
    BASE64.encode(position)
}

/// The position of a cursor; `None` where it is none.
pub fn position_of(cursor: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(cursor).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_a_prefix_is_the_next_character() {
        assert_eq!(beyond("ab").as_deref(), Some("ac"));
        assert_eq!(beyond("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(beyond("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(beyond("\u{10ffff}"), None);
        assert_eq!(beyond(""), None);
    }

    #[test]
    fn a_group_ends_with_its_delimiter() {
        assert_eq!(group_of("a/b/c", "", "/"), Some("a/"));
        assert_eq!(group_of("a/b/c", "a/", "/"), Some("a/b/"));
        assert_eq!(group_of("a/b/c", "a", "/"), Some("a/"));
        assert_eq!(group_of("a/b/c", "a/b/", "/"), None);
        assert_eq!(group_of("axxyxxz", "a", "xx"), Some("axx"));
        assert_eq!(group_of("é", "a", "/"), None);
    }

    #[test]
    fn a_cursor_leads_back_to_its_position() {
        assert_eq!(position_of(&cursor_of("kéy\0")).as_deref(), Some("kéy\0"));
        assert_eq!(position_of("%%%"), None);
        assert_eq!(position_of("bad"), None);
    }
}
