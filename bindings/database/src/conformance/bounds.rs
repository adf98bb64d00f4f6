//! What one call may make the database and the process hold.

use aerostack_bindings::{ErrorKind, Memory};

use super::{Case, Outcome, Place, always, equal, expect_error};
use crate::cells::Cell;
use crate::driver::{Capabilities, MOST_RESULT_BYTES, Rows, Statement};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "a_result_that_is_too_large_is_an_error", needs: always, trial: results_are_bounded },
        Case { name: "a_result_counts_for_as_long_as_it_is_kept", needs: always, trial: results_count },
        Case { name: "a_result_that_no_memory_is_left_for_is_an_error", needs: always, trial: results_need_memory },
        Case {
            name: "no_row_is_read_past_the_first_where_one_is_asked_for",
            needs: limited_like_d1,
            trial: first_steps_once,
        },
        Case {
            name: "a_write_is_run_to_its_end_for_its_first_row",
            needs: always,
            trial: first_runs_writes_to_their_end,
        },
        Case {
            name: "a_statement_that_needs_too_much_memory_fails",
            needs: limited_like_d1,
            trial: working_memory_is_bounded,
        },
        Case { name: "what_a_sort_does_not_keep_in_memory_lies_in_files", needs: limited_like_d1, trial: sorts_spill },
        Case { name: "a_copy_of_the_database_counts", needs: dumped, trial: dumps_count },
        Case {
            name: "a_schema_does_not_grow_past_its_bound_and_can_be_dropped",
            needs: limited_like_d1,
            trial: schemas_are_bounded,
        },
    ]
}

fn limited_like_d1(can: Capabilities) -> bool {
    can.d1_limits
}

fn dumped(can: Capabilities) -> bool {
    can.dump
}

/// Rows of texts of 100 kB.
fn wide(rows: usize) -> String {
    format!(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {rows}) SELECT hex(zeroblob(50000)) AS v FROM c"
    )
}

fn limited(megabytes: usize) -> Memory {
    Memory::limited(megabytes * 1024 * 1024, || ())
}

/// A view of 40,000 numbers takes about 3 MB in the memory of each connection.
fn schemas_are_bounded(place: &Place) -> Outcome {
    let numbers = vec!["1"; 40_000].join(",");
    let view = |number: usize| format!("CREATE VIEW v{number} AS SELECT 1 IN ({numbers})");
    let made = (0..20).take_while(|number| place.run(&view(*number)).is_ok()).count();
    equal("some are made, and not all", &(2..15).contains(&made), &true)?;
    let refused = "the schema of the database takes more than 16 MB: drop what is not needed: SQLITE_TOOBIG";
    equal("the next one", &place.message(&view(made), &[])?, &refused.to_owned())?;
    equal("a table", &place.message("CREATE TABLE t (a)", &[])?, &refused.to_owned())?;
    for number in 0..made {
        place.run(&format!("DROP VIEW v{number}"))?;
    }
    place.run("CREATE TABLE t (a)")?;
    // Statements that were let pass before are looked at again.
    for number in 0..20 {
        place.run(&view(number))?;
        place.run(&format!("DROP VIEW v{number}"))?;
    }
    let made = (0..20).take_while(|number| place.run(&view(*number)).is_ok()).count();
    equal("as many are made again, and not all", &(2..15).contains(&made), &true)
}

fn in_memory(sql: impl Into<String>, memory: &Memory) -> Statement {
    Statement { memory: memory.clone(), ..Statement::new(sql) }
}

fn results_are_bounded(place: &Place) -> Outcome {
    let enough = place.run(&wide(MOST_RESULT_BYTES / 100_000 - 10))?;
    equal("rows that fit", &enough.cells.len(), &(MOST_RESULT_BYTES / 100_000 - 10))?;
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)";
    for sql in [
        wide(MOST_RESULT_BYTES / 100_000 + 100),
        format!("{endless} SELECT hex(zeroblob(50000)) FROM c"),
        format!("{endless} SELECT zeroblob(50000) FROM c"),
        format!("{endless} SELECT x FROM c"),
    ] {
        let error = expect_error(place.call(vec![Statement::new(sql)]))?;
        let expected = "query result is larger than 50 MB: ask for fewer rows or columns at once: SQLITE_TOOBIG";
        equal("the error", &error.message(), &expected)?;
    }
    equal("the next call", &place.cells("SELECT 1")?, &vec![Cell::Integer(1)])
}

fn results_count(place: &Place) -> Outcome {
    let memory = limited(64);
    let kept = place.call(vec![in_memory(wide(100), &memory)])?;
    if memory.held() < 10_000_000 {
        return Err(format!("10 MB count as {}", memory.held()).into());
    }
    drop(kept);
    equal("bytes held afterwards", &memory.held(), &0)?;
    let small = place.call(vec![in_memory("SELECT 1", &memory)])?;
    equal("a small result", &memory.held(), &0)?;
    drop(small);
    Ok(())
}

fn results_need_memory(place: &Place) -> Outcome {
    let memory = limited(16);
    let _taken = memory.hold(8 * 1024 * 1024)?;
    let error = expect_error(place.call(vec![in_memory(wide(400), &memory)]))?;
    equal("the kind", &error.kind(), &ErrorKind::RateLimited)?;
    equal("what is named", &error.message().contains("raise limits.array_buffer_mb"), &true)?;
    equal("rows that fit", &place.call(vec![in_memory(wide(20), &memory)])?[0].cells.len(), &20)
}

fn first_steps_once(place: &Place) -> Outcome {
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c";
    let first = Statement { rows: Rows::First, ..Statement::new(endless) };
    for _ in 0..2 {
        equal("the first row", &place.call(vec![first.clone()])?[0].cells, &vec![Cell::Integer(1)])?;
    }
    Ok(())
}

fn first_runs_writes_to_their_end(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a)")?;
    let sql = "INSERT INTO t VALUES (1), (2), (3) RETURNING a";
    let inserted = place.call(vec![Statement { rows: Rows::First, ..Statement::new(sql) }])?;
    equal("the first row", &inserted[0].rows()[0], &vec![Cell::Integer(1)])?;
    equal("rows in the table", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(3)])
}

fn working_memory_is_bounded(place: &Place) -> Outcome {
    let memory = limited(32);
    place.run("CREATE TABLE t (a)")?;
    let values = vec!["hex(zeroblob(500000))"; 60].join(", ");
    for sql in [
        format!("SELECT length(max({values}))"),
        format!("INSERT INTO t SELECT length(max({values})) FROM (VALUES (1), (2))"),
    ] {
        let error = expect_error(place.call(vec![in_memory(sql, &memory)]))?;
        equal("what is named", &error.message().ends_with("raise limits.array_buffer_mb: SQLITE_NOMEM"), &true)?;
    }
    equal("bytes held", &memory.held(), &0)?;
    equal("rows in the table", &place.call(vec![in_memory("SELECT a FROM t", &memory)])?[0].cells.len(), &0)
}

fn sorts_spill(place: &Place) -> Outcome {
    let memory = limited(32);
    let sql = |what: &str| format!("SELECT count(*) FROM ({what} FROM ({}))", wide(600));
    for what in ["SELECT DISTINCT v || random()", "SELECT row_number() OVER (ORDER BY v || random())"] {
        let counted = place.call(vec![in_memory(sql(what), &memory)])?;
        equal(what, &counted[0].cells, &vec![Cell::Integer(600)])?;
    }
    equal("bytes in files afterwards", &memory.files().held(), &0)
}

fn dumps_count(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a)")?;
    place.run("INSERT INTO t VALUES (zeroblob(1000000))")?;
    let refused = place.runtime.block_on(place.driver.dump(&limited(1)));
    equal("with too little memory", &refused.map_err(|error| error.kind()), &Err(ErrorKind::RateLimited))?;
    let memory = limited(16);
    equal("a copy", &(place.runtime.block_on(place.driver.dump(&memory))?.len() > 1_000_000), &true)?;
    equal("bytes held afterwards", &memory.held(), &0)
}
