use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Failed;
use tokio::sync::watch;

use super::{Case, Outcome, PATIENCE, Place, VISIBILITY, block_on, lease, send, text};
use crate::{MessageId, QueueDriver, Settlement, Verdict};

pub(super) const CASES: &[Case] = &[
    ("many_producers_and_consumers_lose_nothing_and_hold_nothing_twice", nothing_lost_nothing_twice),
    ("two_drivers_see_each_others_messages_and_tell_of_them", two_drivers_tell_of_each_other),
    ("a_place_can_be_opened_by_many_at_once", a_place_can_be_opened_by_many_at_once),
];

const PRODUCERS: usize = 4;
const CONSUMERS: usize = 4;
const ROUNDS: usize = 50;
const MESSAGES_A_ROUND: usize = 10;
const TOTAL: usize = PRODUCERS * ROUNDS * MESSAGES_A_ROUND;

fn nothing_lost_nothing_twice(place: &Place) -> Outcome {
    let shared = place.driver();
    // Half of the threads share one driver, as isolates do; the others stand for other processes.
    let driver = |thread: usize| if thread.is_multiple_of(2) { Arc::clone(&shared) } else { place.driver() };
    let held = Mutex::new(HashSet::new());
    let finished = watch::Sender::new(0);
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|thread| {
                let driver = driver(thread);
                scope.spawn(move || block_on(produce(&*driver, thread)))
            })
            .collect();
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|thread| {
                let driver = driver(thread);
                let (held, finished) = (&held, &finished);
                scope.spawn(move || block_on(consume(&*driver, held, finished)))
            })
            .collect();
        for thread in producers.into_iter().chain(consumers) {
            thread.join().expect("no thread panics")?;
        }
        Ok::<_, Failed>(())
    })?;
    assert_eq!(block_on(shared.backlog("jobs"))?.messages, 0);
    Ok(())
}

async fn produce(driver: &dyn QueueDriver, thread: usize) -> Outcome {
    for round in 0..ROUNDS {
        let messages = (0..MESSAGES_A_ROUND).map(|number| text(&format!("{thread}/{round}/{number}"))).collect();
        driver.send("jobs", messages).await?;
    }
    Ok(())
}

/// Takes what is due until all are done. Every seventh message is retried once.
async fn consume(
    driver: &dyn QueueDriver,
    held: &Mutex<HashSet<MessageId>>,
    finished: &watch::Sender<usize>,
) -> Outcome {
    let mut changes = driver.changes("jobs");
    let mut all = finished.subscribe();
    while *all.borrow() < TOTAL {
        let deliveries = driver.lease("jobs", 20, VISIBILITY).await?;
        if deliveries.is_empty() {
            tokio::select! {
                changed = changes.changed() => changed?,
                done = all.wait_for(|count| *count == TOTAL) => drop(done?),
                () = tokio::time::sleep(PATIENCE) => return Err(format!("only {} came through", *finished.borrow()).into()),
            }
            continue;
        }
        {
            let mut held = held.lock().expect("nobody panicked");
            assert!(deliveries.iter().all(|delivery| held.insert(delivery.id)), "a leased message came again");
        }
        tokio::task::yield_now().await;
        let mut deleted = 0;
        let mut settlements = Vec::new();
        for delivery in &deliveries {
            let retry = delivery.attempts == 1 && delivery.id.0[15].is_multiple_of(7);
            deleted += usize::from(!retry);
            let verdict = if retry { Verdict::Retry(Duration::ZERO) } else { Verdict::Delete };
            settlements.push(Settlement { lease: delivery.lease, verdict });
            held.lock().expect("nobody panicked").remove(&delivery.id);
        }
        assert_eq!(driver.settle("jobs", settlements).await?, 0, "every lease holds until it is settled");
        finished.send_modify(|count| *count += deleted);
    }
    assert_eq!(*finished.borrow(), TOTAL);
    Ok(())
}

fn two_drivers_tell_of_each_other(place: &Place) -> Outcome {
    block_on(async {
        let (one, two) = (place.driver(), place.driver());
        let mut changes = one.changes("jobs");
        for round in 1..=3 {
            changes.mark_unchanged();
            send(&*two, "jobs", &["from the other"]).await?;
            assert_eq!(one.backlog("jobs").await?.messages, round);
            tokio::time::timeout(PATIENCE, changes.changed()).await??;
        }
        assert_eq!(lease(&*one, "jobs").await?.len(), 3);
        assert!(lease(&*two, "jobs").await?.is_empty());
        Ok(())
    })
}

fn a_place_can_be_opened_by_many_at_once(place: &Place) -> Outcome {
    for round in 0..10 {
        let place = place.beside(round);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let place = &place;
                scope.spawn(move || {
                    let driver = place.driver();
                    block_on(send(&*driver, "jobs", &[&thread.to_string()])).expect("the send goes through");
                });
            }
        });
        assert_eq!(block_on(lease(&*place.driver(), "jobs"))?.len(), 4);
    }
    Ok(())
}
