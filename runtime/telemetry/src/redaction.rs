use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};

/// Values that no line and no page may show. Cheap to clone: all clones know the same values.
///
/// A value is found where it stands as it is, as a string inside JSON, and, when it has several lines (a key in PEM form), line by
/// line. It is not found where it was encoded in another way or taken apart. Values of fewer than eight characters are not hidden:
/// they would take words out of lines that have nothing to do with them. Neither are addresses of this machine, which are no
/// secrets and stand in many lines.
#[derive(Clone, Default)]
pub struct Redaction {
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    forms: BTreeSet<String>,
    /// Finds all forms; none while there are none.
    finder: Option<AhoCorasick>,
}

/// What stands in the place of a value.
const HIDDEN: &str = "***";

/// Values of fewer characters are not hidden.
const SHORTEST: usize = 8;

impl Redaction {
    /// Hides values from now on. A value is never shown again, also when the config has another one later.
    pub fn hide<'a>(&self, values: impl IntoIterator<Item = &'a str>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.forms.len();
        for value in values.into_iter().filter(|value| !is_of_this_machine(value)) {
            let lines = value.lines().map(|line| line.trim().to_owned());
            let forms = [value.to_owned(), escaped(value)].into_iter().chain(lines);
            known.forms.extend(forms.filter(|form| form.chars().count() >= SHORTEST));
        }
        if known.forms.len() == before {
            return;
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&known.forms);
        // It fails for gigabytes of patterns only, and then nothing may be shown.
        known.finder = Some(finder.expect("the values fit into memory"));
    }

    /// The text without any of the values.
    pub fn redacted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match &known.finder {
            Some(finder) if finder.is_match(text) => {
                let replacements = vec![HIDDEN; known.forms.len()];
                Cow::Owned(finder.replace_all(text, &replacements))
            }
            _ => Cow::Borrowed(text),
        }
    }
}

/// As a string in JSON, and in what `console.log` prints of an object.
fn escaped(value: &str) -> String {
    let mut result = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(result, "\\u{:04x}", u32::from(control));
            }
            other => result.push(other),
        }
    }
    result
}

/// `http://localhost:8788` and the like, without a user, a query and a path of any length.
fn is_of_this_machine(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once("://") else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
    });
    matches!(scheme, "http" | "https") && matches!(host, "localhost" | "127.0.0.1" | "[::1]") && path.len() < SHORTEST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hiding(values: &[&str]) -> Redaction {
        let redaction = Redaction::default();
        redaction.hide(values.iter().copied());
        redaction
    }

    #[test]
    fn values_are_hidden_wherever_they_stand() {
        let redaction = hiding(&["sk-live-123456", "correct horse"]);
        assert_eq!(redaction.redacted("a sk-live-123456, sk-live-123456b"), "a ***, ***b");
        assert_eq!(redaction.redacted("key=\u{1b}[32msk-live-123456\u{1b}[0m"), "key=\u{1b}[32m***\u{1b}[0m");
        assert_eq!(redaction.redacted("correct horse battery"), "*** battery");
        assert!(matches!(redaction.redacted("nothing of theirs"), Cow::Borrowed(_)));
    }

    #[test]
    fn of_two_values_that_overlap_the_longer_one_goes() {
        let redaction = hiding(&["password", "password-of-production"]);
        assert_eq!(redaction.redacted("password-of-production password"), "*** ***");
    }

    #[test]
    fn values_are_hidden_inside_json_and_line_by_line() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADAN\n\"quoted\\\"\n-----END KEY-----";
        let redaction = hiding(&[key]);
        assert_eq!(redaction.redacted(key), "***");
        assert_eq!(redaction.redacted("  MIIEvQIBADAN\n  end"), "  ***\n  end");
        let json = r#"{"k":"-----BEGIN KEY-----\nMIIEvQIBADAN\n\"quoted\\\"\n-----END KEY-----"}"#;
        assert_eq!(redaction.redacted(json), r#"{"k":"***"}"#);
    }

    #[test]
    fn short_values_and_addresses_of_this_machine_are_shown() {
        let redaction = hiding(&["1234567", "", "http://localhost:8788", "http://127.0.0.1:11434/v1"]);
        let text = "1234567 http://localhost:8788 http://127.0.0.1:11434/v1";
        assert_eq!(redaction.redacted(text), text);
        let redaction = hiding(&["http://me:secret@localhost", "http://localhost/hook/abcdef123456"]);
        assert_eq!(redaction.redacted("http://me:secret@localhost http://localhost/hook/abcdef123456"), "*** ***");
    }

    #[test]
    fn values_that_come_later_are_hidden_beside_the_earlier_ones() {
        let redaction = hiding(&["first-value"]);
        let clone = redaction.clone();
        clone.hide(["second-value"]);
        assert_eq!(redaction.redacted("first-value second-value"), "*** ***");
    }
}
