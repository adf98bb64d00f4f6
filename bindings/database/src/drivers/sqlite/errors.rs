//! SQLite's result codes as the errors of contract section 1.6.

use std::ffi::CStr;
use std::path::Path;

use aerostack_bindings::{Error, ErrorKind};
use rusqlite::ffi;

use crate::driver::MISSING_TABLE;

/// Why an attempt ended without a result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The statement is wrong or was refused: the caller sees this error.
    Refused(Error),
    /// The time slice ran out, or the caller went away. Nothing happened; trying again is sound.
    Interrupted,
    /// Another connection holds the lock. Nothing happened; trying again is sound.
    Busy,
    /// A connection for reading was asked to write. Nothing happened; the connection for writing can do it.
    NeedsWriter,
}

impl Failure {
    /// The error that a caller sees when there is no further attempt.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Interrupted => Error::new(ErrorKind::Timeout, "interrupted: SQLITE_INTERRUPT"),
            Self::Busy => Error::new(ErrorKind::Timeout, "database is locked: SQLITE_BUSY"),
            Self::NeedsWriter => {
                Error::new(ErrorKind::Unexpected, "attempt to write a readonly database: SQLITE_READONLY")
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// The failure that a connection reports after a call returned an error code.
///
/// # Safety
/// `db` must be an open connection used by no other thread at the same time.
pub(super) unsafe fn failure(db: *mut ffi::sqlite3, code: i32) -> Failure {
    match code & 0xff {
        ffi::SQLITE_INTERRUPT => return Failure::Interrupted,
        ffi::SQLITE_BUSY => return Failure::Busy,
        // SQLite says what it was refused, and we know why.
        primary @ (ffi::SQLITE_NOMEM | ffi::SQLITE_FULL | ffi::SQLITE_IOERR) => {
            if let Some(refused) = aerostack_sqlite::take_refusal() {
                let text = format!("{}: {}", refused.message(), primary_name(primary));
                return Failure::Refused(Error::new(refused.kind(), text));
            }
        }
        _ => {}
    }
    // SAFETY: the caller vouches for `db`; SQLite's message is valid until the next call on this connection, and is copied.
    let (extended, text, offset) = unsafe {
        let text = CStr::from_ptr(ffi::sqlite3_errmsg(db)).to_string_lossy().into_owned();
        (ffi::sqlite3_extended_errcode(db), text, ffi::sqlite3_error_offset(db))
    };
    // Misuse leaves no message on the connection; any other code does.
    let extended = if extended & 0xff == code & 0xff { extended } else { code };
    Failure::Refused(error(extended, &text, offset))
}

/// The error with D1's wording: `text[ at offset N]: SQLITE_XXX[ (extended: SQLITE_XXX_YYY)]`.
fn error(extended: i32, text: &str, offset: i32) -> Error {
    use std::fmt::Write as _;
    let mut message = String::with_capacity(text.len() + 64);
    message.push_str(text);
    if offset >= 0 {
        let _ = write!(message, " at offset {offset}");
    }
    message.push_str(": ");
    message.push_str(primary_name(extended & 0xff));
    if let Some(name) = extended_name(extended) {
        let _ = write!(message, " (extended: {name})");
    }
    let error = Error::new(kind(extended), message);
    // SQLite has no code for it.
    match text.strip_prefix("no such table: ") {
        Some(table) => error.with_context(MISSING_TABLE, table),
        None => error,
    }
}

/// The error for a database file that cannot be opened: what failed, where, and what to do.
pub(super) fn cannot_open(path: &Path, source: rusqlite::Error) -> Error {
    let (reason, hint) = match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => (
            "the file is not a SQLite database",
            "point the binding at another file, or move this one away and a new database is made in its place",
        ),
        Some(rusqlite::ErrorCode::ReadOnly) => {
            ("the file cannot be written", "give this user write permission on the file and on its folder")
        }
        Some(rusqlite::ErrorCode::CannotOpen) => {
            ("the file cannot be opened", "check that the folder exists and that this user may read and write in it")
        }
        Some(rusqlite::ErrorCode::PermissionDenied) => {
            ("permission denied", "give this user write permission on the file and on its folder")
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            ("the file is damaged", "restore it from a copy; `sqlite3 FILE .recover` may save some of the data")
        }
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            ("another process keeps the file locked", "close the tool that has the database open for writing")
        }
        _ => ("SQLite refused it", "see the cause in the log"),
    };
    Error::new(ErrorKind::Unavailable, format!("cannot open database {}: {reason} ({source}); {hint}", path.display()))
        .with_context("path", path.display().to_string())
        .with_source(source)
}

fn kind(extended: i32) -> ErrorKind {
    match extended & 0xff {
        ffi::SQLITE_CONSTRAINT => match extended {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
                ErrorKind::AlreadyExists
            }
            _ => ErrorKind::ConditionFailed,
        },
        ffi::SQLITE_ERROR | ffi::SQLITE_MISMATCH | ffi::SQLITE_RANGE | ffi::SQLITE_TOOBIG => ErrorKind::InvalidInput,
        ffi::SQLITE_AUTH => ErrorKind::Unsupported,
        ffi::SQLITE_FULL | ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN | ffi::SQLITE_READONLY | ffi::SQLITE_LOCKED => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Unexpected,
    }
}

fn primary_name(code: i32) -> &'static str {
    match code {
        ffi::SQLITE_ERROR => "SQLITE_ERROR",
        ffi::SQLITE_INTERNAL => "SQLITE_INTERNAL",
        ffi::SQLITE_PERM => "SQLITE_PERM",
        ffi::SQLITE_ABORT => "SQLITE_ABORT",
        ffi::SQLITE_BUSY => "SQLITE_BUSY",
        ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
        ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
        ffi::SQLITE_READONLY => "SQLITE_READONLY",
        ffi::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
        ffi::SQLITE_IOERR => "SQLITE_IOERR",
        ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
        ffi::SQLITE_NOTFOUND => "SQLITE_NOTFOUND",
        ffi::SQLITE_FULL => "SQLITE_FULL",
        ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
        ffi::SQLITE_PROTOCOL => "SQLITE_PROTOCOL",
        ffi::SQLITE_SCHEMA => "SQLITE_SCHEMA",
        ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
        ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
        ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
        ffi::SQLITE_MISUSE => "SQLITE_MISUSE",
        ffi::SQLITE_NOLFS => "SQLITE_NOLFS",
        ffi::SQLITE_AUTH => "SQLITE_AUTH",
        ffi::SQLITE_RANGE => "SQLITE_RANGE",
        ffi::SQLITE_NOTADB => "SQLITE_NOTADB",
        _ => "SQLITE_UNKNOWN",
    }
}

/// The name of an extended code, where the extended code says more than the primary one. Only those that a statement of a
/// user can cause.
fn extended_name(code: i32) -> Option<&'static str> {
    Some(match code {
        ffi::SQLITE_CONSTRAINT_CHECK => "SQLITE_CONSTRAINT_CHECK",
        ffi::SQLITE_CONSTRAINT_COMMITHOOK => "SQLITE_CONSTRAINT_COMMITHOOK",
        ffi::SQLITE_CONSTRAINT_DATATYPE => "SQLITE_CONSTRAINT_DATATYPE",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "SQLITE_CONSTRAINT_FOREIGNKEY",
        ffi::SQLITE_CONSTRAINT_FUNCTION => "SQLITE_CONSTRAINT_FUNCTION",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "SQLITE_CONSTRAINT_NOTNULL",
        ffi::SQLITE_CONSTRAINT_PINNED => "SQLITE_CONSTRAINT_PINNED",
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "SQLITE_CONSTRAINT_PRIMARYKEY",
        ffi::SQLITE_CONSTRAINT_ROWID => "SQLITE_CONSTRAINT_ROWID",
        ffi::SQLITE_CONSTRAINT_TRIGGER => "SQLITE_CONSTRAINT_TRIGGER",
        ffi::SQLITE_CONSTRAINT_UNIQUE => "SQLITE_CONSTRAINT_UNIQUE",
        ffi::SQLITE_CONSTRAINT_VTAB => "SQLITE_CONSTRAINT_VTAB",
        ffi::SQLITE_CORRUPT_INDEX => "SQLITE_CORRUPT_INDEX",
        ffi::SQLITE_CORRUPT_SEQUENCE => "SQLITE_CORRUPT_SEQUENCE",
        ffi::SQLITE_CORRUPT_VTAB => "SQLITE_CORRUPT_VTAB",
        ffi::SQLITE_IOERR_READ => "SQLITE_IOERR_READ",
        ffi::SQLITE_IOERR_SHORT_READ => "SQLITE_IOERR_SHORT_READ",
        ffi::SQLITE_IOERR_WRITE => "SQLITE_IOERR_WRITE",
        ffi::SQLITE_IOERR_FSYNC => "SQLITE_IOERR_FSYNC",
        ffi::SQLITE_IOERR_TRUNCATE => "SQLITE_IOERR_TRUNCATE",
        ffi::SQLITE_READONLY_DBMOVED => "SQLITE_READONLY_DBMOVED",
        ffi::SQLITE_READONLY_DIRECTORY => "SQLITE_READONLY_DIRECTORY",
        ffi::SQLITE_LOCKED_VTAB => "SQLITE_LOCKED_VTAB",
        _ => return None,
    })
}
