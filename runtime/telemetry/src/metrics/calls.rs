use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::histogram::{Histogram, HistogramSnapshot};

/// Binding calls by kind, operation and outcome. All three come from the code, so their number is bounded.
#[derive(Debug, Default)]
pub struct CallMetrics(Mutex<BTreeMap<Key, Arc<Operation>>>);

/// Kind and operation.
type Key = (&'static str, &'static str);

/// One operation of one kind of binding.
#[derive(Debug, Default)]
struct Operation {
    outcomes: Mutex<BTreeMap<&'static str, Arc<AtomicU64>>>,
    latency: Histogram,
}

/// The calls of one isolate: finds the counters of a call without a lock once the first of its sort was counted.
#[derive(Debug)]
pub struct CallCounter {
    calls: Arc<CallMetrics>,
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    key: Key,
    outcome: &'static str,
    count: Arc<AtomicU64>,
    operation: Arc<Operation>,
}

impl CallCounter {
    /// Counts into `calls`.
    pub fn new(calls: Arc<CallMetrics>) -> Self {
        Self { calls, known: Vec::new() }
    }

    /// Counts a call that is over. The texts are few and always the same ones.
    pub fn finished(&mut self, kind: &'static str, operation: &'static str, outcome: &'static str, took: Duration) {
        // By address: the same text at another place in memory is merely found twice.
        let is_same = |known: &Known| {
            std::ptr::eq(known.key.0, kind)
                && std::ptr::eq(known.key.1, operation)
                && std::ptr::eq(known.outcome, outcome)
        };
        let place = self.known.iter().position(is_same).unwrap_or_else(|| {
            let (count, operation_counted) = self.calls.counters((kind, operation), outcome);
            self.known.push(Known { key: (kind, operation), outcome, count, operation: operation_counted });
            self.known.len() - 1
        });
        let known = &self.known[place];
        known.count.fetch_add(1, Ordering::Relaxed);
        known.operation.latency.observe(took);
    }
}

impl CallMetrics {
    fn counters(&self, key: Key, outcome: &'static str) -> (Arc<AtomicU64>, Arc<Operation>) {
        let operation = self.lock().entry(key).or_default().clone();
        let count =
            operation.outcomes.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default().clone();
        (count, operation)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Arc<Operation>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kind, operation, outcome, and how many calls ended so.
    pub(super) fn counts(&self) -> Vec<([&'static str; 3], u64)> {
        let mut counts = Vec::new();
        for ((kind, operation), counted) in &*self.lock() {
            for (outcome, count) in &*counted.outcomes.lock().unwrap_or_else(PoisonError::into_inner) {
                counts.push(([*kind, *operation, *outcome], count.load(Ordering::Relaxed)));
            }
        }
        counts
    }

    /// Kind and operation, and how long its calls took.
    pub(super) fn latencies(&self) -> Vec<([&'static str; 2], HistogramSnapshot)> {
        let snapshot = |((kind, operation), counted): (&Key, &Arc<Operation>)| {
            let mut snapshot = HistogramSnapshot::default();
            counted.latency.add_to(&mut snapshot);
            ([*kind, *operation], snapshot)
        };
        self.lock().iter().map(snapshot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_several_isolates_add_up_by_kind_operation_and_outcome() {
        let calls = Arc::new(CallMetrics::default());
        for _ in 0..2 {
            let mut isolate = CallCounter::new(calls.clone());
            isolate.finished("database", "all", "ok", Duration::from_millis(1));
            isolate.finished("database", "all", "ok", Duration::from_millis(1));
            isolate.finished("database", "all", "timeout", Duration::from_millis(1));
            isolate.finished("cache", "get", "ok", Duration::from_millis(1));
        }
        let expected =
            [(["cache", "get", "ok"], 2), (["database", "all", "ok"], 4), (["database", "all", "timeout"], 2)];
        assert_eq!(calls.counts(), expected);
        let latencies: Vec<_> = calls.latencies().into_iter().map(|(key, latency)| (key, latency.count())).collect();
        assert_eq!(latencies, [(["cache", "get"], 2), (["database", "all"], 6)]);
    }
}
