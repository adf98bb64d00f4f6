//! What is said of migrations: that one failed, that one was edited too late, that a table is made by none of them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aerostack_config::DatabaseBinding;
use aerostack_database::migrations::{Migration, MigrationError, Migrations};
use aerostack_database::ops::ToldOfTable;
use aerostack_modules::{CodeFrame, FramePlace, FrameStyle, Position, PositionRange, render_code_frame};
use aerostack_telemetry::Terminal;

use crate::commands::{shown, with_causes};

/// The statement of a migration that failed, in its file.
pub(crate) fn render_failure(error: &MigrationError, style: FrameStyle) -> String {
    let MigrationError::Failed { file, text, position, source, .. } = error else {
        return format!("error: {}", with_causes(&anyhow::anyhow!("{error}")));
    };
    let place = position.map(|position| {
        let range = PositionRange::point(Position::of_byte(text, position));
        FramePlace { source: text, range }
    });
    let frame = CodeFrame {
        message: &format!("migration failed: {}", source.message()),
        file: &shown(file),
        place,
        hint: Some("the whole file was undone; `aerostack db migrate list` shows what is applied"),
    };
    render_code_frame(&frame, style)
}

/// That changes of an applied migration do nothing.
pub(crate) fn edited_too_late(binding: &DatabaseBinding, name: &str) -> String {
    format!(
        "migration {} is already applied to {}, its changes have no effect; put them into a new one: \
         `aerostack db migrate new NAME`",
        shown(&binding.migrations_dir.join(name)),
        binding.database.name
    )
}

/// Explains missing tables, once a database: handlers that catch the error would otherwise hide what to do.
pub(crate) struct MissingTables {
    terminal: Terminal,
    explained: Mutex<HashSet<String>>,
}

impl MissingTables {
    /// Tells `terminal`.
    pub(crate) fn new(terminal: Terminal) -> Arc<Self> {
        Arc::new(Self { terminal, explained: Mutex::default() })
    }

    /// Is to be told of the tables that a database lacks.
    pub(crate) fn of(self: &Arc<Self>, binding: &DatabaseBinding, migrations: Migrations) -> ToldOfTable {
        let (missing, binding) = (Arc::clone(self), binding.clone());
        Arc::new(move |table| missing.explain(&binding, &migrations, table))
    }

    fn explain(&self, binding: &DatabaseBinding, migrations: &Migrations, table: &str) {
        let mut explained = self.explained.lock().unwrap_or_else(PoisonError::into_inner);
        if !explained.insert(binding.database.state.clone()) {
            return;
        }
        let (terminal, binding, migrations, table) =
            (self.terminal.clone(), binding.clone(), migrations.clone(), table.to_owned());
        // Looks into the folder and the file, which the thread of an isolate has no time for.
        std::thread::spawn(move || terminal.line(hint(&binding, migrations.list(), &table)));
    }
}

fn hint(binding: &DatabaseBinding, migrations: Result<Vec<Migration>, MigrationError>, table: &str) -> String {
    let folder = shown(&binding.migrations_dir);
    let lacks = format!("hint: {} ({}) has no table {table}", binding.binding, binding.database.name);
    let migrations = match migrations {
        Ok(migrations) => migrations,
        Err(error) => return format!("{lacks}, and its migrations cannot be read: {error}"),
    };
    let pending = migrations.iter().find(|migration| migration.applied_at.is_none());
    match pending {
        Some(pending) => {
            format!(
                "{lacks}, and {folder}/{} is not applied yet: `aerostack db migrate apply` applies it",
                pending.name
            )
        }
        None if migrations.is_empty() => format!(
            "{lacks}, and {folder} has no migrations: put CREATE TABLE statements into {folder}/0001_name.sql; \
             `aerostack dev` applies it"
        ),
        None => format!(
            "{lacks}, and no migration in {folder} makes it: `aerostack db migrate new NAME` begins another one; \
             `aerostack dev` applies it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn binding() -> DatabaseBinding {
        DatabaseBinding {
            binding: "DB".to_owned(),
            database: aerostack_config::ResourceName { name: "shop".to_owned(), state: "shop".to_owned() },
            database_id: None,
            migrations_dir: PathBuf::from("migrations"),
            migrations_table: "d1_migrations".to_owned(),
            durability: aerostack_config::Durability::Normal,
            driver: aerostack_config::DriverChoice::default(),
            span: None,
        }
    }

    fn migration(name: &str, applied_at: Option<&str>) -> Migration {
        Migration { name: name.to_owned(), applied_at: applied_at.map(str::to_owned) }
    }

    #[test]
    fn the_hint_tells_what_the_migrations_lack() {
        let hint = |migrations| hint(&binding(), Ok(migrations), "users");
        assert_eq!(
            hint(vec![]),
            "hint: DB (shop) has no table users, and migrations has no migrations: put CREATE TABLE statements into \
             migrations/0001_name.sql; `aerostack dev` applies it"
        );
        assert_eq!(
            hint(vec![migration("0001_a.sql", Some("now")), migration("0002_b.sql", None)]),
            "hint: DB (shop) has no table users, and migrations/0002_b.sql is not applied yet: `aerostack db migrate apply` \
             applies it"
        );
        assert!(hint(vec![migration("0001_a.sql", Some("now"))]).contains("no migration in migrations makes it"));
    }

    #[test]
    fn a_failure_shows_the_statement_in_its_file() {
        let text = "CREATE TABLE a (x);\nINSERT INTO nowhere VALUES (1);\n";
        let error = MigrationError::Failed {
            file: PathBuf::from("migrations/0002_bad.sql"),
            text: text.to_owned(),
            line: Some(2),
            position: Some(20),
            source: Box::new(aerostack_bindings::Error::new(
                aerostack_bindings::ErrorKind::InvalidInput,
                "no such table: nowhere",
            )),
        };
        assert_eq!(
            render_failure(&error, FrameStyle::Plain),
            "error: migration failed: no such table: nowhere
 --> migrations/0002_bad.sql:2:1
  |
1 | CREATE TABLE a (x);
2 | INSERT INTO nowhere VALUES (1);
  | ^
  = hint: the whole file was undone; `aerostack db migrate list` shows what is applied"
        );
    }
}
