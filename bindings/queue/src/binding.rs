use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aerostack_bindings::{Error, ErrorKind, Lazy, Result};
use bytes::Bytes;

use crate::limits::{self, Operation};
use crate::{Backlog, ContentType, Outgoing, QueueDriver};

/// A queue under its name on `env`, as a producer sees it: the rules of Cloudflare Queues over a driver.
///
/// Every error of kind `InvalidInput` holds the exact text of the contract; see [`limits`].
pub struct NamedQueue {
    /// The name on `env`, for example `QUEUE`.
    pub name: String,
    /// The queue's own name, for example `local-queue`.
    pub queue: String,
    /// Where the messages are.
    pub driver: Arc<Lazy<dyn QueueDriver>>,
    /// How long messages wait whose sender says nothing else (`delivery_delay` of the producer).
    pub delivery_delay: Duration,
    /// What the queue may hold.
    pub backlog: BacklogLimit,
}

/// What a queue may hold before sends to it are refused (`limits.queue_backlog_mb`). Sends that are under way at the same time may
/// exceed it by what they carry.
pub struct BacklogLimit {
    /// Bytes of the bodies of all its messages.
    bytes: u64,
    /// What the last send has seen. Asking costs a query, so it is asked for only where this is too much.
    seen: AtomicU64,
    /// Told of every send that is refused.
    met: Arc<dyn Fn() + Send + Sync>,
}

impl BacklogLimit {
    /// A limit of so many bytes; `met` is told of every send that it refuses.
    pub fn new(bytes: u64, met: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { bytes, seen: AtomicU64::new(0), met }
    }

    /// No limit.
    pub fn none() -> Self {
        Self::new(u64::MAX, Arc::new(|| {}))
    }

    async fn check(&self, queue: &str, driver: &dyn QueueDriver) -> Result<()> {
        if self.seen.load(Ordering::Relaxed) < self.bytes {
            return Ok(());
        }
        let backlog = driver.backlog(queue).await?;
        self.seen.store(backlog.bytes, Ordering::Relaxed);
        if backlog.bytes < self.bytes {
            return Ok(());
        }
        (self.met)();
        let limit = self.bytes / (1024 * 1024);
        Err(Error::new(
            ErrorKind::RateLimited,
            format!(
                "the backlog of {queue} exceeds {limit} MB: let its consumer catch up, or raise limits.queue_backlog_mb"
            ),
        ))
    }
}

/// A message as a producer gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// How to read `body`.
    pub content_type: ContentType,
    /// The serialized body.
    pub body: Bytes,
    /// `delaySeconds` of the message itself.
    pub delay_seconds: Option<i32>,
}

impl NamedQueue {
    /// Sends one message. Returns the backlog, the message included.
    pub async fn send(&self, message: Message) -> Result<Backlog> {
        limits::check_message_bytes(message.body.len())?;
        let outgoing = outgoing(Operation::Send, message, self.delivery_delay)?;
        self.append(vec![outgoing]).await
    }

    /// Sends 1 to 100 messages, all or none. `delay_seconds` is for those that have none of their own. Returns the backlog, the
    /// messages included.
    pub async fn send_batch(&self, messages: Vec<Message>, delay_seconds: Option<i32>) -> Result<Backlog> {
        limits::check_batch(messages.iter().map(|message| message.body.len()))?;
        let delay = match delay_seconds {
            Some(seconds) => limits::delay(Operation::SendBatch, seconds)?,
            None => self.delivery_delay,
        };
        let outgoing = messages
            .into_iter()
            .map(|message| outgoing(Operation::SendBatch, message, delay))
            .collect::<Result<Vec<_>>>()?;
        self.append(outgoing).await
    }

    async fn append(&self, messages: Vec<Outgoing>) -> Result<Backlog> {
        let driver = self.driver.get()?;
        self.backlog.check(&self.queue, driver.as_ref()).await?;
        let backlog = driver.send(&self.queue, messages).await?;
        self.backlog.seen.store(backlog.bytes, Ordering::Relaxed);
        Ok(backlog)
    }

    /// What waits in the queue.
    pub async fn metrics(&self) -> Result<Backlog> {
        self.driver.get()?.backlog(&self.queue).await
    }
}

fn outgoing(operation: Operation, message: Message, default_delay: Duration) -> Result<Outgoing> {
    let delay = match message.delay_seconds {
        Some(seconds) => limits::delay(operation, seconds)?,
        None => default_delay,
    };
    Ok(Outgoing { content_type: message.content_type, body: message.body, delay })
}
