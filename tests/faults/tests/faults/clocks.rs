//! Clocks that leap and go back, over the drivers themselves. What cron triggers do then is tested with the scheduler.

use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::ManualClock;
use aerostack_cache::Entry;
use aerostack_faults::block_on;
use aerostack_queue::{ContentType, Outgoing, QueueDriver, Settlement, Verdict};
use libtest_mimic::{Failed, Trial};

use crate::places;

const START_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const VISIBILITY: Duration = Duration::from_secs(30);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "a cache whose clock leaps forgets what has expired by it and nothing else, also after it goes back",
            || {
                let place = tempfile::tempdir()?;
                let clock = Arc::new(ManualClock::new(START_MS));
                let cache = places::cache(place.path(), clock.clone())?;
                let expiring = Entry { expires_at: Some(START_MS / 1000 + 60), ..Entry::lasting("expiring") };
                block_on(cache.put("expiring", expiring.clone()))?;
                block_on(cache.put("lasting", Entry::lasting("lasting")))?;
                clock.set_ms(START_MS - DAY_MS);
                assert_eq!(block_on(cache.get("expiring"))?, Some(expiring), "a time before it is no reason to forget");
                clock.set_ms(START_MS + DAY_MS);
                assert_eq!(block_on(cache.get("expiring"))?, None);
                // A write is what removes rows whose time has come.
                block_on(
                    cache.put("late", Entry { expires_at: Some(START_MS / 1000 + 90_000), ..Entry::lasting("late") }),
                )?;
                clock.set_ms(START_MS);
                let names: Vec<String> =
                    block_on(cache.list("", 10, None))?.keys.into_iter().map(|key| key.name).collect();
                assert_eq!(names, ["lasting", "late"]);
                block_on(
                    cache.put("again", Entry { expires_at: Some(START_MS / 1000 + 60), ..Entry::lasting("again") }),
                )?;
                clock.set_ms(START_MS + 60_000);
                assert_eq!(block_on(cache.get("again"))?, None);
                Ok(())
            },
        ),
        Trial::test(
            "a lease neither lasts longer when the clock goes back nor is given twice before it is over",
            || {
                let place = tempfile::tempdir()?;
                let clock = Arc::new(ManualClock::new(START_MS));
                let queues = places::queues(place.path(), clock.clone())?;
                send(&*queues)?;
                assert_eq!(lease(&*queues)?, 1);
                clock.set_ms(START_MS - HOUR_MS);
                assert_eq!(lease(&*queues)?, 0, "somebody works on it");
                clock.advance_ms(31_000);
                assert_eq!(lease(&*queues)?, 1, "the time of the first lease is over, by whatever clock");
                Ok(())
            },
        ),
        Trial::test("a clock that leaps ends leases once, and a late answer is passed over and loses nothing", || {
            let place = tempfile::tempdir()?;
            let clock = Arc::new(ManualClock::new(START_MS));
            let queues = places::queues(place.path(), clock.clone())?;
            send(&*queues)?;
            let first = block_on(queues.lease("jobs", 10, VISIBILITY))?.remove(0);
            clock.set_ms(START_MS + DAY_MS);
            let second = block_on(queues.lease("jobs", 10, VISIBILITY))?.remove(0);
            assert_eq!((second.id, second.attempts), (first.id, 2));
            assert_eq!(lease(&*queues)?, 0, "it is leased once for all the time that was leapt over");
            let delete = |lease| vec![Settlement { lease, verdict: Verdict::Delete }];
            assert_eq!(block_on(queues.settle("jobs", delete(first.lease)))?, 1, "the late answer is passed over");
            assert_eq!(block_on(queues.settle("jobs", delete(second.lease)))?, 0);
            clock.set_ms(START_MS);
            send(&*queues)?;
            assert_eq!(lease(&*queues)?, 1, "a message that is sent after the clock went back is due at once");
            Ok(())
        }),
    ]
}

fn send(queues: &dyn QueueDriver) -> Result<(), Failed> {
    let message = Outgoing { content_type: ContentType::Text, body: "body".into(), delay: Duration::ZERO };
    block_on(queues.send("jobs", vec![message]))?;
    Ok(())
}

fn lease(queues: &dyn QueueDriver) -> Result<usize, Failed> {
    Ok(block_on(queues.lease("jobs", 10, VISIBILITY))?.len())
}
