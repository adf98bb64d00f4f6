//! The task that turns the agenda, and the runs it starts.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aerostack_cron::{CronExpression, WhenMissed};
use tokio::sync::{Notify, oneshot};

use super::agenda::{Agenda, DueRun, Turn};
use super::record::{Record, RecordWriter};
use crate::log::{CronCause, CronReport, Trouble};
use crate::shared::{Phase, Shared};
use crate::target::{EventTarget, ScheduledEvent, ScheduledOutcome};

pub(crate) struct CronRunner {
    shared: Arc<Shared>,
    path: PathBuf,
    agenda: Mutex<Agenda>,
    /// The agenda is another one, so the time to wake may be.
    changed: Notify,
    /// `None` before this process does the work, and once the scheduler has stopped.
    writer: Mutex<Option<RecordWriter>>,
}

impl CronRunner {
    pub(crate) fn new(shared: Arc<Shared>, state_folder: &Path) -> Self {
        Self {
            shared,
            path: state_folder.join("cron").join("handled"),
            agenda: Mutex::new(Agenda::default()),
            changed: Notify::new(),
            writer: Mutex::new(None),
        }
    }

    /// This process does the work from now on: triggers go on where the last that did it left them.
    pub(crate) fn take_over(&self) {
        let earlier = Record::read(&self.path).unwrap_or_else(|reason| {
            self.shared.log.trouble(&Trouble::CronRecord { path: self.path.clone(), reason });
            Record::default()
        });
        let writer = RecordWriter::start(self.path.clone(), earlier.clone(), Arc::clone(&self.shared.log));
        self.agenda().take_over(earlier);
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        self.write_record();
        self.changed.notify_one();
    }

    pub(crate) fn set(
        &self,
        worker: &Arc<str>,
        target: Arc<dyn EventTarget>,
        expressions: Vec<CronExpression>,
        when_missed: WhenMissed,
    ) {
        // What is due of the old triggers is done first, by their target.
        self.turn();
        let now_ms = self.shared.timer.now_ms();
        self.agenda().set(worker, target, expressions, when_missed, now_ms);
        self.write_record();
        self.changed.notify_one();
    }

    pub(crate) fn remove(&self, worker: &str) {
        self.agenda().remove(worker);
        self.write_record();
        self.changed.notify_one();
    }

    /// Runs a worker's `scheduled` handler now. `None` for an unknown worker, and inside where the scheduler stopped before
    /// the handler ended.
    pub(crate) async fn run_now(&self, worker: &str, cron: &str, time_ms: u64) -> Option<Option<ScheduledOutcome>> {
        let (worker, target) = self.agenda().target(worker)?;
        let event = ScheduledEvent { cron: cron.into(), scheduled_time_ms: time_ms };
        let (sender, receiver) = oneshot::channel();
        // A task, so that the run does not end with who asked for it.
        self.start(DueRun { worker, target, event, cause: CronCause::ByHand }, move |outcome| {
            // Whoever asked may be gone.
            let _ = sender.send(outcome);
        });
        Some(receiver.await.ok())
    }

    /// Turns the agenda until the scheduler stops.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::select! {
            () = self.shared.ownership.won() => {}
            () = self.shared.reached(Phase::Stopping) => return,
        }
        while !self.shared.is_stopping() {
            self.turn();
            let wake_at = self.agenda().next_ms();
            tokio::select! {
                () = self.shared.sleep_until(wake_at) => {}
                () = self.changed.notified() => {}
                () = self.shared.reached(Phase::Stopping) => return,
            }
        }
    }

    /// Waits until what was handled is on disk.
    pub(crate) async fn finish(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.finish().await;
        }
    }

    fn turn(&self) {
        if self.shared.is_stopping() || !self.shared.ownership.is_owner() {
            return;
        }
        let Turn { runs, missed, clock_went_back } = self.agenda().turn(self.shared.timer.now_ms());
        if let Some(report) = &clock_went_back {
            self.shared.log.clock_went_back(report);
        }
        for report in &missed {
            self.shared.log.firings_missed(report);
        }
        let handled = !runs.is_empty() || !missed.is_empty() || clock_went_back.is_some();
        for run in runs {
            self.start(run, |_| {});
        }
        if handled {
            self.write_record();
        }
    }

    /// Each run is a task of its own: a slow one delays neither another trigger nor its own next firing.
    fn start(&self, run: DueRun, when_done: impl FnOnce(ScheduledOutcome) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        self.shared.work.spawn(async move {
            let DueRun { worker, target, event, cause } = run;
            let (cron, scheduled_time_ms) = (Arc::clone(&event.cron), event.scheduled_time_ms);
            let started = Instant::now();
            let outcome = tokio::select! {
                biased;
                outcome = target.scheduled(event) => outcome,
                () = shared.reached(Phase::CutOff) => {
                    shared.cut_off.cron_runs.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            };
            let duration = started.elapsed();
            let report = CronReport { worker, cron, scheduled_time_ms, cause, outcome, duration };
            shared.log.cron_ran(&report);
            when_done(report.outcome);
        });
    }

    fn write_record(&self) {
        let record = self.agenda().record();
        if let Some(writer) = &*self.writer.lock().unwrap_or_else(PoisonError::into_inner) {
            writer.write(record);
        }
    }

    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
