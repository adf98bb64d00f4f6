use std::sync::Arc;
use std::time::Duration;

use aerostack_queue::{Backlog, Delivery};
use async_trait::async_trait;

/// A worker whose event handlers can be called. Implemented by the runtime over its isolates, by tests over closures.
#[async_trait]
pub trait EventTarget: Send + Sync {
    /// Calls `scheduled` and waits until it and its `waitUntil` work is over.
    async fn scheduled(&self, event: ScheduledEvent) -> ScheduledOutcome;

    /// Calls `queue` and waits until it and its `waitUntil` work is over.
    async fn queue(&self, batch: BatchDelivery) -> BatchOutcome;
}

/// One firing of a cron trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledEvent {
    /// The expression, character for character as the config has it.
    pub cron: Arc<str>,
    /// The minute it stands for, milliseconds since the UNIX epoch.
    pub scheduled_time_ms: u64,
}

/// Messages for one call of `queue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchDelivery {
    /// The queue's name, as the config has it.
    pub queue: Arc<str>,
    /// 1 to 100 messages.
    pub messages: Vec<Delivery>,
    /// What waits in the queue, for `batch.metadata.metrics`.
    pub backlog: Backlog,
}

/// How a handler ended, in the words of the trigger routes (Cloudflare contract, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerOutcome {
    /// It and its `waitUntil` work came to an end.
    Ok,
    /// It threw, a `waitUntil` promise rejected, or it could not be called. The runtime has logged why.
    Exception,
}

/// What came of a [`ScheduledEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledOutcome {
    /// How the handler ended.
    pub outcome: HandlerOutcome,
    /// Whether it called `noRetry()`.
    pub no_retry: bool,
}

/// What came of a [`BatchDelivery`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutcome {
    /// How the handler ended.
    pub outcome: HandlerOutcome,
    /// What it decided, one for each message in their order. Decisions made before a failure stand.
    pub decisions: Vec<Decision>,
}

/// What a handler decided about one message, `ackAll` and `retryAll` included (precedence: Cloudflare contract, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: acked when the handler ended well, retried when it did not.
    Undecided,
    /// `ack()`.
    Ack,
    /// `retry()`; without a delay, the consumer's own.
    Retry(Option<Duration>),
}

impl BatchOutcome {
    /// The decision about the message at `position` of the batch; what a handler that failed early says nothing about is
    /// undecided.
    pub fn decision(&self, position: usize) -> Decision {
        self.decisions.get(position).copied().unwrap_or(Decision::Undecided)
    }
}
