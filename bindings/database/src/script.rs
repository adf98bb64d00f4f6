//! A whole file of SQL against a database file: what `aerostack db execute` and the migrations do.
//!
//! The text is taken apart by SQLite itself, so a semicolon in a string or in a trigger's body ends nothing. Neither the
//! limits of users' SQL nor its refusals apply, except that a transaction cannot be steered from within.

use std::path::Path;

use aerostack_bindings::Error;

use crate::driver::StatementResult;
use crate::drivers::sqlite::{OwnerConnection, open_for_owner, skip_blank};

/// A statement of a script failed; nothing of the script has happened.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {}", .source.message(), place = self.place())]
pub struct ScriptError {
    /// The line where the statement, or the mistake in it, begins; counted from 1. `None` when no statement is to blame.
    pub line: Option<usize>,
    /// The byte of the text where that is.
    pub position: Option<usize>,
    /// What SQLite says, in D1's form.
    #[source]
    pub source: Error,
}

impl ScriptError {
    fn place(&self) -> String {
        self.line.map_or_else(|| "script".to_owned(), |line| format!("line {line}"))
    }
}

impl From<Error> for ScriptError {
    fn from(source: Error) -> Self {
        Self { line: None, position: None, source }
    }
}

/// Runs all statements of a text in one transaction and returns the result of each.
pub fn execute(database: &Path, sql: &str) -> Result<Vec<StatementResult>, ScriptError> {
    open_for_owner(database)?.in_transaction(|connection| run_all(connection, sql))
}

/// Runs all statements of a text one after the other on an open connection.
pub(crate) fn run_all(connection: &mut OwnerConnection, sql: &str) -> Result<Vec<StatementResult>, ScriptError> {
    let mut results = Vec::new();
    let mut rest = skip_blank(sql);
    while !rest.is_empty() {
        let start = sql.len() - rest.len();
        let (result, consumed) = connection.run_first(rest, &[]).map_err(|refusal| {
            let position = start + refusal.offset.unwrap_or(0).min(rest.len());
            ScriptError { line: Some(line_of(sql, position)), position: Some(position), source: refusal.error }
        })?;
        results.extend(result);
        rest = skip_blank(&rest[consumed..]);
    }
    Ok(results)
}

fn line_of(text: &str, position: usize) -> usize {
    text.get(..position).unwrap_or(text).matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::Cell;

    #[test]
    fn statements_may_span_lines_and_hold_semicolons() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.sqlite");
        let results = execute(
            &database,
            "-- the table; with a comment\nCREATE TABLE t (\n  a TEXT\n);\nCREATE TRIGGER x AFTER INSERT ON t BEGIN\n  SELECT 1; SELECT 2;\nEND;\nINSERT INTO t VALUES (';');;\nSELECT a FROM t -- no semicolon at the end",
        )
        .unwrap();
        assert_eq!(results.len(), 4);
        assert_eq!(results[3].cells, [Cell::Text(";".into())]);
    }

    #[test]
    fn a_failing_script_names_the_line_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.sqlite");
        let error = execute(&database, "CREATE TABLE t (a);\n\nINSERT INTO t\n  VALUES (nope);\n").unwrap_err();
        assert_eq!((error.line, error.position), (Some(4), Some(45)));
        assert_eq!(error.to_string(), "line 4: no such column: nope at offset 24: SQLITE_ERROR");
        let tables = execute(&database, "SELECT count(*) FROM sqlite_master").unwrap();
        assert_eq!(tables[0].cells, [Cell::Integer(0)]);
    }
}
