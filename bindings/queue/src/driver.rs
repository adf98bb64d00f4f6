use std::fmt;
use std::time::Duration;

use aerostack_bindings::{BindingInfo, Result};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

/// A store of messages in named queues, handed out at least once.
///
/// A message is due from the moment its delay is over. [`QueueDriver::lease`] gives a due message to one caller and hides it from
/// all others for a time (the visibility timeout); the caller ends the lease with [`QueueDriver::settle`], or keeps it alive with
/// [`QueueDriver::extend`]. When neither comes, because the caller's process died, the message is due again when the time is over.
/// While a lease holds, nobody else gets the message. A lease whose time is over still holds until somebody else gets the
/// message: a late answer is better than a second delivery.
///
/// A driver checks no arguments: `NamedQueue` has. Queues exist from their first message on. Its clock is passed in
/// where it is opened. Times are milliseconds since the UNIX epoch.
#[async_trait]
pub trait QueueDriver: Send + Sync {
    /// What the start table shows of this driver.
    fn info(&self) -> BindingInfo;

    /// Appends messages in their order, all or none. They are durable when this resolves. Returns the queue's backlog, these
    /// messages included.
    async fn send(&self, queue: &str, messages: Vec<Outgoing>) -> Result<Backlog>;

    /// How many messages are due, and when the earliest of all is.
    async fn due(&self, queue: &str, limit: usize) -> Result<Due>;

    /// Gives the caller up to `limit` due messages for `visibility`, the earliest due first, those due at once in the order they
    /// were sent. Each counts as an attempt.
    async fn lease(&self, queue: &str, limit: usize, visibility: Duration) -> Result<Vec<Delivery>>;

    /// Lets leases that still hold go on for `visibility` from now.
    async fn extend(&self, queue: &str, leases: &[Lease], visibility: Duration) -> Result<()>;

    /// Ends leases, all in one transaction. Returns how many no longer held and were passed over: their messages are, or were,
    /// somebody else's.
    async fn settle(&self, queue: &str, settlements: Vec<Settlement>) -> Result<usize>;

    /// Tells of every change that may make a message due or a queue longer, whichever process made it: the value is another one
    /// after each.
    fn changes(&self, queue: &str) -> watch::Receiver<u64>;

    /// What waits in the queue: due, delayed and leased messages.
    async fn backlog(&self, queue: &str) -> Result<Backlog>;

    /// Every queue that ever had a message, by name.
    async fn queues(&self) -> Result<Vec<QueueSummary>>;

    /// The first `limit` messages in the order in which they will be due, without leasing them.
    async fn peek(&self, queue: &str, limit: usize) -> Result<Vec<PeekedMessage>>;

    /// Deletes every message of the queue, leased ones too. Returns how many.
    async fn purge(&self, queue: &str) -> Result<u64>;

    /// Moves every message of a dead-letter queue that is not leased to `target`, or, where that is `None`, back to the queue it
    /// was dead-lettered from; one that was sent to the queue directly then stays. Moved messages are due at once and their attempts
    /// count from the start. Returns how many were moved.
    async fn redrive(&self, queue: &str, target: Option<&str>) -> Result<u64>;
}

/// How a message's body is to be read (Cloudflare contract, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// JSON text.
    Json,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Bytes,
    /// V8's structured-clone format.
    V8,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// How to read `body`.
    pub content_type: ContentType,
    /// The serialized body.
    pub body: Bytes,
    /// How long it waits before it is due.
    pub delay: Duration,
}

/// Names a message for as long as it lives, in every queue it moves through. Displayed as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub [u8; 16]);

/// One delivery of one message: it names the message and the lease under which it was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The message, as the driver knows it.
    pub message: u64,
    /// Never used twice for the same message.
    pub token: u64,
}

/// A leased message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Ends or extends the lease.
    pub lease: Lease,
    /// The message's name.
    pub id: MessageId,
    /// When it was sent.
    pub sent_at_ms: u64,
    /// How often it was given out, this time included: 1 at first.
    pub attempts: u32,
    /// How to read `body`.
    pub content_type: ContentType,
    /// The serialized body.
    pub body: Bytes,
}

/// How a lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The lease.
    pub lease: Lease,
    /// What becomes of the message.
    pub verdict: Verdict,
}

/// What becomes of a leased message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with: deleted.
    Delete,
    /// It is due again after the delay, behind messages that are due earlier.
    Retry(Duration),
    /// It moves to another queue with its id and time of sending, due at once, its attempts counted from the start.
    DeadLetter(String),
}

/// What [`QueueDriver::due`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// Due messages, counted up to the limit asked for.
    pub ready: usize,
    /// When the earliest message is or was due; for a leased one, when its lease runs out. `None` in an empty queue.
    pub earliest_ms: Option<u64>,
}

/// What waits in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Messages.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// When the oldest was sent.
    pub oldest_ms: Option<u64>,
}

/// One queue of [`QueueDriver::queues`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSummary {
    /// Its name.
    pub name: String,
    /// What waits in it.
    pub backlog: Backlog,
    /// How many of its messages are delayed.
    pub delayed: u64,
    /// How many of its messages are leased.
    pub leased: u64,
}

/// One message of [`QueueDriver::peek`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeekedMessage {
    /// The message's name.
    pub id: MessageId,
    /// When it was sent.
    pub sent_at_ms: u64,
    /// How often it was given out.
    pub attempts: u32,
    /// When it is due; while leased, when the lease runs out.
    pub due_at_ms: u64,
    /// Whether somebody works on it.
    pub leased: bool,
    /// The queue it was dead-lettered from.
    pub dead_lettered_from: Option<String>,
    /// How to read `body`.
    pub content_type: ContentType,
    /// The serialized body.
    pub body: Bytes,
}

impl ContentType {
    /// Its name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::V8 => "v8",
        }
    }

    /// The type of this name, in whatever case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::Text, Self::Bytes, Self::V8]
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(known.as_str()))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
