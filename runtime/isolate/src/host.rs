use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use aerostack_platform::{
    Costs, Event, EventCall, EventNotes, Failure, InvocationId, Invocations, RequestBody, Response, Settled,
};
use aerostack_telemetry::metrics::Limit;
use aerostack_trace::{Attribute, Identity, Span, SpanKind};
use http::request::Parts;
use tokio::sync::Notify;

use crate::isolate::{HandlerSet, Isolate, LoadError};
use crate::limits::StopReason;
use crate::thread::{Condition, ThreadLoad};
use crate::worker::WorkerVersion;

/// How long `waitUntil` work may go on after its isolate was retired.
const RETIRED_GRACE: Duration = Duration::from_secs(30);

/// A request for a worker's `fetch` handler.
pub struct FetchRequest {
    /// Method, headers and what hyper knows besides.
    pub parts: Parts,
    /// The absolute URL the handler sees.
    pub url: String,
    /// The body.
    pub body: RequestBody,
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
        let isolate = Isolate::load(&version).await?;
        Ok(Rc::new(Self {
            version,
            load,
            isolate: RefCell::new(State::Running(Box::new(isolate))),
            changed: Notify::new(),
            retired: Cell::new(false),
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

    /// Counts a connection that lives on this thread until the returned value is dropped.
    pub fn connection(self: &Rc<Self>) -> ConnectionGuard {
        self.load.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(self.clone())
    }

    /// Which handlers the worker has; none while there is no isolate.
    pub(crate) fn exported(&self) -> HandlerSet {
        match &*self.isolate.borrow() {
            State::Running(isolate) => isolate.exported(),
            State::Replacing | State::Broken(_) | State::Gone => HandlerSet::default(),
        }
    }

    /// Calls the `fetch` handler. Dropping the future tells the handler through `request.signal` that the client left.
    pub async fn fetch(self: &Rc<Self>, request: FetchRequest) -> Result<Answer, Failure> {
        let call = self
            .begin(|isolate| {
                let FetchRequest { parts, url, body, identity } = request;
                let has_body = !matches!(body, RequestBody::Empty);
                let method = parts.method.clone();
                let id = isolate.invocations().begin(identity, parts, url, body);
                (id, move |isolate: &Isolate| isolate.call_fetch(id, method.as_str(), has_body))
            })
            .await?;
        match self.outcome(&call, self.version.limits.wall, Limit::Wall).await? {
            Settled::Response(response) => Ok(Answer { response, costs: call.invocations.costs(call.id) }),
            Settled::Done => Err(Failure::Hung),
        }
    }

    /// Calls the handler of an event and waits until it and its `waitUntil` work are over.
    pub(crate) async fn event(self: &Rc<Self>, event: EventCall) -> EventReport {
        let tracer = &self.version.tracer;
        let span = tracer.begins().then(|| EventSpan::of(&event.event));
        let begun = self
            .begin(|isolate| {
                let what = event.event.clone();
                let id = isolate.invocations().begin_event(event, tracer);
                (id, move |isolate: &Isolate| isolate.call_event(id, &what))
            })
            .await;
        let call = match begun {
            Ok(call) => call,
            Err(failure) => return EventReport::not_begun(failure),
        };
        let identity = call.invocations.identity(call.id);
        let limit = Some(self.version.limits.event_wall);
        let outcome = self.outcome(&call, limit, Limit::EventWall).await.map(|_| ());
        if let Some((span, identity)) = span.zip(identity) {
            span.record(&self.version, identity, &outcome);
        }
        EventReport {
            begun: true,
            outcome,
            notes: call.invocations.take_event_notes(call.id),
            costs: call.invocations.costs(call.id),
            identity,
        }
    }

    async fn outcome(&self, call: &Call, limit: Option<Duration>, key: Limit) -> Result<Settled, Failure> {
        let outcome = poll_fn(|context| call.invocations.poll_outcome(call.id, context));
        let outcome = match limit {
            None => outcome.await,
            Some(limit) => tokio::time::timeout(limit, outcome).await.unwrap_or_else(|_| {
                self.version.metrics.limit_breached(key);
                let reason = format!("exceeded wall time limit {} ms: raise limits.{}", limit.as_millis(), key.key());
                Err(Failure::Stopped(reason.into()))
            }),
        };
        outcome.map_err(|failure| self.stopped(call).unwrap_or(failure))
    }

    /// The stop, when the call's isolate was stopped and is not replaced yet: to JavaScript a stop can look like `null` thrown.
    fn stopped(&self, call: &Call) -> Option<Failure> {
        let State::Running(isolate) = &*self.isolate.borrow() else { return None };
        let reason = isolate.stopped().filter(|_| Rc::ptr_eq(isolate.invocations(), &call.invocations))?;
        Some(Failure::Stopped(self.version.limits.describe(reason).into()))
    }

    /// Waits for an isolate, lets `add` enter the invocation there, and runs the handler to its first wait.
    async fn begin<F>(self: &Rc<Self>, add: impl FnOnce(&Isolate) -> (InvocationId, F)) -> Result<Call, Failure>
    where
        F: FnOnce(&Isolate),
    {
        loop {
            let changed = self.changed.notified();
            match &*self.isolate.borrow() {
                State::Running(isolate) => {
                    let (id, run) = add(isolate);
                    self.load.invocations.fetch_add(1, Ordering::Relaxed);
                    let call = Call { invocations: isolate.invocations().clone(), id, host: self.clone() };
                    run(isolate);
                    return Ok(call);
                }
                State::Broken(reason) => return Err(Failure::Stopped(reason.clone())),
                State::Gone => return Err(Failure::Stopped("the worker was replaced".into())),
                State::Replacing => {}
            }
            changed.await;
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
            self.replace(reason).await;
        }
    }

    async fn replace(&self, reason: StopReason) {
        let text: Arc<str> = self.version.limits.describe(reason).into();
        tracing::error!(worker = %self.version.name, reason = %text, "isolate stopped");
        let limit = reason.limit();
        self.version.metrics.limit_breached(limit);
        self.version.metrics.isolate_replaced(limit);
        self.load.set_condition(Condition::Replacing(text.clone()));
        let State::Running(stopped) = self.isolate.replace(State::Replacing) else { return };
        stopped.invocations().stop_all(&text);
        drop(stopped);
        let next = match Isolate::load(&self.version).await {
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
        *self.isolate.borrow_mut() = next;
        self.changed.notify_waiters();
    }

    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.changed.notify_waiters();
        self.load.became_idle.notify_waiters();
    }

    /// Waits until the host is retired, nothing is left to do, and no connection lives here. Frees the isolate as soon as
    /// only connections are left.
    pub(crate) async fn finished(&self) {
        while !self.retired.get() {
            self.changed.notified().await;
        }
        let grace = tokio::time::sleep(RETIRED_GRACE);
        tokio::pin!(grace);
        while self.load.invocations.load(Ordering::Acquire) > 0 {
            let idle = self.load.became_idle.notified();
            tokio::select! {
                () = idle => {}
                () = &mut grace => {
                    tracing::warn!(worker = %self.version.name, "work was still going on {} s after its version was replaced", RETIRED_GRACE.as_secs());
                    break;
                }
            }
        }
        self.shut_down();
        while self.load.connections.load(Ordering::Acquire) > 0 {
            self.load.became_idle.notified().await;
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
    }

    fn note_invocations(&self, invocations: &Invocations) {
        let left = invocations.len();
        self.load.invocations.store(left, Ordering::Release);
        if left == 0 {
            self.load.became_idle.notify_waiters();
        }
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
            failure: outcome.as_ref().err().map(|failure| match failure {
                Failure::Exception(error) => error.exception_message.clone(),
                Failure::Hung => "hung".to_owned(),
                Failure::Stopped(reason) => reason.to_string(),
            }),
        });
    }
}

/// Keeps a connection counted. See [`Host::connection`].
pub struct ConnectionGuard(Rc<Host>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.load.connections.fetch_sub(1, Ordering::Release);
        self.0.load.became_idle.notify_waiters();
    }
}

/// A handler call in flight. Dropping it releases the invocation.
struct Call {
    invocations: Rc<Invocations>,
    id: InvocationId,
    host: Rc<Host>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.invocations.release(self.id);
        if let State::Running(isolate) = &*self.host.isolate.borrow() {
            self.host.note_invocations(&self.invocations);
            if self.invocations.has_notices() {
                isolate.wake();
            }
        }
    }
}
