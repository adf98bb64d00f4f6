//! Calling a handler from another thread than its isolate's: request and answer cross by channel, bodies as chunks with
//! back-pressure.

use std::sync::{Arc, Mutex, PoisonError};

use aerostack_platform::{Costs, EventCall, Failure, ResponseBody};
use bytes::{Buf, Bytes};
use http::response::Parts;
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};

use crate::host::{Answer, EventReport, FetchRequest};
use crate::thread::IsolateThread;

/// An answer on its way to another thread than its isolate's.
pub struct RemoteAnswer {
    head: Parts,
    body: RemoteBody,
    costs: Costs,
}

enum RemoteBody {
    Full(Bytes),
    Chunks(mpsc::Receiver<Result<Bytes, String>>),
}

impl From<RemoteAnswer> for Answer {
    fn from(answer: RemoteAnswer) -> Self {
        let body = match answer.body {
            RemoteBody::Full(bytes) => ResponseBody::from(bytes),
            RemoteBody::Chunks(chunks) => ResponseBody::Remote(chunks),
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
            let body = match body {
                ResponseBody::Empty | ResponseBody::Full(None) => RemoteBody::Full(Bytes::new()),
                ResponseBody::Full(Some(bytes)) => RemoteBody::Full(Bytes::copy_from_slice(&bytes)),
                stream => {
                    let (chunks, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
                    let body = RemoteBody::Chunks(receiver);
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
