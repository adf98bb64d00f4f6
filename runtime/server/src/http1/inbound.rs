use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use aerostack_http1::{Chunked, Decoded, Framing, Head, Refusal};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

use crate::lifecycle::Arrived;
use crate::wire::Reading;

/// What is read at once where it is not known what comes. It lies on the stack: a connection that waits needs no memory for it.
const READ_BYTES: usize = 16 * 1024;

/// What is kept of a connection's memory while it waits.
const KEPT_BYTES: usize = 4 * 1024;

/// What is read at once of a body of known length, into memory that becomes a buffer of JavaScript's as it is.
const PIECE_BYTES: usize = 128 * 1024;

/// And of a chunked one, which is copied out of it.
const CHUNKED_READ_BYTES: usize = 64 * 1024;

/// What comes in on a connection. Shared by the connection and the body of the request that it is at, which may be read on another
/// thread. Only one of them reads at a time.
#[derive(Clone)]
pub(super) struct Inbound(Arc<Mutex<Source>>);

struct Source {
    /// None once the connection is closed.
    reading: Option<Reading>,
    /// What has arrived and was not taken.
    arrived: BytesMut,
    /// So much of it was searched for the end of a head, in vain.
    searched: usize,
    body: BodyState,
    is_continue_due: bool,
    /// Of the connection, while it waits for what becomes of the body.
    connection: Option<Waker>,
    /// Of who waits for the next piece of the body.
    reader: Option<Waker>,
}

/// What there is of the last request's body. Each ends in one of two ways: it is passed, or closed.
enum BodyState {
    /// It was read to its end, or the rest of it was thrown away, or there is none: the next request is behind it.
    Passed,
    /// Somebody holds it and may read it.
    Held { framing: Framing, expects_continue: bool },
    /// Nobody will read the rest of it. A client that waits for `100 Continue` may never send it.
    Cancelled { framing: Framing, expects_continue: bool },
    /// It broke off, or is no HTTP, or the connection ends before it: nothing behind it is read.
    Closed,
}

/// So much of a body that nobody reads is thrown away to keep the connection; one with more to come ends it.
const DRAINED_BYTES: u64 = 256 * 1024;

/// How often a client that cannot be read from is looked at, whether it is still there.
const LOOK: Duration = Duration::from_secs(2);

/// A timer for those looks, made when the first is due.
pub(super) type NextLook = Option<Pin<Box<Sleep>>>;

/// Closes what comes in when the connection ends, whoever still holds the body of its request.
pub(super) struct CloseAtEnd(Inbound);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        let mut source = self.0.source();
        source.close_body();
        source.reading = None;
    }
}

/// What came instead of a request.
pub(super) enum NoHead {
    /// The client has closed.
    Closed,
    Refused(Refusal),
    Failed(io::Error),
}

impl Inbound {
    pub(super) fn new(reading: Reading) -> Self {
        Self(Arc::new(Mutex::new(Source {
            reading: Some(reading),
            arrived: BytesMut::new(),
            searched: 0,
            body: BodyState::Passed,
            is_continue_due: false,
            connection: None,
            reader: None,
        })))
    }

    /// Lets go of the connection when the returned value is dropped.
    pub(super) fn close_at_end(&self) -> CloseAtEnd {
        CloseAtEnd(self.clone())
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the head of the next request.
    pub(super) fn poll_head(&self, context: &mut Context<'_>, limit: usize) -> Poll<Result<Head, NoHead>> {
        self.source().poll_head(context, limit)
    }

    /// What has arrived and was not taken, as far as it was read.
    pub(super) fn arrived(&self) -> Arrived {
        if self.source().arrived.is_empty() { Arrived::Nothing } else { Arrived::Something }
    }

    /// Whether something has arrived that was not taken, read or not.
    pub(super) fn has_more(&self) -> bool {
        let source = self.source();
        !source.arrived.is_empty() || source.reading.as_ref().is_some_and(Reading::has_unread)
    }

    /// Takes a body of a length that has arrived as a whole.
    pub(super) fn take_arrived(&self, length: u64) -> Option<Bytes> {
        let arrived = &mut self.source().arrived;
        let length = usize::try_from(length).ok().filter(|length| *length <= arrived.len())?;
        let body = Bytes::copy_from_slice(&arrived[..length]);
        arrived.advance(length);
        Some(body)
    }

    /// A body that is read from here on.
    pub(super) fn body(&self, framing: Framing, expects_continue: bool) -> InboundBody {
        self.source().body = BodyState::Held { framing, expects_continue };
        InboundBody(self.clone())
    }

    /// Waits until the client is gone. Behind a body or a request that it has sent that is seen at the next look.
    pub(super) fn poll_gone(&self, context: &mut Context<'_>, next_look: &mut NextLook) -> Poll<io::Error> {
        let mut source = self.source();
        if source.is_body_held(context) || !source.arrived.is_empty() {
            return source.poll_hung_up(context, next_look);
        }
        match ready!(source.poll_arrival(context)) {
            Ok(0) => Poll::Ready(io::ErrorKind::ConnectionAborted.into()),
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }
    }

    /// Returns true once if `100 Continue` must be sent.
    pub(super) fn take_continue(&self) -> bool {
        std::mem::take(&mut self.source().is_continue_due)
    }

    /// The same before the head of an answer, behind which it cannot be sent: for a body that is read while the answer
    /// is sent.
    pub(super) fn take_last_continue(&self) -> bool {
        let mut source = self.source();
        let BodyState::Held { expects_continue, .. } = &mut source.body else { return false };
        let is_expected = std::mem::take(expects_continue);
        std::mem::take(&mut source.is_continue_due) || is_expected
    }

    /// Whether the next request can be found, as far as is known: not behind much of a body that nobody reads.
    pub(super) fn may_go_on(&self) -> bool {
        let mut source = self.source();
        source.pass_over_body();
        matches!(source.body, BodyState::Passed | BodyState::Held { .. }) || source.is_worth_draining()
    }

    /// Whether the next request is behind what has arrived.
    pub(super) fn has_passed_body(&self) -> bool {
        matches!(self.source().body, BodyState::Passed)
    }

    /// Waits until nobody reads the body any more, and throws the rest of it away; false where that would be too much.
    pub(super) fn poll_drain(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut source = self.source();
        if source.is_body_held(context) {
            return Poll::Pending;
        }
        loop {
            source.pass_over_body();
            if matches!(source.body, BodyState::Passed) {
                return Poll::Ready(true);
            }
            if !source.is_worth_draining() {
                return Poll::Ready(false);
            }
            if let Ok(0) | Err(_) = ready!(source.poll_arrival(context)) {
                return Poll::Ready(false);
            }
        }
    }

    /// Ends the body: who holds it gets an error.
    pub(super) fn close_body(&self) {
        self.source().close_body();
    }

    /// Throws away what arrives next; false once the client has closed.
    pub(super) fn poll_discard(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut source = self.source();
        source.arrived.clear();
        let arrived = ready!(source.poll_arrival(context));
        Poll::Ready(arrived.is_ok_and(|arrived| arrived > 0))
    }
}

impl Source {
    fn poll_head(&mut self, context: &mut Context<'_>, limit: usize) -> Poll<Result<Head, NoHead>> {
        loop {
            self.pass_over_blank_lines();
            if self.may_hold_head(limit)
                && let Some((head, length)) = aerostack_http1::parse(&self.arrived, limit).map_err(NoHead::Refused)?
            {
                self.arrived.advance(length);
                self.searched = 0;
                return Poll::Ready(Ok(head));
            }
            self.searched = self.arrived.len();
            if self.arrived.is_empty() && self.arrived.capacity() > KEPT_BYTES {
                self.arrived = BytesMut::new();
            }
            let Some(reading) = &mut self.reading else { return Poll::Ready(Err(NoHead::Closed)) };
            let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut room = ReadBuf::uninit(&mut room);
            ready!(Pin::new(reading).poll_read(context, &mut room)).map_err(NoHead::Failed)?;
            let new = room.filled();
            if new.is_empty() {
                return Poll::Ready(Err(NoHead::Closed));
            }
            // Most heads come as a whole, and nothing with them: they are read where they lie.
            if self.arrived.is_empty() {
                if let Some((head, length)) = aerostack_http1::parse(new, limit).map_err(NoHead::Refused)? {
                    self.arrived.extend_from_slice(&new[length..]);
                    return Poll::Ready(Ok(head));
                }
                self.searched = new.len();
            }
            self.arrived.extend_from_slice(new);
        }
    }

    /// Blank lines before a request count for nothing (RFC 9112, section 2.2), and are not kept.
    fn pass_over_blank_lines(&mut self) {
        while self.arrived.starts_with(b"\r\n") {
            self.arrived.advance(2);
            self.searched = 0;
        }
    }

    /// Whether a look for a head is worth it: one that comes byte by byte is not parsed for each.
    fn may_hold_head(&self, limit: usize) -> bool {
        if self.searched == 0 || self.arrived.len() > limit {
            return !self.arrived.is_empty();
        }
        let new = &self.arrived[self.searched.saturating_sub(2)..];
        new.windows(2).any(|end| end == b"\n\n") || new.windows(3).any(|end| end == b"\n\r\n")
    }

    /// Waits for more to arrive. It is nothing when the client has closed.
    fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(0)) };
        let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(reading).poll_read(context, &mut room))?;
        self.arrived.extend_from_slice(room.filled());
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Waits until a look shows that the client has closed.
    fn poll_hung_up(&self, context: &mut Context<'_>, next_look: &mut NextLook) -> Poll<io::Error> {
        let next_look = next_look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
        while next_look.as_mut().poll(context).is_ready() {
            if self.reading.as_ref().is_none_or(Reading::has_hung_up) {
                return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
            }
            next_look.as_mut().reset(tokio::time::Instant::now() + LOOK);
        }
        Poll::Pending
    }

    /// Whether little is to come of a body that nobody reads, and it is known that it will come.
    fn is_worth_draining(&self) -> bool {
        match self.body {
            BodyState::Cancelled { framing: Framing::Length(left), expects_continue: false } => {
                left <= DRAINED_BYTES && !self.is_continue_due
            }
            _ => false,
        }
    }

    /// Ends the body before its end.
    fn close_body(&mut self) {
        if !matches!(self.body, BodyState::Passed) {
            self.body = BodyState::Closed;
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Whether somebody may read the body. The connection learns when that changes, and when the client is to be told to send it.
    fn is_body_held(&mut self, context: &Context<'_>) -> bool {
        let is_held = matches!(self.body, BodyState::Held { .. });
        if is_held && self.connection.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            self.connection = Some(context.waker().clone());
        }
        is_held
    }

    fn wake_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.wake();
        }
    }

    /// Passes over a body that nobody will read, as far as it is there already.
    fn pass_over_body(&mut self) {
        let BodyState::Cancelled { framing, .. } = &mut self.body else { return };
        let end = match framing {
            Framing::Length(left) => {
                let length = self.arrived.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                self.arrived.advance(length);
                *left -= length as u64;
                (*left == 0).then_some(BodyState::Passed)
            }
            Framing::Chunked(chunked) => loop {
                match chunked.decode(&mut self.arrived) {
                    Ok(Decoded::Data(_)) => {}
                    Ok(Decoded::NeedsMore) => break None,
                    Ok(Decoded::End) => break Some(BodyState::Passed),
                    Err(_) => break Some(BodyState::Closed),
                }
            },
        };
        if let Some(end) = end {
            self.body = end;
        }
    }

    /// Waits for the next piece of the body.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Poll::Ready(next) = self.poll_piece(context) else {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        let end = match (&next, &self.body) {
            (Err(_), _) => Some(BodyState::Closed),
            (Ok(None), _) | (_, BodyState::Held { framing: Framing::Length(0), .. }) => Some(BodyState::Passed),
            (Ok(Some(_)), _) => None,
        };
        if let Some(end) = end {
            self.body = end;
            self.wake_connection();
        }
        Poll::Ready(next.transpose())
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let Self { reading: Some(reading), arrived, body, .. } = self else { return Poll::Ready(Err(broken_off())) };
        let (framing, expects_continue) = match body {
            BodyState::Held { framing, expects_continue } => (framing, expects_continue),
            BodyState::Passed => return Poll::Ready(Ok(None)),
            BodyState::Cancelled { .. } | BodyState::Closed => return Poll::Ready(Err(broken_off())),
        };
        let is_continue_due = std::mem::take(expects_continue) && arrived.is_empty();
        let piece = match framing {
            Framing::Length(0) => Poll::Ready(Ok(None)),
            Framing::Length(left) => poll_length(reading, arrived, left, context).map_ok(Some),
            Framing::Chunked(chunked) => poll_chunked(reading, arrived, chunked, context),
        };
        if is_continue_due {
            self.is_continue_due = true;
            self.wake_connection();
        }
        piece
    }
}

/// Reads a piece of a body with `left` bytes to come, as large as it can be had without waiting.
fn poll_length(
    reading: &mut Reading,
    arrived: &mut BytesMut,
    left: &mut u64,
    context: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    // Where nothing is there no memory is needed.
    if arrived.is_empty() {
        ready!(reading.poll_readable(context))?;
    }
    let limit = usize::try_from(*left).unwrap_or(usize::MAX).min(PIECE_BYTES);
    let mut piece = Vec::with_capacity(limit);
    let taken = limit.min(arrived.len());
    piece.extend_from_slice(&arrived[..taken]);
    arrived.advance(taken);
    while piece.len() < limit {
        let room = limit - piece.len();
        match poll_read_buf(Pin::new(&mut *reading), context, &mut (&mut piece).limit(room)) {
            Poll::Ready(Ok(1..)) => {}
            // What went wrong is met again after the piece that is there.
            _ if !piece.is_empty() => break,
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(broken_off())),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    *left -= piece.len() as u64;
    Poll::Ready(Ok(piece.into_boxed_slice().into()))
}

fn poll_chunked(
    reading: &mut Reading,
    arrived: &mut BytesMut,
    chunked: &mut Chunked,
    context: &mut Context<'_>,
) -> Poll<io::Result<Option<Bytes>>> {
    loop {
        match chunked.decode(arrived) {
            Ok(Decoded::Data(data)) => return Poll::Ready(Ok(Some(data))),
            Ok(Decoded::End) => return Poll::Ready(Ok(None)),
            Ok(Decoded::NeedsMore) => {}
            Err(text) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text))),
        }
        ready!(reading.poll_readable(context))?;
        arrived.reserve(CHUNKED_READ_BYTES);
        if ready!(poll_read_buf(Pin::new(&mut *reading), context, arrived))? == 0 {
            return Poll::Ready(Err(broken_off()));
        }
    }
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed before its end")
}

/// A body that is read from its connection while it arrives.
pub(crate) struct InboundBody(Inbound);

impl Body for InboundBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.source().poll_body(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.has_passed_body()
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.source().body {
            BodyState::Held { framing: Framing::Length(left), .. } => SizeHint::with_exact(left),
            BodyState::Passed => SizeHint::with_exact(0),
            BodyState::Held { .. } | BodyState::Cancelled { .. } | BodyState::Closed => SizeHint::default(),
        }
    }
}

impl Drop for InboundBody {
    fn drop(&mut self) {
        let mut source = self.0.source();
        source.body = match std::mem::replace(&mut source.body, BodyState::Closed) {
            BodyState::Held { framing, expects_continue } => BodyState::Cancelled { framing, expects_continue },
            other => other,
        };
        source.reader = None;
        source.wake_connection();
    }
}
