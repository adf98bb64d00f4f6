use std::time::Duration;

use aerostack_bindings::Clock as _;

use super::{Case, Outcome, Place, START_MS, VISIBILITY, block_on, bodies, lease, lease_one, send, settle};
use crate::{Due, Lease, Settlement, Verdict};

pub(super) const CASES: &[Case] = &[
    ("a_leased_message_is_nobody_elses", a_leased_message_is_nobody_elses),
    ("a_lease_that_runs_out_delivers_again", a_lease_that_runs_out_delivers_again),
    ("an_extended_lease_holds_from_now_on", an_extended_lease_holds_from_now_on),
    ("a_late_answer_counts_while_nobody_else_has_the_message", a_late_answer_counts_while_nobody_else_has_the_message),
    ("a_stale_lease_changes_nothing", a_stale_lease_changes_nothing),
    ("a_retried_message_waits_for_its_delay", a_retried_message_waits_for_its_delay),
    ("one_settle_may_hold_every_verdict", one_settle_may_hold_every_verdict),
    ("a_lease_is_settled_once", a_lease_is_settled_once),
    ("nothing_to_lease_extend_or_settle_is_no_error", nothing_to_lease_extend_or_settle_is_no_error),
];

fn a_leased_message_is_nobody_elses(place: &Place) -> Outcome {
    block_on(async {
        let (one, other) = (place.driver(), place.driver());
        send(&*one, "jobs", &["1", "2"]).await?;
        assert_eq!(bodies(&one.lease("jobs", 1, VISIBILITY).await?), ["1"]);
        assert_eq!(bodies(&lease(&*other, "jobs").await?), ["2"]);
        place.clock.advance_ms(29_999);
        assert!(lease(&*one, "jobs").await?.is_empty());
        assert!(lease(&*other, "jobs").await?.is_empty());
        Ok(())
    })
}

fn a_lease_that_runs_out_delivers_again(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["again"]).await?;
        let mut tokens = Vec::new();
        for attempt in 1..=5 {
            let got = lease_one(&*driver, "jobs").await?;
            assert_eq!((got.attempts, got.sent_at_ms), (attempt, START_MS));
            assert!(!tokens.contains(&got.lease.token), "a token comes once");
            tokens.push(got.lease.token);
            place.clock.advance_ms(30_000);
        }
        Ok(())
    })
}

fn an_extended_lease_holds_from_now_on(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["extended", "not"]).await?;
        let got = lease(&*driver, "jobs").await?;
        place.clock.advance_ms(20_000);
        driver.extend("jobs", &[got[0].lease], VISIBILITY).await?;
        place.clock.advance_ms(29_999);
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["not"]);
        assert_eq!(settle(&*driver, "jobs", got[0].lease, Verdict::Delete).await?, 0);
        assert_eq!(driver.backlog("jobs").await?.messages, 1);
        // A shorter time than is left counts as well.
        send(&*driver, "jobs", &["shortened"]).await?;
        let got = lease_one(&*driver, "jobs").await?;
        driver.extend("jobs", &[got.lease], Duration::from_millis(1)).await?;
        place.clock.advance_ms(1);
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["shortened"]);
        Ok(())
    })
}

fn a_late_answer_counts_while_nobody_else_has_the_message(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["settled late", "extended late"]).await?;
        let got = lease(&*driver, "jobs").await?;
        place.clock.advance_ms(40_000);
        assert_eq!(driver.due("jobs", 10).await?.ready, 2);
        assert_eq!(settle(&*driver, "jobs", got[0].lease, Verdict::Delete).await?, 0);
        driver.extend("jobs", &[got[1].lease], VISIBILITY).await?;
        let runs_out = place.clock.now_ms() + 30_000;
        assert_eq!(driver.due("jobs", 10).await?, Due { ready: 0, earliest_ms: Some(runs_out) });
        assert!(lease(&*driver, "jobs").await?.is_empty());
        Ok(())
    })
}

fn a_stale_lease_changes_nothing(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["body"]).await?;
        let stale = lease_one(&*driver, "jobs").await?.lease;
        place.clock.advance_ms(30_000);
        let current = lease_one(&*driver, "jobs").await?;
        for verdict in [Verdict::Delete, Verdict::Retry(Duration::ZERO), Verdict::DeadLetter("dead".to_owned())] {
            assert_eq!(settle(&*driver, "jobs", stale, verdict).await?, 1);
        }
        driver.extend("jobs", &[stale], Duration::from_hours(1)).await?;
        assert_eq!(driver.backlog("jobs").await?.messages, 1);
        assert_eq!(driver.queues().await?.len(), 1, "no dead-letter queue came into being");
        let runs_out = place.clock.now_ms() + 30_000;
        assert_eq!(driver.due("jobs", 10).await?.earliest_ms, Some(runs_out));
        assert_eq!(settle(&*driver, "jobs", current.lease, Verdict::Delete).await?, 0);
        Ok(())
    })
}

fn a_retried_message_waits_for_its_delay(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["first", "second"]).await?;
        let first = driver.lease("jobs", 1, VISIBILITY).await?;
        place.clock.advance_ms(1000);
        settle(&*driver, "jobs", first[0].lease, Verdict::Retry(Duration::from_secs(2))).await?;
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["second"]);
        place.clock.advance_ms(1999);
        assert!(lease(&*driver, "jobs").await?.is_empty());
        place.clock.advance_ms(1);
        let again = lease_one(&*driver, "jobs").await?;
        assert_eq!((again.id, again.attempts, again.sent_at_ms), (first[0].id, 2, START_MS));
        // At once, but behind what was due earlier.
        send(&*driver, "jobs", &["third"]).await?;
        place.clock.advance_ms(1);
        settle(&*driver, "jobs", again.lease, Verdict::Retry(Duration::ZERO)).await?;
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["third", "first"]);
        Ok(())
    })
}

fn one_settle_may_hold_every_verdict(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["delete", "retry", "bury", "stale", "kept"]).await?;
        let got = lease(&*driver, "jobs").await?;
        let settlement = |index: usize, verdict| Settlement { lease: got[index].lease, verdict };
        let stale = Lease { token: got[3].lease.token + 1, ..got[3].lease };
        let passed_over = driver
            .settle(
                "jobs",
                vec![
                    settlement(0, Verdict::Delete),
                    settlement(1, Verdict::Retry(Duration::ZERO)),
                    settlement(2, Verdict::DeadLetter("dead".to_owned())),
                    Settlement { lease: stale, verdict: Verdict::Delete },
                ],
            )
            .await?;
        assert_eq!(passed_over, 1);
        assert_eq!(driver.backlog("jobs").await?.messages, 3);
        assert_eq!(driver.backlog("jobs").await?.bytes, "retrystalekept".len() as u64);
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["retry"]);
        assert_eq!(bodies(&lease(&*driver, "dead").await?), ["bury"]);
        Ok(())
    })
}

fn a_lease_is_settled_once(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["retried", "deleted"]).await?;
        let got = lease(&*driver, "jobs").await?;
        assert_eq!(settle(&*driver, "jobs", got[0].lease, Verdict::Retry(Duration::ZERO)).await?, 0);
        assert_eq!(settle(&*driver, "jobs", got[0].lease, Verdict::Delete).await?, 1, "it is due again, not leased");
        let twice = || Settlement { lease: got[1].lease, verdict: Verdict::Delete };
        assert_eq!(driver.settle("jobs", vec![twice(), twice()]).await?, 1);
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["retried"]);
        Ok(())
    })
}

fn nothing_to_lease_extend_or_settle_is_no_error(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["one"]).await?;
        assert!(driver.lease("jobs", 0, VISIBILITY).await?.is_empty());
        driver.extend("jobs", &[], VISIBILITY).await?;
        assert_eq!(driver.settle("jobs", Vec::new()).await?, 0);
        let got = driver.lease("jobs", 10, Duration::from_secs(u64::MAX)).await?;
        assert_eq!(bodies(&got), ["one"], "a lease may be as long as it likes");
        Ok(())
    })
}
