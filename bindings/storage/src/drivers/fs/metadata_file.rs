//! `metadata.sqlite`, the file of a bucket.

use std::path::Path;

use aerostack_bindings::Result;
use aerostack_sqlite::StateFile;
use rusqlite::Connection;

pub(super) const FILE: StateFile = StateFile {
    name: "the bucket's file",
    replace: "move the bucket's folder away or give the bucket another name",
    restart: "restore it, or move the bucket's folder away to start with an empty bucket",
    first: "",
    // A commit is on the disk when it returns: the bytes it names are, and an object that was acknowledged stays.
    settings: "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -8000;
        PRAGMA temp_store = MEMORY;",
    schema: SCHEMA,
    layout: 1,
};

/// The bytes of an object that was stored by one put lie in the file named by its version; those of an object in parts in the
/// files that `object_files` names. Without a row id, keys lie in the order of their bytes.
const SCHEMA: &str = "
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
    ) STRICT, WITHOUT ROWID;";

/// A connection to the file at `path`, which is made where it is missing.
pub(super) fn open(path: &Path) -> Result<Connection> {
    FILE.open(path)
}
