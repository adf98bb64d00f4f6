//! What a running process counts, and the text in which Prometheus reads it.
//!
//! Counters are plain atomic numbers that whoever counts holds a handle of; prometheus-client only writes them down. Its own
//! histograms and families take a lock at each observation, which a request of ten microseconds would feel.

mod breaches;
mod calls;
mod histogram;
mod process;
mod scrape;
mod spans;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use self::breaches::Breaches;
pub use breaches::BreachCounts;
pub use calls::{CallCounter, CallMetrics};
pub use scrape::{CONTENT_TYPE, QueueDepth, Queues};
pub use spans::{SpanLoss, SpanMetrics};
pub use worker::{IsolateMemory, IsolateMetrics, ReplacedFor, RequestInFlight, WorkerMetrics};

/// Everything that one process counts.
#[derive(Debug)]
pub struct Metrics {
    version: &'static str,
    started: SystemTime,
    workers: Mutex<BTreeMap<String, Arc<WorkerMetrics>>>,
    calls: Arc<CallMetrics>,
    connections: Arc<Connections>,
    spans: Arc<SpanMetrics>,
    unrouted: AtomicU64,
    server_breaches: Breaches,
    /// By worker and outcome.
    cron_runs: Tally,
    /// By queue and outcome.
    messages: Tally,
    /// By queue and outcome.
    batches: Tally,
}

/// Connections of clients.
#[derive(Debug, Default)]
pub struct Connections {
    opened: AtomicU64,
    closed: AtomicU64,
}

/// Counts of two labels that change seldom: once for a run of an event handler, say.
#[derive(Debug, Default)]
struct Tally(Mutex<BTreeMap<(Arc<str>, &'static str), u64>>);

/// What became of a message that was delivered to a `queue` handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOutcome {
    /// It is done with.
    Acked,
    /// It is delivered again.
    Retried,
    /// It moved to the dead-letter queue.
    DeadLettered,
    /// It is gone: its last attempt failed, and there is no dead-letter queue.
    Dropped,
}

/// How an event handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOutcome {
    /// It came to its end.
    Ok,
    /// It threw or was stopped.
    Failed,
    /// It could not be called.
    NotRun,
}

impl Metrics {
    /// Nothing is counted yet. `version` is that of the program.
    pub fn new(version: &'static str) -> Arc<Self> {
        Arc::new(Self {
            version,
            started: SystemTime::now(),
            workers: Mutex::default(),
            calls: Arc::default(),
            connections: Arc::default(),
            spans: Arc::default(),
            unrouted: AtomicU64::new(0),
            server_breaches: Breaches::default(),
            cron_runs: Tally::default(),
            messages: Tally::default(),
            batches: Tally::default(),
        })
    }

    /// The counters of a worker; always the same ones for a name.
    pub fn worker(&self, name: &str) -> Arc<WorkerMetrics> {
        let mut workers = self.workers();
        workers.entry(name.to_owned()).or_insert_with(|| Arc::new(WorkerMetrics::new(name))).clone()
    }

    /// Binding calls of all workers.
    pub fn calls(&self) -> &Arc<CallMetrics> {
        &self.calls
    }

    /// Connections of clients.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Spans on their way to a collector.
    pub fn spans(&self) -> &Arc<SpanMetrics> {
        &self.spans
    }

    /// Where breaches of the limits of the server itself are counted. The first that is named stays.
    pub fn count_server_breaches_by(&self, counts: BreachCounts) {
        self.server_breaches.count_by(counts);
    }

    /// A request came for a path where no worker is mounted.
    pub fn request_unrouted(&self) {
        self.unrouted.fetch_add(1, Ordering::Relaxed);
    }

    /// A `scheduled` handler is over.
    pub fn cron_ran(&self, worker: &Arc<str>, outcome: EventOutcome) {
        self.cron_runs.add(worker, outcome.label(), 1);
    }

    /// A `queue` handler is over and its messages are settled.
    pub fn batch_ran(&self, queue: &Arc<str>, outcome: EventOutcome) {
        self.batches.add(queue, outcome.label(), 1);
    }

    /// What became of so many messages of a queue.
    pub fn messages_settled(&self, queue: &Arc<str>, outcome: MessageOutcome, count: usize) {
        self.messages.add(queue, outcome.label(), u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<WorkerMetrics>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// A connection came.
    pub fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is gone.
    pub fn closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn open(&self) -> u64 {
        // First what closed: what opens in between must not make it negative.
        let closed = self.closed.load(Ordering::Relaxed);
        self.total().saturating_sub(closed)
    }
}

impl Tally {
    fn add(&self, name: &Arc<str>, outcome: &'static str, count: u64) {
        if count > 0 {
            *self.lock().entry((name.clone(), outcome)).or_default() += count;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, &'static str), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MessageOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Retried => "retried",
            Self::DeadLettered => "dead_lettered",
            Self::Dropped => "dropped",
        }
    }
}

impl EventOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::NotRun => "not_run",
        }
    }
}
