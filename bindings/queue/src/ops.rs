//! The ops behind `js/bindings/queue.ts`. The only file here that knows V8.
//!
//! Messages cross as one flat array, `[content type, body, delay, ...]`: text as a string, anything else as a `Uint8Array`. Every
//! error is an `Error` with the text of the contract.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use aerostack_bindings::{Calls, Result};
use bytes::Bytes;
use deno_core::{FromV8, OpState, ToV8, op2, v8};
use deno_error::JsErrorBox;

use crate::limits::{self, Operation};
use crate::{Backlog, ContentType, KIND, Message, NamedQueue};

deno_core::extension!(aerostack_queue, ops = [op_queue_metrics, op_queue_send, op_queue_send_batch]);

/// The queues of one worker, in the order of its bindings. Put into `OpState` together with [`Calls`] before the first call; ops
/// name a queue by its place here.
#[derive(Clone)]
pub struct Queues {
    /// The queues.
    pub queues: Vec<Arc<NamedQueue>>,
    /// Told of every queue that something was sent to.
    pub sent: Arc<dyn Fn(&NamedQueue) + Send + Sync>,
}

/// Sends one message. Returns the backlog.
#[op2]
async fn op_queue_send(
    state: Rc<RefCell<OpState>>,
    #[smi] queue: u32,
    #[scoped] message: Messages,
) -> Result<Metrics, JsErrorBox> {
    let Some(message) = message.0.into_iter().next() else {
        return Err(JsErrorBox::type_error(limits::BODY_IS_UNDEFINED));
    };
    let handles = handles(&state, queue)?;
    let sent = handles.calls.call(KIND, &handles.queue.name, "send", handles.queue.send(message)).await;
    handles.seen_by_javascript(Operation::Send, sent)
}

/// Sends several messages, all or none. `delay` is for those that have none, and itself NaN where there is none. Returns the
/// backlog.
#[op2]
async fn op_queue_send_batch(
    state: Rc<RefCell<OpState>>,
    #[smi] queue: u32,
    #[scoped] messages: Messages,
    delay: f64,
) -> Result<Metrics, JsErrorBox> {
    let handles = handles(&state, queue)?;
    let batch = handles.queue.send_batch(messages.0, seconds(delay));
    let sent = handles.calls.call(KIND, &handles.queue.name, "send_batch", batch).await;
    handles.seen_by_javascript(Operation::SendBatch, sent)
}

/// The backlog.
#[op2]
async fn op_queue_metrics(state: Rc<RefCell<OpState>>, #[smi] queue: u32) -> Result<Metrics, JsErrorBox> {
    let Handles { queue, calls, .. } = handles(&state, queue)?;
    let backlog = calls.call(KIND, &queue.name, "metrics", queue.metrics()).await;
    backlog.map(Metrics).map_err(|error| JsErrorBox::generic(limits::framed(Operation::Metrics, &error)))
}

/// What a call needs of the state, which is not borrowed any more, so that the call can wait.
struct Handles {
    queue: Arc<NamedQueue>,
    calls: Calls,
    sent: Arc<dyn Fn(&NamedQueue) + Send + Sync>,
}

impl Handles {
    fn seen_by_javascript(&self, operation: Operation, sent: Result<Backlog>) -> Result<Metrics, JsErrorBox> {
        let backlog = sent.map_err(|error| JsErrorBox::generic(limits::framed(operation, &error)))?;
        (self.sent)(&self.queue);
        Ok(Metrics(backlog))
    }
}

fn handles(state: &RefCell<OpState>, queue: u32) -> Result<Handles, JsErrorBox> {
    let state = state.borrow();
    let Queues { queues, sent } = state.borrow::<Queues>();
    let Some(queue) = queues.get(queue as usize) else {
        return Err(JsErrorBox::generic(format!("this worker has no queue number {queue}")));
    };
    Ok(Handles { queue: queue.clone(), calls: state.borrow::<Calls>().clone(), sent: sent.clone() })
}

/// JavaScript has made a whole number of it; the cast keeps what is out of range out of range.
fn seconds(delay: f64) -> Option<i32> {
    (!delay.is_nan()).then_some(delay as i32)
}

/// A backlog as JavaScript gets it: `[messages, bytes, time of the oldest or -1]`.
pub struct Metrics(pub Backlog);

impl<'a> ToV8<'a> for Metrics {
    type Error = std::convert::Infallible;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, Self::Error> {
        let Backlog { messages, bytes, oldest_ms } = self.0;
        let oldest = oldest_ms.map_or(-1.0, |time| time as f64);
        let numbers = [messages as f64, bytes as f64, oldest].map(|number| v8::Number::new(scope, number).into());
        Ok(v8::Array::new_with_elements(scope, &numbers).into())
    }
}

struct Messages(Vec<Message>);

/// Far more than a batch may have. What is longer is not copied to find that out: JavaScript may hold one long text a hundred times.
const NEVER_SENT_BYTES: usize = 1024 * 1024;

/// The error of bodies that are far too long.
fn check_lengths<'a>(scope: &mut v8::PinScope<'a, '_>, flat: v8::Local<'a, v8::Array>) -> Result<(), JsErrorBox> {
    let mut bodies = Vec::with_capacity(flat.length() as usize / 3);
    for place in (1..flat.length()).step_by(3) {
        bodies.extend(flat.get_index(scope, place));
    }
    let length = |body: &v8::Local<'a, v8::Value>, of_text: &dyn Fn(v8::Local<'a, v8::String>) -> usize| {
        if let Ok(text) = v8::Local::<v8::String>::try_from(*body) {
            return of_text(text);
        }
        v8::Local::<v8::ArrayBufferView>::try_from(*body).map_or(0, |view| view.byte_length())
    };
    let characters: usize = bodies.iter().map(|body| length(body, &|text| text.length())).sum();
    if characters <= NEVER_SENT_BYTES {
        return Ok(());
    }
    let lengths: Vec<usize> = bodies.iter().map(|body| length(body, &|text| text.utf8_length(scope))).collect();
    let (operation, checked) = match lengths[..] {
        [only] => (Operation::Send, limits::check_message_bytes(only)),
        _ => (Operation::SendBatch, limits::check_batch(lengths.iter().copied())),
    };
    checked.map_err(|error| JsErrorBox::generic(limits::framed(operation, &error)))
}

impl<'a> FromV8<'a> for Messages {
    type Error = JsErrorBox;

    fn from_v8<'i>(scope: &mut v8::PinScope<'a, 'i>, value: v8::Local<'a, v8::Value>) -> Result<Self, JsErrorBox> {
        let malformed = || JsErrorBox::type_error("messages come as [content type, body, delay, ...]");
        let flat = v8::Local::<v8::Array>::try_from(value).map_err(|_| malformed())?;
        check_lengths(scope, flat)?;
        let mut messages = Vec::with_capacity(flat.length() as usize / 3);
        for first in (0..flat.length()).step_by(3) {
            let part = |offset: u32| flat.get_index(scope, first + offset).ok_or_else(malformed);
            let (content_type, body, delay) = (part(0)?, part(1)?, part(2)?);
            // Numbered as in js/bindings/queue.ts.
            let content_type = match content_type.uint32_value(scope) {
                Some(0) => ContentType::Json,
                Some(1) => ContentType::Text,
                Some(2) => ContentType::Bytes,
                Some(3) => ContentType::V8,
                _ => return Err(malformed()),
            };
            let body = if let Ok(text) = v8::Local::<v8::String>::try_from(body) {
                Bytes::from(text.to_rust_string_lossy(scope))
            } else {
                let view = v8::Local::<v8::Uint8Array>::try_from(body).map_err(|_| malformed())?;
                let mut copy = vec![0; view.byte_length()];
                view.copy_contents(&mut copy);
                Bytes::from(copy)
            };
            let delay_seconds = seconds(delay.number_value(scope).ok_or_else(malformed)?);
            messages.push(Message { content_type, body, delay_seconds });
        }
        Ok(Self(messages))
    }
}
