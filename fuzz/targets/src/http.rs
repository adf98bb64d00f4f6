use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use aerostack_http1::{Decoded, Framing, Target, parse};
use bytes::{Buf, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest head that is read.
const HEAD_BYTES: usize = 128 * 1024;

/// What comes in on a connection of HTTP/1: whatever request is read here as a whole, hyper reads as well, in the same place and as
/// the same one. Here more may be refused; what follows a refusal is nobody's.
///
/// The corpus is that of the bytes on a socket (`tests/it/fuzzed/http.rs`), which sees what becomes of them.
pub(crate) fn target(data: &[u8]) {
    let Ours { requests: ours, end } = read_here(data);
    let theirs = read_by_hyper(data);
    for (place, our) in ours.iter().enumerate() {
        let Some(their) = theirs.get(place) else {
            // It refuses lengths that are longer than any body, before it sees that none is there.
            assert_eq!(our.body, Body::Broken, "request {place} is none for hyper: {our:?}");
            return;
        };
        assert_eq!(our.head, their.head, "the head of request {place}");
        match (&our.body, &their.body) {
            (Body::Whole(our), Body::Whole(their)) => assert_eq!(our, their, "the body of request {place}"),
            (Body::Whole(_), Body::Broken) => panic!("the body of request {place} is none for hyper: {our:?}"),
            (Body::Broken, Body::Whole(_)) if end == End::Waiting => {
                panic!("hyper sees an end of the body of request {place}: {our:?}")
            }
            (Body::Broken, _) => {}
        }
    }
    if end == End::Waiting {
        assert_eq!(ours.len(), theirs.len(), "hyper sees more requests: {theirs:?}");
    }
}

/// A request as somebody reads it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    head: Head,
    body: Body,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Body {
    Whole(Vec<u8>),
    /// It did not arrive as a whole, or is none.
    Broken,
}

impl Head {
    fn of(parts: &Parts) -> Self {
        // The lengths are seen in the body; of several that agree, hyper keeps one.
        let fields = parts.headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH);
        let mut headers: Vec<_> = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
        // Of one name the order stays.
        headers.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        Self { method: parts.method.clone(), uri: parts.uri.clone(), version: parts.version, headers }
    }
}

struct Ours {
    requests: Vec<Seen>,
    end: End,
}

/// Why nothing more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More could follow.
    Waiting,
    /// Nothing may: it was refused, or the last request said so, or no longer is about HTTP.
    Over,
}

/// Reads as runtime/server/src/http1 does.
fn read_here(data: &[u8]) -> Ours {
    let (mut rest, mut requests) = (BytesMut::from(data), Vec::new());
    let end = loop {
        while rest.starts_with(b"\r\n") {
            rest.advance(2);
        }
        let head = match parse(&rest, HEAD_BYTES) {
            Ok(Some((head, length))) => {
                rest.advance(length);
                head
            }
            Ok(None) => break End::Waiting,
            Err(_) => break End::Over,
        };
        // Whether it is refused or not, its end is where the next one begins.
        if let Ok(target) = Target::of(&head.parts, |_| false) {
            assert!(!target.authority.is_empty() && !target.authority.contains(['/', '?', '#', '@', '\\', ' ']));
            assert!(target.path_and_query.is_empty() || target.path_and_query.starts_with(['/', '?']));
        }
        let is_last = head.is_last || head.parts.method == Method::CONNECT;
        let mut seen = Seen { head: Head::of(&head.parts), body: Body::Broken };
        let read = match head.body {
            Framing::Length(length) => read_length(&mut rest, length),
            Framing::Chunked(mut chunked) => read_chunks(&mut rest, |arrived| chunked.decode(arrived)),
        };
        match read {
            Ok(body) => seen.body = Body::Whole(body),
            Err(end) => {
                requests.push(seen);
                break end;
            }
        }
        requests.push(seen);
        if is_last {
            break End::Over;
        }
    };
    Ours { requests, end }
}

fn read_length(rest: &mut BytesMut, length: u64) -> Result<Vec<u8>, End> {
    match usize::try_from(length) {
        Ok(length) if length <= rest.len() => Ok(rest.split_to(length).to_vec()),
        _ => Err(End::Waiting),
    }
}

/// Reads a body in chunks that arrives byte by byte.
fn read_chunks(
    rest: &mut BytesMut,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Decoded, &'static str>,
) -> Result<Vec<u8>, End> {
    let (mut body, mut arrived) = (Vec::new(), BytesMut::new());
    loop {
        match decode(&mut arrived) {
            Ok(Decoded::Data(data)) => body.extend_from_slice(&data),
            Ok(Decoded::End) => return Ok(body),
            Ok(Decoded::NeedsMore) if rest.is_empty() => return Err(End::Waiting),
            Ok(Decoded::NeedsMore) => arrived.extend_from_slice(&rest.split_to(1)),
            Err(_) => return Err(End::Over),
        }
    }
}

fn read_by_hyper(data: &[u8]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let sees = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = sees.clone();
        async move {
            let (parts, body) = request.into_parts();
            seen.borrow_mut().push(Seen { head: Head::of(&parts), body: Body::Broken });
            if let Ok(body) = body.collect().await
                && let Some(last) = seen.borrow_mut().last_mut()
            {
                last.body = Body::Whole(body.to_bytes().to_vec());
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let wire = Wire(Bytes::copy_from_slice(data));
    let served = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(wire), service);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    // It ends with an error where hyper refuses what comes.
    let _ = runtime.block_on(served);
    let mut seen = seen.borrow_mut();
    std::mem::take(&mut *seen)
}

/// A client that has sent everything, and whom nobody need answer.
struct Wire(Bytes);

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = self.0.len().min(into.remaining());
        into.put_slice(&self.0.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
