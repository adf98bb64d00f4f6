//! What happens once to a database file and once to each connection.

use std::time::Duration;

use aerostack_sqlite::patiently;
use rusqlite::{Connection, ffi};

use super::connection::Role;
use super::statement::Prepared;

/// How long opening waits for another process.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it looks meanwhile.
const OPEN_PAUSE: Duration = Duration::from_millis(5);

/// The statements that are ours, compiled once.
pub(super) struct Control {
    pub(super) begin: Prepared,
    pub(super) commit: Prepared,
    pub(super) rollback: Prepared,
    pub(super) page_count: Prepared,
    pub(super) freelist_count: Prepared,
}

/// The settings that users may change for one call, as they are between calls.
pub(super) const SETTINGS: &str = "PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF; PRAGMA legacy_alter_table = OFF; \
     PRAGMA recursive_triggers = OFF; PRAGMA reverse_unordered_selects = OFF; PRAGMA case_sensitive_like = OFF;";

impl Control {
    /// Compiles them for a connection that everything is still allowed on, and that outlives them.
    pub(super) fn compile(db: *mut ffi::sqlite3, role: Role) -> rusqlite::Result<Self> {
        let begin = match role {
            Role::Reader => "BEGIN",
            // Takes the write lock at once, so that a transaction never finds out halfway that it must start over.
            Role::Writer | Role::Owner => "BEGIN IMMEDIATE",
        };
        let compile = |sql| {
            // SAFETY: the connection outlives the statement, as `Connection` sees to by the order of its fields.
            match unsafe { Prepared::new(db, sql) } {
                Ok((Some(prepared), _)) => Ok(prepared),
                _ => Err(rusqlite::Error::InvalidQuery),
            }
        };
        Ok(Self {
            begin: compile(begin)?,
            commit: compile("COMMIT")?,
            rollback: compile("ROLLBACK")?,
            page_count: compile("PRAGMA page_count")?,
            freelist_count: compile("PRAGMA freelist_count")?,
        })
    }
}

/// Makes the file a database with a write-ahead log and returns its page size.
pub(super) fn prepare_file(connection: &Connection) -> rusqlite::Result<u32> {
    if connection.is_readonly("main")? {
        let code = ffi::Error::new(ffi::SQLITE_READONLY);
        return Err(rusqlite::Error::SqliteFailure(code, Some("attempt to write a readonly database".to_owned())));
    }
    patiently(OPEN_TIMEOUT, OPEN_PAUSE, || turn_to_log(connection))?;
    connection.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA temp_store = FILE; PRAGMA cache_size = -8000; \
         PRAGMA journal_size_limit = 67108864;",
    )?;
    connection.query_row("PRAGMA page_size", [], |row| row.get(0))
}

fn turn_to_log(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if mode != "wal" {
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    }
    Ok(())
}
