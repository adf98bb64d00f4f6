//! Where a request goes: the URL that its handler sees, and the path that decides whose handler that is.
//!
//! The URL is brought into its normal form first, and the path of that is routed. Otherwise `/kept/../secret` would be asked of the
//! worker at `/kept`, which would see `/secret`.

use std::borrow::Cow;
use std::ops::Range;

use aerostack_http1::{Refusal, Target};
use aerostack_modules::Url;
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use url::Position;

use crate::proxies::Forwarded;
use crate::routes::Route;

/// Whether the client's connection is encrypted: to this server it never is, to a proxy in front of it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// The URL of a request, in the normal form of the URL standard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Location {
    url: String,
    path: Range<usize>,
    /// Nothing in the path is escaped, as far as a look can tell.
    is_plain: bool,
}

const INVALID: Refusal = Refusal { status: StatusCode::BAD_REQUEST, text: "invalid Host header or path" };

/// RFC 9110, section 9.3.6: tunnels are for proxies.
const CONNECT: Refusal = Refusal { status: StatusCode::NOT_IMPLEMENTED, text: "CONNECT is not implemented" };

/// RFC 9110, section 7.4: this connection is not encrypted, and nobody who is trusted says that the client's is.
const MISDIRECTED: Refusal = Refusal {
    status: StatusCode::MISDIRECTED_REQUEST,
    text: "the request is for https, and did not come from one of server.trusted_proxies",
};

impl Location {
    /// Where a request goes. `forwarded` is what a trusted proxy says about it, if one sent it; `is_plain_host` tells of a host that
    /// the URL standard leaves it as it is.
    pub(crate) fn of(
        parts: &Parts,
        forwarded: Option<&Forwarded<'_>>,
        is_plain_host: impl Fn(&str) -> bool,
    ) -> Result<Self, Refusal> {
        let target = Target::of(parts, &is_plain_host)?;
        let Target { authority, path_and_query, is_known, .. } = target;
        if parts.method == Method::CONNECT {
            return Err(CONNECT);
        }
        let named = match target.scheme {
            Some(scheme) if *scheme == http::uri::Scheme::HTTPS => Scheme::Https,
            _ => Scheme::Http,
        };
        let Some(forwarded) = forwarded else {
            if named == Scheme::Https {
                return Err(MISDIRECTED);
            }
            return Self::new(named, authority, path_and_query, is_known);
        };
        let scheme = forwarded.scheme.unwrap_or(named);
        match forwarded.host.as_deref() {
            Some(host) => Self::new(scheme, host, path_and_query, is_plain_host(host)),
            None => Self::new(scheme, authority, path_and_query, is_known),
        }
    }

    /// The URL of a valid authority and a path that begins with `/` or is empty, as the client wrote them.
    fn new(scheme: Scheme, authority: &str, path_and_query: &str, is_plain_host: bool) -> Result<Self, Refusal> {
        let prefix = match scheme {
            Scheme::Http => "http://",
            Scheme::Https => "https://",
        };
        let slash = if path_and_query.starts_with('/') { "" } else { "/" };
        let mut url = String::with_capacity(prefix.len() + authority.len() + slash.len() + path_and_query.len());
        url.push_str(prefix);
        url.push_str(authority);
        let path = url.len();
        url.push_str(slash);
        url.push_str(path_and_query);
        // The port that https leaves out is another one.
        let keeps_port = scheme == Scheme::Http || !authority.contains(':');
        if keeps_port
            && is_plain_host
            && let Some(length) = plain_path(&url[path..])
        {
            return Ok(Self { url, path: path..path + length, is_plain: true });
        }
        let url = Url::parse(&url).map_err(|_| INVALID)?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(INVALID);
        }
        let path = url[..Position::BeforePath].len()..url[..Position::AfterPath].len();
        Ok(Self { url: url.into(), path, is_plain: false })
    }

    /// The path that is routed: without `.` and `..`, and with nothing escaped that need not be (RFC 3986, section 6.2.2).
    pub(crate) fn path(&self) -> Cow<'_, str> {
        let path = &self.url[self.path.clone()];
        if self.is_plain { Cow::Borrowed(path) } else { unescaped(path) }
    }

    /// The URL as the handler at a route sees it.
    pub(crate) fn seen_at(mut self, route: &Route) -> String {
        if let Some((length, replacement)) = route.replaced(&self.url[self.path.clone()]) {
            self.url.replace_range(self.path.start..self.path.start + length, replacement);
        }
        self.url
    }
}

/// The path of a target that is no more than looked at, as [`Location::path`] has it; `/` where the target is none.
pub(crate) fn routed_path(target: &str) -> Cow<'_, str> {
    let path = match target.split_once("://") {
        // A URL within a path is part of the path.
        _ if target.starts_with('/') => target,
        // Absolute form, as proxies send it.
        Some((_, rest)) => rest.find(['/', '?']).map_or("/", |path| &rest[path..]),
        None => "/",
    };
    if path.starts_with('/')
        && let Some(length) = plain_path(path)
    {
        return Cow::Borrowed(&path[..length]);
    }
    match Location::new(Scheme::Http, "localhost", path, true) {
        Ok(location) => Cow::Owned(location.path().into_owned()),
        Err(_) => Cow::Borrowed("/"),
    }
}

/// The same URI with another path.
pub(crate) fn with_path(uri: &Uri, path: &str) -> Uri {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // Host is checked in the header where the URI names none.
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = target.parse().ok();
    Uri::from_parts(parts).unwrap_or_default()
}

/// The length of the path of what the URL standard leaves as it is, as far as a look can tell.
fn plain_path(path_and_query: &str) -> Option<usize> {
    let mut query = path_and_query.len();
    for (place, byte) in path_and_query.bytes().enumerate() {
        match byte {
            b'/' | b'-' | b'_' | b'=' | b'&' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {}
            b'?' => query = query.min(place),
            _ => return None,
        }
    }
    Some(query)
}

/// A path whose escapes of unreserved characters are those characters.
fn unescaped(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let (mut plain, mut rest) = (String::with_capacity(path.len()), path);
    while let Some(unit) = Unit::first(rest) {
        match unit.character {
            Some(character) => plain.push(character),
            None => plain.push_str(&rest[..unit.length]),
        }
        rest = &rest[unit.length..];
    }
    Cow::Owned(plain)
}

/// How many bytes a prefix takes in a path that begins with it once its escapes are undone.
pub(crate) fn length_of_prefix(path: &str, prefix: &str) -> Option<usize> {
    if !path.contains('%') {
        return path.starts_with(prefix).then_some(prefix.len());
    }
    let (mut rest, mut wanted) = (path, prefix);
    while !wanted.is_empty() {
        let unit = Unit::first(rest)?;
        wanted = match unit.character {
            Some(character) => wanted.strip_prefix(character)?,
            None => wanted.strip_prefix(&rest[..unit.length])?,
        };
        rest = &rest[unit.length..];
    }
    Some(path.len() - rest.len())
}

/// What a path consists of: characters, and escapes of what has to be escaped.
struct Unit {
    /// None is an escape that has to be one.
    character: Option<char>,
    /// How many bytes it takes.
    length: usize,
}

impl Unit {
    fn first(path: &str) -> Option<Self> {
        let character = path.chars().next()?;
        let escaped = path.strip_prefix('%').and_then(|rest| rest.get(..2));
        let is_escape = |digits: &&str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let Some(byte) = escaped.filter(is_escape).and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Some(Self { character: Some(character), length: character.len_utf8() });
        };
        let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        Some(Self { character: is_unreserved.then_some(char::from(byte)), length: 3 })
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};

    use super::{Location, Scheme, length_of_prefix, routed_path, with_path};
    use crate::proxies::Forwarded;

    fn location(target: &str, host: &str, forwarded: Option<&Forwarded<'_>>) -> Result<Location, StatusCode> {
        let request = Request::builder().uri(target).header("host", host).body(()).expect("a valid request");
        Location::of(&request.into_parts().0, forwarded, |_| false).map_err(|refusal| refusal.status)
    }

    fn url(target: &str, host: &str) -> Result<String, StatusCode> {
        location(target, host, None).map(|location| location.url)
    }

    #[test]
    fn the_path_is_routed_in_its_normal_form() {
        for (target, path) in [
            ("/api/items?limit=5", "/api/items"),
            ("http://localhost:8788/api", "/api"),
            ("http://localhost:8788", "/"),
            ("http://localhost?/x", "/"),
            ("/go/http://x.test/_aerostack/health", "/go/http://x.test/_aerostack/health"),
            ("/kept/../secret", "/secret"),
            ("/kept/%2e%2E/secret", "/secret"),
            ("/kept/.%2e/./secret", "/secret"),
            ("/kept\\..\\secret", "/secret"),
            ("/%73ecret/%2f%C3%a9", "/secret/%2f%C3%a9"),
            ("/a%", "/a%"),
            ("/a%+1%4", "/a%+1%4"),
            ("/%2e%2e/..", "/"),
            ("//x", "//x"),
            ("*", "/"),
            ("x", "/"),
            ("", "/"),
        ] {
            assert_eq!(routed_path(target), path, "{target}");
        }
    }

    #[test]
    fn the_url_is_what_the_url_standard_makes_of_host_and_path() {
        assert_eq!(url("/a/../b?c=/../d", "Shop.TEST:80").as_deref(), Ok("http://shop.test/b?c=/../d"));
        assert_eq!(url("/é?{'", "[::1]:8080").as_deref(), Ok("http://[::1]:8080/%C3%A9?{%27"));
        assert_eq!(url("http://a.test?x", "b.test").as_deref(), Ok("http://a.test/?x"));
        assert_eq!(url("/", "2130706433").as_deref(), Ok("http://127.0.0.1/"));
        for host in ["a%2fb", "256.0.0.1", "[::1::2]", "a%00", "xn--a", "a/b", ""] {
            assert_eq!(url("/", host), Err(StatusCode::BAD_REQUEST), "{host}");
        }
        assert_eq!(url("https://a.test/", "a.test"), Err(StatusCode::MISDIRECTED_REQUEST));
    }

    #[test]
    fn a_trusted_proxy_says_scheme_and_host() {
        let forwarded = Forwarded { client: None, scheme: Some(Scheme::Https), host: Some("shop.test:80".into()) };
        let seen = location("/a", "10.0.0.1:8788", Some(&forwarded)).map(|location| location.url);
        assert_eq!(seen.as_deref(), Ok("https://shop.test:80/a"));
        let silent = Forwarded::default();
        let seen = |target| location(target, "a.test:443", Some(&silent)).map(|location| location.url);
        assert_eq!(seen("/a").as_deref(), Ok("http://a.test:443/a"));
        assert_eq!(seen("https://a.test:443/a").as_deref(), Ok("https://a.test/a"));
    }

    #[test]
    fn a_prefix_is_found_however_it_is_escaped() {
        assert_eq!(length_of_prefix("/auth/x", "/auth"), Some(5));
        assert_eq!(length_of_prefix("/%61ut%68/x", "/auth"), Some(9));
        assert_eq!(length_of_prefix("/auth/%20", "/auth"), Some(5));
        assert_eq!(length_of_prefix("/%20b/x", "/%20b"), Some(5));
        for path in ["/aut%", "/aut", "/%2fauth", "/%41uth", "/aut%2"] {
            assert_eq!(length_of_prefix(path, "/auth"), None, "{path}");
        }
    }

    #[test]
    fn another_path_leaves_the_rest_of_a_uri_as_it_is() {
        let uri = |text: &str| text.parse().expect("a URI");
        assert_eq!(with_path(&uri("/a?b"), "/c"), "/c?b");
        assert_eq!(with_path(&uri("http://a.test/a"), "/c"), "http://a.test/c");
    }
}
