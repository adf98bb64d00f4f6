//! When batches are delivered, and how many at a time.

use std::time::Duration;

use aerostack_queue::Decision;
use aerostack_scheduler::{ConsumerSettings, HandlerOutcome};

use crate::world::{Worker, World, at_once, lock, play, queue_name, settings};

#[test]
fn a_full_batch_goes_at_once_and_the_rest_waits_for_its_time() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_concurrency: 9, ..settings() });
        world.send(&["1", "2", "3", "4", "5"]).await;
        assert_eq!(worker.at_work(), [["1", "2", "3"]]);
        world.advance(4_999).await;
        assert_eq!(worker.at_work().len(), 1);
        assert_eq!(world.leased("jobs"), 3, "who waits leases nothing");
        world.advance(1).await;
        assert_eq!(worker.at_work()[1..], [["4", "5"]]);
    });
}

#[test]
fn the_time_of_a_batch_counts_from_its_first_message() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, settings());
        world.send(&["1"]).await;
        world.advance(3_000).await;
        world.send(&["2"]).await;
        world.advance(1_999).await;
        assert!(worker.at_work().is_empty());
        assert_eq!(world.leased("jobs"), 0);
        world.advance(1).await;
        assert_eq!(worker.at_work(), [["1", "2"]]);
    });
}

#[test]
fn a_message_that_fills_the_batch_ends_the_wait() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, settings());
        world.send(&["1", "2"]).await;
        world.advance(1_000).await;
        assert!(worker.at_work().is_empty());
        world.send(&["3"]).await;
        assert_eq!(worker.at_work(), [["1", "2", "3"]]);
    });
}

#[test]
fn a_timeout_of_zero_delivers_at_once() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, at_once());
        world.send(&["1"]).await;
        assert_eq!(worker.at_work(), [["1"]]);
        let batch = worker.take_batch();
        assert_eq!(&*batch.delivery.queue, "jobs", "the handler sees the name of the config");
        assert_eq!((batch.delivery.backlog.messages, batch.delivery.backlog.bytes), (1, 1));
        assert_eq!(batch.delivery.messages[0].sent_at_ms, world.now());
    });
}

#[test]
fn messages_from_before_the_start_are_delivered() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.send(&["1"]).await;
        world.advance(60_000).await;
        assert_eq!(world.left("jobs"), ["1"], "a queue without a consumer keeps its messages");
        world.consume(&worker, settings());
        world.advance(0).await;
        assert_eq!(worker.at_work(), [["1"]], "it has waited long enough");
    });
}

#[test]
fn a_delayed_message_is_delivered_when_it_is_due() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, at_once());
        world.send_to("jobs", &["later"], Duration::from_hours(1)).await;
        world.advance(3_599_999).await;
        assert!(worker.at_work().is_empty());
        world.advance(1).await;
        assert_eq!(worker.at_work(), [["later"]]);
    });
}

#[test]
fn an_idle_consumer_asks_nothing() {
    play(async {
        let (world, worker) = (World::new(), Worker::quick());
        world.consume(&worker, settings());
        world.advance(0).await;
        let looks = world.queue.calls("due");
        world.advance(24 * 60 * 60 * 1_000).await;
        assert_eq!(world.queue.calls("due"), looks);
    });
}

#[test]
fn no_more_handlers_are_at_work_than_allowed() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_batch_size: 1, max_concurrency: 2, ..at_once() });
        world.send(&["1", "2", "3", "4"]).await;
        assert_eq!(worker.at_work(), [["1"], ["2"]]);
        assert_eq!(world.leased("jobs"), 2);
        worker.take_batch().end_well().await;
        assert_eq!(worker.at_work(), [["2"], ["3"]]);
        worker.take_batch().end_well().await;
        worker.take_batch().end_well().await;
        assert_eq!(worker.at_work(), [["4"]]);
    });
}

#[test]
fn the_next_batch_begins_while_the_outcome_of_the_last_is_written() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_batch_size: 1, ..at_once() });
        world.send(&["1", "2", "3", "4"]).await;
        world.queue.let_settles_hang();
        worker.take_batch().end_well().await;
        assert_eq!(worker.at_work(), [["2"]]);
        worker.take_batch().end_well().await;
        assert!(worker.at_work().is_empty(), "but not without bound");
        assert_eq!(world.log.batches(), 0);
        world.queue.let_settles_go_on();
        world.advance(0).await;
        assert_eq!(world.log.batches(), 2);
        assert_eq!(worker.at_work(), [["3"]]);
    });
}

#[test]
fn a_long_handler_keeps_its_messages_to_itself() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_concurrency: 5, ..at_once() });
        world.send(&["1", "2"]).await;
        world.advance(14 * 60 * 1_000 + 7).await;
        assert_eq!(worker.at_work(), [["1", "2"]]);
        assert_eq!(world.queue.calls("extend"), 84, "at every third of half a minute");
        worker.take_batch().end_well().await;
        assert_eq!(world.log.last_batch().passed_over, 0);
        assert!(world.left("jobs").is_empty());
    });
}

#[test]
fn two_queues_of_a_worker_do_not_wait_for_each_other() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        let consumers = ["jobs", "mails"].map(|queue| world.consumer(queue, at_once())).into();
        world.consume_as("main", &worker, consumers);
        world.send_to("jobs", &["job"], Duration::ZERO).await;
        world.send_to("mails", &["mail"], Duration::ZERO).await;
        assert_eq!(worker.at_work(), [["job"], ["mail"]]);
    });
}

#[test]
fn a_batch_is_reported_with_its_counts() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        let dead_letter_queue = Some(queue_name("dead"));
        world.consume(&worker, ConsumerSettings { max_retries: 1, dead_letter_queue, ..at_once() });
        world.send(&["old"]).await;
        worker.take_batch().end(HandlerOutcome::Ok, &[Decision::Retry(None)]).await;
        world.send(&["new", "newer"]).await;
        let again = worker.take_batch();
        assert_eq!(again.bodies(), ["old"]);
        again.end(HandlerOutcome::Ok, &[Decision::Retry(None)]).await;
        worker.take_batch().end(HandlerOutcome::Ok, &[Decision::Ack, Decision::Retry(None)]).await;
        let reports = lock(&world.log.batches).clone();
        let counts: Vec<_> = reports
            .iter()
            .map(|report| (report.acked(), report.retried(), report.dead_lettered(), report.dropped()))
            .collect();
        assert_eq!(counts, [(0, 1, 0, 0), (0, 0, 1, 0), (1, 1, 0, 0)]);
        let last = &reports[2].messages[1];
        assert_eq!((last.attempts, last.max_attempts), (1, 2));
        assert_eq!((&*reports[2].worker, &*reports[2].queue), ("main", "jobs"));
    });
}
