//! Stopping politely.

use std::time::Duration;

use aerostack_scheduler::{ConsumerSettings, HandlerOutcome, RunNowError, StopReport};

use crate::world::{MINUTE_MS, START_MINUTE_MS, Worker, World, at_once, lock, play};

const GRACE: Duration = Duration::from_secs(30);

#[test]
fn an_idle_scheduler_stops_at_once() {
    play(async {
        let (world, worker) = (World::new(), Worker::quick());
        world.consume(&worker, at_once());
        world.triggers(&worker, &["* * * * *"]);
        world.advance(MINUTE_MS).await;
        assert_eq!(world.stop(GRACE).await, StopReport::default());
        world.send(&["1"]).await;
        world.advance(5 * MINUTE_MS).await;
        assert_eq!(world.left("jobs"), ["1"], "a stopped one takes no work");
        assert_eq!(worker.take_seen().len(), 1);
    });
}

#[test]
fn handlers_that_end_within_the_grace_are_waited_for() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_batch_size: 1, ..at_once() });
        world.triggers(&worker, &["* * * * *"]);
        world.send(&["1", "2"]).await;
        world.advance_to(START_MINUTE_MS + MINUTE_MS).await;
        let stopping = world.stop(GRACE);
        let ending = async {
            world.advance(20_000).await;
            worker.take_batch().end_well().await;
            assert!(worker.at_work().is_empty(), "no other batch begins");
            worker.take_event().end(HandlerOutcome::Ok).await;
        };
        let (report, ()) = tokio::join!(stopping, ending);
        assert_eq!(report, StopReport::default());
        assert_eq!(world.left("jobs"), ["2"]);
        assert_eq!(world.leased("jobs"), 0);
        assert_eq!((world.log.batches(), lock(&world.log.cron).len()), (1, 1));
    });
}

#[test]
fn handlers_that_do_not_end_are_given_up_and_their_messages_given_back() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, at_once());
        world.triggers(&worker, &["* * * * *"]);
        world.send(&["1"]).await;
        world.send(&["2"]).await;
        world.advance_to(START_MINUTE_MS + MINUTE_MS).await;
        let (report, ()) = tokio::join!(world.stop(GRACE), world.advance(30_001));
        assert_eq!(report, StopReport { cron_runs_cut_off: 1, batches_cut_off: 1, messages_released: 1 });
        assert_eq!((world.left("jobs"), world.leased("jobs")), (vec!["2".to_owned(), "1".to_owned()], 0));
        worker.take_batches();
        world.start();
        world.consume(&worker, at_once());
        world.advance(0).await;
        assert_eq!(worker.at_work(), [["2", "1"]], "a restart need not wait for leases");
    });
}

#[test]
fn an_outcome_that_cannot_be_written_ends_with_the_grace() {
    play(async {
        let (world, worker) = (World::new(), Worker::quick());
        world.queue.fail("settle", usize::MAX);
        world.consume(&worker, at_once());
        world.send(&["1"]).await;
        let (report, ()) = tokio::join!(world.stop(GRACE), world.advance(31_000));
        assert_eq!(report, StopReport { batches_cut_off: 1, ..StopReport::default() });
        assert_eq!(world.left("jobs"), ["1"]);
    });
}

#[test]
fn a_driver_that_hangs_does_not_keep_the_process() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, at_once());
        world.send(&["1"]).await;
        world.queue.let_settles_hang();
        let (report, ()) = tokio::join!(world.stop(GRACE), world.advance(33_000));
        assert_eq!(report, StopReport { batches_cut_off: 1, ..StopReport::default() });
        assert_eq!((world.left("jobs"), world.leased("jobs")), (vec!["1".to_owned()], 1), "its lease will run out");
    });
}

#[test]
fn who_asked_for_a_run_is_told_that_it_was_given_up() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.triggers(&worker, &[]);
        let (outcome, (), ()) = tokio::join!(
            world.scheduler().run_now("main", "", 0),
            async {
                world.stop(Duration::ZERO).await;
            },
            world.advance(10),
        );
        assert_eq!(outcome, Err(RunNowError::GivenUp));
    });
}
