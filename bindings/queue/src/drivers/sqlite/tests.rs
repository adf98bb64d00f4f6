use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use aerostack_bindings::{ManualClock, SystemClock};
use rusqlite::Connection;

use super::*;
use crate::ContentType;

const VISIBILITY: Duration = Duration::from_secs(30);

struct Fixture {
    folder: tempfile::TempDir,
    clock: Arc<dyn Clock>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Arc::new(SystemClock))
    }

    fn with(clock: Arc<dyn Clock>) -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), clock }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("queue/queues.sqlite")
    }

    fn queues(&self) -> SqliteQueues {
        SqliteQueues::open(&SqliteOptions { path: self.path() }, Arc::clone(&self.clock)).expect("the queues open")
    }

    fn other_tool(&self) -> Connection {
        Connection::open(self.path()).expect("another connection")
    }
}

/// A clock that is read: each look is a millisecond later than the one before.
struct CountingClock(AtomicU64);

impl Clock for CountingClock {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// Keeps the writer busy until it is dropped, so that calls gather behind it.
struct Gate {
    _open: mpsc::Sender<()>,
}

impl Gate {
    fn close(queues: &SqliteQueues) -> Self {
        let (open, is_open) = mpsc::channel();
        let (entered, has_entered) = mpsc::channel();
        queues.writer.jobs().post(Durability::Written, move |_| {
            entered.send(()).expect("the test waits");
            // An error means that the gate was dropped.
            let _ = is_open.recv();
            Ok(())
        });
        has_entered.recv().expect("the writer runs");
        Self { _open: open }
    }
}

fn message(body: impl Into<bytes::Bytes>) -> Outgoing {
    Outgoing { content_type: ContentType::Text, body: body.into(), delay: Duration::ZERO }
}

fn refused(path: &Path) -> String {
    match SqliteQueues::open(&SqliteOptions { path: path.to_owned() }, Arc::new(SystemClock)) {
        Ok(_) => panic!("{} must not open", path.display()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            error.to_string()
        }
    }
}

fn poll_once<T>(call: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    call.poll(&mut Context::from_waker(Waker::noop()))
}

/// The outcome of the first poll, outside any runtime.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    match poll_once(pin!(call)) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the call did not finish in its first poll"),
    }
}

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

#[test]
fn short_reads_finish_in_their_first_poll_also_while_the_file_is_locked() {
    let fixture = Fixture::new();
    let queues = fixture.queues();
    block_on(queues.send("jobs", vec![message("body")])).expect("send");
    let other = fixture.other_tool();
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let mut send = pin!(queues.send("jobs", vec![message("second")]));
    assert!(poll_once(send.as_mut()).is_pending());
    assert_eq!(at_once(queues.due("jobs", 10)).expect("due").ready, 1);
    assert_eq!(at_once(queues.backlog("jobs")).expect("backlog").messages, 1);
    other.execute_batch("COMMIT").expect("the lock is given back");
    assert_eq!(block_on(send).expect("the send goes through").messages, 2);
}

#[test]
fn calls_that_wait_are_committed_together() {
    let fixture = Fixture::with(Arc::new(CountingClock(AtomicU64::new(1_700_000_000_000))));
    let queues = fixture.queues();
    let gate = Gate::close(&queues);
    let mut sends: Vec<_> = (0..10).map(|_| Box::pin(queues.send("jobs", vec![message("body")]))).collect();
    for send in &mut sends {
        assert!(poll_once(send.as_mut()).is_pending());
    }
    drop(gate);
    block_on(async {
        for (number, send) in sends.into_iter().enumerate() {
            assert_eq!(send.await.expect("send").messages, number as u64 + 1);
        }
        let sent_at: Vec<_> =
            queues.peek("jobs", 10).await.expect("peek").iter().map(|message| message.sent_at_ms).collect();
        assert_eq!(sent_at, [sent_at[0]; 10], "one transaction has one time");
    });
}

#[test]
fn a_call_that_fails_does_not_fail_its_neighbours() {
    let fixture = Fixture::new();
    let queues = fixture.queues();
    let gate = Gate::close(&queues);
    let mut before = pin!(queues.send("jobs", vec![message("before")]));
    assert!(poll_once(before.as_mut()).is_pending());
    let mut failing = pin!(queues.writer.call(Durability::Written, |transaction| {
        transaction.send("made by the failing call", &[message("undone")])?;
        transaction.connection.execute("INSERT INTO nowhere VALUES (1)", [])
    }));
    assert!(poll_once(failing.as_mut()).is_pending());
    let mut after = pin!(queues.send("jobs", vec![message("after")]));
    assert!(poll_once(after.as_mut()).is_pending());
    drop(gate);
    block_on(async {
        assert_eq!(before.await.expect("the one before goes through").messages, 1);
        let error = failing.await.expect_err("there is no such table");
        assert!(error.to_string().contains("cannot write the queue file"), "{error}");
        assert_eq!(after.await.expect("the one after goes through").messages, 2);
        assert_eq!(queues.queues().await.expect("queues").len(), 1, "what the failing call did is undone");
        let backlog = queues.send("made by the failing call", vec![message("x")]).await.expect("send");
        assert_eq!(backlog.messages, 1);
    });
}

#[test]
fn a_full_disk_fails_the_send_and_the_queue_goes_on_afterwards() {
    let fixture = Fixture::new();
    let queues = fixture.queues();
    let limit_pages = |pages: i64| {
        block_on(queues.writer.call(Durability::Written, move |transaction| {
            transaction.connection.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
        }))
        .expect("the limit is set");
    };
    block_on(queues.send("jobs", vec![message("first")])).expect("send");
    limit_pages(20);
    let full = block_on(async {
        let mut sent = 0;
        loop {
            match queues.send("jobs", vec![message(vec![b'x'; 10_000])]).await {
                Ok(_) => sent += 1,
                Err(error) => return (sent, error),
            }
            assert!(sent < 100, "the disk is full by now");
        }
    });
    assert!(full.1.to_string().contains("queues.sqlite: the disk is full"), "{}", full.1);
    let got = block_on(queues.lease("jobs", 1, VISIBILITY)).expect("what is there can be worked on");
    let done = Settlement { lease: got[0].lease, verdict: Verdict::Delete };
    assert_eq!(block_on(queues.settle("jobs", vec![done])).expect("settle"), 0);
    limit_pages(1_000_000);
    let backlog = block_on(queues.send("jobs", vec![message(vec![b'x'; 10_000])])).expect("there is room again");
    assert_eq!(backlog.messages, full.0 + 1);
}

#[test]
fn a_lease_that_nobody_waits_for_is_given_back() {
    let fixture = Fixture::new();
    let queues = fixture.queues();
    block_on(queues.send("jobs", vec![message("body")])).expect("send");
    let gate = Gate::close(&queues);
    {
        let mut abandoned = pin!(queues.lease("jobs", 1, VISIBILITY));
        assert!(poll_once(abandoned.as_mut()).is_pending());
    }
    drop(gate);
    block_on(async {
        let mut changes = queues.changes("jobs");
        loop {
            let got = queues.lease("jobs", 1, VISIBILITY).await.expect("lease");
            if let Some(delivery) = got.first() {
                assert_eq!(delivery.attempts, 1, "what nobody saw was no attempt");
                return;
            }
            tokio::time::timeout(VISIBILITY, changes.changed()).await.expect("in time").expect("the queues live");
        }
    });
}

#[test]
fn what_was_accepted_is_written_before_the_queues_close() {
    let fixture = Fixture::new();
    let queues = fixture.queues();
    let gate = Gate::close(&queues);
    for _ in 0..100 {
        assert!(poll_once(pin!(queues.send("jobs", vec![message("body")]))).is_pending());
    }
    assert!(poll_once(pin!(queues.lease("jobs", 10, VISIBILITY))).is_pending());
    drop(gate);
    drop(queues);
    assert!(!fixture.path().with_extension("sqlite-wal").exists(), "the log was moved to the file");
    let queues = fixture.queues();
    assert_eq!(at_once(queues.due("jobs", 1000)).expect("due").ready, 100, "the leases were given back, too");
}

#[test]
fn the_counts_are_those_of_the_rows() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let fixture = Fixture::with(clock.clone());
    let queues = fixture.queues();
    block_on(async {
        for round in 0..40_usize {
            let messages = (0..5).map(|number| message(vec![b'x'; round * number])).collect();
            queues.send(["a", "b"][round % 2], messages).await.expect("send");
            let got = queues.lease("a", 6, VISIBILITY).await.expect("lease");
            let settlements = got.into_iter().enumerate().map(|(number, delivery)| Settlement {
                lease: delivery.lease,
                verdict: match (round + number) % 5 {
                    0 => Verdict::Delete,
                    1 => Verdict::Retry(Duration::from_secs(1)),
                    2 => Verdict::DeadLetter("dead".to_owned()),
                    _ => Verdict::DeadLetter("a".to_owned()),
                },
            });
            queues.settle("a", settlements.collect()).await.expect("settle");
            match round {
                15 => drop(queues.redrive("dead", Some("b")).await.expect("redrive")),
                25 => drop(queues.purge("b").await.expect("purge")),
                35 => drop(queues.redrive("dead", None).await.expect("redrive")),
                _ => {}
            }
            clock.advance_ms(500);
        }
    });
    let wrong: i64 = fixture
        .other_tool()
        .query_row(
            "SELECT count(*) FROM queues WHERE
                (messages, bytes) <> (SELECT count(*), coalesce(sum(octet_length(body)), 0) FROM messages WHERE queue = queues.id)",
            [],
            |row| row.get(0),
        )
        .expect("count");
    assert_eq!(wrong, 0);
    assert!(block_on(queues.queues()).expect("queues").iter().all(|queue| queue.backlog.messages > 0));
}

#[test]
fn the_log_does_not_grow_for_ever() {
    let fixture = Fixture::new();
    let queues = fixture.queues();
    let log = fixture.path().with_extension("sqlite-wal");
    let mut written = 0;
    block_on(async {
        while written < 48 * 1024 * 1024 {
            queues.send("jobs", (0..100).map(|_| message(vec![b'x'; 8000])).collect()).await.expect("send");
            written += 100 * 8000;
            queues.purge("jobs").await.expect("purge");
            assert!(std::fs::metadata(&log).expect("the log is there").len() < 16 * 1024 * 1024);
        }
    });
}

#[test]
fn no_statement_reads_all_messages() {
    let fixture = Fixture::new();
    drop(fixture.queues());
    let other = fixture.other_tool();
    for sql in transaction::STATEMENTS.iter().chain(reader::STATEMENTS) {
        let plan: Vec<String> = other
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .and_then(|mut statement| {
                let count = statement.parameter_count();
                statement.query_map(rusqlite::params_from_iter(vec![1; count]), |row| row.get("detail"))?.collect()
            })
            .expect("the statement compiles");
        for step in plan {
            assert!(!step.starts_with("SCAN m") && !step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_its_path_and_a_hint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "this is no database, but a file long enough to look like one".repeat(20)).expect("a file");
    let message = refused(&text);
    assert!(message.contains("notes.txt is not a SQLite database; move it away"), "{message}");
    let message = refused(folder.path());
    assert!(message.contains("cannot open the queue file"), "{message}");
    let message = refused(&text.join("queues.sqlite"));
    assert!(message.contains("cannot make the folder"), "{message}");
    let foreign = folder.path().join("foreign.sqlite");
    Connection::open(&foreign).expect("open").execute_batch("CREATE TABLE t (x)").expect("another program's table");
    let message = refused(&foreign);
    assert!(message.contains("foreign.sqlite is a SQLite database of another program"), "{message}");
    let mode: String = Connection::open(&foreign)
        .expect("open")
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .expect("the mode");
    assert_eq!(mode, "delete", "another program's file is left as it is");
}

#[test]
fn a_file_of_a_later_layout_is_refused() {
    let fixture = Fixture::new();
    drop(fixture.queues());
    fixture.other_tool().execute_batch("PRAGMA user_version = 2").expect("a later layout");
    let message = refused(&fixture.path());
    assert!(message.contains("has layout 2"), "{message}");
}

#[test]
fn a_torn_file_is_told_of_with_its_path() {
    let fixture = Fixture::new();
    let queues = fixture.queues();
    block_on(async {
        for _ in 0..20 {
            queues.send("jobs", vec![message(vec![b'x'; 10_000])]).await.expect("send");
        }
    });
    drop(queues);
    let bytes = std::fs::read(fixture.path()).expect("the file");
    std::fs::write(fixture.path(), &bytes[..bytes.len() / 2]).expect("half of it");
    let outcome = SqliteQueues::open(&SqliteOptions { path: fixture.path() }, Arc::clone(&fixture.clock))
        .and_then(|queues| block_on(queues.peek("jobs", 100)).map(drop));
    let error = outcome.expect_err("half of the messages are missing");
    assert!(error.to_string().contains("queues.sqlite"), "{error}");
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn the_start_table_shows_where_the_file_is() {
    let fixture = Fixture::new();
    let info = fixture.queues().info();
    assert_eq!((info.kind, info.driver), ("queue", "sqlite"));
    assert!(info.summary.ends_with("queues.sqlite"));
}
