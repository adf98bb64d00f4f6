//! The file, its connections, and the memory of it. Everything here is synchronous.
//!
//! Locks are taken in one order: the writer's connection, memory, the reader's connection. A write of this process commits
//! while it holds memory, so whoever reads memory and then the file finds the two at one generation, unless another process
//! has written; then the memory catches up with exactly what the reader's transaction shows.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, TryLockResult,
};
use std::time::Duration;

use aerostack_bindings::{Clock, Error, ErrorKind, Result};
use aerostack_sqlite::OpenedFile;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::growth::{self, Growth, GrowthClaim};
use super::memory::{Memory, Search};
use super::rows::{self, Changed, Content, Failure, Header, Outcome};
use super::{Progress, SqliteOptions, file};
use crate::limits;
use crate::search::Near;
use crate::{Description, Match, Mutation, Query, Vector, Writing};

/// How long a call waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// So many vectors or ids are written on the caller's thread.
const INLINE_WRITES: usize = 4;
/// So many components are compared on the caller's thread: about a tenth of a millisecond.
const INLINE_COMPONENTS: usize = 256 * 1024;
/// How many frames the log may gain before they are moved to the file, and how many it may hold before writers have to wait
/// while it is emptied.
const CHECKPOINT_FRAMES: i32 = 1000;
const LONG_LOG_FRAMES: i32 = 8 * CHECKPOINT_FRAMES;

thread_local! {
    /// How many frames the log had after the last commit on this thread. SQLite's WAL hook takes no context.
    static FRAMES: Cell<i32> = const { Cell::new(0) };
}

/// Whether a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It is on an isolate's thread and must not.
    None,
    /// It is on a thread of its own and may.
    UntilTimeout,
}

/// Why a call did not succeed.
pub(super) enum Refusal {
    /// It has to wait, or takes long, and was not allowed to.
    NotHere,
    /// It failed.
    Failed(Error),
}

pub(super) type Attempt<T> = std::result::Result<T, Refusal>;

/// The file of one index.
pub(super) struct Store {
    path: PathBuf,
    file: OpenedFile,
    /// What the configuration says, if it does.
    dimensions: Option<usize>,
    clock: Arc<dyn Clock>,
    writer: Mutex<Connection>,
    memory: RwLock<Memory>,
    reader: Mutex<Connection>,
    keeper: Mutex<Connection>,
    /// Whether the log is long enough to be moved to the file.
    log_is_long: AtomicBool,
    moving: AtomicBool,
    growth: Growth,
}

/// The right to move the log to the file. A claim that comes to nothing, because the runtime that was to act on it has ended,
/// falls back.
pub(super) struct MoveClaim(Arc<Store>);

impl Store {
    /// Opens the file, making it and its folder where they are missing.
    pub(super) fn open(options: &SqliteOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = options.path.as_path();
        let writer = file::open(path)?;
        writer.wal_hook(Some(|_, frames| {
            FRAMES.set(frames);
            Ok(())
        }));
        let store = Self {
            path: path.to_owned(),
            file: OpenedFile::at(path)?,
            dimensions: options.dimensions.map(|dimensions| dimensions as usize),
            clock,
            writer: Mutex::new(writer),
            memory: RwLock::new(Memory::new(options.metric, options.approximate_from, options.memory.clone())),
            reader: Mutex::new(file::open(path)?),
            keeper: Mutex::new(file::open(path)?),
            log_is_long: AtomicBool::new(false),
            moving: AtomicBool::new(false),
            growth: Growth::new(path),
        };
        store.check_configuration()?;
        Ok(store)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn describe(&self, patience: Patience) -> Attempt<Description> {
        let mut reader = self.lock(&self.reader, patience)?;
        let header = self.read(&mut reader, patience, |transaction| rows::header(transaction))?;
        Ok(Description {
            vector_count: header.vectors.max(0) as u64,
            dimensions: self.dimensions_of(&header) as u32,
            processed_up_to_ms: header.changed_at.map(|at| at.max(0) as u64),
            processed_up_to_mutation: header.mutation,
        })
    }

    pub(super) fn get(&self, ids: &[String], patience: Patience) -> Attempt<Vec<Vector>> {
        let mut reader = self.lock(&self.reader, patience)?;
        self.read(&mut reader, patience, |transaction| {
            let dimensions = rows::header(transaction)?.dimensions;
            let mut found = Vec::with_capacity(ids.len());
            for (place, id) in ids.iter().enumerate() {
                if ids[..place].contains(id) {
                    continue;
                }
                found.extend(rows::vector(transaction, id, dimensions)?);
            }
            Ok(found)
        })
    }

    pub(super) fn write(&self, vectors: &[Vector], writing: Writing, patience: Patience) -> Attempt<Mutation> {
        self.change(vectors.len(), patience, |transaction, header| {
            self.fix_dimensions(header, &vectors[0])?;
            let mut changes = Vec::with_capacity(vectors.len());
            for vector in vectors {
                limits::check_vector_dimensions(&vector.id, header.dimensions, vector.values.len())?;
                let slot = match (rows::slot_of(transaction, &vector.id)?, writing) {
                    (Some(_), Writing::Insert) => continue,
                    (Some(slot), Writing::Upsert) => slot,
                    (None, _) => {
                        header.vectors += 1;
                        rows::free_slot(transaction)?
                    }
                };
                rows::put(transaction, slot, header.generation, vector)?;
                let content = Content {
                    values: vector.values.clone(),
                    namespace: vector.namespace.clone(),
                    metadata: vector.metadata.clone(),
                };
                changes.push(Changed { slot: narrow(slot)?, content: Some(content) });
            }
            Ok(changes)
        })
    }

    pub(super) fn delete(&self, ids: &[String], patience: Patience) -> Attempt<Mutation> {
        self.change(ids.len(), patience, |transaction, header| {
            let mut changes = Vec::with_capacity(ids.len());
            for id in ids {
                let Some(slot) = rows::slot_of(transaction, id)? else { continue };
                header.vectors -= 1;
                rows::free(transaction, slot, header.generation)?;
                changes.push(Changed { slot: narrow(slot)?, content: None });
            }
            Ok(changes)
        })
    }

    pub(super) fn query(&self, query: &Query, patience: Patience) -> Attempt<Vec<Match>> {
        let memory = self.memory_to_read(patience)?;
        if patience == Patience::None && memory.components() > INLINE_COMPONENTS {
            return Err(Refusal::NotHere);
        }
        // Memory of generation 0 was never filled, and then the file decides whether there is anything.
        if memory.generation() > 0
            && let Search::Found(nearest) = memory.search(query).map_err(Refusal::Failed)?
        {
            let mut reader = self.lock(&self.reader, patience)?;
            let matches = self.read(&mut reader, patience, |transaction| {
                if rows::generation(transaction)? != memory.generation() {
                    return Ok(None);
                }
                matches(transaction, &memory, &nearest, query).map(Some)
            })?;
            if let Some(matches) = matches {
                return Ok(matches);
            }
        }
        drop(memory);
        if patience == Patience::None {
            return Err(Refusal::NotHere);
        }
        self.catch_up_and_query(query)
    }

    /// Whether the log has grown so long that it should be moved to the file. At most one caller holds the claim to do so.
    pub(super) fn claim_move(self: &Arc<Self>) -> Option<MoveClaim> {
        let claimed = self.log_is_long.load(Ordering::Relaxed) && !self.moving.swap(true, Ordering::AcqRel);
        claimed.then(|| MoveClaim(Arc::clone(self)))
    }

    /// Whether there is something to link in the background, and nobody does it yet. Looks only, and does not wait.
    pub(super) fn claim_growth(self: &Arc<Self>) -> Option<GrowthClaim> {
        let is_due = at_once(self.memory.try_read()).is_ok_and(|memory| memory.is_link_due());
        if is_due { GrowthClaim::of(self) } else { None }
    }

    pub(super) fn progress(&self) -> Progress {
        let is_running = self.growth.is_running();
        let progress = self.memory_to_search().progress();
        Progress { is_linking: progress.is_linking || is_running, ..progress }
    }

    pub(super) fn growth(&self) -> &Growth {
        &self.growth
    }

    pub(super) fn memory_to_search(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn memory_of_growth(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells the file from any other.
    pub(super) fn identity(&self) -> Result<Vec<u8>> {
        let patience = Patience::UntilTimeout;
        let header = self
            .lock(&self.reader, patience)
            .and_then(|mut reader| self.read(&mut reader, patience, |transaction| rows::header(transaction)));
        match header {
            Ok(header) => Ok(header.identity),
            Err(Refusal::Failed(error)) => Err(error),
            Err(Refusal::NotHere) => unreachable!("a patient call is never sent elsewhere"),
        }
    }

    /// Searches what the file holds at one moment, after memory has caught up with it.
    fn catch_up_and_query(&self, query: &Query) -> Attempt<Vec<Match>> {
        let patience = Patience::UntilTimeout;
        let mut memory = self.memory_of_growth();
        let mut reader = self.lock(&self.reader, patience)?;
        self.read(&mut reader, patience, |transaction| {
            growth::fill(&mut memory, &self.growth, transaction)?;
            self.check_query(transaction, query)?;
            memory.add_columns(query, transaction)?;
            match memory.search(query)? {
                Search::Found(nearest) => matches(transaction, &memory, &nearest, query),
                Search::ColumnsMissing => unreachable!("they were added just now"),
            }
        })
    }

    /// An empty index has no space to compare the query's length with, but may have been configured.
    fn check_query(&self, transaction: &Transaction<'_>, query: &Query) -> Outcome<()> {
        let dimensions = self.dimensions_of(&rows::header(transaction)?);
        if dimensions != 0 {
            limits::check_query_dimensions(dimensions, query.values.len())?;
        }
        Ok(())
    }

    /// Runs one write: all of it or nothing, in the file and in memory.
    fn change(
        &self,
        count: usize,
        patience: Patience,
        work: impl FnOnce(&Transaction<'_>, &mut Header) -> Outcome<Vec<Changed>>,
    ) -> Attempt<Mutation> {
        if patience == Patience::None && count > INLINE_WRITES {
            return Err(Refusal::NotHere);
        }
        self.file.check().map_err(Refusal::Failed)?;
        let mut writer = self.lock(&self.writer, patience)?;
        // Whoever cannot wait must know beforehand that there is nothing to wait for.
        let early = (patience == Patience::None).then(|| self.memory_to_write(patience)).transpose()?;
        let refusal = |failure| self.refusal("write", failure, patience);
        let transaction = writer
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| refusal(Failure::Sqlite(error)))?;
        let before = rows::header(&transaction).map_err(refusal)?;
        let mut header = before.clone();
        header.generation += 1;
        header.changed_at = Some(self.clock.now_ms() as i64);
        let id = rows::new_mutation(&transaction).map_err(refusal)?;
        header.mutation = Some(id.clone());
        let changes = work(&transaction, &mut header).map_err(refusal)?;
        rows::write_header(&transaction, &header).map_err(refusal)?;
        let mut memory = match early {
            Some(memory) => memory,
            None => self.memory_to_write(patience)?,
        };
        memory.make_room_for_write(before.generation, &header).map_err(Refusal::Failed)?;
        transaction.commit().map_err(|error| refusal(Failure::Sqlite(error)))?;
        memory.take_over(before.generation, header.generation, header.dimensions, changes);
        self.log_is_long.store(FRAMES.get() >= CHECKPOINT_FRAMES, Ordering::Relaxed);
        Ok(Mutation { id })
    }

    /// The first write decides about the length of all vectors, unless the configuration has.
    fn fix_dimensions(&self, header: &mut Header, first: &Vector) -> Outcome<()> {
        if header.dimensions == 0 {
            header.dimensions = if let Some(configured) = self.dimensions {
                configured
            } else {
                limits::check_first_dimensions(&first.id, first.values.len())?;
                first.values.len()
            };
        }
        Ok(())
    }

    fn dimensions_of(&self, header: &Header) -> usize {
        if header.dimensions == 0 { self.dimensions.unwrap_or(0) } else { header.dimensions }
    }

    fn check_configuration(&self) -> Result<()> {
        let header = match self.describe(Patience::UntilTimeout) {
            Ok(description) => description,
            Err(Refusal::Failed(error)) => return Err(error),
            Err(Refusal::NotHere) => unreachable!("a patient call is never sent elsewhere"),
        };
        match self.dimensions {
            Some(configured) if header.dimensions as usize != configured => Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "the vector index {} has vectors of {} dimensions, and the configuration says {configured}; correct \
                     `dimensions`, or give the index another name to start anew",
                    self.path.display(),
                    header.dimensions
                ),
            )),
            _ => Ok(()),
        }
    }

    fn read<T>(
        &self,
        reader: &mut Connection,
        patience: Patience,
        work: impl FnOnce(&Transaction<'_>) -> Outcome<T>,
    ) -> Attempt<T> {
        let refusal = |failure| self.refusal("read", failure, patience);
        let transaction = reader.transaction().map_err(|error| refusal(Failure::Sqlite(error)))?;
        let value = work(&transaction).map_err(refusal)?;
        transaction.commit().map_err(|error| refusal(Failure::Sqlite(error)))?;
        Ok(value)
    }

    fn memory_to_read(&self, patience: Patience) -> Attempt<RwLockReadGuard<'_, Memory>> {
        match patience {
            Patience::UntilTimeout => Ok(self.memory_to_search()),
            Patience::None => at_once(self.memory.try_read()),
        }
    }

    fn memory_to_write(&self, patience: Patience) -> Attempt<RwLockWriteGuard<'_, Memory>> {
        match patience {
            Patience::UntilTimeout => Ok(self.memory_of_growth()),
            Patience::None => at_once(self.memory.try_write()),
        }
    }

    fn lock<'a>(&self, connection: &'a Mutex<Connection>, patience: Patience) -> Attempt<MutexGuard<'a, Connection>> {
        // A panic while a connection was held leaves it as usable as an error would.
        let (connection, timeout) = match patience {
            Patience::UntilTimeout => (connection.lock().unwrap_or_else(PoisonError::into_inner), BUSY_TIMEOUT),
            Patience::None => (at_once(connection.try_lock())?, Duration::ZERO),
        };
        connection.busy_timeout(timeout).map_err(|error| self.refusal("open", Failure::Sqlite(error), patience))?;
        Ok(connection)
    }

    fn refusal(&self, action: &'static str, failure: Failure, patience: Patience) -> Refusal {
        let error = match failure {
            Failure::Refused(error) => return Refusal::Failed(error),
            Failure::Sqlite(error) => error,
        };
        let is_busy = matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        );
        match (is_busy, patience) {
            (true, Patience::None) => Refusal::NotHere,
            (true, Patience::UntilTimeout) => Refusal::Failed(file::FILE.still_locked(&self.path, BUSY_TIMEOUT, error)),
            (false, _) => Refusal::Failed(file::FILE.failed(action, &self.path, error)),
        }
    }
}

impl MoveClaim {
    /// Moves the log to the file, which takes milliseconds on a slow disk: SQLite would do it within the commit of an
    /// unlucky caller.
    pub(super) fn move_log(&self) {
        let store = &self.0;
        store.log_is_long.store(false, Ordering::Relaxed);
        let mut outcome = store.checkpoint();
        if matches!(outcome, Ok(frames) if frames >= LONG_LOG_FRAMES) {
            // Writers were faster. The log can only start again when none has added to it since, so they wait this once.
            let _writer = store.writer.lock().unwrap_or_else(PoisonError::into_inner);
            outcome = store.checkpoint();
        }
        if let Err(error) = outcome {
            tracing::warn!(path = %store.path.display(), %error, "the log of a vector index could not be moved to its file");
        }
    }
}

impl Drop for MoveClaim {
    fn drop(&mut self) {
        self.0.moving.store(false, Ordering::Release);
    }
}

impl Store {
    /// How many frames the log has.
    fn checkpoint(&self) -> rusqlite::Result<i32> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |row| row.get(1))
    }
}

fn narrow(slot: i64) -> Outcome<u32> {
    u32::try_from(slot).map_err(|_| {
        Failure::Refused(Error::new(ErrorKind::Unsupported, "a vector index holds at most 4294967296 vectors"))
    })
}

fn at_once<T>(lock: TryLockResult<T>) -> Attempt<T> {
    match lock {
        Ok(guard) => Ok(guard),
        // What is changed under these locks is changed by statements that cannot panic halfway.
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Refusal::NotHere),
    }
}

/// What the file holds of the slots that were found. The transaction is at the generation of memory.
fn matches(transaction: &Transaction<'_>, memory: &Memory, nearest: &[Near], query: &Query) -> Outcome<Vec<Match>> {
    let Some(space) = memory.space() else { return Ok(Vec::new()) };
    let mut matches = Vec::with_capacity(nearest.len());
    for near in nearest {
        let entry = rows::entry(transaction, near.slot)?;
        matches.push(Match {
            id: entry.id,
            score: space.score(near.nearness),
            namespace: entry.namespace,
            values: query.with_values.then(|| space.values(near.slot)),
            metadata: entry.metadata.filter(|_| query.with_metadata),
        });
    }
    Ok(matches)
}
