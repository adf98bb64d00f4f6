//! The ops behind `js/bindings/database.ts`. The only file here that knows V8.
//!
//! A call crosses twice: the text and the parameters on the way in, one flat array on the way out. Rows become objects in
//! JavaScript, where making them is cheapest.

mod columns;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use aerostack_bindings::{Calls, Error, ErrorKind, Held, Memory, Result};
use deno_core::{FromV8, OpState, ToV8, op2, v8};
use deno_error::JsErrorBox;

use columns::Columns;

use crate::blank::is_blank;
use crate::cells::CellRef;
use crate::driver::{DatabaseDriver, MISSING_TABLE, MOST_RESULT_BYTES, Rows, Statement, StatementResult, Value};
use crate::{KIND, Meta};

deno_core::extension!(
    aerostack_database,
    ops = [op_database_run, op_database_first, op_database_batch, op_database_dump],
    state = |state| state.put(Columns::default()),
);

/// The databases of one worker, in the order of its bindings. Put into `OpState` together with [`Calls`] before the first
/// call; ops name a database by its place here.
#[derive(Clone)]
pub struct Databases(pub Vec<NamedDatabase>);

/// One database and its name on `env`.
#[derive(Clone)]
pub struct NamedDatabase {
    /// The name on `env`, for example `DB`.
    pub name: Arc<str>,
    /// The database.
    pub driver: Arc<dyn DatabaseDriver>,
    /// Told of each table that a statement needs and the database lacks.
    pub lacks_table: ToldOfTable,
}

/// Is told the name of a table.
pub type ToldOfTable = Arc<dyn Fn(&str) + Send + Sync>;

/// Runs one statement.
#[op2]
async fn op_database_run(
    state: Rc<RefCell<OpState>>,
    #[smi] database: u32,
    #[scoped] sql: Sql,
    #[scoped] params: Params,
) -> Result<OneResult, DatabaseOpError> {
    run_one(&state, database, sql, params, Rows::All, "run").await
}

/// Runs one statement for its first row.
#[op2]
async fn op_database_first(
    state: Rc<RefCell<OpState>>,
    #[smi] database: u32,
    #[scoped] sql: Sql,
    #[scoped] params: Params,
) -> Result<OneResult, DatabaseOpError> {
    run_one(&state, database, sql, params, Rows::First, "first").await
}

async fn run_one(
    state: &RefCell<OpState>,
    database: u32,
    Sql(sql): Sql,
    Params { values, bytes }: Params,
    rows: Rows,
    op: &'static str,
) -> Result<OneResult, DatabaseOpError> {
    if is_blank(&sql) {
        return Err(no_statements().into());
    }
    let Handles { database, calls, columns } = Handles::from_state(state, database)?;
    let memory = calls.memory().clone();
    let _arguments = count_arguments(&memory, bytes + sql.len())?;
    let statements = vec![Statement { sql, params: values, rows, memory }];
    let outcome = calls.call(KIND, &database.name, op, database.driver.run(statements)).await;
    let mut results = outcome.map_err(|error| database.seen(error))?;
    let result = results.pop().ok_or_else(|| Error::new(ErrorKind::Unexpected, "a statement returned no result"))?;
    Ok(OneResult { result, columns })
}

/// Runs several statements in one transaction. They come as `[sql, params, sql, params, ...]`; blank ones are dropped.
#[op2]
async fn op_database_batch(
    state: Rc<RefCell<OpState>>,
    #[smi] database: u32,
    #[scoped] statements: Statements,
) -> Result<AllResults, DatabaseOpError> {
    let Statements { mut statements, bytes } = statements;
    statements.retain(|statement| !is_blank(&statement.sql));
    if statements.is_empty() {
        return Err(no_statements().into());
    }
    let Handles { database, calls, columns } = Handles::from_state(&state, database)?;
    let _arguments = count_arguments(calls.memory(), bytes)?;
    for statement in &mut statements {
        statement.memory = calls.memory().clone();
    }
    let outcome = calls.call(KIND, &database.name, "batch", database.driver.run(statements)).await;
    let results = outcome.map_err(|error| database.seen(error))?;
    Ok(AllResults(results.into_iter().map(|result| OneResult { result, columns: columns.clone() }).collect()))
}

/// Has texts and parameters count, where they are worth it.
fn count_arguments(memory: &Memory, bytes: usize) -> Result<Option<Held>> {
    (bytes > Memory::FREE).then(|| memory.hold(bytes)).transpose()
}

/// The whole database as an `ArrayBuffer`.
#[op2]
#[arraybuffer]
async fn op_database_dump(state: Rc<RefCell<OpState>>, #[smi] database: u32) -> Result<Vec<u8>, DatabaseOpError> {
    let Handles { database, calls, .. } = Handles::from_state(&state, database)?;
    Ok(calls.call(KIND, &database.name, "dump", database.driver.dump(calls.memory())).await?)
}

impl NamedDatabase {
    /// Tells of a table that is missing.
    fn seen(&self, error: Error) -> Error {
        if let Some((_, table)) = error.context().iter().find(|(name, _)| *name == MISSING_TABLE) {
            (self.lacks_table)(table);
        }
        error
    }
}

fn no_statements() -> Error {
    Error::new(ErrorKind::InvalidInput, "No SQL statements detected.")
}

/// A failed call. JavaScript puts the frame (`D1_ERROR: `) around the message.
#[derive(Debug, thiserror::Error, deno_error::JsError)]
enum DatabaseOpError {
    #[class(generic)]
    #[error("{0}")]
    Failed(Error),
}

impl From<Error> for DatabaseOpError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a call needs from `OpState`, cloned out of it so that nothing is borrowed while the call runs.
struct Handles {
    database: NamedDatabase,
    calls: Calls,
    columns: Columns,
}

impl Handles {
    fn from_state(state: &RefCell<OpState>, database: u32) -> Result<Self, Error> {
        let state = state.borrow();
        let Databases(databases) = state.borrow::<Databases>();
        let database = databases
            .get(database as usize)
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "this worker has no such database"))?;
        Ok(Self {
            database: database.clone(),
            calls: state.borrow::<Calls>().clone(),
            columns: state.borrow::<Columns>().clone(),
        })
    }
}

/// The text of a statement.
struct Sql(String);

impl<'a> FromV8<'a> for Sql {
    type Error = JsErrorBox;

    fn from_v8(scope: &mut v8::PinScope<'a, '_>, value: v8::Local<'a, v8::Value>) -> Result<Self, Self::Error> {
        let text = v8::Local::<v8::String>::try_from(value).map_err(|_| bad_argument("a statement is a text"))?;
        checked_sum(0, text.length())?;
        Ok(Self(text.to_rust_string_lossy(scope)))
    }
}

/// The parameters of one statement: `null`, numbers, strings, booleans and byte arrays, as `bind()` left them.
#[derive(Default)]
struct Params {
    values: Vec<Value>,
    /// Of texts and blobs.
    bytes: usize,
}

/// The statements of a batch.
#[derive(Default)]
struct Statements {
    statements: Vec<Statement>,
    /// Of their texts and parameters.
    bytes: usize,
}

impl<'a> FromV8<'a> for Params {
    type Error = JsErrorBox;

    fn from_v8(scope: &mut v8::PinScope<'a, '_>, value: v8::Local<'a, v8::Value>) -> Result<Self, Self::Error> {
        let array = v8::Local::<v8::Array>::try_from(value).map_err(|_| bad_argument("parameters must be an array"))?;
        let length = array.length();
        let mut params = Self { values: Vec::with_capacity(length as usize), bytes: 0 };
        for index in 0..length {
            let value = array.get_index(scope, index).ok_or_else(|| bad_argument("a parameter cannot be read"))?;
            params.push(scope, value)?;
        }
        Ok(params)
    }
}

impl Params {
    fn push<'a>(
        &mut self,
        scope: &mut v8::PinScope<'a, '_>,
        value: v8::Local<'a, v8::Value>,
    ) -> Result<(), JsErrorBox> {
        let value = if let Ok(number) = v8::Local::<v8::Number>::try_from(value) {
            Value::Real(number.value())
        } else if let Ok(text) = v8::Local::<v8::String>::try_from(value) {
            self.bytes = checked_sum(self.bytes, text.length())?;
            Value::Text(text.to_rust_string_lossy(scope))
        } else if value.is_null() {
            Value::Null
        } else if value.is_boolean() {
            Value::Real(f64::from(u8::from(value.is_true())))
        } else {
            let view = v8::Local::<v8::ArrayBufferView>::try_from(value)
                .map_err(|_| bad_argument("a parameter is of a kind that cannot be bound"))?;
            self.bytes = checked_sum(self.bytes, view.byte_length())?;
            let mut bytes = vec![0; view.byte_length()];
            let copied = view.copy_contents(&mut bytes);
            bytes.truncate(copied);
            Value::Blob(bytes)
        };
        self.values.push(value);
        Ok(())
    }
}

impl<'a> FromV8<'a> for Statements {
    type Error = JsErrorBox;

    fn from_v8(scope: &mut v8::PinScope<'a, '_>, value: v8::Local<'a, v8::Value>) -> Result<Self, Self::Error> {
        let array = v8::Local::<v8::Array>::try_from(value).map_err(|_| bad_argument("statements must be an array"))?;
        let unreadable = || bad_argument("a statement cannot be read");
        let mut all = Self { statements: Vec::with_capacity(array.length() as usize / 2), bytes: 0 };
        for index in (0..array.length()).step_by(2) {
            let sql = array.get_index(scope, index).ok_or_else(unreadable)?;
            let sql = v8::Local::<v8::String>::try_from(sql).map_err(|_| unreadable())?;
            all.bytes = checked_sum(all.bytes, sql.length())?;
            let sql = sql.to_rust_string_lossy(scope);
            let params = array.get_index(scope, index + 1).ok_or_else(unreadable)?;
            let Params { values, bytes } = Params::from_v8(scope, params)?;
            all.bytes = checked_sum(all.bytes, bytes)?;
            all.statements.push(Statement::with_params(sql, values));
        }
        Ok(all)
    }
}

/// The bytes of a call's texts and parameters so far; an error where they are too many to be copied at all. JavaScript may hold one
/// long string in a thousand places; here each is a string of its own.
fn checked_sum(bytes: usize, more: usize) -> Result<usize, JsErrorBox> {
    let sum = bytes + more;
    if sum > MOST_RESULT_BYTES {
        return Err(bad_argument("string or blob too big: SQLITE_TOOBIG"));
    }
    Ok(sum)
}

fn bad_argument(message: &'static str) -> JsErrorBox {
    JsErrorBox::type_error(message)
}

/// The result of one statement, on its way to JavaScript as
/// `[columns, cells, duration, changes, last_row_id, changed_db, size_after, rows_read, rows_written, version, to_row]`.
struct OneResult {
    result: StatementResult,
    columns: Columns,
}

/// The results of a batch, in order.
struct AllResults(Vec<OneResult>);

impl<'a> ToV8<'a> for OneResult {
    type Error = JsErrorBox;

    fn to_v8(self, scope: &mut v8::PinScope<'a, '_>) -> Result<v8::Local<'a, v8::Value>, Self::Error> {
        let StatementResult { columns, cells, meta } = self.result;
        let width = columns.len();
        let columns = self.columns.in_v8(scope, &columns)?;
        // Nearly all are, and one look at all is quicker than one at each.
        let make_string = if cells.text().is_ascii() { ascii_string } else { string };
        // The last text of each column: lists repeat many from one row to the next, a state, an owner, a day.
        let mut above = vec![("", v8::String::empty(scope)); width];
        let mut values = Vec::with_capacity(cells.len());
        for (place, cell) in cells.iter().enumerate() {
            values.push(match cell {
                CellRef::Null => v8::null(scope).into(),
                CellRef::Integer(number) => whole(scope, number as f64),
                CellRef::Real(number) => v8::Number::new(scope, number).into(),
                CellRef::Text(text) => {
                    let above = &mut above[place % width];
                    if above.0 != text {
                        *above = (text, make_string(scope, text, v8::NewStringType::Normal)?);
                    }
                    above.1.into()
                }
                CellRef::Blob(bytes) => numbers(scope, bytes).into(),
            });
        }
        let cells = v8::Array::new_with_elements(scope, &values);
        let Meta { duration_ms, changes, last_row_id, changed_db, size_after, rows_read, rows_written, version } = meta;
        let parts = [
            columns.names.into(),
            cells.into(),
            v8::Number::new(scope, duration_ms).into(),
            whole(scope, changes as f64),
            whole(scope, last_row_id as f64),
            v8::Boolean::new(scope, changed_db).into(),
            whole(scope, size_after as f64),
            whole(scope, rows_read as f64),
            whole(scope, rows_written as f64),
            whole(scope, version as f64),
            columns.to_row,
        ];
        Ok(v8::Array::new_with_elements(scope, &parts).into())
    }
}

impl<'a> ToV8<'a> for AllResults {
    type Error = JsErrorBox;

    fn to_v8(self, scope: &mut v8::PinScope<'a, '_>) -> Result<v8::Local<'a, v8::Value>, Self::Error> {
        let mut results = Vec::with_capacity(self.0.len());
        for result in self.0 {
            results.push(result.to_v8(scope)?);
        }
        Ok(v8::Array::new_with_elements(scope, &results).into())
    }
}

/// D1 hands out a plain array of numbers, not a Uint8Array (contract section 1.3).
fn numbers<'a>(scope: &mut v8::PinScope<'a, '_>, bytes: &[u8]) -> v8::Local<'a, v8::Array> {
    // The handles of one blob are gone before the next.
    v8::escapable_handle_scope!(let scope, scope);
    let numbers: Vec<v8::Local<v8::Value>> =
        bytes.iter().map(|byte| v8::Integer::new(scope, i32::from(*byte)).into()).collect();
    let numbers = v8::Array::new_with_elements(scope, &numbers);
    scope.escape(numbers)
}

/// A number without a fraction: a small one needs no memory of its own in V8.
fn whole<'a>(scope: &mut v8::PinScope<'a, '_>, number: f64) -> v8::Local<'a, v8::Value> {
    if number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX) {
        v8::Integer::new(scope, number as i32).into()
    } else {
        v8::Number::new(scope, number).into()
    }
}

fn string<'a>(
    scope: &mut v8::PinScope<'a, '_>,
    text: &str,
    kind: v8::NewStringType,
) -> Result<v8::Local<'a, v8::String>, JsErrorBox> {
    if text.is_ascii() {
        return ascii_string(scope, text, kind);
    }
    v8::String::new_from_utf8(scope, text.as_bytes(), kind).ok_or_else(too_long)
}

/// The same for a text that is known to be ASCII.
fn ascii_string<'a>(
    scope: &mut v8::PinScope<'a, '_>,
    text: &str,
    kind: v8::NewStringType,
) -> Result<v8::Local<'a, v8::String>, JsErrorBox> {
    v8::String::new_from_one_byte(scope, text.as_bytes(), kind).ok_or_else(too_long)
}

fn too_long() -> JsErrorBox {
    JsErrorBox::range_error("a string of the result is longer than V8 can hold")
}
