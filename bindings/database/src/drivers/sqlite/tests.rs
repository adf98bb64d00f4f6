use std::fs;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn first_poll(driver: &Sqlite, sql: &str) -> Poll<Result<Vec<StatementResult>>> {
    pin!(driver.run(vec![Statement::new(sql)])).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn short_statements_are_finished_at_the_first_poll_without_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let driver = Sqlite::open(folder.path().join("a/b/test.sqlite")).unwrap();
    for sql in ["CREATE TABLE t (a)", "INSERT INTO t VALUES (1)", "SELECT * FROM t", "SELECT 1; SELECT 2", "SELEC"] {
        assert!(first_poll(&driver, sql).is_ready(), "{sql}");
    }
}

#[test]
fn a_file_that_is_no_database_is_named_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "not a database, and long enough to have a whole header ".repeat(50)).unwrap();
    let error = Sqlite::open(&path).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let message = error.message();
    assert!(message.starts_with(&format!("cannot open database {}: ", path.display())), "{message}");
    assert!(message.contains("not a SQLite database") && message.contains("another file"), "{message}");
}

#[test]
fn a_folder_that_cannot_be_made_or_opened_is_named_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let message = Sqlite::open(file.join("test.sqlite")).err().unwrap().message().to_owned();
    assert!(message.contains("its folder cannot be made") && message.contains("make the folder"), "{message}");
    let message = Sqlite::open(folder.path()).err().unwrap().message().to_owned();
    assert!(message.contains("the file cannot be opened") && message.contains("check that"), "{message}");
}

#[test]
fn a_long_log_is_moved_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.sqlite");
    let driver = Sqlite::open(&path).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let rows = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 600)";
        driver.run(vec![Statement::new("CREATE TABLE t (a)")]).await.unwrap();
        for _ in 0..8 {
            let sql = format!("INSERT INTO t {rows} SELECT zeroblob(1000) FROM n");
            driver.run(vec![Statement::new(sql)]).await.unwrap();
        }
        while driver.core.is_checkpointing.load(Relaxed) {
            tokio::task::yield_now().await;
        }
    });
    assert!(fs::metadata(&path).unwrap().len() > 1_000_000, "the file holds what was in the log");
}

#[test]
fn a_version_does_not_go_back_when_the_database_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let clock = aerostack_bindings::ManualClock::new(1_700_000_000_000);
    let version = |sql: &str| {
        let driver = Sqlite::open_with(folder.path().join("a.sqlite"), SqliteOptions::default(), &clock).unwrap();
        match first_poll(&driver, sql) {
            Poll::Ready(results) => results.unwrap()[0].meta.version,
            Poll::Pending => panic!("{sql} should be quick"),
        }
    };
    let before = version("CREATE TABLE t (a)");
    clock.advance_ms(1);
    assert!(version("SELECT * FROM t") > before);
}
