use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use deno_core::error::JsError;
use deno_core::{AsyncRefCell, AsyncResult, BufView, RcRef, Resource};
use deno_error::JsErrorBox;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::invocations::BodyFailure;
use crate::{Caller, Failure, InvocationId, Invocations, WorkerLog};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Incoming = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// The body of a request on its way into an isolate.
pub enum RequestBody {
    /// There is none.
    Empty,
    /// It has arrived whole.
    Full(Bytes),
    /// Its request was answered before anybody read it, for this reason.
    Over(&'static str),
    /// It is still arriving; `arrived` came before the rest.
    Streaming {
        /// The chunks read so far.
        arrived: VecDeque<Bytes>,
        /// What is still to come.
        rest: Incoming,
    },
}

/// Why a body that is not read to its end cannot be read on. The texts are those of Workers.
pub(crate) const RESPONSE_SENT: &str = "Can't read from request stream after response has been sent.";
pub(crate) const CLIENT_LEFT: &str = "Can't read from request stream because client disconnected.";
const CANCELLED: &str = "the request body was cancelled";

/// A request body that JavaScript pulls from. Reading is the back-pressure: nothing is read ahead.
pub(crate) struct RequestBodyResource {
    /// Readers take turns, in their order.
    turn: AsyncRefCell<()>,
    source: RefCell<RequestBodySource>,
    /// How many bytes there are in all, where the client has announced it.
    length: Option<u64>,
}

enum RequestBodySource {
    Open {
        arrived: VecDeque<Bytes>,
        rest: Incoming,
        /// Of who waits for the next chunk.
        reader: Option<Waker>,
    },
    /// It can no longer be read, for this reason.
    Over(&'static str),
}

impl RequestBodyResource {
    pub(crate) fn new(arrived: VecDeque<Bytes>, rest: Incoming) -> Self {
        let announced = rest.size_hint().exact();
        let length = announced.map(|rest| rest + arrived.iter().map(|chunk| chunk.len() as u64).sum::<u64>());
        let source = RefCell::new(RequestBodySource::Open { arrived, rest, reader: None });
        Self { turn: AsyncRefCell::new(()), source, length }
    }

    /// Ends the body for this reason: who reads it, or waits to, gets an error, and the client's connection learns at
    /// once that nobody will read the rest. The first reason stands.
    pub(crate) fn end(&self, reason: &'static str) {
        if matches!(*self.source.borrow(), RequestBodySource::Over(_)) {
            return;
        }
        if let RequestBodySource::Open { rest, reader, .. } = self.source.replace(RequestBodySource::Over(reason)) {
            drop(rest);
            if let Some(reader) = reader {
                reader.wake();
            }
        }
    }

    /// The next bytes as they came; none at the end.
    pub(crate) async fn chunk(self: Rc<Self>) -> Result<Bytes, JsErrorBox> {
        self.next_chunk(usize::MAX).await
    }

    async fn next_chunk(self: Rc<Self>, limit: usize) -> Result<Bytes, JsErrorBox> {
        let _turn = RcRef::map(&self, |this| &this.turn).borrow_mut().await;
        poll_fn(|context| self.source.borrow_mut().poll_chunk(limit, context)).await
    }
}

impl RequestBodySource {
    fn poll_chunk(&mut self, limit: usize, context: &mut Context<'_>) -> Poll<Result<Bytes, JsErrorBox>> {
        let (arrived, rest, reader) = match self {
            Self::Open { arrived, rest, reader } => (arrived, rest, reader),
            Self::Over(reason) => return Poll::Ready(Err(JsErrorBox::type_error(*reason))),
        };
        loop {
            while let Some(mut chunk) = arrived.pop_front() {
                if chunk.len() > limit {
                    let rest = chunk.split_off(limit);
                    arrived.push_front(rest);
                }
                if !chunk.is_empty() {
                    return Poll::Ready(Ok(chunk));
                }
            }
            match Pin::new(&mut *rest).poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(Ok(Bytes::new())),
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(JsErrorBox::type_error(format!("request body: {error}"))));
                }
                Poll::Ready(Some(Ok(frame))) => arrived.extend(frame.into_data().ok()),
                Poll::Pending => {
                    *reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Resource for RequestBodyResource {
    fn name(&self) -> Cow<'_, str> {
        "requestBody".into()
    }

    fn read(self: Rc<Self>, limit: usize) -> AsyncResult<BufView> {
        Box::pin(async move { self.next_chunk(limit).await.map(BufView::from) })
    }

    fn size_hint(&self) -> (u64, Option<u64>) {
        (self.length.unwrap_or(0), self.length)
    }

    fn close(self: Rc<Self>) {
        self.end(CANCELLED);
    }
}

/// The body of a response on its way out of an isolate.
///
/// A stream is pulled chunk by chunk from the isolate as the connection takes it; dropping it cancels the stream.
pub enum ResponseBody {
    /// There is none.
    Empty,
    /// All of it.
    Full(Option<BufView>),
    /// A resource of the isolate that yields chunks until an empty one.
    Stream(StreamBody),
    /// What comes from an isolate on another thread. Dropping it cancels the stream at its source.
    Remote(RemoteBody),
}

/// A body that comes from an isolate on another thread.
pub struct RemoteBody {
    /// Chunks, an empty one at the end, or why there are no more.
    chunks: mpsc::Receiver<Result<Bytes, String>>,
    /// Its length, where it is known.
    length: Option<u64>,
    ended: bool,
}

impl RemoteBody {
    /// A body of chunks up to an empty one, or to an error. It is cut where `chunks` ends before.
    pub fn new(chunks: mpsc::Receiver<Result<Bytes, String>>, length: Option<u64>) -> Self {
        Self { chunks, length, ended: false }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<BufView>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let chunk = ready!(self.chunks.poll_recv(context));
        let chunk = chunk.unwrap_or_else(|| Err("the isolate's thread ended before the body did".to_owned()));
        match chunk {
            Ok(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
            Ok(_) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Err(reason) => {
                self.ended = true;
                Poll::Ready(Some(Err(reason.into())))
            }
        }
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes.into())) }
    }
}

/// See [`ResponseBody::Stream`].
pub struct StreamBody {
    /// At least so many bytes, and at most.
    announced: (u64, Option<u64>),
    resource: Rc<dyn Resource>,
    reading: RefCell<Option<AsyncResult<BufView>>>,
    /// What was read before the answer left.
    first: Option<BufView>,
    invocations: Rc<Invocations>,
    invocation: InvocationId,
    sent: u64,
    log: Arc<dyn WorkerLog>,
    ended: bool,
    /// How it broke off, until its reader has heard of it.
    broken: Option<BoxError>,
}

/// Why there is no more of a stream.
struct Broken {
    failure: Failure,
    told: Told,
    caller: Option<Caller>,
}

/// Whether the log has a failure already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    Not,
}

const CHUNK_BYTES: usize = 64 * 1024;

impl ResponseBody {
    /// `log` is told when the stream is cut because it is too long.
    pub(crate) fn stream(
        resource: Rc<dyn Resource>,
        invocations: Rc<Invocations>,
        invocation: InvocationId,
        log: Arc<dyn WorkerLog>,
    ) -> Self {
        Self::Stream(StreamBody {
            // Some resources count down what they have left.
            announced: resource.size_hint(),
            resource,
            reading: RefCell::new(None),
            first: None,
            invocations,
            invocation,
            sent: 0,
            log,
            ended: false,
            broken: None,
        })
    }

    /// Waits until something of a stream is there, or its end: an error then means that it failed before anything of it was sent.
    pub fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Self::Stream(stream) = self else { return Poll::Ready(Ok(())) };
        if stream.first.is_some() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(match ready!(stream.poll_read(context)) {
            None => Ok(()),
            Some(Ok(chunk)) => {
                stream.first = Some(chunk);
                Ok(())
            }
            Some(Err(broken)) => Err(broken.failure),
        })
    }

    /// The answer leaves: what fails from now on breaks it off.
    pub fn release(&self) {
        let Self::Stream(stream) = self else { return };
        if let Some(error) = stream.invocations.release_body(stream.invocation) {
            stream.tell(stream.invocations.caller(stream.invocation).as_ref(), &error);
        }
    }
}

impl Body for ResponseBody {
    type Data = BufView;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => stream.poll_frame(context),
            Self::Remote(remote) => remote.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Full(None) => true,
            Self::Full(Some(bytes)) => bytes.is_empty(),
            Self::Stream(stream) => stream.ended && stream.first.is_none() && stream.broken.is_none(),
            Self::Remote(remote) => remote.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.remaining() as u64),
            Self::Stream(stream) => {
                let (lower, upper) = stream.announced;
                let mut hint = SizeHint::new();
                hint.set_lower(lower);
                if let Some(upper) = upper {
                    hint.set_upper(upper);
                }
                hint
            }
            Self::Remote(remote) => remote.length.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}

impl StreamBody {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<BufView>, BoxError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(self.poll_read(context)) {
            None => Poll::Ready(None),
            Some(Ok(chunk)) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Some(Err(broken)) => {
                if let (Failure::Exception(error), Told::Not) = (&broken.failure, broken.told) {
                    self.tell(broken.caller.as_ref(), error);
                }
                self.broken = Some(broken.failure.text().into());
                // A turn later: an HTTP/2 stream that is reset takes back what has not left yet, its head included.
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn tell(&self, caller: Option<&Caller>, error: &JsError) {
        let exception_message = format!("the response broke off: {}", error.exception_message);
        self.log.uncaught(caller, &JsError { exception_message, ..error.clone() });
    }

    /// The next chunk, none at the end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<BufView, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Err(reason) = self.invocations.watch_stream(self.invocation, context) {
            return Poll::Ready(Some(Err(self.broken(Failure::Stopped(reason.into()), Told::Yes))));
        }
        let reading = self.reading.get_mut();
        let read = reading.get_or_insert_with(|| self.resource.clone().read(CHUNK_BYTES));
        let outcome = ready!(read.as_mut().poll(context));
        *reading = None;
        match outcome {
            Ok(chunk) if chunk.is_empty() => {
                self.end(true);
                Poll::Ready(None)
            }
            Ok(chunk) => {
                self.sent += chunk.len() as u64;
                if let Err(reason) = self.invocations.check_response_bytes(self.sent) {
                    self.log.limit_met(
                        self.invocations.caller(self.invocation).as_ref(),
                        &format!("response cut: {reason}"),
                    );
                    return Poll::Ready(Some(Err(self.broken(Failure::Exceeded(reason.into()), Told::Yes))));
                }
                Poll::Ready(Some(Ok(chunk)))
            }
            Err(error) => {
                let (failure, told) = match self.invocations.take_body_failure(self.invocation) {
                    Some(BodyFailure::Thrown(thrown)) => (Failure::Exception(thrown), Told::Not),
                    Some(BodyFailure::Told) => (Failure::of_body(&error), Told::Yes),
                    None => (Failure::of_body(&error), Told::Not),
                };
                Poll::Ready(Some(Err(self.broken(failure, told))))
            }
        }
    }

    fn broken(&mut self, failure: Failure, told: Told) -> Broken {
        // Before the end, with which the invocation may be over.
        let caller = self.invocations.caller(self.invocation);
        self.end(false);
        Broken { failure, told, caller }
    }

    fn end(&mut self, complete: bool) {
        self.ended = true;
        *self.reading.get_mut() = None;
        self.resource.clone().close();
        self.invocations.stream_ended(self.invocation, complete);
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if !self.ended {
            self.end(false);
        }
    }
}
