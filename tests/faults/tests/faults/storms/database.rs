use std::fmt::Write as _;
use std::path::Path;

use aerostack_database::{Cell, DatabaseDriver, Sqlite, Statement, StatementResult, Value, script};
use aerostack_faults::{Observed, Say, Storm, WriteStorm, block_on, content};
use libtest_mimic::Failed;

use super::write_until_killed;
use crate::places::{check_integrity, database_file};

const KEYS: u64 = 24;
/// Rows that a batch or a script writes under one key.
const GROUP: i64 = 20;

const PAGES: &str = "CREATE TABLE IF NOT EXISTS pages (key TEXT PRIMARY KEY, version INTEGER, body BLOB)";
const GROUPS: &str = "CREATE TABLE IF NOT EXISTS groups (key TEXT, place INTEGER, version INTEGER)";
const INDEX: &str = "CREATE INDEX IF NOT EXISTS groups_by_key ON groups (key, place)";

/// Single statements that commit by themselves.
pub(super) struct Autocommit;

/// `batch()` and `exec()`: many statements, one transaction.
pub(super) struct Batches;

/// `aerostack db execute`: a text of many statements.
pub(super) struct Scripts;

impl Storm for Autocommit {
    fn name(&self) -> &'static str {
        "a database killed while single statements commit has every acknowledged row, whole"
    }

    fn work(&self, folder: &Path, say: &Say) {
        let driver = Sqlite::open(database_file(folder)).expect("the database opens");
        block_on(run(&driver, vec![Statement::new(PAGES)]));
        write_until_killed(KEYS, say, async |key, version| {
            let key_value = Value::Text(key.to_owned());
            let statement = match version {
                Some(version) => Statement::with_params(
                    "INSERT OR REPLACE INTO pages VALUES (?, ?, ?)",
                    [key_value, Value::Real(version as f64), Value::Blob(content(key, version))],
                ),
                None => Statement::with_params("DELETE FROM pages WHERE key = ?", [key_value]),
            };
            run(&driver, vec![statement]).await;
        });
    }
}

impl WriteStorm for Autocommit {
    fn observe(&self, folder: &Path) -> Result<Observed, Failed> {
        let mut observed = Observed::new();
        for row in rows(folder, PAGES, "SELECT key, version, body FROM pages")? {
            let [Cell::Text(key), Cell::Integer(version), Cell::Blob(body)] = &row[..] else {
                return Err(format!("a row of other types: {row:?}").into());
            };
            if *body != content(key, *version as u64) {
                return Err(format!("the body of {key} is not that of version {version}").into());
            }
            observed.insert(key.clone(), *version as u64);
        }
        Ok(observed)
    }
}

impl Storm for Batches {
    fn name(&self) -> &'static str {
        "a database killed while batches commit has every acknowledged batch, and none by half"
    }

    fn work(&self, folder: &Path, say: &Say) {
        let driver = Sqlite::open(database_file(folder)).expect("the database opens");
        block_on(run(&driver, [GROUPS, INDEX].map(Statement::new).into()));
        write_until_killed(KEYS, say, async |key, version| {
            let key = Value::Text(key.to_owned());
            let mut batch = vec![Statement::with_params("DELETE FROM groups WHERE key = ?", [key.clone()])];
            for place in 0..version.map_or(0, |_| GROUP) {
                let values = [key.clone(), Value::Real(place as f64), Value::Real(version.unwrap_or(0) as f64)];
                batch.push(Statement::with_params("INSERT INTO groups VALUES (?, ?, ?)", values));
            }
            run(&driver, batch).await;
        });
    }
}

impl WriteStorm for Batches {
    fn observe(&self, folder: &Path) -> Result<Observed, Failed> {
        groups(folder)
    }
}

impl Storm for Scripts {
    fn name(&self) -> &'static str {
        "a database killed while scripts are executed has every acknowledged script, and none by half"
    }

    fn work(&self, folder: &Path, say: &Say) {
        let file = database_file(folder);
        std::fs::create_dir_all(folder.join("database")).expect("the folder can be made");
        write_until_killed(KEYS, say, async |key, version| {
            let mut text = format!("{GROUPS};\n{INDEX};\nDELETE FROM groups WHERE key = '{key}';\n");
            for place in 0..version.map_or(0, |_| GROUP) {
                let version = version.unwrap_or(0);
                _ = writeln!(text, "INSERT INTO groups VALUES ('{key}', {place}, {version});");
            }
            script::execute(&file, &text).expect("the script goes through");
        });
    }
}

impl WriteStorm for Scripts {
    fn observe(&self, folder: &Path) -> Result<Observed, Failed> {
        groups(folder)
    }
}

async fn run(driver: &Sqlite, statements: Vec<Statement>) -> Vec<StatementResult> {
    driver.run(statements).await.expect("the statements go through")
}

/// The rows of a query, run on the repaired file.
fn rows(folder: &Path, schema: &str, query: &str) -> Result<Vec<Vec<Cell>>, Failed> {
    let file = database_file(folder);
    std::fs::create_dir_all(folder.join("database"))?;
    let results = script::execute(&file, &format!("{schema}; {query}"))?;
    check_integrity(&file)?;
    let result = results.last().ok_or("the query has a result")?;
    Ok(result.rows())
}

fn groups(folder: &Path) -> Result<Observed, Failed> {
    let query = "SELECT key, count(*), count(DISTINCT place), min(version), max(version) FROM groups GROUP BY key";
    let mut observed = Observed::new();
    for row in rows(folder, GROUPS, query)? {
        match &row[..] {
            [
                Cell::Text(key),
                Cell::Integer(GROUP),
                Cell::Integer(GROUP),
                Cell::Integer(first),
                Cell::Integer(last),
            ] if first == last => {
                observed.insert(key.clone(), *first as u64);
            }
            _ => return Err(format!("a transaction is there by half: {row:?}").into()),
        }
    }
    Ok(observed)
}
