use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use aerostack_database::migrations::Migrations;
use aerostack_database::{Cell, script};
use aerostack_faults::{Say, Storm, Timing, kill_a_child, rounds};
use libtest_mimic::{Failed, Trial};

use crate::places::{check_integrity, database_file};

const FILES: usize = 60;
const ROWS: i64 = 8;

/// The child of [`trial`]: applies all migrations, then waits to be killed.
pub(super) struct MigrationStorm;

const NAME: &str =
    "a process killed while migrations are applied leaves each whole or absent, and the next start goes on";

impl Storm for MigrationStorm {
    fn name(&self) -> &'static str {
        NAME
    }

    /// After its first line, while it goes through the files.
    fn timing(&self) -> Timing {
        Timing { lines: 1, rest: Duration::from_millis(40) }
    }

    fn work(&self, folder: &Path, say: &Say) {
        say.line("started");
        migrations(folder).apply().expect("the migrations go through");
        say.line("applied");
        std::thread::park();
    }
}

pub(crate) fn trial() -> Trial {
    Trial::test(NAME, || {
        for round in 0..rounds() {
            let folder = tempfile::tempdir()?;
            write_files(folder.path())?;
            let mut were_applied = false;
            kill_a_child(&MigrationStorm, folder.path(), round, |line| {
                were_applied |= line == "applied";
                Ok(())
            })?;
            let recorded = check(folder.path())?;
            if were_applied && recorded < FILES {
                return Err(format!("all were applied, and {recorded} are there after kill {}", round + 1).into());
            }
            migrations(folder.path()).apply()?;
            let recorded = check(folder.path())?;
            assert_eq!(recorded, FILES, "the next start applies the rest");
        }
        Ok(())
    })
}

fn migrations(folder: &Path) -> Migrations {
    Migrations::new(database_file(folder), folder.join("migrations"))
}

fn write_files(folder: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(folder.join("migrations"))?;
    std::fs::create_dir_all(folder.join("database"))?;
    for number in 0..FILES {
        let mut text =
            format!("CREATE TABLE t{number} (place INTEGER);\nCREATE INDEX i{number} ON t{number} (place);\n");
        for place in 0..ROWS {
            _ = writeln!(text, "INSERT INTO t{number} VALUES ({place});");
        }
        std::fs::write(folder.join(format!("migrations/{number:04}_t.sql")), text)?;
    }
    Ok(())
}

/// How many are recorded. Those have all they make, and no other has anything.
fn check(folder: &Path) -> Result<usize, Failed> {
    let file = database_file(folder);
    if !file.exists() {
        return Ok(0);
    }
    let recorded = migrations(folder).list()?.iter().filter(|migration| migration.applied_at.is_some()).count();
    check_integrity(&file)?;
    let made = script::execute(&file, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 't[0-9]*'")?;
    assert_eq!(made[0].cells.len(), recorded, "a table is there with its record");
    for number in 0..recorded {
        let counted =
            script::execute(&file, &format!("SELECT count(*) FROM t{number} INDEXED BY i{number} WHERE place >= 0"))?;
        assert_eq!(counted[0].cells, [Cell::Integer(ROWS)], "migration {number} is whole");
    }
    Ok(recorded)
}
