use std::sync::Arc;
use std::time::Duration;

use crate::{Backlog, Delivery};

/// Messages for one call of a `queue` handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueBatch {
    /// The queue's name, as the config has it.
    pub queue: Arc<str>,
    /// 1 to 100 messages.
    pub messages: Vec<Delivery>,
    /// What waits in the queue, for `batch.metadata.metrics`.
    pub backlog: Backlog,
}

/// What a handler decided about one message, `ackAll` and `retryAll` included (precedence: Cloudflare contract, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decision {
    /// Nothing: acked when the handler ended well, retried when it did not.
    #[default]
    Undecided,
    /// `ack()`.
    Ack,
    /// `retry()`; without a delay, the consumer's own.
    Retry(Option<Duration>),
}
