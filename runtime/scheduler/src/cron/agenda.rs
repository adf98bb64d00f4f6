//! What fires when, as a function of the clock: no task, no waiting, no file.

use std::collections::BTreeMap;
use std::sync::Arc;

use aerostack_cron::{CronExpression, MINUTE_MS, WhenMissed};

use super::record::{Record, TriggerKey};
use crate::log::{ClockWentBack, CronCause, MissedFirings};
use crate::target::{EventTarget, ScheduledEvent};

/// All triggers of all workers.
#[derive(Default)]
pub(super) struct Agenda {
    workers: BTreeMap<Arc<str>, WorkerTriggers>,
    /// What an earlier process handled, of triggers that have not been set yet.
    earlier: Record,
}

struct WorkerTriggers {
    target: Arc<dyn EventTarget>,
    when_missed: WhenMissed,
    entries: Vec<Entry>,
}

struct Entry {
    expression: CronExpression,
    /// Every firing up to this time ran or was missed.
    handled_ms: u64,
    next_ms: Option<u64>,
}

/// What is to be done now.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) runs: Vec<DueRun>,
    pub(super) missed: Vec<MissedFirings>,
    pub(super) clock_went_back: Option<ClockWentBack>,
}

/// A handler that is to be called.
pub(super) struct DueRun {
    pub(super) worker: Arc<str>,
    pub(super) target: Arc<dyn EventTarget>,
    pub(super) event: ScheduledEvent,
    pub(super) cause: CronCause,
}

/// A clock that shows a time longer than this before what was handled has not been corrected a little: one of the two was
/// wrong. Waiting until it gets there again would silence the triggers for ever.
const CLOCK_CORRECTION_MS: u64 = 24 * 60 * MINUTE_MS;

impl Agenda {
    /// Every trigger that is set, now or later, goes on where the process that wrote this record has come to.
    pub(super) fn take_over(&mut self, mut earlier: Record) {
        for (worker, triggers) in &mut self.workers {
            let mut handled = earlier.take_worker(worker);
            for entry in &mut triggers.entries {
                if let Some(handled_ms) = handled.remove(entry.expression.text()) {
                    entry.handled_ms = handled_ms;
                    entry.next_ms = entry.expression.next_after(handled_ms);
                }
            }
        }
        self.earlier = earlier;
    }

    /// Replaces the triggers of a worker. One that it had already goes on where it was; one that an earlier process had goes on
    /// from there; a new one begins after `now_ms`. An expression given twice fires once.
    pub(super) fn set(
        &mut self,
        worker: &Arc<str>,
        target: Arc<dyn EventTarget>,
        expressions: Vec<CronExpression>,
        when_missed: WhenMissed,
        now_ms: u64,
    ) {
        let mut before = self.workers.remove(worker).map_or_else(Vec::new, |triggers| triggers.entries);
        let mut earlier = self.earlier.take_worker(worker);
        let mut entries: Vec<Entry> = Vec::with_capacity(expressions.len());
        for expression in expressions {
            if entries.iter().any(|entry| entry.expression == expression) {
                continue;
            }
            if let Some(known) = before.iter().position(|entry| entry.expression == expression) {
                entries.push(before.swap_remove(known));
                continue;
            }
            let handled_ms = earlier.remove(expression.text()).unwrap_or(now_ms);
            let next_ms = expression.next_after(handled_ms);
            entries.push(Entry { expression, handled_ms, next_ms });
        }
        self.workers.insert(Arc::clone(worker), WorkerTriggers { target, when_missed, entries });
    }

    pub(super) fn remove(&mut self, worker: &str) {
        self.workers.remove(worker);
        self.earlier.take_worker(worker);
    }

    pub(super) fn target(&self, worker: &str) -> Option<(Arc<str>, Arc<dyn EventTarget>)> {
        self.workers.get_key_value(worker).map(|(name, triggers)| (Arc::clone(name), Arc::clone(&triggers.target)))
    }

    /// When the next trigger fires.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.entries().filter_map(|(_, entry)| entry.next_ms).min()
    }

    /// Handles everything up to `now_ms`. A firing is on time within its minute; one of an earlier minute was missed. Where a
    /// trigger is on time, that run is the latest, and what was missed before it is not caught up with.
    pub(super) fn turn(&mut self, now_ms: u64) -> Turn {
        let mut turn = Turn { clock_went_back: self.start_over_if_clock_went_back(now_ms), ..Turn::default() };
        let minute_ms = now_ms - now_ms % MINUTE_MS;
        for (worker, triggers) in &mut self.workers {
            for entry in &mut triggers.entries {
                if entry.next_ms.is_none_or(|next_ms| next_ms > now_ms) {
                    continue;
                }
                let cron = entry.expression.text();
                let run = |scheduled_time_ms, cause| DueRun {
                    worker: Arc::clone(worker),
                    target: Arc::clone(&triggers.target),
                    event: ScheduledEvent { cron: Arc::clone(cron), scheduled_time_ms },
                    cause,
                };
                let on_time = entry.handled_ms < minute_ms && entry.expression.matches(minute_ms);
                let missed = entry.expression.firings_between(entry.handled_ms, minute_ms.saturating_sub(1));
                if let Some(firings) = missed {
                    let action = if on_time { WhenMissed::Skip } else { triggers.when_missed };
                    if action == WhenMissed::RunLatest {
                        turn.runs.push(run(firings.last_ms, CronCause::CaughtUp));
                    }
                    let (worker, cron) = (Arc::clone(worker), Arc::clone(cron));
                    turn.missed.push(MissedFirings { worker, cron, firings, action });
                }
                if on_time {
                    turn.runs.push(run(minute_ms, CronCause::OnTime));
                }
                entry.handled_ms = minute_ms;
                entry.next_ms = entry.expression.next_after(minute_ms);
            }
        }
        turn
    }

    /// What a later process must know: how far each trigger was handled.
    pub(super) fn record(&self) -> Record {
        let mut record = self.earlier.clone();
        for (worker, entry) in self.entries() {
            let key = TriggerKey { worker: Arc::clone(worker), cron: Arc::clone(entry.expression.text()) };
            record.insert(key, entry.handled_ms);
        }
        record
    }

    fn start_over_if_clock_went_back(&mut self, now_ms: u64) -> Option<ClockWentBack> {
        let limit_ms = now_ms.saturating_add(CLOCK_CORRECTION_MS);
        let mut latest_ms = None;
        for entry in self.workers.values_mut().flat_map(|triggers| &mut triggers.entries) {
            if entry.handled_ms > limit_ms {
                latest_ms = latest_ms.max(Some(entry.handled_ms));
                entry.handled_ms = now_ms;
                entry.next_ms = entry.expression.next_after(now_ms);
            }
        }
        latest_ms.map(|handled_ms| ClockWentBack { handled_ms, now_ms })
    }

    fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.workers.iter().flat_map(|(worker, triggers)| triggers.entries.iter().map(move |entry| (worker, entry)))
    }
}
