//! Values, columns, batches, several statements in one text.

use super::{Case, Outcome, Place, always, equal, expect_error, text, text_cell};
use libtest_mimic::Failed;

use crate::cells::Cell;
use crate::driver::{Statement, Value};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "a_statement_that_looks_at_its_parameters_takes_each_of_them",
            needs: always,
            trial: planned_by_value,
        },
        Case { name: "numbers_are_bound_as_doubles", needs: always, trial: numbers_are_doubles },
        Case { name: "numbers_that_json_lacks_are_null_and_there_is_one_zero", needs: always, trial: numbers_of_json },
        Case { name: "values_come_back_as_they_were_stored", needs: always, trial: values_round_trip },
        Case { name: "ids_that_are_strings_get_the_columns_affinity", needs: always, trial: affinity },
        Case { name: "numbered_parameters_may_come_in_any_order", needs: always, trial: numbered_parameters },
        Case { name: "columns_are_named_also_without_rows_and_duplicates_stay", needs: always, trial: column_names },
        Case { name: "a_write_returns_no_columns_and_returning_returns_rows", needs: always, trial: returning },
        Case { name: "a_batch_is_one_transaction", needs: always, trial: batch_commits },
        Case { name: "a_batch_with_a_failure_changes_nothing", needs: always, trial: batch_rolls_back },
        Case { name: "a_batch_of_queries_returns_all_results_in_order", needs: always, trial: batch_of_queries },
        Case { name: "no_statements_is_no_work", needs: always, trial: empty_call },
        Case {
            name: "several_statements_in_one_text_return_the_last_result",
            needs: always,
            trial: several_statements,
        },
        Case { name: "several_statements_with_a_failure_change_nothing", needs: always, trial: several_roll_back },
        Case { name: "a_schema_change_is_seen_by_statements_that_ran_before", needs: always, trial: schema_change },
        Case {
            name: "reports_on_the_schema_tell_of_the_newest",
            needs: |can| can.d1_limits,
            trial: reports_on_the_schema,
        },
        Case {
            name: "what_the_last_write_did_can_be_asked_for_in_sql",
            needs: |can| can.d1_limits,
            trial: functions_of_the_writer,
        },
        Case { name: "a_conflict_undoes_all_that_its_statement_did", needs: always, trial: conflicts_undo_all },
        Case { name: "a_with_clause_may_lead_to_a_write", needs: always, trial: with_insert },
        Case { name: "data_is_there_after_opening_again", needs: always, trial: reopening },
        Case { name: "foreign_keys_hold_and_cascade", needs: always, trial: foreign_keys },
        Case { name: "more_statements_than_are_kept_all_work", needs: always, trial: many_statements },
        Case { name: "a_dump_is_a_database_file", needs: |can| can.dump, trial: dump },
    ]
}

fn numbers_are_doubles(place: &Place) -> Outcome {
    let one = [Value::Real(1.0)];
    equal("typeof(?)", &place.run_with("SELECT typeof(?)", &one)?.cells, &vec![text_cell("real")])?;
    equal("7 / ?", &place.run_with("SELECT 7 / ?", &[Value::Real(2.0)])?.cells, &vec![Cell::Real(3.5)])?;
    place.run("CREATE TABLE t (i INTEGER, n NUMERIC, t TEXT)")?;
    let params = [Value::Real(1.0), Value::Real(2.0), Value::Real(1.0)];
    place.run_with("INSERT INTO t VALUES (?, ?, ?)", &params)?;
    let expected = vec![Cell::Integer(1), Cell::Integer(2), text_cell("1.0")];
    equal("stored numbers", &place.cells("SELECT i, n, t FROM t")?, &expected)
}

fn numbers_of_json(place: &Place) -> Outcome {
    for number in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let found = place.run_with("SELECT ?1, typeof(?1)", &[Value::Real(number)])?.cells;
        equal(&format!("{number}"), &found, &vec![Cell::Null, text_cell("null")])?;
    }
    let found = place.cells("SELECT 1e400, -1e400, typeof(1e400), 1e308")?;
    equal("numbers of SQL", &found, &vec![Cell::Null, Cell::Null, text_cell("real"), Cell::Real(1e308)])?;
    for found in [place.run("SELECT -0.0")?, place.run_with("SELECT ?", &[Value::Real(-0.0)])?] {
        let [Cell::Real(zero)] = found.cells.to_vec()[..] else { return Err(format!("{found:?}").into()) };
        equal("the zero", &zero.to_bits(), &0)?;
    }
    place.run("CREATE TABLE t (a REAL)")?;
    place.run("INSERT INTO t VALUES (1e400)")?;
    equal("is stored all the same", &place.cells("SELECT count(*) FROM t WHERE a > 1")?, &vec![Cell::Integer(1)])
}

fn values_round_trip(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")?;
    let values = [
        (Value::Null, Cell::Null),
        (text(""), text_cell("")),
        (text("gr\u{fc}n \u{1f600} a\u{0}b"), text_cell("gr\u{fc}n \u{1f600} a\u{0}b")),
        (Value::Blob(vec![]), Cell::Blob(vec![])),
        (Value::Blob(vec![0, 255, 7]), Cell::Blob(vec![0, 255, 7])),
        (Value::Real(-0.5), Cell::Real(-0.5)),
        (Value::Real(f64::NAN), Cell::Null),
    ];
    for (value, expected) in values {
        let result = place.run_with("INSERT INTO t (v) VALUES (?) RETURNING v", std::slice::from_ref(&value))?;
        equal("returned value", &result.cells, &vec![expected.clone()])?;
        let stored = place.cells("SELECT v FROM t ORDER BY id DESC LIMIT 1")?;
        equal("stored value", &stored, &vec![expected])?;
    }
    equal("large integer", &place.cells("SELECT 9223372036854775807")?, &vec![Cell::Integer(i64::MAX)])
}

fn affinity(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")?;
    place.run("INSERT INTO t VALUES (7, 'seven')")?;
    let found = place.run_with("SELECT name FROM t WHERE id = ?", &[text("7")])?;
    equal("row by a string id", &found.cells, &vec![text_cell("seven")])?;
    place.run_with("INSERT INTO t (id, name) VALUES (?, ?)", &[text("8"), text("eight")])?;
    equal("typeof(id)", &place.cells("SELECT typeof(id) FROM t WHERE id = 8")?, &vec![text_cell("integer")])
}

fn numbered_parameters(place: &Place) -> Outcome {
    place.run("CREATE TABLE colours (a, b, c)")?;
    let params = [text("yellow"), Value::Real(16_776_960.0), Value::Real(4.0)];
    let sql = "INSERT INTO colours VALUES (?3, ?1, ?2) RETURNING a, b, c";
    let expected = vec![Cell::Real(4.0), text_cell("yellow"), Cell::Real(16_776_960.0)];
    equal("numbered parameters", &place.run_with(sql, &params)?.cells, &expected)
}

fn column_names(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a, b)")?;
    let empty = place.run("SELECT a, b, a FROM t")?;
    equal("columns without rows", &empty.columns.to_vec(), &vec!["a".to_owned(), "b".to_owned(), "a".to_owned()])?;
    equal("rows", &empty.rows().len(), &0)?;
    let result = place.run("select 1;")?;
    equal("the column of `select 1`", &result.columns.to_vec(), &vec!["1".to_owned()])?;
    equal("the row of `select 1`", &result.cells, &vec![Cell::Integer(1)])
}

fn returning(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")?;
    let plain = place.run("INSERT INTO t (a) VALUES ('x')")?;
    equal("columns of a plain write", &plain.columns.len(), &0)?;
    equal("rows of a plain write", &plain.rows().len(), &0)?;
    let result = place.run("INSERT INTO t (a) VALUES ('y'), ('z') RETURNING id, a")?;
    let expected = vec![Cell::Integer(2), text_cell("y"), Cell::Integer(3), text_cell("z")];
    equal("returned rows", &result.cells, &expected)
}

fn batch_commits(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER)")?;
    let results = place.call(vec![
        Statement::with_params("INSERT INTO t VALUES (?)", [Value::Real(1.0)]),
        Statement::with_params("INSERT INTO t VALUES (?)", [Value::Real(2.0)]),
        Statement::new("SELECT sum(a) FROM t"),
    ])?;
    equal("results", &results.len(), &3)?;
    equal("the query sees the writes before it", &results[2].cells, &vec![Cell::Integer(3)])?;
    equal("committed", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(2)])
}

fn batch_rolls_back(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER UNIQUE)")?;
    let error = expect_error(place.call(vec![
        Statement::new("INSERT INTO t VALUES (1)"),
        Statement::new("INSERT INTO t VALUES (2)"),
        Statement::new("INSERT INTO t VALUES (1)"),
        Statement::new("INSERT INTO t VALUES (3)"),
    ]))?;
    let expected = "UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)";
    equal("message", &error.message(), &expected)?;
    equal("rows left", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(0)])?;
    place.run("INSERT INTO t VALUES (4)")?;
    equal("the next write works", &place.cells("SELECT a FROM t")?, &vec![Cell::Integer(4)])
}

fn batch_of_queries(place: &Place) -> Outcome {
    let results = place.call((0..10).map(|n| Statement::new(format!("SELECT {n}"))).collect())?;
    let found: Vec<_> = results.into_iter().flat_map(|result| result.cells.to_vec()).collect();
    equal("results", &found, &(0..10).map(Cell::Integer).collect::<Vec<_>>())
}

fn empty_call(place: &Place) -> Outcome {
    equal("results", &place.call(Vec::new())?.len(), &0)
}

fn several_statements(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER)")?;
    let sql = "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);\n-- now ask\nSELECT a FROM t WHERE a > ?;";
    let result = place.run_with(sql, &[Value::Real(1.0)])?;
    equal("rows of the last statement", &result.cells, &vec![Cell::Integer(2)])?;
    equal("queries only", &place.cells("SELECT 1; SELECT 2")?, &vec![Cell::Integer(2)])?;
    let made = place.cells("CREATE TABLE u (b); INSERT INTO u VALUES (5); SELECT b FROM u")?;
    equal("a statement may use what one before it made", &made, &vec![Cell::Integer(5)])
}

fn several_roll_back(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER UNIQUE)")?;
    expect_error(place.call(vec![Statement::new("INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)")]))?;
    equal("rows left", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(0)])
}

fn schema_change(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a)")?;
    place.run("INSERT INTO t VALUES (1)")?;
    equal("before", &place.run("SELECT * FROM t")?.columns.len(), &1)?;
    place.run("ALTER TABLE t ADD COLUMN b DEFAULT 'new'")?;
    let after = place.run("SELECT * FROM t")?;
    equal("columns after", &after.columns.to_vec(), &vec!["a".to_owned(), "b".to_owned()])?;
    equal("row after", &after.cells, &vec![Cell::Integer(1), text_cell("new")])
}

fn with_insert(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a)")?;
    place.run("WITH x(v) AS (VALUES (1), (2)) INSERT INTO t SELECT v FROM x")?;
    equal("rows", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(2)])
}

fn reopening(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a)")?;
    place.run("INSERT INTO t VALUES (1)")?;
    let again = place.second()?;
    let results = place.runtime.block_on(again.run(vec![Statement::new("SELECT a FROM t")]))?;
    equal("row", &results[0].cells, &vec![Cell::Integer(1)])
}

fn foreign_keys(place: &Place) -> Outcome {
    place.run("CREATE TABLE a (id INTEGER PRIMARY KEY)")?;
    place.run("CREATE TABLE b (a INTEGER REFERENCES a ON DELETE CASCADE)")?;
    let message = place.message("INSERT INTO b VALUES (1)", &[])?;
    let expected = "FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)";
    equal("message", &message.as_str(), &expected)?;
    place.call(vec![
        Statement::new("PRAGMA defer_foreign_keys = ON"),
        Statement::new("INSERT INTO b VALUES (1)"),
        Statement::new("INSERT INTO a VALUES (1)"),
    ])?;
    let deleted = place.run("DELETE FROM a")?;
    equal("changes with the cascade", &deleted.meta.changes, &2)?;
    equal("rows left", &place.cells("SELECT count(*) FROM b")?, &vec![Cell::Integer(0)])
}

fn many_statements(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER)")?;
    for n in 0..500 {
        place.run(&format!("INSERT INTO t VALUES ({n})"))?;
        equal("row", &place.cells(&format!("SELECT a FROM t WHERE a = {n}"))?, &vec![Cell::Integer(n)])?;
    }
    Ok(())
}

fn dump(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a)")?;
    let bytes = place.runtime.block_on(place.driver.dump(&aerostack_bindings::Memory::unlimited()))?;
    equal("magic", &bytes.get(..16), &Some(b"SQLite format 3\0".as_slice()))?;
    equal("whole pages", &(bytes.len() % 4096), &0)
}

/// SQLite looks at the values of these to plan, and compiles the statement anew for others.
fn planned_by_value(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")?;
    place.run("INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')")?;
    let page = "SELECT a, ? FROM t ORDER BY a LIMIT ? OFFSET ?";
    let long = "x".repeat(5000);
    for tag in ["x", "x", "", long.as_str(), "x", long.as_str(), long.as_str()] {
        for limit in [2, 2, 1, 0, 3] {
            for offset in [0, 0, 1, 2] {
                let params = [text(tag), Value::Real(f64::from(limit)), Value::Real(f64::from(offset))];
                let expected: Vec<Cell> = (1..=3)
                    .skip(offset as usize)
                    .take(limit as usize)
                    .flat_map(|id| [Cell::Integer(id), text_cell(tag)])
                    .collect();
                equal("a page", &place.run_with(page, &params)?.cells, &expected)?;
            }
        }
        // One that fails leaves nothing bound.
        let no_limit = [Value::Null, text("none"), Value::Null];
        equal("an error", &place.run_with(page, &no_limit).is_err(), &true)?;
    }
    let both = "SELECT typeof(?1), ?1, ?2 FROM t LIMIT ?3";
    for value in [Value::Null, Value::Real(0.0), Value::Real(-0.0), Value::Blob(vec![0]), text("t"), Value::Null] {
        let once = place.run_with(both, &[value.clone(), Value::Null, Value::Real(1.0)])?.cells;
        let again = place.run_with(both, &[value.clone(), Value::Null, Value::Real(1.0)])?.cells;
        equal("the same again", &again, &once)?;
        let fresh = place.run_with("SELECT typeof(?1), ?1, NULL", &[value])?.cells;
        // As text: 0.0 and -0.0 compare equal.
        equal("the same as without a limit", &format!("{again:?}"), &format!("{fresh:?}"))?;
    }
    let like = "SELECT a FROM t WHERE b LIKE ?";
    for (pattern, expected) in [("t%", vec![2, 3]), ("t%", vec![2, 3]), ("o%", vec![1]), ("%e", vec![1, 3])] {
        let found = place.run_with(like, &[text(pattern)])?.cells;
        equal(pattern, &found, &expected.into_iter().map(Cell::Integer).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn reports_on_the_schema(place: &Place) -> Outcome {
    // A connection that reads has seen the schema without the table.
    place.run("SELECT count(*) FROM sqlite_schema")?;
    let reports = [
        "PRAGMA index_list(t)",
        "PRAGMA index_info(sqlite_autoindex_t_1)",
        "PRAGMA foreign_key_list(t)",
        "PRAGMA table_info(t)",
        "SELECT * FROM pragma_index_list('t')",
        "SELECT * FROM pragma_foreign_key_list('t')",
    ];
    for sql in reports {
        equal(sql, &place.run(sql)?.rows().len(), &0)?;
    }
    place.run("CREATE TABLE p (id INTEGER PRIMARY KEY)")?;
    place.run("CREATE TABLE t (u TEXT UNIQUE REFERENCES p (id))")?;
    for sql in reports {
        equal(sql, &place.run(sql)?.rows().len(), &1)?;
    }
    let plan = "EXPLAIN QUERY PLAN SELECT * FROM t WHERE b = 1";
    place.message(plan, &[])?;
    place.run("ALTER TABLE t ADD COLUMN b")?;
    let detail = |place: &Place| -> Result<String, Failed> { Ok(format!("{:?}", place.cells(plan)?)) };
    equal("a scan", &detail(place)?.contains("SCAN t"), &true)?;
    place.run("CREATE INDEX t_b ON t (b)")?;
    equal("a search", &detail(place)?.contains("USING INDEX t_b"), &true)?;
    place.run("DROP INDEX t_b")?;
    equal("a scan again", &detail(place)?.contains("SCAN t"), &true)
}

fn functions_of_the_writer(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a)")?;
    place.run("INSERT INTO t VALUES (1), (2), (3)")?;
    for _ in 0..2 {
        let found = place.cells("SELECT last_insert_rowid(), changes()")?;
        equal("after an insert", &found, &vec![Cell::Integer(3), Cell::Integer(3)])?;
    }
    let found = place.cells("WITH w AS (SELECT last_insert_rowid() AS id) SELECT a FROM t JOIN w ON t.rowid = w.id")?;
    equal("in a join", &found, &vec![Cell::Integer(3)])?;
    place.run("UPDATE t SET a = 0 WHERE a > 1")?;
    equal("after an update", &place.cells("SELECT changes()")?, &vec![Cell::Integer(2)])?;
    let batch =
        place.call(vec![Statement::new("INSERT INTO t VALUES (4)"), Statement::new("SELECT last_insert_rowid()")])?;
    equal("in a batch", &batch[1].cells, &vec![Cell::Integer(4)])?;
    // A statement that is compiled between the write and the question must not answer for it.
    place.run("CREATE TABLE audit (changed, again DEFAULT (changes()))")?;
    let update = || Statement::new("UPDATE t SET a = 1 WHERE a = 0");
    for asks in [
        "INSERT INTO audit SELECT changes(), changes() WHERE changes() = 2",
        "INSERT INTO audit VALUES (changes(), 2) RETURNING changes()",
        "INSERT INTO audit (changed) VALUES (2)",
    ] {
        place.run("UPDATE t SET a = 0 WHERE rowid IN (2, 3)")?;
        place.call(vec![update(), Statement::new(asks)])?;
        let found = place.cells("SELECT changed, again FROM audit")?;
        equal(asks, &found, &vec![Cell::Integer(2), Cell::Integer(2)])?;
        place.run("DELETE FROM audit")?;
    }
    Ok(())
}

fn conflicts_undo_all(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a UNIQUE)")?;
    place.run("CREATE TABLE log (a)")?;
    place.run("INSERT INTO t VALUES (3)")?;
    place.run("CREATE TRIGGER no_99 BEFORE INSERT ON t WHEN new.a = 99 BEGIN SELECT RAISE(FAIL, 'no 99'); END")?;
    let failing = [
        "INSERT OR FAIL INTO t VALUES (1), (2), (3), (4)",
        "INSERT OR ABORT INTO t VALUES (1), (2), (3), (4)",
        "INSERT OR ROLLBACK INTO t VALUES (1), (2), (3), (4)",
        "INSERT INTO t VALUES (98), (99)",
        "INSERT INTO t VALUES (1); INSERT OR FAIL INTO t VALUES (2), (3)",
    ];
    for sql in failing {
        for _ in 0..2 {
            place.message(sql, &[])?;
        }
        equal(sql, &place.cells("SELECT a FROM t")?, &vec![Cell::Integer(3)])?;
        expect_error(place.call(vec![Statement::new("INSERT INTO log VALUES (1)"), Statement::new(sql)]))?;
        equal(sql, &place.cells("SELECT a FROM t UNION ALL SELECT a FROM log")?, &vec![Cell::Integer(3)])?;
    }
    // What works is kept, and the statement works again after it failed.
    let insert = "INSERT OR FAIL INTO t VALUES (?), (?)";
    let values = |one, two| [Value::Real(one), Value::Real(two)];
    place.message(insert, &values(7.0, 3.0))?;
    equal("changes", &place.run_with(insert, &values(7.0, 8.0))?.meta.changes, &2)?;
    equal("rows", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(3)])
}
