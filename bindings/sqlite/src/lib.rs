//! What drivers that keep their state in a SQLite file have in common: opening it, and telling the user why it cannot be used.
//!
//! [`StateFile`] is not for the databases of users, which are `bindings/database`'s: those have other rules.

mod group;
mod neighbours;
mod opened;
mod patience;
mod temporary_files;
mod wal_index;
mod working_memory;

use std::path::Path;
use std::time::Duration;

use aerostack_bindings::{Error, ErrorKind, Result, make_state_folder};
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use group::{Grouped, TurnGroup};
pub use neighbours::Neighbours;
pub use opened::OpenedFile;
pub use patience::patiently;
pub use temporary_files::VFS;
pub use wal_index::{Stamp, WalIndex};
pub use working_memory::{WorkingMemory, prepare_sqlite, take_refusal};

/// A kind of state file: how it is made, and the words messages have for it.
#[derive(Debug, Clone, Copy)]
pub struct StateFile {
    /// With its article, for example `the cache file`; the path follows.
    pub name: &'static str,
    /// What to do with a file that is no SQLite database, for example `move it away or give the cache another path`.
    pub replace: &'static str,
    /// What to do with a damaged file, for example `delete it to start with an empty cache`.
    pub restart: &'static str,
    /// SQL run ahead of everything else; what only takes effect before the first page is written.
    pub first: &'static str,
    /// SQL run on every connection once the file is in WAL mode.
    pub settings: &'static str,
    /// SQL that makes the tables of a new file. Run in a transaction, perhaps in several processes at once.
    pub schema: &'static str,
    /// The layout that `schema` makes, from 1 (`PRAGMA user_version`). A file of a later one is refused.
    pub layout: i64,
}

/// How long opening waits for another process.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it looks meanwhile.
const OPEN_PAUSE: Duration = Duration::from_millis(5);

enum Layout {
    Current,
    Later(i64),
    WithoutWal,
}

impl StateFile {
    /// A connection to the file at `path`, which is made where it is missing, its folder too. Has read the file in WAL mode
    /// when it returns.
    ///
    /// # Errors
    /// `ConfigInvalid`, with the path and what to do.
    pub fn open(&self, path: &Path) -> Result<Connection> {
        self.make_folder(path)?;
        prepare_sqlite();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| self.cannot_open(path, error))?;
        let prepared = connection
            .busy_timeout(OPEN_TIMEOUT)
            .and_then(|()| patiently(OPEN_TIMEOUT, OPEN_PAUSE, || self.prepare(&connection)));
        match prepared.map_err(|error| self.cannot_open(path, error))? {
            Layout::Current => Ok(connection),
            Layout::WithoutWal => Err(self.no_shared_memory(path)),
            Layout::Later(version) => Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "{} {} has layout {version}, and this version of aerostack knows layouts up to {}; update aerostack or move \
                     the file away",
                    self.name,
                    path.display(),
                    self.layout,
                ),
            )),
        }
    }

    /// The error of a file system on which SQLite's WAL mode does not work.
    pub fn no_shared_memory(&self, path: &Path) -> Error {
        Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "{} {} lies on a file system that cannot share memory between processes; move it to a local disk",
                self.name,
                path.display()
            ),
        )
    }

    /// The error of a lock that somebody held all the time.
    pub fn still_locked(&self, path: &Path, waited: Duration, error: rusqlite::Error) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!("{} {} was locked by another process for {} s", self.name, path.display(), waited.as_secs()),
        )
        .with_source(error)
    }

    /// The error of a call that failed after the file was opened. `action` is a verb.
    pub fn failed(&self, action: &str, path: &Path, error: rusqlite::Error) -> Error {
        let (kind, reason) = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => (ErrorKind::Unavailable, "the disk is full".to_owned()),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
                ErrorKind::Unavailable,
                "it may not be written; check its permissions and those of its folder".to_owned(),
            ),
            Some(ErrorCode::SystemIoFailure) => (ErrorKind::Unavailable, format!("its disk fails ({error})")),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                (ErrorKind::Unexpected, format!("it is damaged; {}", self.restart))
            }
            _ => (ErrorKind::Unexpected, error.to_string()),
        };
        Error::new(kind, format!("cannot {action} {} {}: {reason}", self.name, path.display())).with_source(error)
    }

    fn make_folder(&self, path: &Path) -> Result<()> {
        let Some(folder) = path.parent() else { return Ok(()) };
        make_state_folder(folder).map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only",
                std::io::ErrorKind::StorageFull => "the disk is full",
                _ => "check its permissions",
            };
            let message = format!("cannot make the folder of {} {}; {hint}", self.name, path.display());
            Error::new(ErrorKind::ConfigInvalid, message).with_source(error)
        })
    }

    fn prepare(&self, connection: &Connection) -> rusqlite::Result<Layout> {
        connection.execute_batch(self.first)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Ok(Layout::WithoutWal);
        }
        connection.execute_batch(self.settings)?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 0 {
            let (schema, layout) = (self.schema, self.layout);
            connection.execute_batch(&format!("BEGIN IMMEDIATE; {schema} PRAGMA user_version = {layout}; COMMIT;"))?;
        }
        Ok(if version > self.layout { Layout::Later(version) } else { Layout::Current })
    }

    fn cannot_open(&self, path: &Path, error: rusqlite::Error) -> Error {
        let (name, shown) = (self.name, path.display());
        let message = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => format!("{name} {shown} is not a SQLite database; {}", self.replace),
            Some(ErrorCode::CannotOpen) => {
                format!("cannot open {name} {shown}; check that it is a file and its permissions")
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                format!("cannot write {name} {shown}; check its permissions and those of its folder")
            }
            Some(ErrorCode::DatabaseCorrupt) => format!("{name} {shown} is damaged; {}", self.restart),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!("{name} {shown} is locked by another process; stop that process")
            }
            Some(ErrorCode::DiskFull) => format!("cannot write {name} {shown}: the disk is full"),
            _ => format!("cannot open {name} {shown}"),
        };
        Error::new(ErrorKind::ConfigInvalid, message).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: StateFile = StateFile {
        name: "the notes",
        replace: "move them away",
        restart: "begin anew",
        first: "",
        settings: "PRAGMA synchronous = NORMAL;",
        schema: "CREATE TABLE IF NOT EXISTS notes (text TEXT);",
        layout: 2,
    };

    #[test]
    fn a_file_is_made_with_its_folder_and_opened_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a/b/notes.sqlite");
        for _ in 0..2 {
            let connection = NOTES.open(&path).expect("it opens");
            connection.execute("INSERT INTO notes VALUES ('one')", []).expect("the table is there");
        }
        let count = |connection: &Connection| connection.query_row("SELECT count(*) FROM notes", [], |row| row.get(0));
        assert_eq!(count(&NOTES.open(&path).expect("it opens")), Ok(2));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_path_and_what_to_do() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = |path: &Path| {
            let error = NOTES.open(path).expect_err("must be refused");
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            error.to_string().replace(&format!("{}", folder.path().display()), "F")
        };
        let foreign = folder.path().join("foreign");
        std::fs::write(&foreign, "x".repeat(4096)).expect("a file can be written");
        assert_eq!(text(&foreign), "the notes F/foreign is not a SQLite database; move them away");
        assert_eq!(
            text(&foreign.join("below")),
            "cannot make the folder of the notes F/foreign/below; check its permissions"
        );
        assert_eq!(text(folder.path()), "cannot open the notes F; check that it is a file and its permissions");
        let later = folder.path().join("later");
        StateFile { layout: 3, ..NOTES }.open(&later).expect("it opens");
        assert_eq!(
            text(&later),
            "the notes F/later has layout 3, and this version of aerostack knows layouts up to 2; update aerostack or move the \
             file away"
        );
    }
}
