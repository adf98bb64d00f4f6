//! The behaviour suite of queues, run over every driver.
//!
//! Some tests need another process: this binary, started again with [`ROLE`].

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use aerostack_bindings::{Clock, SystemClock};
use aerostack_queue::conformance::{Open, crash, trials};
use aerostack_queue::drivers::sqlite::{SqliteOptions, SqliteQueues};
use aerostack_queue::{ContentType, Outgoing, QueueDriver};
use libtest_mimic::{Arguments, Failed, Trial};

/// Set where this binary is to be the other process of a test: what it does, [`SENDS`] or the round of [`crash`].
const ROLE: &str = "AEROSTACK_TEST_QUEUE_ROLE";
const SENDS: &str = "sends";
/// The file it is to use.
const FILE: &str = "AEROSTACK_TEST_QUEUE_FILE";

const SENDS_A_PROCESS: usize = 200;

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(ROLE) {
        let path = PathBuf::from(std::env::var_os(FILE).expect("the file is named"));
        match role.to_str().expect("the role is a text") {
            SENDS => block_on(send_many(&*open(&path, Arc::new(SystemClock)))).expect("the sends go through"),
            round => {
                let round = round.parse().expect("the round is a number");
                crash::work_until_killed(&open(&path, crash::clock(round)), round);
            }
        }
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().to_owned();
    let sqlite: Open = Arc::new(move |place, clock| open(&root.join(format!("{place}.sqlite")), clock));
    let mut tests = trials("sqlite", &sqlite);
    let path = folder.path().join("processes.sqlite");
    tests.push(Trial::test("sqlite::two_processes_send_and_see_each_other", move || two_processes(&path)));
    let path = folder.path().join("killed.sqlite");
    tests.push(Trial::test("sqlite::a_process_killed_at_any_moment_loses_nothing", move || killed(&path)));
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn open(path: &Path, clock: Arc<dyn Clock>) -> Arc<dyn QueueDriver> {
    let options = SqliteOptions { path: PathBuf::from(path) };
    Arc::new(SqliteQueues::open(&options, clock).expect("the queues open"))
}

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

fn other_process(role: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary has a path"));
    command.env(ROLE, role).env(FILE, path);
    command
}

async fn send_many(driver: &dyn QueueDriver) -> aerostack_bindings::Result<()> {
    for _ in 0..SENDS_A_PROCESS {
        let message =
            Outgoing { content_type: ContentType::Text, body: "body".into(), delay: std::time::Duration::ZERO };
        driver.send("jobs", vec![message]).await?;
    }
    Ok(())
}

fn two_processes(path: &Path) -> Result<(), Failed> {
    let driver = open(path, Arc::new(SystemClock));
    let changes = driver.changes("of nobody here");
    let mut other = other_process(SENDS, path).spawn()?;
    block_on(send_many(&*driver))?;
    assert!(other.wait()?.success());
    block_on(async {
        assert_eq!(driver.backlog("jobs").await?.messages, 2 * SENDS_A_PROCESS as u64);
        // Which queue another process has written is not known, so all are told.
        let mut changes = changes;
        tokio::time::timeout(std::time::Duration::from_secs(30), changes.changed()).await??;
        Ok(())
    })
}

fn killed(path: &Path) -> Result<(), Failed> {
    crash::kill_again_and_again(
        |round| other_process(&round.to_string(), path),
        || open(path, crash::clock(crash::rounds())),
    )?;
    let connection = rusqlite::Connection::open(path)?;
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    assert_eq!(verdict, "ok");
    Ok(())
}
