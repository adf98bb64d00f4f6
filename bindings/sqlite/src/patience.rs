use std::time::{Duration, Instant};

use rusqlite::ErrorCode;

/// Tries again, every `pause`, as long as SQLite says that the file is busy and `timeout` is not over. For what SQLite refuses at once
/// instead of letting it wait: while one process turns a new file to WAL mode, its busy handler is not asked for the others.
///
/// # Errors
/// That of the last try.
pub fn patiently<T>(
    timeout: Duration,
    pause: Duration,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && started.elapsed() < timeout => {
                std::thread::sleep(pause);
            }
            outcome => return outcome,
        }
    }
}
