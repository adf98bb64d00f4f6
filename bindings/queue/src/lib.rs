//! The `QUEUE` binding: what Workers call a queue, on disk.
//!
//! A [`QueueDriver`] keeps messages and hands them out under leases; it knows nothing of batches, retries or handlers, which are
//! `runtime/scheduler`'s.

mod consumer;
mod driver;

pub use consumer::{Decision, QueueBatch};
pub use driver::{
    Backlog, ContentType, Delivery, Due, Lease, MessageId, Outgoing, PeekedMessage, QueueDriver, QueueSummary,
    Settlement, Verdict,
};

/// The kind of this binding, as [`aerostack_bindings::BindingInfo`] shows it.
pub const KIND: &str = "queue";
