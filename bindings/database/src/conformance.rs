//! The behaviour that every database driver must show, as trials for `libtest-mimic`.
//!
//! Trials are chosen by what a driver says it can do, never by its name. The expected texts and numbers are those of the
//! contract, sections 1.2 to 1.7.

mod basics;
mod bounds;
mod concurrency;
mod errors;
mod meta;
mod model;
mod together;

use std::path::Path;
use std::sync::Arc;

use aerostack_bindings::{Error, Result};
use libtest_mimic::{Failed, Trial};

use crate::cells::Cell;
use crate::driver::{Capabilities, DatabaseDriver, Statement, StatementResult, Value};

/// Opens the database that belongs to a folder: the same folder again is the same database, another folder another one. The
/// driver may keep its files in the folder or only use its name.
pub type Opener = Arc<dyn Fn(&Path) -> Result<Arc<dyn DatabaseDriver>> + Send + Sync>;

/// All trials for a driver that can do what `capabilities` says. `name` begins the name of each trial.
pub fn trials(name: &str, capabilities: Capabilities, open: &Opener) -> Vec<Trial> {
    let mut cases = basics::cases();
    cases.extend(bounds::cases());
    cases.extend(errors::cases());
    cases.extend(meta::cases());
    cases.extend(model::cases());
    cases.extend(concurrency::cases());
    cases.extend(together::cases());
    cases
        .into_iter()
        .map(|case| {
            let open = Arc::clone(open);
            let is_ignored = !(case.needs)(capabilities);
            Trial::test(format!("{name}::{}", case.name), move || run(case.trial, &open)).with_ignored_flag(is_ignored)
        })
        .collect()
}

/// One trial, and what a driver must be able to do to pass it.
struct Case {
    name: &'static str,
    needs: fn(Capabilities) -> bool,
    trial: fn(&Place) -> Outcome,
}

type Outcome = std::result::Result<(), Failed>;

/// A fresh database in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
    open: Opener,
    driver: Arc<dyn DatabaseDriver>,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    /// One more driver on the same database.
    fn second(&self) -> Result<Arc<dyn DatabaseDriver>> {
        (self.open)(self.folder.path())
    }

    /// Runs statements as one call and returns their results.
    fn call(&self, statements: Vec<Statement>) -> Result<Vec<StatementResult>> {
        self.runtime.block_on(self.driver.run(statements))
    }

    /// Runs one statement with parameters.
    fn run_with(&self, sql: &str, params: &[Value]) -> Result<StatementResult> {
        let mut results = self.call(vec![Statement::with_params(sql, params)])?;
        Ok(results.remove(0))
    }

    /// Runs one statement.
    fn run(&self, sql: &str) -> Result<StatementResult> {
        self.run_with(sql, &[])
    }

    /// The cells of the rows of a query.
    fn cells(&self, sql: &str) -> Result<Vec<Cell>> {
        Ok(self.run(sql)?.cells.to_vec())
    }

    /// The message of a call that must fail.
    fn message(&self, sql: &str, params: &[Value]) -> std::result::Result<String, Failed> {
        match self.run_with(sql, params) {
            Ok(result) => Err(format!("{sql} should have failed, but returned {result:?}").into()),
            Err(error) => Ok(error.message().to_owned()),
        }
    }
}

/// A runtime like that of an isolate.
fn runtime() -> std::result::Result<tokio::runtime::Runtime, Failed> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?)
}

fn run(trial: fn(&Place) -> Outcome, open: &Opener) -> Outcome {
    let folder = tempfile::tempdir()?;
    let driver = open(folder.path())?;
    trial(&Place { folder, open: Arc::clone(open), driver, runtime: runtime()? })
}

fn always(_: Capabilities) -> bool {
    true
}

fn expect_error(outcome: Result<Vec<StatementResult>>) -> std::result::Result<Error, Failed> {
    match outcome {
        Ok(results) => Err(format!("the call should have failed, but returned {results:?}").into()),
        Err(error) => Ok(error),
    }
}

fn equal<F: PartialEq<E> + std::fmt::Debug, E: std::fmt::Debug>(what: &str, found: &F, expected: &E) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, expected {expected:?}").into())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn text_cell(text: &str) -> Cell {
    Cell::Text(text.into())
}
