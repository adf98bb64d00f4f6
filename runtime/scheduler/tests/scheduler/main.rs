//! The scheduler as a whole, over a clock that tests turn, a queue in memory and workers that are closures. Nothing sleeps.

mod batching;
mod cron;
mod failures;
mod memory_queue;
mod model;
mod owning;
mod reloading;
mod retries;
mod stopping;
mod world;
