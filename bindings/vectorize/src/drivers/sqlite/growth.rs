//! The thread that links vectors into the graph, measures it and keeps its file.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use rusqlite::Connection;

use super::memory::Memory;
use super::rows::{self, Outcome};
use super::store::Store;
use crate::search::{BREADTHS, GraphFileError, Samples, WANTED_RECALL, threads_for};

/// The state of the background work on one index.
pub(super) struct Growth {
    path: PathBuf,
    is_running: AtomicBool,
    /// How many vectors were unlinked since the file was written: what a restart would have to link again.
    linked_since_file: AtomicU64,
}

/// The right to do the work. A claim falls back when it is dropped.
pub(super) struct GrowthClaim(Weak<Store>);

impl Growth {
    /// The graph's file lies beside the database.
    pub(super) fn new(database: &Path) -> Self {
        Self {
            path: database.with_extension("graph"),
            is_running: AtomicBool::new(false),
            linked_since_file: AtomicU64::new(0),
        }
    }

    /// Reads the file into memory that was just filled. Without a file that fits, everything is linked again.
    pub(super) fn restore(&self, memory: &mut Memory, connection: &Connection) -> Outcome<()> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %self.path.display(), %error, "the graph of a vector index cannot be read and is built anew");
                }
                return Ok(());
            }
        };
        match memory.restore(&bytes, connection)? {
            Ok(()) => {}
            Err(GraphFileError::Foreign) => {
                tracing::debug!(path = %self.path.display(), "the graph of a vector index belongs to other vectors and is built anew");
            }
            Err(GraphFileError::Damaged) => {
                tracing::warn!(path = %self.path.display(), "the graph of a vector index is damaged and is built anew");
            }
        }
        Ok(())
    }

    /// Whether somebody works on the graph.
    pub(super) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }
}

impl GrowthClaim {
    /// The claim, unless somebody has it.
    pub(super) fn of(store: &Arc<Store>) -> Option<Self> {
        let claimed = !store.growth().is_running.swap(true, Ordering::AcqRel);
        claimed.then(|| Self(Arc::downgrade(store)))
    }

    /// Links everything on a thread of its own, which ends early when the index is closed: nobody waits for it.
    pub(super) fn start(self) {
        let spawned = thread::Builder::new().name("aerostack-vectors".to_owned()).spawn(move || self.run());
        if let Err(error) = spawned {
            // Searches compare everything meanwhile, and the next write tries again.
            tracing::warn!(%error, "no thread to link the vectors of an index");
        }
    }

    fn run(&self) {
        let Some(samples) = self.with_store(begin) else { return };
        if !self.link_all_but(&samples) {
            return;
        }
        if !samples.slots().is_empty() && (!self.measure(&samples) || !self.link_all_but(&Samples::default())) {
            return;
        }
        self.with_store(|store| {
            if let Err(error) = write_file(store) {
                let path = &store.growth().path;
                tracing::warn!(path = %path.display(), %error, "the graph of a vector index could not be written to its file");
            }
        });
    }

    /// Whether the index is still open at the end.
    fn link_all_but(&self, samples: &Samples) -> bool {
        loop {
            match self.with_store(|store| link_batch(store, samples)) {
                None => return false,
                Some(0) => return true,
                Some(_) => {}
            }
        }
    }

    /// Finds the least breadth that finds nearly all. Takes no lock for longer than one search.
    fn measure(&self, samples: &Samples) -> bool {
        let mut truths = Vec::new();
        for sample in samples.slots() {
            let Some(truth) = self.with_store(|store| truth_of(store, sample)) else { return false };
            truths.extend(truth.map(|truth| (sample, truth)));
        }
        let mut enough = None;
        for breadth in BREADTHS {
            let mut recall = 0.0;
            for (sample, truth) in &truths {
                let Some(found) = self.with_store(|store| recall_of(store, *sample, truth, breadth)) else {
                    return false;
                };
                recall += found;
            }
            if recall >= WANTED_RECALL * truths.len() as f64 {
                enough = Some(breadth);
                break;
            }
        }
        let done = self.with_store(|store| {
            let mut memory = store.memory_of_growth();
            let (approximate, _, count) = memory.approximate_mut();
            approximate.measured(enough, count);
            tracing::debug!(path = %store.path().display(), vectors = count, breadth = enough, "measured the graph of a vector index");
        });
        done.is_some()
    }

    fn with_store<T>(&self, work: impl FnOnce(&Store) -> T) -> Option<T> {
        self.0.upgrade().map(|store| work(&store))
    }
}

impl Drop for GrowthClaim {
    fn drop(&mut self) {
        if let Some(store) = self.0.upgrade() {
            store.growth().is_running.store(false, Ordering::Release);
        }
    }
}

fn begin(store: &Store) -> Samples {
    let mut memory = store.memory_of_growth();
    let (approximate, live, count) = memory.approximate_mut();
    let live = live.clone();
    approximate.begin(&live, count)
}

/// How many were linked.
fn link_batch(store: &Store, samples: &Samples) -> usize {
    let batch = store.memory_of_growth().approximate_mut().0.next_batch(samples);
    if batch.is_empty() {
        return 0;
    }
    let plan = {
        let memory = store.memory_to_search();
        let Some((approximate, space, _)) = memory.approximate() else { return 0 };
        approximate.plan(space, &batch, threads())
    };
    store.memory_of_growth().approximate_mut().0.apply(plan);
    store.growth().linked_since_file.fetch_add(batch.len() as u64, Ordering::Relaxed);
    batch.len()
}

/// `None` where the sample is not there any more.
fn truth_of(store: &Store, sample: u32) -> Option<Vec<u32>> {
    let memory = store.memory_to_search();
    let (approximate, space, live) = memory.approximate()?;
    live.contains(sample).then(|| approximate.truth(space, sample, live, threads_for(space, live.count())))
}

fn recall_of(store: &Store, sample: u32, truth: &[u32], breadth: usize) -> f64 {
    let memory = store.memory_to_search();
    match memory.approximate() {
        Some((approximate, space, live)) => approximate.recall(space, sample, truth, live, breadth),
        None => 0.0,
    }
}

/// Writes the file anew where the old one would save too little. It is put in place whole or not at all.
fn write_file(store: &Store) -> io::Result<()> {
    let growth = store.growth();
    let bytes = {
        let memory = store.memory_to_search();
        let Some((approximate, space, live)) = memory.approximate() else { return Ok(()) };
        let changed = growth.linked_since_file.load(Ordering::Relaxed);
        if changed < live.count() as u64 / 8 && growth.path.exists() {
            return Ok(());
        }
        let identity = store.identity().map_err(io::Error::other)?;
        growth.linked_since_file.store(0, Ordering::Relaxed);
        approximate.to_bytes(&memory.stamp(identity, space), live)
    };
    let new = growth.path.with_extension("graph.new");
    let mut file = File::create(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, &growth.path)
}

/// Half of the machine, so that requests have the other half.
fn threads() -> usize {
    (thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, 8)
}

/// Fills memory for the first time: with the vectors, and their graph where there is a file of it.
pub(super) fn fill(memory: &mut Memory, growth: &Growth, connection: &Connection) -> Outcome<()> {
    let is_first = memory.is_new();
    memory.catch_up(connection)?;
    if is_first && memory.keeps_a_graph() && rows::header(connection)?.vectors > 0 {
        growth.restore(memory, connection)?;
    }
    Ok(())
}
