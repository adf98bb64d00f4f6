use std::fs;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::cells::Cell;

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

/// Whether a reader keeps the log of a file from starting over.
fn is_log_read(path: &Path) -> bool {
    let other = rusqlite::Connection::open(path).unwrap();
    other.busy_timeout(Duration::ZERO).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).unwrap() != 0
}

/// Queries that follow each other quickly, all in one turn. Nobody waits for 16 of them after one that was alone.
async fn query_quickly(driver: &Sqlite) {
    for _ in 0..40 {
        let results = driver.run(vec![Statement::new("SELECT count(*) FROM t")]).await.unwrap();
        assert_eq!(results[0].cells, [Cell::Integer(1)]);
    }
}

fn one_row(folder: &Path) -> (Sqlite, PathBuf, tokio::runtime::Runtime) {
    let path = folder.join("test.sqlite");
    let driver = Sqlite::open(&path).unwrap();
    for sql in ["CREATE TABLE t (a)", "INSERT INTO t VALUES (1)"] {
        assert!(first_poll(&driver, sql).is_ready());
    }
    (driver, path, tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap())
}

#[test]
fn quick_queries_keep_a_snapshot_until_their_turn_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (driver, path, runtime) = one_row(folder.path());
    runtime.block_on(async {
        query_quickly(&driver).await;
        assert!(is_log_read(&path), "the snapshot is kept");
        tokio::task::yield_now().await;
        assert!(!is_log_read(&path), "the turn has ended");
    });
}

#[test]
fn a_write_ends_the_snapshots_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (driver, path, runtime) = one_row(folder.path());
    runtime.block_on(async {
        query_quickly(&driver).await;
        driver.run(vec![Statement::new("CREATE TABLE u (a)")]).await.unwrap();
        assert!(!is_log_read(&path));
    });
}

#[test]
fn a_snapshot_ends_with_the_runtime_that_it_was_to_end_in() {
    let folder = tempfile::tempdir().unwrap();
    let (driver, path, runtime) = one_row(folder.path());
    runtime.block_on(query_quickly(&driver));
    assert!(is_log_read(&path), "the snapshot is kept");
    drop(runtime);
    assert!(!is_log_read(&path));
}

#[test]
fn without_a_runtime_no_snapshot_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (driver, path, _) = one_row(folder.path());
    assert!(pin!(query_quickly(&driver)).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert!(!is_log_read(&path));
}

#[test]
fn commits_wait_for_the_disk_where_nothing_may_be_lost() {
    let folder = tempfile::tempdir().unwrap();
    for (durability, waits) in [(Durability::Normal, false), (Durability::Full, true)] {
        let options = SqliteOptions { durability, ..SqliteOptions::default() };
        let driver = Sqlite::open_with(folder.path().join("test.sqlite"), options, &SystemClock).unwrap();
        for sql in ["CREATE TABLE IF NOT EXISTS t (a)", "INSERT INTO t VALUES (1)", "PRAGMA foreign_keys = OFF"] {
            assert!(first_poll(&driver, sql).is_ready());
            assert_eq!(driver.core.writer.take().unwrap().waits_for_disk(), waits, "{durability:?} after {sql}");
        }
    }
}
