//! Opening `metadata.sqlite`, and telling the user why it cannot be used.

use std::path::Path;
use std::time::{Duration, Instant};

use aerostack_bindings::{Error, ErrorKind, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The layout of the file. A file of a later one is refused.
const LAYOUT: i64 = 1;

/// How long opening waits for another process.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The bytes of an object that was stored by one put lie in the file named by its version; those of an object in parts in the
/// files that `object_files` names. Without a row id, keys lie in the order of their bytes.
const SCHEMA: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS objects (
        key TEXT NOT NULL PRIMARY KEY,
        version TEXT NOT NULL,
        size INTEGER NOT NULL, -- bytes
        etag TEXT NOT NULL,
        uploaded INTEGER NOT NULL, -- milliseconds since 1970
        checksums TEXT NOT NULL, -- JSON: algorithm to hex digits
        storage_class TEXT NOT NULL,
        part_count INTEGER, -- NULL where it was stored by one put
        http_metadata TEXT NOT NULL, -- JSON
        custom_metadata TEXT NOT NULL -- JSON
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX IF NOT EXISTS objects_by_version ON objects (version);
    CREATE TABLE IF NOT EXISTS object_files (
        version TEXT NOT NULL,
        position INTEGER NOT NULL,
        file TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        PRIMARY KEY (version, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS uploads (
        upload_id TEXT NOT NULL PRIMARY KEY,
        key TEXT NOT NULL,
        created INTEGER NOT NULL, -- milliseconds since 1970
        state TEXT NOT NULL CHECK (state IN ('open', 'completed', 'aborted')),
        storage_class TEXT NOT NULL,
        http_metadata TEXT NOT NULL,
        custom_metadata TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS upload_parts (
        upload_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        etag TEXT NOT NULL,
        file TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        md5 TEXT NOT NULL, -- hex digits
        PRIMARY KEY (upload_id, number)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
    COMMIT;";

/// A connection to the file at `path`, which is made where it is missing. Has read the file in WAL mode when it returns.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| cannot_open(path, error))?;
    match prepare_patiently(&connection).map_err(|error| cannot_open(path, error))? {
        Layout::Current => Ok(connection),
        Layout::WithoutWal => Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "the bucket's file {} lies on a file system that cannot share memory between processes; move it to a local disk",
                path.display()
            ),
        )),
        Layout::Later(version) => Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "the bucket's file {} has layout {version}, and this version of aerostack knows layouts up to {LAYOUT}; update \
                 aerostack or move the bucket's folder away",
                path.display()
            ),
        )),
    }
}

/// The error of a lock that somebody held all the time.
pub(super) fn still_locked(path: &Path, waited: Duration, error: rusqlite::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the bucket's file {} was locked by another process for {} s", path.display(), waited.as_secs()),
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
    // A commit is on the disk when it returns: the bytes it names are, and an object that was acknowledged stays.
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -8000;
         PRAGMA temp_store = MEMORY;",
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
            format!(
                "the bucket's file {path} is not a SQLite database; move the bucket's folder away or give the bucket another name"
            )
        }
        Some(ErrorCode::CannotOpen) => {
            format!("cannot open the bucket's file {path}; check that it is a file and its permissions")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("cannot write the bucket's file {path}; check its permissions and those of its folder")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!(
                "the bucket's file {path} is damaged; restore it, or move the bucket's folder away to start with an empty bucket"
            )
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("the bucket's file {path} is locked by another process; stop that process")
        }
        _ => format!("cannot open the bucket's file {path}"),
    };
    Error::new(ErrorKind::ConfigInvalid, message).with_source(error)
}
