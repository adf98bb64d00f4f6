use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use aerostack_platform::{
    Breach, Costs, Event, EventCall, EventNotes, Failure, IncomingRequest, InvocationId, Invocations, RequestBody,
    Response, ResponseBody, Settled,
};
use aerostack_trace::{Attribute, Identity, Span, SpanKind};
use tokio::sync::Notify;

use crate::engine::give_back_memory;
use crate::isolate::{Exported, Isolate, LoadError};
use crate::limits::StopReason;
use crate::thread::{Condition, ThreadLoad};
use crate::turn::{AtTurnEnd, TurnEnd};
use crate::worker::WorkerVersion;

/// How long `waitUntil` work may go on after its isolate was retired.
const RETIRED_GRACE: Duration = Duration::from_secs(30);

/// How long an answer waits for the first byte of a body that is a stream: one that fails within this time is an error page, and not a
/// connection that breaks off. A client that reads events sees this much later that it is connected.
const FIRST_BYTE_PATIENCE: Duration = Duration::from_millis(200);

/// A request for a worker's `fetch` handler.
pub struct FetchRequest {
    /// What it is called with.
    pub incoming: Box<IncomingRequest>,
    /// Its names in the log and in traces.
    pub identity: Identity,
}

/// What a `fetch` handler answered.
pub struct Answer {
    /// The response. Its body belongs to the isolate's thread.
    pub response: Response,
    /// The binding calls made up to the answer.
    pub costs: Costs,
}

/// What came of an event.
#[derive(Debug)]
pub struct EventReport {
    /// Whether the handler was called. It is not when the worker's isolate cannot be started again, or the process ends.
    pub begun: bool,
    /// How the handler and its `waitUntil` work ended.
    pub outcome: Result<(), Failure>,
    /// What it decided until then.
    pub notes: EventNotes,
    /// The binding calls it made.
    pub costs: Costs,
    /// Its names in the log and in traces; `None` where it was not begun.
    pub identity: Option<Identity>,
}

impl EventReport {
    /// The report of an event that no isolate was left for.
    pub(crate) fn never_begun() -> Self {
        Self::not_begun(Failure::Stopped("the worker was shut down".into()))
    }

    /// The report of an event whose thread was given up. What it had decided is lost with it.
    pub(crate) fn lost(failure: Failure) -> Self {
        Self { begun: true, ..Self::not_begun(failure) }
    }

    fn not_begun(failure: Failure) -> Self {
        let (notes, costs) = (EventNotes::default(), Costs::default());
        Self { begun: false, outcome: Err(failure), notes, costs, identity: None }
    }
}

/// One isolate thread seen from inside. Connections that live on the thread call its handlers directly.
///
/// The isolate under a host may be replaced (after a breach of a limit); the host, its thread and its connections stay.
pub struct Host {
    version: Arc<WorkerVersion>,
    load: Arc<ThreadLoad>,
    isolate: RefCell<State>,
    changed: Notify,
    retired: Cell<bool>,
    /// Calls from other threads that have come here and are not over.
    hopped: Cell<usize>,
    /// Requests that wait until fewer are at work.
    queued: Cell<usize>,
    room: Notify,
    /// Whether requests were refused since the line was empty.
    overloaded: Cell<bool>,
    turn_end: Rc<TurnEnd>,
}

enum State {
    Running(Box<Isolate>),
    /// A stopped isolate is gone and its successor not there yet.
    Replacing,
    /// The successor could not be loaded.
    Broken(Arc<str>),
    /// The version was replaced and nothing of it is left to do.
    Gone,
}

impl Host {
    pub(crate) async fn load(version: Arc<WorkerVersion>, load: Arc<ThreadLoad>) -> Result<Rc<Self>, LoadError> {
        let isolate = Isolate::load(&version, &load).await?;
        Ok(Rc::new(Self {
            version,
            load,
            isolate: RefCell::new(State::Running(Box::new(isolate))),
            changed: Notify::new(),
            retired: Cell::new(false),
            hopped: Cell::new(0),
            queued: Cell::new(0),
            room: Notify::new(),
            overloaded: Cell::new(false),
            turn_end: Rc::new(TurnEnd::new()),
        }))
    }

    /// The version this host runs.
    pub fn version(&self) -> &Arc<WorkerVersion> {
        &self.version
    }

    /// Whether the worker has moved on to another version: new requests belong there.
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// The thread's place among those of its version, from 0: where it counts.
    pub fn thread_index(&self) -> usize {
        self.load.index()
    }

    /// Has the isolate tell what memory it holds; an isolate that is just being replaced tells when it is there.
    pub(crate) fn tell_memory(&self) {
        self.load.memory_asked.store(false, Ordering::Relaxed);
        if let State::Running(isolate) = &*self.isolate.borrow() {
            isolate.tell_memory();
        }
    }

    /// Whether nothing can begin here any more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(&*self.isolate.borrow(), State::Gone)
    }

    /// Whether this is called so often in a turn of the thread that what the calls are about is worth being put together.
    pub fn answers_come_quickly(&self) -> bool {
        self.turn_end.is_worth_it()
    }

    /// Calls `work` when everything that is ready on this thread now has run.
    pub fn at_turn_end(&self, work: Rc<dyn AtTurnEnd>) {
        self.turn_end.add(work);
    }

    /// Ends the turns of the thread for as long as it lives.
    pub(crate) fn end_turns(&self) -> impl Future<Output = ()> + 'static {
        self.turn_end.clone().drive()
    }

    /// What the worker's default export has; nothing while there is no isolate.
    pub(crate) fn exported(&self) -> Exported {
        match &*self.isolate.borrow() {
            State::Running(isolate) => isolate.exported().clone(),
            State::Replacing | State::Broken(_) | State::Gone => Exported::default(),
        }
    }

    /// Counts a call from another thread until the returned value is dropped: the thread does not end before.
    pub(crate) fn hop(self: &Rc<Self>) -> Hop {
        self.hopped.set(self.hopped.get() + 1);
        Hop(self.clone())
    }

    /// Calls the `fetch` handler. Dropping the future tells the handler through `request.signal` that the client left.
    /// Gives the request back where the version was replaced before the handler was called.
    pub async fn fetch(self: &Rc<Self>, request: FetchRequest) -> Result<Result<Answer, Failure>, FetchRequest> {
        if !self.takes_requests()
            && let Err(refused) = self.wait_for_room().await
        {
            return Ok(Err(refused));
        }
        match self.begin(request, enter).await? {
            Ok(call) => Ok(FetchCall { call, held: None }.answer().await),
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Calls the `fetch` handler up to its first wait, where that can be done now. Needs no future: most handlers have answered by then.
    pub fn fetch_now(self: &Rc<Self>, request: FetchRequest) -> Fetching {
        if !self.takes_requests() {
            return Fetching::NotBegun(request);
        }
        let call = match self.begin_now(request, enter) {
            Begun::Yes(call) => call,
            Begun::Refused(failure) => return Fetching::Answered(Err(failure)),
            Begun::NotYet(request) | Begun::Gone(request) => return Fetching::NotBegun(request),
        };
        match self.settled(&call) {
            Some(Ok(Settled::Response(response))) if matches!(response.body(), ResponseBody::Stream(_)) => {
                Fetching::Began(FetchCall { call, held: Some(response) })
            }
            Some(settled) => Fetching::Answered(call.answer_of(settled)),
            None => Fetching::Began(FetchCall { call, held: None }),
        }
    }

    /// Calls the handler of an event and waits until it and its `waitUntil` work are over. Gives the event back where
    /// the version was replaced before the handler was called.
    pub(crate) async fn event(self: &Rc<Self>, event: EventCall) -> Result<EventReport, EventCall> {
        let tracer = &self.version.tracer;
        let span = tracer.begins().then(|| EventSpan::of(&event.event));
        let begun = self
            .begin(event, |isolate, event| {
                let what = event.event.clone();
                let id = isolate.invocations().begin_event(event, tracer);
                (id, move |isolate: &Isolate| isolate.call_event(id, &what))
            })
            .await?;
        let call = match begun {
            Ok(call) => call,
            Err(failure) => return Ok(EventReport::not_begun(failure)),
        };
        let identity = call.invocations.identity(call.id);
        let limit = Some(self.version.limits.event_wall);
        let outcome = self.outcome(&call, limit, Breach::EventWall).await.map(|_| ());
        if let Some((span, identity)) = span.zip(identity) {
            span.record(&self.version, identity, &outcome);
        }
        Ok(EventReport {
            begun: true,
            outcome,
            notes: call.invocations.take_event_notes(call.id),
            costs: call.invocations.costs(call.id),
            identity,
        })
    }

    /// Whether another request can begin, and none waits that came before.
    fn takes_requests(&self) -> bool {
        self.queued.get() == 0 && self.has_room()
    }

    /// Whether fewer requests are at work than may be.
    fn has_room(&self) -> bool {
        match &*self.isolate.borrow() {
            State::Running(isolate) => isolate.invocations().len() < self.version.limits.concurrent_requests,
            State::Replacing | State::Broken(_) | State::Gone => true,
        }
    }

    /// Waits in line until fewer requests are at work; an error at once where too many wait already.
    async fn wait_for_room(&self) -> Result<(), Failure> {
        let limits = &self.version.limits;
        if self.queued.get() >= limits.queued_requests {
            self.version.breaches.note(Breach::Requests);
            let text = format!(
                "is overloaded: {} requests are at work and {} wait: raise limits.concurrent_requests or limits.queued_requests",
                limits.concurrent_requests, limits.queued_requests
            );
            // Once for each time that it happens: a line a request would be a flood of its own.
            if !self.overloaded.replace(true) {
                tracing::warn!(worker = %self.version.name, "{text}");
            }
            return Err(Failure::Overloaded(text.into()));
        }
        let queued = Queued::enter(&self.queued);
        let admitted = async {
            loop {
                // First come, first served: one notice a place, to the one who waits longest.
                self.room.notified().await;
                if self.has_room() {
                    return;
                }
            }
        };
        match limits.wall {
            None => admitted.await,
            Some(limit) => {
                tokio::time::timeout(limit, admitted).await.map_err(|_| self.out_of_time(limit, Breach::Wall))?;
            }
        }
        drop(queued);
        if self.queued.get() == 0 {
            self.overloaded.set(false);
        }
        // There may be room for more than one; the next in line looks after this one has begun.
        self.note_room();
        Ok(())
    }

    fn out_of_time(&self, limit: Duration, breach: Breach) -> Failure {
        self.version.breaches.note(breach);
        let text = format!("exceeded wall time limit {} ms: raise limits.{}", limit.as_millis(), breach.key());
        Failure::Stopped(text.into())
    }

    /// What came of a call, where that is known.
    fn settled(&self, call: &Call) -> Option<Result<Settled, Failure>> {
        match call.invocations.poll_outcome(call.id, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome.map_err(|failure| self.stopped(call).unwrap_or(failure))),
            Poll::Pending => None,
        }
    }

    async fn outcome(&self, call: &Call, limit: Option<Duration>, breach: Breach) -> Result<Settled, Failure> {
        // Many are settled by now; they need no timer.
        if let Some(settled) = self.settled(call) {
            return settled;
        }
        let outcome = poll_fn(|context| call.invocations.poll_outcome(call.id, context));
        let outcome = match limit {
            None => outcome.await,
            Some(limit) => {
                let outcome = tokio::time::timeout(limit, outcome).await;
                outcome.unwrap_or_else(|_| Err(self.out_of_time(limit, breach)))
            }
        };
        outcome.map_err(|failure| self.stopped(call).unwrap_or(failure))
    }

    /// The stop, when the call's isolate was stopped and is not replaced yet: to JavaScript a stop can look like `null` thrown.
    fn stopped(&self, call: &Call) -> Option<Failure> {
        let State::Running(isolate) = &*self.isolate.borrow() else { return None };
        let reason = isolate.stopped().filter(|_| Rc::ptr_eq(isolate.invocations(), &call.invocations))?;
        Some(Failure::Stopped(self.version.limits.describe(reason).into()))
    }

    /// Waits for an isolate, lets `add` enter the invocation there, and runs the handler to its first wait. Gives the
    /// input back where there will be no isolate.
    async fn begin<T, F>(
        self: &Rc<Self>,
        mut input: T,
        add: impl Fn(&Isolate, T) -> (InvocationId, F),
    ) -> Result<Result<Call, Failure>, T>
    where
        F: FnOnce(&Isolate),
    {
        loop {
            let changed = self.changed.notified();
            match self.begin_now(input, &add) {
                Begun::Yes(call) => return Ok(Ok(call)),
                Begun::Refused(failure) => return Ok(Err(failure)),
                Begun::Gone(back) => return Err(back),
                Begun::NotYet(back) => input = back,
            }
            changed.await;
        }
    }

    /// The same where there is an isolate now.
    fn begin_now<T, F>(self: &Rc<Self>, input: T, add: impl Fn(&Isolate, T) -> (InvocationId, F)) -> Begun<T>
    where
        F: FnOnce(&Isolate),
    {
        match &*self.isolate.borrow() {
            State::Running(isolate) => {
                let (id, run) = add(isolate, input);
                self.load.invocations.fetch_add(1, Ordering::Relaxed);
                let call = Call { invocations: isolate.invocations().clone(), id, host: self.clone() };
                run(isolate);
                Begun::Yes(call)
            }
            State::Broken(reason) => Begun::Refused(Failure::Stopped(reason.clone())),
            State::Gone => Begun::Gone(input),
            State::Replacing => Begun::NotYet(input),
        }
    }

    /// Runs the event loop for as long as the thread lives, and replaces the isolate when it was stopped.
    pub(crate) async fn drive(self: Rc<Self>) {
        loop {
            let reason = poll_fn(|context| match &*self.isolate.borrow() {
                State::Running(isolate) => {
                    let turn = isolate.poll(context);
                    self.note_invocations(isolate.invocations());
                    turn.map(Some)
                }
                State::Gone => Poll::Ready(None),
                State::Replacing | State::Broken(_) => Poll::Pending,
            })
            .await;
            let Some(reason) = reason else { return };
            if let Some(reason) = self.load.lost().cloned() {
                // Another thread has taken over; this one came back too late.
                if let State::Running(stopped) = self.isolate.replace(State::Gone) {
                    stopped.invocations().stop_all(&reason);
                }
                self.retire();
                return;
            }
            self.replace(reason).await;
        }
    }

    async fn replace(&self, reason: StopReason) {
        let text: Arc<str> = self.version.limits.describe(reason).into();
        self.version.metrics.isolate_replaced(reason.replaced_for());
        self.load.set_condition(Condition::Replacing(text.clone()));
        let State::Running(stopped) = self.isolate.replace(State::Replacing) else { return };
        if stopped.invocations().stop_all(&text) == 0 {
            // No request or event is left to fail with it, and so to tell of it.
            tracing::error!(worker = %self.version.name, reason = %text, "isolate stopped");
        }
        drop(stopped);
        give_back_memory();
        let next = match Isolate::load(&self.version, &self.load).await {
            Ok(isolate) => {
                self.load.set_condition(Condition::Serving);
                State::Running(Box::new(isolate))
            }
            Err(error) => {
                tracing::error!(worker = %self.version.name, %error, "the isolate cannot be replaced");
                let reason: Arc<str> = format!("{text} (and the worker cannot be started again: {error})").into();
                self.load.set_condition(Condition::Gone(reason.clone()));
                State::Broken(reason)
            }
        };
        // It may have been shut down meanwhile.
        if !self.is_gone() {
            *self.isolate.borrow_mut() = next;
        }
        self.changed.notify_waiters();
        self.note_room();
    }

    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.changed.notify_waiters();
        self.load.became_idle.notify_waiters();
    }

    /// Waits until the host is retired, nothing is left to do, and no connection lives here or is on its way. Frees the
    /// isolate as soon as only connections are left.
    pub(crate) async fn finished(&self) {
        while !self.retired.get() {
            self.changed.notified().await;
        }
        let grace = tokio::time::sleep(RETIRED_GRACE);
        tokio::pin!(grace);
        loop {
            let idle = self.load.became_idle.notified();
            if self.load.invocations.load(Ordering::Acquire) == 0 && self.hopped.get() == 0 && self.queued.get() == 0 {
                break;
            }
            tokio::select! {
                () = idle => {}
                () = &mut grace => {
                    tracing::warn!(worker = %self.version.name, "work was still going on {} s after its version was replaced", RETIRED_GRACE.as_secs());
                    break;
                }
            }
        }
        self.shut_down();
        loop {
            let idle = self.load.became_idle.notified();
            if self.hopped.get() == 0 && self.load.close() {
                return;
            }
            idle.await;
        }
    }

    /// Drops the isolate; what it had not finished is failed.
    pub(crate) fn shut_down(&self) {
        self.load.set_condition(Condition::Gone("the worker was shut down".into()));
        if let State::Running(isolate) = self.isolate.replace(State::Gone) {
            isolate.invocations().stop_all(&"the worker was shut down".into());
            isolate.wake();
        }
        self.changed.notify_waiters();
        self.note_room();
    }

    /// Lets the next request that waits begin, if it can.
    fn note_room(&self) {
        if self.queued.get() > 0 && self.has_room() {
            self.room.notify_one();
        }
    }

    /// Waits for `waitUntil` work that goes on after the answer, and gives it up past the limit.
    async fn wait_for_work(self: Rc<Self>, invocations: Rc<Invocations>, id: InvocationId) {
        let limit = self.version.limits.wait_until;
        loop {
            tokio::select! {
                () = invocations.over(id) => return,
                () = tokio::time::sleep(limit) => {}
            }
            // The time counts from the end of the answer.
            if !invocations.is_streaming(id) {
                break;
            }
        }
        self.version.breaches.note(Breach::WaitUntil);
        let text = format!(
            "waitUntil() work was still going on {} ms after the answer, nothing waits for it any more: raise limits.wait_until_ms",
            limit.as_millis()
        );
        self.version.log.limit_met(invocations.caller(id).as_ref(), &text);
        invocations.abandon_work(id);
        if let State::Running(isolate) = &*self.isolate.borrow()
            && Rc::ptr_eq(isolate.invocations(), &invocations)
        {
            self.note_invocations(&invocations);
            isolate.wake();
        }
    }

    fn note_invocations(&self, invocations: &Invocations) {
        let left = invocations.len();
        self.load.invocations.store(left, Ordering::Release);
        if left == 0 {
            self.load.became_idle.notify_waiters();
        }
        if self.queued.get() > 0 && left < self.version.limits.concurrent_requests {
            self.room.notify_one();
        }
    }
}

/// Enters a request, to be handed to the `fetch` handler next.
fn enter(isolate: &Isolate, request: FetchRequest) -> (InvocationId, impl FnOnce(&Isolate) + use<>) {
    let FetchRequest { incoming, identity } = request;
    let has_body = !matches!(incoming.body, RequestBody::Empty);
    let method = incoming.parts.method.clone();
    let id = isolate.invocations().begin(identity, incoming);
    (id, move |isolate: &Isolate| isolate.call_fetch(id, method.as_str(), has_body))
}

/// What came of beginning an invocation.
enum Begun<T> {
    Yes(Call),
    Refused(Failure),
    /// There is no isolate now, but will be.
    NotYet(T),
    /// There will be none here: the version was replaced.
    Gone(T),
}

/// A call from another thread. See [`Host::hop`].
pub(crate) struct Hop(Rc<Host>);

impl Drop for Hop {
    fn drop(&mut self) {
        self.0.hopped.set(self.0.hopped.get() - 1);
        self.0.load.became_idle.notify_waiters();
    }
}

/// A request that waits in line, counted until it begins or its client leaves.
struct Queued<'a>(&'a Cell<usize>);

impl<'a> Queued<'a> {
    fn enter(queued: &'a Cell<usize>) -> Self {
        queued.set(queued.get() + 1);
        Self(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The span of an event that has begun.
struct EventSpan {
    name: String,
    kind: SpanKind,
    attributes: Vec<(&'static str, Attribute)>,
    started: SystemTime,
    clock: Instant,
}

impl EventSpan {
    fn of(event: &Event) -> Self {
        let (name, kind, attributes) = match event {
            Event::Scheduled { cron, .. } => {
                let attributes = vec![("faas.trigger", "timer".into()), ("faas.cron", (&**cron).into())];
                ("scheduled".to_owned(), SpanKind::Internal, attributes)
            }
            Event::Queue(batch) => {
                let messages = i64::try_from(batch.messages.len()).unwrap_or(i64::MAX);
                let attributes = vec![
                    ("messaging.operation.type", "process".into()),
                    ("messaging.destination.name", (&*batch.queue).into()),
                    ("messaging.batch.message_count", messages.into()),
                ];
                (format!("process {}", batch.queue), SpanKind::Consumer, attributes)
            }
        };
        Self { name, kind, attributes, started: SystemTime::now(), clock: Instant::now() }
    }

    fn record(self, version: &WorkerVersion, identity: Identity, outcome: &Result<(), Failure>) {
        let Some(context) = identity.span else { return };
        let mut attributes = self.attributes;
        attributes.push(("aerostack.worker", version.name.as_str().into()));
        attributes.push(("aerostack.request_id", identity.request.to_string().into()));
        version.tracer.record(Span {
            context,
            parent: None,
            name: self.name,
            kind: self.kind,
            started: self.started,
            took: self.clock.elapsed(),
            attributes,
            failure: outcome.as_ref().err().map(Failure::text),
        });
    }
}

/// What has come of a request so far.
pub enum Fetching {
    /// The handler has answered, or failed, or could not be called.
    Answered(Result<Answer, Failure>),
    /// The handler waits for something.
    Began(FetchCall),
    /// It has to wait before the handler is called: see [`Host::fetch`].
    NotBegun(FetchRequest),
}

/// A `fetch` handler that was called. Dropping it tells the handler through `request.signal` that the client left.
pub struct FetchCall {
    call: Call,
    /// The answer, where there is one whose body is a stream.
    held: Option<Response>,
}

impl FetchCall {
    /// Waits for the answer.
    pub async fn answer(self) -> Result<Answer, Failure> {
        let Self { call, held } = self;
        let settled = match held {
            Some(response) => Ok(Settled::Response(response)),
            None => call.host.outcome(&call, call.host.version.limits.wall, Breach::Wall).await,
        };
        let mut answer = call.answer_of(settled)?;
        let body = answer.response.body_mut();
        if matches!(body, ResponseBody::Stream(_)) {
            let first = tokio::time::timeout(FIRST_BYTE_PATIENCE, poll_fn(|context| body.poll_first(context))).await;
            first.unwrap_or(Ok(()))?;
            body.release();
        }
        Ok(answer)
    }
}

/// A handler call in flight. Dropping it releases the invocation.
struct Call {
    invocations: Rc<Invocations>,
    id: InvocationId,
    host: Rc<Host>,
}

impl Call {
    fn answer_of(&self, settled: Result<Settled, Failure>) -> Result<Answer, Failure> {
        match settled? {
            Settled::Response(response) => Ok(Answer { response, costs: self.invocations.costs(self.id) }),
            Settled::Done => Err(Failure::Hung),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.invocations.release(self.id);
        if self.invocations.works_after_answer(self.id) {
            deno_core::unsync::spawn(self.host.clone().wait_for_work(self.invocations.clone(), self.id));
        }
        if let State::Running(isolate) = &*self.host.isolate.borrow() {
            self.host.note_invocations(&self.invocations);
            if self.invocations.has_notices() {
                isolate.wake();
            }
        }
    }
}
