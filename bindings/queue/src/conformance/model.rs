use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use aerostack_bindings::Clock as _;
use libtest_mimic::Failed;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Case, Outcome, Place, block_on, delayed};
use crate::{Backlog, Due, Lease, MessageId, QueueDriver, QueueSummary, Settlement, Verdict};

pub(super) const CASES: &[Case] =
    &[("any_sequence_of_calls_behaves_like_a_list_of_messages", any_sequence_of_calls_behaves_like_a_list_of_messages)];

const QUEUES: &[&str] = &["a", "b", "dead"];

#[derive(Debug, Clone)]
enum Call {
    Send { queue: &'static str, delays_ms: Vec<u64> },
    Lease { queue: &'static str, limit: usize, visibility_ms: u64 },
    Extend { queue: &'static str, leases: Vec<Index>, visibility_ms: u64 },
    Settle { queue: &'static str, verdicts: Vec<(Index, Fate)> },
    Purge { queue: &'static str },
    Redrive { queue: &'static str, target: Option<&'static str> },
    Wait { ms: u64 },
    Reopen,
}

#[derive(Debug, Clone)]
enum Fate {
    Delete,
    Retry { delay_ms: u64 },
    DeadLetter { queue: &'static str },
}

struct Message {
    /// The order of sending.
    number: usize,
    /// Known from the first delivery on.
    id: Option<MessageId>,
    body: String,
    queue: &'static str,
    sent_at: u64,
    due_at: u64,
    attempts: u32,
    /// Who has it. Stays after the lease has run out, until somebody else gets it.
    holder: Option<Lease>,
    from: Option<&'static str>,
}

#[derive(Default)]
struct Model {
    messages: Vec<Message>,
    sent: usize,
    /// Every lease that was ever given out.
    leases: Vec<Lease>,
    /// Queues that had a message.
    known: HashSet<&'static str>,
}

impl Model {
    /// The messages of a queue in the order in which they are due.
    fn of(&mut self, queue: &str) -> Vec<&mut Message> {
        let mut found: Vec<_> = self.messages.iter_mut().filter(|message| message.queue == queue).collect();
        found.sort_by_key(|message| (message.due_at, message.number));
        found
    }

    fn held_by(&mut self, queue: &str, lease: Lease) -> Option<usize> {
        self.messages.iter().position(|message| message.queue == queue && message.holder == Some(lease))
    }

    fn backlog(&mut self, queue: &str) -> Backlog {
        let found = self.of(queue);
        Backlog {
            messages: found.len() as u64,
            bytes: found.iter().map(|message| message.body.len() as u64).sum(),
            oldest_ms: found.iter().map(|message| message.sent_at).min(),
        }
    }

    fn summaries(&mut self, now: u64) -> Vec<QueueSummary> {
        let mut names: Vec<_> = self.known.iter().copied().collect();
        names.sort_unstable();
        names
            .into_iter()
            .map(|name| {
                let backlog = self.backlog(name);
                let later: Vec<_> = self.of(name).into_iter().filter(|message| message.due_at > now).collect();
                let leased = later.iter().filter(|message| message.holder.is_some()).count() as u64;
                QueueSummary { name: name.to_owned(), backlog, delayed: later.len() as u64 - leased, leased }
            })
            .collect()
    }
}

impl Message {
    fn relocate(&mut self, queue: &'static str, now: u64, from: Option<&'static str>) {
        self.queue = queue;
        self.due_at = now;
        self.attempts = 0;
        self.holder = None;
        self.from = from;
    }
}

fn any_sequence_of_calls_behaves_like_a_list_of_messages(place: &Place) -> Outcome {
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let runs = Cell::new(0);
    TestRunner::new(config)
        .run(&prop::collection::vec(call(), 1..60), |calls| {
            runs.set(runs.get() + 1);
            block_on(play(&place.beside(runs.get()), calls))
        })
        .map_err(|error| Failed::from(error.to_string()))
}

fn call() -> impl Strategy<Value = Call> {
    let queue = || prop::sample::select(QUEUES);
    let leases = || prop::collection::vec(any::<Index>(), 1..5);
    let fate = prop_oneof![
        3 => Just(Fate::Delete),
        2 => prop_oneof![Just(0), 0..50_u64].prop_map(|delay_ms| Fate::Retry { delay_ms }),
        2 => queue().prop_map(|queue| Fate::DeadLetter { queue }),
    ];
    prop_oneof![
        6 => (queue(), prop::collection::vec(prop_oneof![Just(0), 0..50_u64], 1..4))
            .prop_map(|(queue, delays_ms)| Call::Send { queue, delays_ms }),
        6 => (queue(), 0..5_usize, 1..40_u64)
            .prop_map(|(queue, limit, visibility_ms)| Call::Lease { queue, limit, visibility_ms }),
        2 => (queue(), leases(), 1..40_u64)
            .prop_map(|(queue, leases, visibility_ms)| Call::Extend { queue, leases, visibility_ms }),
        6 => (queue(), prop::collection::vec((any::<Index>(), fate), 1..5))
            .prop_map(|(queue, verdicts)| Call::Settle { queue, verdicts }),
        1 => queue().prop_map(|queue| Call::Purge { queue }),
        2 => (queue(), prop::option::of(queue())).prop_map(|(queue, target)| Call::Redrive { queue, target }),
        5 => (1..30_u64).prop_map(|ms| Call::Wait { ms }),
        1 => Just(Call::Reopen),
    ]
}

async fn play(place: &Place, calls: Vec<Call>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut driver = place.driver();
    for call in calls {
        match call {
            Call::Wait { ms } => place.clock.advance_ms(ms),
            Call::Reopen => {
                drop(driver);
                driver = place.driver();
            }
            call => apply(&*driver, &mut model, call, place.clock.now_ms()).await?,
        }
        compare_counts(&*driver, &mut model, place.clock.now_ms()).await?;
    }
    drop(driver);
    compare_messages(&*place.driver(), &mut model, place.clock.now_ms()).await
}

async fn apply(driver: &dyn QueueDriver, model: &mut Model, call: Call, now: u64) -> Result<(), TestCaseError> {
    match call {
        Call::Send { queue, delays_ms } => {
            let mut outgoing = Vec::new();
            for delay_ms in delays_ms {
                let body = format!("message {}", model.sent);
                outgoing.push(delayed(&body, delay_ms));
                model.messages.push(Message {
                    number: model.sent,
                    id: None,
                    body,
                    queue,
                    sent_at: now,
                    due_at: now + delay_ms,
                    attempts: 0,
                    holder: None,
                    from: None,
                });
                model.sent += 1;
            }
            model.known.insert(queue);
            prop_assert_eq!(driver.send(queue, outgoing).await?, model.backlog(queue));
        }
        Call::Lease { queue, limit, visibility_ms } => {
            let visibility = Duration::from_millis(visibility_ms);
            let deliveries = driver.lease(queue, limit, visibility).await?;
            let given: Vec<_> = deliveries.iter().map(|delivery| delivery.lease).collect();
            let due: Vec<_> = model.of(queue).into_iter().filter(|message| message.due_at <= now).take(limit).collect();
            prop_assert_eq!(deliveries.len(), due.len());
            for (delivery, message) in deliveries.into_iter().zip(due) {
                message.attempts += 1;
                message.due_at = now + visibility_ms;
                message.holder = Some(delivery.lease);
                prop_assert_eq!(&delivery.body, message.body.as_bytes());
                prop_assert_eq!((delivery.attempts, delivery.sent_at_ms), (message.attempts, message.sent_at));
                prop_assert_eq!(*message.id.get_or_insert(delivery.id), delivery.id);
            }
            for lease in given {
                prop_assert!(!model.leases.contains(&lease), "a lease was given out twice");
                model.leases.push(lease);
            }
        }
        Call::Extend { .. } | Call::Settle { .. } if model.leases.is_empty() => {}
        Call::Extend { queue, leases, visibility_ms } => {
            let leases: Vec<_> = leases.iter().map(|index| *index.get(&model.leases)).collect();
            driver.extend(queue, &leases, Duration::from_millis(visibility_ms)).await?;
            for lease in leases {
                if let Some(index) = model.held_by(queue, lease) {
                    model.messages[index].due_at = now + visibility_ms;
                }
            }
        }
        Call::Settle { queue, verdicts } => {
            let mut passed_over = 0;
            let mut settlements = Vec::new();
            for (index, fate) in verdicts {
                let lease = *index.get(&model.leases);
                let held = model.held_by(queue, lease);
                passed_over += usize::from(held.is_none());
                let verdict = match &fate {
                    Fate::Delete => Verdict::Delete,
                    Fate::Retry { delay_ms } => Verdict::Retry(Duration::from_millis(*delay_ms)),
                    Fate::DeadLetter { queue } => Verdict::DeadLetter((*queue).to_owned()),
                };
                settlements.push(Settlement { lease, verdict });
                let Some(index) = held else { continue };
                match fate {
                    Fate::Delete => drop(model.messages.remove(index)),
                    Fate::Retry { delay_ms } => {
                        model.messages[index].due_at = now + delay_ms;
                        model.messages[index].holder = None;
                    }
                    Fate::DeadLetter { queue: target } => {
                        model.known.insert(target);
                        model.messages[index].relocate(target, now, Some(queue));
                    }
                }
            }
            prop_assert_eq!(driver.settle(queue, settlements).await?, passed_over);
        }
        Call::Purge { queue } => {
            let before = model.messages.len();
            model.messages.retain(|message| message.queue != queue);
            prop_assert_eq!(driver.purge(queue).await?, (before - model.messages.len()) as u64);
        }
        Call::Redrive { queue, target } => {
            let mut moved = Vec::new();
            for message in model.of(queue) {
                let is_leased = message.holder.is_some() && message.due_at > now;
                let Some(target) = target.or(message.from).filter(|_| !is_leased) else { continue };
                message.relocate(target, now, None);
                moved.push(target);
            }
            prop_assert_eq!(driver.redrive(queue, target).await?, moved.len() as u64);
            model.known.extend(moved);
        }
        Call::Wait { .. } | Call::Reopen => {}
    }
    Ok(())
}

async fn compare_counts(driver: &dyn QueueDriver, model: &mut Model, now: u64) -> Result<(), TestCaseError> {
    for queue in QUEUES {
        prop_assert_eq!(driver.backlog(queue).await?, model.backlog(queue));
        let due = {
            let messages = model.of(queue);
            Due {
                ready: messages.iter().filter(|message| message.due_at <= now).take(3).count(),
                earliest_ms: messages.first().map(|message| message.due_at),
            }
        };
        prop_assert_eq!(driver.due(queue, 3).await?, due);
    }
    Ok(())
}

async fn compare_messages(driver: &dyn QueueDriver, model: &mut Model, now: u64) -> Result<(), TestCaseError> {
    compare_counts(driver, model, now).await?;
    prop_assert_eq!(driver.queues().await?, model.summaries(now));
    for queue in QUEUES {
        let seen = driver.peek(queue, 1000).await?;
        let expected = model.of(queue);
        prop_assert_eq!(seen.len(), expected.len());
        for (seen, message) in seen.iter().zip(expected) {
            prop_assert_eq!(&seen.body, message.body.as_bytes());
            prop_assert_eq!((seen.sent_at_ms, seen.due_at_ms), (message.sent_at, message.due_at));
            prop_assert_eq!(seen.attempts, message.attempts);
            prop_assert_eq!(seen.leased, message.holder.is_some() && message.due_at > now);
            prop_assert_eq!(seen.dead_lettered_from.as_deref(), message.from);
            prop_assert_eq!(*message.id.get_or_insert(seen.id), seen.id);
        }
    }
    Ok(())
}
