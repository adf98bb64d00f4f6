//! Whether an operation goes on, judged by the object that is there (Cloudflare contract, section 4.4).

/// The conditions of a `get` or `put`. All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditional {
    /// The object has one of these etags.
    pub etag_matches: Option<Vec<Etag>>,
    /// The object has none of these etags.
    pub etag_does_not_match: Option<Vec<Etag>>,
    /// It was stored before this time, in milliseconds since the UNIX epoch.
    pub uploaded_before: Option<i64>,
    /// It was stored after this time, in milliseconds since the UNIX epoch.
    pub uploaded_after: Option<i64>,
    /// Times are compared in whole seconds, as HTTP headers have them.
    pub seconds_granularity: bool,
}

/// An etag to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Etag {
    /// `*`: any.
    Wildcard,
    /// Exactly this value.
    Strong(String),
    /// This value, where a weak comparison is good enough.
    Weak(String),
}

/// What is compared of the object that is there.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// Its etag, without quotes.
    pub etag: &'a str,
    /// When it was stored, in milliseconds since the UNIX epoch.
    pub uploaded_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

impl Conditional {
    /// Whether all conditions hold for what is there, `None` being no object.
    pub fn holds(&self, current: Option<Current<'_>>) -> bool {
        let Some(current) = current else {
            return self.etag_matches.is_none() && self.uploaded_after.is_none();
        };
        let granule = if self.seconds_granularity { 1000 } else { 1 };
        let uploaded = (current.uploaded_ms as i64).div_euclid(granule);
        let if_match = self.etag_matches.as_ref().is_none_or(|etags| includes(etags, current.etag, Comparison::Strong));
        let if_none_match =
            self.etag_does_not_match.as_ref().is_none_or(|etags| !includes(etags, current.etag, Comparison::Weak));
        // RFC 9110, section 13.2.2: where an etag was given and decides, the time beside it does not count.
        let if_modified_since = self.uploaded_after.is_none_or(|after| after.div_euclid(granule) < uploaded)
            || (self.etag_does_not_match.is_some() && if_none_match);
        let if_unmodified_since = self.uploaded_before.is_none_or(|before| uploaded < before.div_euclid(granule))
            || (self.etag_matches.is_some() && if_match);
        if_match && if_none_match && if_modified_since && if_unmodified_since
    }
}

fn includes(etags: &[Etag], etag: &str, comparison: Comparison) -> bool {
    etags.iter().any(|candidate| match candidate {
        Etag::Wildcard => true,
        Etag::Strong(value) => value == etag,
        Etag::Weak(value) => value == etag && comparison == Comparison::Weak,
    })
}

impl Etag {
    /// One etag as `onlyIf.etagMatches` gives it: without quotes, or `*`.
    pub fn unquoted(value: &str) -> Self {
        if value == "*" { Self::Wildcard } else { Self::Strong(value.to_owned()) }
    }

    /// The etags of an `If-Match` or `If-None-Match` header. A `*` among them stands for all.
    ///
    /// # Errors
    /// What is wrong with the header, in R2's words.
    pub fn parse_header(header: &str) -> Result<Vec<Self>, &'static str> {
        let mut etags = Vec::new();
        let mut rest = header;
        loop {
            let Some(start) = rest.find(['"', '*', 'W', ',']) else { return Ok(etags) };
            if !rest.contains(['"', '*']) {
                return Ok(etags);
            }
            rest = &rest[start..];
            if let Some(after) = rest.strip_prefix(',') {
                rest = after;
                continue;
            }
            if rest.starts_with('*') {
                return Ok(vec![Self::Wildcard]);
            }
            let is_weak = rest.starts_with('W');
            let opening = if is_weak { "W/\"" } else { "\"" };
            let value =
                rest.strip_prefix(opening).ok_or("Weak etags must start with W/ and their value must be quoted")?;
            let end = value.find('"').ok_or("Unclosed double quote for Etag")?;
            let text = value[..end].to_owned();
            etags.push(if is_weak { Self::Weak(text) } else { Self::Strong(text) });
            rest = check_separator(&value[end + 1..])?;
        }
    }
}

/// What follows an etag must be a comma before it is another etag.
fn check_separator(rest: &str) -> Result<&str, &'static str> {
    match rest.find(['"', '*', 'W', ',']).map(|place| rest.as_bytes()[place]) {
        Some(b'*') => Err("Comma was expected to separate etags. Encountered a wildcard character '*' instead."),
        Some(b'"') => Err("Comma was expected to separate etags. Encountered a double quote character '\"' instead. \
                           This would otherwise indicate the start of a new strong etag."),
        Some(b'W') if rest.contains(['"', '*']) => {
            Err("Comma was expected to separate etags. Encountered a weak quotation character 'W' instead. \
                 This would otherwise indicate the start of a new weak etag.")
        }
        _ => Ok(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: i64 = 1_700_000_000_500;

    fn holds(conditional: &Conditional) -> bool {
        conditional.holds(Some(Current { etag: "abc", uploaded_ms: STORED as u64 }))
    }

    fn strong(value: &str) -> Vec<Etag> {
        vec![Etag::unquoted(value)]
    }

    #[test]
    fn nothing_asked_for_always_holds() {
        assert!(holds(&Conditional::default()));
        assert!(Conditional::default().holds(None));
    }

    #[test]
    fn an_object_that_is_not_there_fails_what_needs_one() {
        assert!(!Conditional { etag_matches: Some(strong("*")), ..Conditional::default() }.holds(None));
        assert!(!Conditional { uploaded_after: Some(0), ..Conditional::default() }.holds(None));
        assert!(Conditional { etag_does_not_match: Some(strong("*")), ..Conditional::default() }.holds(None));
        assert!(Conditional { uploaded_before: Some(0), ..Conditional::default() }.holds(None));
    }

    #[test]
    fn etags_are_compared_strongly_for_a_match_and_weakly_against_one() {
        let weak = || Some(vec![Etag::Weak("abc".to_owned())]);
        assert!(holds(&Conditional { etag_matches: Some(strong("abc")), ..Conditional::default() }));
        assert!(!holds(&Conditional { etag_matches: Some(strong("abd")), ..Conditional::default() }));
        assert!(!holds(&Conditional { etag_matches: weak(), ..Conditional::default() }));
        assert!(holds(&Conditional { etag_matches: Some(strong("*")), ..Conditional::default() }));
        assert!(!holds(&Conditional { etag_does_not_match: weak(), ..Conditional::default() }));
        assert!(!holds(&Conditional { etag_does_not_match: Some(strong("*")), ..Conditional::default() }));
        assert!(holds(&Conditional { etag_does_not_match: Some(strong("abd")), ..Conditional::default() }));
    }

    #[test]
    fn times_are_compared_strictly_and_in_whole_seconds_where_asked() {
        let after = |ms, seconds| Conditional {
            uploaded_after: Some(ms),
            seconds_granularity: seconds,
            ..Conditional::default()
        };
        assert!(holds(&after(STORED - 1, false)));
        assert!(!holds(&after(STORED, false)));
        assert!(!holds(&after(STORED - 1, true)));
        assert!(holds(&after(STORED - 501, true)));
        let before = |ms, seconds| Conditional {
            uploaded_before: Some(ms),
            seconds_granularity: seconds,
            ..Conditional::default()
        };
        assert!(holds(&before(STORED + 1, false)));
        assert!(!holds(&before(STORED, false)));
        assert!(!holds(&before(STORED + 1, true)));
        assert!(holds(&before(STORED + 500, true)));
    }

    #[test]
    fn an_etag_that_decides_overrules_the_time_beside_it() {
        let late = Conditional { uploaded_after: Some(STORED + 1), ..Conditional::default() };
        assert!(!holds(&late));
        assert!(holds(&Conditional { etag_does_not_match: Some(strong("abd")), ..late }));
        let early = Conditional { uploaded_before: Some(0), ..Conditional::default() };
        assert!(!holds(&early));
        assert!(holds(&Conditional { etag_matches: Some(strong("abc")), ..early }));
    }

    #[test]
    fn a_header_lists_etags() {
        let strong = |text: &str| Etag::Strong(text.to_owned());
        assert_eq!(Etag::parse_header("\"a\""), Ok(vec![strong("a")]));
        assert_eq!(Etag::parse_header("\"a,b\", , W/\"c\""), Ok(vec![strong("a,b"), Etag::Weak("c".to_owned())]));
        assert_eq!(Etag::parse_header("\"a\", *"), Ok(vec![Etag::Wildcard]));
        assert_eq!(Etag::parse_header("*"), Ok(vec![Etag::Wildcard]));
        assert_eq!(Etag::parse_header(""), Ok(vec![]));
        assert_eq!(Etag::parse_header("abc"), Ok(vec![]));
        assert_eq!(Etag::parse_header("\"a"), Err("Unclosed double quote for Etag"));
        assert_eq!(Etag::parse_header("W \"a\""), Err("Weak etags must start with W/ and their value must be quoted"));
        assert!(Etag::parse_header("\"a\" \"b\"").is_err_and(|text| text.contains("double quote character")));
        assert!(Etag::parse_header("\"a\" W/\"b\"").is_err_and(|text| text.contains("weak quotation character")));
        assert!(Etag::parse_header("\"a\"*").is_err_and(|text| text.contains("wildcard")));
    }
}
