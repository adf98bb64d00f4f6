//! The behaviour suite of the vector index, run over every driver.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use aerostack_bindings::{Clock, Memory, SystemClock};
use aerostack_vectorize::conformance::{Open, Shape, trials};
use aerostack_vectorize::drivers::sqlite::{DEFAULT_APPROXIMATE_FROM, SqliteOptions, SqliteVectors};
use aerostack_vectorize::{Query, Vector, VectorDriver, Writing};
use libtest_mimic::{Arguments, Failed, Trial};

/// Set where this binary is to be the other process of a test: the file it is to write.
const WRITE_TO: &str = "AEROSTACK_TEST_VECTORIZE_WRITE_TO";

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os(WRITE_TO) {
        let index = open(Path::new(&path), Shape::default(), Arc::new(SystemClock), DEFAULT_APPROXIMATE_FROM);
        block_on(index.write(vec![vector("theirs", [0.0, 1.0])], Writing::Upsert)).expect("the write goes through");
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().to_owned();
    let driver = |folder: &'static str, approximate_from| -> Open {
        let root = root.join(folder);
        Arc::new(move |place, shape, clock| open(&root.join(format!("{place}.sqlite")), shape, clock, approximate_from))
    };
    let mut tests = trials("sqlite", &driver("exact", DEFAULT_APPROXIMATE_FROM));
    // The same, with a graph as soon as there are vectors enough to measure it.
    tests.extend(trials("sqlite-approximate", &driver("approximate", 0)));
    let path = folder.path().join("processes.sqlite");
    tests.push(Trial::test("sqlite::a_write_of_another_process_is_seen_at_once", move || other_process(&path)));
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn open(path: &Path, shape: Shape, clock: Arc<dyn Clock>, approximate_from: usize) -> Arc<dyn VectorDriver> {
    let options = SqliteOptions {
        name: "VECTORIZE".to_owned(),
        path: path.to_owned(),
        dimensions: shape.dimensions,
        metric: shape.metric,
        approximate_from,
        memory: Memory::unlimited(),
    };
    Arc::new(SqliteVectors::open(&options, clock).expect("the index opens"))
}

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

fn vector(id: &str, values: [f32; 2]) -> Vector {
    Vector { id: id.to_owned(), values: values.to_vec(), namespace: None, metadata: None }
}

fn other_process(path: &Path) -> Result<(), Failed> {
    let index = open(path, Shape::default(), Arc::new(SystemClock), DEFAULT_APPROXIMATE_FROM);
    let nearest = async || {
        let query = Query {
            values: vec![0.1, 1.0],
            top_k: 1,
            namespace: None,
            filter: None,
            with_values: false,
            with_metadata: false,
        };
        index.query(query).await.map(|found| found.into_iter().map(|found| found.id).collect::<Vec<_>>())
    };
    block_on(index.write(vec![vector("ours", [1.0, 0.0])], Writing::Upsert))?;
    assert_eq!(block_on(nearest())?, ["ours"]);
    let status = Command::new(std::env::current_exe()?).env(WRITE_TO, path).status()?;
    assert!(status.success());
    assert_eq!(block_on(nearest())?, ["theirs"]);
    Ok(())
}
