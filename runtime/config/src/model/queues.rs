use super::bindings::{DriverChoice, ResourceName};
use crate::source::Span;

/// `[[queues.producers]]`: a queue that the worker can send to.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueBinding {
    /// The name on `env`.
    pub binding: String,
    /// The queue. A handler sees `name` as `batch.queue`.
    pub queue: ResourceName,
    /// Seconds that every message waits before its first delivery, unless `send` says otherwise. 0 to 86400.
    pub delivery_delay: u32,
    /// Where the queue lives.
    pub driver: DriverChoice,
    /// None for the default binding.
    pub span: Option<Span>,
}

/// `[[queues.consumers]]`: how one worker gets the messages of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConsumer {
    /// The queue.
    pub queue: ResourceName,
    /// Who takes the messages.
    pub kind: ConsumerKind,
    /// Batching and retries.
    pub settings: ConsumerSettings,
    /// None for a consumer that no entry of the config asked for.
    pub span: Option<Span>,
}

/// Who takes the messages of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerKind {
    /// The `queue` handler of the worker.
    Worker,
    /// Programs outside, over HTTP. The messages stay in the queue until the runtime supports it.
    HttpPull,
}

/// Batching and retries of a consumer; the defaults are those of DESIGN "Decisions".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Messages in a batch at most. 1 to 100.
    pub max_batch_size: u32,
    /// Seconds that a batch waits to fill. 0 to 60. None means 1 in `dev` and 5 in `serve`.
    pub max_batch_timeout: Option<u32>,
    /// How often a message is delivered again after its first failure. 0 to 100.
    pub max_retries: u32,
    /// Seconds before a retried message is delivered again. 0 to 86400.
    pub retry_delay: u32,
    /// Batches at work at the same time. 1 to 250. None leaves it to the runtime.
    pub max_concurrency: Option<u32>,
    /// Milliseconds that messages stay hidden when the process dies with them. 1000 to 43200000.
    pub visibility_timeout_ms: u32,
    /// Where a message goes after its last failure; none drops it with a log line.
    pub dead_letter_queue: Option<ResourceName>,
}

impl QueueConsumer {
    /// The consumer of a worker that exports `queue` and whose config has no consumer for its queue.
    pub fn implicit(queue: ResourceName) -> Self {
        Self { queue, kind: ConsumerKind::Worker, settings: ConsumerSettings::default(), span: None }
    }
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            max_batch_size: 10,
            max_batch_timeout: None,
            max_retries: 3,
            retry_delay: 0,
            max_concurrency: None,
            visibility_timeout_ms: 30_000,
            dead_letter_queue: None,
        }
    }
}
