//! Entries in one SQLite file, with a bounded memory in front.
//!
//! A `get` that memory can answer takes no lock and no system call; how memory stays true although other processes write the
//! file is told in `memory`. Other calls run on the caller's thread as long as they neither wait nor move
//! more than 64 KiB, and on a thread of tokio's blocking pool otherwise. Writes that follow each other quickly become one commit at the
//! end of the thread's turn ([`TurnGroup`]); what a thread asks for takes effect in the order of asking.

mod file;
mod memory;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::{BindingInfo, BindingState, Clock, Error, ErrorKind, Result};
use aerostack_sqlite::TurnGroup;
use async_trait::async_trait;

use self::memory::Known;
use self::store::{Attempt, Patience, Refusal, Store, Write};
use crate::{CacheDriver, Entry, KIND, Listing};

/// How much memory a cache uses where nothing else is said, in bytes.
pub const DEFAULT_MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// What a [`SqliteCache`] is opened with.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The name on `env`.
    pub name: String,
    /// The file; it and its folder are made where they are missing.
    pub path: PathBuf,
    /// How many bytes of entries are kept in memory.
    pub memory_bytes: u64,
}

/// A cache in one SQLite file.
pub struct SqliteCache {
    name: String,
    store: Arc<Store>,
    writes: Arc<Writes>,
}

/// Small writes that wait for others.
type Writes = TurnGroup<Arc<Write>, Attempt<()>>;

/// For how long they wait while another thread writes, before they go to threads that may wait.
const PATIENCE_TOGETHER: Duration = Duration::from_millis(5);

impl SqliteCache {
    /// Opens the file.
    ///
    /// # Errors
    /// `ConfigInvalid`, with the path and what to do, where the file cannot be used.
    pub fn open(options: &SqliteOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Store::open(&options.path, options.memory_bytes, clock)?;
        Ok(Self { name: options.name.clone(), store: Arc::new(store), writes: Arc::default() })
    }

    /// Runs `work` here, or where waiting is allowed if it turns out to need that.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&Store, Patience) -> Attempt<T> + Send + 'static,
    ) -> Result<T> {
        match work(&self.store, Patience::None) {
            Ok(value) => return Ok(value),
            Err(Refusal::Failed(error)) => return Err(error),
            Err(Refusal::NotHere) => {}
        }
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || work(&store, Patience::UntilTimeout)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Refusal::Failed(error))) => Err(error),
            Ok(Err(Refusal::NotHere)) => unreachable!("a patient call is never sent elsewhere"),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => {
                    Err(Error::new(ErrorKind::Unavailable, "the runtime is shutting down").with_source(error))
                }
            },
        }
    }

    /// Does a write: now, or at the end of the thread's turn together with others.
    async fn write(&self, write: Write) -> Result<()> {
        let write = Arc::new(write);
        match self.write_with_others(&write).await {
            Some(Ok(())) => {}
            Some(Err(Refusal::Failed(error))) => return Err(error),
            Some(Err(Refusal::NotHere)) | None => {
                self.run(move |store, patience| store.apply(&write, patience)).await?;
            }
        }
        self.tidy();
        Ok(())
    }

    /// `None` where the write does not wait for others, or nobody has done it.
    async fn write_with_others(&self, write: &Arc<Write>) -> Option<Attempt<()>> {
        if !write.is_small() {
            finish_writes_of_now(&self.writes, &self.store);
            return None;
        }
        let (writes, store) = (Arc::clone(&self.writes), Arc::clone(&self.store));
        let step = move || do_writes(&writes, &store);
        self.writes.wait(Arc::clone(write), PATIENCE_TOGETHER, step, || Err(Refusal::NotHere)).await
    }

    /// Has the log moved to the file in the background where it has grown long.
    fn tidy(&self) {
        if let Some(claim) = self.store.claim_move() {
            tokio::task::spawn_blocking(move || claim.move_log());
        }
    }
}

#[async_trait]
impl CacheDriver for SqliteCache {
    fn info(&self) -> BindingInfo {
        BindingInfo {
            name: self.name.clone(),
            kind: KIND,
            driver: "sqlite",
            summary: self.store.path().display().to_string(),
            state: BindingState::Ready,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        finish_writes_of_now(&self.writes, &self.store);
        if let Some(Known(entry)) = self.store.recall(key) {
            return Ok(entry);
        }
        let key = key.to_owned();
        self.run(move |store, patience| store.get(&key, patience)).await
    }

    async fn put(&self, key: &str, entry: Entry) -> Result<()> {
        self.write(Write::Put(key.to_owned(), entry)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.write(Write::Delete(key.to_owned())).await
    }

    async fn list(&self, prefix: &str, limit: usize, start_after: Option<&str>) -> Result<Listing> {
        finish_writes_of_now(&self.writes, &self.store);
        let prefix = prefix.to_owned();
        let start_after = start_after.map(str::to_owned);
        self.run(move |store, patience| store.list(&prefix, limit, start_after.as_deref(), patience)).await
    }
}

/// Does the writes that wait now: they were asked for before. Where another thread writes, they come when they can.
fn finish_writes_of_now(writes: &Writes, store: &Store) {
    writes.finish_those_of_now(|| do_writes(writes, store));
}

/// Does some of the writes that wait, if no other thread writes. Returns how many were answered.
fn do_writes(writes: &Writes, store: &Store) -> usize {
    let Some(writer) = store.writer_now() else { return 0 };
    writes.answer_with(|waiting| {
        let all: Vec<&Write> = waiting.iter().map(|grouped| &*grouped.work).collect();
        let together = if all.len() > 1 { store.apply_together(&writer, &all) } else { None };
        drop(writer);
        match together {
            Some(done) => (0..done).map(|_| Ok(())).collect(),
            None => all.iter().map(|write| store.apply(write, Patience::None)).collect(),
        }
    })
}
