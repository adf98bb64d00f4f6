//! One compiled statement: binding, stepping, reading rows.
//!
//! rusqlite's own statements borrow their connection and cannot be kept beside it together with what we know of them, so
//! this wraps SQLite's directly.

use std::ffi::CStr;
use std::os::raw::c_int;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use aerostack_bindings::{Error, ErrorKind, Memory};
use rusqlite::ffi;

use super::counts::{Profile, Steps, take_steps};
use super::errors::{Failure, failure};
use crate::cells::{CellRef, Cells};
use crate::driver::{MOST_RESULT_BYTES, Rows, Statement, Value};

/// What one step of a statement led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is a row to read.
    Row,
    /// The statement is through.
    Done,
}

/// What a run is given, and what it is to bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand<'a> {
    pub(super) params: &'a [Value],
    pub(super) rows: Rows,
    pub(super) memory: &'a Memory,
}

impl Demand<'_> {
    /// A statement of ours: nothing is given, and little comes of it.
    pub(super) const OWN: Self = Self { params: &[], rows: Rows::All, memory: &Memory::unlimited() };

    /// The same without parameters: for a statement of a text that is not its last.
    pub(super) fn without_params(self) -> Self {
        Self { params: &[], ..self }
    }
}

impl<'a> From<&'a Statement> for Demand<'a> {
    fn from(statement: &'a Statement) -> Self {
        Self { params: &statement.params, rows: statement.rows, memory: &statement.memory }
    }
}

/// What a run of a statement left behind.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) columns: Arc<[String]>,
    pub(super) cells: Cells,
    pub(super) steps: Steps,
    pub(super) profile: Profile,
    pub(super) effect: Effect,
}

/// What a statement may do to the database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Leaves it as it is.
    Reads,
    /// May change it.
    Writes,
}

/// A compiled statement. Must be dropped before its connection is closed.
#[derive(Debug)]
pub(super) struct Prepared {
    raw: NonNull<ffi::sqlite3_stmt>,
    columns: Arc<[String]>,
    parameter_count: usize,
    /// How many cells the last run had, and how many bytes of text: the next one probably has as many.
    last_cells: usize,
    last_text: usize,
    /// The values that stay bound between runs, of a statement that SQLite compiles anew whenever it is given one: it looks at them to
    /// plan (`LIMIT ?`). Others have none.
    kept: Vec<Value>,
    /// When the statement was last used, in uses of its connection.
    pub(super) last_used: u64,
    /// Whether it changes settings of its connection.
    pub(super) sets_pragma: bool,
    /// Whether it must not be kept: what it answers, or whether it may run, was decided when it was compiled.
    pub(super) is_for_once: bool,
    pub(super) profile: Profile,
}

// SAFETY: a statement belongs to its connection, and both move between threads together; SQLite is built with threads in mind
// (SQLITE_THREADSAFE=1), and no two threads use one connection at the same time.
unsafe impl Send for Prepared {}

impl Prepared {
    /// Compiles the first statement of a text. Also returns how many bytes of the text it took. `None` when there was nothing
    /// but blanks and comments.
    ///
    /// # Safety
    /// `db` must be an open connection, used by this thread only, that outlives the statement.
    pub(super) unsafe fn new(db: *mut ffi::sqlite3, sql: &str) -> Result<(Option<Self>, usize), Failure> {
        let length = c_int::try_from(sql.len())
            .map_err(|_| Failure::Refused(Error::new(ErrorKind::InvalidInput, "statement too long: SQLITE_TOOBIG")))?;
        let mut raw = ptr::null_mut();
        let mut tail = ptr::null();
        // SAFETY: the text is `length` bytes long, and SQLite stops there; the out-pointers are ours.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                db,
                sql.as_ptr().cast(),
                length,
                ffi::SQLITE_PREPARE_PERSISTENT,
                &raw mut raw,
                &raw mut tail,
            )
        };
        if code != ffi::SQLITE_OK {
            // SAFETY: the caller vouches for `db`.
            return Err(unsafe { failure(db, code) });
        }
        let consumed = if tail.is_null() { sql.len() } else { tail.addr() - sql.as_ptr().addr() };
        let Some(raw) = NonNull::new(raw) else { return Ok((None, consumed)) };
        // SAFETY: the statement was just compiled.
        let parameter_count = unsafe { ffi::sqlite3_bind_parameter_count(raw.as_ptr()) };
        let mut prepared = Self {
            raw,
            columns: Arc::new([]),
            parameter_count: usize::try_from(parameter_count).unwrap_or(0),
            last_cells: 0,
            last_text: 0,
            kept: Vec::new(),
            last_used: 0,
            sets_pragma: false,
            is_for_once: false,
            profile: Profile::default(),
        };
        prepared.columns = prepared.read_columns();
        Ok((Some(prepared), consumed))
    }

    pub(super) fn raw(&self) -> *mut ffi::sqlite3_stmt {
        self.raw.as_ptr()
    }

    pub(super) fn effect(&self) -> Effect {
        // SAFETY: the statement is alive as long as `self` is.
        if unsafe { ffi::sqlite3_stmt_readonly(self.raw()) != 0 } { Effect::Reads } else { Effect::Writes }
    }

    /// Whether the statement is an `EXPLAIN`.
    pub(super) fn is_explain(&self) -> bool {
        // SAFETY: as above.
        unsafe { ffi::sqlite3_stmt_isexplain(self.raw()) != 0 }
    }

    pub(super) fn parameter_count(&self) -> usize {
        self.parameter_count
    }

    /// Binds, steps and collects the rows that are asked for. The statement is reset afterwards, whatever happened.
    ///
    /// # Safety
    /// `db` must be the statement's connection, used by this thread only.
    pub(super) unsafe fn run(&mut self, db: *mut ffi::sqlite3, demand: Demand<'_>) -> Result<Output, Failure> {
        let params = demand.params;
        if params.len() != self.parameter_count {
            return Err(Error::new(ErrorKind::InvalidInput, "Wrong number of parameter bindings for SQL query.").into());
        }
        // SAFETY: the parameters outlive the run, and the reset at its end unbinds them, but for those that are the statement's own.
        unsafe {
            let keeps = !self.kept.is_empty() && params.iter().all(is_small);
            let reset = ResetAtEnd { statement: self.raw, bound: if keeps { Bound::Stays } else { Bound::Goes } };
            let bound = if keeps { self.bind_changed(db, params) } else { self.bind(db, 0, params) };
            let cells = bound.and_then(|()| self.read_rows(db, demand));
            // Also of a run that failed: the next one begins at zero.
            let steps = take_steps(self.raw());
            drop(reset);
            if !self.kept.is_empty() && (!keeps || cells.is_err()) {
                self.forget_bound();
            }
            let effect = self.effect();
            Ok(Output { columns: Arc::clone(&self.columns), cells: cells?, steps, profile: self.profile, effect })
        }
    }

    /// Steps to the end, or to the first row where nobody asks for more.
    ///
    /// # Safety
    /// `db` must be the statement's connection, used by this thread only, and the statement bound.
    unsafe fn read_rows(&mut self, db: *mut ffi::sqlite3, demand: Demand<'_>) -> Result<Cells, Failure> {
        let mut cells = Cells::with_capacity(self.last_cells, self.last_text);
        // SAFETY: the caller vouches for the connection, and rows are read right after the step that led to them.
        unsafe {
            let mut step = self.step(db)?;
            // A schema that changed makes SQLite compile the statement again at its first step, maybe with other columns. So does a
            // new value where it looks at values to plan (`LIMIT ?`), with the same ones: who knows them by their address still does.
            if ffi::sqlite3_stmt_status(self.raw(), ffi::SQLITE_STMTSTATUS_REPREPARE, 1) != 0 {
                let columns = self.read_columns();
                if columns != self.columns {
                    self.columns = columns;
                }
                if self.kept.is_empty() {
                    // Nothing is bound after this run.
                    self.kept = vec![Value::Null; self.parameter_count];
                }
            }
            let width = self.columns.len();
            let is_one_enough = demand.rows == Rows::First && self.effect() == Effect::Reads;
            // Small results are not counted: then a row costs a comparison.
            let mut allowed = Memory::FREE;
            let mut held = None;
            while step == Step::Row {
                self.read_row(width, &mut cells);
                if cells.taken() > allowed {
                    if cells.weight() > MOST_RESULT_BYTES {
                        return Err(result_too_large().into());
                    }
                    allowed = cells.taken() + COUNTED_STEP;
                    held.get_or_insert_with(|| demand.memory.hold_anyway(0)).grow_to(allowed)?;
                }
                if is_one_enough {
                    break;
                }
                step = self.step(db)?;
            }
            if let Some(held) = held {
                cells.keep(held);
            }
        }
        // Room for very many is not made beforehand: the next parameters may lead to few.
        self.last_cells = cells.len().min(EXPECTED_CELLS);
        self.last_text = cells.text().len().min(EXPECTED_TEXT);
        Ok(cells)
    }

    /// Takes one step.
    ///
    /// # Safety
    /// `db` must be the statement's connection, used by this thread only.
    pub(super) unsafe fn step(&self, db: *mut ffi::sqlite3) -> Result<Step, Failure> {
        // SAFETY: the caller vouches for the connection.
        match unsafe { ffi::sqlite3_step(self.raw()) } {
            ffi::SQLITE_ROW => Ok(Step::Row),
            ffi::SQLITE_DONE => Ok(Step::Done),
            // SAFETY: as above.
            code => Err(unsafe { failure(db, code) }),
        }
    }

    /// Binds what differs from what is bound. The values stay where they are for as long as they are bound: in `kept`.
    ///
    /// # Safety
    /// `db` must be the statement's connection, used by this thread only.
    unsafe fn bind_changed(&mut self, db: *mut ffi::sqlite3, params: &[Value]) -> Result<(), Failure> {
        for (place, value) in params.iter().enumerate() {
            if !is_same(&self.kept[place], value) {
                self.kept[place] = value.clone();
                // SAFETY: the caller vouches for the connection; the value before is not looked at any more.
                unsafe { self.bind(db, place, &self.kept[place..=place])? };
            }
        }
        Ok(())
    }

    /// Unbinds all.
    fn forget_bound(&mut self) {
        // SAFETY: the statement is alive.
        unsafe { ffi::sqlite3_clear_bindings(self.raw()) };
        self.kept.fill(Value::Null);
    }

    /// Binds values to the parameters from one on.
    ///
    /// # Safety
    /// `db` must be the statement's connection, and the values must stay where they are for as long as they are bound.
    unsafe fn bind(&self, db: *mut ffi::sqlite3, first: usize, params: &[Value]) -> Result<(), Failure> {
        for (index, value) in (1 + first as c_int..).zip(params) {
            // SAFETY: pointers and lengths belong together; SQLite does not copy (`SQLITE_STATIC`), and the caller keeps the
            // values in place. Empty strings and blobs have a dangling pointer that is not null, which SQLite takes as empty.
            let code = unsafe {
                match value {
                    Value::Null => ffi::sqlite3_bind_null(self.raw(), index),
                    // As JSON, in which D1 sends them: without infinities, and with one zero.
                    Value::Real(number) if !number.is_finite() => ffi::sqlite3_bind_null(self.raw(), index),
                    Value::Real(number) => ffi::sqlite3_bind_double(self.raw(), index, *number + 0.0),
                    Value::Text(text) => ffi::sqlite3_bind_text64(
                        self.raw(),
                        index,
                        text.as_ptr().cast(),
                        text.len() as u64,
                        ffi::SQLITE_STATIC(),
                        ENCODING_UTF8,
                    ),
                    Value::Blob(bytes) => ffi::sqlite3_bind_blob64(
                        self.raw(),
                        index,
                        bytes.as_ptr().cast(),
                        bytes.len() as u64,
                        ffi::SQLITE_STATIC(),
                    ),
                }
            };
            if code != ffi::SQLITE_OK {
                // SAFETY: `db` is this statement's connection.
                return Err(unsafe { failure(db, code) });
            }
        }
        Ok(())
    }

    /// # Safety
    /// The last step must have led to a row, and `width` must be its number of columns.
    unsafe fn read_row(&self, width: usize, cells: &mut Cells) {
        for column in 0..width as c_int {
            // SAFETY: the caller vouches for the row; text and blob pointers are valid until the next step and are copied. The
            // pointer is asked for before the length, as SQLite wants it. The value of a column may be asked itself, which spares
            // SQLite to find it three times, because the connection was opened without a mutex to protect it.
            unsafe {
                let value = ffi::sqlite3_column_value(self.raw(), column);
                match ffi::sqlite3_value_type(value) {
                    ffi::SQLITE_INTEGER => cells.push(CellRef::Integer(ffi::sqlite3_value_int64(value))),
                    ffi::SQLITE_FLOAT => {
                        let number = ffi::sqlite3_value_double(value);
                        // As JSON, in which D1 sends rows: without infinities, and with one zero.
                        cells.push(if number.is_finite() { CellRef::Real(number + 0.0) } else { CellRef::Null });
                    }
                    ffi::SQLITE_TEXT => {
                        let text = ffi::sqlite3_value_text(value);
                        let bytes = bytes_at(text, ffi::sqlite3_value_bytes(value));
                        match str::from_utf8(bytes) {
                            Ok(text) => cells.push(CellRef::Text(text)),
                            Err(_) => cells.push(CellRef::Text(&String::from_utf8_lossy(bytes))),
                        }
                    }
                    ffi::SQLITE_BLOB => {
                        let blob = ffi::sqlite3_value_blob(value);
                        cells.push(CellRef::Blob(bytes_at(blob.cast(), ffi::sqlite3_value_bytes(value))));
                    }
                    _ => cells.push(CellRef::Null),
                }
            }
        }
    }

    fn read_columns(&self) -> Arc<[String]> {
        // SAFETY: the statement is alive; names are copied at once.
        unsafe {
            (0..ffi::sqlite3_column_count(self.raw()))
                .map(|column| {
                    let name = ffi::sqlite3_column_name(self.raw(), column);
                    // The name is null only when memory ran out.
                    if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
                })
                .collect()
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // SAFETY: the statement is alive, and nothing uses it after this.
        unsafe { ffi::sqlite3_finalize(self.raw()) };
    }
}

/// How many more bytes of a large result are counted at once.
const COUNTED_STEP: usize = 1024 * 1024;

fn result_too_large() -> Error {
    let text = format!(
        "query result is larger than {} MB: ask for fewer rows or columns at once: SQLITE_TOOBIG",
        MOST_RESULT_BYTES / 1_000_000
    );
    Error::new(ErrorKind::InvalidInput, text)
}

/// For how many cells, and bytes of text, room is made before they are read, at most.
const EXPECTED_CELLS: usize = 4096;
const EXPECTED_TEXT: usize = 64 * 1024;

/// `SQLITE_UTF8` with the type that `sqlite3_bind_text64` wants.
const ENCODING_UTF8: u8 = 1;

/// Whether a value may stay bound: large ones would hold memory for nothing.
fn is_small(value: &Value) -> bool {
    match value {
        Value::Null | Value::Real(_) => true,
        Value::Text(text) => text.len() <= SMALL_BYTES,
        Value::Blob(bytes) => bytes.len() <= SMALL_BYTES,
    }
}

const SMALL_BYTES: usize = 1024;

/// Whether two values are the same in SQL, too: 0.0 and -0.0 are not.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Real(one), Value::Real(other)) => one.to_bits() == other.to_bits(),
        _ => one == other,
    }
}

/// Resets a statement when the run ends, so that its read lock and the borrowed parameters are let go.
struct ResetAtEnd {
    statement: NonNull<ffi::sqlite3_stmt>,
    bound: Bound,
}

/// What becomes of the bound values at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// They are the statement's own.
    Stays,
    /// They are the caller's.
    Goes,
}

impl Drop for ResetAtEnd {
    fn drop(&mut self) {
        // SAFETY: the statement outlives its run. The code that reset returns repeats that of the last step.
        unsafe {
            ffi::sqlite3_reset(self.statement.as_ptr());
            if self.bound == Bound::Goes {
                ffi::sqlite3_clear_bindings(self.statement.as_ptr());
            }
        }
    }
}

/// # Safety
/// `start` must point at `length` bytes that stay valid for `'a`, or `length` must be zero.
unsafe fn bytes_at<'a>(start: *const u8, length: c_int) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: the caller vouches for it.
        Ok(length) if length > 0 && !start.is_null() => unsafe { std::slice::from_raw_parts(start, length) },
        _ => &[],
    }
}
