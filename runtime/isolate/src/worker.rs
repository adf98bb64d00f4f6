use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard, Weak};

use aerostack_modules::{Graph, Url};
use aerostack_platform::{Breaches, EventCall, Failure, WebOptions, WorkerLog};
use aerostack_telemetry::metrics::{CallMetrics, WorkerMetrics};
use aerostack_trace::Tracer;
use deno_core::OpState;
use tokio::sync::Notify;

use crate::host::{EventReport, FetchRequest};
use crate::isolate::{HandlerSet, LoadError, MisspelledHandler};
use crate::limits::Limits;
use crate::loader::CodeCache;
use crate::remote::{self, RemoteAnswer};
use crate::thread::{Condition, ConnectionPermit, IsolateThread};

/// Puts the drivers of a worker's bindings into the state of a new isolate, where their ops find them.
pub type InstallBindings = Arc<dyn Fn(&mut OpState) + Send + Sync>;

/// One name on `env`.
#[derive(Debug, Clone)]
pub struct EnvEntry {
    /// The name, for example `DB`.
    pub name: String,
    /// What it is.
    pub value: EnvValue,
}

/// What a name on `env` is.
#[derive(Debug, Clone)]
pub enum EnvValue {
    /// A variable or a secret.
    Json(serde_json::Value),
    /// A binding: its kind as `js/platform/handlers.ts` knows it, and its place in the list the kind's ops look in.
    Binding {
        /// For example `database`.
        kind: &'static str,
        /// The index in the ops' state.
        index: u32,
    },
}

/// One version of a worker: everything an isolate needs to run it. Shared by its isolates, never changed.
pub struct WorkerVersion {
    /// The worker's name, for log lines.
    pub name: String,
    /// Its modules.
    pub graph: Arc<Graph>,
    /// What is on `env`.
    pub env: Vec<EnvEntry>,
    /// Opens the bindings' side of the isolate.
    pub install: InstallBindings,
    /// What an isolate may use up.
    pub limits: Limits,
    /// Where console output and uncaught errors go.
    pub log: Arc<dyn WorkerLog>,
    /// What outbound connections trust.
    pub web: WebOptions,
    /// Where breaches of `limits` are counted; the worker's, over all its versions.
    pub breaches: Arc<Breaches>,
    /// What is counted of the worker, over all its versions.
    pub metrics: Arc<WorkerMetrics>,
    /// Where binding calls are counted.
    pub calls: Arc<CallMetrics>,
    /// Where the spans of its events, binding calls and outbound requests go.
    pub tracer: Tracer,
    pub(crate) code_cache: Arc<CodeCache>,
}

/// The parts of a [`WorkerVersion`] that are given.
pub struct WorkerParts {
    /// See [`WorkerVersion::name`].
    pub name: String,
    /// See [`WorkerVersion::graph`].
    pub graph: Arc<Graph>,
    /// See [`WorkerVersion::env`].
    pub env: Vec<EnvEntry>,
    /// See [`WorkerVersion::install`].
    pub install: InstallBindings,
    /// See [`WorkerVersion::limits`].
    pub limits: Limits,
    /// See [`WorkerVersion::log`].
    pub log: Arc<dyn WorkerLog>,
    /// See [`WorkerVersion::web`].
    pub web: WebOptions,
    /// See [`WorkerVersion::breaches`].
    pub breaches: Arc<Breaches>,
    /// See [`WorkerVersion::metrics`].
    pub metrics: Arc<WorkerMetrics>,
    /// See [`WorkerVersion::calls`].
    pub calls: Arc<CallMetrics>,
    /// See [`WorkerVersion::tracer`].
    pub tracer: Tracer,
}

impl WorkerVersion {
    /// A version ready to be loaded.
    pub fn new(parts: WorkerParts) -> Arc<Self> {
        let WorkerParts { name, graph, env, install, limits, log, web, breaches, metrics, calls, tracer } = parts;
        let code_cache = Arc::default();
        Arc::new(Self { name, graph, env, install, limits, log, web, breaches, metrics, calls, tracer, code_cache })
    }

    /// A module's path as it is printed: relative to the project.
    pub fn display_path(&self, url: &Url) -> Option<String> {
        self.graph.display(url)
    }
}

/// A worker whose version can be replaced while requests are in flight.
pub struct Worker {
    name: String,
    metrics: Arc<WorkerMetrics>,
    threads: Arc<Threads>,
}

/// The threads of the current version.
struct Threads {
    current: RwLock<Arc<[Arc<IsolateThread>]>>,
    /// One that was given up is replaced.
    changed: Notify,
}

impl Worker {
    /// Loads a version into `isolates` threads. Fails with what the first of them failed with.
    pub async fn start(version: Arc<WorkerVersion>, isolates: usize) -> Result<Self, LoadError> {
        let (name, metrics) = (version.name.clone(), version.metrics.clone());
        let threads =
            Arc::new(Threads { current: RwLock::new(start_threads(version, isolates).await?), changed: Notify::new() });
        threads.watch();
        Ok(Self { name, metrics, threads })
    }

    /// The worker's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is counted of the worker, over all its versions.
    pub fn metrics(&self) -> &Arc<WorkerMetrics> {
        &self.metrics
    }

    /// Why the worker cannot serve now; `None` when it can. An isolate that is being replaced matters only where no other
    /// serves meanwhile; one that could not be replaced matters always, because requests still reach it.
    pub fn unready(&self) -> Option<Arc<str>> {
        let conditions: Vec<Condition> = self.threads().iter().map(|thread| thread.condition()).collect();
        let gone = conditions.iter().find_map(|condition| match condition {
            Condition::Gone(reason) => Some(reason.clone()),
            Condition::Serving | Condition::Replacing(_) => None,
        });
        gone.or_else(|| {
            let replacing = conditions.iter().map(|condition| match condition {
                Condition::Replacing(reason) => Some(reason.clone()),
                Condition::Serving | Condition::Gone(_) => None,
            });
            let reasons: Vec<Arc<str>> = replacing.collect::<Option<_>>()?;
            reasons.first().map(|reason| format!("its isolate is being replaced: {reason}").into())
        })
    }

    /// Lets every isolate tell what memory it holds as soon as it gets to it, for the next look at the metrics. Does not wait.
    pub fn ask_for_memory(&self) {
        self.threads().iter().for_each(|thread| thread.ask_for_memory());
    }

    /// Loads another version and lets it take over. The old one finishes what it has begun; on an error it simply goes on.
    pub async fn replace(&self, version: Arc<WorkerVersion>, isolates: usize) -> Result<(), LoadError> {
        let threads = start_threads(version, isolates).await?;
        let retired = std::mem::replace(&mut *self.threads.write(), threads);
        self.threads.watch();
        for thread in retired.iter() {
            thread.retire();
        }
        Ok(())
    }

    /// The current version.
    pub fn version(&self) -> Arc<WorkerVersion> {
        self.least_busy().version().clone()
    }

    /// The threads of the current version.
    pub fn threads(&self) -> Arc<[Arc<IsolateThread>]> {
        self.threads.all()
    }

    /// The same, once there is one that was not given up.
    pub async fn available(&self) -> Arc<IsolateThread> {
        loop {
            let changed = self.threads.changed.notified();
            let thread = self.least_busy();
            if thread.load().lost().is_none() {
                return thread;
            }
            changed.await;
        }
    }

    /// Finds a thread for a connection to live on; `None` where the worker was shut down.
    pub async fn admit(&self) -> Option<(Arc<IsolateThread>, ConnectionPermit)> {
        let mut ended = None;
        loop {
            let thread = self.available().await;
            if let Some(permit) = thread.admit() {
                return Some((thread, permit));
            }
            // A thread that ends was replaced before. Where it is still the one to choose, there will be no other.
            if ended.as_ref().is_some_and(|ended| Arc::ptr_eq(ended, &thread)) {
                return None;
            }
            ended = Some(thread);
        }
    }

    /// The thread with the fewest connections and requests.
    pub fn least_busy(&self) -> Arc<IsolateThread> {
        let threads = self.threads();
        let least = threads.iter().min_by_key(|thread| (thread.load().lost().is_some(), thread.load().total()));
        least.expect("a worker has at least one isolate").clone()
    }

    /// Calls the `fetch` handler from any thread. A request that meets a version that was just replaced goes to its successor.
    pub async fn fetch(&self, request: FetchRequest) -> Result<RemoteAnswer, Failure> {
        let mut thread = self.available().await;
        let mut request = request;
        loop {
            request = match remote::fetch(&thread, request).await {
                Ok(outcome) => return outcome,
                Err(unbegun) => unbegun,
            };
            let ended = std::mem::replace(&mut thread, self.available().await);
            if Arc::ptr_eq(&ended, &thread) {
                return Err(Failure::Stopped("the worker was shut down".into()));
            }
        }
    }

    /// Calls the handler of an event from any thread and waits until it and its `waitUntil` work are over. An event that meets
    /// a version that was just replaced goes to its successor.
    pub async fn event(&self, event: EventCall) -> EventReport {
        let mut thread = self.available().await;
        let mut event = event;
        loop {
            event = match remote::event(&thread, event).await {
                Ok(report) => return report,
                Err(unbegun) => unbegun,
            };
            let ended = std::mem::replace(&mut thread, self.available().await);
            if Arc::ptr_eq(&ended, &thread) {
                return EventReport::never_begun();
            }
        }
    }

    /// Which handlers the current version has.
    pub fn handlers(&self) -> HandlerSet {
        self.least_busy().handlers()
    }

    /// Functions of the current version that were probably meant as handlers.
    pub fn misspelled_handlers(&self) -> Vec<MisspelledHandler> {
        self.least_busy().misspelled_handlers().to_vec()
    }

    /// Stops taking new work and waits until everything begun is over, `waitUntil` included.
    pub async fn drain(&self) {
        for thread in self.threads().iter() {
            thread.retire();
            thread.idle().await;
        }
    }
}

impl Threads {
    fn all(&self) -> Arc<[Arc<IsolateThread>]> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Arc<[Arc<IsolateThread>]>> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts another thread for each of the current ones that is given up.
    fn watch(self: &Arc<Self>) {
        for (index, thread) in self.all().iter().enumerate() {
            tokio::spawn(replace_lost(Arc::downgrade(self), Arc::downgrade(thread), index));
        }
    }
}

async fn replace_lost(threads: Weak<Threads>, thread: Weak<IsolateThread>, index: usize) {
    let Some((mut load, version)) = thread.upgrade().map(|thread| (thread.load().clone(), thread.version().clone()))
    else {
        return;
    };
    loop {
        let Some(reason) = load.until_lost().await else { return };
        tracing::error!(worker = %version.name, %reason, "an isolate cannot be stopped: its thread was given up, another takes over");
        let started = match IsolateThread::start(version.clone(), index).await {
            Ok(started) => Arc::new(started),
            Err(error) => {
                tracing::error!(worker = %version.name, %error, "a thread that was given up cannot be replaced");
                return;
            }
        };
        let Some(threads) = threads.upgrade() else { return };
        let mut current = threads.write();
        // A reload may have been faster.
        let Some(place) = current.iter().position(|thread| Arc::ptr_eq(thread.load(), &load)) else { return };
        load = started.load().clone();
        let mut next = current.to_vec();
        next[place] = started;
        *current = next.into();
        threads.changed.notify_waiters();
    }
}

async fn start_threads(version: Arc<WorkerVersion>, isolates: usize) -> Result<Arc<[Arc<IsolateThread>]>, LoadError> {
    let mut threads = Vec::with_capacity(isolates);
    for index in 0..isolates.max(1) {
        threads.push(Arc::new(IsolateThread::start(version.clone(), index).await?));
    }
    Ok(threads.into())
}
