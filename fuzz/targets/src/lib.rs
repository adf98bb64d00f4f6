//! What the fuzzer calls: plain functions of bytes that panic where a property does not hold.
//!
//! The tests replay `fuzz/corpus/<target>/*` through them, and
//! `cargo run --release -p aerostack-fuzz-targets --example mutate -- <target> <seconds>` is a simple driver for a stable
//! compiler. Where there is a nightly one, `cargo fuzz` sees what code an input reaches, through `fuzz/libfuzzer`.

mod ai;
mod cache;
mod config;
mod cron;
mod filters;
mod http;
mod memory;
mod models;
mod openai;
mod sql;
mod storage;
mod trace;

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
    Target { name: "http", run: http::target },
    Target { name: "storage", run: storage::target },
    Target { name: "cache", run: cache::target },
    Target { name: "models", run: models::target },
    Target { name: "trace", run: trace::target },
    Target { name: "openai", run: openai::target },
    Target { name: "ai", run: ai::target },
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

/// Runs the target of this name, which there must be: for `fuzz/libfuzzer`.
pub fn run(name: &str, data: &[u8]) {
    let target = target(name).unwrap_or_else(|| panic!("there is no target {name}"));
    (target.run)(data);
}

/// The text of an input, and what follows its first zero.
fn parted(data: &[u8]) -> (String, &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (String::from_utf8_lossy(&data[..end]).into_owned(), data.get(end + 1..).unwrap_or_default())
}
