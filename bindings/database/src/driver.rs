//! What a database behind a `DB` binding must do, and the values that cross.

use std::sync::Arc;

use aerostack_bindings::{Memory, Result};
use async_trait::async_trait;

use crate::cells::{Cell, Cells};

/// What every database behind a `DB` binding can do. Knows neither V8 nor TOML.
///
/// Errors carry in [`message`](aerostack_bindings::Error::message) the text of contract section 1.6 *without* the
/// `D1_ERROR: ` frame, for example
/// `UNIQUE constraint failed: users.email: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)`; the JavaScript face adds
/// the frame.
#[async_trait]
pub trait DatabaseDriver: Send + Sync {
    /// What this database is and what it can do. Opens nothing.
    fn info(&self) -> DatabaseInfo;

    /// Runs statements in order and returns one result each, in the same order.
    ///
    /// One statement runs standalone. Several run in one transaction: when one fails none has happened, and the error is that
    /// one's. A write waits for other writers instead of failing. When the future is dropped before it is ready, the
    /// statements either all happened or none did, and no transaction stays open.
    ///
    /// A result of more than [`MOST_RESULT_BYTES`] is an error, and so is one that [`Statement::memory`] has no room for. Both come
    /// before the memory is taken.
    ///
    /// A driver that is quick enough finishes on the first poll, so that the caller needs no trip through an event loop.
    async fn run(&self, statements: Vec<Statement>) -> Result<Vec<StatementResult>>;

    /// The whole database as the bytes of one SQLite file, which count in `memory` while they are put together. `Unsupported` where
    /// [`Capabilities::dump`] is false.
    async fn dump(&self, memory: &Memory) -> Result<Vec<u8>>;
}

/// The name of the context ([`aerostack_bindings::Error::context`]) that holds the table which a statement needs and the database lacks.
pub const MISSING_TABLE: &str = "missing_table";

/// The largest result of one statement, as [`Cells::weight`] counts it: D1's own limit.
pub const MOST_RESULT_BYTES: usize = 50_000_000;

/// What the start table and the conformance suite need to know of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseInfo {
    /// The driver's name, for example `sqlite`.
    pub driver: &'static str,
    /// Where the data is, for example `.aerostack/database/local-db.sqlite`. Never holds a secret.
    pub location: String,
    /// What this driver can do.
    pub capabilities: Capabilities,
}

/// Where drivers differ. The conformance suite chooses its trials by these, never by a driver's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// [`DatabaseDriver::dump`] works.
    pub dump: bool,
    /// A second driver opened on the same place sees and may change the same data at the same time.
    pub shared: bool,
    /// The limits and refusals of contract section 1.7 hold (statement length, bound parameters, `ATTACH`, ...).
    pub d1_limits: bool,
    /// The rows a statement read and wrote are counted, see [`Meta::rows_read`].
    pub row_counts: bool,
    /// Short calls of one thread take effect in the order in which they are made, also where none waits for the one before.
    pub in_order: bool,
}

/// One statement with its parameters.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statement {
    /// The text, as the user wrote it. May hold several statements; then only the last may have parameters.
    pub sql: String,
    /// The values for `?`, `?1`, ... in order.
    pub params: Vec<Value>,
    /// How much of the result is asked for.
    pub rows: Rows,
    /// Where the result counts, and what the database needs to find it.
    pub memory: Memory,
}

/// How many rows of a statement are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rows {
    /// All of them.
    #[default]
    All,
    /// The first. A driver may look for more of a statement that changes something, which is run to its end.
    First,
}

impl Statement {
    /// A statement without parameters.
    pub fn new(sql: impl Into<String>) -> Self {
        Self::with_params(sql, [])
    }

    /// A statement with parameters.
    pub fn with_params(sql: impl Into<String>, params: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), params: params.into(), ..Self::default() }
    }
}

/// A bound value. There is no integer on purpose: D1 binds every JavaScript number as a double (contract section 1.2), and
/// the affinity of the column turns it back into an integer.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// A number or a boolean.
    Real(f64),
    /// A string.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// What one statement returned.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementResult {
    /// The names of the columns, shared with the cached statement. Its length is the width of a row; empty when the
    /// statement returns no rows (a plain write).
    pub columns: Arc<[String]>,
    /// The cells of all rows, one row after the other.
    pub cells: Cells,
    /// What the statement did.
    pub meta: Meta,
}

impl StatementResult {
    /// The rows, each as wide as [`StatementResult::columns`].
    pub fn rows(&self) -> Vec<Vec<Cell>> {
        let width = self.columns.len().max(1);
        let mut cells = self.cells.iter().map(Cell::from);
        (0..self.cells.len() / width).map(|_| cells.by_ref().take(width).collect()).collect()
    }
}

/// What one statement did (contract section 1.5).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Meta {
    /// Milliseconds the statement ran, without the time it waited for its turn.
    pub duration_ms: f64,
    /// Rows inserted, updated and deleted, those of triggers and foreign key actions included.
    pub changes: u64,
    /// The rowid of the newest row inserted into this database by this process.
    pub last_row_id: i64,
    /// Whether the statement changed the database.
    pub changed_db: bool,
    /// Size of the database in bytes after the statement.
    pub size_after: u64,
    /// Rows read, see `drivers/sqlite/counts.rs` for what counts.
    pub rows_read: u64,
    /// Rows written, the entries of indexes included.
    pub rows_written: u64,
    /// A number that grows with every write of this process and across its restarts; below 2^53. The source of session
    /// bookmarks.
    pub version: u64,
}
