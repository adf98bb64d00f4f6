//! The file and its connections. Everything here is synchronous.
//!
//! There are three connections, so that no call waits for an unrelated one: in WAL mode readers never wait for the writer,
//! nor either for a checkpoint.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use aerostack_bindings::{Clock, Error, Result};
use aerostack_sqlite::{OpenedFile, WalIndex};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, named_params};

use super::file;
use super::memory::{Change, Known, Memory};
use crate::{Entry, ListedKey, Listing};

/// How long a call waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// A value up to this size is read and written on the caller's thread.
pub(super) const INLINE_VALUE_BYTES: usize = 64 * 1024;
/// For how long unrelated writes may be done in one transaction: others wait for the lock meanwhile.
const LOCKED_TOGETHER: Duration = Duration::from_millis(2);
/// How many expired rows one purge removes at most, and about how many bytes of values.
const PURGE_ROWS: usize = 32;
const PURGE_BYTES: i64 = 1024 * 1024;
/// How many frames the log may gain before they are moved to the file, and how many it may hold before writers have to wait
/// while it is emptied.
const CHECKPOINT_FRAMES: u32 = 1000;
const LONG_LOG_FRAMES: u32 = 8 * CHECKPOINT_FRAMES;

const GET: &str = "SELECT CASE WHEN octet_length(value) <= :at_most THEN value END, metadata, expires_at
    FROM cache_entries WHERE key = :key";
const PUT: &str = "INSERT INTO cache_entries (key, expires_at, metadata, value)
    VALUES (:key, :expires_at, :metadata, :value)
    ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at, metadata = excluded.metadata, value = excluded.value";
const DELETE: &str = "DELETE FROM cache_entries WHERE key = :key";
const LIST: &str = "SELECT key, metadata, expires_at FROM cache_entries
    WHERE key >= :from AND (expires_at IS NULL OR expires_at > :now) ORDER BY key LIMIT :limit";
const LIST_BELOW: &str = "SELECT key, metadata, expires_at FROM cache_entries
    WHERE key >= :from AND key < :below AND (expires_at IS NULL OR expires_at > :now) ORDER BY key LIMIT :limit";
const EXPIRED: &str = "SELECT octet_length(value) FROM cache_entries
    WHERE expires_at <= :now ORDER BY expires_at, key LIMIT :limit";
const PURGE: &str = "DELETE FROM cache_entries WHERE key IN
    (SELECT key FROM cache_entries WHERE expires_at <= :now ORDER BY expires_at, key LIMIT :limit)";

thread_local! {
    /// How many commits have added to a log on this thread. SQLite's WAL hook takes no context.
    static COMMITS: Cell<u64> = const { Cell::new(0) };
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

/// A change of one key.
pub(super) enum Write {
    Put(String, Entry),
    Delete(String),
}

impl Write {
    /// Whether it may be done on an isolate's thread.
    pub(super) fn is_small(&self) -> bool {
        match self {
            Self::Put(_, entry) => entry.value.len() <= INLINE_VALUE_BYTES,
            Self::Delete(_) => true,
        }
    }

    fn change(&self) -> Change<'_> {
        match self {
            Self::Put(key, entry) => Change::Stored(key, entry.clone()),
            Self::Delete(key) => Change::Removed(key),
        }
    }

    /// Runs its statement, and counts as one change whatever rows there were.
    fn execute(&self, connection: &Connection) -> rusqlite::Result<usize> {
        match self {
            Self::Put(key, entry) => connection.prepare_cached(PUT)?.execute(named_params! {
                ":key": key,
                ":expires_at": entry.expires_at.map(|second| second as i64),
                ":metadata": entry.metadata.as_deref(),
                ":value": &entry.value[..],
            }),
            Self::Delete(key) => connection.prepare_cached(DELETE)?.execute(named_params! { ":key": key }),
        }
        .map(|_| 1)
    }
}

/// The file of one cache.
pub(super) struct Store {
    path: PathBuf,
    file: OpenedFile,
    clock: Arc<dyn Clock>,
    memory: Memory,
    wal: WalIndex,
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    keeper: Mutex<Connection>,
    /// The last second in which a purge found nothing more to do.
    purged_at: AtomicU64,
    /// How many frames the log held when it was last moved to the file.
    moved_frames: AtomicU32,
    moving: AtomicBool,
}

/// The right to move the log to the file. A claim that comes to nothing, because the runtime that was to act on it has ended,
/// falls back.
pub(super) struct MoveClaim(Arc<Store>);

/// How far a purge came.
enum Purged {
    All,
    Some,
}

impl Store {
    /// Opens the file at `path`, making it and its folder where they are missing.
    pub(super) fn open(path: &Path, memory_bytes: u64, clock: Arc<dyn Clock>) -> Result<Self> {
        let writer = file::open(path)?;
        writer.wal_hook(Some(|_, _| {
            COMMITS.with(|commits| commits.set(commits.get() + 1));
            Ok(())
        }));
        let reader = file::open(path)?;
        let keeper = file::open(path)?;
        // SAFETY: `file::open` has read the file in WAL mode, and the connection lives in the same struct as the result.
        let wal = unsafe { WalIndex::of(&writer) }.ok_or_else(|| file::FILE.no_shared_memory(path))?;
        Ok(Self {
            path: path.to_owned(),
            file: OpenedFile::at(path)?,
            clock,
            memory: Memory::new(memory_bytes, wal.stamp()),
            wal,
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            keeper: Mutex::new(keeper),
            purged_at: AtomicU64::new(0),
            moved_frames: AtomicU32::new(0),
            moving: AtomicBool::new(false),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What memory knows of `key`.
    pub(super) fn recall(&self, key: &str) -> Option<Known> {
        let Known(entry) = self.memory.recall(&self.wal, key)?;
        Some(Known(entry.filter(|entry| self.is_alive(entry))))
    }

    pub(super) fn get(&self, key: &str, patience: Patience) -> Attempt<Option<Entry>> {
        let at_most = match patience {
            Patience::None => INLINE_VALUE_BYTES as i64,
            Patience::UntilTimeout => i64::MAX,
        };
        let reader = self.lock(&self.reader, patience)?;
        let before = self.wal.stamp();
        let row = reader
            .prepare_cached(GET)
            .and_then(|mut statement| {
                statement.query_row(named_params! { ":key": key, ":at_most": at_most }, entry_of_row).optional()
            })
            .map_err(|error| self.refusal("read", error, patience))?;
        drop(reader);
        let entry = match row {
            None => None,
            Some(Some(entry)) => Some(entry),
            Some(None) => return Err(Refusal::NotHere),
        };
        self.memory.learn(&self.wal, before, key, entry.as_ref());
        Ok(entry.filter(|entry| self.is_alive(entry)))
    }

    /// Does one write.
    pub(super) fn apply(&self, write: &Write, patience: Patience) -> Attempt<()> {
        if patience == Patience::None && !write.is_small() {
            return Err(Refusal::NotHere);
        }
        let writer = self.lock(&self.writer, patience)?;
        self.write(&writer, [write.change()], patience, |connection| write.execute(connection))?;
        self.purge(&writer);
        Ok(())
    }

    /// The connection that writes, if nobody has it.
    pub(super) fn writer_now(&self) -> Option<MutexGuard<'_, Connection>> {
        self.lock(&self.writer, Patience::None).ok()
    }

    /// Does several small writes in one transaction, as many as can be done while others wait for the lock: that many are done when it
    /// returns. `None` where one failed, and nothing has happened: then each must be done by itself.
    pub(super) fn apply_together(&self, writer: &Connection, writes: &[&Write]) -> Option<usize> {
        let mut done = 0;
        let outcome = self.write(writer, writes.iter().map(|write| write.change()), Patience::None, |connection| {
            let started = Instant::now();
            let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            for write in writes {
                write.execute(&transaction)?;
                done += 1;
                if started.elapsed() >= LOCKED_TOGETHER {
                    break;
                }
            }
            transaction.commit().map(|()| done)
        });
        outcome.ok()?;
        self.purge(writer);
        Some(done)
    }

    pub(super) fn list(
        &self,
        prefix: &str,
        limit: usize,
        start_after: Option<&str>,
        patience: Patience,
    ) -> Attempt<Listing> {
        // The first string after a key, in the order of bytes, is that key and a zero.
        let after = start_after.map(|key| format!("{key}\0")).unwrap_or_default();
        let from = prefix.max(after.as_str());
        let now = self.now() as i64;
        // One more than asked for, to see whether there is more.
        let ask = limit as i64 + 1;
        let reader = self.lock(&self.reader, patience)?;
        let keys = match first_string_beyond(prefix) {
            Some(below) => reader.prepare_cached(LIST_BELOW).and_then(|mut statement| {
                statement
                    .query_map(
                        named_params! { ":from": from, ":below": below, ":now": now, ":limit": ask },
                        listed_key_of_row,
                    )?
                    .collect::<rusqlite::Result<Vec<_>>>()
            }),
            None => reader.prepare_cached(LIST).and_then(|mut statement| {
                statement
                    .query_map(named_params! { ":from": from, ":now": now, ":limit": ask }, listed_key_of_row)?
                    .collect()
            }),
        };
        let mut keys = keys.map_err(|error| self.refusal("list", error, patience))?;
        let complete = keys.len() <= limit;
        keys.truncate(limit);
        Ok(Listing { keys, complete })
    }

    /// Whether the log has grown so long that it should be moved to the file. At most one caller holds the claim to do so.
    pub(super) fn claim_move(self: &Arc<Self>) -> Option<MoveClaim> {
        let frames = self.wal.frames();
        let moved = self.moved_frames.load(Ordering::Relaxed);
        // The log starts again from nothing once all of it has been moved.
        let gained = if frames < moved { frames } else { frames - moved };
        let claimed = gained >= CHECKPOINT_FRAMES && !self.moving.swap(true, Ordering::AcqRel);
        claimed.then(|| MoveClaim(Arc::clone(self)))
    }

    #[cfg(test)]
    pub(super) fn log_frames_for_tests(&self) -> u32 {
        self.wal.frames()
    }

    fn checkpoint(&self) -> rusqlite::Result<()> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))
    }

    /// Commits once at most, and carries the memory along: as many of `changes` as `commit` says it has made.
    fn write<'a>(
        &self,
        writer: &Connection,
        changes: impl IntoIterator<Item = Change<'a>>,
        patience: Patience,
        commit: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
    ) -> Attempt<()> {
        self.file.check().map_err(Refusal::Failed)?;
        let before = self.memory.before_write(&self.wal);
        let commits = COMMITS.get();
        let outcome = commit(writer);
        let made = *outcome.as_ref().unwrap_or(&0);
        // What leaves every page as it was commits nothing, so its success does not say that it did.
        let committed = (COMMITS.get() != commits).then(|| changes.into_iter().take(made));
        self.memory.after_write(&self.wal, before, committed);
        outcome.map(|_| ()).map_err(|error| self.refusal("write", error, patience))
    }

    /// Removes some rows whose time has come: a bounded piece of work, once a second at most unless there is more to do.
    /// Nothing depends on it, so its failure is only logged.
    fn purge(&self, writer: &Connection) {
        let now = self.now();
        if self.purged_at.load(Ordering::Relaxed) == now {
            return;
        }
        match self.purge_until(writer, now) {
            Ok(Purged::All) => self.purged_at.store(now, Ordering::Relaxed),
            // The next write goes on, and whoever is in the way may be gone by then.
            Ok(Purged::Some) | Err(Refusal::NotHere) => {}
            Err(Refusal::Failed(error)) => {
                self.purged_at.store(now, Ordering::Relaxed);
                tracing::warn!(path = %self.path.display(), %error, "the expired entries of a cache could not be removed");
            }
        }
    }

    fn purge_until(&self, writer: &Connection, now: u64) -> Attempt<Purged> {
        let patience = Patience::None;
        let sizes = writer
            .prepare_cached(EXPIRED)
            .and_then(|mut statement| {
                statement
                    .query_map(named_params! { ":now": now as i64, ":limit": PURGE_ROWS as i64 }, |row| {
                        row.get::<_, i64>(0)
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(|error| self.refusal("read", error, patience))?;
        let mut bytes = 0;
        let mut rows = 0;
        for size in &sizes {
            rows += 1;
            bytes += size;
            if bytes >= PURGE_BYTES {
                break;
            }
        }
        if rows == 0 {
            return Ok(Purged::All);
        }
        self.write(writer, [Change::Purged], patience, |connection| {
            let purged = named_params! { ":now": now as i64, ":limit": rows as i64 };
            connection.prepare_cached(PURGE)?.execute(purged).map(|_| 1)
        })?;
        if rows == PURGE_ROWS || rows < sizes.len() { Ok(Purged::Some) } else { Ok(Purged::All) }
    }

    fn lock<'a>(&self, connection: &'a Mutex<Connection>, patience: Patience) -> Attempt<MutexGuard<'a, Connection>> {
        // A panic while a connection was held leaves it as usable as an error would.
        let (connection, timeout) = match patience {
            Patience::UntilTimeout => (connection.lock().unwrap_or_else(PoisonError::into_inner), BUSY_TIMEOUT),
            Patience::None => match connection.try_lock() {
                Ok(connection) => (connection, Duration::ZERO),
                Err(TryLockError::Poisoned(poisoned)) => (poisoned.into_inner(), Duration::ZERO),
                Err(TryLockError::WouldBlock) => return Err(Refusal::NotHere),
            },
        };
        connection.busy_timeout(timeout).map_err(|error| self.refusal("open", error, patience))?;
        Ok(connection)
    }

    fn refusal(&self, action: &'static str, error: rusqlite::Error, patience: Patience) -> Refusal {
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

    fn is_alive(&self, entry: &Entry) -> bool {
        entry.expires_at.is_none_or(|expires_at| expires_at > self.now())
    }

    fn now(&self) -> u64 {
        self.clock.now_ms() / 1000
    }
}

impl MoveClaim {
    /// Moves the log to the file, which takes milliseconds on a slow disk: SQLite would do it within the commit of an
    /// unlucky caller.
    pub(super) fn move_log(&self) {
        let store = &self.0;
        let mut outcome = store.checkpoint();
        if store.wal.frames() >= LONG_LOG_FRAMES {
            // Writers were faster. The log can only start again when none has added to it since, so they wait this once.
            let _writer = store.writer.lock().unwrap_or_else(PoisonError::into_inner);
            outcome = store.checkpoint();
        }
        if let Err(error) = outcome {
            tracing::warn!(path = %store.path.display(), %error, "the log of a cache could not be moved to its file");
        }
        store.moved_frames.store(store.wal.frames(), Ordering::Relaxed);
    }
}

impl Drop for MoveClaim {
    fn drop(&mut self) {
        self.0.moving.store(false, Ordering::Release);
    }
}

/// `None` where the value was not read because it is too long for this thread.
fn entry_of_row(row: &Row<'_>) -> rusqlite::Result<Option<Entry>> {
    let Some(value) = row.get_ref(0)?.as_blob_or_null()? else { return Ok(None) };
    let value = Bytes::copy_from_slice(value);
    Ok(Some(Entry { value, metadata: row.get(1)?, expires_at: second_of(row, 2)? }))
}

fn listed_key_of_row(row: &Row<'_>) -> rusqlite::Result<ListedKey> {
    Ok(ListedKey { name: row.get(0)?, metadata: row.get(1)?, expires_at: second_of(row, 2)? })
}

fn second_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    // Another tool may have written a time before 1970, which is as long past as 1970.
    Ok(row.get::<_, Option<i64>>(column)?.map(|second| second.max(0) as u64))
}

/// The least string, in the order of bytes, that is greater than every string beginning with `prefix`; `None` where there is
/// none. UTF-8 keeps the order of characters, so it is the prefix with its last character raised by one.
fn first_string_beyond(prefix: &str) -> Option<String> {
    let mut beyond = prefix.to_owned();
    while let Some(last) = beyond.pop() {
        // The range steps over the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            beyond.push(next);
            return Some(beyond);
        }
    }
    None
}
