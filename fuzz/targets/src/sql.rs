use std::time::Duration;

use aerostack_bindings::SystemClock;
use aerostack_database::drivers::sqlite::SqliteOptions;
use aerostack_database::{Cell, DatabaseDriver, Sqlite, Statement, Value, script};

use crate::parted;

/// As long as texts are here: what matters is where statements begin and end.
const LONGEST: usize = 2_000;

/// A text as `prepare().run()`, as a line of `batch()` and as a script: whatever it says, no transaction stays open, nobody steers
/// one, and the next call finds the database as usable as before.
pub(crate) fn target(data: &[u8]) {
    let (text, parameter) = parted(&data[..data.len().min(LONGEST)]);
    let folder = tempfile::tempdir_in(memory_folder()).expect("a temporary folder");
    let file = folder.path().join("fuzzed.sqlite");
    let options = SqliteOptions {
        slice: Duration::from_millis(2),
        lock_wait: Duration::from_millis(100),
        ..SqliteOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let driver = Sqlite::open_with(&file, options, &SystemClock).expect("the database opens");
        let made =
            driver.run(vec![Statement::new("CREATE TABLE t (a, b)"), Statement::new("INSERT INTO t VALUES (1, 2)")]);
        made.await.expect("a table can be made");
        let given = Statement::with_params(&*text, [Value::Blob(parameter.to_vec())]);
        for statements in [
            vec![given.clone()],
            vec![Statement::new(&*text)],
            vec![Statement::new("INSERT INTO t VALUES (3, 4)"), given, Statement::new("this is no SQL")],
        ] {
            // Refused or not: what counts is what is left.
            let _ = driver.run(statements).await;
            let one = driver.run(vec![Statement::new("SELECT 1")]).await.expect("a query goes through");
            assert_eq!(one[0].cells, [Cell::Integer(1)]);
            let write = driver.run(vec![Statement::new("CREATE TABLE IF NOT EXISTS after_it (a)")]).await;
            write.expect("no transaction stays open, and writing goes on");
        }
        // The batch with a statement that cannot be has left nothing, unless the text itself has made such a row.
        let rows = driver.run(vec![Statement::new("SELECT count(*) FROM t WHERE a = 3 AND b = 4")]).await;
        if let Ok(rows) = rows
            && !text.contains('3')
        {
            assert_eq!(rows[0].cells, [Cell::Integer(0)], "a batch that failed has happened");
        }
    });
    if may_make_files(&text) {
        return;
    }
    let before = script::execute(&file, "SELECT count(*) FROM sqlite_schema").expect("a script goes through");
    if let Err(error) = script::execute(&file, &format!("CREATE TABLE of_script (a);\n{text}")) {
        assert!(error.line.is_none_or(|line| line <= text.matches('\n').count() + 2), "{error}");
        let after = script::execute(&file, "SELECT count(*) FROM sqlite_schema").expect("a script goes through");
        assert_eq!(before[0].cells, after[0].cells, "a script that failed has left something");
    }
}

/// A script is its owner's and may make other databases, which would lie in the folder that the fuzzer runs in.
fn may_make_files(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("attach") || text.contains("vacuum")
}

/// Where files cost no disk, where the system has such a place.
fn memory_folder() -> std::path::PathBuf {
    let shared = std::path::PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}
