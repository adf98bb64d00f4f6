//! `aerostack db migrate`: numbered files of SQL that define the tables.

use std::path::Path;

use aerostack_config::DatabaseBinding;
use aerostack_database::migrations::MigrationError;
use aerostack_modules::FrameStyle;
use anyhow::anyhow;
use serde_json::{Value, json};

use super::{DatabaseArguments, DatabasesArguments, only_sqlite};
use crate::commands::choice::Opened;
use crate::commands::table::{self, Cell};
use crate::commands::{AlreadyPrinted, counted, output, paint, say, shown};
use crate::drivers;
use crate::migrations::{edited_too_late, render_failure};

/// `aerostack db migrate`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create the next migration: an empty numbered file to write SQL into
    New(NewArguments),
    /// Apply pending migrations; aerostack dev does this automatically
    Apply(ApplyArguments),
    /// List the migrations, and when each was applied
    List(ListArguments),
}

/// `aerostack db migrate new`
#[derive(clap::Args)]
#[command(after_help = "\
Prints the path of the new file.

Example:
  aerostack db migrate new add users")]
pub(crate) struct NewArguments {
    /// Short name such as add_users, or a few words; becomes part of the file name
    #[arg(required = true, value_name = "NAME")]
    words: Vec<String>,
    /// Print JSON: { path }
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArguments,
}

/// `aerostack db migrate apply`
#[derive(clap::Args)]
#[command(after_help = "\
Files run in the order of their names, each in a transaction of its own: a
migration that fails is rolled back, and later ones are not run. Prints the
database and the name of each migration that was applied.

Example:
  aerostack db migrate apply")]
pub(crate) struct ApplyArguments {
    /// Print JSON: [{ database, binding, name }], one per applied migration
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    databases: DatabasesArguments,
}

/// `aerostack db migrate list`
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  aerostack db migrate list --json")]
pub(crate) struct ListArguments {
    /// Print JSON instead of a table: [{ database, binding, name, applied, applied_at }]
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    databases: DatabasesArguments,
}

pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::New(arguments) => create(arguments),
        Command::Apply(arguments) => apply(arguments),
        Command::List(arguments) => list(arguments),
    }
}

fn create(arguments: &NewArguments) -> anyhow::Result<()> {
    let project = arguments.database.resources.open()?;
    let binding = project.one::<DatabaseBinding>(arguments.database.name.as_deref())?;
    only_sqlite(binding)?;
    let name = arguments.words.join("_");
    let path = shown(&drivers::migrations(&project.state_folder, binding).create(&name).map_err(explained)?);
    output(&if arguments.json { json!({ "path": path }).to_string() } else { path });
    Ok(())
}

fn apply(arguments: &ApplyArguments) -> anyhow::Result<()> {
    let project = arguments.databases.resources.open()?;
    let mut all = Vec::new();
    let mut outcome = Ok(());
    for binding in migrated_databases(&project, arguments.databases.name.as_deref())? {
        outcome = apply_to(binding, &project.state_folder, &mut all);
        if outcome.is_err() {
            break;
        }
    }
    if arguments.json {
        let list = all.iter().map(
            |(binding, name)| json!({ "database": binding.database.state, "binding": binding.binding, "name": name }),
        );
        output(&list.collect::<Value>().to_string());
    } else {
        for (binding, name) in &all {
            output(&format!("{}  {name}", binding.database.state));
        }
    }
    outcome
}

/// Adds what was applied to `all`, and says how it went.
fn apply_to<'a>(
    binding: &'a DatabaseBinding,
    state_folder: &Path,
    all: &mut Vec<(&'a DatabaseBinding, String)>,
) -> anyhow::Result<()> {
    let migrations = drivers::migrations(state_folder, binding);
    let database = &binding.database.state;
    let applied = migrations.apply().map_err(explained)?;
    for name in migrations.edited().map_err(explained)? {
        say(&format!("warning: {}", edited_too_late(binding, &name)));
    }
    if !applied.is_empty() {
        say(&format!("applied {} to {database}", counted(applied.len() as u64, "migration")));
    } else if migrations.list().map_err(explained)?.is_empty() {
        say_there_are_none(binding);
    } else {
        say(&format!("{database} is up to date"));
    }
    all.extend(applied.into_iter().map(|name| (binding, name)));
    Ok(())
}

fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let project = arguments.databases.resources.open()?;
    let mut listed = Vec::new();
    for binding in migrated_databases(&project, arguments.databases.name.as_deref())? {
        let migrations = drivers::migrations(&project.state_folder, binding).list().map_err(explained)?;
        if migrations.is_empty() {
            say_there_are_none(binding);
        }
        listed.extend(migrations.into_iter().map(|migration| (binding, migration)));
    }
    if arguments.json {
        let list = listed.iter().map(|(binding, migration)| {
            json!({
                "database": binding.database.state,
                "binding": binding.binding,
                "name": migration.name,
                "applied": migration.applied_at.is_some(),
                "applied_at": migration.applied_at,
            })
        });
        output(&list.collect::<Value>().to_string());
    } else if !listed.is_empty() {
        let rows: Vec<Vec<Cell>> = listed
            .into_iter()
            .map(|(binding, migration)| {
                let (state, time) = match migration.applied_at {
                    Some(time) => ("applied", time),
                    None => ("pending", String::new()),
                };
                [binding.database.state.clone(), migration.name, state.to_owned(), time].map(Cell::Word).into()
            })
            .collect();
        output(&table::render(&["database", "migration", "state", "applied at (UTC)"], &rows));
    }
    Ok(())
}

/// The bindings with migrations of their own: where two bindings share both the database and the migrations, the first.
fn migrated_databases<'a>(project: &'a Opened<'_>, name: Option<&str>) -> anyhow::Result<Vec<&'a DatabaseBinding>> {
    let mut databases: Vec<&DatabaseBinding> = Vec::new();
    for binding in project.all::<DatabaseBinding>(name)? {
        only_sqlite(binding)?;
        let identity = |binding: &DatabaseBinding| {
            (binding.database.state.clone(), binding.migrations_dir.clone(), binding.migrations_table.clone())
        };
        if databases.iter().all(|other| identity(other) != identity(binding)) {
            databases.push(binding);
        }
    }
    Ok(databases)
}

fn say_there_are_none(binding: &DatabaseBinding) {
    let (database, folder) = (&binding.database.state, shown(&binding.migrations_dir));
    say(&format!("no migrations for {database} in {folder}; create one with `aerostack db migrate new NAME`"));
}

/// The error on its own: its text holds that of its cause. A statement that failed is shown in its file.
fn explained(error: MigrationError) -> anyhow::Error {
    match error {
        MigrationError::Database(error) => error.into(),
        MigrationError::Failed { .. } => {
            let style = if paint().is_coloured() { FrameStyle::Coloured } else { FrameStyle::Plain };
            say(&render_failure(&error, style));
            AlreadyPrinted.into()
        }
        MigrationError::File { .. } | MigrationError::BadName { .. } => anyhow!("{error}"),
    }
}
