use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aerostack_bindings::Clock;
use bytes::Bytes;

use super::{
    Case, Outcome, PATIENCE, Place, START_MS, VISIBILITY, block_on, bodies, delayed, lease, lease_one, send, settle,
    text,
};
use crate::{Backlog, ContentType, Due, Outgoing, QueueSummary, Verdict};

pub(super) const CASES: &[Case] = &[
    ("a_message_comes_back_as_it_was_sent", a_message_comes_back_as_it_was_sent),
    ("a_body_may_be_empty_or_long", a_body_may_be_empty_or_long),
    ("messages_come_in_the_order_they_were_sent", messages_come_in_the_order_they_were_sent),
    ("a_delayed_message_is_due_at_its_moment_and_not_before", a_delayed_message_is_due_at_its_moment_and_not_before),
    ("what_is_due_earlier_comes_first", what_is_due_earlier_comes_first),
    ("queues_do_not_see_each_other", queues_do_not_see_each_other),
    ("due_counts_up_to_the_limit_and_knows_the_earliest", due_counts_up_to_the_limit_and_knows_the_earliest),
    ("an_unknown_queue_is_an_empty_one", an_unknown_queue_is_an_empty_one),
    ("the_backlog_counts_all_that_waits", the_backlog_counts_all_that_waits),
    ("peek_shows_and_does_not_touch", peek_shows_and_does_not_touch),
    ("queues_tells_what_is_delayed_and_what_is_leased", queues_tells_what_is_delayed_and_what_is_leased),
    ("a_purge_deletes_leased_messages_too", a_purge_deletes_leased_messages_too),
    ("ids_are_unique_and_sort_by_time", ids_are_unique_and_sort_by_time),
    ("everything_survives_a_restart", everything_survives_a_restart),
    ("a_send_tells_those_who_watch_its_queue", a_send_tells_those_who_watch_its_queue),
    ("a_clock_that_jumps_back_delays_nothing", a_clock_that_jumps_back_delays_nothing),
    ("a_queue_may_have_any_name", a_queue_may_have_any_name),
];

fn a_message_comes_back_as_it_was_sent(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        for content_type in [ContentType::Json, ContentType::Text, ContentType::Bytes, ContentType::V8] {
            let body = Bytes::from_static(b"\x00\xff\xfe bytes");
            driver.send("jobs", vec![Outgoing { content_type, body: body.clone(), delay: Duration::ZERO }]).await?;
            place.clock.advance_ms(10);
            let got = lease_one(&*driver, "jobs").await?;
            assert_eq!((got.content_type, &got.body), (content_type, &body));
            assert_eq!((got.attempts, got.sent_at_ms), (1, place.clock.now_ms() - 10));
            assert_eq!(settle(&*driver, "jobs", got.lease, Verdict::Delete).await?, 0);
        }
        assert_eq!(driver.backlog("jobs").await?, Backlog::default());
        Ok(())
    })
}

fn a_body_may_be_empty_or_long(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        let long: Vec<u8> = (0..128_000_u32).map(|position| (position % 251) as u8).collect();
        let outgoing =
            |body: Vec<u8>| Outgoing { content_type: ContentType::Bytes, body: body.into(), delay: Duration::ZERO };
        let backlog = driver.send("jobs", vec![outgoing(Vec::new()), outgoing(long.clone())]).await?;
        assert_eq!((backlog.messages, backlog.bytes), (2, 128_000));
        let got = lease(&*driver, "jobs").await?;
        assert!(got[0].body.is_empty());
        assert!(got[1].body == long);
        settle(&*driver, "jobs", got[1].lease, Verdict::Retry(Duration::ZERO)).await?;
        assert!(lease_one(&*driver, "jobs").await?.body == long, "a retry keeps the body");
        Ok(())
    })
}

fn messages_come_in_the_order_they_were_sent(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["1", "2", "3"]).await?;
        send(&*driver, "jobs", &["4"]).await?;
        place.clock.advance_ms(1);
        send(&*driver, "jobs", &["5"]).await?;
        assert_eq!(bodies(&driver.lease("jobs", 2, VISIBILITY).await?), ["1", "2"]);
        assert_eq!(bodies(&driver.lease("jobs", 10, VISIBILITY).await?), ["3", "4", "5"]);
        Ok(())
    })
}

fn a_delayed_message_is_due_at_its_moment_and_not_before(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        driver.send("jobs", vec![delayed("later", 5000)]).await?;
        assert_eq!(driver.due("jobs", 10).await?, Due { ready: 0, earliest_ms: Some(START_MS + 5000) });
        assert!(lease(&*driver, "jobs").await?.is_empty());
        place.clock.advance_ms(4999);
        assert!(lease(&*driver, "jobs").await?.is_empty());
        assert_eq!(driver.due("jobs", 10).await?.ready, 0);
        place.clock.advance_ms(1);
        assert_eq!(driver.due("jobs", 10).await?, Due { ready: 1, earliest_ms: Some(START_MS + 5000) });
        assert_eq!(lease_one(&*driver, "jobs").await?.sent_at_ms, START_MS);
        Ok(())
    })
}

fn what_is_due_earlier_comes_first(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        driver.send("jobs", vec![delayed("third", 3000), delayed("second", 2000)]).await?;
        place.clock.advance_ms(1000);
        driver.send("jobs", vec![text("first"), delayed("fourth", 2500)]).await?;
        place.clock.advance_ms(10_000);
        send(&*driver, "jobs", &["last"]).await?;
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["first", "second", "third", "fourth", "last"]);
        Ok(())
    })
}

fn queues_do_not_see_each_other(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "one", &["of one"]).await?;
        send(&*driver, "two", &["of two", "of two"]).await?;
        assert_eq!(driver.due("one", 10).await?.ready, 1);
        let got = lease_one(&*driver, "one").await?;
        assert_eq!(settle(&*driver, "two", got.lease, Verdict::Delete).await?, 1, "two has no such lease");
        driver.extend("two", &[got.lease], Duration::from_hours(1)).await?;
        assert_eq!(driver.purge("two").await?, 2);
        assert_eq!(driver.backlog("one").await?.messages, 1);
        place.clock.advance_ms(30_000);
        assert_eq!(lease_one(&*driver, "one").await?.attempts, 2);
        Ok(())
    })
}

fn due_counts_up_to_the_limit_and_knows_the_earliest(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["1", "2", "3"]).await?;
        place.clock.advance_ms(5);
        assert_eq!(driver.due("jobs", 2).await?, Due { ready: 2, earliest_ms: Some(START_MS) });
        assert_eq!(driver.due("jobs", 100).await?, Due { ready: 3, earliest_ms: Some(START_MS) });
        lease(&*driver, "jobs").await?;
        let runs_out = place.clock.now_ms() + 30_000;
        assert_eq!(driver.due("jobs", 100).await?, Due { ready: 0, earliest_ms: Some(runs_out) });
        place.clock.advance_ms(30_000);
        assert_eq!(driver.due("jobs", 100).await?, Due { ready: 3, earliest_ms: Some(runs_out) });
        Ok(())
    })
}

fn an_unknown_queue_is_an_empty_one(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        assert_eq!(driver.due("nothing", 10).await?, Due::default());
        assert_eq!(driver.backlog("nothing").await?, Backlog::default());
        assert!(lease(&*driver, "nothing").await?.is_empty());
        assert!(driver.peek("nothing", 10).await?.is_empty());
        assert_eq!(driver.purge("nothing").await?, 0);
        assert_eq!(driver.redrive("nothing", Some("elsewhere")).await?, 0);
        assert!(driver.queues().await?.is_empty(), "asking makes no queue");
        Ok(())
    })
}

fn the_backlog_counts_all_that_waits(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        let backlog = driver.send("jobs", vec![text("four"), delayed("delayed", 60_000)]).await?;
        assert_eq!(backlog, Backlog { messages: 2, bytes: 11, oldest_ms: Some(START_MS) });
        place.clock.advance_ms(1000);
        let backlog = driver.send("jobs", vec![text("x")]).await?;
        assert_eq!(backlog, Backlog { messages: 3, bytes: 12, oldest_ms: Some(START_MS) });
        let got = driver.lease("jobs", 1, VISIBILITY).await?;
        assert_eq!(driver.backlog("jobs").await?, backlog, "leased messages wait, too");
        settle(&*driver, "jobs", got[0].lease, Verdict::Delete).await?;
        assert_eq!(driver.backlog("jobs").await?, Backlog { messages: 2, bytes: 8, oldest_ms: Some(START_MS) });
        place.clock.advance_ms(60_000);
        let got = lease(&*driver, "jobs").await?;
        assert_eq!(bodies(&got), ["x", "delayed"]);
        settle(&*driver, "jobs", got[1].lease, Verdict::Delete).await?;
        assert_eq!(driver.backlog("jobs").await?, Backlog { messages: 1, bytes: 1, oldest_ms: Some(START_MS + 1000) });
        Ok(())
    })
}

fn peek_shows_and_does_not_touch(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        driver.send("jobs", vec![delayed("delayed", 60_000), text("taken"), text("due")]).await?;
        let taken = driver.lease("jobs", 1, VISIBILITY).await?;
        let seen = driver.peek("jobs", 10).await?;
        let shown: Vec<_> = seen
            .iter()
            .map(|message| (&message.body[..], message.due_at_ms, message.attempts, message.leased))
            .collect();
        assert_eq!(
            shown,
            [
                (&b"due"[..], START_MS, 0, false),
                (b"taken", START_MS + 30_000, 1, true),
                (b"delayed", START_MS + 60_000, 0, false)
            ]
        );
        assert_eq!(seen[1].id, taken[0].id);
        assert!(seen.iter().all(|message| message.sent_at_ms == START_MS && message.dead_lettered_from.is_none()));
        assert_eq!(driver.peek("jobs", 1).await?, seen[..1]);
        assert_eq!(driver.peek("jobs", 10).await?, seen, "nothing has changed");
        place.clock.advance_ms(30_000);
        assert!(driver.peek("jobs", 10).await?.iter().all(|message| !message.leased), "the lease is over");
        Ok(())
    })
}

fn queues_tells_what_is_delayed_and_what_is_leased(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        driver.send("b", vec![delayed("1", 60_000), delayed("2", 90_000), text("3"), text("4")]).await?;
        send(&*driver, "a", &["passes"]).await?;
        let got = lease_one(&*driver, "a").await?;
        settle(&*driver, "a", got.lease, Verdict::Delete).await?;
        driver.lease("b", 1, VISIBILITY).await?;
        let summary =
            |name: &str, backlog, delayed, leased| QueueSummary { name: name.to_owned(), backlog, delayed, leased };
        let four = Backlog { messages: 4, bytes: 4, oldest_ms: Some(START_MS) };
        assert_eq!(driver.queues().await?, [summary("a", Backlog::default(), 0, 0), summary("b", four, 2, 1)]);
        place.clock.advance_ms(60_000);
        assert_eq!(driver.queues().await?[1], summary("b", four, 1, 0));
        Ok(())
    })
}

fn a_purge_deletes_leased_messages_too(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        for _ in 0..25 {
            driver.send("jobs", (0..100).map(|number| delayed("body", number)).collect()).await?;
        }
        send(&*driver, "other", &["kept"]).await?;
        let got = driver.lease("jobs", 10, VISIBILITY).await?;
        assert_eq!(driver.purge("jobs").await?, 2500);
        assert_eq!(driver.backlog("jobs").await?, Backlog::default());
        assert_eq!(driver.due("jobs", 10).await?, Due::default());
        assert_eq!(settle(&*driver, "jobs", got[0].lease, Verdict::Retry(Duration::ZERO)).await?, 1);
        assert_eq!(driver.purge("jobs").await?, 0);
        assert_eq!(driver.backlog("other").await?.messages, 1);
        // A lease of a purged message never ends one of a later message.
        send(&*driver, "jobs", &["later"]).await?;
        let later = lease_one(&*driver, "jobs").await?;
        for stale in got {
            assert_eq!(settle(&*driver, "jobs", stale.lease, Verdict::Delete).await?, 1);
        }
        assert_eq!(settle(&*driver, "jobs", later.lease, Verdict::Delete).await?, 0);
        Ok(())
    })
}

fn ids_are_unique_and_sort_by_time(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        let mut ids = Vec::new();
        for _ in 0..5 {
            driver.send("jobs", (0..100).map(|_| text("x")).collect()).await?;
            let mut batch: Vec<_> =
                lease(&*driver, "jobs").await?.iter().map(|delivery| delivery.id.to_string()).collect();
            batch.sort();
            ids.extend(batch);
            place.clock.advance_ms(1);
        }
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert!(ids.is_sorted_by(|one, next| one < next), "no id comes twice, and later ones sort behind");
        Ok(())
    })
}

fn everything_survives_a_restart(place: &Place) -> Outcome {
    let (id, stale) = block_on(async {
        let driver = place.driver();
        driver.send("jobs", vec![text("leased"), text("done"), text("due"), delayed("delayed", 60_000)]).await?;
        let got = driver.lease("jobs", 2, VISIBILITY).await?;
        settle(&*driver, "jobs", got[1].lease, Verdict::Delete).await?;
        Ok::<_, libtest_mimic::Failed>((got[0].id, got[0].lease))
    })?;
    block_on(async {
        let driver = place.driver();
        assert_eq!(driver.backlog("jobs").await?, Backlog { messages: 3, bytes: 16, oldest_ms: Some(START_MS) });
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["due"], "the lease of before still holds");
        driver.extend("jobs", &[stale], VISIBILITY).await?;
        place.clock.advance_ms(30_000);
        let again = driver.lease("jobs", 1, VISIBILITY).await?;
        assert_eq!((again[0].id, again[0].attempts), (id, 2));
        assert_eq!(settle(&*driver, "jobs", stale, Verdict::Delete).await?, 1);
        place.clock.advance_ms(60_000);
        assert_eq!(lease(&*driver, "jobs").await?.len(), 3);
        Ok(())
    })
}

fn a_send_tells_those_who_watch_its_queue(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        let mut jobs = driver.changes("jobs");
        let mut also_jobs = driver.changes("jobs");
        let mut dead = driver.changes("dead");
        send(&*driver, "jobs", &["one"]).await?;
        tokio::time::timeout(PATIENCE, jobs.changed()).await??;
        tokio::time::timeout(PATIENCE, also_jobs.changed()).await??;
        let before = *jobs.borrow_and_update();
        let got = lease_one(&*driver, "jobs").await?;
        settle(&*driver, "jobs", got.lease, Verdict::Retry(Duration::from_secs(5))).await?;
        tokio::time::timeout(PATIENCE, jobs.changed()).await??;
        assert_ne!(*jobs.borrow_and_update(), before);
        place.clock.advance_ms(5000);
        let got = lease_one(&*driver, "jobs").await?;
        settle(&*driver, "jobs", got.lease, Verdict::DeadLetter("dead".to_owned())).await?;
        tokio::time::timeout(PATIENCE, dead.changed()).await??;
        jobs.mark_unchanged();
        driver.redrive("dead", None).await?;
        tokio::time::timeout(PATIENCE, jobs.changed()).await??;
        Ok(())
    })
}

/// A clock that a test may turn in both directions.
struct TurnableClock(AtomicU64);

impl Clock for TurnableClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn a_clock_that_jumps_back_delays_nothing(place: &Place) -> Outcome {
    const DAY_MS: u64 = 86_400_000;
    block_on(async {
        let clock = Arc::new(TurnableClock(AtomicU64::new(START_MS)));
        let driver = place.driver_with(clock.clone());
        driver.send("jobs", vec![text("due"), delayed("delayed", 10_000), text("leased")]).await?;
        // The first two in order; the third is held when the clock jumps.
        let got = driver.lease("jobs", 2, VISIBILITY).await?;
        settle(&*driver, "jobs", got[0].lease, Verdict::Retry(Duration::ZERO)).await?;
        let mut changes = driver.changes("jobs");
        clock.0.fetch_sub(DAY_MS, Ordering::SeqCst);
        tokio::time::timeout(PATIENCE, changes.changed()).await??;
        assert_eq!(driver.due("jobs", 10).await?.ready, 1);
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["due"]);
        send(&*driver, "jobs", &["sent since"]).await?;
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["sent since"]);
        clock.0.fetch_add(9_000, Ordering::SeqCst);
        assert!(lease(&*driver, "jobs").await?.is_empty(), "a delay keeps its length");
        clock.0.fetch_add(2_000, Ordering::SeqCst);
        assert_eq!(bodies(&lease(&*driver, "jobs").await?), ["delayed"]);
        clock.0.fetch_add(60_000, Ordering::SeqCst);
        assert_eq!(lease(&*driver, "jobs").await?.len(), 4, "nothing is lost");
        Ok(())
    })
}

fn a_queue_may_have_any_name(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        let names = ["../../etc/passwd", "a'; DROP TABLE messages; --", "\u{1f600} q", "Jobs", "jobs", "%"];
        for name in names {
            send(&*driver, name, &[name]).await?;
        }
        for name in names {
            assert_eq!(bodies(&lease(&*driver, name).await?), [name]);
        }
        assert_eq!(driver.queues().await?.len(), names.len());
        Ok(())
    })
}
