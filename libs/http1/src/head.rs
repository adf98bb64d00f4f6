use std::mem::MaybeUninit;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use crate::chunked::Chunked;

/// Most headers of a request.
const HEADERS: usize = 100;

/// Longest request target, bytes: `http::Uri` takes no longer one.
const TARGET_BYTES: usize = u16::MAX as usize - 1;

/// The head of a request.
pub struct Head {
    /// Method, target, version and headers. The target is well-formed, but not yet checked to be one of those that
    /// [`Target::of`](crate::Target::of) takes.
    pub parts: Box<Parts>,
    /// How the end of the body is found.
    pub body: Framing,
    /// The client asks for the connection to be closed after the answer.
    pub is_last: bool,
    /// The client waits for a word before it sends the body (RFC 9110, section 10.1.1).
    pub expects_continue: bool,
}

/// How the end of a request's body is found.
#[derive(Debug)]
pub enum Framing {
    /// By its length; the bytes that are still to come. No body is one of length 0.
    Length(u64),
    /// By the last of its chunks.
    Chunked(Chunked),
}

/// Why a request is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is answered with.
    pub status: StatusCode,
    /// What the client is told.
    pub text: &'static str,
}

impl Refusal {
    const TOO_LONG: Self =
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head of the request is too long");

    pub(crate) const fn new(status: StatusCode, text: &'static str) -> Self {
        Self { status, text }
    }

    pub(crate) const fn bad(text: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }
}

/// Reads a head (RFC 9112, sections 2 to 6) of at most `limit` bytes and tells how many it has; `None` where it is not there as a whole.
pub fn parse(bytes: &[u8], limit: usize) -> Result<Option<(Head, usize)>, Refusal> {
    let mut room = [const { MaybeUninit::uninit() }; HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete(length)) if length <= limit => length,
        Ok(httparse::Status::Partial) if bytes.len() <= limit => return Ok(None),
        Ok(_) => return Err(Refusal::TOO_LONG),
        Err(error) => return Err(refusal(error)),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Ok(None);
    };
    // One piece of memory for all that the head's parts refer to.
    let shared = Bytes::copy_from_slice(&bytes[..length]);
    let share = |part: &[u8]| {
        let begin = part.as_ptr().addr() - bytes.as_ptr().addr();
        shared.slice(begin..begin + part.len())
    };

    let mut parts = Box::new(Request::new(()).into_parts().0);
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::bad("invalid method"))?;
    if target.len() > TARGET_BYTES {
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, "the request target is too long"));
    }
    parts.uri = Uri::from_maybe_shared(share(target.as_bytes())).map_err(|_| Refusal::bad("invalid request target"))?;
    // `Uri` takes a fragment and forgets it; what stands before us may have read it as part of the path.
    let kept = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if kept != target.len() && target.contains('#') {
        return Err(Refusal::bad("invalid request target"));
    }
    parts.version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };

    let mut told = Told::default();
    parts.headers.reserve(request.headers.len());
    for field in &*request.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Refusal::bad("invalid header name"))?;
        let value = if field.value.is_empty() { Bytes::new() } else { share(field.value) };
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Refusal::bad("invalid header value"))?;
        told.note(&name, value.as_bytes())?;
        parts.headers.append(name, value);
    }
    let is_old = parts.version == Version::HTTP_10;
    let body = told.framing(is_old)?;
    let is_last = told.closes || is_old && !told.keeps_alive;
    Ok(Some((Head { parts, body, is_last, expects_continue: told.expects_continue && !is_old }, length)))
}

/// What a request's headers tell about the connection and the body.
#[derive(Default)]
struct Told {
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps_alive: bool,
    expects_continue: bool,
}

impl Told {
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Refusal> {
        if name == header::CONNECTION {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.closes |= option.eq_ignore_ascii_case(b"close");
                self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name == header::CONTENT_LENGTH {
            let length = length(value).ok_or(Refusal::bad("invalid content-length"))?;
            if self.length.is_some_and(|before| before != length) {
                return Err(Refusal::bad("the request has more than one content-length"));
            }
            self.length = Some(length);
        } else if name == header::TRANSFER_ENCODING {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::bad("unknown transfer-encoding: only chunked is known"));
            }
            self.is_chunked = true;
        } else if name == header::EXPECT {
            self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
        }
        Ok(())
    }

    /// What could be read in two ways is refused: something on the way may have read it in the other one (RFC 9112, section 11.2).
    fn framing(&self, is_old: bool) -> Result<Framing, Refusal> {
        match (self.length, self.is_chunked) {
            (Some(_), true) => Err(Refusal::bad("the request has a content-length and a transfer-encoding")),
            (None, true) if is_old => Err(Refusal::bad("HTTP/1.0 has no transfer-encoding")),
            (None, true) => Ok(Framing::Chunked(Chunked::default())),
            (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// A length as RFC 9110, section 8.6, writes it: digits, nothing else.
pub fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn refusal(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => {
            Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers")
        }
        httparse::Error::HeaderName => Refusal::bad("invalid header name"),
        httparse::Error::HeaderValue => Refusal::bad("invalid header value"),
        httparse::Error::NewLine => Refusal::bad("a line of the head does not end as it should"),
        httparse::Error::Version => Refusal::bad("unknown version of HTTP"),
        httparse::Error::Status | httparse::Error::Token => Refusal::bad("this is not HTTP"),
    }
}

#[cfg(test)]
mod tests {
    use http::{StatusCode, Version};

    use super::{Framing, Head, Refusal, parse};

    const LIMIT: usize = 1024;

    fn head(text: &str) -> Result<Head, Refusal> {
        let (head, length) = parse(text.as_bytes(), LIMIT)?.expect("a whole head");
        assert_eq!(length, text.len());
        Ok(head)
    }

    fn refused(text: &str) -> Refusal {
        head(text).err().unwrap_or_else(|| panic!("{text:?} is taken"))
    }

    #[test]
    fn method_target_version_and_headers_are_read() {
        let head = head("PURGE /a/b?c=d HTTP/1.1\r\nHost: localhost\r\nX-A:  1 \r\nx-a: caf\u{e9}\r\nempty:\r\n\r\n")
            .expect("valid");
        let parts = head.parts;
        assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), ("PURGE", "/a/b?c=d"));
        assert_eq!(parts.version, Version::HTTP_11);
        let headers: Vec<_> = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 4] =
            [("host", b"localhost"), ("x-a", b"1"), ("x-a", "caf\u{e9}".as_bytes()), ("empty", b"")];
        assert_eq!(headers, expected);
        assert!(!head.is_last && !head.expects_continue && matches!(head.body, Framing::Length(0)));
    }

    #[test]
    fn a_target_with_a_fragment_or_a_blank_is_refused() {
        for target in ["/a#b", "#x", "http://a.test/#", "/a b", "/a\tb", "?x", "", "/a\0", "/<", "http://", "http:///a"]
        {
            assert_eq!(
                refused(&format!("GET {target} HTTP/1.1\r\n\r\n")).status,
                StatusCode::BAD_REQUEST,
                "{target:?}"
            );
        }
    }

    #[test]
    fn a_head_that_is_not_whole_is_waited_for_up_to_the_limit() {
        let whole = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        for length in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..length], LIMIT).is_ok_and(|head| head.is_none()), "{length}");
        }
        let behind = format!("{whole}GET");
        assert!(matches!(parse(behind.as_bytes(), LIMIT), Ok(Some((_, length))) if length == whole.len()));
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(LIMIT))), Refusal::TOO_LONG);
        let begun = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(LIMIT));
        assert_eq!(parse(begun.as_bytes(), LIMIT).err(), Some(Refusal::TOO_LONG));
    }

    #[test]
    fn the_connection_is_kept_as_version_and_header_say() {
        for (version, connection, is_last) in [
            ("1.1", "", false),
            ("1.1", "connection: keep-alive\r\n", false),
            ("1.1", "connection: x, Close\r\n", true),
            ("1.1", "connection: keep-alive\r\nconnection: close\r\n", true),
            ("1.0", "", true),
            ("1.0", "connection: Keep-Alive\r\n", false),
            ("1.0", "connection: keep-alive, close\r\n", true),
        ] {
            let head = head(&format!("GET / HTTP/{version}\r\n{connection}\r\n")).expect("valid");
            assert_eq!(head.is_last, is_last, "{version} {connection}");
        }
    }

    #[test]
    fn the_body_is_framed_by_its_length_or_in_chunks() {
        let framing = |fields: &str| head(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).expect(fields).body;
        assert!(matches!(framing("content-length: 42\r\n"), Framing::Length(42)));
        assert!(matches!(framing("content-length: 042\r\ncontent-length: 42\r\n"), Framing::Length(42)));
        assert!(matches!(framing("transfer-encoding: Chunked\r\n"), Framing::Chunked(_)));
        let expecting = head("POST / HTTP/1.1\r\nexpect: 100-Continue\r\ncontent-length: 1\r\n\r\n").expect("valid");
        assert!(expecting.expects_continue);
    }

    #[test]
    fn a_body_whose_end_could_be_seen_in_two_ways_is_refused() {
        for fields in [
            "content-length: 3\r\ncontent-length: 4\r\n",
            "content-length: 3, 3\r\n",
            "content-length: +3\r\n",
            "content-length: 0x3\r\n",
            "content-length: \r\n",
            "content-length: 18446744073709551616\r\n",
            "content-length: 3\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
            "transfer-encoding: gzip\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: xchunked\r\n",
            "transfer-encoding : chunked\r\n",
            "transfer-encoding:\r\n chunked\r\n",
        ] {
            let refusal = refused(&format!("POST / HTTP/1.1\r\n{fields}\r\n"));
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{fields:?}");
        }
        assert_eq!(refused("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n").status, StatusCode::BAD_REQUEST);
    }
}
