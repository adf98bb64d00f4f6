//! Opening the file, and telling the user why it cannot be used.

use std::path::Path;
use std::time::{Duration, Instant};

use aerostack_bindings::{Error, ErrorKind, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The layout of the file. A file of a later one is refused.
const LAYOUT: i64 = 1;

/// How long opening waits for another process.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// An entry and its vector share a slot, which is the vector's place in memory. The slot of a deleted vector stays, without
/// an id, until another takes it; so everything that changed after a generation is found by its number. The vectors have
/// a table of their own, where looking through all metadata does not come across them.
const SCHEMA: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS vector_index (
        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
        identity BLOB NOT NULL, -- random, tells this file from another of the same name
        dimensions INTEGER NOT NULL, -- 0 as long as nothing was written
        vectors INTEGER NOT NULL, -- how many there are
        generation INTEGER NOT NULL, -- raised by every write
        changed_at INTEGER, -- milliseconds since 1970
        mutation TEXT -- the id of the last write
    ) STRICT;
    CREATE TABLE IF NOT EXISTS vector_entries (
        slot INTEGER NOT NULL PRIMARY KEY,
        generation INTEGER NOT NULL, -- that of its last write
        id TEXT, -- NULL where the slot is free
        namespace TEXT,
        metadata TEXT -- JSON
    ) STRICT;
    CREATE UNIQUE INDEX IF NOT EXISTS vector_entries_by_id ON vector_entries (id) WHERE id IS NOT NULL;
    CREATE INDEX IF NOT EXISTS vector_entries_free ON vector_entries (slot) WHERE id IS NULL;
    CREATE INDEX IF NOT EXISTS vector_entries_by_generation ON vector_entries (generation);
    CREATE TABLE IF NOT EXISTS vector_values (
        slot INTEGER NOT NULL PRIMARY KEY,
        vector BLOB NOT NULL -- float32, little-endian
    ) STRICT;
    INSERT OR IGNORE INTO vector_index (only, identity, dimensions, vectors, generation)
        VALUES (1, randomblob(16), 0, 0, 0);
    PRAGMA user_version = 1;
    COMMIT;";

/// A connection to the file at `path`, which is made where it is missing.
pub(super) fn open(path: &Path) -> Result<Connection> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "cannot make the folder {} of the vector index; check its permissions or give the index another path",
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
        Layout::WithoutWal => Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "the vector index {} lies on a file system that cannot share memory between processes; move it to a local \
                 disk",
                path.display()
            ),
        )),
        Layout::Later(version) => Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "the vector index {} has layout {version}, and this version of aerostack knows layouts up to {LAYOUT}; update \
                 aerostack or move the file away",
                path.display()
            ),
        )),
    }
}

/// The error of a lock that somebody held all the time.
pub(super) fn still_locked(path: &Path, waited: Duration, error: rusqlite::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the vector index {} was locked by another process for {} s", path.display(), waited.as_secs()),
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
    // Has an effect only before the file has its first page.
    connection.execute_batch("PRAGMA page_size = 8192")?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Ok(Layout::WithoutWal);
    }
    // Written but not yet flushed commits may be lost with the power, never with the process. The log is moved to the file by
    // `Store::move_log`, not by SQLite.
    connection.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -8000;",
    )?;
    connection.set_prepared_statement_cache_capacity(32);
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
            format!("the vector index {path} is not a SQLite database; move it away or give the index another path")
        }
        Some(ErrorCode::CannotOpen) => {
            format!("cannot open the vector index {path}; check that it is a file and its permissions")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("cannot write the vector index {path}; check its permissions and those of its folder")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("the vector index {path} is damaged; delete it to start with an empty index")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("the vector index {path} is locked by another process; stop that process")
        }
        _ => format!("cannot open the vector index {path}"),
    };
    Error::new(ErrorKind::ConfigInvalid, message).with_source(error)
}
