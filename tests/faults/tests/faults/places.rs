//! Where each driver keeps its state in the folder of a test, and how it is opened there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerostack_bindings::{Clock, Memory, Result, SystemClock};
use aerostack_cache::CacheDriver;
use aerostack_cache::drivers::sqlite::{SqliteCache, SqliteOptions as CacheOptions};
use aerostack_database::{DatabaseDriver, Sqlite, script};
use aerostack_queue::QueueDriver;
use aerostack_queue::drivers::sqlite::{SqliteOptions as QueueOptions, SqliteQueues};
use aerostack_storage::StorageDriver;
use aerostack_storage::drivers::fs::{FsOptions, FsStorage};
use aerostack_vectorize::drivers::sqlite::{SqliteOptions as VectorOptions, SqliteVectors};
use aerostack_vectorize::{Metric, VectorDriver};
use libtest_mimic::Failed;

/// From so many components on (vectors times dimensions) an index has a graph.
const APPROXIMATE_FROM: usize = 256;

pub(crate) fn database_file(folder: &Path) -> PathBuf {
    folder.join("database").join("db.sqlite")
}

pub(crate) fn cache_file(folder: &Path) -> PathBuf {
    folder.join("cache").join("cache.sqlite")
}

pub(crate) fn queues_file(folder: &Path) -> PathBuf {
    folder.join("queue").join("queues.sqlite")
}

pub(crate) fn bucket_folder(folder: &Path) -> PathBuf {
    folder.join("storage").join("bucket")
}

pub(crate) fn vectors_file(folder: &Path) -> PathBuf {
    folder.join("vectorize").join("index.sqlite")
}

pub(crate) fn database(folder: &Path) -> Result<Arc<dyn DatabaseDriver>> {
    Ok(Arc::new(Sqlite::open(database_file(folder))?))
}

pub(crate) fn cache(folder: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn CacheDriver>> {
    let options = CacheOptions { name: "CACHE".to_owned(), path: cache_file(folder), memory_bytes: 1024 * 1024 };
    Ok(Arc::new(SqliteCache::open(&options, clock)?))
}

pub(crate) fn queues(folder: &Path, clock: Arc<dyn Clock>) -> Result<Arc<dyn QueueDriver>> {
    Ok(Arc::new(SqliteQueues::open(&QueueOptions { path: queues_file(folder) }, clock)?))
}

pub(crate) fn bucket(folder: &Path) -> Result<Arc<dyn StorageDriver>> {
    let options = FsOptions { name: "STORAGE".to_owned(), folder: bucket_folder(folder) };
    Ok(Arc::new(FsStorage::open(&options, Arc::new(SystemClock))?))
}

pub(crate) fn vectors(folder: &Path) -> Result<Arc<dyn VectorDriver>> {
    let options = VectorOptions {
        name: "VECTORIZE".to_owned(),
        path: vectors_file(folder),
        dimensions: None,
        metric: Metric::Euclidean,
        approximate_from: APPROXIMATE_FROM,
        memory: Memory::unlimited(),
    };
    Ok(Arc::new(SqliteVectors::open(&options, Arc::new(SystemClock))?))
}

/// `PRAGMA integrity_check` of a file that is there.
pub(crate) fn check_integrity(file: &Path) -> std::result::Result<(), Failed> {
    if !file.exists() {
        return Ok(());
    }
    let checked = script::execute(file, "PRAGMA integrity_check")?;
    let verdict = format!("{:?}", checked[0].cells);
    if verdict == "[Text(\"ok\")]" { Ok(()) } else { Err(format!("{}: {verdict}", file.display()).into()) }
}
