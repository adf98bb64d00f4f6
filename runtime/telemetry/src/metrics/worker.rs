use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::breaches::{BreachCounts, Breaches};
use super::histogram::{Histogram, HistogramSnapshot};

/// Isolate threads of a worker that count on cache lines of their own; past so many, two share.
const SHARDS: usize = 16;

/// What is counted of one worker, over all its versions and isolates.
///
/// What every request touches is spread over shards, one an isolate thread, so that no two threads write to one cache line.
#[derive(Debug)]
pub struct WorkerMetrics {
    name: String,
    shards: Box<[Shard]>,
    isolates_started: AtomicU64,
    /// Isolates that run; those that ended leave a dead reference until the next one starts.
    isolates: Mutex<Vec<Weak<IsolateMetrics>>>,
    replaced: [AtomicU64; ReplacedFor::ALL.len()],
    breaches: Breaches,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    began: AtomicU64,
    ended: [AtomicU64; Ending::COUNT],
    latency: Histogram,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With a status of this hundred, 1 to 5.
    Answered(u8),
    /// The client left before there was an answer.
    Canceled,
}

impl Ending {
    const COUNT: usize = 6;
    const ALL: [Self; Self::COUNT] =
        [Self::Answered(1), Self::Answered(2), Self::Answered(3), Self::Answered(4), Self::Answered(5), Self::Canceled];

    fn place(self) -> usize {
        match self {
            Self::Answered(hundred) => usize::from(hundred.clamp(1, 5)) - 1,
            Self::Canceled => 5,
        }
    }

    /// The value of the label `status`.
    fn label(self) -> &'static str {
        ["1xx", "2xx", "3xx", "4xx", "5xx", "canceled"][self.place()]
    }
}

/// A limit for which an isolate is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplacedFor {
    /// `limits.cpu_ms`
    Cpu,
    /// `limits.memory_mb`
    Memory,
    /// `limits.array_buffer_mb`
    ArrayBuffers,
}

impl ReplacedFor {
    const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::ArrayBuffers];

    /// The key in `[limits]`: the value of the label `limit`.
    fn key(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_ms",
            Self::Memory => "memory_mb",
            Self::ArrayBuffers => "array_buffer_mb",
        }
    }
}

/// A running isolate, until it is dropped: what it held when it was last looked at, in bytes.
#[derive(Debug, Default)]
pub struct IsolateMetrics {
    heap_used: AtomicU64,
    heap_committed: AtomicU64,
    external: AtomicU64,
}

/// Bytes that an isolate holds, or all of a worker's together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IsolateMemory {
    /// JavaScript objects on the heap, garbage that was not collected yet included.
    pub heap_used: u64,
    /// What V8 took from the system for the heap.
    pub heap_committed: u64,
    /// Outside the heap, for objects on it: ArrayBuffers above all.
    pub external: u64,
}

/// A request that has begun. Dropped without an answer, it counts as canceled.
#[must_use]
pub struct RequestInFlight {
    worker: Arc<WorkerMetrics>,
    shard: usize,
    ended: bool,
}

impl WorkerMetrics {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            isolates_started: AtomicU64::new(0),
            isolates: Mutex::default(),
            replaced: Default::default(),
            breaches: Breaches::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A request has begun on the isolate thread of this index.
    pub fn request_began(self: &Arc<Self>, thread: usize) -> RequestInFlight {
        let shard = thread % SHARDS;
        self.shards[shard].began.fetch_add(1, Ordering::Relaxed);
        RequestInFlight { worker: self.clone(), shard, ended: false }
    }

    /// An isolate is loaded. It counts as running until what is returned is dropped.
    pub fn isolate_started(&self) -> Arc<IsolateMetrics> {
        self.isolates_started.fetch_add(1, Ordering::Relaxed);
        let isolate = Arc::new(IsolateMetrics::default());
        let mut isolates = self.isolates.lock().unwrap_or_else(PoisonError::into_inner);
        isolates.retain(|isolate| isolate.strong_count() > 0);
        isolates.push(Arc::downgrade(&isolate));
        isolate
    }

    /// An isolate broke a limit and another takes its place.
    pub fn isolate_replaced(&self, reason: ReplacedFor) {
        self.replaced[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Where breaches of the worker's limits are counted. The first that is named stays.
    pub fn count_breaches_by(&self, counts: BreachCounts) {
        self.breaches.count_by(counts);
    }

    /// `status` and how many requests ended so.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Ending::ALL.into_iter().map(|ending| (ending.label(), self.ended(ending)))
    }

    fn ended(&self, ending: Ending) -> u64 {
        self.shards.iter().map(|shard| shard.ended[ending.place()].load(Ordering::Relaxed)).sum()
    }

    pub(super) fn requests_in_flight(&self) -> u64 {
        // First what ended: what begins in between must not make it negative.
        let ended: u64 = Ending::ALL.into_iter().map(|ending| self.ended(ending)).sum();
        let began: u64 = self.shards.iter().map(|shard| shard.began.load(Ordering::Relaxed)).sum();
        began.saturating_sub(ended)
    }

    pub(super) fn latency(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        self.shards.iter().for_each(|shard| shard.latency.add_to(&mut snapshot));
        snapshot
    }

    pub(super) fn isolates_started_count(&self) -> u64 {
        self.isolates_started.load(Ordering::Relaxed)
    }

    /// How many isolates run, and what they held when they were last looked at.
    pub(super) fn isolates_running(&self) -> (u64, IsolateMemory) {
        let isolates = self.isolates.lock().unwrap_or_else(PoisonError::into_inner);
        let running = isolates.iter().filter_map(Weak::upgrade);
        running.fold((0, IsolateMemory::default()), |(count, total), isolate| {
            let memory = isolate.memory();
            let total = IsolateMemory {
                heap_used: total.heap_used + memory.heap_used,
                heap_committed: total.heap_committed + memory.heap_committed,
                external: total.external + memory.external,
            };
            (count + 1, total)
        })
    }

    /// The limits for which isolates are replaced, and how many were.
    pub(super) fn isolates_replaced(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ReplacedFor::ALL
            .into_iter()
            .map(|reason| (reason.key(), self.replaced[reason as usize].load(Ordering::Relaxed)))
    }

    pub(super) fn limit_breaches(&self) -> Vec<(&'static str, u64)> {
        self.breaches.counts()
    }
}

impl RequestInFlight {
    /// The head of the answer is on its way.
    pub fn answered(mut self, status: u16, took: Duration) {
        self.ended = true;
        let hundred = u8::try_from(status / 100).unwrap_or(5);
        let shard = self.shard();
        shard.ended[Ending::Answered(hundred).place()].fetch_add(1, Ordering::Relaxed);
        shard.latency.observe(took);
    }

    fn shard(&self) -> &Shard {
        &self.worker.shards[self.shard]
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        if !self.ended {
            self.shard().ended[Ending::Canceled.place()].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl IsolateMetrics {
    /// Keeps what the isolate holds now.
    pub fn looked_at(&self, memory: IsolateMemory) {
        self.heap_used.store(memory.heap_used, Ordering::Relaxed);
        self.heap_committed.store(memory.heap_committed, Ordering::Relaxed);
        self.external.store(memory.external, Ordering::Relaxed);
    }

    fn memory(&self) -> IsolateMemory {
        IsolateMemory {
            heap_used: self.heap_used.load(Ordering::Relaxed),
            heap_committed: self.heap_committed.load(Ordering::Relaxed),
            external: self.external.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_flight_until_it_is_answered_or_dropped() {
        let metrics = Arc::new(WorkerMetrics::new("shop"));
        let first = metrics.request_began(0);
        let second = metrics.request_began(17);
        assert_eq!(metrics.requests_in_flight(), 2);
        first.answered(204, Duration::from_millis(1));
        assert_eq!(metrics.requests_in_flight(), 1);
        drop(second);
        assert_eq!(metrics.requests_in_flight(), 0);
        let counted: Vec<_> = metrics.requests().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("2xx", 1), ("canceled", 1)]);
        assert_eq!(metrics.latency().count(), 1, "only answers have a latency");
    }

    #[test]
    fn an_isolate_runs_until_it_is_dropped_and_its_memory_goes_with_it() {
        let metrics = WorkerMetrics::new("shop");
        let memory = IsolateMemory { heap_used: 10, heap_committed: 20, external: 5 };
        let isolates = [metrics.isolate_started(), metrics.isolate_started()];
        for isolate in &isolates {
            isolate.looked_at(memory);
        }
        let both = IsolateMemory { heap_used: 20, heap_committed: 40, external: 10 };
        assert_eq!(metrics.isolates_running(), (2, both));
        drop(isolates);
        assert_eq!(metrics.isolates_running(), (0, IsolateMemory::default()));
        assert_eq!(metrics.isolates_started_count(), 2);
    }

    #[test]
    fn breaches_are_those_that_whoever_enforces_the_limits_has_counted() {
        let metrics = WorkerMetrics::new("shop");
        assert_eq!(metrics.limit_breaches(), []);
        metrics.count_breaches_by(Box::new(|| vec![("cpu_ms", 1), ("log_kb", 2)]));
        metrics.count_breaches_by(Box::new(Vec::new));
        assert_eq!(metrics.limit_breaches(), [("cpu_ms", 1), ("log_kb", 2)]);
    }
}
