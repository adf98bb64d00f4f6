//! Calling a handler from another thread than its isolate's: request and answer cross by channel, bodies as chunks with
//! back-pressure.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aerostack_platform::{Costs, EventCall, Failure, ResponseBody};
use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

use crate::host::{EventReport, FetchRequest};
use crate::thread::IsolateThread;

/// A request for a handler on another thread.
pub type RemoteRequest = FetchRequest;

/// The answer of a handler on another thread.
pub struct RemoteAnswer {
    /// The response.
    pub response: http::Response<RemoteBody>,
    /// The binding calls made up to the answer.
    pub costs: Costs,
}

/// A response body that comes from another thread.
pub enum RemoteBody {
    /// All of it.
    Full(Option<Bytes>),
    /// Chunk by chunk; dropping it cancels the stream at its source.
    Chunks(mpsc::Receiver<Result<Bytes, String>>),
}

/// Chunks under way between two threads before the producer waits.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Answers a request on the thread. Gives the request back when the thread ended before it began.
pub(crate) async fn fetch(
    thread: &IsolateThread,
    request: RemoteRequest,
) -> Result<Result<RemoteAnswer, Failure>, RemoteRequest> {
    let (mut reply, answer) = oneshot::channel();
    // The request comes back through here when nobody takes it.
    let offered = Arc::new(Mutex::new(Some(request)));
    let taken = offered.clone();
    thread.run(move |host| {
        let host = host.clone();
        deno_core::unsync::spawn(async move {
            if host.is_gone() {
                return;
            }
            let request = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(request) = request else { return };
            let outcome = tokio::select! {
                outcome = host.fetch(request) => outcome,
                () = reply.closed() => return,
            };
            let answered = match outcome {
                Ok(answered) => answered,
                Err(failure) => {
                    let _ = reply.send(Err(failure));
                    return;
                }
            };
            let (head, body) = answered.response.into_parts();
            let costs = answered.costs;
            match body {
                ResponseBody::Empty => {
                    let response = http::Response::from_parts(head, RemoteBody::Full(None));
                    let _ = reply.send(Ok(RemoteAnswer { response, costs }));
                }
                ResponseBody::Full(bytes) => {
                    let bytes = bytes.map(|bytes| Bytes::copy_from_slice(&bytes));
                    let response = http::Response::from_parts(head, RemoteBody::Full(bytes));
                    let _ = reply.send(Ok(RemoteAnswer { response, costs }));
                }
                ResponseBody::Stream(_) => {
                    let (chunks, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
                    let response = http::Response::from_parts(head, RemoteBody::Chunks(receiver));
                    if reply.send(Ok(RemoteAnswer { response, costs })).is_ok() {
                        forward(body, &chunks).await;
                    }
                }
            }
        });
    });
    let answered = tokio::select! {
        biased;
        answer = answer => answer,
        Some(reason) = thread.load().until_lost() => return Ok(Err(Failure::Stopped(reason))),
    };
    match answered {
        Ok(outcome) => Ok(outcome),
        Err(_) => match offered.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(request) => Err(request),
            None => Ok(Err(Failure::Stopped("the worker was shut down".into()))),
        },
    }
}

/// Runs an event on the thread. Gives the event back when the thread ended before it began.
pub(crate) async fn event(thread: &IsolateThread, event: EventCall) -> Result<EventReport, EventCall> {
    let (reply, report) = oneshot::channel();
    // The event comes back through here when nobody takes it.
    let offered = Arc::new(Mutex::new(Some(event)));
    let taken = offered.clone();
    thread.run(move |host| {
        let host = host.clone();
        deno_core::unsync::spawn(async move {
            if host.is_gone() {
                return;
            }
            let event = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(event) = event {
                let _ = reply.send(host.event(event).await);
            }
        });
    });
    let report = tokio::select! {
        biased;
        report = report => report.ok(),
        Some(reason) = thread.load().until_lost() => {
            let begun = offered.lock().unwrap_or_else(PoisonError::into_inner).is_none();
            begun.then(|| EventReport::lost(Failure::Stopped(reason)))
        }
    };
    match report {
        Some(report) => Ok(report),
        None => match offered.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(event) => Err(event),
            None => Ok(EventReport::never_begun()),
        },
    }
}

async fn forward(mut body: ResponseBody, chunks: &mpsc::Sender<Result<Bytes, String>>) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = chunks.closed() => return,
        };
        let chunk = match frame {
            None => return,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => Ok(data.copy_to_bytes(data.remaining())),
                Err(_) => continue,
            },
            Some(Err(error)) => Err(error.to_string()),
        };
        if chunks.send(chunk).await.is_err() {
            return;
        }
    }
}

impl Body for RemoteBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Chunks(chunks) => {
                chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data).map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Chunks(_) => SizeHint::new(),
        }
    }
}
