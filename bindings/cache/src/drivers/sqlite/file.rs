//! Opening the file, and telling the user why it cannot be used.

use std::path::Path;
use std::time::{Duration, Instant};

use aerostack_bindings::{Error, ErrorKind, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The layout of the file. A file of a later one is refused.
const LAYOUT: i64 = 1;

/// How long opening waits for another process.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Without a row id, the key, the expiry and the metadata lie together in one tree in the order of the keys' bytes, and a long
/// value beside it, where a listing does not come across it.
const SCHEMA: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS cache_entries (
        key TEXT NOT NULL PRIMARY KEY,
        expires_at INTEGER, -- seconds since 1970
        metadata TEXT, -- JSON
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS cache_entries_by_expiry ON cache_entries (expires_at) WHERE expires_at IS NOT NULL;
    PRAGMA user_version = 1;
    COMMIT;";

/// A connection to the file at `path`, which is made where it is missing. Has read the file in WAL mode when it returns.
pub(super) fn open(path: &Path) -> Result<Connection> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "cannot make the folder {} of the cache file; check its permissions or give the cache another path",
                    folder.display()
                ),
            )
            .with_source(error)
        })?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| cannot_open(path, error))?;
    let layout = prepare_patiently(&connection).map_err(|error| cannot_open(path, error))?;
    match layout {
        Layout::Current => Ok(connection),
        Layout::WithoutWal => Err(no_shared_memory(path)),
        Layout::Later(version) => Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "the cache file {} has layout {version}, and this version of aerostack knows layouts up to {LAYOUT}; update \
                 aerostack or move the file away",
                path.display()
            ),
        )),
    }
}

/// The error of a file system on which SQLite's WAL mode does not work.
pub(super) fn no_shared_memory(path: &Path) -> Error {
    Error::new(
        ErrorKind::ConfigInvalid,
        format!(
            "the cache file {} lies on a file system that cannot share memory between processes; move it to a local disk",
            path.display()
        ),
    )
}

/// The error of a lock that somebody held all the time.
pub(super) fn still_locked(path: &Path, waited: Duration, error: rusqlite::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the cache file {} was locked by another process for {} s", path.display(), waited.as_secs()),
    )
    .with_source(error)
}

enum Layout {
    Current,
    Later(i64),
    WithoutWal,
}

/// While a new file is turned to WAL mode, SQLite refuses others at once instead of letting them wait.
fn prepare_patiently(connection: &Connection) -> rusqlite::Result<Layout> {
    connection.busy_timeout(OPEN_TIMEOUT)?;
    let started = Instant::now();
    loop {
        match prepare(connection) {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && started.elapsed() < OPEN_TIMEOUT =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<Layout> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Ok(Layout::WithoutWal);
    }
    // Written but not yet flushed commits may be lost with the power, never with the process. The log is moved to the file by
    // `Store::move_log`, not by SQLite.
    connection.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 16777216;
         PRAGMA cache_size = -8000;",
    )?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        0 => {
            connection.execute_batch(SCHEMA)?;
            Ok(Layout::Current)
        }
        LAYOUT => Ok(Layout::Current),
        later => Ok(Layout::Later(later)),
    }
}

fn cannot_open(path: &Path, error: rusqlite::Error) -> Error {
    let path = path.display();
    let message = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            format!("the cache file {path} is not a SQLite database; move it away or give the cache another path")
        }
        Some(ErrorCode::CannotOpen) => {
            format!("cannot open the cache file {path}; check that it is a file and its permissions")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("cannot write the cache file {path}; check its permissions and those of its folder")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("the cache file {path} is damaged; delete it to start with an empty cache")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("the cache file {path} is locked by another process; stop that process")
        }
        _ => format!("cannot open the cache file {path}"),
    };
    Error::new(ErrorKind::ConfigInvalid, message).with_source(error)
}
