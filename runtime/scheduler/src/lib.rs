//! When a worker's `scheduled` and `queue` handlers run, and what their outcome means.
//!
//! Knows neither HTTP nor V8: a worker is an [`EventTarget`].

mod target;

pub use target::{
    BatchDelivery, BatchOutcome, Decision, EventTarget, HandlerOutcome, ScheduledEvent, ScheduledOutcome,
};
