//! What becomes of messages (Cloudflare contract, section 3.3).

use std::time::Duration;

use aerostack_queue::Decision;
use aerostack_scheduler::{ConsumerSettings, HandlerOutcome};

use crate::world::{Worker, World, at_once, lock, play, queue_name};

const RETRY: Decision = Decision::Retry(None);

fn retry_after(seconds: u64) -> Decision {
    Decision::Retry(Some(Duration::from_secs(seconds)))
}

#[test]
fn what_a_good_handler_says_nothing_about_is_acked() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, at_once());
        world.send(&["1", "2"]).await;
        worker.take_batch().end_well().await;
        world.send(&["3"]).await;
        worker.take_batch().end(HandlerOutcome::Ok, &[]).await;
        assert!(world.left("jobs").is_empty());
        assert!(world.log.last_batch().message_lines().is_empty());
    });
}

#[test]
fn an_ack_survives_a_throw_and_everything_else_is_delivered_again() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.send(&["acked", "undecided", "retried"]).await;
        world.consume(&worker, at_once());
        world.advance(0).await;
        worker.take_batch().end(HandlerOutcome::Exception, &[Decision::Ack, Decision::Undecided, RETRY]).await;
        let again = worker.take_batch();
        assert_eq!(again.bodies(), ["undecided", "retried"]);
        assert_eq!(again.attempts(), [2, 2]);
        assert_eq!(world.log.last_batch().outcome, HandlerOutcome::Exception);
        again.end_well().await;
        assert!(world.left("jobs").is_empty());
    });
}

#[test]
fn a_delay_of_the_handler_beats_that_of_the_consumer() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.send(&["plain", "longer", "now"]).await;
        world.consume(&worker, ConsumerSettings { retry_delay: Duration::from_secs(10), ..at_once() });
        world.advance(0).await;
        worker
            .take_batch()
            .end(HandlerOutcome::Exception, &[Decision::Undecided, retry_after(60), retry_after(0)])
            .await;
        let now = worker.take_batch();
        assert_eq!(now.bodies(), ["now"]);
        now.end_well().await;
        world.advance(9_999).await;
        assert!(worker.at_work().is_empty());
        world.advance(1).await;
        let plain = worker.take_batch();
        assert_eq!(plain.bodies(), ["plain"]);
        plain.end_well().await;
        world.advance(49_999).await;
        assert!(worker.at_work().is_empty());
        world.advance(1).await;
        assert_eq!(worker.at_work(), [["longer"]]);
    });
}

#[test]
fn a_retried_message_may_share_a_batch_with_new_ones() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_batch_timeout: Duration::from_secs(1), ..at_once() });
        world.send(&["old"]).await;
        world.advance(1_000).await;
        worker.take_batch().end(HandlerOutcome::Ok, &[RETRY]).await;
        world.send(&["new"]).await;
        world.advance(1_000).await;
        let both = worker.take_batch();
        assert_eq!((both.bodies(), both.attempts()), (vec!["old".to_owned(), "new".to_owned()], vec![2, 1]));
    });
}

#[test]
fn after_its_last_attempt_a_message_is_dropped_and_the_log_says_so() {
    play(async {
        let (world, worker) = (World::new(), Worker::deciding(HandlerOutcome::Exception, Decision::Undecided));
        world.consume(&worker, at_once());
        world.send(&["bad"]).await;
        let reports = lock(&world.log.batches).clone();
        let id = reports[0].messages[0].id;
        let lines: Vec<String> = reports.iter().flat_map(aerostack_scheduler::BatchReport::message_lines).collect();
        let retrying = format!("Retrying message \"{id}\" on queue \"jobs\"...");
        let dropped = format!("Dropped message \"{id}\" on queue \"jobs\" after 3 failed attempts!");
        assert_eq!(lines, [retrying.clone(), retrying, dropped]);
        assert_eq!(id.to_string().len(), 32);
        assert!(world.left("jobs").is_empty());
    });
}

#[test]
fn a_single_failed_attempt_is_in_the_singular() {
    play(async {
        let (world, worker) = (World::new(), Worker::deciding(HandlerOutcome::Exception, Decision::Undecided));
        world.consume(&worker, ConsumerSettings { max_retries: 0, ..at_once() });
        world.send(&["bad"]).await;
        let lines = world.log.last_batch().message_lines();
        assert!(lines[0].ends_with("on queue \"jobs\" after 1 failed attempt!"), "{lines:?}");
    });
}

#[test]
fn a_dead_letter_queue_gets_the_message_and_its_consumer_counts_from_one() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        let settings = ConsumerSettings { max_retries: 1, dead_letter_queue: Some(queue_name("dead")), ..at_once() };
        world.consume(&worker, settings);
        world.send(&["bad"]).await;
        for attempt in [1, 2] {
            assert_eq!(world.left("jobs"), ["bad"]);
            let batch = worker.take_batch();
            assert_eq!(batch.attempts(), [attempt]);
            batch.end(HandlerOutcome::Ok, &[RETRY]).await;
        }
        assert!(world.left("jobs").is_empty());
        assert_eq!(world.left("dead"), ["bad"], "without a consumer it stays there");
        let report = world.log.last_batch();
        let id = report.messages[0].id;
        let moving = format!(
            "Moving message \"{id}\" on queue \"jobs\" to dead letter queue \"dead\" after 2 failed attempts..."
        );
        assert_eq!(report.message_lines(), [moving]);
        let undertaker = Worker::slow();
        world.consume_as("undertaker", &undertaker, vec![world.consumer("dead", at_once())]);
        world.advance(0).await;
        let batch = undertaker.take_batch();
        assert_eq!((batch.attempts(), batch.delivery.messages[0].id), (vec![1], id));
    });
}
