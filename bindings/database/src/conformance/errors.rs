//! The texts of contract section 1.6 and the limits of section 1.7.

use aerostack_bindings::ErrorKind;

use super::{Case, Outcome, Place, always, equal, expect_error, text};
use crate::cells::Cell;
use crate::driver::{Capabilities, Statement, Value};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "errors_read_as_those_of_d1", needs: always, trial: wording },
        Case { name: "errors_have_a_kind", needs: always, trial: kinds },
        Case { name: "a_text_without_a_statement_is_refused", needs: always, trial: no_statement },
        Case { name: "the_number_of_parameters_must_fit", needs: always, trial: parameter_count },
        Case { name: "transactions_cannot_be_steered_from_sql", needs: always, trial: transactions },
        Case { name: "limits_of_d1_hold", needs: d1_limits, trial: limits },
        Case { name: "what_reaches_outside_the_database_is_refused", needs: d1_limits, trial: refusals },
        Case { name: "what_d1_allows_is_allowed", needs: d1_limits, trial: allowed },
        Case { name: "a_setting_holds_for_one_call", needs: d1_limits, trial: settings },
    ]
}

fn d1_limits(can: Capabilities) -> bool {
    can.d1_limits
}

fn wording(place: &Place) -> Outcome {
    place
        .run("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE, age INTEGER NOT NULL CHECK (age > 0))")?;
    place.run("INSERT INTO users VALUES (1, 'a@b.c', 5)")?;
    for (sql, expected) in [
        (
            "INSERT INTO users VALUES (2, 'a@b.c', 5)",
            "UNIQUE constraint failed: users.email: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
        ),
        (
            "INSERT INTO users VALUES (1, 'x', 5)",
            "UNIQUE constraint failed: users.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)",
        ),
        (
            "INSERT INTO users (email) VALUES ('d')",
            "NOT NULL constraint failed: users.age: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_NOTNULL)",
        ),
        (
            "INSERT INTO users VALUES (3, 'e', -1)",
            "CHECK constraint failed: age > 0: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)",
        ),
        ("SELECT * FROM nope", "no such table: nope: SQLITE_ERROR"),
        ("INSERT INTO nope VALUES (1)", "no such table: nope: SQLITE_ERROR"),
        ("SELECT nope FROM users", "no such column: nope at offset 7: SQLITE_ERROR"),
        ("INSERTZ INTO users VALUES (1)", "near \"INSERTZ\": syntax error at offset 0: SQLITE_ERROR"),
        ("INSERT INTO users VALUES (1)", "table users has 3 columns but 1 values were supplied: SQLITE_ERROR"),
    ] {
        // Twice, because the second time the statement may come from a cache.
        for _ in 0..2 {
            equal(sql, &place.message(sql, &[])?.as_str(), &expected)?;
        }
    }
    Ok(())
}

fn kinds(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a UNIQUE, b NOT NULL)")?;
    place.run("INSERT INTO t VALUES (1, 1)")?;
    for (sql, expected) in [
        ("INSERT INTO t VALUES (1, 1)", ErrorKind::AlreadyExists),
        ("INSERT INTO t VALUES (2, NULL)", ErrorKind::ConditionFailed),
        ("SELEC 1", ErrorKind::InvalidInput),
        ("", ErrorKind::InvalidInput),
    ] {
        let error = expect_error(place.call(vec![Statement::new(sql)]))?;
        equal(sql, &error.kind(), &expected)?;
    }
    Ok(())
}

fn no_statement(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a)")?;
    for sql in [
        "",
        "  \n ",
        ";",
        "-- a comment",
        "/* a comment */ ;",
        "SELECT 1;;",
        "SELECT 1; -- a comment",
        "INSERT INTO t VALUES (1);;",
        "INSERT INTO t VALUES (1); ;\n",
    ] {
        equal(sql, &place.message(sql, &[])?.as_str(), &"SQL code did not contain a statement.")?;
    }
    for sql in ["SELECT 1;", "SELECT 1;\n\t\r\n", ";SELECT 1", "SELECT 0;; SELECT 1", "-- a\nSELECT 1", "SELECT 1 -- a"]
    {
        equal(sql, &place.cells(sql)?, &vec![Cell::Integer(1)])?;
    }
    equal("a text that was refused changed nothing", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(0)])
}

fn parameter_count(place: &Place) -> Outcome {
    let expected = "Wrong number of parameter bindings for SQL query.";
    equal("too few", &place.message("SELECT ?, ?", &[Value::Null])?.as_str(), &expected)?;
    equal("too many", &place.message("SELECT ?", &[Value::Null, Value::Null])?.as_str(), &expected)?;
    let expected =
        "When executing multiple SQL statements in a single call, only the last statement can have parameters.";
    equal("too early", &place.message("SELECT ?; SELECT 2", &[Value::Null])?.as_str(), &expected)
}

fn transactions(place: &Place) -> Outcome {
    for sql in ["BEGIN", "BEGIN TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "SELECT 1; BEGIN"] {
        let message = place.message(sql, &[])?;
        let start = "To execute a transaction, please use the state.storage.transaction() or \
                     state.storage.transactionSync() APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements.";
        if !message.starts_with(start) {
            return Err(format!("{sql}: {message}").into());
        }
    }
    place.run("CREATE TABLE t (a)")?;
    Ok(())
}

fn limits(place: &Place) -> Outcome {
    let hundred = vec![Value::Real(1.0); 100];
    let sql = format!("SELECT {}", vec!["?"; 100].join(" + "));
    equal("100 parameters", &place.run_with(&sql, &hundred)?.cells, &vec![Cell::Real(100.0)])?;
    let sql = format!("SELECT 1 WHERE 1 IN ({})", vec!["?"; 101].join(","));
    let message = place.message(&sql, &vec![Value::Real(1.0); 101])?;
    if !message.starts_with("too many SQL variables at offset ") || !message.ends_with(": SQLITE_ERROR") {
        return Err(message.into());
    }
    place.run("CREATE TABLE long (a, b)")?;
    let fits = text(&"x".repeat(2_199_994));
    place.run_with("INSERT INTO long VALUES (?, 1)", &[fits])?;
    let too_long = text(&"x".repeat(2_199_995));
    let message = place.message("INSERT INTO long VALUES (?, 1)", std::slice::from_ref(&too_long))?;
    equal("a row that is too long", &message.as_str(), &"string or blob too big: SQLITE_TOOBIG")?;
    place.run_with("SELECT ?", &[too_long])?;
    let long = text(&"x".repeat(2_200_001));
    equal(
        "a string that is too long",
        &place.message("SELECT ?", &[long])?.as_str(),
        &"string or blob too big: SQLITE_TOOBIG",
    )?;
    let long = format!("SELECT '{}'", "x".repeat(100_001));
    equal("100 kB statement", &place.message(&long, &[])?.as_str(), &"statement too long: SQLITE_TOOBIG")?;
    let columns: Vec<_> = (0..101).map(|n| format!("c{n}")).collect();
    let message = place.message(&format!("CREATE TABLE wide ({})", columns.join(",")), &[])?;
    if !message.starts_with("too many columns on wide") {
        return Err(message.into());
    }
    let message = place.message(&format!("SELECT 'a' LIKE '{}'", "x".repeat(51)), &[])?;
    if !message.starts_with("LIKE or GLOB pattern too complex") {
        return Err(message.into());
    }
    Ok(())
}

fn refusals(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a)")?;
    for sql in [
        "ATTACH 'other.sqlite' AS other",
        "CREATE TABLE _cf_mine (a)",
        "CREATE TEMP TABLE x (a)",
        "CREATE TABLE temp.x (a)",
        "CREATE VIEW temp.x AS SELECT 1",
        "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
        "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = ON",
        "PRAGMA page_size",
        "PRAGMA page_size = 512",
        "PRAGMA foreign_keys = 2",
        "PRAGMA foreign_keys = maybe",
        "PRAGMA data_version(1)",
        "PRAGMA index_list",
        "PRAGMA table_info(_cf_x)",
        "PRAGMA optimize(t)",
        "PRAGMA database_list",
        "CREATE VIRTUAL TABLE x USING dbstat",
    ] {
        equal(sql, &place.message(sql, &[])?.as_str(), &"not authorized: SQLITE_AUTH")?;
    }
    for sql in [
        "VACUUM",
        "SELECT sqlite_version()",
        "SELECT load_extension('x')",
        "SELECT * FROM dbstat",
        "UPDATE sqlite_master SET sql = ''",
    ] {
        place.message(sql, &[])?;
    }
    equal("nothing was made", &place.cells("SELECT count(*) FROM sqlite_master")?, &vec![Cell::Integer(1)])
}

fn allowed(place: &Place) -> Outcome {
    place.run("CREATE TABLE posts (id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT DEFAULT (lower(hex(randomblob(16)))), at INTEGER DEFAULT (unixepoch() * 1000), title TEXT)")?;
    place.run("CREATE VIRTUAL TABLE search USING fts5(title, content='posts', content_rowid='id')")?;
    place.run("CREATE TRIGGER added AFTER INSERT ON posts BEGIN INSERT INTO search(rowid, title) VALUES (new.id, new.title); END")?;
    place.run("INSERT INTO posts (title) VALUES ('hello world'), ('bye')")?;
    equal("FTS5", &place.cells("SELECT rowid FROM search WHERE search MATCH 'hello'")?, &vec![Cell::Integer(1)])?;
    for sql in [
        "SELECT datetime('now', '-7 days')",
        "SELECT json_extract('{\"a\":[1]}', '$.a[0]'), json_group_array(title) FROM posts",
        "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE '_cf_%'",
        "PRAGMA table_info(posts)",
        "PRAGMA table_list(_cf_x)",
        "PRAGMA foreign_keys",
        "PRAGMA foreign_keys = YES",
        "PRAGMA foreign_key_check",
        "PRAGMA optimize(0x10002)",
        "PRAGMA quick_check(1)",
        "PRAGMA quick_check(posts)",
        "SELECT * FROM sqlite_temp_schema",
        "SELECT name FROM pragma_table_list()",
        "SELECT row_number() OVER (ORDER BY id) FROM posts",
        "ALTER TABLE posts RENAME COLUMN title TO name",
        "ALTER TABLE posts ADD COLUMN more TEXT",
        "EXPLAIN QUERY PLAN SELECT * FROM posts",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT * FROM n",
        "PRAGMA optimize",
        "PRAGMA quick_check",
    ] {
        place.run(sql).map_err(|error| format!("{sql}: {error}"))?;
    }
    let maths =
        "SELECT ceil(1.2), floor(7), sqrt(-1), round(pow('2', 0.5), 3), mod(7, 4), log(100), log(2, 8), sign(-3)";
    let expected = vec![
        Cell::Real(2.0),
        Cell::Integer(7),
        Cell::Null,
        Cell::Real(1.414),
        Cell::Real(3.0),
        Cell::Real(2.0),
        Cell::Real(3.0),
        Cell::Integer(-1),
    ];
    equal("math functions", &place.cells(maths)?, &expected)?;
    let info = place.run_with("SELECT name FROM pragma_table_info(?)", &[text("posts")])?;
    equal("pragma_table_info(?)", &info.cells.len(), &5)
}

fn settings(place: &Place) -> Outcome {
    place.run("CREATE TABLE a (id INTEGER PRIMARY KEY)")?;
    place.run("CREATE TABLE b (a INTEGER REFERENCES a)")?;
    place.run("PRAGMA foreign_keys = OFF")?;
    let message = place.message("INSERT INTO b VALUES (1)", &[])?;
    equal("foreign keys are on again", &message.starts_with("FOREIGN KEY constraint failed"), &true)?;
    let checked = "PRAGMA ignore_check_constraints = ON; CREATE TABLE c (a CHECK (a > 0)); INSERT INTO c VALUES (0)";
    place.run(checked)?;
    let message = place.message("INSERT INTO c VALUES (0)", &[])?;
    equal("checks are on again", &message.starts_with("CHECK constraint failed"), &true)
}
