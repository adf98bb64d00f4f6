//! What the fault tests are written with: children that are killed, contents that tell whether they are whole, disks that are
//! too small.

mod content;
mod disk;
mod storm;

pub use content::{content, random_below};
pub use disk::{Access, SmallDisk, trial_on_disk};
pub use storm::{Observed, Say, Storm, Timing, WriteStorm, kill_a_child, rounds, run_as_child, storm_trial};

/// Runs a call of a driver on a current-thread runtime, as an isolate would.
pub fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}
