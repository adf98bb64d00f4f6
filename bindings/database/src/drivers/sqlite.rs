//! SQLite: one file a database, opened by rusqlite.
//!
//! # Who runs a statement, and where
//!
//! An isolate's thread calls [`Sqlite::run`](crate::DatabaseDriver::run) and has other requests to serve. So:
//!
//! * A statement is stepped right on the calling thread, within the first poll. No thread hop, no channel, no wake-up.
//! * Queries use a connection of a small pool of readers. Thanks to the write-ahead log they wait neither for each other nor
//!   for the writer.
//! * Writes use the one writing connection. When it is lent out, the calling thread tries again for a few dozen
//!   microseconds.
//! * A statement that has run for [`SqliteOptions::slice`] is interrupted, which undoes it, and run again from the start on a
//!   blocking thread, without a limit. So does a write whose connection stays taken, and a statement that meets the lock of
//!   another process. A slow query never stalls its neighbours, and a write waits instead of failing.
//! * A call on a blocking thread whose future is dropped is interrupted and rolled back.
//!
//! Queries that follow each other quickly read in one transaction until the turn of the thread ends, for as long as nobody commits:
//! see `Connection::keep_snapshot`.
//!
//! Single writes that follow each other quickly, as those of many requests do, wait for the end of the thread's turn and become one
//! commit ([`TurnGroup`]). What a thread asks for takes effect in the order of asking: a query or a batch has those that wait done first.
//!
//! `sqlite3_stmt_readonly` decides what is a query; the text is only guessed at to pick the connection that is asked first.
//!
//! The write-ahead log is moved into the file by a blocking thread as well, because that is the only part of a write that
//! waits for the disk.

mod authorizer;
mod connection;
mod counts;
mod errors;
mod functions;
mod guard;
mod pool;
mod setup;
mod statement;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use aerostack_bindings::{Clock, Error, ErrorKind, Memory, Result, SystemClock, make_state_folder};
use aerostack_sqlite::{Grouped, Neighbours, OpenedFile, TurnGroup};
use async_trait::async_trait;

use crate::driver::{Capabilities, DatabaseDriver, DatabaseInfo, Meta, Statement, StatementResult, Value};
use connection::{Connection, Role, Together};
use errors::{Failure, cannot_open};
use guard::Patience;
use pool::{Lease, Pool};
use text::{Guess, changes_rows, guess};

pub(crate) use text::skip_blank;

/// A database in one SQLite file. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Sqlite {
    core: Arc<Core>,
}

/// How a [`Sqlite`] behaves. The default is right for everything but tests.
#[derive(Debug, Clone, Copy)]
pub struct SqliteOptions {
    /// How long a statement may run on the calling thread before it is moved to another one.
    pub slice: Duration,
    /// How long a call waits for its turn before it fails with `Timeout`.
    pub lock_wait: Duration,
    /// What a power failure may take.
    pub durability: Durability,
}

/// What a power failure may take of what was acknowledged. The end of the process, however it comes, takes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Perhaps the last commits: the log is flushed only when it is moved into the file.
    #[default]
    Normal,
    /// Nothing: the log is flushed with each commit, which the calling thread waits for. Writes that share a commit share the wait.
    Full,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { slice: Duration::from_millis(5), lock_wait: Duration::from_secs(30), durability: Durability::Normal }
    }
}

impl Sqlite {
    /// What this driver can do.
    pub const CAPABILITIES: Capabilities =
        Capabilities { dump: true, shared: true, d1_limits: true, row_counts: true, in_order: true };

    /// Opens a database file, and makes it, and its folder, when they do not exist.
    ///
    /// Fails with `Unavailable` and the path, the reason and a hint in the message.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path, SqliteOptions::default(), &SystemClock)
    }

    /// Like [`Sqlite::open`], with options and with the clock that [`Meta::version`](crate::Meta::version) starts from.
    pub fn open_with(path: impl Into<PathBuf>, options: SqliteOptions, clock: &dyn Clock) -> Result<Self> {
        let path = path.into();
        let mut writer = open_writer(&path, Role::Writer)?;
        writer.set_durability(options.durability).map_err(|source| cannot_open(&path, source))?;
        let core = Core {
            file: OpenedFile::at(&path)?,
            location: path.display().to_string(),
            path,
            options,
            size: AtomicU64::new(writer.size()),
            last_row_id: AtomicI64::new(0),
            version: AtomicU64::new(clock.now_ms() * VERSIONS_PER_MS),
            writer: Pool::new(vec![writer]),
            readers: Pool::new(Vec::new()),
            log_pages: AtomicU32::new(0),
            moved_pages: AtomicU32::new(0),
            is_checkpointing: AtomicBool::new(false),
            group: Arc::default(),
            queries: Neighbours::new(),
            in_snapshot: AtomicUsize::new(0),
            are_snapshots_kept: AtomicBool::new(false),
        };
        Ok(Self { core: Arc::new(core) })
    }
}

#[async_trait]
impl DatabaseDriver for Sqlite {
    fn info(&self) -> DatabaseInfo {
        DatabaseInfo { driver: "sqlite", location: self.core.location.clone(), capabilities: Self::CAPABILITIES }
    }

    async fn run(&self, statements: Vec<Statement>) -> Result<Vec<StatementResult>> {
        let statements = Arc::new(statements);
        let outcome = match self.core.first_attempt(&statements).await {
            Ok(results) => Ok(results),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Interrupted | Failure::Busy | Failure::NeedsWriter) => {
                let core = Arc::clone(&self.core);
                let cancel = CancelOnDrop(Arc::new(AtomicBool::new(false)));
                let cancelled = Arc::clone(&cancel.0);
                on_blocking_thread(move || core.persist(&statements, &cancelled)).await
            }
        };
        self.core.checkpoint_if_due();
        outcome.map_err(|error| self.core.located(error))
    }

    async fn dump(&self, memory: &Memory) -> Result<Vec<u8>> {
        self.core.run_group_of_before();
        let core = Arc::clone(&self.core);
        // SQLite's copy, and the one that is handed out.
        let size = usize::try_from(self.core.size.load(Relaxed)).unwrap_or(usize::MAX);
        let _held = memory.hold(size.saturating_mul(2))?;
        on_blocking_thread(move || core.reader()?.serialize()).await
    }
}

/// Opens a connection for the project's owner: no limits, nothing refused. For migrations and scripts.
pub(crate) fn open_for_owner(path: &Path) -> Result<OwnerConnection> {
    Ok(OwnerConnection(open_writer(path, Role::Owner)?))
}

/// A connection without limits, see [`open_for_owner`].
pub(crate) struct OwnerConnection(Connection);

impl OwnerConnection {
    /// Runs `work` in one transaction that holds the write lock from its beginning; an error rolls back.
    pub(crate) fn in_transaction<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.begin().map_err(Failure::into_error)?;
        let outcome = work(self).and_then(|value| {
            self.0.commit().map_err(Failure::into_error)?;
            Ok(value)
        });
        if outcome.is_err() {
            self.0.settle();
        }
        outcome
    }

    /// Runs the first statement of a text and says how many bytes it took; no result when only blanks were left.
    pub(crate) fn run_first(
        &mut self,
        sql: &str,
        params: &[Value],
    ) -> Result<(Option<StatementResult>, usize), Refusal> {
        self.0.run_first(sql, params).map_err(|failure| {
            let offset = self.0.error_offset();
            Refusal { error: failure.into_error(), offset }
        })
    }
}

/// Why a statement of a script failed, and where.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    /// The byte of the statement's text that the error is about, where SQLite knows it.
    pub(crate) offset: Option<usize>,
}

/// What all clones of one [`Sqlite`] share.
struct Core {
    path: PathBuf,
    file: OpenedFile,
    location: String,
    options: SqliteOptions,
    writer: Pool,
    readers: Pool,
    /// The newest rowid and the size as of the last write here: reading connections do not know them.
    last_row_id: AtomicI64,
    size: AtomicU64,
    version: AtomicU64,
    /// Pages in the write-ahead log after the last write here, and when it was last moved into the file.
    log_pages: AtomicU32,
    moved_pages: AtomicU32,
    is_checkpointing: AtomicBool,
    /// Single statements that change rows.
    group: Arc<TurnGroup<Arc<Vec<Statement>>, Attempt>>,
    /// Queries, and how many of them have read in a snapshot since one was begun.
    queries: Neighbours,
    in_snapshot: AtomicUsize,
    /// Readers may keep a snapshot, and a task is on its way that ends it.
    are_snapshots_kept: AtomicBool,
}

/// What came of trying once.
type Attempt = Result<Vec<StatementResult>, Failure>;

/// A statement that waits for others.
type Waiting = Grouped<Arc<Vec<Statement>>, Attempt>;

/// Pages that the write-ahead log grows by (4 MB) until it is moved into the file once more.
const LOG_DUE: u32 = 1000;

/// Pages in the write-ahead log (80 MB) from which on writers wait while it is moved: otherwise a steady stream of writes
/// would let it grow for ever, because the log starts over only at a moment when all of it is in the file.
const LOG_OVERDUE: u32 = 4000;

/// Versions start at the time of opening, so that they also grow across restarts. Nobody commits a thousand times a
/// millisecond.
const VERSIONS_PER_MS: u64 = 1000;

impl Core {
    /// Tries once: now, on this thread, or at the end of its turn together with others.
    async fn first_attempt(self: &Arc<Self>, statements: &Arc<Vec<Statement>>) -> Attempt {
        if matches!(statements.as_slice(), [only] if changes_rows(&only.sql)) {
            let core = Arc::clone(self);
            let given_up = || Err(Failure::Busy);
            let outcome =
                self.group.wait(Arc::clone(statements), self.options.slice, move || core.run_group(), given_up).await;
            if let Some(outcome) = outcome {
                return outcome;
            }
        } else {
            self.run_group_of_before();
        }
        self.attempt(statements, &self.slice())
    }

    /// Runs what waits now: it was asked for before. Where another thread holds the writer, it comes when it can.
    fn run_group_of_before(self: &Arc<Self>) {
        self.group.finish_those_of_now(|| self.run_group());
    }

    /// Runs what waits for others for a moment, if no other thread holds the writer. Returns how many were answered.
    fn run_group(self: &Arc<Self>) -> usize {
        let Some(writer) = self.writer.take_briefly() else { return 0 };
        self.group.answer_with(|waiting| {
            let together = self.write_together(writer, waiting);
            let alone = |grouped: &Waiting| self.attempt(&grouped.work, &self.slice());
            together.unwrap_or_else(|| waiting.iter().map(alone).collect())
        })
    }

    /// Runs statements that each change rows, in one transaction. See [`Connection::run_together`].
    fn write_together(&self, mut writer: Lease<'_>, waiting: &[Waiting]) -> Option<Vec<Attempt>> {
        let statements: Vec<&Statement> = waiting.iter().flat_map(|grouped| grouped.work.as_slice()).collect();
        if statements.len() < 2 || self.file.check().is_err() {
            return None;
        }
        self.end_snapshots();
        let mut outcomes = writer.run_together(&statements, &self.slice())?;
        self.note_write(&writer, outcomes.iter_mut().flatten());
        let attempt_of =
            |outcome: Result<StatementResult>| outcome.map(|result| vec![result]).map_err(Failure::Refused);
        Some(outcomes.into_iter().map(attempt_of).collect())
    }

    fn slice(&self) -> Patience {
        Patience::Slice(self.options.slice)
    }

    /// Tries once, on this thread.
    fn attempt(self: &Arc<Self>, statements: &[Statement], patience: &Patience) -> Attempt {
        if statements.iter().all(|statement| guess(&statement.sql) == Guess::Reads) {
            match self.read(statements, patience) {
                Err(Failure::NeedsWriter) => {}
                outcome => return outcome,
            }
        }
        self.write(statements, patience)
    }

    /// Tries until it works, the time is over, or nobody wants the result any more.
    fn persist(
        self: &Arc<Self>,
        statements: &[Statement],
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Vec<StatementResult>> {
        let until = Instant::now() + self.options.lock_wait;
        let patience = Patience::Waiting { until, cancelled: Arc::clone(cancelled) };
        loop {
            if cancelled.load(Relaxed) {
                return Err(Failure::Interrupted.into_error());
            }
            match self.attempt(statements, &patience) {
                Ok(results) => return Ok(results),
                Err(Failure::Busy) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
                Err(failure) => return Err(failure.into_error()),
            }
        }
    }

    fn read(self: &Arc<Self>, statements: &[Statement], patience: &Patience) -> Attempt {
        let keeps_snapshot = matches!(patience, Patience::Slice(_)) && self.queries.note();
        let mut reader = self.any_reader()?;
        if keeps_snapshot {
            self.in_snapshot.fetch_add(1, Relaxed);
            reader.keep_snapshot()?;
        } else {
            reader.end_snapshot();
        }
        let outcome = reader.run(statements, together(statements), patience);
        drop(reader);
        if keeps_snapshot {
            self.end_snapshots_later();
        }
        let mut results = outcome?;
        for result in &mut results {
            result.meta.last_row_id = self.last_row_id.load(Relaxed);
            result.meta.size_after = self.size.load(Relaxed);
            result.meta.version = self.version.load(Relaxed);
        }
        Ok(results)
    }

    fn write(&self, statements: &[Statement], patience: &Patience) -> Attempt {
        self.file.check()?;
        self.end_snapshots();
        let lease = match patience {
            Patience::Slice(_) => self.writer.take_briefly(),
            Patience::Waiting { until, cancelled } => self.writer.take_waiting(*until, cancelled),
        };
        let mut writer = lease.ok_or(Failure::Busy)?;
        let mut results = writer.run(statements, together(statements), patience)?;
        self.note_write(&writer, results.iter_mut());
        Ok(results)
    }

    /// Remembers what reading connections do not know, and gives the results of one commit its version.
    fn note_write<'a>(&self, writer: &Connection, results: impl Iterator<Item = &'a mut StatementResult>) {
        self.last_row_id.store(writer.last_row_id(), Relaxed);
        self.size.store(writer.size(), Relaxed);
        self.log_pages.store(writer.log_pages(), Relaxed);
        let metas: Vec<&mut Meta> = results.map(|result| &mut result.meta).collect();
        let has_changed = metas.iter().any(|meta| meta.changed_db);
        let version = self.version.fetch_add(u64::from(has_changed), Relaxed) + u64::from(has_changed);
        for meta in metas {
            meta.version = version;
        }
    }

    /// What is wrong with the file and not with a statement names the file: `PATH: database or disk is full: SQLITE_FULL`.
    fn located(&self, error: Error) -> Error {
        let is_of_file = error.kind() == ErrorKind::Unavailable && !error.message().contains(&self.location);
        if is_of_file { error.at(&self.location) } else { error }
    }

    fn reader(&self) -> Result<Lease<'_>> {
        let mut reader = self.any_reader()?;
        reader.end_snapshot();
        Ok(reader)
    }

    /// A reader, perhaps with a snapshot from before.
    fn any_reader(&self) -> Result<Lease<'_>> {
        if let Some(lease) = self.readers.take() {
            return Ok(lease);
        }
        let reader = Connection::open(&self.path, Role::Reader).map_err(|source| cannot_open(&self.path, source))?;
        Ok(self.readers.lend(Box::new(reader)))
    }

    /// Ends the snapshots of this turn when everything that is ready has run. To be called when the reader is back.
    fn end_snapshots_later(self: &Arc<Self>) {
        if self.are_snapshots_kept.swap(true, AcqRel) {
            return;
        }
        let end = EndOfSnapshots(Arc::clone(self));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Where the runtime ends first, the task is dropped, and the snapshots end all the same.
            runtime.spawn(async move { drop(end) });
        }
    }

    /// Ends the snapshots that idle readers keep: before a write, which makes them useless, and which may start the log over once
    /// nobody reads from it.
    fn end_snapshots(&self) {
        if self.are_snapshots_kept.swap(false, AcqRel) {
            self.queries.have_shared(self.in_snapshot.swap(0, Relaxed));
            self.readers.for_each_idle(Connection::end_snapshot);
        }
    }

    /// Has the write-ahead log moved into the file by a blocking thread when it has grown long enough.
    fn checkpoint_if_due(self: &Arc<Self>) {
        let pages = self.log_pages.load(Relaxed);
        let moved = self.moved_pages.load(Relaxed);
        if pages < moved {
            // The log has started over.
            self.moved_pages.store(0, Relaxed);
            return;
        }
        if pages - moved < LOG_DUE || self.is_checkpointing.swap(true, Relaxed) {
            return;
        }
        self.moved_pages.store(pages, Relaxed);
        let core = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            match core.reader() {
                Ok(connection) => {
                    connection.checkpoint();
                    if pages >= LOG_OVERDUE {
                        // Writers wait only for what was written meanwhile.
                        let nobody_cancels = AtomicBool::new(false);
                        let writer = core.writer.take_waiting(Instant::now() + LOG_WAIT, &nobody_cancels);
                        connection.checkpoint();
                        drop(writer);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the write-ahead log of a database could not be moved into its file");
                }
            }
            core.is_checkpointing.store(false, Relaxed);
        });
    }
}

/// How long moving an overdue log waits for the writer.
const LOG_WAIT: Duration = Duration::from_secs(5);

/// Ends the snapshots of a turn when it is dropped.
struct EndOfSnapshots(Arc<Core>);

impl Drop for EndOfSnapshots {
    fn drop(&mut self) {
        self.0.end_snapshots();
    }
}

/// Tells the call on a blocking thread that its future is gone.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn together(statements: &[Statement]) -> Together {
    if statements.len() > 1 { Together::InTransaction } else { Together::Apart }
}

fn open_writer(path: &Path, role: Role) -> Result<Connection> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_state_folder(folder).map_err(|source| {
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "cannot open database {}: its folder cannot be made ({source}); make the folder, or point the binding \
                     at another one",
                    path.display()
                ),
            )
            .with_context("path", path.display().to_string())
            .with_source(source)
        })?;
    }
    Connection::open(path, role).map_err(|source| cannot_open(path, source))
}

async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|source| {
        Err(Error::new(ErrorKind::Unexpected, "a database call ended without a result").with_source(source))
    })
}

#[cfg(test)]
mod tests;
