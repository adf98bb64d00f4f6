//! Drivers that fail, leases that run out, processes that die.

use aerostack_queue::Decision;
use aerostack_scheduler::{ConsumerSettings, HandlerOutcome};

use crate::world::{Worker, World, at_once, play};

#[test]
fn a_driver_that_fails_is_asked_less_and_less_often_and_nothing_is_lost() {
    play(async {
        for operation in ["due", "backlog", "lease"] {
            let (world, worker) = (World::new(), Worker::quick());
            world.queue.fail(operation, 3);
            world.consume(&worker, at_once());
            world.send(&["1"]).await;
            world.send(&["2"]).await;
            assert_eq!(world.queue.calls(operation), 1, "messages do not hurry it");
            world.advance(249).await;
            assert_eq!(world.queue.calls(operation), 1);
            world.advance(1).await;
            assert_eq!(world.queue.calls(operation), 2);
            world.advance(500).await;
            assert_eq!(world.queue.calls(operation), 3);
            world.advance(999).await;
            assert_eq!(world.left("jobs"), ["1", "2"]);
            world.advance(1).await;
            assert!(world.left("jobs").is_empty());
            let troubles = world.log.take_troubles();
            assert_eq!(troubles.len(), 3);
            assert_eq!(
                troubles[1],
                format!("queue \"jobs\": {operation} failed: the disk is full, trying again in 500ms")
            );
        }
    });
}

#[test]
fn an_outcome_that_cannot_be_written_is_written_later_and_not_delivered_twice() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_concurrency: 4, ..at_once() });
        world.send(&["1"]).await;
        // Longer than the visibility timeout in all.
        world.queue.fail("settle", 8);
        worker.take_batch().end_well().await;
        world.advance(35_749).await;
        assert!(worker.at_work().is_empty(), "the lease was prolonged");
        assert_eq!(world.log.batches(), 0);
        world.advance(1).await;
        assert_eq!((world.log.batches(), world.log.last_batch().passed_over), (1, 0));
        assert!(world.left("jobs").is_empty());
        assert_eq!(world.log.take_troubles().len(), 8);
    });
}

#[test]
fn a_lease_that_could_not_be_prolonged_is_reported_and_its_message_delivered_again() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_concurrency: 2, ..at_once() });
        world.send(&["1"]).await;
        world.queue.fail("extend", 3);
        world.advance(29_999).await;
        assert_eq!(worker.at_work().len(), 1);
        assert_eq!(world.log.take_troubles().len(), 2);
        world.advance(1).await;
        assert_eq!(worker.at_work(), [["1"], ["1"]]);
        worker.take_batch().end(HandlerOutcome::Ok, &[Decision::Ack]).await;
        assert_eq!(world.log.last_batch().passed_over, 1);
        assert_eq!(world.left("jobs"), ["1"], "who lost the lease decides nothing");
        let second = worker.take_batch();
        assert_eq!(second.attempts(), [2]);
        second.end_well().await;
        assert!(world.left("jobs").is_empty());
    });
}

#[test]
fn messages_of_a_dead_process_are_delivered_when_their_leases_run_out() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, at_once());
        world.send(&["1"]).await;
        world.advance(15_000).await;
        world.crash().await;
        worker.take_batches();
        world.start();
        world.consume(&worker, at_once());
        // It was prolonged after ten seconds.
        world.advance(24_999).await;
        assert!(worker.at_work().is_empty());
        world.advance(1).await;
        let again = worker.take_batch();
        assert_eq!((again.bodies(), again.attempts()), (vec!["1".to_owned()], vec![2]));
    });
}

#[test]
fn a_queue_that_promises_messages_and_gives_none_is_not_asked_in_a_loop() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, at_once());
        world.queue.let_leases_be_empty(2);
        world.send(&["1"]).await;
        assert_eq!(world.queue.calls("lease"), 1);
        world.advance(50).await;
        assert_eq!(world.queue.calls("lease"), 2);
        world.advance(49).await;
        assert!(worker.at_work().is_empty());
        world.advance(1).await;
        assert_eq!(worker.at_work(), [["1"]]);
    });
}
