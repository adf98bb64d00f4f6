use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::{Lazy, Result};
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
        self.driver.get()?.send(&self.queue, vec![outgoing]).await
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
        self.driver.get()?.send(&self.queue, outgoing).await
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
