//! Random interleavings of everything that can happen to a queue, against what must hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aerostack_queue::{Decision, MessageId};
use aerostack_scheduler::{ConsumerSettings, Fate, HandlerOutcome};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::world::{HeldBatch, Worker, World, lock, play, queue_name};

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    Send {
        messages: usize,
        delay: Duration,
    },
    Advance(u64),
    /// One of the handlers at work ends.
    End {
        which: prop::sample::Index,
        outcome: HandlerOutcome,
        decisions: Vec<Decision>,
    },
    /// The next calls of an operation fail.
    Fail {
        operation: &'static str,
        times: usize,
    },
    /// The process dies, and another starts.
    Crash,
    /// The process stops with a little grace, and another starts.
    Stop,
    /// The worker is loaded again.
    Reload,
    /// The consumer is taken out of the config, or put back.
    Consume(Presence),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
}

/// What is known about one message.
#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Nobody may have it before.
    Waiting { not_before_ms: u64 },
    /// A handler has it.
    AtWork { since_ms: u64 },
    /// Its handler decided, and that is not written yet.
    Decided { since_ms: u64, fate: Fate },
    /// It is never delivered again.
    Gone(Fate),
    /// It is never delivered again, unless its lease had run out before that was written.
    GonePerhaps(Fate),
}

#[derive(Debug)]
struct Known {
    attempts: u32,
    state: State,
}

struct Play {
    world: World,
    worker: Arc<Worker>,
    settings: ConsumerSettings,
    presence: Presence,
    held: Vec<HeldBatch>,
    known: BTreeMap<String, Known>,
    bodies: HashMap<MessageId, String>,
    reports_seen: usize,
    /// Whether leases may have run out under a living handler.
    extends_failed: bool,
}

const OPERATIONS: &[&str] = &["due", "backlog", "lease", "extend", "settle"];

#[test]
fn whatever_happens_no_message_is_lost_nor_given_to_two() {
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    runner
        .run(&(settings(), prop::collection::vec(step(), 1..60)), |(settings, steps)| play(run(settings, steps)))
        .unwrap_or_else(|failure| panic!("{failure}"));
}

async fn run(settings: ConsumerSettings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let worker = Worker::slow();
    let mut game = Play {
        world: World::new(),
        worker,
        settings,
        presence: Presence::Present,
        held: Vec::new(),
        known: BTreeMap::new(),
        bodies: HashMap::new(),
        reports_seen: 0,
        extends_failed: false,
    };
    game.consume();
    for step in steps {
        game.step(step).await?;
        game.observe()?;
    }
    game.finish().await
}

impl Play {
    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Send { messages, delay } => {
                let now_ms = self.world.now();
                let first = self.known.len();
                let bodies: Vec<String> = (first..first + messages).map(|number| format!("{number:03}")).collect();
                for body in &bodies {
                    let state = State::Waiting { not_before_ms: now_ms + milliseconds(delay) };
                    self.known.insert(body.clone(), Known { attempts: 0, state });
                }
                let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
                self.world.send_to("jobs", &bodies, delay).await;
            }
            Step::Advance(by_ms) => self.advance(by_ms).await?,
            Step::End { which, outcome, decisions } => {
                if !self.held.is_empty() {
                    let batch = self.held.remove(which.index(self.held.len()));
                    self.end(batch, outcome, &decisions).await;
                }
            }
            Step::Fail { operation, times } => {
                self.extends_failed |= operation == "extend";
                self.world.queue.fail(operation, times);
            }
            Step::Crash => {
                self.world.crash().await;
                self.observe()?;
                self.forget_held();
                self.world.start();
                self.consume();
            }
            Step::Stop => {
                self.world.queue.mend();
                let (_, ()) = tokio::join!(self.world.stop(Duration::from_secs(1)), self.world.advance(1_001));
                self.observe()?;
                self.world.crash().await;
                self.forget_held();
                // What was at work was given back.
                for known in self.known.values_mut() {
                    if let State::Waiting { not_before_ms } = &mut known.state
                        && *not_before_ms > self.world.now()
                        && known.attempts > 0
                    {
                        *not_before_ms = 0;
                    }
                }
                self.world.start();
                self.consume();
            }
            Step::Reload => self.consume(),
            Step::Consume(presence) => {
                self.presence = presence;
                self.consume();
            }
        }
        self.world.advance(0).await;
        Ok(())
    }

    fn consume(&self) {
        let consumers = match self.presence {
            Presence::Present => vec![self.world.consumer("jobs", self.settings.clone())],
            Presence::Absent => Vec::new(),
        };
        self.world.consume_as("main", &self.worker, consumers);
    }

    /// In small steps, so that what is delivered is seen about when it is.
    async fn advance(&mut self, by_ms: u64) -> Result<(), TestCaseError> {
        let until_ms = self.world.now() + by_ms;
        while self.world.now() < until_ms {
            let next_ms = self.world.timer.next_wake().unwrap_or(until_ms).clamp(self.world.now() + 1, until_ms);
            self.world.advance_to(next_ms).await;
            self.observe()?;
        }
        Ok(())
    }

    async fn end(&mut self, batch: HeldBatch, outcome: HandlerOutcome, decisions: &[Decision]) {
        let bodies = batch.bodies();
        let attempts = batch.attempts();
        let decisions: Vec<Decision> = decisions.iter().copied().cycle().take(bodies.len()).collect();
        for ((body, attempts), decision) in bodies.iter().zip(attempts).zip(&decisions) {
            let known = self.known.get_mut(body).expect("it was sent");
            // A handler whose lease ran out decides nothing: its message is somebody else's by now.
            if let State::AtWork { since_ms } = known.state
                && known.attempts == attempts
            {
                let fate = expected_fate(*decision, outcome, attempts, &self.settings);
                known.state = State::Decided { since_ms, fate };
            }
        }
        batch.end(outcome, &decisions).await;
    }

    /// Handlers at work died with their process; their messages are hidden for the visibility timeout since then, at least.
    fn forget_held(&mut self) {
        self.held.clear();
        self.worker.take_batches();
        let visibility_ms = milliseconds(self.settings.visibility_timeout);
        for known in self.known.values_mut() {
            if let State::AtWork { since_ms } | State::Decided { since_ms, .. } = known.state {
                known.state = State::Waiting { not_before_ms: since_ms + visibility_ms };
            }
        }
    }

    /// Takes note of what was delivered and what was written since the last look.
    fn observe(&mut self) -> Result<(), TestCaseError> {
        let now_ms = self.world.now();
        let reports = lock(&self.world.log.batches)[self.reports_seen..].to_vec();
        self.reports_seen += reports.len();
        for report in &reports {
            for message in &report.messages {
                let body = &self.bodies[&message.id];
                let known = self.known.get_mut(body).expect("it was sent");
                let State::Decided { fate, .. } = &known.state else {
                    prop_assert!(report.passed_over > 0, "{body} was settled by {report:?}, and is {known:?}");
                    continue;
                };
                if known.attempts != message.attempts {
                    prop_assert!(report.passed_over > 0);
                    continue;
                }
                prop_assert_eq!(fate, &message.fate);
                known.state = match fate {
                    Fate::Retried(_) if report.passed_over > 0 => State::Waiting { not_before_ms: 0 },
                    Fate::Retried(delay) => State::Waiting { not_before_ms: now_ms + milliseconds(*delay) },
                    // Some of the batch were somebody else's again; which, the report does not say.
                    fate if report.passed_over > 0 => State::GonePerhaps(fate.clone()),
                    fate => State::Gone(fate.clone()),
                };
            }
        }
        for batch in self.worker.take_batches() {
            prop_assert!((1..=self.settings.max_batch_size).contains(&batch.bodies().len()));
            for (message, body) in batch.delivery.messages.iter().zip(batch.bodies()) {
                self.bodies.insert(message.id, body.clone());
                let known = self.known.get_mut(&body).expect("it was sent");
                match &known.state {
                    State::Waiting { not_before_ms } => {
                        prop_assert!(*not_before_ms <= now_ms, "{body} came early: {known:?}, now {now_ms}");
                    }
                    // Its lease could not be prolonged.
                    State::AtWork { .. } | State::Decided { .. } | State::GonePerhaps(_) if self.extends_failed => {}
                    state => prop_assert!(false, "{body} was delivered and is {state:?}"),
                }
                known.attempts += 1;
                prop_assert_eq!(known.attempts, message.attempts, "{}", body);
                known.state = State::AtWork { since_ms: now_ms };
            }
            self.held.push(batch);
        }
        Ok(())
    }

    /// Ends all handlers well until nothing is left: every message came to an end, and the dead letters are where they should be.
    async fn finish(mut self) -> Result<(), TestCaseError> {
        self.world.queue.mend();
        self.presence = Presence::Present;
        self.consume();
        for _ in 0..1_000 {
            while let Some(batch) = self.held.pop() {
                self.end(batch, HandlerOutcome::Ok, &[Decision::Undecided]).await;
                self.observe()?;
            }
            if self.world.left("jobs").is_empty() {
                break;
            }
            self.advance(10_000).await?;
        }
        prop_assert!(self.world.left("jobs").is_empty(), "left: {:?}", self.world.left("jobs"));
        let dead = self.world.left("dead");
        for (body, known) in &self.known {
            match &known.state {
                State::Gone(Fate::DeadLettered(_)) => prop_assert!(dead.contains(body), "{body}"),
                State::Gone(_) => prop_assert!(!dead.contains(body), "{body}"),
                State::GonePerhaps(_) => {}
                state => prop_assert!(false, "{body} is {state:?} at the end"),
            }
        }
        Ok(())
    }
}

/// Section 3.3 of the Cloudflare contract, told in another way than the scheduler does.
fn expected_fate(decision: Decision, outcome: HandlerOutcome, attempts: u32, settings: &ConsumerSettings) -> Fate {
    let fails = match decision {
        Decision::Ack => false,
        Decision::Retry(_) => true,
        Decision::Undecided => outcome == HandlerOutcome::Exception,
    };
    match &settings.dead_letter_queue {
        _ if !fails => Fate::Acked,
        Some(queue) if attempts > settings.max_retries => Fate::DeadLettered(queue.clone()),
        None if attempts > settings.max_retries => Fate::Dropped,
        _ => match decision {
            Decision::Retry(Some(delay)) => Fate::Retried(delay),
            _ => Fate::Retried(settings.retry_delay),
        },
    }
}

fn settings() -> impl Strategy<Value = ConsumerSettings> {
    let dead_letter_queue = prop_oneof![Just(None), Just(Some(queue_name("dead")))];
    (1_usize..5, 0_u64..3, 0_u32..4, 0_u64..3, 1_usize..4, dead_letter_queue).prop_map(
        |(max_batch_size, timeout, max_retries, retry_delay, max_concurrency, dead_letter_queue)| ConsumerSettings {
            max_batch_size,
            max_batch_timeout: Duration::from_millis(timeout * 700),
            max_retries,
            retry_delay: Duration::from_millis(retry_delay * 900),
            max_concurrency,
            dead_letter_queue,
            visibility_timeout: Duration::from_secs(3),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let delay = prop_oneof![3 => Just(0), 1 => 1_u64..4_000].prop_map(Duration::from_millis);
    let retry_delay = prop_oneof![Just(None), (0_u64..5_000).prop_map(|delay| Some(Duration::from_millis(delay)))];
    let decision = prop_oneof![Just(Decision::Undecided), Just(Decision::Ack), retry_delay.prop_map(Decision::Retry),];
    let outcome = prop_oneof![Just(HandlerOutcome::Ok), Just(HandlerOutcome::Exception)];
    let operation = prop::sample::select(OPERATIONS);
    prop_oneof![
        6 => (1_usize..6, delay).prop_map(|(messages, delay)| Step::Send { messages, delay }),
        6 => (1_u64..4_000).prop_map(Step::Advance),
        8 => (any::<prop::sample::Index>(), outcome, prop::collection::vec(decision, 1..5))
            .prop_map(|(which, outcome, decisions)| Step::End { which, outcome, decisions }),
        2 => (operation, 1_usize..4).prop_map(|(operation, times)| Step::Fail { operation, times }),
        1 => Just(Step::Crash),
        1 => Just(Step::Stop),
        1 => Just(Step::Reload),
        1 => prop_oneof![Just(Presence::Present), Just(Presence::Absent)].prop_map(Step::Consume),
    ]
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("it is short")
}
