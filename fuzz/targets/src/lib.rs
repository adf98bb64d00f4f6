//! What the fuzzer calls: plain functions of bytes that panic where a property does not hold.
//!
//! The tests replay `fuzz/corpus/<target>/*` through them, and
//! `cargo run --release -p aerostack-fuzz-targets --example mutate -- <target> <seconds>` is a simple driver for a stable
//! compiler. A `fuzz_target!` of `cargo fuzz` need only call one.

mod cache;
mod config;
mod cron;
mod filters;
mod memory;
mod models;
mod sql;
mod storage;

pub use memory::{CountingAllocator, LARGEST_ALLOCATION};

/// A function under fire.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Also the name of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Panics where a property does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "config", run: config::target },
    Target { name: "cron", run: cron::target },
    Target { name: "sql", run: sql::target },
    Target { name: "filters", run: filters::target },
    Target { name: "storage", run: storage::target },
    Target { name: "cache", run: cache::target },
    Target { name: "models", run: models::target },
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

/// The text of an input, and what follows its first zero.
fn parted(data: &[u8]) -> (String, &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (String::from_utf8_lossy(&data[..end]).into_owned(), data.get(end + 1..).unwrap_or_default())
}
