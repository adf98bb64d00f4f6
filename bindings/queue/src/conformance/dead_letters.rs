use std::time::Duration;

use super::{
    Case, Outcome, Place, START_MS, VISIBILITY, block_on, bodies, delayed, lease, lease_one, send, settle, text,
};
use crate::{Backlog, Settlement, Verdict};

pub(super) const CASES: &[Case] = &[
    ("a_dead_letter_keeps_its_id_and_time_and_starts_again", a_dead_letter_keeps_its_id_and_time_and_starts_again),
    ("a_message_may_die_in_its_own_queue", a_message_may_die_in_its_own_queue),
    ("the_oldest_dead_letter_is_the_one_sent_first", the_oldest_dead_letter_is_the_one_sent_first),
    ("a_redrive_takes_messages_back_to_where_they_came_from", a_redrive_takes_messages_back_to_where_they_came_from),
    ("a_redrive_to_a_target_takes_every_message", a_redrive_to_a_target_takes_every_message),
    ("a_redrive_leaves_leased_messages", a_redrive_leaves_leased_messages),
    ("a_long_redrive_moves_every_message_once", a_long_redrive_moves_every_message_once),
];

fn dead(queue: &str) -> Verdict {
    Verdict::DeadLetter(queue.to_owned())
}

fn a_dead_letter_keeps_its_id_and_time_and_starts_again(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["body"]).await?;
        lease_one(&*driver, "jobs").await?;
        place.clock.advance_ms(30_000);
        let failed = lease_one(&*driver, "jobs").await?;
        assert_eq!(failed.attempts, 2);
        assert_eq!(settle(&*driver, "jobs", failed.lease, dead("dead")).await?, 0);
        assert_eq!(driver.backlog("jobs").await?, Backlog::default());
        assert_eq!(driver.backlog("dead").await?, Backlog { messages: 1, bytes: 4, oldest_ms: Some(START_MS) });
        let seen = driver.peek("dead", 1).await?;
        assert_eq!((seen[0].dead_lettered_from.as_deref(), seen[0].attempts), (Some("jobs"), 0));
        assert_eq!(settle(&*driver, "jobs", failed.lease, Verdict::Delete).await?, 1);
        assert_eq!(settle(&*driver, "dead", failed.lease, Verdict::Delete).await?, 1);
        let buried = lease_one(&*driver, "dead").await?;
        assert_eq!((buried.id, buried.sent_at_ms, buried.attempts), (failed.id, START_MS, 1));
        assert_eq!(buried.body, failed.body);
        assert_eq!(
            settle(&*driver, "dead", failed.lease, Verdict::Delete).await?,
            1,
            "the lease of before is no key to it"
        );
        Ok(())
    })
}

fn a_message_may_die_in_its_own_queue(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["body"]).await?;
        let got = lease_one(&*driver, "jobs").await?;
        settle(&*driver, "jobs", got.lease, dead("jobs")).await?;
        assert_eq!(driver.backlog("jobs").await?.messages, 1);
        assert_eq!(lease_one(&*driver, "jobs").await?.attempts, 1);
        Ok(())
    })
}

fn the_oldest_dead_letter_is_the_one_sent_first(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "jobs", &["old"]).await?;
        place.clock.advance_ms(10);
        send(&*driver, "jobs", &["young"]).await?;
        let got = lease(&*driver, "jobs").await?;
        settle(&*driver, "jobs", got[1].lease, dead("dead")).await?;
        assert_eq!(driver.backlog("dead").await?.oldest_ms, Some(START_MS + 10));
        place.clock.advance_ms(10);
        settle(&*driver, "jobs", got[0].lease, dead("dead")).await?;
        assert_eq!(driver.backlog("dead").await?.oldest_ms, Some(START_MS));
        assert_eq!(bodies(&lease(&*driver, "dead").await?), ["young", "old"]);
        Ok(())
    })
}

fn a_redrive_takes_messages_back_to_where_they_came_from(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "one", &["1"]).await?;
        send(&*driver, "two", &["2", "3"]).await?;
        send(&*driver, "dead", &["direct"]).await?;
        for queue in ["one", "two"] {
            for got in lease(&*driver, queue).await? {
                settle(&*driver, queue, got.lease, dead("dead")).await?;
            }
        }
        place.clock.advance_ms(5);
        assert_eq!(driver.redrive("dead", None).await?, 3);
        assert_eq!(driver.redrive("dead", None).await?, 0);
        assert_eq!(bodies(&lease(&*driver, "dead").await?), ["direct"]);
        assert_eq!(driver.backlog("two").await?, Backlog { messages: 2, bytes: 2, oldest_ms: Some(START_MS) });
        let seen = driver.peek("two", 1).await?;
        assert_eq!((seen[0].due_at_ms, seen[0].dead_lettered_from.as_ref()), (START_MS + 5, None));
        let back = lease_one(&*driver, "one").await?;
        assert_eq!((bodies(std::slice::from_ref(&back)), back.attempts, back.sent_at_ms), (vec!["1"], 1, START_MS));
        assert_eq!(bodies(&lease(&*driver, "two").await?), ["2", "3"]);
        Ok(())
    })
}

fn a_redrive_to_a_target_takes_every_message(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        driver.send("dead", vec![text("direct"), delayed("delayed", 60_000)]).await?;
        assert_eq!(driver.redrive("dead", Some("new")).await?, 2);
        assert_eq!(driver.backlog("dead").await?, Backlog::default());
        assert_eq!(bodies(&lease(&*driver, "new").await?), ["direct", "delayed"], "what moves is due at once");
        Ok(())
    })
}

fn a_redrive_leaves_leased_messages(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        send(&*driver, "dead", &["expired", "leased", "waits"]).await?;
        let expired = driver.lease("dead", 1, Duration::from_millis(10)).await?;
        let leased = driver.lease("dead", 1, VISIBILITY).await?;
        place.clock.advance_ms(10);
        assert_eq!(driver.redrive("dead", Some("new")).await?, 2);
        assert_eq!(settle(&*driver, "dead", expired[0].lease, Verdict::Delete).await?, 1);
        assert_eq!(settle(&*driver, "new", expired[0].lease, Verdict::Delete).await?, 1);
        assert_eq!(settle(&*driver, "dead", leased[0].lease, Verdict::Delete).await?, 0);
        assert_eq!(bodies(&lease(&*driver, "new").await?), ["expired", "waits"]);
        Ok(())
    })
}

fn a_long_redrive_moves_every_message_once(place: &Place) -> Outcome {
    block_on(async {
        let driver = place.driver();
        for _ in 0..25 {
            driver.send("jobs", (0..100).map(|number| delayed("body", number)).collect()).await?;
        }
        place.clock.advance_ms(100);
        let settlements = driver
            .lease("jobs", 2400, VISIBILITY)
            .await?
            .into_iter()
            .map(|got| Settlement { lease: got.lease, verdict: dead("dead") })
            .collect();
        assert_eq!(driver.settle("jobs", settlements).await?, 0);
        assert_eq!(driver.backlog("dead").await?.messages, 2400);
        assert_eq!(driver.redrive("dead", Some("dead")).await?, 2400, "also onto itself");
        assert_eq!(driver.redrive("dead", None).await?, 0, "where a message was redriven to is no dead-letter queue");
        assert_eq!(driver.redrive("dead", Some("jobs")).await?, 2400);
        assert_eq!(driver.backlog("dead").await?, Backlog::default());
        assert_eq!(driver.backlog("jobs").await?.messages, 2500);
        assert_eq!(driver.lease("jobs", 5000, VISIBILITY).await?.len(), 2500);
        Ok(())
    })
}
