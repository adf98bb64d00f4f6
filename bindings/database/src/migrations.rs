//! `migrations/*.sql`, applied in name order and recorded in the table `d1_migrations` (contract section 1.8).
//!
//! The folder and the table are those of `wrangler d1 migrations`, so the folders that Drizzle and Prisma write work as they
//! are.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aerostack_bindings::{Error, make_state_folder};

use crate::cells::Cell;
use crate::driver::{StatementResult, Value};
use crate::drivers::sqlite::{OwnerConnection, open_for_owner};
use crate::script::{self, ScriptError};

/// The folder beside `aerostack.toml` when the config names no other.
pub const DEFAULT_FOLDER: &str = "migrations";

/// The table when the config names no other.
pub const DEFAULT_TABLE: &str = "d1_migrations";

/// The migrations of one database.
#[derive(Debug, Clone)]
pub struct Migrations {
    database: PathBuf,
    folder: PathBuf,
    table: String,
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The file name, for example `0001_users.sql`.
    pub name: String,
    /// When it was applied, in UTC, as SQLite writes it: `2026-01-31 12:00:00`. `None` when it is still to come.
    pub applied_at: Option<String>,
}

/// Why migrations could not be listed, applied or made.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// A statement failed. The whole file has been rolled back; the files before it are applied.
    #[error("migration {} failed: {}", place(.file, *.line), .source.message())]
    Failed {
        /// The file.
        file: PathBuf,
        /// The text of the file.
        text: String,
        /// The line in it, counted from 1, where one statement is to blame.
        line: Option<usize>,
        /// The byte of the text where that is.
        position: Option<usize>,
        /// What SQLite says, in D1's form.
        #[source]
        source: Box<Error>,
    },
    /// A file or the folder cannot be read or written.
    #[error("cannot use {}: {source}", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The name for a new migration has no letter or digit.
    #[error("a migration needs a name with at least one letter or digit, not {name:?}")]
    BadName {
        /// The name that was given.
        name: String,
    },
    /// The database cannot be opened or read.
    #[error(transparent)]
    Database(#[from] Error),
}

impl Migrations {
    /// The migrations in `folder` for the database file `database`, recorded in [`DEFAULT_TABLE`].
    pub fn new(database: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self { database: database.into(), folder: folder.into(), table: DEFAULT_TABLE.to_owned() }
    }

    /// The same with another table (`migrations_table` in the config).
    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// All migrations in the order they are applied. A folder that does not exist has none.
    ///
    /// Makes no table, and no database file either.
    pub fn list(&self) -> Result<Vec<Migration>, MigrationError> {
        let names = self.names()?;
        let applied =
            if self.database.exists() { self.applied(&mut open_for_owner(&self.database)?)? } else { HashMap::new() };
        Ok(names
            .into_iter()
            .map(|name| {
                let applied_at = applied.get(&name).cloned();
                Migration { name, applied_at }
            })
            .collect())
    }

    /// Applies what is not applied yet and returns the names, in order.
    ///
    /// Each file is one transaction together with its record. The first that fails ends the run and is rolled back whole.
    pub fn apply(&self) -> Result<Vec<String>, MigrationError> {
        let names = self.names()?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = open_for_owner(&self.database)?;
        let applied = self.applied(&mut connection)?;
        let (seen, pending): (Vec<String>, Vec<String>) =
            names.into_iter().partition(|name| applied.contains_key(name));
        for name in seen {
            // Applied by another tool, or before texts were kept: from now on its changes are noticed.
            if self.applied_text(&name)?.is_none() {
                self.remember(&name, &self.text_of(&name)?);
            }
        }
        if pending.is_empty() {
            return Ok(pending);
        }
        connection.run_first(&self.create_table(), &[]).map_err(|refusal| refusal.error)?;
        let mut done = Vec::new();
        for name in pending {
            if self.apply_one(&mut connection, &name)? == Outcome::Applied {
                done.push(name);
            }
        }
        Ok(done)
    }

    /// Makes an empty migration with the next number, `0001_name.sql`, and the folder where there is none.
    pub fn create(&self, name: &str) -> Result<PathBuf, MigrationError> {
        let slug = slug(name);
        if slug.is_empty() {
            return Err(MigrationError::BadName { name: name.to_owned() });
        }
        let number = self.names()?.iter().filter_map(|name| leading_number(name)).max().unwrap_or(0) + 1;
        fs::create_dir_all(&self.folder).map_err(|source| self.unusable(source))?;
        let path = self.folder.join(format!("{number:04}_{slug}.sql"));
        let text = format!("-- Migration number: {number:04}\n");
        fs::File::create_new(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|source| MigrationError::File { path: path.clone(), source })?;
        Ok(path)
    }

    fn apply_one(&self, connection: &mut OwnerConnection, name: &str) -> Result<Outcome, MigrationError> {
        let file = self.folder.join(name);
        let sql = self.text_of(name)?;
        let parameters = [Value::Text(name.to_owned())];
        let table = quoted(&self.table);
        connection
            .in_transaction(|connection| {
                // Another process may have applied it between our look and our lock.
                let known = format!("SELECT 1 FROM {table} WHERE name = ?");
                let (known, _) = connection.run_first(&known, &parameters).map_err(|refusal| refusal.error)?;
                if known.is_some_and(|result| !result.cells.is_empty()) {
                    return Ok(Outcome::WasApplied);
                }
                script::run_all(connection, &sql)?;
                let record = format!("INSERT INTO {table} (name) VALUES (?)");
                connection.run_first(&record, &parameters).map_err(|refusal| refusal.error)?;
                Ok(Outcome::Applied)
            })
            .map_err(|ScriptError { line, position, source }| {
                let text = sql.clone();
                MigrationError::Failed { file, text, line, position, source: Box::new(source) }
            })
            .inspect(|_| self.remember(name, &sql))
    }

    /// The migrations that were applied and have another text now, which changes nothing: in order of their names.
    pub fn edited(&self) -> Result<Vec<String>, MigrationError> {
        let mut edited = Vec::new();
        for Migration { name, .. } in self.list()?.into_iter().filter(|migration| migration.applied_at.is_some()) {
            if let Some(applied) = self.applied_text(&name)?
                && !applied.lines().eq(self.text_of(&name)?.lines())
            {
                edited.push(name);
            }
        }
        Ok(edited)
    }

    fn text_of(&self, name: &str) -> Result<String, MigrationError> {
        let path = self.folder.join(name);
        fs::read_to_string(&path).map_err(|source| MigrationError::File { path, source })
    }

    /// Where the texts of applied migrations are kept, beside the database.
    fn applied_folder(&self) -> PathBuf {
        self.database.with_extension("migrations").join(&self.table)
    }

    /// The text of a migration as it was applied; `None` where that is not known.
    fn applied_text(&self, name: &str) -> Result<Option<String>, MigrationError> {
        let path = self.applied_folder().join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(MigrationError::File { path, source }),
        }
    }

    /// Keeps the text of a migration that was applied. The migration itself is committed by now, so that a failure is only logged.
    fn remember(&self, name: &str, text: &str) {
        let folder = self.applied_folder();
        let written = make_state_folder(&folder).and_then(|()| {
            let unfinished = folder.join(format!(".{name}"));
            fs::write(&unfinished, text)?;
            fs::rename(unfinished, folder.join(name))
        });
        if let Err(error) = written {
            tracing::warn!(%error, folder = %folder.display(), migration = name, "the text of an applied migration could not be kept");
        }
    }

    fn create_table(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {}(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, \
             applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)",
            quoted(&self.table)
        )
    }

    /// Name and time of what is applied. Nothing when the table is not there.
    fn applied(&self, connection: &mut OwnerConnection) -> Result<HashMap<String, String>, Error> {
        let table = [Value::Text(self.table.clone())];
        let (found, _) = connection
            .run_first("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", &table)
            .map_err(|refusal| refusal.error)?;
        if found.is_none_or(|result| result.cells.is_empty()) {
            return Ok(HashMap::new());
        }
        let all = format!("SELECT name, applied_at FROM {}", quoted(&self.table));
        let (result, _) = connection.run_first(&all, &[]).map_err(|refusal| refusal.error)?;
        let text = |cell: &Cell| match cell {
            Cell::Text(text) => text.clone(),
            _ => String::new(),
        };
        Ok(result.iter().flat_map(StatementResult::rows).map(|row| (text(&row[0]), text(&row[1]))).collect())
    }

    /// The names of the files, in order.
    fn names(&self) -> Result<Vec<String>, MigrationError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.unusable(source)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|source| self.unusable(source))?.file_name();
            if let Some(name) = name.to_str().filter(|name| is_migration(name)) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn unusable(&self, source: io::Error) -> MigrationError {
        MigrationError::File { path: self.folder.clone(), source }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Applied,
    WasApplied,
}

fn place(file: &Path, line: Option<usize>) -> String {
    line.map_or_else(|| file.display().to_string(), |line| format!("{}:{line}", file.display()))
}

fn is_migration(name: &str) -> bool {
    !name.starts_with('.') && Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql"))
}

fn leading_number(name: &str) -> Option<u32> {
    let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    name[..digits].parse().ok()
}

/// Lower-case letters, digits and single underscores.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_lowercase()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> (tempfile::TempDir, Migrations) {
        let folder = tempfile::tempdir().unwrap();
        let migrations = Migrations::new(folder.path().join("db/local.sqlite"), folder.path().join("migrations"));
        (folder, migrations)
    }

    fn write(migrations: &Migrations, name: &str, sql: &str) {
        fs::create_dir_all(&migrations.folder).unwrap();
        fs::write(migrations.folder.join(name), sql).unwrap();
    }

    fn one_cell(migrations: &Migrations, sql: &str) -> Cell {
        script::execute(&migrations.database, sql).unwrap().pop().unwrap().cells.to_vec().pop().unwrap()
    }

    #[test]
    fn migrations_are_applied_once_in_name_order() {
        let (_folder, migrations) = project();
        write(
            &migrations,
            "0002_rows.sql",
            "INSERT INTO t VALUES (1);\n--> statement-breakpoint\nINSERT INTO t VALUES (2);",
        );
        write(&migrations, "0001_table.sql", "CREATE TABLE t (a INTEGER);");
        write(&migrations, "notes.txt", "not sql");
        assert_eq!(migrations.apply().unwrap(), ["0001_table.sql", "0002_rows.sql"]);
        assert_eq!(migrations.apply().unwrap(), [] as [String; 0]);
        assert_eq!(one_cell(&migrations, "SELECT sum(a) FROM t"), Cell::Integer(3));
        write(&migrations, "0003_more.sql", "INSERT INTO t VALUES (10);");
        let listed = migrations.list().unwrap();
        assert_eq!(listed.iter().map(|m| m.applied_at.is_some()).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(migrations.apply().unwrap(), ["0003_more.sql"]);
    }

    #[test]
    fn the_record_table_is_the_one_wrangler_makes() {
        let (_folder, migrations) = project();
        write(&migrations, "0001_a.sql", "CREATE TABLE t (a);");
        migrations.apply().unwrap();
        let columns = "SELECT group_concat(name || ' ' || type, ', ') FROM pragma_table_info('d1_migrations')";
        assert_eq!(one_cell(&migrations, columns), Cell::Text("id INTEGER, name TEXT, applied_at TIMESTAMP".into()));
    }

    #[test]
    fn an_applied_migration_that_is_edited_is_told_of() {
        let (_folder, migrations) = project();
        write(&migrations, "0001_a.sql", "CREATE TABLE a (x);\n");
        write(&migrations, "0002_b.sql", "CREATE TABLE b (x);\n");
        assert_eq!(migrations.edited().unwrap(), [] as [String; 0]);
        migrations.apply().unwrap();
        // What a version control system does to line ends is no edit.
        write(&migrations, "0002_b.sql", "CREATE TABLE b (x);\r\n");
        assert_eq!(migrations.edited().unwrap(), [] as [String; 0]);
        write(&migrations, "0001_a.sql", "CREATE TABLE a (x, y);\n");
        write(&migrations, "0003_c.sql", "CREATE TABLE c (x);\n");
        assert_eq!(migrations.edited().unwrap(), ["0001_a.sql"]);
        assert_eq!(migrations.apply().unwrap(), ["0003_c.sql"]);
        assert_eq!(migrations.edited().unwrap(), ["0001_a.sql"]);
        write(&migrations, "0001_a.sql", "CREATE TABLE a (x);\n");
        assert_eq!(migrations.edited().unwrap(), [] as [String; 0]);
        // Where the texts are gone, the one of now is what later ones are compared with.
        fs::remove_dir_all(migrations.applied_folder()).unwrap();
        migrations.apply().unwrap();
        write(&migrations, "0003_c.sql", "");
        assert_eq!(migrations.edited().unwrap(), ["0003_c.sql"]);
    }

    #[test]
    fn a_failed_migration_rolls_back_whole_and_names_file_and_line() {
        let (_folder, migrations) = project();
        write(&migrations, "0001_good.sql", "CREATE TABLE good (a);");
        write(&migrations, "0002_bad.sql", "CREATE TABLE bad (a);\n\n\nINSERT INTO nowhere VALUES (1);\n");
        write(&migrations, "0003_later.sql", "CREATE TABLE later (a);");
        let error = migrations.apply().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("0002_bad.sql:4 failed: no such table: nowhere"), "{text}");
        assert_eq!(
            one_cell(
                &migrations,
                "SELECT group_concat(name) FROM sqlite_master WHERE name IN ('good', 'bad', 'later')"
            ),
            Cell::Text("good".into())
        );
        assert_eq!(migrations.list().unwrap().iter().filter(|m| m.applied_at.is_some()).count(), 1);
    }

    #[test]
    fn a_deferred_foreign_key_that_does_not_hold_at_the_end_rolls_the_file_back() {
        let (_folder, migrations) = project();
        write(
            &migrations,
            "0001_bad.sql",
            "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a REFERENCES a DEFERRABLE INITIALLY DEFERRED); INSERT INTO b VALUES (1);",
        );
        let text = migrations.apply().unwrap_err().to_string();
        assert!(text.contains("0001_bad.sql failed: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT"), "{text}");
        assert_eq!(one_cell(&migrations, "SELECT count(*) FROM sqlite_master WHERE name = 'b'"), Cell::Integer(0));
    }

    #[test]
    fn a_new_migration_gets_the_next_number() {
        let (_folder, migrations) = project();
        assert!(migrations.create("Add Users!").unwrap().ends_with("0001_add_users.sql"));
        write(&migrations, "0041_x.sql", "");
        assert!(migrations.create("more").unwrap().ends_with("0042_more.sql"));
        assert!(matches!(migrations.create("--"), Err(MigrationError::BadName { .. })));
    }

    #[test]
    fn a_folder_that_does_not_exist_has_no_migrations_and_makes_no_database() {
        let (_folder, migrations) = project();
        assert_eq!(migrations.apply().unwrap(), [] as [String; 0]);
        assert_eq!(migrations.list().unwrap(), []);
        assert!(!migrations.database.exists());
    }

    #[test]
    fn two_processes_that_start_together_apply_each_migration_once() {
        let (_folder, migrations) = project();
        for number in 1..=5 {
            write(&migrations, &format!("{number:04}_t.sql"), &format!("CREATE TABLE t{number} (a);"));
        }
        let other = migrations.clone();
        let thread = std::thread::spawn(move || other.apply().unwrap().len());
        let here = migrations.apply().unwrap().len();
        assert_eq!(here + thread.join().unwrap(), 5);
    }
}
