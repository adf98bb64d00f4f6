//! Several processes over one state folder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aerostack_cron::{CronExpression, Weekdays, WhenMissed, minute_text};
use aerostack_scheduler::{EventTarget, Scheduler};

use crate::world::{Log, MINUTE_MS, START_MINUTE_MS, Worker, World, at_once, lock, play, settle};

/// Another process, as far as a scheduler can tell: locks are those of open files.
struct Other {
    scheduler: Scheduler,
    log: Arc<Log>,
    worker: Arc<Worker>,
}

impl Other {
    fn beside(world: &World) -> Self {
        let (log, worker) = (Arc::<Log>::default(), Worker::quick());
        let scheduler = Scheduler::new(world.timer.clone(), log.clone(), world.folder.path());
        Self { scheduler, log, worker }
    }

    fn triggers(&self, crons: &[&str]) {
        let parse = |cron: &&str| CronExpression::parse(cron, Weekdays::Unix).expect("it is one");
        let triggers = crons.iter().map(parse).collect();
        self.scheduler.set_triggers("main", self.worker.clone(), triggers, WhenMissed::Skip);
    }

    fn consume(&self, world: &World) {
        let target: Arc<dyn EventTarget> = self.worker.clone();
        self.scheduler.set_consumers("main", &target, vec![world.consumer("jobs", at_once())]);
    }

    /// The lock is waited for on a thread, so this is the one wait for the real clock.
    async fn wait_until_it_took_over(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while lock(&self.log.took_over).is_empty() {
            assert!(Instant::now() < deadline, "the lock is free, and nobody takes it");
            std::thread::sleep(Duration::from_millis(1));
            settle().await;
        }
    }
}

fn minutes(worker: &Worker) -> Vec<String> {
    worker.take_seen().into_iter().map(|(_, time_ms)| minute_text(time_ms)).collect()
}

#[test]
fn of_two_processes_one_fires_and_the_other_goes_on_where_it_ended() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["* * * * *"]);
        let other = Other::beside(&world);
        other.triggers(&["* * * * *"]);
        assert_eq!(*lock(&other.log.waits_for), [Some(std::process::id())], "it says who does the work");
        world.advance_to(START_MINUTE_MS + 2 * MINUTE_MS).await;
        assert_eq!(minutes(&worker), ["2026-11-24 21:42", "2026-11-24 21:43"]);
        assert!(minutes(&other.worker).is_empty(), "one fires");
        world.stop(Duration::ZERO).await;
        world.crash().await;
        other.wait_until_it_took_over().await;
        assert!(minutes(&other.worker).is_empty(), "what the first has fired is not fired again");
        world.advance_to(START_MINUTE_MS + 4 * MINUTE_MS).await;
        assert_eq!(minutes(&other.worker), ["2026-11-24 21:44", "2026-11-24 21:45"]);
        assert!(minutes(&worker).is_empty());
        assert!(other.log.take_missed().is_empty());
    });
}

#[test]
fn what_nobody_fired_between_two_processes_is_told_missed() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["*/2 * * * *"]);
        let other = Other::beside(&world);
        // The first does not know the second of these.
        other.triggers(&["*/2 * * * *", "* * * * *"]);
        world.advance_to(START_MINUTE_MS + 3 * MINUTE_MS).await;
        assert_eq!(minutes(&worker), ["2026-11-24 21:42", "2026-11-24 21:44"]);
        world.stop(Duration::ZERO).await;
        world.crash().await;
        other.wait_until_it_took_over().await;
        settle().await;
        let missed = other.log.take_missed();
        assert_eq!(
            missed.iter().map(|missed| (&*missed.cron, missed.firings.count)).collect::<Vec<_>>(),
            [("* * * * *", 2)]
        );
        assert_eq!(
            minutes(&other.worker),
            ["2026-11-24 21:44"],
            "the minute that goes on has not fired for that trigger"
        );
    });
}

#[test]
fn messages_are_delivered_by_one_process_and_by_the_next_when_it_ends() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        world.consume(&worker, at_once());
        let other = Other::beside(&world);
        other.consume(&world);
        world.send(&["a", "b"]).await;
        settle().await;
        assert!(world.log.batches() >= 1);
        assert!(lock(&other.log.batches).is_empty(), "one delivers");
        assert!(world.left("jobs").is_empty());
        world.crash().await;
        other.wait_until_it_took_over().await;
        world.send(&["c"]).await;
        settle().await;
        assert_eq!(lock(&other.log.batches).len(), 1);
    });
}

#[test]
fn a_process_without_triggers_and_consumers_takes_nothing_from_one_that_has_some() {
    play(async {
        let (world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &[]);
        let other = Other::beside(&world);
        other.triggers(&["* * * * *"]);
        world.advance_to(START_MINUTE_MS + MINUTE_MS).await;
        assert_eq!(minutes(&other.worker), ["2026-11-24 21:42"]);
        assert!(lock(&other.log.waits_for).is_empty());
        // By hand it may run whatever it likes.
        world.scheduler().run_now("main", "* * * * *", START_MINUTE_MS).await.expect("it runs");
        assert_eq!(minutes(&worker), ["2026-11-24 21:41"]);
    });
}
