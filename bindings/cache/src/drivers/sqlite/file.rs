//! The file of a cache.

use std::path::Path;

use aerostack_bindings::Result;
use aerostack_sqlite::StateFile;
use rusqlite::Connection;

pub(super) const FILE: StateFile = StateFile {
    name: "the cache file",
    replace: "move it away or give the cache another path",
    restart: "delete it to start with an empty cache",
    first: "",
    // Written but not yet flushed commits may be lost with the power, never with the process. The log is moved to the file by
    // `Store::move_log`, not by SQLite.
    settings: "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 16777216;
        PRAGMA cache_size = -8000;",
    schema: SCHEMA,
    layout: 1,
};

/// Without a row id, the key, the expiry and the metadata lie together in one tree in the order of the keys' bytes, and a long
/// value beside it, where a listing does not come across it.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS cache_entries (
        key TEXT NOT NULL PRIMARY KEY,
        expires_at INTEGER, -- seconds since 1970
        metadata TEXT, -- JSON
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS cache_entries_by_expiry ON cache_entries (expires_at) WHERE expires_at IS NOT NULL;";

/// A connection to the file at `path`, which is made where it is missing.
pub(super) fn open(path: &Path) -> Result<Connection> {
    FILE.open(path)
}
