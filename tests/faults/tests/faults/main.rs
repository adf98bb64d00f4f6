//! Faults: what is left of acknowledged work, what is said, and whether it goes on when the fault is over.
//!
//! `AEROSTACK_FAULT_ROUNDS` says how often each storm kills its child.

mod clocks;
mod cron;
mod deleted;
mod disk_full;
mod places;
mod read_only;
mod storms;

use std::process::ExitCode;

use aerostack_faults::{run_as_child, storm_trial};
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    run_as_child(&storms::all());
    let mut trials: Vec<_> = storms::of_writes().into_iter().map(storm_trial).collect();
    trials.extend([storms::migrations::trial(), cron::trial()]);
    trials.extend(disk_full::trials());
    trials.extend(read_only::trials());
    trials.extend(deleted::trials());
    trials.extend(clocks::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
