//! When `scheduled` handlers run.

use std::fs;
use std::time::Duration;

use aerostack_cron::{MINUTE_MS, WhenMissed, minute_text};
use aerostack_scheduler::{ClockWentBack, CronCause, HandlerOutcome, RunNowError};

use crate::world::{DAY_MS, HOUR_MS, START_MINUTE_MS, START_MS, Worker, World, lock, play, settle};

/// What a worker saw: expressions and minutes.
fn seen(worker: &Worker) -> Vec<(String, String)> {
    worker.take_seen().into_iter().map(|(cron, time_ms)| (cron, minute_text(time_ms))).collect()
}

fn minutes(worker: &Worker) -> Vec<String> {
    seen(worker).into_iter().map(|(_, minute)| minute).collect()
}

/// A scheduler that stops and another that starts after a while over the same folder.
async fn restart_after(world: &mut World, downtime_ms: u64) {
    world.stop(Duration::ZERO).await;
    world.crash().await;
    world.timer.set(world.now() + downtime_ms);
    world.start();
}

#[test]
fn a_trigger_fires_on_its_minute_with_the_minute_and_its_text() {
    play(async {
        let (world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["*/2  * * * *"]);
        world.advance_to(START_MINUTE_MS + MINUTE_MS - 1).await;
        assert!(worker.take_seen().is_empty(), "not the minute it was set in");
        world.advance(1).await;
        let expected = ("*/2  * * * *".to_owned(), START_MINUTE_MS + MINUTE_MS);
        assert_eq!(worker.take_seen(), [expected]);
        world.advance(2 * MINUTE_MS - 1).await;
        assert!(worker.take_seen().is_empty());
        world.advance(1).await;
        assert_eq!(minutes(&worker), ["2026-11-24 21:44"]);
        let report = lock(&world.log.cron)[0].clone();
        assert_eq!((&*report.worker, &*report.cron), ("main", "*/2  * * * *"));
        assert_eq!((report.scheduled_time_ms, report.cause), (START_MINUTE_MS + MINUTE_MS, CronCause::OnTime));
        assert_eq!(report.outcome.outcome, HandlerOutcome::Ok);
    });
}

#[test]
fn the_event_has_the_minute_even_when_the_clock_is_late() {
    play(async {
        let (world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["* * * * *"]);
        settle().await;
        world.jump_to(START_MINUTE_MS + MINUTE_MS + 59_999).await;
        assert_eq!(minutes(&worker), ["2026-11-24 21:42"]);
        assert!(world.log.take_missed().is_empty());
    });
}

#[test]
fn two_schedules_of_one_minute_both_fire_and_the_same_one_twice_fires_once() {
    play(async {
        let (world, worker, other) = (World::new(), Worker::quick(), Worker::quick());
        world.triggers(&worker, &["0 * * * *", "0 22 * * *", "0 * * * *"]);
        world.triggers_of("other", &other, &["0 22 * * TUE"], WhenMissed::Skip);
        world.advance(HOUR_MS).await;
        let crons: Vec<String> = seen(&worker).into_iter().map(|(cron, _)| cron).collect();
        assert_eq!(crons, ["0 * * * *", "0 22 * * *"]);
        assert_eq!(minutes(&other), ["2026-11-24 22:00"]);
    });
}

#[test]
fn a_slow_run_delays_nobody_and_not_its_own_next_firing() {
    play(async {
        let (world, slow, quick) = (World::new(), Worker::slow(), Worker::quick());
        world.triggers_of("slow", &slow, &["* * * * *"], WhenMissed::Skip);
        world.triggers_of("quick", &quick, &["* * * * *"], WhenMissed::Skip);
        world.advance(5 * MINUTE_MS).await;
        assert_eq!(slow.events_at_work(), 5);
        assert_eq!(minutes(&quick).len(), 5);
        slow.take_event().end(HandlerOutcome::Exception).await;
        let reports = lock(&world.log.cron).clone();
        let failed: Vec<_> =
            reports.iter().filter(|report| report.outcome.outcome == HandlerOutcome::Exception).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].scheduled_time_ms, START_MINUTE_MS + MINUTE_MS);
    });
}

#[test]
fn months_leap_days_and_years_end_exactly() {
    play(async {
        // 2027-12-31 23:58.
        let (world, worker) = (World::at(1_830_297_480_000), Worker::quick());
        world.triggers(&worker, &["0 0 1 1 *", "0 0 29 2 *", "59 23 L * *"]);
        world.advance(62 * DAY_MS).await;
        assert_eq!(
            minutes(&worker),
            ["2027-12-31 23:59", "2028-01-01 00:00", "2028-01-31 23:59", "2028-02-29 00:00", "2028-02-29 23:59"]
        );
    });
}

#[test]
fn a_trigger_that_never_fires_does_no_harm() {
    play(async {
        let (world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["* * 31 11 *"]);
        world.advance(400 * DAY_MS).await;
        assert!(worker.take_seen().is_empty());
    });
}

#[test]
fn firings_missed_over_a_restart_are_counted_and_skipped() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["*/10 * * * *", "0 0 1 1 *"]);
        world.advance(30 * MINUTE_MS).await;
        assert_eq!(minutes(&worker).len(), 3);
        // 22:11 to 23:46.
        restart_after(&mut world, 95 * MINUTE_MS).await;
        world.triggers(&worker, &["*/10 * * * *", "0 0 1 1 *"]);
        settle().await;
        assert!(worker.take_seen().is_empty());
        let missed = world.log.take_missed();
        assert_eq!(missed.len(), 1, "{missed:?}");
        assert_eq!((&*missed[0].worker, &*missed[0].cron), ("main", "*/10 * * * *"));
        assert_eq!((missed[0].firings.count, missed[0].action), (9, WhenMissed::Skip));
        assert_eq!(minute_text(missed[0].firings.first_ms), "2026-11-24 22:20");
        assert_eq!(minute_text(missed[0].firings.last_ms), "2026-11-24 23:40");
        world.advance(5 * MINUTE_MS).await;
        assert_eq!(minutes(&worker), ["2026-11-24 23:50"]);
        restart_after(&mut world, MINUTE_MS).await;
        world.triggers(&worker, &["*/10 * * * *", "0 0 1 1 *"]);
        settle().await;
        assert!(world.log.take_missed().is_empty(), "they are told of once");
    });
}

#[test]
fn the_latest_missed_firing_runs_where_the_config_says_so() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        let crons = &["*/10 * * * *", "0 9 * * *"];
        world.triggers_of("main", &worker, crons, WhenMissed::RunLatest);
        world.advance(10 * MINUTE_MS).await;
        assert_eq!(minutes(&worker), ["2026-11-24 21:50"]);
        restart_after(&mut world, 2 * DAY_MS).await;
        world.triggers_of("main", &worker, crons, WhenMissed::RunLatest);
        settle().await;
        let expected = [("*/10 * * * *", "2026-11-26 21:50"), ("0 9 * * *", "2026-11-26 09:00")];
        assert_eq!(seen(&worker), expected.map(|(cron, minute)| (cron.to_owned(), minute.to_owned())));
        let counts: Vec<u64> = world.log.take_missed().iter().map(|missed| missed.firings.count).collect();
        assert_eq!(counts, [288, 2]);
        let causes: Vec<_> = lock(&world.log.cron).iter().skip(1).map(|report| report.cause).collect();
        assert_eq!(causes, [CronCause::CaughtUp, CronCause::CaughtUp]);
    });
}

#[test]
fn a_crash_loses_no_more_than_a_stop() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::slow());
        world.triggers(&worker, &["*/10 * * * *"]);
        world.advance(10 * MINUTE_MS).await;
        let path = world.folder.path().join("cron").join("handled");
        let written = "2026-11-24 21:50\tmain\t*/10 * * * *\n";
        while fs::read_to_string(&path).ok().as_deref() != Some(written) {
            tokio::task::yield_now().await;
        }
        world.crash().await;
        world.timer.set(world.now() + 25 * MINUTE_MS);
        world.start();
        world.triggers(&worker, &["*/10 * * * *"]);
        settle().await;
        assert_eq!(world.log.take_missed()[0].firings.count, 2);
    });
}

#[test]
fn a_restart_within_a_minute_does_not_fire_it_twice_nor_lose_it() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["* * * * *"]);
        world.advance_to(START_MINUTE_MS + MINUTE_MS + 100).await;
        restart_after(&mut world, 1_000).await;
        world.triggers(&worker, &["* * * * *"]);
        settle().await;
        assert_eq!(minutes(&worker), ["2026-11-24 21:42"]);
        restart_after(&mut world, MINUTE_MS).await;
        world.triggers(&worker, &["* * * * *"]);
        settle().await;
        assert_eq!(minutes(&worker), ["2026-11-24 21:43"], "the minute is not over yet");
        assert!(world.log.take_missed().is_empty());
    });
}

#[test]
fn a_new_trigger_missed_nothing() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["0 0 1 1 *"]);
        settle().await;
        restart_after(&mut world, DAY_MS).await;
        world.triggers(&worker, &["0 0 1 1 *", "* * * * *"]);
        world.triggers_of("another", &worker, &["0 * * * *"], WhenMissed::RunLatest);
        settle().await;
        assert!(world.log.take_missed().is_empty());
        assert!(worker.take_seen().is_empty());
    });
}

#[test]
fn a_clock_that_jumps_forward_misses_what_it_jumped_over() {
    play(async {
        for (when_missed, expected) in [(WhenMissed::Skip, vec![]), (WhenMissed::RunLatest, vec!["2026-11-25 05:40"])] {
            let (world, worker) = (World::new(), Worker::quick());
            world.triggers_of("main", &worker, &["*/10 * * * *"], when_missed);
            settle().await;
            // 05:41, after a night of sleep.
            world.jump_to(START_MS + 8 * HOUR_MS).await;
            assert_eq!(minutes(&worker), expected);
            assert_eq!(world.log.take_missed()[0].firings.count, 48);
            world.advance(9 * MINUTE_MS).await;
            assert_eq!(minutes(&worker), ["2026-11-25 05:50"]);
            // Awake in a minute that fires: that run is the latest one.
            world.jump_to(START_MINUTE_MS + 9 * HOUR_MS + 9 * MINUTE_MS + 30_000).await;
            assert_eq!(minutes(&worker), ["2026-11-25 06:50"]);
            let missed = world.log.take_missed();
            assert_eq!((missed[0].firings.count, missed[0].action), (5, WhenMissed::Skip));
        }
    });
}

#[test]
fn a_clock_that_is_set_back_fires_no_minute_twice() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["* * * * *"]);
        world.advance(5 * MINUTE_MS).await;
        assert_eq!(minutes(&worker).last().map(String::as_str), Some("2026-11-24 21:46"));
        world.jump_to(START_MS - HOUR_MS).await;
        world.advance(30 * MINUTE_MS).await;
        restart_after(&mut world, 0).await;
        world.triggers(&worker, &["* * * * *"]);
        world.advance_to(START_MINUTE_MS + 6 * MINUTE_MS - 1).await;
        assert!(worker.take_seen().is_empty());
        world.advance(1).await;
        assert_eq!(minutes(&worker), ["2026-11-24 21:47"]);
        assert!(world.log.take_missed().is_empty());
        assert!(lock(&world.log.went_back).is_empty());
    });
}

#[test]
fn a_clock_that_was_far_ahead_does_not_silence_triggers_for_ever() {
    play(async {
        let (world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["0 * * * *"]);
        settle().await;
        world.jump_to(START_MS + 4_000 * DAY_MS).await;
        assert_eq!(world.log.take_missed().len(), 1);
        world.jump_to(START_MS).await;
        let expected = ClockWentBack { handled_ms: START_MINUTE_MS + 4_000 * DAY_MS, now_ms: START_MS };
        assert_eq!(*lock(&world.log.went_back), [expected]);
        assert!(worker.take_seen().is_empty());
        world.advance(2 * HOUR_MS).await;
        assert_eq!(minutes(&worker), ["2026-11-24 22:00", "2026-11-24 23:00"]);
    });
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    play(async {
        let (world, old, new) = (World::new(), Worker::quick(), Worker::quick());
        world.triggers(&old, &["*/10 * * * *", "*/20 * * * *"]);
        world.advance(9 * MINUTE_MS).await;
        settle().await;
        // The clock has reached a firing that the task has not seen yet.
        world.timer.set(START_MINUTE_MS + 9 * MINUTE_MS);
        world.triggers(&new, &["*/10 * * * *", "*/15 * * * *"]);
        settle().await;
        assert_eq!(minutes(&old), ["2026-11-24 21:50"], "what was due is the old one's");
        world.advance(11 * MINUTE_MS).await;
        assert!(old.take_seen().is_empty());
        let crons: Vec<String> = seen(&new).into_iter().map(|(cron, _)| cron).collect();
        assert_eq!(crons, ["*/10 * * * *", "*/15 * * * *"]);
        world.triggers(&new, &[]);
        world.advance(HOUR_MS).await;
        assert!(new.take_seen().is_empty());
    });
}

#[test]
fn a_removed_worker_fires_no_more() {
    play(async {
        let (world, worker) = (World::new(), Worker::quick());
        world.triggers(&worker, &["* * * * *"]);
        settle().await;
        world.scheduler().remove_worker("main");
        world.advance(5 * MINUTE_MS).await;
        assert!(worker.take_seen().is_empty());
        assert_eq!(world.scheduler().run_now("main", "", 0).await, Err(RunNowError::UnknownWorker("main".to_owned())));
    });
}

#[test]
fn a_run_by_hand_needs_no_trigger_and_outlives_who_asked() {
    play(async {
        let (world, worker, held) = (World::new(), Worker::quick(), Worker::slow());
        world.triggers(&worker, &[]);
        let outcome = world.scheduler().run_now("main", "0 0 * * *", 42).await.expect("it runs");
        assert_eq!(outcome.outcome, HandlerOutcome::Ok);
        assert_eq!(worker.take_seen(), [("0 0 * * *".to_owned(), 42)]);
        assert_eq!(lock(&world.log.cron)[0].cause, CronCause::ByHand);
        world.triggers_of("held", &held, &[], WhenMissed::Skip);
        {
            let asking = world.scheduler().run_now("held", "", 0);
            tokio::select! {
                _ = asking => panic!("its handler is held"),
                () = settle() => {}
            }
        }
        held.take_event().end(HandlerOutcome::Ok).await;
        assert_eq!(lock(&world.log.cron).len(), 2);
    });
}

#[test]
fn a_broken_record_is_reported_and_written_anew() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        let path = world.folder.path().join("cron").join("handled");
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(&path, "yesterday\n").expect("it is written");
        restart_after(&mut world, 0).await;
        world.triggers(&worker, &["* * * * *"]);
        let troubles = world.log.take_troubles();
        assert!(troubles[0].contains("line 1 is not `minute<tab>worker<tab>expression`"), "{troubles:?}");
        world.stop(Duration::ZERO).await;
        assert_eq!(fs::read_to_string(&path).expect("a file"), "2026-11-24 21:41\tmain\t* * * * *\n");
    });
}

#[test]
fn a_record_that_cannot_be_written_is_reported_and_triggers_fire_all_the_same() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        fs::write(world.folder.path().join("cron"), "a file where a folder should be").expect("it is written");
        restart_after(&mut world, 0).await;
        world.log.take_troubles();
        world.triggers(&worker, &["* * * * *"]);
        world.advance(MINUTE_MS).await;
        assert_eq!(minutes(&worker).len(), 1);
        world.stop(Duration::ZERO).await;
        let troubles = world.log.take_troubles();
        assert!(troubles.iter().any(|trouble| trouble.contains("cannot be written")), "{troubles:?}");
    });
}

#[test]
fn workers_that_were_not_loaded_this_time_keep_their_record() {
    play(async {
        let (mut world, worker) = (World::new(), Worker::quick());
        world.triggers_of("a", &worker, &["0 * * * *"], WhenMissed::Skip);
        world.triggers_of("b", &worker, &["0 * * * *"], WhenMissed::Skip);
        restart_after(&mut world, HOUR_MS).await;
        world.triggers_of("a", &worker, &["0 * * * *"], WhenMissed::Skip);
        settle().await;
        restart_after(&mut world, HOUR_MS).await;
        world.triggers_of("b", &worker, &["0 * * * *"], WhenMissed::Skip);
        settle().await;
        let missed = world.log.take_missed();
        let counts: Vec<_> = missed.iter().map(|missed| (&*missed.worker, missed.firings.count)).collect();
        assert_eq!(counts, [("a", 1), ("b", 2)]);
    });
}
