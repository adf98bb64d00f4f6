//! Opening the file, and telling the user why it cannot be used.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::{Error, ErrorKind, Result, make_state_folder};
use aerostack_sqlite::patiently;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The layout of the file. A file of a later one is refused.
const LAYOUT: i64 = 1;

/// Marks the file as ours (`PRAGMA application_id`): "aesq".
const APPLICATION: i64 = 0x6165_7371;

/// How long a call waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it looks whether the lock is free. SQLite's own waiting grows to a tenth of a second, in which a busy neighbour
/// takes the lock again a hundred times.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// How many different statements a connection has: none is ever compiled twice.
const STATEMENTS: usize = 48;

/// The number of a message is never given out again, and its `lease` only grows, so that one lease never looks like another.
/// `lease` is odd while somebody holds the message.
///
/// An ordinary first lease changes the digits of a row and not its length: SQLite then writes them in place and does not
/// touch the pages of a long body.
///
/// `messages_by_due` finds what is due in order, and holds all that counting needs. `messages_by_age` finds the oldest message
/// of a queue: a dead-letter queue gets its messages in another order than they were sent.
const SCHEMA: &str = "
    CREATE TABLE queues (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        messages INTEGER NOT NULL DEFAULT 0, -- how many rows of `messages` it has
        bytes INTEGER NOT NULL DEFAULT 0 -- of their bodies
    ) STRICT;
    CREATE TABLE messages (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        queue INTEGER NOT NULL, -- queues.id
        due_at INTEGER NOT NULL, -- milliseconds since 1970; while leased, when the lease runs out
        lease INTEGER NOT NULL DEFAULT 0, -- odd while leased
        attempts INTEGER NOT NULL DEFAULT 0,
        sent_at INTEGER NOT NULL, -- milliseconds since 1970
        id BLOB NOT NULL, -- 16 bytes
        content_type TEXT NOT NULL CHECK (content_type IN ('json', 'text', 'bytes', 'v8')),
        dead_lettered_from INTEGER, -- queues.id
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX messages_by_due ON messages (queue, due_at, number, lease);
    CREATE INDEX messages_by_age ON messages (queue, sent_at);
    CREATE TABLE clock (
        latest INTEGER NOT NULL -- about the latest time at which this file was written, milliseconds since 1970
    ) STRICT;
    INSERT INTO clock VALUES (0);";

/// A connection to the file at `path`, which is made where it is missing. A new file is not flushed yet.
pub(super) fn open(path: &Path) -> Result<Connection> {
    make_folder(path)?;
    aerostack_sqlite::prepare_sqlite();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| cannot_open(path, error))?;
    let found = prepare_patiently(&connection).map_err(|error| cannot_open(path, error))?;
    let shown = path.display();
    let text = match found {
        Found::Ours => return Ok(connection),
        Found::WithoutWal => format!(
            "the queue file {shown} lies on a file system that cannot share memory between processes; move it to a local disk"
        ),
        Found::ReadOnly => {
            format!("cannot write the queue file {shown}; check its permissions and those of its folder")
        }
        Found::Foreign => format!(
            "the queue file {shown} is a SQLite database of another program; move it away or give the queues another path"
        ),
        Found::Later(layout) => format!(
            "the queue file {shown} has layout {layout}, and this version of aerostack knows layouts up to {LAYOUT}; update \
             aerostack or move the file away"
        ),
    };
    Err(Error::new(ErrorKind::ConfigInvalid, text))
}

/// Has the disk write down that the folders of a new file are there: a file is as durable as the folder it lies in.
#[cfg(unix)]
pub(super) fn flush_folders(path: &Path) {
    // The folder of the queues, that of the project's state, and the project's own.
    for folder in path.ancestors().skip(1).take(3) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if let Err(error) = std::fs::File::open(folder).and_then(|folder| folder.sync_all()) {
            // There are file systems that cannot; SQLite does not insist either.
            tracing::debug!(folder = %folder.display(), %error, "a folder could not be flushed");
        }
    }
}

/// Other systems have no such call; their file systems see to it.
#[cfg(not(unix))]
pub(super) fn flush_folders(_path: &Path) {}

/// The error of a call that failed after the file was opened. `action` is a verb.
pub(super) fn failed(path: &Path, action: &str, error: &Arc<rusqlite::Error>) -> Error {
    let shown = path.display();
    let (kind, text) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Unavailable,
            format!("the queue file {shown} was locked by another process for {} s", BUSY_TIMEOUT.as_secs()),
        ),
        Some(ErrorCode::DiskFull) => {
            (ErrorKind::Unavailable, format!("cannot {action} the queue file {shown}: the disk is full"))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            ErrorKind::Unavailable,
            format!(
                "cannot {action} the queue file {shown}: it may not be written; check its permissions and those of its folder"
            ),
        ),
        Some(ErrorCode::SystemIoFailure) => {
            (ErrorKind::Unavailable, format!("cannot {action} the queue file {shown}: its disk fails ({error})"))
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            (ErrorKind::Unexpected, format!("cannot {action} the queue file {shown}: it is damaged; {DAMAGED_HINT}"))
        }
        _ => (ErrorKind::Unexpected, format!("cannot {action} the queue file {shown}")),
    };
    // Shared, because one error can end several calls.
    Error::new(kind, text).with_source(Arc::clone(error))
}

const DAMAGED_HINT: &str = "move it away to start with empty queues (`sqlite3 FILE .recover` gets messages out of it)";

enum Found {
    Ours,
    Foreign,
    Later(i64),
    ReadOnly,
    WithoutWal,
}

fn make_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    make_state_folder(folder).map_err(|error| {
        Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "cannot make the folder {} of the queue file; check its permissions or give the queues another path",
                folder.display()
            ),
        )
        .with_source(error)
    })
}

fn prepare_patiently(connection: &Connection) -> rusqlite::Result<Found> {
    connection.busy_handler(Some(wait_for_lock))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Without this, SQLite compiles a statement with `LIMIT ?` anew at each use, to plan it for the number: ten times its work.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    patiently(BUSY_TIMEOUT, BUSY_PAUSE, || prepare(connection))
}

/// Asked by SQLite while somebody else holds the lock; `true` has it try again.
fn wait_for_lock(tries: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    u128::from(tries.unsigned_abs()) < BUSY_TIMEOUT.as_millis() / BUSY_PAUSE.as_millis()
}

fn prepare(connection: &Connection) -> rusqlite::Result<Found> {
    if connection.is_readonly("main")? {
        return Ok(Found::ReadOnly);
    }
    // Ahead of any change: another program's file stays as it is.
    connection.execute_batch("BEGIN")?;
    let found = examine(connection);
    // An error may have ended the transaction, and is what is to be told.
    if !connection.is_autocommit() {
        connection.execute_batch("COMMIT")?;
    }
    let is_new = match found? {
        None => true,
        Some(Found::Ours) => false,
        Some(refused) => return Ok(refused),
    };
    // Making a file would flush seven times, which a start need not wait for: the writer flushes ahead of its first call.
    connection.execute_batch("PRAGMA synchronous = OFF")?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Ok(Found::WithoutWal);
    }
    // The log is moved to the file by the writer between two groups of calls, not by SQLite within one.
    connection.execute_batch(
        "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -8000;
         PRAGMA temp_store = MEMORY;",
    )?;
    if is_new {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        if let Err(error) = fill(connection) {
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK")?;
            }
            return Err(error);
        }
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    Ok(Found::Ours)
}

fn fill(connection: &Connection) -> rusqlite::Result<()> {
    // Another process may have been faster.
    if examine(connection)?.is_none() {
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(&format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {LAYOUT};"))?;
    }
    connection.execute_batch("COMMIT")
}

/// What the file is; `None` for a new one. Within a transaction, so that all is of one moment: another process may be filling it.
fn examine(connection: &Connection) -> rusqlite::Result<Option<Found>> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id")?;
    let layout = number("PRAGMA user_version")?;
    if application == APPLICATION {
        return Ok(Some(if layout <= LAYOUT { Found::Ours } else { Found::Later(layout) }));
    }
    let is_new = application == 0 && layout == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0;
    Ok(if is_new { None } else { Some(Found::Foreign) })
}

fn cannot_open(path: &Path, error: rusqlite::Error) -> Error {
    let path = path.display();
    let message = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            format!("the queue file {path} is not a SQLite database; move it away or give the queues another path")
        }
        Some(ErrorCode::CannotOpen) => {
            format!(
                "cannot open the queue file {path}; check that it is a file, and its permissions and those of its folder"
            )
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("cannot write the queue file {path}; check its permissions and those of its folder")
        }
        Some(ErrorCode::DatabaseCorrupt) => format!("the queue file {path} is damaged; {DAMAGED_HINT}"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("the queue file {path} is locked by another process; stop that process")
        }
        Some(ErrorCode::DiskFull) => format!("cannot write the queue file {path}: the disk is full"),
        _ => format!("cannot open the queue file {path}"),
    };
    Error::new(ErrorKind::ConfigInvalid, message).with_source(error)
}
