use std::sync::Arc;

use aerostack_queue::{Decision, QueueBatch};
use async_trait::async_trait;

/// A worker whose event handlers can be called. Implemented by the runtime over its isolates, by tests over closures.
#[async_trait]
pub trait EventTarget: Send + Sync {
    /// Calls `scheduled` and waits until it and its `waitUntil` work is over.
    async fn scheduled(&self, event: ScheduledEvent) -> ScheduledOutcome;

    /// Calls `queue` and waits until it and its `waitUntil` work is over.
    async fn queue(&self, batch: QueueBatch) -> BatchOutcome;
}

/// One firing of a cron trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledEvent {
    /// The expression, character for character as the config has it.
    pub cron: Arc<str>,
    /// The minute it stands for, milliseconds since the UNIX epoch.
    pub scheduled_time_ms: u64,
}

/// How a handler ended, in the words of the trigger routes (Cloudflare contract, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerOutcome {
    /// It and its `waitUntil` work came to an end.
    Ok,
    /// It threw, a `waitUntil` promise rejected, or it was stopped. The runtime has logged why.
    Exception,
    /// It could not be called: nothing is known against the messages, so none is given up for it.
    NotRun,
}

/// What came of a [`ScheduledEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledOutcome {
    /// How the handler ended.
    pub outcome: HandlerOutcome,
    /// Whether it called `noRetry()`.
    pub no_retry: bool,
    /// Lines that belong below the report: what the handler printed, and what failed it.
    pub output: Vec<String>,
}

/// What came of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutcome {
    /// How the handler ended.
    pub outcome: HandlerOutcome,
    /// What it decided, one for each message in their order. Decisions made before a failure stand.
    pub decisions: Vec<Decision>,
    /// Lines that belong below the report: what the handler printed, and what failed it.
    pub output: Vec<String>,
}

impl BatchOutcome {
    /// The decision about the message at `position` of the batch; what a handler that failed early says nothing about is
    /// undecided.
    pub fn decision(&self, position: usize) -> Decision {
        self.decisions.get(position).copied().unwrap_or(Decision::Undecided)
    }
}
