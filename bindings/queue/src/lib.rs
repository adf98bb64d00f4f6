//! The `QUEUE` binding: what Workers call a queue, on disk.
//!
//! [`NamedQueue`] is the producer's side: it checks arguments, gives them the meaning and the error texts of Cloudflare Queues
//! (Cloudflare contract, section 3.1) and calls a [`QueueDriver`]. A driver keeps messages and hands them out under leases; it
//! knows nothing of batches, retries or handlers, which are `runtime/scheduler`'s. The JavaScript face is in [`ops`] and in
//! `js/bindings/queue.ts`; nothing else here knows V8.

mod binding;
#[cfg(feature = "conformance")]
pub mod conformance;
mod consumer;
mod driver;
pub mod drivers;
pub mod limits;
#[cfg(feature = "ops")]
pub mod ops;

pub use binding::{BacklogLimit, Message, NamedQueue};
pub use consumer::{Decision, QueueBatch};
pub use driver::{
    Backlog, ContentType, Delivery, Due, Lease, MessageId, Outgoing, PeekedMessage, QueueDriver, QueueSummary,
    Settlement, Verdict,
};

/// The kind of this binding, as [`aerostack_bindings::BindingInfo`] shows it.
pub const KIND: &str = "queue";
