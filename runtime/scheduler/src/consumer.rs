//! Consumers: who takes the messages of a queue, and how.

mod backoff;
mod batch;
mod fate;
mod looking;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use aerostack_queue::QueueDriver;

use crate::target::EventTarget;

pub use fate::Fate;
pub(crate) use looking::consume;

/// One consumer of one queue.
#[derive(Clone)]
pub struct Consumer {
    /// The queue.
    pub queue: QueueName,
    /// Where it is kept.
    pub driver: Arc<dyn QueueDriver>,
    /// Batching and retries.
    pub settings: ConsumerSettings,
}

/// A queue as people know it, and as its driver does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueName {
    /// As the config has it: what a handler sees as `batch.queue`.
    pub name: Arc<str>,
    /// What the driver calls it: unique in the process.
    pub state: Arc<str>,
}

/// Batching and retries (Cloudflare contract, sections 3.3 and 3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Messages in a batch at most, 1 to 100.
    pub max_batch_size: usize,
    /// How long a batch may wait to fill, from when its first message became due. Zero for not at all.
    pub max_batch_timeout: Duration,
    /// How often a message is delivered again after its first failure.
    pub max_retries: u32,
    /// How long a retried message waits, unless the handler says.
    pub retry_delay: Duration,
    /// Handlers at work at the same time, at least 1.
    pub max_concurrency: usize,
    /// Where a message goes after its last failure; `None` drops it.
    pub dead_letter_queue: Option<QueueName>,
    /// How long messages stay hidden when their consumer dies. A living one prolongs it at every third of it.
    pub visibility_timeout: Duration,
}

/// Whom a consumer's batches go to; replaced by a reload.
#[derive(Clone)]
pub(crate) struct Role {
    pub(crate) worker: Arc<str>,
    pub(crate) target: Arc<dyn EventTarget>,
    pub(crate) settings: Arc<ConsumerSettings>,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            max_batch_size: 10,
            max_batch_timeout: Duration::from_secs(5),
            max_retries: 3,
            retry_delay: Duration::ZERO,
            max_concurrency: 4,
            dead_letter_queue: None,
            visibility_timeout: Duration::from_secs(30),
        }
    }
}

impl ConsumerSettings {
    /// After so many failed deliveries a message is given up.
    pub fn max_attempts(&self) -> u32 {
        self.max_retries.saturating_add(1)
    }
}
