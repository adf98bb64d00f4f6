use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use aerostack_bindings::ManualClock;
use rusqlite::Connection;

use super::store::INLINE_VALUE_BYTES;
use super::*;

const START_MS: u64 = 1_000_000;

struct Fixture {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), clock: Arc::new(ManualClock::new(START_MS)) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cache/local-kv.sqlite")
    }

    fn cache(&self) -> SqliteCache {
        SqliteCache::open(&options(&self.path()), self.clock.clone()).expect("the cache opens")
    }

    fn other_tool(&self) -> Connection {
        Connection::open(self.path()).expect("another connection")
    }
}

fn options(path: &Path) -> SqliteOptions {
    SqliteOptions { name: "CACHE".to_owned(), path: path.to_owned(), memory_bytes: DEFAULT_MEMORY_BYTES }
}

fn refused(path: &Path) -> String {
    match SqliteCache::open(&options(path), Arc::new(ManualClock::new(START_MS))) {
        Ok(_) => panic!("{} must not open", path.display()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            error.to_string()
        }
    }
}

/// The outcome of the first poll, outside any runtime.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the call did not finish in its first poll"),
    }
}

/// Whether a call asks for a thread of its own, which it cannot get outside a runtime.
fn leaves_the_thread<T>(call: impl Future<Output = T>) -> bool {
    catch_unwind(AssertUnwindSafe(|| at_once(call))).is_err()
}

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

#[test]
fn small_calls_finish_in_their_first_poll() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    let entry = Entry::lasting(vec![7; INLINE_VALUE_BYTES]);
    at_once(cache.put("key", entry.clone())).expect("put");
    assert_eq!(at_once(cache.get("key")).expect("from memory"), Some(entry.clone()));
    assert_eq!(at_once(fixture.cache().get("key")).expect("from the file"), Some(entry));
    assert_eq!(at_once(cache.list("", 10, None)).expect("list").keys.len(), 1);
    at_once(cache.delete("key")).expect("delete");
    assert_eq!(at_once(cache.get("key")).expect("gone"), None);
}

#[test]
fn a_long_value_is_written_and_read_on_another_thread() {
    let fixture = Fixture::new();
    let entry = Entry::lasting(vec![7; INLINE_VALUE_BYTES + 1]);
    let cache = fixture.cache();
    assert!(leaves_the_thread(cache.put("key", entry.clone())));
    block_on(cache.put("key", entry.clone())).expect("put");
    let other = fixture.cache();
    assert!(leaves_the_thread(other.get("key")));
    assert_eq!(block_on(other.get("key")).expect("get"), Some(entry.clone()));
    // It is short enough for memory.
    assert_eq!(at_once(other.get("key")).expect("get"), Some(entry));
}

#[test]
fn a_value_too_long_for_memory_replaces_what_memory_knew() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    let long = Entry::lasting(vec![7; 2 * 1024 * 1024]);
    block_on(async {
        cache.put("key", Entry::lasting("short")).await.expect("put");
        cache.put("key", long.clone()).await.expect("put");
        assert_eq!(cache.get("key").await.expect("get"), Some(long));
    });
}

#[test]
fn a_write_waits_for_a_lock_of_another_process_and_reads_do_not() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    block_on(async {
        cache.put("old", Entry::lasting("value")).await.expect("put");
        let other = fixture.other_tool();
        other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        let mut put = pin!(cache.put("new", Entry::lasting("value")));
        assert!(put.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(at_once(cache.get("old")).expect("get").is_some());
        assert!(at_once(fixture.cache().get("old")).expect("get").is_some());
        other.execute_batch("COMMIT").expect("the lock is given back");
        put.await.expect("the put goes through");
        assert!(at_once(cache.get("new")).expect("get").is_some());
    });
}

#[test]
fn a_change_by_another_process_is_seen_at_once() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    at_once(cache.put("key", Entry::lasting("ours"))).expect("put");
    assert!(at_once(cache.get("missing")).expect("get").is_none());
    let other = fixture.other_tool();
    other.execute("UPDATE cache_entries SET value = x'74686569727a' WHERE key = 'key'", []).expect("update");
    assert_eq!(at_once(cache.get("key")).expect("get"), Some(Entry::lasting("theirz")));
    other.execute("INSERT INTO cache_entries VALUES ('missing', NULL, NULL, x'78')", []).expect("insert");
    assert_eq!(at_once(cache.get("missing")).expect("get"), Some(Entry::lasting("x")));
    other.execute("DELETE FROM cache_entries", []).expect("delete");
    assert_eq!(at_once(cache.get("key")).expect("get"), None);
}

#[test]
fn memory_answers_while_nothing_changes() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    at_once(cache.put("key", Entry::lasting("value"))).expect("put");
    at_once(cache.put("other", Entry::lasting("value"))).expect("put");
    at_once(cache.delete("other")).expect("delete");
    at_once(cache.delete("never there")).expect("delete");
    assert!(matches!(cache.store.recall("key"), Some(Known(Some(_)))), "own writes leave memory as it is");
    assert!(matches!(cache.store.recall("other"), Some(Known(None))));
    assert!(cache.store.recall("unknown").is_none());
    at_once(cache.get("unknown")).expect("get");
    assert!(matches!(cache.store.recall("unknown"), Some(Known(None))));
}

#[test]
fn expired_rows_leave_the_file_with_later_writes() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    let rows = |other: &Connection| -> i64 {
        other.query_row("SELECT count(*) FROM cache_entries", [], |row| row.get(0)).expect("count")
    };
    for number in 0..100 {
        let entry = Entry { expires_at: Some(1060), ..Entry::lasting("value") };
        at_once(cache.put(&format!("key{number}"), entry)).expect("put");
    }
    let other = fixture.other_tool();
    assert_eq!(rows(&other), 100);
    fixture.clock.advance_ms(60_000);
    at_once(cache.put("lasting", Entry::lasting("value"))).expect("put");
    assert_eq!(rows(&other), 100 - 32 + 1, "one write removes a bounded number");
    for _ in 0..3 {
        at_once(cache.put("lasting", Entry::lasting("again"))).expect("put");
    }
    assert_eq!(rows(&other), 1);
}

#[test]
fn the_log_starts_again_after_it_was_moved_to_the_file() {
    let fixture = Fixture::new();
    let started = Instant::now();
    block_on(async {
        let cache = fixture.cache();
        let mut longest = 0;
        for number in 0_u64.. {
            cache
                .put(&format!("key{}", number % 1000), Entry::lasting(number.to_string().repeat(500)))
                .await
                .expect("put");
            let frames = cache.store.log_frames_for_tests();
            if frames < longest {
                assert!(longest >= 1000, "the log was moved at {longest} frames");
                return;
            }
            longest = frames;
            assert!(started.elapsed() < Duration::from_mins(1), "the log has grown to {longest} frames");
            // The background takes its turn, as it does between two requests of an isolate.
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_its_path_and_a_hint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "this is no database, but a file long enough to look like one".repeat(20)).expect("a file");
    let message = refused(&text);
    assert!(message.contains("notes.txt is not a SQLite database; move it away"), "{message}");
    let message = refused(folder.path());
    assert!(message.contains("cannot open the cache file"), "{message}");
    let message = refused(&text.join("cache.sqlite"));
    assert!(message.contains("cannot make the folder"), "{message}");
}

#[test]
fn a_file_of_a_later_layout_is_refused() {
    let fixture = Fixture::new();
    drop(fixture.cache());
    fixture.other_tool().execute_batch("PRAGMA user_version = 2").expect("a later layout");
    let message = refused(&fixture.path());
    assert!(message.contains("has layout 2"), "{message}");
}

#[test]
fn the_start_table_shows_where_the_file_is() {
    let fixture = Fixture::new();
    let info = fixture.cache().info();
    assert_eq!((info.kind, info.driver, info.name.as_str()), ("cache", "sqlite", "CACHE"));
    assert!(info.summary.ends_with("local-kv.sqlite"));
}
