//! `aerostack db execute`: SQL from the command line or a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aerostack_config::DatabaseBinding;
use aerostack_database::script::{self, ScriptError};
use aerostack_database::{Cell, StatementResult};
use anyhow::{Context as _, anyhow, bail};
use serde_json::{Map, Value, json};

use super::{DatabaseArguments, only_sqlite};
use crate::commands::{counted, output, read_input, say, table};
use crate::drivers;
use crate::logs::milliseconds;

/// `aerostack db execute`
#[derive(clap::Args)]
#[command(override_usage = USAGE, after_help = EXAMPLE)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Print JSON instead of tables: [{ results, success, meta }], one per statement, never truncated
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArguments,
    /// What --database names, as earlier versions took it.
    #[arg(value_name = "DB", hide = true, conflicts_with = "name")]
    positional: Option<String>,
}

const USAGE: &str = "aerostack db execute [OPTIONS] <--command <SQL>|--file <FILE>>";

const EXAMPLE: &str = "\
All statements run in one transaction: if one fails, none takes effect. A
running aerostack dev sees the result.

Example:
  aerostack db execute --command \"SELECT name, type FROM sqlite_schema\"";

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// SQL to run; separate statements with semicolons
    #[arg(long, value_name = "SQL", allow_hyphen_values = true)]
    command: Option<String>,
    /// File of SQL to run, or - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let project = arguments.database.resources.open()?;
    let name = arguments.database.name.as_deref().or(arguments.positional.as_deref());
    let binding = project.one::<DatabaseBinding>(name)?;
    only_sqlite(binding)?;
    let file = arguments.source.file.as_deref();
    let sql = match (&arguments.source.command, file) {
        (Some(sql), _) => sql.clone(),
        (None, Some(file)) => {
            String::from_utf8(read_input(file)?).with_context(|| format!("{} is not UTF-8 text", named(file)))?
        }
        (None, None) => bail!("give the SQL with --command or --file"),
    };
    let database = drivers::database_file(&project.state_folder, binding);
    let results = script::execute(&database, &sql).map_err(|error| {
        let migrations = drivers::migrations(&project.state_folder, binding);
        // Only looks for a hint: that the migrations cannot be read either is not what the user asked about.
        let pending = migrations.list().map_or(0, |all| all.iter().filter(|one| one.applied_at.is_none()).count());
        explained(error, &sql, file, pending)
    })?;
    if results.is_empty() {
        bail!("no SQL statement in {}", file.map_or("--command".to_owned(), named));
    }
    if arguments.json {
        let results: Vec<Value> = results.iter().map(as_json).collect();
        output(&Value::from(results).to_string());
    } else {
        print_tables(&results);
    }
    Ok(())
}

/// The error with the place of the mistake, and what helps.
fn explained(error: ScriptError, sql: &str, file: Option<&Path>, pending: usize) -> anyhow::Error {
    let Some(line) = error.line else {
        return anyhow::Error::new(error.source);
    };
    let message = error.source.message();
    let place = match file {
        Some(file) => format!("{}:{line}: ", named(file)),
        None if sql.trim().contains('\n') => format!("line {line}: "),
        None => String::new(),
    };
    let help = if pending > 0 && message.starts_with("no such ") {
        format!("\n  help: {} pending: run `aerostack db migrate apply`", counted(pending as u64, "migration"))
    } else {
        String::new()
    };
    anyhow!("{place}{message}{help}")
}

fn named(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

fn print_tables(results: &[StatementResult]) {
    let with_rows = results.iter().filter(|result| !result.columns.is_empty());
    for (index, result) in with_rows.enumerate() {
        let header: Vec<&str> = result.columns.iter().map(String::as_str).collect();
        let rows: Vec<Vec<table::Cell>> = result.rows().iter().map(|row| row.iter().map(as_cell).collect()).collect();
        let gap = if index == 0 { "" } else { "\n" };
        output(&format!("{gap}{}", table::render(&header, &rows)));
    }
    let rows =
        results.iter().filter(|result| !result.columns.is_empty()).map(|result| result.rows().len() as u64).sum();
    let changes = results.iter().map(|result| result.meta.changes).sum();
    let seconds: f64 = results.iter().map(|result| result.meta.duration_ms / 1000.0).sum();
    say(&format!(
        "{}, {}, {} changed, in {}",
        counted(results.len() as u64, "statement"),
        counted(rows, "row"),
        counted(changes, "row"),
        milliseconds(Duration::from_secs_f64(seconds))
    ));
}

fn as_cell(cell: &Cell) -> table::Cell {
    match cell {
        Cell::Null => table::Cell::Null,
        Cell::Integer(number) => table::Cell::Number(number.to_string()),
        // As SQL writes it: 1.0 is no INTEGER.
        Cell::Real(number) => table::Cell::Number(format!("{number:?}")),
        Cell::Text(text) => table::Cell::Text(text.clone()),
        Cell::Blob(bytes) => table::Cell::Bytes(bytes.clone()),
    }
}

/// A result as `stmt.all()` gives it to a worker (Cloudflare contract, section 1). Without `rows_read` and `rows_written`:
/// they are what the platform bills, and are not counted for the owner's scripts.
fn as_json(result: &StatementResult) -> Value {
    let mut rows = Vec::new();
    if !result.columns.is_empty() {
        for cells in result.rows() {
            // Of columns with the same name the last one wins.
            let row: Map<String, Value> = result.columns.iter().cloned().zip(cells.iter().map(cell_as_json)).collect();
            rows.push(Value::from(row));
        }
    }
    json!({
        "results": rows,
        "success": true,
        "meta": {
            "served_by": "aerostack.db",
            "duration": result.meta.duration_ms,
            "changes": result.meta.changes,
            "last_row_id": result.meta.last_row_id,
            "changed_db": result.meta.changed_db,
            "size_after": result.meta.size_after,
        },
    })
}

/// Integers keep all their digits, which a worker's numbers do not; bytes are a list of numbers, as there.
fn cell_as_json(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => Value::from(*number),
        Cell::Real(number) => Value::from(*number),
        Cell::Text(text) => Value::from(text.as_str()),
        Cell::Blob(bytes) => Value::from(bytes.as_slice()),
    }
}
