//! The behaviour suite of queues, run over every driver.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use aerostack_bindings::Clock;
use aerostack_queue::QueueDriver;
use aerostack_queue::conformance::{Open, trials};
use aerostack_queue::drivers::sqlite::{SqliteOptions, SqliteQueues};
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().to_owned();
    let sqlite: Open = Arc::new(move |place, clock| open(&root.join(format!("{place}.sqlite")), clock));
    libtest_mimic::run(&arguments, trials("sqlite", &sqlite)).exit_code()
}

fn open(path: &Path, clock: Arc<dyn Clock>) -> Arc<dyn QueueDriver> {
    let options = SqliteOptions { path: PathBuf::from(path) };
    Arc::new(SqliteQueues::open(&options, clock).expect("the queues open"))
}
