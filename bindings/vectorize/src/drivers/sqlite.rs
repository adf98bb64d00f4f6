//! A vector index in one SQLite file, searched in memory.
//!
//! The file is the truth; memory holds the vectors, loaded at the first query, and what is needed to select among them. Ids
//! and metadata stay in the file, where the few matches of a query are looked up. How the two stay at one generation is told
//! in `store`. Short calls run on the caller's thread as long as they do not wait, and others on a thread of tokio's blocking
//! pool; a long scan uses several.

mod file;
mod growth;
mod memory;
mod rows;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use aerostack_bindings::{BindingInfo, BindingState, Clock, Error, ErrorKind, Memory, Result};
use async_trait::async_trait;

use self::store::{Attempt, Patience, Refusal, Store};
use crate::{Description, KIND, Match, Metric, Mutation, Query, Vector, VectorDriver, Writing};

/// What a [`SqliteVectors`] is opened with.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The name on `env`.
    pub name: String,
    /// The file; it and its folder are made where they are missing.
    pub path: PathBuf,
    /// The length of every vector; `None` takes that of the first one written.
    pub dimensions: Option<u32>,
    /// How nearness is measured.
    pub metric: Metric,
    /// From how many components on (vectors times dimensions) searches may be approximate; [`DEFAULT_APPROXIMATE_FROM`].
    pub approximate_from: usize,
    /// Where the bytes of the vectors that are searched count: see [`memory_for_vectors`].
    pub memory: Memory,
}

/// A bound in bytes for the vectors in memory of all indexes that are opened with it.
pub fn memory_for_vectors(limit: usize) -> Memory {
    Memory::of_a_driver(limit, |limit| {
        let limit = limit / (1024 * 1024);
        Error::new(ErrorKind::RateLimited, format!("the vectors to search would take more than {limit} MB of memory"))
    })
}

/// Fewer components are compared one by one: 32 MiB, which takes about a millisecond. Measured (`benches/vectors`, 384 dimensions): a
/// graph is no faster at 10,000 vectors and more than ten times at 100,000, but costs seconds of linking and a little of the truth.
pub const DEFAULT_APPROXIMATE_FROM: usize = 8 * 1024 * 1024;

/// What an index has in memory, and how far its graph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many vectors are in memory.
    pub vectors: usize,
    /// How many of them the graph does not know.
    pub unlinked: usize,
    /// How many nodes a search through the graph keeps in sight; `None` where the graph is not used.
    pub breadth: Option<usize>,
    /// Whether vectors are being linked, or will be once there is a call.
    pub is_linking: bool,
    /// The bytes of the vectors in memory.
    pub vector_bytes: usize,
    /// The bytes of the graph.
    pub graph_bytes: usize,
    /// The bytes of everything else in memory: which slots are live, their namespaces, the properties filtered by.
    pub other_bytes: usize,
}

/// A vector index in one SQLite file.
pub struct SqliteVectors {
    name: String,
    metric: Metric,
    store: Arc<Store>,
}

impl SqliteVectors {
    /// Opens the file.
    ///
    /// # Errors
    /// `ConfigInvalid`, with the path and what to do, where the file cannot be used or its vectors have other dimensions.
    pub fn open(options: &SqliteOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Arc::new(Store::open(options, clock)?);
        Ok(Self { name: options.name.clone(), metric: options.metric, store })
    }

    /// How far the graph is. Searches need not wait for it: what it lacks they compare.
    pub fn progress(&self) -> Progress {
        self.store.progress()
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

    /// Has the log moved to the file in the background where it has grown long, and vectors linked where many are new.
    fn tidy(&self) {
        if let Some(claim) = self.store.claim_move() {
            tokio::task::spawn_blocking(move || claim.move_log());
        }
        if let Some(claim) = self.store.claim_growth() {
            claim.start();
        }
    }
}

#[async_trait]
impl VectorDriver for SqliteVectors {
    fn info(&self) -> BindingInfo {
        BindingInfo {
            name: self.name.clone(),
            kind: KIND,
            driver: "sqlite",
            summary: format!("{} ({})", self.store.path().display(), self.metric.as_str()),
            state: BindingState::Ready,
        }
    }

    async fn describe(&self) -> Result<Description> {
        self.run(Store::describe).await
    }

    async fn write(&self, vectors: Vec<Vector>, writing: Writing) -> Result<Mutation> {
        let mutation = self.run(move |store, patience| store.write(&vectors, writing, patience)).await?;
        self.tidy();
        Ok(mutation)
    }

    async fn delete(&self, ids: Vec<String>) -> Result<Mutation> {
        let mutation = self.run(move |store, patience| store.delete(&ids, patience)).await?;
        self.tidy();
        Ok(mutation)
    }

    async fn get(&self, ids: Vec<String>) -> Result<Vec<Vector>> {
        self.run(move |store, patience| store.get(&ids, patience)).await
    }

    async fn query(&self, query: Query) -> Result<Vec<Match>> {
        let matches = self.run(move |store, patience| store.query(&query, patience)).await?;
        self.tidy();
        Ok(matches)
    }
}
