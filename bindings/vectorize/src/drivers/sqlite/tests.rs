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
    open_with(path, dimensions, DEFAULT_APPROXIMATE_FROM, Memory::unlimited())
}

fn open_with(path: &Path, dimensions: Option<u32>, approximate_from: usize, memory: Memory) -> Result<SqliteVectors> {
    let (name, metric) = ("VECTORIZE".to_owned(), Metric::Cosine);
    let options = SqliteOptions { name, path: path.to_owned(), dimensions, metric, approximate_from, memory };
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
    Query { values: values.to_vec(), top_k, namespace: None, filter: None, with_values: false, with_metadata: false }
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
        // A move may be under way when the log grows again, and then it is a later write that has the rest moved.
        while std::fs::metadata(fixture.path()).expect("the file is there").len() < 4 * 1000 * 4096 {
            index.write(vec![of(0)], Writing::Upsert).await.expect("written");
        }
    });
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<Vector> {
    let vector =
        |number: u32| Vector { id: number.to_string(), values: vec![1.0; 384], namespace: None, metadata: None };
    numbers.map(vector).collect()
}

#[test]
fn what_has_no_room_in_memory_is_neither_stored_nor_read() {
    const FULL: &str = "the vectors to search would take more than 1 MB of memory";
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let memory = memory_for_vectors(1024 * 1024);
    let bounded = |fixture: &Fixture| {
        open_with(&fixture.path(), None, DEFAULT_APPROXIMATE_FROM, memory.clone()).expect("the index opens")
    };
    let query = || nearest_to(&[1.0; 384], 1);
    block_on(async {
        let index = bounded(&fixture);
        index.write(numbered(0..500), Writing::Insert).await.expect("500 of 1.7 KB have room");
        for _ in 0..2 {
            let error = index.write(numbered(500..700), Writing::Insert).await.expect_err("700 have none");
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::RateLimited, FULL));
        }
        assert_eq!(index.describe().await.expect("described").vector_count, 500);
        index.write(numbered(400..600), Writing::Upsert).await.expect("only 100 are new");
        index.delete(vec!["599".to_owned()]).await.expect("a full index can be emptied");
        assert_eq!(index.query(query()).await.expect("searched").len(), 1);

        // All indexes together have that much, whether their vectors were searched yet or not.
        let second = bounded(&other);
        let error = second.write(numbered(0..100), Writing::Insert).await.expect_err("no room beside the first");
        assert_eq!(error.to_string(), FULL);
        drop((index, second));
        let index = bounded(&fixture);
        let error = index.write(numbered(600..700), Writing::Insert).await.expect_err("nothing was read, and yet");
        assert_eq!(error.to_string(), FULL);
        drop(index);

        open(&fixture.path(), None).expect("opens").write(numbered(600..700), Writing::Insert).await.expect("written");
        let error = bounded(&fixture).query(query()).await.expect_err("another machine had more memory");
        assert_eq!(error.to_string(), FULL);
        assert_eq!(memory.held(), 0);
    });
}

/// An index that is searched through a graph as soon as that is possible, and one that never is.
struct Pair {
    fixture: Fixture,
    approximate: SqliteVectors,
    exact: SqliteVectors,
}

const LINKED: u32 = 8_000;

impl Pair {
    fn new() -> Self {
        let fixture = Fixture::new();
        let pair = Self { approximate: approximate(&fixture), exact: exact(&fixture), fixture };
        block_on(async {
            for thousand in 0..LINKED / 1000 {
                let vectors = (thousand * 1000..thousand * 1000 + 1000).map(of).collect();
                pair.approximate.write(vectors, Writing::Insert).await.expect("written");
            }
        });
        pair.wait_for_the_graph();
        pair
    }

    fn wait_for_the_graph(&self) {
        wait_for_the_graph(&self.approximate);
    }

    /// Whether both find the same as far as an approximate search should: all that must be there, nearly all of it right.
    fn agree(&self, namespace: Option<&str>, filter: Option<&str>) {
        let (mut hits, mut wanted) = (0, 0);
        block_on(async {
            for number in 0..60 {
                let query = Query {
                    namespace: namespace.map(str::to_owned),
                    filter: filter.map(|json| crate::filter::Filter::parse(json).expect("a valid filter")),
                    ..nearest_to(&values(number * 197 % LINKED / 8, 1_000_000 + number), 10)
                };
                let truth = self.exact.query(query.clone()).await.expect("searched");
                let found = self.approximate.query(query).await.expect("searched");
                assert_eq!(found.len(), truth.len());
                assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
                wanted += truth.len();
                hits += truth.iter().filter(|truth| found.iter().any(|found| found.id == truth.id)).count();
            }
        });
        assert!(hits as f64 >= 0.97 * wanted as f64, "{hits} of {wanted} with {namespace:?} {filter:?}");
    }
}

fn approximate(fixture: &Fixture) -> SqliteVectors {
    open_with(&fixture.path(), None, 0, Memory::unlimited()).expect("the index opens")
}

fn exact(fixture: &Fixture) -> SqliteVectors {
    open_with(&fixture.path(), None, usize::MAX, Memory::unlimited()).expect("the index opens")
}

/// Nothing is left to do in the background.
fn wait_for_the_graph(index: &SqliteVectors) {
    while index.progress().is_linking {
        index.tidy();
        std::thread::yield_now();
    }
}

fn of(number: u32) -> Vector {
    Vector {
        id: format!("v{number}"),
        values: values(number / 8, number),
        namespace: Some(format!("n{}", number % 2)),
        metadata: Some(format!("{{\"third\":{},\"rare\":{}}}", number % 3, number % 500)),
    }
}

/// A vector near a centre, the same each time.
fn values(centre: u32, number: u32) -> Vec<f32> {
    let mut state = u64::from(centre).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut own = u64::from(number).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
    let next = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..16).map(|_| next(&mut state) + 0.5 * next(&mut own)).collect()
}

#[test]
fn a_graph_finds_what_comparing_finds_with_filters_deletes_and_updates() {
    let pair = Pair::new();
    assert!(pair.approximate.progress().breadth.is_some(), "the graph was measured and is used");
    let check = || {
        pair.agree(None, None);
        pair.agree(Some("n1"), None);
        pair.agree(None, Some("{\"third\":{\"$ne\":2}}"));
        pair.agree(None, Some("{\"rare\":17}"));
        pair.agree(Some("n0"), Some("{\"rare\":{\"$lt\":3}}"));
        pair.agree(None, Some("{\"rare\":500}"));
    };
    check();
    block_on(async {
        for hundred in 0..20 {
            let ids = (hundred * 100..hundred * 100 + 100).map(|number| format!("v{}", number * 3)).collect();
            pair.approximate.delete(ids).await.expect("deleted");
        }
        let changed = (0..1000).map(|number| Vector { id: format!("v{}", 5001 + number), ..of(500_000 + number) });
        pair.approximate.write(changed.collect(), Writing::Upsert).await.expect("written");
    });
    check();
    pair.wait_for_the_graph();
    check();
}

#[test]
fn a_graph_survives_a_restart_and_is_built_anew_where_its_file_is_missing_or_torn() {
    let Pair { fixture, approximate: first, exact } = Pair::new();
    let file = fixture.path().with_extension("graph");
    assert!(file.exists());
    drop(first);
    let unlinked = |index: &SqliteVectors| {
        block_on(index.query(nearest_to(&of(1).values, 1))).expect("searched");
        let progress = index.progress();
        (progress.unlinked, progress.breadth.is_some())
    };
    let mut restarted = approximate(&fixture);
    assert_eq!(unlinked(&restarted), (0, true), "all of it came from the file");

    // What another process wrote meanwhile is not in the graph.
    drop(restarted);
    block_on(exact.write((700_000..700_100).map(of).collect(), Writing::Insert)).expect("written");
    block_on(exact.delete(vec!["v5".to_owned()])).expect("deleted");
    restarted = approximate(&fixture);
    assert_eq!(unlinked(&restarted), (100, true));
    assert_eq!(block_on(restarted.query(nearest_to(&of(700_050).values, 1))).expect("searched")[0].id, "v700050");
    drop(restarted);

    let whole = std::fs::read(&file).expect("the file");
    for (name, bytes) in [("torn", &whole[..whole.len() / 2]), ("empty", &[][..])] {
        std::fs::write(&file, bytes).expect("written");
        restarted = approximate(&fixture);
        let found = block_on(restarted.query(nearest_to(&of(77).values, 1))).expect("searched");
        assert_eq!(found[0].id, "v77", "{name}");
        wait_for_the_graph(&restarted);
        drop(restarted);
        assert!(std::fs::read(&file).expect("the file").len() >= whole.len(), "{name}: it was built anew");
    }
    std::fs::remove_file(&file).expect("removed");
    let pair = Pair { approximate: approximate(&fixture), exact, fixture };
    block_on(pair.approximate.query(nearest_to(&of(1).values, 1))).expect("searched");
    pair.wait_for_the_graph();
    assert!(file.exists());
    pair.agree(None, None);
}
