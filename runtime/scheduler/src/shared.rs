use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::watch;

use crate::log::SchedulerLog;
use crate::ownership::Ownership;
use crate::tasks::Tasks;
use crate::timer::Timer;

/// What all tasks of a scheduler share.
pub(crate) struct Shared {
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) log: Arc<dyn SchedulerLog>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) ownership: Arc<Ownership>,
    /// Handlers at work and what follows them.
    pub(crate) work: Tasks,
    pub(crate) cut_off: CutOff,
}

/// How far a scheduler has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It takes work.
    Running,
    /// It takes no more work; handlers may end.
    Stopping,
    /// Handlers are given up.
    CutOff,
}

/// What had to be given up at a stop.
#[derive(Default)]
pub(crate) struct CutOff {
    pub(crate) cron_runs: AtomicUsize,
    pub(crate) batches: AtomicUsize,
    pub(crate) released: AtomicUsize,
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        *self.phase.borrow() >= Phase::Stopping
    }

    /// Resolves when the scheduler has come so far.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender is borrowed, so the channel stays open and this cannot fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// The time in a while, milliseconds since the UNIX epoch; at least one from now.
    pub(crate) fn after(&self, wait: Duration) -> u64 {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.timer.now_ms().saturating_add(wait.max(1))
    }

    /// Never resolves for `None`.
    pub(crate) async fn sleep_until(&self, at_ms: Option<u64>) {
        match at_ms {
            Some(at_ms) => self.timer.sleep_until(at_ms).await,
            None => std::future::pending().await,
        }
    }
}
