use std::cell::RefCell;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aerostack_isolate::Response;
use http::{StatusCode, Version, header};
use http_body::Body;

/// How a client learns where the body of an answer ends (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// There is none: by its status, because only the head was asked for, or because the client has it. So long it would be, if that
    /// is known.
    LeftOut(Option<u64>),
    Length(u64),
    Chunked,
    /// The connection ends with it.
    Close,
}

impl BodyFraming {
    pub(super) fn has_body(self) -> bool {
        match self {
            Self::LeftOut(_) | Self::Length(0) => false,
            Self::Length(_) | Self::Chunked | Self::Close => true,
        }
    }
}

/// What a request says about its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) version: Version,
    pub(super) is_head: bool,
}

/// How the body of an answer ends.
pub(super) fn framing(wanted: Wanted, response: &Response) -> BodyFraming {
    let length = response.body().size_hint().exact();
    // What a handler says about a body that it has left out.
    let announced = || {
        let announced =
            response.headers().get(header::CONTENT_LENGTH).and_then(|value| aerostack_http1::length(value.as_bytes()));
        announced.filter(|_| length == Some(0))
    };
    match response.status() {
        status if status.is_informational() || status == StatusCode::NO_CONTENT => BodyFraming::LeftOut(None),
        StatusCode::NOT_MODIFIED => BodyFraming::LeftOut(announced()),
        _ if wanted.is_head => BodyFraming::LeftOut(announced().or(length)),
        _ => match length {
            Some(length) => BodyFraming::Length(length),
            None if wanted.version == Version::HTTP_10 => BodyFraming::Close,
            None => BodyFraming::Chunked,
        },
    }
}

/// Writes the head of an answer. Of the headers that are about the connection none is the handler's.
pub(super) fn write_head(wanted: Wanted, response: &Response, framing: BodyFraming, closes: bool, into: &mut Vec<u8>) {
    let is_old = wanted.version == Version::HTTP_10;
    into.extend_from_slice(if is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    into.extend_from_slice(response.status().as_str().as_bytes());
    into.push(b' ');
    into.extend_from_slice(response.status().canonical_reason().unwrap_or_default().as_bytes());
    into.extend_from_slice(b"\r\n");
    let mut is_dated = false;
    for (name, value) in response.headers() {
        if *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING || *name == header::CONNECTION {
            continue;
        }
        is_dated |= *name == header::DATE;
        into.extend_from_slice(name.as_str().as_bytes());
        into.extend_from_slice(b": ");
        into.extend_from_slice(value.as_bytes());
        into.extend_from_slice(b"\r\n");
    }
    match framing {
        BodyFraming::Length(length) | BodyFraming::LeftOut(Some(length)) => {
            into.extend_from_slice(b"content-length: ");
            into.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            into.extend_from_slice(b"\r\n");
        }
        BodyFraming::Chunked => into.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        BodyFraming::LeftOut(None) | BodyFraming::Close => {}
    }
    if closes {
        into.extend_from_slice(b"connection: close\r\n");
    } else if is_old {
        into.extend_from_slice(b"connection: keep-alive\r\n");
    }
    if !is_dated {
        write_date(SystemTime::now(), into);
    }
    into.extend_from_slice(b"\r\n");
}

/// Writes a `date` header, which is the same for a second.
fn write_date(now: SystemTime, into: &mut Vec<u8>) {
    thread_local! {
        static WRITTEN: RefCell<(Duration, Vec<u8>)> = const { RefCell::new((Duration::ZERO, Vec::new())) };
    }
    let second = Duration::from_secs(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    WRITTEN.with_borrow_mut(|(written, text)| {
        if *written != second || text.is_empty() {
            *written = second;
            text.clear();
            write!(text, "date: {}\r\n", httpdate::fmt_http_date(UNIX_EPOCH + second)).expect("memory takes all");
        }
        into.extend_from_slice(text);
    });
}
