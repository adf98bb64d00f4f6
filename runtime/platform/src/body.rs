use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use deno_core::{AsyncRefCell, AsyncResult, BufView, CancelHandle, CancelTryFuture, RcRef, Resource};
use deno_error::JsErrorBox;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::{InvocationId, Invocations, WorkerLog};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Incoming = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// The body of a request on its way into an isolate.
pub enum RequestBody {
    /// There is none.
    Empty,
    /// It has arrived whole.
    Full(Bytes),
    /// It is still arriving; `arrived` came before the rest.
    Streaming {
        /// The chunks read so far.
        arrived: VecDeque<Bytes>,
        /// What is still to come.
        rest: Incoming,
    },
}

/// A request body that JavaScript pulls from. Reading is the back-pressure: nothing is read ahead.
pub(crate) struct RequestBodyResource {
    source: AsyncRefCell<RequestBodySource>,
    /// How many bytes there are in all, where the client has announced it.
    length: Option<u64>,
    cancel: CancelHandle,
}

struct RequestBodySource {
    arrived: VecDeque<Bytes>,
    rest: Incoming,
}

impl RequestBodyResource {
    pub(crate) fn new(arrived: VecDeque<Bytes>, rest: Incoming) -> Self {
        let announced = rest.size_hint().exact();
        let length = announced.map(|rest| rest + arrived.iter().map(|chunk| chunk.len() as u64).sum::<u64>());
        let source = AsyncRefCell::new(RequestBodySource { arrived, rest });
        Self { source, length, cancel: CancelHandle::default() }
    }

    /// The next bytes as they came; none at the end. Closing the resource ends the wait.
    pub(crate) async fn chunk(self: Rc<Self>) -> Result<Bytes, JsErrorBox> {
        let cancel = RcRef::map(&self, |this| &this.cancel);
        self.next_chunk(usize::MAX).try_or_cancel(cancel).await
    }

    async fn next_chunk(self: Rc<Self>, limit: usize) -> Result<Bytes, JsErrorBox> {
        let mut source = RcRef::map(&self, |this| &this.source).borrow_mut().await;
        loop {
            if let Some(mut chunk) = source.arrived.pop_front() {
                if chunk.len() > limit {
                    let rest = chunk.split_off(limit);
                    source.arrived.push_front(rest);
                }
                if chunk.is_empty() {
                    continue;
                }
                return Ok(chunk);
            }
            match source.rest.frame().await {
                None => return Ok(Bytes::new()),
                Some(Err(error)) => return Err(JsErrorBox::type_error(format!("request body: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        source.arrived.push_back(data);
                    }
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
        let cancel = RcRef::map(&self, |this| &this.cancel);
        Box::pin(async move { self.next_chunk(limit).try_or_cancel(cancel).await.map(BufView::from) })
    }

    fn size_hint(&self) -> (u64, Option<u64>) {
        (self.length.unwrap_or(0), self.length)
    }

    fn close(self: Rc<Self>) {
        self.cancel.cancel();
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
    /// Chunks, or why there are no more, from an isolate on another thread. Dropping it cancels the stream at its source.
    Remote(mpsc::Receiver<Result<Bytes, String>>),
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(Some(bytes.into())) }
    }
}

/// See [`ResponseBody::Stream`].
pub struct StreamBody {
    resource: Rc<dyn Resource>,
    reading: RefCell<Option<AsyncResult<BufView>>>,
    invocations: Rc<Invocations>,
    invocation: InvocationId,
    sent: u64,
    log: Arc<dyn WorkerLog>,
    ended: bool,
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
        let reading = RefCell::new(None);
        Self::Stream(StreamBody { resource, reading, invocations, invocation, sent: 0, log, ended: false })
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
            Self::Remote(chunks) => {
                let chunk = ready!(chunks.poll_recv(context));
                Poll::Ready(chunk.map(|chunk| chunk.map(|bytes| Frame::data(bytes.into())).map_err(BoxError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Full(None) => true,
            Self::Full(Some(bytes)) => bytes.is_empty(),
            Self::Stream(stream) => stream.ended,
            Self::Remote(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Full(None) => SizeHint::with_exact(0),
            Self::Full(Some(bytes)) => SizeHint::with_exact(bytes.remaining() as u64),
            Self::Stream(stream) => {
                let (lower, upper) = stream.resource.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(lower);
                if let Some(upper) = upper {
                    hint.set_upper(upper);
                }
                hint
            }
            Self::Remote(_) => SizeHint::default(),
        }
    }
}

impl StreamBody {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<BufView>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Err(reason) = self.invocations.watch_stream(self.invocation, context) {
            self.end(false);
            return Poll::Ready(Some(Err(reason.into())));
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
                    self.end(false);
                    return Poll::Ready(Some(Err(reason.into())));
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Err(error) => {
                self.end(false);
                Poll::Ready(Some(Err(error.to_string().into())))
            }
        }
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
