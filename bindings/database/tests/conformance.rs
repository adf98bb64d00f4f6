//! Runs the behaviour suite over every driver there is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::{Result, SystemClock};
use aerostack_database::conformance::{Opener, trials};
use aerostack_database::drivers::sqlite::SqliteOptions;
use aerostack_database::{Capabilities, DatabaseDriver, Sqlite};
use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let mut all = Vec::new();
    all.extend(sqlite_trials("sqlite", SqliteOptions::default(), Sqlite::CAPABILITIES));
    // Without a time slice every statement that is not tiny takes the way over another thread.
    let no_slice = SqliteOptions { slice: Duration::ZERO, ..SqliteOptions::default() };
    // And those that do overtake others.
    let can = Capabilities { in_order: false, ..Sqlite::CAPABILITIES };
    all.extend(sqlite_trials("sqlite_without_slice", no_slice, can));
    libtest_mimic::run(&arguments, all).exit();
}

fn sqlite_trials(name: &str, options: SqliteOptions, can: Capabilities) -> Vec<libtest_mimic::Trial> {
    let open: Opener = Arc::new(move |folder: &Path| -> Result<Arc<dyn DatabaseDriver>> {
        Ok(Arc::new(Sqlite::open_with(folder.join("test.sqlite"), options, &SystemClock)?))
    });
    trials(name, can, &open)
}
