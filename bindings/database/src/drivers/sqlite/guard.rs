//! What the callbacks of one connection share with whoever runs statements on it.

use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::ffi;
use rusqlite::hooks::{AuthContext, Authorization};

use super::authorizer::{Verdict, adds_to_schema, asks_for_changes, asks_for_the_writer, is_pragma, judge};

/// After how many instructions of SQLite's virtual machine the time is looked at.
const INSTRUCTIONS_BETWEEN_LOOKS: c_int = 1000;

/// How long a statement may take, and what it does about a lock that another connection holds.
#[derive(Debug, Clone)]
pub(super) enum Patience {
    /// Stops after this time, and at once at a lock: the calling thread has other work.
    Slice(Duration),
    /// Runs as long as it takes and waits for locks until `until`, or until the caller has gone away.
    Waiting {
        /// When to stop waiting for a lock.
        until: Instant,
        /// Set when nobody waits for the result any more.
        cancelled: Arc<AtomicBool>,
    },
}

/// The state behind the callbacks of one connection.
///
/// Only one thread at a time uses a connection, so every field is atomic for the compiler's sake only.
#[derive(Debug)]
pub(super) struct Guard {
    epoch: Instant,
    /// Nanoseconds after `epoch` when the running statement is stopped; 0 for never.
    stop_at: AtomicU64,
    /// Nanoseconds after `epoch` until when a lock is waited for; 0 for not at all.
    wait_until: AtomicU64,
    cancelled: Mutex<Option<Arc<AtomicBool>>>,
    /// A commit has begun. From here on a statement must not be reported as interrupted, because it is no longer undone.
    committing: AtomicBool,
    /// The statement being compiled is ours, not a user's.
    trusted: AtomicBool,
    refused_transaction: AtomicBool,
    /// What was seen of the statement that was compiled last.
    is_pragma: AtomicBool,
    asks_for_the_writer: AtomicBool,
    asks_for_changes: AtomicBool,
    adds_to_schema: AtomicBool,
    /// Pages in the write-ahead log after the last commit.
    log_pages: AtomicU32,
}

/// What the authorizer saw of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// It is a pragma.
    pub(super) is_pragma: bool,
    /// It asks for a value that only the connection that writes knows, such as `last_insert_rowid()`.
    pub(super) asks_for_the_writer: bool,
    /// It calls `changes()`.
    pub(super) asks_for_changes: bool,
    /// It makes or alters a table, a view, an index or a trigger.
    pub(super) adds_to_schema: bool,
}

impl Guard {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            stop_at: AtomicU64::new(0),
            wait_until: AtomicU64::new(0),
            cancelled: Mutex::new(None),
            committing: AtomicBool::new(false),
            trusted: AtomicBool::new(true),
            refused_transaction: AtomicBool::new(false),
            is_pragma: AtomicBool::new(false),
            asks_for_the_writer: AtomicBool::new(false),
            asks_for_changes: AtomicBool::new(false),
            adds_to_schema: AtomicBool::new(false),
            log_pages: AtomicU32::new(0),
        })
    }

    /// Hooks this guard into a connection: progress, commit, busy and log callbacks, and the authorizer. The connection must
    /// keep the guard alive until it is closed.
    pub(super) fn install(self: &Arc<Self>, connection: &Connection) -> rusqlite::Result<()> {
        let guard = Arc::clone(self);
        connection.progress_handler(INSTRUCTIONS_BETWEEN_LOOKS, Some(move || guard.should_stop()))?;
        let guard = Arc::clone(self);
        connection.commit_hook(Some(move || {
            guard.committing.store(true, Relaxed);
            false
        }))?;
        self.authorize_with(connection, judge)?;
        let data = Arc::as_ptr(self).cast_mut().cast::<c_void>();
        // SAFETY: the handle is open, and the connection's owner keeps the guard alive for as long as it is (see above), so
        // `data` is valid whenever SQLite calls back.
        unsafe {
            let db = connection.handle();
            ffi::sqlite3_busy_handler(db, Some(on_busy), data);
            ffi::sqlite3_wal_hook(db, Some(on_commit_to_log), data);
        }
        Ok(())
    }

    /// Asks `judge` about every action of a statement that is not ours.
    pub(super) fn authorize_with(
        self: &Arc<Self>,
        connection: &Connection,
        judge: fn(&AuthContext<'_>) -> Verdict,
    ) -> rusqlite::Result<()> {
        let guard = Arc::clone(self);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            if guard.trusted.load(Relaxed) {
                return Authorization::Allow;
            }
            if is_pragma(&context) {
                guard.is_pragma.store(true, Relaxed);
            } else if asks_for_the_writer(&context) {
                guard.asks_for_the_writer.store(true, Relaxed);
                guard.asks_for_changes.fetch_or(asks_for_changes(&context), Relaxed);
            } else if adds_to_schema(&context) {
                guard.adds_to_schema.store(true, Relaxed);
            }
            let verdict = judge(&context);
            if verdict == Verdict::RefusedTransaction {
                guard.refused_transaction.store(true, Relaxed);
            }
            verdict.into_authorization()
        }))
    }

    /// Begins a run.
    pub(super) fn arm(&self, patience: &Patience) {
        self.committing.store(false, Relaxed);
        self.refused_transaction.store(false, Relaxed);
        match patience {
            Patience::Slice(slice) => self.stop_at.store(self.nanos(Instant::now() + *slice), Relaxed),
            Patience::Waiting { until, cancelled } => {
                self.wait_until.store(self.nanos(*until), Relaxed);
                *self.cancelled.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(cancelled));
            }
        }
    }

    /// Ends a run: nothing that follows on this connection is stopped or waits.
    pub(super) fn disarm(&self) {
        self.stop_at.store(0, Relaxed);
        if self.wait_until.swap(0, Relaxed) != 0 {
            *self.cancelled.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Runs `work` with the authorizer letting everything pass: for the statements that are ours.
    pub(super) fn trusting<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.trusted.swap(true, Relaxed);
        let outcome = work();
        self.trusted.store(before, Relaxed);
        outcome
    }

    /// From here on the statements are a user's.
    pub(super) fn distrust(&self) {
        self.trusted.store(false, Relaxed);
    }

    /// Whether the last refusal was about steering a transaction. Asking clears it.
    pub(super) fn take_refused_transaction(&self) -> bool {
        self.refused_transaction.swap(false, Relaxed)
    }

    /// What was seen of the statements compiled since the last time this was asked.
    pub(super) fn take_seen(&self) -> Seen {
        Seen {
            is_pragma: self.is_pragma.swap(false, Relaxed),
            asks_for_the_writer: self.asks_for_the_writer.swap(false, Relaxed),
            asks_for_changes: self.asks_for_changes.swap(false, Relaxed),
            adds_to_schema: self.adds_to_schema.swap(false, Relaxed),
        }
    }

    /// Pages in the write-ahead log after the last commit of this connection.
    pub(super) fn log_pages(&self) -> u32 {
        self.log_pages.load(Relaxed)
    }

    fn nanos(&self, instant: Instant) -> u64 {
        // Zero means "no limit", so a moment at the epoch is moved by one nanosecond.
        u64::try_from(instant.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    fn has_passed(&self, nanos: u64) -> bool {
        nanos != 0 && self.nanos(Instant::now()) >= nanos
    }

    fn is_cancelled(&self) -> bool {
        let cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        cancelled.as_ref().is_some_and(|flag| flag.load(Relaxed))
    }

    fn should_stop(&self) -> bool {
        if self.committing.load(Relaxed) {
            return false;
        }
        self.has_passed(self.stop_at.load(Relaxed)) || (self.wait_until.load(Relaxed) != 0 && self.is_cancelled())
    }

    /// Whether to try the lock again. Waits a little before it says so.
    fn wait_for_lock(&self, tries: c_int) -> bool {
        let until = self.wait_until.load(Relaxed);
        if until == 0 || self.has_passed(until) || self.is_cancelled() {
            return false;
        }
        // Locks are held for microseconds to milliseconds: ask often at first, then every 10 ms.
        let pause = match tries {
            0..=4 => Duration::from_micros(200),
            5..=20 => Duration::from_millis(1),
            _ => Duration::from_millis(10),
        };
        std::thread::sleep(pause);
        true
    }
}

unsafe extern "C" fn on_busy(data: *mut c_void, tries: c_int) -> c_int {
    // SAFETY: `data` is the guard that `install` passed, alive as long as its connection is open.
    let guard = unsafe { &*data.cast::<Guard>() };
    c_int::from(guard.wait_for_lock(tries))
}

unsafe extern "C" fn on_commit_to_log(
    data: *mut c_void,
    _db: *mut ffi::sqlite3,
    _name: *const std::os::raw::c_char,
    pages: c_int,
) -> c_int {
    // SAFETY: as in `on_busy`.
    let guard = unsafe { &*data.cast::<Guard>() };
    guard.log_pages.store(u32::try_from(pages).unwrap_or(0), Relaxed);
    ffi::SQLITE_OK
}
