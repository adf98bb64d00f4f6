use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aerostack_queue::ops::Metrics;
use aerostack_queue::{Backlog, ContentType, Decision, QueueBatch};
use deno_core::{OpState, op2, v8};

use crate::ops::{InvocationError, bytes_to_v8};
use crate::{InvocationId, Invocations, WorkerLog};

/// An event handler to be called.
pub struct EventCall {
    /// What happened.
    pub event: Event,
    /// Where the handler's console lines and uncaught errors go.
    pub log: Arc<dyn WorkerLog>,
}

/// What an event handler is called for. Displayed as it is named in log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A cron trigger fired.
    Scheduled {
        /// The expression, character for character as the config has it.
        cron: Arc<str>,
        /// The minute it stands for, milliseconds since the UNIX epoch.
        scheduled_time_ms: u64,
    },
    /// A queue delivers messages.
    Queue(QueueBatch),
}

/// What an event's handler has decided so far. Kept on this side of the border, so that it outlives the isolate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventNotes {
    /// `noRetry()` was called.
    pub no_retry: bool,
    /// One for each message of a batch, in their order.
    pub decisions: Vec<Decision>,
}

impl EventNotes {
    pub(crate) fn of(event: &Event) -> Self {
        let messages = match event {
            Event::Scheduled { .. } => 0,
            Event::Queue(batch) => batch.messages.len(),
        };
        Self { no_retry: false, decisions: vec![Decision::Undecided; messages] }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduled { cron, .. } => write!(formatter, "cron {cron}"),
            Self::Queue(batch) => write!(formatter, "queue {}", batch.queue),
        }
    }
}

/// The messages of a batch as `[id, timestamp, attempts, content type, body, ...]`. JSON and text come as strings, the rest as
/// `Uint8Array`s.
#[op2]
pub(crate) fn op_event_messages<'s>(
    state: &mut OpState,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
) -> Result<v8::Local<'s, v8::Array>, InvocationError> {
    let (invocations, id) = event(state, invocation)?;
    let messages = invocations.with_event(id, |call| match &mut call.event {
        Event::Queue(batch) => std::mem::take(&mut batch.messages),
        Event::Scheduled { .. } => Vec::new(),
    });
    let mut flat: Vec<v8::Local<v8::Value>> = Vec::new();
    for message in messages.ok_or(InvocationError::Over)? {
        let id = v8::String::new(scope, &message.id.to_string()).ok_or(InvocationError::TooLong)?;
        flat.push(id.into());
        flat.push(v8::Number::new(scope, message.sent_at_ms as f64).into());
        flat.push(v8::Integer::new_from_unsigned(scope, message.attempts).into());
        let (content_type, is_text) = match message.content_type {
            ContentType::Json => ("json", true),
            ContentType::Text => ("text", true),
            ContentType::Bytes => ("bytes", false),
            ContentType::V8 => ("v8", false),
        };
        flat.push(v8::String::new(scope, content_type).ok_or(InvocationError::TooLong)?.into());
        flat.push(if is_text {
            let body = v8::String::new_from_utf8(scope, &message.body, v8::NewStringType::Normal);
            body.ok_or(InvocationError::TooLong)?.into()
        } else {
            bytes_to_v8(scope, message.body)
        });
    }
    Ok(v8::Array::new_with_elements(scope, &flat))
}

/// What waits in the queue of a batch.
#[op2]
pub(crate) fn op_event_backlog(state: &mut OpState, #[number] invocation: u64) -> Result<Metrics, InvocationError> {
    let (invocations, id) = event(state, invocation)?;
    let backlog = invocations.with_event(id, |call| match &call.event {
        Event::Queue(batch) => batch.backlog,
        Event::Scheduled { .. } => Backlog::default(),
    });
    backlog.map(Metrics).ok_or(InvocationError::Over)
}

/// Acks one message of a batch, or with `place` -1 all that are undecided. False when the event is over.
#[op2(fast)]
pub(crate) fn op_event_ack(state: &mut OpState, #[number] invocation: u64, #[smi] place: i32) -> bool {
    decide(state, invocation, place, Decision::Ack)
}

/// Retries one message of a batch, or with `place` -1 all that are undecided. `delay` is in seconds; -1 leaves it to the
/// consumer. False when the event is over.
#[op2(fast)]
pub(crate) fn op_event_retry(
    state: &mut OpState,
    #[number] invocation: u64,
    #[smi] place: i32,
    #[smi] delay: i32,
) -> bool {
    let delay = u64::try_from(delay).ok().map(Duration::from_secs);
    decide(state, invocation, place, Decision::Retry(delay))
}

#[op2(fast)]
pub(crate) fn op_event_no_retry(state: &mut OpState, #[number] invocation: u64) {
    if let Ok((invocations, id)) = event(state, invocation) {
        invocations.with_notes(id, |notes| notes.no_retry = true);
    }
}

/// The handler returned, and what it returned has settled well.
#[op2(fast)]
pub(crate) fn op_event_ended(state: &mut OpState, #[number] invocation: u64) {
    if let Ok((invocations, id)) = event(state, invocation) {
        invocations.event_ended(id, Ok(()));
    }
}

/// JavaScript has applied the precedence of the calls; this only writes down.
fn decide(state: &OpState, invocation: u64, place: i32, decision: Decision) -> bool {
    let Ok((invocations, id)) = event(state, invocation) else { return false };
    let noted = invocations.with_notes(id, |notes| {
        if let Ok(place) = usize::try_from(place) {
            notes.decisions[place] = decision;
            return;
        }
        let undecided = notes.decisions.iter_mut().filter(|decided| **decided == Decision::Undecided);
        undecided.for_each(|decided| *decided = decision);
    });
    noted.is_some()
}

fn event(state: &OpState, invocation: u64) -> Result<(Rc<Invocations>, InvocationId), InvocationError> {
    let id = InvocationId::from_number(invocation).ok_or(InvocationError::Over)?;
    Ok((state.borrow::<Rc<Invocations>>().clone(), id))
}
