use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aerostack_bindings::ManualClock;
use rusqlite::Connection;

use super::*;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("vectorize/local-vectors.sqlite")
    }

    fn index(&self) -> SqliteVectors {
        open(&self.path(), None).expect("the index opens")
    }
}

fn open(path: &Path, dimensions: Option<u32>) -> Result<SqliteVectors> {
    let options =
        SqliteOptions { name: "VECTORIZE".to_owned(), path: path.to_owned(), dimensions, metric: Metric::Cosine };
    SqliteVectors::open(&options, Arc::new(ManualClock::new(1_000_000)))
}

fn refused(path: &Path, dimensions: Option<u32>) -> String {
    match open(path, dimensions) {
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

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

fn vector(id: &str, values: &[f32]) -> Vector {
    Vector { id: id.to_owned(), values: values.to_vec(), namespace: None, metadata: None }
}

fn nearest_to(values: &[f32], top_k: usize) -> Query {
    Query {
        values: values.to_vec(),
        top_k,
        namespace: None,
        filter: None,
        with_values: false,
        with_metadata: false,
    }
}

#[test]
fn a_small_index_is_written_and_searched_in_the_first_poll() {
    let fixture = Fixture::new();
    let index = fixture.index();
    at_once(index.write(vec![vector("a", &[1.0, 0.0]), vector("b", &[0.0, 1.0])], Writing::Upsert))
        .expect("written at once");
    assert_eq!(at_once(index.describe()).expect("described at once").vector_count, 2);
    let found = at_once(index.query(nearest_to(&[1.0, 0.1], 1))).expect("found at once");
    assert_eq!(found[0].id, "a");
    assert_eq!(at_once(index.get(vec!["b".to_owned()])).expect("read at once").len(), 1);
    at_once(index.delete(vec!["a".to_owned()])).expect("deleted at once");
}

#[test]
fn the_slot_of_a_deleted_vector_is_used_again() {
    let fixture = Fixture::new();
    let index = fixture.index();
    let of = |number: u32| vector(&format!("v{number}"), &[number as f32, 1.0]);
    block_on(async {
        index.write((0..100).map(of).collect(), Writing::Insert).await.expect("written");
        index.delete((10..20).map(|number| format!("v{number}")).collect()).await.expect("deleted");
        index.write((200..210).map(of).collect(), Writing::Insert).await.expect("written");
    });
    let connection = Connection::open(fixture.path()).expect("another connection");
    let highest: i64 =
        connection.query_row("SELECT max(slot) FROM vector_entries", [], |row| row.get(0)).expect("a row");
    assert_eq!(highest, 99);
}

#[test]
fn a_file_of_other_dimensions_is_refused_when_it_is_opened() {
    let fixture = Fixture::new();
    block_on(fixture.index().write(vec![vector("a", &[1.0, 0.0])], Writing::Insert)).expect("written");
    assert!(open(&fixture.path(), Some(2)).is_ok());
    let text = refused(&fixture.path(), Some(3));
    assert!(text.contains("has vectors of 2 dimensions, and the configuration says 3"), "{text}");
}

#[test]
fn files_that_are_no_index_are_refused_with_what_to_do() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("text.sqlite");
    std::fs::write(&path, "this is no database, however long it is made to look like one".repeat(20)).expect("written");
    assert!(refused(&path, None).contains("is not a SQLite database"));
    assert!(refused(fixture.folder.path(), None).contains("cannot open the vector index"));
    let later = fixture.folder.path().join("later.sqlite");
    Connection::open(&later).expect("a new file").execute_batch("PRAGMA user_version = 9").expect("marked");
    assert!(refused(&later, None).contains("has layout 9"));
}

#[test]
fn a_vector_of_the_wrong_length_in_the_file_is_an_error_and_no_panic() {
    let fixture = Fixture::new();
    block_on(fixture.index().write(vec![vector("a", &[1.0, 0.0])], Writing::Insert)).expect("written");
    let connection = Connection::open(fixture.path()).expect("another connection");
    connection.execute("UPDATE vector_values SET vector = x'0000'", []).expect("damaged");
    let error = block_on(fixture.index().query(nearest_to(&[1.0, 0.0], 1))).expect_err("it is damaged");
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert!(error.context()[0].1.contains("has 2 bytes, not 2 float32"), "{:?}", error.context());
}

#[test]
fn the_log_is_moved_to_the_file() {
    let fixture = Fixture::new();
    let index = fixture.index();
    let of = |number: u32| vector(&format!("v{number}"), &[number as f32; 1024]);
    block_on(async {
        for round in 0..4 {
            index.write((round * 1000..round * 1000 + 1000).map(of).collect(), Writing::Insert).await.expect("written");
        }
    });
    // The runtime waits for its blocking threads when it ends.
    let size = std::fs::metadata(fixture.path()).expect("the file is there").len();
    assert!(size > 3 * 1000 * 4096, "the vectors are in the file itself, which has {size} bytes");
}
