use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Version, header};

use crate::head::Refusal;

/// What a request is about (RFC 9112, section 3.2; RFC 9113, section 8.3.1): checked, and not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// What the target itself says: in absolute form, and in HTTP/2.
    pub scheme: Option<&'a Scheme>,
    /// Host and port as the client wrote them, by [`is_authority`].
    pub authority: &'a str,
    /// Whether the caller has said that it knows the authority.
    pub is_known: bool,
    /// Path and query as the client wrote them; a path begins with `/`. Empty where the target is a server as a whole: `*`, an
    /// absolute form without a path.
    pub path_and_query: &'a str,
}

/// What a request of HTTP/1.0 without a Host is taken to be for.
const NO_HOST: &str = "localhost";

const INVALID_TARGET: Refusal = Refusal::bad("invalid request target");
const INVALID_HOST: Refusal = Refusal::bad("invalid Host header");

impl<'a> Target<'a> {
    /// Reads the target of a request, and the Host beside it. `is_known` says of an authority that it is a valid one, where the
    /// caller has seen it before.
    pub fn of(parts: &'a Parts, is_known: impl Fn(&str) -> bool) -> Result<Self, Refusal> {
        let host = host(parts)?.filter(|host| parts.uri.authority().is_none() || !host.is_empty());
        let is_known_host = host.is_some_and(&is_known);
        if !is_known_host && host.is_some_and(|host| !is_authority(host)) {
            return Err(INVALID_HOST);
        }
        let Some(authority) = parts.uri.authority() else {
            let path_and_query = path_and_query(parts)?;
            let authority = match host {
                Some(host) => host,
                None if parts.version < Version::HTTP_11 => NO_HOST,
                None => return Err(Refusal::bad("the request has no Host header")),
            };
            return Ok(Self { scheme: None, authority, is_known: is_known_host, path_and_query });
        };
        let authority = authority.as_str();
        let is_known = is_known(authority);
        if !is_known && !is_authority(authority) {
            return Err(INVALID_TARGET);
        }
        let is_http2 = parts.version == Version::HTTP_2;
        // RFC 9112, section 3.2.2, has the Host beside an absolute form ignored, but there must be one.
        if host.is_none() && parts.version == Version::HTTP_11 && parts.headers.get(header::HOST).is_none() {
            return Err(Refusal::bad("the request has no Host header"));
        }
        if is_http2 && host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
            return Err(Refusal::bad("the Host header and :authority differ"));
        }
        let scheme = parts.uri.scheme();
        if parts.method == Method::CONNECT {
            // Nothing but a host and its port.
            let names_a_port = authority.rsplit_once(':').is_some_and(|(_, port)| is_port(port) && !port.is_empty());
            let is_bare = scheme.is_none() && names_a_port;
            let target = Self { scheme, authority, is_known, path_and_query: "" };
            return if is_bare { Ok(target) } else { Err(INVALID_TARGET) };
        }
        if !scheme.is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS) {
            return Err(INVALID_TARGET);
        }
        Ok(Self { scheme, authority, is_known, path_and_query: path_and_query(parts)? })
    }
}

/// The one Host of a request. What stands between client and server may have believed another one.
fn host(parts: &Parts) -> Result<Option<&str>, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => host.to_str().map(Some).map_err(|_| INVALID_HOST),
        (Some(_), Some(_)) => Err(Refusal::bad("the request has more than one Host header")),
    }
}

fn path_and_query(parts: &Parts) -> Result<&str, Refusal> {
    let is_absolute = parts.uri.authority().is_some();
    match parts.uri.path_and_query().map(PathAndQuery::as_str) {
        Some(path) if path.starts_with('/') && parts.method != Method::CONNECT => Ok(path),
        Some("*") if parts.method == Method::OPTIONS => Ok(""),
        // `http://a.test?x`
        Some(query) if query.starts_with('?') && is_absolute => Ok(query),
        None if is_absolute => Ok(""),
        _ => Err(INVALID_TARGET),
    }
}

/// Whether a text is a host with or without a port, as a URI of HTTP has it (RFC 3986, section 3.2; RFC 9110, sections 4.2.1 and
/// 4.2.4): not empty, and without a user. An IP literal is looked at no closer.
pub fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, rest)) if is_ip_literal(address) => (address, rest.strip_prefix(':').or(empty(rest))),
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, Some("")),
        },
    };
    let is_host = text.starts_with('[') || is_registered_name(host);
    is_host && !host.is_empty() && port.is_some_and(is_port)
}

fn empty(text: &str) -> Option<&str> {
    text.is_empty().then_some(text)
}

/// Digits that are a port, or none, which is the scheme's own.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && (text.is_empty() || text.parse::<u16>().is_ok())
}

fn is_ip_literal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
}

/// A `reg-name`: letters, digits, `-._~`, the delimiters that belong to nobody, and escapes.
fn is_registered_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
        let mut is_digit = || bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        if !(is_plain || byte == b'%' && is_digit() && is_digit()) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use http::request::Parts;
    use http::{Request, Version};

    use super::{Target, is_authority};

    fn parts(method: &str, target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap_or_else(|error| panic!("{target}: {error}")).into_parts().0
    }

    fn read(method: &str, target: &str, hosts: &[&str]) -> Result<(String, String), &'static str> {
        let parts = parts(method, target, hosts);
        let read = Target::of(&parts, |_| false).map_err(|refusal| refusal.text);
        read.map(|target| (target.authority.to_owned(), target.path_and_query.to_owned()))
    }

    #[test]
    fn each_form_of_a_target_names_a_host_and_a_path() {
        for (method, target, host, authority, path) in [
            ("GET", "/", "a.test", "a.test", "/"),
            ("GET", "/a?b=c", "a.test:8080", "a.test:8080", "/a?b=c"),
            ("GET", "/go/http://x.test/y", "a.test", "a.test", "/go/http://x.test/y"),
            ("GET", "http://a.test/x", "a.test", "a.test", "/x"),
            ("GET", "https://a.test/x", "a.test", "a.test", "/x"),
            ("GET", "http://a.test", "b.test", "a.test", "/"),
            ("GET", "http://a.test?x", "", "a.test", "?x"),
            ("OPTIONS", "*", "a.test", "a.test", ""),
            ("OPTIONS", "/*", "a.test", "a.test", "/*"),
            ("CONNECT", "a.test:443", "a.test", "a.test:443", ""),
        ] {
            assert_eq!(read(method, target, &[host]), Ok((authority.to_owned(), path.to_owned())), "{method} {target}");
        }
    }

    #[test]
    fn a_target_of_another_form_is_refused() {
        for (method, target) in [
            ("GET", "x"),
            ("GET", "a.test:80"),
            ("GET", "*"),
            ("CONNECT", "/"),
            ("CONNECT", "a.test"),
            ("CONNECT", "a.test:"),
            ("CONNECT", "http://a.test:80/"),
            ("CONNECT", "*"),
            ("OPTIONS", "x"),
            ("GET", "ftp://a.test/"),
            ("GET", "http://user@a.test/"),
            ("GET", "http://a.test:http/"),
            ("GET", "http://a.test:65536/"),
        ] {
            assert_eq!(read(method, target, &["a.test"]), Err("invalid request target"), "{method} {target}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        assert_eq!(read("GET", "/", &[]), Err("the request has no Host header"));
        assert_eq!(read("GET", "http://a.test/", &[]), Err("the request has no Host header"));
        for target in ["/", "http://a.test/"] {
            assert_eq!(read("GET", target, &["a.test", "a.test"]), Err("the request has more than one Host header"));
            assert_eq!(read("GET", target, &["a/b"]), Err("invalid Host header"));
        }
        let mut old = parts("GET", "/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(Target::of(&old, |_| false).map(|target| target.authority), Ok("localhost"));
    }

    #[test]
    fn http2_names_it_twice_only_where_both_agree() {
        let read = |target: &str, hosts: &[&str]| {
            let mut parts = parts("GET", target, hosts);
            parts.version = Version::HTTP_2;
            Target::of(&parts, |_| false).map(|target| target.authority.to_owned()).map_err(|refusal| refusal.text)
        };
        assert_eq!(read("http://a.test/", &[]), Ok("a.test".to_owned()));
        assert_eq!(read("http://a.test/", &["A.test"]), Ok("a.test".to_owned()));
        assert_eq!(read("http://a.test/", &["b.test"]), Err("the Host header and :authority differ"));
        assert_eq!(read("/", &["b.test"]), Ok("b.test".to_owned()));
        assert_eq!(read("/", &[]), Err("the request has no Host header"));
    }

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        for authority in [
            "a.test",
            "A.Test:8080",
            "a:",
            "a:0",
            "a:65535",
            "127.0.0.1",
            "a,b",
            "a_b.test",
            "xn--bcher-kva.test",
            "a%2db",
            "[::1]",
            "[::1]:80",
            "[::1]:",
            "[::ffff:10.0.0.1]",
            "a!$&'()*+;=~-",
        ] {
            assert!(is_authority(authority), "{authority}");
        }
        for text in [
            "",
            ":",
            ":80",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a b",
            "a\tb",
            "u@a",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:-1",
            "a:+1",
            "[::1",
            "[]",
            "[::1]80",
            "[::1]:b",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "::1",
            "a%2",
            "a%zz",
            "a\"b",
            "<a>",
            "a|b",
            "a^b",
            "{a}",
            "b\u{fc}cher.test",
            "a\0b",
            "a,b:80,c",
        ] {
            assert!(!is_authority(text), "{text:?}");
        }
    }
}
