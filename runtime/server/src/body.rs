use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use aerostack_isolate::{Breach, Breaches};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::Shared;
use crate::http1::InboundBody;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request as its connection has it.
pub(crate) enum ClientBody {
    /// There is none.
    Empty,
    /// All of it came with the head.
    Arrived(Bytes),
    /// It is read from an HTTP/1 connection.
    Http1(InboundBody),
    /// It comes in a stream of an HTTP/2 connection.
    Http2(Incoming),
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Arrived(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Http1(body) => Pin::new(body).poll_frame(context).map_err(BoxError::from),
            Self::Http2(body) => Pin::new(body).poll_frame(context).map_err(BoxError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Arrived(_) => false,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Arrived(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// A request body that ends with an error past a length, or after a pause.
pub(crate) struct GuardedBody {
    incoming: ClientBody,
    left: u64,
    limit: u64,
    pause: Duration,
    paused: Option<Pin<Box<tokio::time::Sleep>>>,
    fault: Arc<BodyFault>,
    breaches: Arc<Breaches>,
}

/// What the client did wrong with its body: the status that says so, and why. A handler that fails after it failed for it.
pub(crate) type BodyFault = OnceLock<(StatusCode, String)>;

impl GuardedBody {
    /// `fault` is set when the client breaks off, sends nothing for too long, or more than it may.
    pub(crate) fn new(incoming: ClientBody, shared: &Shared, fault: Arc<BodyFault>) -> Self {
        let limits = &shared.limits;
        let (limit, pause) = (limits.body_bytes, limits.body_timeout);
        Self { incoming, left: limit, limit, pause, paused: None, fault, breaches: shared.breaches.clone() }
    }

    fn fail(&self, status: StatusCode, text: String) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // The first fault is the one that counts.
        let _ = self.fault.set((status, text.clone()));
        Poll::Ready(Some(Err(text.into())))
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                self.paused = None;
                let Some(frame) = frame else { return Poll::Ready(None) };
                let frame = match frame {
                    Ok(frame) => frame,
                    Err(error) => {
                        return self.fail(StatusCode::BAD_REQUEST, format!("the request body broke off: {error}"));
                    }
                };
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                if length > self.left {
                    self.breaches.note(Breach::RequestBody);
                    return self.fail(StatusCode::PAYLOAD_TOO_LARGE, body_too_long(self.limit));
                }
                self.left -= length;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                let pause = self.pause;
                let paused = self.paused.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
                if paused.as_mut().poll(context).is_ready() {
                    let text = format!("nothing of the request body arrived for {} s", pause.as_secs_f64());
                    return self.fail(StatusCode::REQUEST_TIMEOUT, text);
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

pub(crate) fn body_too_long(limit: u64) -> String {
    format!("request body exceeds {} MB: raise limits.request_body_mb", limit / (1024 * 1024))
}
