//! Calling a handler from another thread than its isolate's: request and answer cross by channel, bodies as chunks with
//! back-pressure.

use std::sync::{Arc, Mutex, PoisonError};

use aerostack_platform::{Costs, EventCall, Failure, RemoteBody, ResponseBody};
use bytes::{Buf, Bytes};
use http::response::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

use crate::host::{Answer, EventReport, FetchRequest};
use crate::thread::IsolateThread;

/// An answer on its way to another thread than its isolate's.
pub struct RemoteAnswer {
    head: Parts,
    body: SentBody,
    costs: Costs,
}

enum SentBody {
    Full(Bytes),
    Chunks(RemoteBody),
}

impl From<RemoteAnswer> for Answer {
    fn from(answer: RemoteAnswer) -> Self {
        let body = match answer.body {
            SentBody::Full(bytes) => ResponseBody::from(bytes),
            SentBody::Chunks(chunks) => ResponseBody::Remote(chunks),
        };
        Self { response: Box::new(http::Response::from_parts(answer.head, body)), costs: answer.costs }
    }
}

/// Chunks under way between two threads before the producer waits.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Answers a request on the thread. Gives the request back when the thread ended before it began.
pub(crate) async fn fetch(
    thread: &IsolateThread,
    request: FetchRequest,
) -> Result<Result<RemoteAnswer, Failure>, FetchRequest> {
    let (mut reply, answer) = oneshot::channel();
    // The request comes back through here when nobody takes it.
    let offered = Arc::new(Mutex::new(Some(request)));
    let taken = offered.clone();
    thread.run(move |host| {
        let (host, hop) = (host.clone(), host.hop());
        deno_core::unsync::spawn(async move {
            let _hop = hop;
            let request = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(request) = request else { return };
            let outcome = tokio::select! {
                outcome = host.fetch(request) => outcome,
                () = reply.closed() => return,
            };
            let answered = match outcome {
                Ok(Ok(answered)) => answered,
                Ok(Err(failure)) => {
                    let _ = reply.send(Err(failure));
                    return;
                }
                Err(unbegun) => {
                    *taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(unbegun);
                    return;
                }
            };
            let (head, body) = answered.response.into_parts();
            let costs = answered.costs;
            let body = match body {
                ResponseBody::Empty | ResponseBody::Full(None) => SentBody::Full(Bytes::new()),
                ResponseBody::Full(Some(bytes)) => SentBody::Full(Bytes::copy_from_slice(&bytes)),
                stream => {
                    let (chunks, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
                    let body = SentBody::Chunks(RemoteBody::new(receiver, stream.size_hint().exact()));
                    if reply.send(Ok(RemoteAnswer { head, body, costs })).is_ok() {
                        forward(stream, &chunks).await;
                    }
                    return;
                }
            };
            let _ = reply.send(Ok(RemoteAnswer { head, body, costs }));
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
        let (host, hop) = (host.clone(), host.hop());
        deno_core::unsync::spawn(async move {
            let _hop = hop;
            if host.is_retired() {
                // The next version has it, or nobody where the worker is shut down.
                return;
            }
            let event = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(event) = event else { return };
            match host.event(event).await {
                Ok(report) => {
                    let _ = reply.send(report);
                }
                Err(unbegun) => *taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(unbegun),
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

/// Sends the chunks of a body, and an empty one at its end: without that the other side knows that the body was cut.
async fn forward(mut body: ResponseBody, chunks: &mpsc::Sender<Result<Bytes, String>>) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = chunks.closed() => return,
        };
        let chunk = match frame {
            None => Ok(Bytes::new()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.has_remaining() => continue,
                Ok(mut data) => Ok(data.copy_to_bytes(data.remaining())),
                Err(_) => continue,
            },
            Some(Err(error)) => Err(error.to_string()),
        };
        let is_last = chunk.as_ref().map_or(true, Bytes::is_empty);
        if chunks.send(chunk).await.is_err() || is_last {
            return;
        }
    }
}
