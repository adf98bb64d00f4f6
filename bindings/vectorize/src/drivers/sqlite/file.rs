//! The file of a vector index.

use std::path::Path;

use aerostack_bindings::Result;
use aerostack_sqlite::StateFile;
use rusqlite::Connection;

pub(super) const FILE: StateFile = StateFile {
    name: "the vector index",
    replace: "move it away or give the index another path",
    restart: "delete it to start with an empty index",
    first: "PRAGMA page_size = 8192;",
    // Written but not yet flushed commits may be lost with the power, never with the process. The log is moved to the file by
    // `Store::move_log`, not by SQLite.
    settings: "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;
        PRAGMA cache_size = -8000;",
    schema: SCHEMA,
    layout: 1,
};

/// An entry and its vector share a slot, which is the vector's place in memory. The slot of a deleted vector stays, without
/// an id, until another takes it; so everything that changed after a generation is found by its number. The vectors have
/// a table of their own, where looking through all metadata does not come across them.
const SCHEMA: &str = "
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
        VALUES (1, randomblob(16), 0, 0, 0);";

/// A connection to the file at `path`, which is made where it is missing.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let connection = FILE.open(path)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
