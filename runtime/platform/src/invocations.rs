use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aerostack_trace::{Identity, Ids, SpanContext, TRACEPARENT, Tracer};
use deno_core::error::JsError;
use deno_core::futures::FutureExt;
use deno_core::futures::channel::oneshot;
use deno_core::futures::future::Shared;
use deno_core::futures::task::AtomicWaker;
use deno_core::v8;
use deno_error::{JsErrorBox, JsErrorClass as _};
use http::HeaderValue;
use http::request::Parts;
use slab::Slab;

use crate::body::{CLIENT_LEFT, RESPONSE_SENT, RequestBodyResource};
use crate::events::{EventCall, EventNotes};
use crate::spending::{InvocationLimits, LogRoom, Spent, Strays};
use crate::{Breach, Breaches, RequestBody, ResponseBody, WorkerLog};

/// The answer of a handler. In a box, because it changes hands many times on its way.
pub type Response = Box<http::Response<ResponseBody>>;

/// Names one call of a handler inside one isolate. No two that are not over have the same, and one that is over shares its own with
/// none of the next eight billion, so that a request kept past its end reads nothing of a later one. JavaScript holds it as a number:
/// the slot in the low 20 bits, above them how often slots were given out, which begins again where numbers end to be exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InvocationId(u64);

const SLOT_BITS: u32 = 20;

/// The counter above the slot runs from 1 to this: together they have the 53 bits of a number that JavaScript keeps exactly.
const LAST_ISSUED: u64 = (1 << (f64::MANTISSA_DIGITS - SLOT_BITS)) - 1;

impl InvocationId {
    /// The number JavaScript holds, or `None` for 0, which stands for "no invocation".
    pub fn from_number(number: u64) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// The invocation whose JavaScript is running: dispatch stores its number as V8's continuation data, which awaits carry on.
    pub fn running(scope: &mut v8::PinScope<'_, '_>) -> Option<Self> {
        let context = scope.get_continuation_preserved_embedder_data();
        let number = v8::Local::<v8::Number>::try_from(context).ok()?;
        Self::from_number(number.value() as u64)
    }

    /// The number JavaScript holds.
    pub fn number(self) -> u64 {
        self.0
    }

    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// Why an invocation has no answer.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The handler threw, or returned something that is no answer. Frames are source-mapped.
    Exception(Arc<JsError>),
    /// The event loop ran dry and the handler's promise is still pending.
    Hung,
    /// The isolate was stopped; the text names the limit and the key that raises it.
    Stopped(Arc<str>),
    /// The handler was not called, because too much is going on; trying again later helps. The text names the limit and its key.
    Overloaded(Arc<str>),
    /// The answer breaks a limit, and the isolate goes on. The text names the limit and the key that raises it.
    Exceeded(Arc<str>),
}

impl Failure {
    /// A body that failed on its way out, and not in JavaScript.
    pub(crate) fn of_body(error: &JsErrorBox) -> Self {
        let (name, message) = (error.get_class().into_owned(), error.get_message().into_owned());
        Self::Exception(Arc::new(JsError {
            exception_message: format!("Uncaught {name}: {message}"),
            name: Some(name),
            message: Some(message),
            stack: None,
            cause: None,
            frames: Vec::new(),
            source_line: None,
            source_line_frame_index: None,
            aggregated: None,
            additional_properties: Vec::new(),
            stack_is_custom: false,
        }))
    }

    /// In a few words.
    pub fn text(&self) -> String {
        match self {
            Self::Exception(error) => error.exception_message.clone(),
            Self::Hung => "hung".to_owned(),
            Self::Stopped(reason) | Self::Overloaded(reason) | Self::Exceeded(reason) => reason.to_string(),
        }
    }
}

/// How many calls of each binding an invocation made, for the request line.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Costs(Vec<(&'static str, u32)>);

impl Costs {
    /// Counts one call of a kind of binding.
    pub fn add(&mut self, kind: &'static str) {
        match self.0.iter_mut().find(|(name, _)| *name == kind) {
            Some((_, count)) => *count += 1,
            None => self.0.push((kind, 1)),
        }
    }

    /// Kinds in the order of their first call, with the number of calls.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.0.iter().copied()
    }
}

/// What a handler was called for, in log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Method and path, or the event's name.
    pub name: String,
    /// Its names in the log and in traces.
    pub identity: Identity,
}

/// How a handler came to its end.
pub enum Settled {
    /// `fetch` answered.
    Response(Response),
    /// An event handler and its `waitUntil` work are over.
    Done,
}

/// One call of a handler: what it was given, what it has answered so far.
pub struct Invocation {
    number: u64,
    identity: Identity,
    subject: Subject,
    outcome: Outcome,
    wait_until: u32,
    /// The caller has taken the outcome, or is gone.
    released: bool,
    /// It is gone, and there was no outcome.
    unanswered: bool,
    stream: Stream,
    watches_cancel: bool,
    passes_through: bool,
    /// The request's body, where the handler has begun to read it while it arrives.
    body: Option<Rc<RequestBodyResource>>,
    costs: Costs,
    spent: Spent,
    /// Made for the first who wants to know when the invocation is over. Dropped with it, which is the news.
    over: Option<(oneshot::Sender<Infallible>, Shared<oneshot::Receiver<Infallible>>)>,
}

/// What a handler was called for.
enum Subject {
    Request(Box<IncomingRequest>),
    Event(RunningEvent),
}

/// What `fetch` is called with.
pub struct IncomingRequest {
    /// Method, headers and target as they came. In a box of its own, for the same reason as a [`Response`].
    pub parts: Box<Parts>,
    /// The absolute URL the handler sees.
    pub url: String,
    /// The body.
    pub body: RequestBody,
    /// What the handler sees as [`CLIENT_ADDRESS`] where `parts` have no such header. Most handlers do not look.
    pub client_address: Option<HeaderValue>,
}

/// The header in which a handler finds its client's address.
pub const CLIENT_ADDRESS: &str = "cf-connecting-ip";

impl IncomingRequest {
    /// The headers as the handler sees them.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        let arrived = self.parts.headers.iter().map(|(name, value)| (name.as_str(), value));
        arrived.chain(self.added_address().map(|address| (CLIENT_ADDRESS, address)))
    }

    /// The values of a header as the handler sees them.
    pub(crate) fn header(&self, name: &str) -> impl Iterator<Item = &HeaderValue> {
        let arrived = self.parts.headers.get_all(name).iter();
        let is_asked_for = name.eq_ignore_ascii_case(CLIENT_ADDRESS);
        arrived.chain(is_asked_for.then(|| self.added_address()).flatten())
    }

    /// The client's address, where no header that came says another.
    fn added_address(&self) -> Option<&HeaderValue> {
        self.client_address.as_ref().filter(|_| !self.parts.headers.contains_key(CLIENT_ADDRESS))
    }
}

/// What an event handler was called with, and how far it is.
struct RunningEvent {
    call: EventCall,
    /// None once they were reported: what is decided later has no effect.
    notes: Option<EventNotes>,
    /// Set when the handler itself is over; its `waitUntil` work may go on.
    ended: Option<Result<(), Failure>>,
    /// The first failure of its `waitUntil` work.
    work_failure: Option<Failure>,
}

enum Outcome {
    Pending(Option<Waker>),
    Settled(Result<Settled, Failure>),
    Taken,
}

/// A streamed answer on its way out of the isolate.
enum Stream {
    /// There is none, or it has left.
    Idle,
    /// Chunks still leave.
    Flowing(Flow),
    /// The isolate was stopped under it; the text says why.
    Cut(Arc<str>),
}

#[derive(Default)]
struct Flow {
    /// Whoever waits for the next chunk.
    waker: Option<Waker>,
    /// The answer has left, or begins to; until then it may still become another.
    is_released: bool,
    failure: Option<BodyFailure>,
}

/// How the stream behind a body failed.
pub(crate) enum BodyFailure {
    /// With this, of which nobody has heard.
    Thrown(Arc<JsError>),
    /// The log has it.
    Told,
}

/// All invocations of one isolate that are not over. Lives on the isolate's thread.
pub struct Invocations {
    limits: InvocationLimits,
    breaches: Arc<Breaches>,
    strays: Strays,
    /// Lets the event loop run once more.
    driver: Arc<AtomicWaker>,
    ids: Ids,
    slots: RefCell<Slab<Invocation>>,
    issued: Cell<u64>,
    /// Ended invocations whose `request.signal` JavaScript still holds in a table.
    to_forget: RefCell<Vec<InvocationId>>,
    /// Invocations whose client left.
    to_abort: RefCell<Vec<InvocationId>>,
}

impl Invocations {
    /// None yet. Breaches of `limits` are counted in `breaches`.
    pub fn new(limits: InvocationLimits, breaches: Arc<Breaches>) -> Self {
        Self {
            limits,
            breaches,
            strays: Strays::default(),
            driver: Arc::default(),
            ids: Ids::random(),
            slots: RefCell::default(),
            issued: Cell::new(0),
            to_forget: RefCell::default(),
            to_abort: RefCell::default(),
        }
    }

    /// Wakes the event loop that `driver` belongs to when an invocation ends with a streamed answer.
    #[must_use]
    pub fn driven_by(self, driver: Arc<AtomicWaker>) -> Self {
        Self { driver, ..self }
    }

    /// Goes on as if slots had been given out until `left` more begin the count again.
    pub fn begin_again_after(&self, left: u64) {
        self.issued.set(LAST_ISSUED - left);
    }

    /// Adds a request.
    pub fn begin(&self, identity: Identity, request: Box<IncomingRequest>) -> InvocationId {
        self.add(identity, Subject::Request(request))
    }

    /// Adds an event. It begins a trace if `tracer` keeps one.
    pub fn begin_event(&self, call: EventCall, tracer: &Tracer) -> InvocationId {
        let notes = Some(EventNotes::of(&call.event));
        let span = tracer.begins().then(|| SpanContext::root(&self.ids, tracer.sampling()));
        let identity = Identity { request: self.ids.request(), span };
        self.add(identity, Subject::Event(RunningEvent { call, notes, ended: None, work_failure: None }))
    }

    fn add(&self, identity: Identity, subject: Subject) -> InvocationId {
        let before = self.issued.get();
        let issued = if before < LAST_ISSUED { before + 1 } else { 1 };
        self.issued.set(issued);
        let mut slots = self.slots.borrow_mut();
        let entry = slots.vacant_entry();
        debug_assert!(entry.key() < 1 << SLOT_BITS, "limits.concurrent_requests leaves room");
        let number = (issued << SLOT_BITS) | entry.key() as u64;
        entry.insert(Invocation {
            number,
            identity,
            subject,
            outcome: Outcome::Pending(None),
            wait_until: 0,
            released: false,
            unanswered: false,
            stream: Stream::Idle,
            watches_cancel: false,
            passes_through: false,
            body: None,
            costs: Costs::default(),
            spent: Spent::default(),
            over: None,
        });
        InvocationId(number)
    }

    /// Runs `read` on an invocation that is not over.
    pub(crate) fn with<T>(&self, id: InvocationId, read: impl FnOnce(&mut Invocation) -> T) -> Option<T> {
        let mut slots = self.slots.borrow_mut();
        let invocation = slots.get_mut(id.slot()).filter(|invocation| invocation.number == id.0)?;
        Some(read(invocation))
    }

    /// Runs `read` on the request of an invocation that is not over and is one.
    pub(crate) fn with_request<T>(&self, id: InvocationId, read: impl FnOnce(&mut IncomingRequest) -> T) -> Option<T> {
        self.with(id, |invocation| match &mut invocation.subject {
            Subject::Request(request) => Some(read(request)),
            Subject::Event(_) => None,
        })?
    }

    /// Runs `read` on the event of an invocation that is not over and is one.
    pub(crate) fn with_event<T>(&self, id: InvocationId, read: impl FnOnce(&mut EventCall) -> T) -> Option<T> {
        self.with(id, |invocation| match &mut invocation.subject {
            Subject::Event(event) => Some(read(&mut event.call)),
            Subject::Request(_) => None,
        })?
    }

    /// Runs `write` on what an event's handler has decided so far, if that is not reported yet.
    pub(crate) fn with_notes<T>(&self, id: InvocationId, write: impl FnOnce(&mut EventNotes) -> T) -> Option<T> {
        self.with(id, |invocation| match &mut invocation.subject {
            Subject::Event(event) => event.notes.as_mut().map(write),
            Subject::Request(_) => None,
        })?
    }

    /// Takes what an event's handler has decided so far. Work of its `waitUntil` that goes on past a limit decides nothing more.
    pub fn take_event_notes(&self, id: InvocationId) -> EventNotes {
        let notes = self.with(id, |invocation| match &mut invocation.subject {
            Subject::Event(event) => event.notes.take(),
            Subject::Request(_) => None,
        });
        notes.flatten().unwrap_or_default()
    }

    /// Where an event's own lines go; `None` for a request, whose lines go where the worker's do.
    pub(crate) fn log(&self, id: InvocationId) -> Option<Arc<dyn WorkerLog>> {
        self.with_event(id, |call| call.log.clone())
    }

    /// An event's handler is over. The event is when its `waitUntil` work is, too.
    pub(crate) fn event_ended(&self, id: InvocationId, outcome: Result<(), Failure>) {
        self.with(id, |invocation| {
            if let Subject::Event(event) = &mut invocation.subject {
                event.ended.get_or_insert(outcome);
            }
        });
        self.settle_ended_event(id);
    }

    /// The handler of an invocation threw, or returned what is no answer. False when it has its outcome already.
    pub fn fail(&self, id: InvocationId, failure: Failure) -> bool {
        if self.is_event(id) {
            self.event_ended(id, Err(failure));
            return true;
        }
        self.settle(id, Err(failure))
    }

    pub(crate) fn is_event(&self, id: InvocationId) -> bool {
        self.with_event(id, |_| ()).is_some()
    }

    /// A `waitUntil` promise of an event rejected: the event fails with the first. False when that is not this one, or the
    /// invocation is no event.
    pub(crate) fn event_work_failed(&self, id: InvocationId, failure: Failure) -> bool {
        let failed = self.with(id, |invocation| match &mut invocation.subject {
            Subject::Event(event) if event.work_failure.is_none() => {
                event.work_failure = Some(failure);
                true
            }
            Subject::Event(_) | Subject::Request(_) => false,
        });
        failed == Some(true)
    }

    fn settle_ended_event(&self, id: InvocationId) {
        let outcome = self.with(id, |invocation| match &mut invocation.subject {
            Subject::Event(event) if invocation.wait_until == 0 => {
                let ended = event.ended.clone()?;
                Some(event.outcome(invocation.identity, ended))
            }
            Subject::Event(_) | Subject::Request(_) => None,
        });
        if let Some(Some(outcome)) = outcome {
            self.settle(id, outcome);
        }
    }

    /// Settles an invocation; the first outcome stands, later ones are ignored (returns false).
    pub fn settle(&self, id: InvocationId, outcome: Result<Settled, Failure>) -> bool {
        // What is not stored is dropped only after the slots are free again: dropping a streamed answer comes back here.
        let mut outcome = Some(outcome);
        let waker = self.with(id, |invocation| {
            let Outcome::Pending(waker) = &mut invocation.outcome else { return None };
            let waker = waker.take();
            let outcome = outcome.take()?;
            if matches!(&outcome, Ok(Settled::Response(response)) if matches!(response.body(), ResponseBody::Stream(_)))
            {
                invocation.stream = Stream::Flowing(Flow::default());
            }
            invocation.outcome = Outcome::Settled(outcome);
            Some(waker)
        });
        let Some(Some(waker)) = waker else { return false };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Waits for the outcome. Polled by whoever called the handler.
    pub fn poll_outcome(&self, id: InvocationId, context: &mut Context<'_>) -> Poll<Result<Settled, Failure>> {
        let outcome = self.with(id, |invocation| {
            match &mut invocation.outcome {
                Outcome::Pending(waker) => {
                    *waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
                Outcome::Settled(_) | Outcome::Taken => {}
            }
            match std::mem::replace(&mut invocation.outcome, Outcome::Taken) {
                Outcome::Settled(outcome) => Poll::Ready(outcome),
                Outcome::Pending(_) | Outcome::Taken => Poll::Ready(Err(Failure::Hung)),
            }
        });
        outcome.unwrap_or(Poll::Ready(Err(Failure::Hung)))
    }

    /// The caller needs the invocation no longer: it has its answer, or the client left before there was one.
    pub fn release(&self, id: InvocationId) {
        let untaken = self.with(id, |invocation| {
            invocation.released = true;
            invocation.unanswered = matches!(invocation.outcome, Outcome::Pending(_));
            std::mem::replace(&mut invocation.outcome, Outcome::Taken)
        });
        let Some(untaken) = untaken else { return };
        if matches!(untaken, Outcome::Pending(_)) && self.with(id, |invocation| invocation.watches_cancel) == Some(true)
        {
            self.to_abort.borrow_mut().push(id);
        }
        drop(untaken);
        self.end_if_over(id);
    }

    /// Registers whoever waits for the next chunk of a streamed answer; an error once the isolate was stopped.
    pub(crate) fn watch_stream(&self, id: InvocationId, context: &Context<'_>) -> Result<(), String> {
        let watched = self.with(id, |invocation| match &mut invocation.stream {
            Stream::Idle => Err("the stream is over".to_owned()),
            Stream::Cut(reason) => Err(reason.to_string()),
            Stream::Flowing(flow) => {
                flow.waker = Some(context.waker().clone());
                Ok(())
            }
        });
        watched.unwrap_or_else(|| Err("the request is over".to_owned()))
    }

    /// The stream behind a body threw. Gives the error back where it is for the log: the answer has begun to leave.
    pub(crate) fn body_failed(&self, id: InvocationId, error: Arc<JsError>) -> Option<Arc<JsError>> {
        let told = self.with(id, |invocation| match &mut invocation.stream {
            Stream::Flowing(flow) if flow.is_released => {
                flow.failure = Some(BodyFailure::Told);
                Some(error.clone())
            }
            Stream::Flowing(flow) => {
                flow.failure = Some(BodyFailure::Thrown(error.clone()));
                None
            }
            Stream::Idle | Stream::Cut(_) => Some(error.clone()),
        });
        told.unwrap_or(Some(error))
    }

    /// What JavaScript said that the stream behind a body failed with.
    pub(crate) fn take_body_failure(&self, id: InvocationId) -> Option<BodyFailure> {
        self.with(id, |invocation| match &mut invocation.stream {
            Stream::Flowing(flow) => flow.failure.take(),
            Stream::Idle | Stream::Cut(_) => None,
        })?
    }

    /// The answer leaves: its body's failure no longer becomes the answer. Returns one that came before, behind the first chunk.
    pub(crate) fn release_body(&self, id: InvocationId) -> Option<Arc<JsError>> {
        self.with(id, |invocation| {
            let Stream::Flowing(flow) = &mut invocation.stream else { return None };
            flow.is_released = true;
            let Some(BodyFailure::Thrown(error)) = &flow.failure else { return None };
            let error = error.clone();
            flow.failure = Some(BodyFailure::Told);
            Some(error)
        })?
    }

    /// The streamed body left the isolate, or its client did.
    pub(crate) fn stream_ended(&self, id: InvocationId, complete: bool) {
        let aborted = self.with(id, |invocation| {
            invocation.stream = Stream::Idle;
            !complete && invocation.watches_cancel
        });
        if aborted == Some(true) {
            self.to_abort.borrow_mut().push(id);
        }
        self.end_if_over(id);
        // Nothing else may happen in the isolate for long, and how much is left to do is looked at after a turn of its
        // event loop.
        self.driver.wake();
    }

    /// The handler reads the request's body while it arrives.
    pub(crate) fn opened_body(&self, id: InvocationId, body: Rc<RequestBodyResource>) {
        self.with(id, |invocation| invocation.body = Some(body));
    }

    pub(crate) fn wait_until_began(&self, id: InvocationId) {
        self.with(id, |invocation| invocation.wait_until += 1);
    }

    pub(crate) fn wait_until_ended(&self, id: InvocationId) {
        self.with(id, |invocation| invocation.wait_until = invocation.wait_until.saturating_sub(1));
        self.settle_ended_event(id);
        self.end_if_over(id);
    }

    /// Whether a request has its answer, or needs none, and `waitUntil` work of it goes on.
    pub fn works_after_answer(&self, id: InvocationId) -> bool {
        let works = |invocation: &mut Invocation| {
            let is_request = matches!(invocation.subject, Subject::Request(_));
            is_request && invocation.released && invocation.wait_until > 0
        };
        self.with(id, works).unwrap_or(false)
    }

    /// Whether the answer is a stream that still leaves.
    pub fn is_streaming(&self, id: InvocationId) -> bool {
        self.with(id, |invocation| matches!(invocation.stream, Stream::Flowing(_))).unwrap_or(false)
    }

    /// Waits for the `waitUntil` work of an invocation no longer. What it does from now on nobody waits for.
    pub fn abandon_work(&self, id: InvocationId) {
        self.with(id, |invocation| invocation.wait_until = 0);
        self.end_if_over(id);
    }

    pub(crate) fn watch_cancel(&self, id: InvocationId) {
        self.with(id, |invocation| invocation.watches_cancel = true);
    }

    pub(crate) fn pass_through(&self, id: InvocationId) {
        self.with(id, |invocation| invocation.passes_through = true);
    }

    /// Whether the handler asked for its exceptions to be passed on to an origin.
    pub fn passes_through(&self, id: InvocationId) -> bool {
        self.with(id, |invocation| invocation.passes_through).unwrap_or(false)
    }

    /// Waits until the invocation is over: its answer has left or its client has, and nothing of `waitUntil` goes on.
    pub fn over(&self, id: InvocationId) -> impl Future<Output = ()> + use<> {
        let over = self.with(id, |invocation| {
            let make = || {
                let (sender, receiver) = oneshot::channel();
                (sender, receiver.shared())
            };
            invocation.over.get_or_insert_with(make).1.clone()
        });
        async move {
            if let Some(over) = over {
                // It resolves because the sender is dropped.
                let Err(oneshot::Canceled) = over.await;
            }
        }
    }

    /// What the invocation cost so far.
    pub fn costs(&self, id: InvocationId) -> Costs {
        self.with(id, |invocation| invocation.costs.clone()).unwrap_or_default()
    }

    /// Adds time on the CPU to what an invocation has used, or what goes on after its end. Returns how much that is now.
    pub fn charge_cpu(&self, id: InvocationId, cpu: Duration) -> Duration {
        self.with_spent(id.0, |spent| {
            spent.cpu += cpu;
            spent.cpu
        })
    }

    /// Counts a `fetch` or a call of a binding before it begins; the error is the text for JavaScript.
    pub fn begin_subrequest(&self, id: InvocationId, kind: &'static str) -> Result<(), String> {
        let limit = self.limits.subrequests;
        if !self.with_spent(id.0, |spent| spent.subrequest(limit)) {
            self.breaches.note(Breach::Subrequests);
            return Err(format!(
                "Too many subrequests. One request may make {limit} fetch and binding calls: raise limits.subrequests"
            ));
        }
        self.with(id, |invocation| invocation.costs.add(kind));
        Ok(())
    }

    /// Whether a line of so many bytes may still be logged. `number` is 0 outside of any invocation.
    pub(crate) fn log_room(&self, number: u64, bytes: usize) -> LogRoom {
        let room = self.with_spent(number, |spent| spent.log(bytes, self.limits.log_bytes));
        if room == LogRoom::Ended {
            self.breaches.note(Breach::Log);
        }
        room
    }

    /// Bytes that an invocation may log.
    pub(crate) fn log_limit(&self) -> usize {
        self.limits.log_bytes
    }

    /// What is said in place of the first line that is left out.
    pub(crate) fn log_ended(&self) -> String {
        format!("more than {} KB were logged, the rest is left out: raise limits.log_kb", self.limits.log_bytes / 1024)
    }

    /// Refuses a response body that is longer than the limit; the text says so.
    pub(crate) fn check_response_bytes(&self, bytes: u64) -> Result<(), String> {
        let Some(limit) = self.limits.response_body_bytes.filter(|limit| bytes > *limit) else { return Ok(()) };
        self.breaches.note(Breach::ResponseBody);
        Err(format!("exceeded response body limit {} MB: raise limits.response_body_mb", limit / (1024 * 1024)))
    }

    /// What an invocation has used, or what goes on after its end.
    fn with_spent<T>(&self, number: u64, change: impl FnOnce(&mut Spent) -> T) -> T {
        let mut slots = self.slots.borrow_mut();
        let live = slots.get_mut(InvocationId(number).slot()).filter(|invocation| invocation.number == number);
        match live {
            Some(invocation) => change(&mut invocation.spent),
            None => self.strays.with(number, change),
        }
    }

    /// What the invocation is called in log lines.
    pub fn caller(&self, id: InvocationId) -> Option<Caller> {
        self.with(id, |invocation| {
            let name = match &invocation.subject {
                Subject::Request(request) => format!("{} {}", request.parts.method, request.parts.uri.path()),
                Subject::Event(event) => event.call.event.to_string(),
            };
            Caller { name, identity: invocation.identity }
        })
    }

    /// The names of an invocation that is not over.
    pub fn identity(&self, id: InvocationId) -> Option<Identity> {
        self.with(id, |invocation| invocation.identity)
    }

    /// The span of an invocation that is not over, and a new one below it. An invocation without one gets it now: the first of a new
    /// trace.
    pub fn child_span(&self, id: InvocationId, tracer: &Tracer) -> Option<(SpanContext, SpanContext)> {
        self.with(id, |invocation| {
            let root = || SpanContext::root(&self.ids, tracer.sampling());
            let parent = *invocation.identity.span.get_or_insert_with(root);
            (parent, parent.child(&self.ids))
        })
    }

    /// What a request brought as `tracestate`, to be passed on with the trace it brought. Nothing without a valid `traceparent`.
    pub(crate) fn tracestate(&self, id: InvocationId) -> Option<String> {
        self.with_request(id, |request| {
            let headers = &request.parts.headers;
            headers.get(TRACEPARENT).and_then(|value| SpanContext::parse(value.as_bytes()))?;
            let states = headers.get_all("tracestate").iter();
            let states: Vec<&str> = states.map(|value| value.to_str().ok()).collect::<Option<_>>()?;
            Some(states.join(",")).filter(|joined| !joined.is_empty())
        })?
    }

    /// Invocations that are not over, work of `waitUntil` included.
    pub fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Whether nothing is going on.
    pub fn is_empty(&self) -> bool {
        self.slots.borrow().is_empty()
    }

    /// Settles everything that waits for an answer and drops the rest: the isolate is gone, or about to go. Returns how
    /// many of those who called the invocations hear of it.
    pub fn stop_all(&self, reason: &Arc<str>) -> usize {
        for id in self.pending() {
            self.settle(id, Err(Failure::Stopped(reason.clone())));
        }
        let untaken = |invocation: &&Invocation| matches!(invocation.outcome, Outcome::Settled(Err(_)));
        let told = self.slots.borrow().iter().map(|(_, invocation)| invocation).filter(untaken).count();
        let mut slots = self.slots.borrow_mut();
        for (_, invocation) in slots.iter_mut() {
            invocation.wait_until = 0;
            if let Stream::Flowing(flow) = &mut invocation.stream {
                let waker = flow.waker.take();
                invocation.stream = Stream::Cut(reason.clone());
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
        slots.retain(|_, invocation| !invocation.is_over());
        told
    }

    /// Fails what waits for an answer that can no longer come, and forgets `waitUntil` promises that can no longer settle.
    /// Called when the event loop ran dry. Returns how many handlers were failed.
    pub fn fail_hung(&self) -> usize {
        let pending = self.pending();
        for id in &pending {
            let outcome = self.with(*id, |invocation| match &mut invocation.subject {
                // One whose handler failed has failed with that, whatever its work waits for.
                Subject::Event(event) => {
                    let ended = event.ended.clone().unwrap_or(Ok(()));
                    event.outcome(invocation.identity, ended.and(Err(Failure::Hung)))
                }
                Subject::Request(_) => Err(Failure::Hung),
            });
            self.settle(*id, outcome.unwrap_or(Err(Failure::Hung)));
        }
        let mut slots = self.slots.borrow_mut();
        for (_, invocation) in slots.iter_mut() {
            invocation.wait_until = 0;
        }
        slots.retain(|_, invocation| !invocation.is_over());
        pending.len()
    }

    /// Invocations whose client left since the last call.
    pub fn take_aborted(&self) -> Vec<InvocationId> {
        std::mem::take(&mut *self.to_abort.borrow_mut())
    }

    /// Ended invocations that JavaScript should forget.
    pub fn take_forgotten(&self) -> Vec<InvocationId> {
        std::mem::take(&mut *self.to_forget.borrow_mut())
    }

    /// Whether the event loop has something to tell JavaScript.
    pub fn has_notices(&self) -> bool {
        !self.to_abort.borrow().is_empty() || !self.to_forget.borrow().is_empty()
    }

    fn pending(&self) -> Vec<InvocationId> {
        let slots = self.slots.borrow();
        let pending = slots.iter().filter(|(_, invocation)| matches!(invocation.outcome, Outcome::Pending(_)));
        pending.map(|(_, invocation)| InvocationId(invocation.number)).collect()
    }

    fn end_if_over(&self, id: InvocationId) {
        let state = self.with(id, |invocation| {
            invocation.end_body_if_answered();
            (invocation.is_over(), invocation.watches_cancel)
        });
        let Some((true, watched)) = state else { return };
        let ended = self.slots.borrow_mut().remove(id.slot());
        drop(ended);
        if watched {
            self.to_forget.borrow_mut().push(id);
        }
    }
}

impl RunningEvent {
    /// How the event ends whose handler ended like this. Of two failures the handler's is the event's, and the other is logged.
    fn outcome(&mut self, identity: Identity, ended: Result<(), Failure>) -> Result<Settled, Failure> {
        match (ended, self.work_failure.take()) {
            (Ok(()), None) => Ok(Settled::Done),
            (Ok(()), Some(failure)) | (Err(failure), None) => Err(failure),
            (Err(failure), Some(of_work)) => {
                if let Failure::Exception(error) = of_work {
                    let caller = Caller { name: self.call.event.to_string(), identity };
                    self.call.log.uncaught(Some(&caller), &error);
                }
                Err(failure)
            }
        }
    }
}

impl Invocation {
    /// Ends the request's body once the answer has left, or nobody waits for it. As on Workers that is its end though
    /// `waitUntil` work goes on: the client's connection learns that nobody will read the rest.
    fn end_body_if_answered(&mut self) {
        if !self.released || !matches!(self.stream, Stream::Idle) {
            return;
        }
        let reason = if self.unanswered { CLIENT_LEFT } else { RESPONSE_SENT };
        if let Some(body) = self.body.take() {
            body.end(reason);
        } else if let Subject::Request(request) = &mut self.subject
            && matches!(request.body, RequestBody::Streaming { .. })
        {
            request.body = RequestBody::Over(reason);
        }
    }

    fn is_over(&self) -> bool {
        self.released
            && self.wait_until == 0
            && matches!(self.stream, Stream::Idle)
            && !matches!(self.outcome, Outcome::Settled(_))
    }
}
