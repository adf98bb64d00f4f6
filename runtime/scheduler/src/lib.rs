//! When a worker's `scheduled` and `queue` handlers run, and what their outcome means.
//!
//! Knows neither HTTP nor V8 nor TOML: a worker is an [`EventTarget`], a queue a
//! [`QueueDriver`](aerostack_queue::QueueDriver), time a [`Timer`], and what a person should read goes to a
//! [`SchedulerLog`].
//!
//! A [`Scheduler`] runs on the tokio runtime it is made in. One task turns the cron triggers; each consumer of a queue has
//! one that finds work and one a batch that does it. None of them polls: they sleep until something is due or a queue
//! changes. Of several processes over one state folder, one does all of this work, and the next takes over when it ends.

mod consumer;
mod cron;
mod log;
mod ownership;
mod scheduler;
mod shared;
mod target;
mod tasks;
mod timer;

pub use consumer::{Consumer, ConsumerSettings, Fate, QueueName};
pub use log::{BatchReport, ClockWentBack, CronCause, CronReport, MessageReport, MissedFirings, SchedulerLog, Trouble};
pub use scheduler::{RunNowError, Scheduler, StopReport};
pub use target::{BatchOutcome, EventTarget, HandlerOutcome, ScheduledEvent, ScheduledOutcome};
pub use timer::{ManualTimer, SystemTimer, Timer};
