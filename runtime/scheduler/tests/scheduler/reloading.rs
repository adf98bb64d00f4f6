//! Setters called while handlers are at work.

use std::time::Duration;

use aerostack_scheduler::ConsumerSettings;

use crate::world::{Worker, World, at_once, play, settings};

#[test]
fn a_batch_at_work_ends_on_the_worker_it_began_with() {
    play(async {
        let (world, old, new) = (World::new(), Worker::slow(), Worker::slow());
        world.consume(&old, at_once());
        world.send(&["1"]).await;
        world.consume(&new, at_once());
        world.send(&["2"]).await;
        assert!(new.at_work().is_empty(), "the old one still uses the concurrency");
        old.take_batch().end_well().await;
        assert_eq!((old.at_work().len(), new.at_work()), (0, vec![vec!["2".to_owned()]]));
        assert_eq!(world.left("jobs"), ["2"]);
    });
}

#[test]
fn new_settings_hold_at_once() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_batch_timeout: Duration::from_mins(1), ..settings() });
        world.send(&["1", "2"]).await;
        assert!(worker.at_work().is_empty());
        world.consume(&worker, ConsumerSettings { max_batch_size: 1, ..settings() });
        world.advance(0).await;
        assert_eq!(worker.at_work(), [["1"]]);
        world.consume(&worker, ConsumerSettings { max_batch_size: 1, max_concurrency: 2, ..settings() });
        world.advance(0).await;
        assert_eq!(worker.at_work(), [["1"], ["2"]]);
    });
}

#[test]
fn a_removed_consumer_ends_its_batch_and_leaves_the_rest() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, ConsumerSettings { max_batch_size: 1, ..at_once() });
        world.send(&["1", "2"]).await;
        world.consume_as("main", &worker, Vec::new());
        worker.take_batch().end_well().await;
        world.advance(60_000).await;
        assert!(worker.at_work().is_empty());
        assert_eq!(world.left("jobs"), ["2"]);
        world.consume(&worker, at_once());
        world.advance(0).await;
        assert_eq!(worker.at_work(), [["2"]]);
    });
}

#[test]
fn a_removed_worker_consumes_no_more() {
    play(async {
        let (world, worker) = (World::new(), Worker::slow());
        world.consume(&worker, at_once());
        world.scheduler().remove_worker("main");
        world.send(&["1"]).await;
        assert!(worker.at_work().is_empty());
    });
}

#[test]
fn a_queue_moves_from_worker_to_worker_in_either_order() {
    play(async {
        let (world, first, second) = (World::new(), Worker::slow(), Worker::slow());
        world.consume_as("first", &first, vec![world.consumer("jobs", at_once())]);
        world.consume_as("second", &second, vec![world.consumer("jobs", at_once())]);
        world.consume_as("first", &first, Vec::new());
        world.send(&["1"]).await;
        second.take_batch().end_well().await;
        world.consume_as("second", &second, Vec::new());
        world.consume_as("first", &first, vec![world.consumer("jobs", at_once())]);
        world.send(&["2"]).await;
        assert_eq!(first.at_work(), [["2"]]);
        assert!(second.at_work().is_empty());
    });
}

#[test]
fn workers_do_not_take_each_others_consumers_away() {
    play(async {
        let (world, first, second) = (World::new(), Worker::slow(), Worker::slow());
        world.consume_as("first", &first, vec![world.consumer("jobs", at_once())]);
        world.consume_as("second", &second, vec![world.consumer("mails", at_once())]);
        world.consume_as("second", &second, Vec::new());
        world.send(&["1"]).await;
        assert_eq!(first.at_work(), [["1"]]);
    });
}
