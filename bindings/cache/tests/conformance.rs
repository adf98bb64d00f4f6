//! The behaviour suite of the cache, run over every driver.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use aerostack_bindings::{Clock, SystemClock};
use aerostack_cache::conformance::{Open, trials};
use aerostack_cache::drivers::sqlite::{SqliteCache, SqliteOptions};
use aerostack_cache::{CacheDriver, Entry};
use libtest_mimic::{Arguments, Failed, Trial};

/// Set where this binary is to be the other process of a test: the file it is to write.
const WRITE_TO: &str = "AEROSTACK_TEST_CACHE_WRITE_TO";

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os(WRITE_TO) {
        block_on(open(Path::new(&path), Arc::new(SystemClock)).put("key", Entry::lasting("theirs")))
            .expect("the put goes through");
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().to_owned();
    let sqlite: Open = Arc::new(move |place, clock| open(&root.join(format!("{place}.sqlite")), clock));
    let mut tests = trials("sqlite", &sqlite);
    let path = folder.path().join("processes.sqlite");
    tests.push(Trial::test("sqlite::a_write_of_another_process_is_seen_at_once", move || other_process(&path)));
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn open(path: &Path, clock: Arc<dyn Clock>) -> Arc<dyn CacheDriver> {
    let options = SqliteOptions { name: "CACHE".to_owned(), path: PathBuf::from(path), memory_bytes: 1024 * 1024 };
    Arc::new(SqliteCache::open(&options, clock).expect("the cache opens"))
}

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

fn other_process(path: &Path) -> Result<(), Failed> {
    let cache = open(path, Arc::new(SystemClock));
    block_on(cache.put("key", Entry::lasting("ours")))?;
    assert_eq!(block_on(cache.get("missing"))?, None);
    assert_eq!(block_on(cache.get("key"))?, Some(Entry::lasting("ours")));
    let status = Command::new(std::env::current_exe()?).env(WRITE_TO, path).status()?;
    assert!(status.success());
    assert_eq!(block_on(cache.get("key"))?, Some(Entry::lasting("theirs")));
    Ok(())
}
