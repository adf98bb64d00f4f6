//! Several callers at once, and callers that go away.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

use super::{Case, Outcome, Place, always, equal, runtime};
use crate::cells::Cell;
use crate::driver::{Capabilities, DatabaseDriver, Statement, Value};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "readers_answer_while_a_long_write_runs", needs: always, trial: readers_during_write },
        Case { name: "a_write_waits_for_a_long_write", needs: always, trial: write_waits },
        Case { name: "two_threads_write_a_thousand_rows_each", needs: always, trial: two_writers },
        Case { name: "two_drivers_on_one_database_write_a_thousand_rows_each", needs: shared, trial: two_drivers },
        Case { name: "queries_see_what_another_driver_has_just_written", needs: shared, trial: newest_state },
        Case { name: "a_slow_query_lets_its_thread_go_on", needs: always, trial: slow_query },
        Case { name: "a_slow_write_happens_once", needs: always, trial: slow_write_once },
        Case { name: "a_dropped_call_leaves_nothing_behind", needs: always, trial: dropped_call },
        Case { name: "a_batch_of_queries_sees_one_moment", needs: always, trial: one_moment },
    ]
}

fn shared(can: Capabilities) -> bool {
    can.shared
}

/// Takes long enough that no driver finishes it at once: a second or so.
const SLOW_ROWS: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000000)";

/// Starts a long write in its own thread and returns once it is running there.
fn long_write(place: &Place) -> thread::JoinHandle<aerostack_bindings::Result<u64>> {
    let driver = Arc::clone(&place.driver);
    let (started, wait) = mpsc::channel();
    let handle = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let sql = format!("INSERT INTO t {SLOW_ROWS} SELECT max(x) FROM n");
            let mut call = pin!(driver.run(vec![Statement::new(sql)]));
            // The first poll either finishes or leaves the write under way.
            let first = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
            let _ = started.send(());
            let results = match first {
                Poll::Ready(results) => results?,
                Poll::Pending => call.await?,
            };
            Ok(results[0].meta.changes)
        })
    });
    // An error means that the thread is gone, which joining it will tell.
    let _ = wait.recv();
    handle
}

fn join<T>(handle: thread::JoinHandle<aerostack_bindings::Result<T>>) -> Result<T, libtest_mimic::Failed> {
    match handle.join() {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err("a thread of the trial panicked".into()),
    }
}

fn readers_during_write(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER)")?;
    let write = long_write(place);
    let mut seen_empty = 0;
    while !write.is_finished() {
        if place.cells("SELECT count(*) FROM t")? == [Cell::Integer(0)] {
            seen_empty += 1;
        }
    }
    equal("changes", &join(write)?, &1)?;
    equal("queries were answered while the write ran", &(seen_empty > 0), &true)?;
    equal("the write is seen afterwards", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(1)])
}

fn write_waits(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER)")?;
    let write = long_write(place);
    equal("the short write", &place.run("INSERT INTO t VALUES (0)")?.meta.changes, &1)?;
    equal("the long write", &join(write)?, &1)?;
    equal("both are there", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(2)])
}

fn write_rows(driver: &Arc<dyn DatabaseDriver>, from: u32) -> thread::JoinHandle<aerostack_bindings::Result<()>> {
    let driver = Arc::clone(driver);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            for n in from..from + 1000 {
                let value = [Value::Real(f64::from(n))];
                driver.run(vec![Statement::with_params("INSERT INTO t VALUES (?)", value)]).await?;
            }
            Ok(())
        })
    })
}

fn two_writers(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER PRIMARY KEY)")?;
    let threads = [write_rows(&place.driver, 0), write_rows(&place.driver, 1000)];
    for thread in threads {
        join(thread)?;
    }
    equal("rows", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(2000)])
}

fn two_drivers(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER PRIMARY KEY)")?;
    let threads = [write_rows(&place.driver, 0), write_rows(&place.second()?, 1000)];
    for thread in threads {
        join(thread)?;
    }
    equal("rows", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(2000)])
}

/// All in one turn of the thread, as quickly as it goes.
fn newest_state(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER PRIMARY KEY)")?;
    let drivers = [Arc::clone(&place.driver), place.second()?];
    let count = || Statement::new("SELECT count(*) FROM t");
    place.runtime.block_on(async {
        for n in 1..=300 {
            drivers[n % 2].run(vec![Statement::new(format!("INSERT INTO t VALUES ({n})"))]).await?;
            let expected = vec![Cell::Integer(n as i64)];
            for driver in drivers.iter().chain(&drivers) {
                equal("rows", &driver.run(vec![count()]).await?[0].cells, &expected)?;
                let both = driver.run(vec![count(), count()]).await?;
                equal("rows of a batch", &both[0].cells, &expected)?;
                equal("rows of a batch", &both[1].cells, &expected)?;
            }
        }
        // A column that another driver has added is there, too.
        drivers[0].run(vec![Statement::new("ALTER TABLE t ADD COLUMN b DEFAULT 7")]).await?;
        let query = Statement::new("SELECT * FROM t LIMIT 1");
        let expected = vec![Cell::Integer(1), Cell::Integer(7)];
        equal("the row", &drivers[1].run(vec![query]).await?[0].cells, &expected)
    })
}

fn slow_query(place: &Place) -> Outcome {
    place.runtime.block_on(async {
        let slow = place.driver.run(vec![Statement::new(format!("{SLOW_ROWS} SELECT max(x) FROM n"))]);
        let mut slow = pin!(slow);
        let first = std::future::poll_fn(|context| Poll::Ready(slow.as_mut().poll(context).is_ready())).await;
        equal("the thread is free again after the first poll", &first, &false)?;
        let quick = place.driver.run(vec![Statement::new("SELECT 1")]).await?;
        equal("a quick query on the same thread", &quick[0].cells, &vec![Cell::Integer(1)])?;
        equal("the slow query", &slow.await?[0].cells, &vec![Cell::Integer(2_000_000)])
    })
}

fn slow_write_once(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER)")?;
    // Sizes around what fits in a time slice, so that some statements are interrupted near their end.
    let mut expected = 0;
    for size in (1000..60_000).step_by(1777) {
        let sql = format!(
            "INSERT INTO t WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {size}) SELECT x FROM n"
        );
        place.run(&sql)?;
        expected += size;
        equal("rows", &place.cells("SELECT count(*) FROM t")?, &vec![Cell::Integer(expected)])?;
    }
    Ok(())
}

fn dropped_call(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER)")?;
    {
        let _runtime = place.runtime.enter();
        let mut call = pin!(place.driver.run(vec![
            Statement::new("INSERT INTO t VALUES (1)"),
            Statement::new(format!("INSERT INTO t {SLOW_ROWS} SELECT x FROM n")),
        ]));
        let first = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        equal("the call is under way", &first.is_pending(), &true)?;
    }
    // The next write waits until the dropped one has let go; then nothing of it may be there.
    place.run("INSERT INTO t VALUES (2)")?;
    equal("rows", &place.cells("SELECT a FROM t")?, &vec![Cell::Integer(2)])
}

fn one_moment(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (a INTEGER PRIMARY KEY)")?;
    let writes = write_rows(&place.driver, 0);
    let runtime = runtime()?;
    while !writes.is_finished() {
        let count = || Statement::new("SELECT count(*) FROM t");
        let results = runtime.block_on(place.driver.run(vec![count(), count(), count()]))?;
        equal("the second count", &results[1].cells, &results[0].cells)?;
        equal("the third count", &results[2].cells, &results[0].cells)?;
    }
    join(writes)
}
