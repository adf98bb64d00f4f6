//! Calls that are made at once, as those of many requests are: each must have the outcome that it would have by itself.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use aerostack_bindings::Result;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Case, Outcome, Place, always, equal, runtime, text};
use crate::cells::Cell;
use crate::driver::{Capabilities, DatabaseDriver, Statement, StatementResult, Value};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "calls_at_once_have_the_outcomes_of_one_after_the_other", needs: ordered, trial: as_in_turn },
        Case { name: "a_conflict_that_rolls_back_undoes_no_other_write", needs: always, trial: rolled_back_alone },
        Case { name: "what_is_checked_at_the_commit_fails_alone", needs: always, trial: deferred_alone },
        Case { name: "a_slow_write_among_quick_ones_happens_once", needs: always, trial: slow_among_quick },
        Case { name: "a_query_sees_the_write_that_was_asked_for_before_it", needs: ordered, trial: in_order },
        Case { name: "a_write_whose_caller_is_gone_leaves_the_others_alone", needs: always, trial: gone_among_others },
        Case { name: "threads_that_write_at_once_lose_nothing", needs: always, trial: many_threads },
    ]
}

fn ordered(can: Capabilities) -> bool {
    can.in_order
}

type Told = std::result::Result<StatementResult, String>;

/// What a single statement has told its caller, without what depends on the time.
fn told(outcome: Result<Vec<StatementResult>>) -> Told {
    match outcome {
        Ok(mut results) => {
            let mut result = results.remove(0);
            result.meta.duration_ms = 0.0;
            result.meta.version = 0;
            Ok(result)
        }
        Err(error) => Err(error.message().to_owned()),
    }
}

/// Calls with all statements before any has its outcome.
fn at_once(place: &Place, statements: &[Statement]) -> std::result::Result<Vec<Told>, tokio::task::JoinError> {
    place.runtime.block_on(async {
        let call = |statement: &Statement| {
            let (driver, statement) = (Arc::clone(&place.driver), statement.clone());
            tokio::spawn(async move { driver.run(vec![statement]).await })
        };
        let calls: Vec<_> = statements.iter().map(call).collect();
        let mut outcomes = Vec::with_capacity(calls.len());
        for call in calls {
            outcomes.push(told(call.await?));
        }
        Ok(outcomes)
    })
}

fn in_turn(place: &Place, statements: &[Statement]) -> Vec<Told> {
    statements.iter().map(|statement| told(place.call(vec![statement.clone()]))).collect()
}

fn insert(id: i64, name: &str) -> Statement {
    Statement::with_params("INSERT INTO t (id, name) VALUES (?, ?)", [Value::Real(id as f64), text(name)])
}

fn count(place: &Place) -> Result<Vec<Cell>> {
    place.cells("SELECT count(*) FROM t")
}

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL CHECK (length(name) < 6))";

fn as_in_turn(place: &Place) -> Outcome {
    // The other database, where the same statements run one after the other.
    let other = Place {
        folder: tempfile::tempdir()?,
        open: Arc::clone(&place.open),
        driver: (place.open)(&place.folder.path().join("other"))?,
        runtime: runtime()?,
    };
    place.run(TABLE)?;
    other.run(TABLE)?;
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    runner
        .run(&proptest::collection::vec(statement(), 1..60), |statements| {
            for place in [place, &other] {
                let afresh = vec![insert(1000, "last"), Statement::new("DELETE FROM t")];
                place.call(afresh).map_err(|error| TestCaseError::fail(error.to_string()))?;
            }
            let found = at_once(place, &statements).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let expected = in_turn(&other, &statements);
            for ((statement, found), expected) in statements.iter().zip(found).zip(expected) {
                prop_assert_eq!(found, expected, "{:?}", statement);
            }
            Ok(())
        })
        .map_err(|error| error.to_string().into())
}

fn statement() -> impl Strategy<Value = Statement> {
    let verb = prop_oneof![
        6 => Just("INSERT"),
        1 => Just("INSERT OR IGNORE"),
        1 => Just("INSERT OR REPLACE"),
        1 => Just("INSERT OR FAIL"),
        1 => Just("INSERT OR ROLLBACK"),
    ];
    let row = (0_i64..30, "[a-z\u{e4}]{0,6}");
    prop_oneof![
        8 => (verb, row.clone()).prop_map(|(verb, (id, name))| Statement::with_params(
            format!("{verb} INTO t (id, name) VALUES (?, ?) RETURNING *"),
            [Value::Real(id as f64), text(&name)],
        )),
        2 => row.prop_map(|(id, name)| Statement::with_params(
            "UPDATE t SET name = ? WHERE id >= ?",
            [text(&name), Value::Real(id as f64)],
        )),
        2 => (0_i64..30).prop_map(|id| Statement::with_params("DELETE FROM t WHERE id > ?", [Value::Real(id as f64)])),
        1 => Just(Statement::new("SELECT * FROM t ORDER BY id")),
        1 => Just(Statement::new("INSERT INTO t (id, name) VALUES (1, 'a'); DELETE FROM t WHERE id = 1")),
        1 => Just(Statement::new("INSERT INTO nothing VALUES (1)")),
        1 => Just(Statement::new("INSERT INTO t (id, name) VALUES (?, 'a')")),
    ]
}

fn rolled_back_alone(place: &Place) -> Outcome {
    place.run(TABLE)?;
    place.call(vec![insert(0, "taken")])?;
    let mut statements: Vec<Statement> = (1..50).map(|id| insert(id, "a")).collect();
    statements.insert(25, Statement::new("INSERT OR ROLLBACK INTO t (id, name) VALUES (0, 'again')"));
    let outcomes = at_once(place, &statements)?;
    let failed: Vec<usize> = (0..).zip(&outcomes).filter(|(_, told)| told.is_err()).map(|(place, _)| place).collect();
    equal("those that failed", &failed, &vec![25])?;
    equal("rows", &count(place)?, &vec![Cell::Integer(50)])
}

fn deferred_alone(place: &Place) -> Outcome {
    place.run("CREATE TABLE parent (id INTEGER PRIMARY KEY)")?;
    place.run("CREATE TABLE t (id INTEGER PRIMARY KEY, parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")?;
    let child = |id: i64, parent: &str| Statement::new(format!("INSERT INTO t (id, parent) VALUES ({id}, {parent})"));
    let mut statements: Vec<Statement> = (1..50).map(|id| child(id, "NULL")).collect();
    statements.insert(30, child(99, "7"));
    let outcomes = at_once(place, &statements)?;
    let alone = told(place.call(vec![child(99, "7")]));
    equal("the one without a parent fails as it does alone", &outcomes[30], &alone)?;
    equal("it fails", &alone.is_err(), &true)?;
    equal("those that failed", &outcomes.iter().filter(|told| told.is_err()).count(), &1)?;
    equal("rows", &count(place)?, &vec![Cell::Integer(49)])
}

fn slow_among_quick(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")?;
    let slow = "INSERT INTO t (name) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200000) \
                SELECT 'slow' FROM n";
    let mut statements = vec![Statement::new("INSERT INTO t (name) VALUES ('quick')"); 40];
    statements.insert(20, Statement::new(slow));
    let outcomes = at_once(place, &statements)?;
    equal("failures", &outcomes.iter().filter(|told| told.is_err()).count(), &0)?;
    let counted = place.cells("SELECT name, count(*) FROM t GROUP BY name ORDER BY name")?;
    let expected =
        vec![Cell::Text("quick".into()), Cell::Integer(40), Cell::Text("slow".into()), Cell::Integer(200_000)];
    equal("rows", &counted, &expected)
}

fn in_order(place: &Place) -> Outcome {
    place.run(TABLE)?;
    place.runtime.block_on(async {
        for id in 0..100 {
            let mut write = pin!(place.driver.run(vec![insert(id, "a")]));
            let first = std::future::poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
            let seen = place.driver.run(vec![Statement::new("SELECT count(*) FROM t")]).await?;
            equal("rows that the query sees", &seen[0].cells, &vec![Cell::Integer(id + 1)])?;
            match first {
                Poll::Ready(outcome) => drop(outcome?),
                Poll::Pending => drop(write.await?),
            }
        }
        Ok(())
    })
}

fn gone_among_others(place: &Place) -> Outcome {
    place.run(TABLE)?;
    place.runtime.block_on(async {
        let call = |id: i64| {
            let driver = Arc::clone(&place.driver);
            tokio::spawn(async move { driver.run(vec![insert(id, "a")]).await })
        };
        let calls: Vec<_> = (0..60).map(call).collect();
        // They have been called, and most of them wait.
        tokio::task::yield_now().await;
        for (id, call) in (0..).zip(calls) {
            if id % 3 == 0 {
                call.abort();
            } else {
                call.await??;
            }
        }
        Outcome::Ok(())
    })?;
    let others = place.cells("SELECT count(*) FROM t WHERE id % 3 != 0")?;
    equal("rows of the others", &others, &vec![Cell::Integer(40)])
}

fn many_threads(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")?;
    let write = |driver: Arc<dyn DatabaseDriver>| {
        move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            runtime.block_on(async {
                for _ in 0..20 {
                    let call = || {
                        let driver = Arc::clone(&driver);
                        tokio::spawn(async move {
                            driver.run(vec![Statement::new("INSERT INTO t (name) VALUES ('a')")]).await
                        })
                    };
                    let calls: Vec<_> = (0..50).map(|_| call()).collect();
                    for call in calls {
                        call.await.expect("the call does not panic")?;
                    }
                }
                Ok(())
            })
        }
    };
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(write(Arc::clone(&place.driver)))).collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread of the trial panicked")??;
    }
    equal("rows", &count(place)?, &vec![Cell::Integer(4000)])
}
