//! What the tests play with: a clock, a log, workers, a queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aerostack_bindings::Clock as _;
use aerostack_cron::{CronExpression, Weekdays, WhenMissed};
use aerostack_queue::{ContentType, Decision, Outgoing, QueueBatch, QueueDriver};
use aerostack_scheduler::{
    BatchOutcome, BatchReport, ClockWentBack, Consumer, ConsumerSettings, CronReport, EventTarget, HandlerOutcome,
    ManualTimer, MissedFirings, QueueName, ScheduledEvent, ScheduledOutcome, Scheduler, SchedulerLog, StopReport,
    Trouble,
};
use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::memory_queue::MemoryQueue;

/// 2026-11-24 21:41:00.250 UTC.
pub(crate) const START_MS: u64 = 1_795_556_460_250;
/// The minute of [`START_MS`].
pub(crate) const START_MINUTE_MS: u64 = START_MS - 250;
pub(crate) const MINUTE_MS: u64 = 60_000;
pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// Longer than any chain of tasks that wake each other without time going by.
const TASKS_IN_A_ROW: usize = 100;

pub(crate) struct World {
    pub(crate) timer: Arc<ManualTimer>,
    pub(crate) log: Arc<Log>,
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) folder: TempDir,
    scheduler: Option<Scheduler>,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) cron: Mutex<Vec<CronReport>>,
    pub(crate) missed: Mutex<Vec<MissedFirings>>,
    pub(crate) went_back: Mutex<Vec<ClockWentBack>>,
    pub(crate) batches: Mutex<Vec<BatchReport>>,
    pub(crate) troubles: Mutex<Vec<String>>,
    pub(crate) waits_for: Mutex<Vec<Option<u32>>>,
    pub(crate) took_over: Mutex<Vec<()>>,
}

/// A worker whose handlers wait for the test to end them, unless it says how they all end.
#[derive(Default)]
pub(crate) struct Worker {
    batches: Mutex<Vec<HeldBatch>>,
    events: Mutex<Vec<HeldEvent>>,
    /// What all `queue` handlers decide about each message.
    decision: Mutex<Option<(HandlerOutcome, Decision)>>,
    /// Whether `scheduled` handlers end at once.
    quick: Mutex<bool>,
    seen: Mutex<Vec<ScheduledEvent>>,
}

/// A `queue` handler at work.
pub(crate) struct HeldBatch {
    pub(crate) delivery: QueueBatch,
    answer: oneshot::Sender<BatchOutcome>,
}

/// A `scheduled` handler at work.
pub(crate) struct HeldEvent {
    answer: oneshot::Sender<ScheduledOutcome>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::at(START_MS)
    }

    pub(crate) fn at(now_ms: u64) -> Self {
        let timer = Arc::new(ManualTimer::new(now_ms));
        let mut world = Self {
            log: Arc::default(),
            queue: Arc::new(MemoryQueue::new(timer.clone())),
            folder: tempfile::tempdir().expect("a temporary folder"),
            scheduler: None,
            timer,
        };
        world.start();
        world
    }

    /// Another scheduler over the same folder and queue, as after a restart.
    pub(crate) fn start(&mut self) {
        self.scheduler = Some(Scheduler::new(self.timer.clone(), self.log.clone(), self.folder.path()));
    }

    /// Ends the scheduler as a crash would.
    pub(crate) async fn crash(&mut self) {
        self.scheduler = None;
        settle().await;
    }

    pub(crate) async fn stop(&self, grace: Duration) -> StopReport {
        self.scheduler().stop(grace).await
    }

    pub(crate) fn scheduler(&self) -> &Scheduler {
        self.scheduler.as_ref().expect("it runs")
    }

    pub(crate) fn now(&self) -> u64 {
        self.timer.now_ms()
    }

    /// Lets time go by, stopping wherever somebody waits for.
    pub(crate) async fn advance(&self, by_ms: u64) {
        self.advance_to(self.now() + by_ms).await;
    }

    pub(crate) async fn advance_to(&self, until_ms: u64) {
        loop {
            settle().await;
            match self.timer.next_wake() {
                Some(at_ms) if at_ms <= until_ms => self.timer.set(at_ms),
                _ => break,
            }
        }
        self.timer.set(until_ms);
        settle().await;
    }

    /// Sets the clock without anything happening in between, as when the machine slept.
    pub(crate) async fn jump_to(&self, now_ms: u64) {
        self.timer.set(now_ms);
        settle().await;
    }

    pub(crate) fn triggers(&self, worker: &Arc<Worker>, crons: &[&str]) {
        self.triggers_of("main", worker, crons, WhenMissed::Skip);
    }

    pub(crate) fn triggers_of(&self, name: &str, worker: &Arc<Worker>, crons: &[&str], when_missed: WhenMissed) {
        let parse = |cron: &&str| CronExpression::parse(cron, Weekdays::Unix).expect("an expression");
        self.scheduler().set_triggers(name, worker.clone(), crons.iter().map(parse).collect(), when_missed);
    }

    /// Makes the worker `main` the consumer of the queue `jobs`.
    pub(crate) fn consume(&self, worker: &Arc<Worker>, settings: ConsumerSettings) {
        self.consume_as("main", worker, vec![self.consumer("jobs", settings)]);
    }

    pub(crate) fn consume_as(&self, name: &str, worker: &Arc<Worker>, consumers: Vec<Consumer>) {
        let target: Arc<dyn EventTarget> = worker.clone();
        self.scheduler().set_consumers(name, &target, consumers);
    }

    pub(crate) fn consumer(&self, queue: &str, settings: ConsumerSettings) -> Consumer {
        Consumer { queue: queue_name(queue), driver: self.queue.clone(), settings }
    }

    pub(crate) async fn send(&self, bodies: &[&str]) {
        self.send_to("jobs", bodies, Duration::ZERO).await;
    }

    pub(crate) async fn send_to(&self, queue: &str, bodies: &[&str], delay: Duration) {
        let outgoing = |body: &&str| Outgoing {
            content_type: ContentType::Text,
            body: Bytes::copy_from_slice(body.as_bytes()),
            delay,
        };
        let state = queue_name(queue).state;
        self.queue.send(&state, bodies.iter().map(outgoing).collect()).await.expect("it is sent");
        settle().await;
    }

    /// What is in a queue, leased or not.
    pub(crate) fn left(&self, queue: &str) -> Vec<String> {
        self.queue.bodies(&queue_name(queue).state)
    }

    pub(crate) fn leased(&self, queue: &str) -> usize {
        self.queue.leased(&queue_name(queue).state)
    }
}

impl Log {
    /// The newest report of a batch.
    pub(crate) fn last_batch(&self) -> BatchReport {
        lock(&self.batches).last().expect("a batch has run").clone()
    }

    pub(crate) fn batches(&self) -> usize {
        lock(&self.batches).len()
    }

    pub(crate) fn take_troubles(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.troubles))
    }

    pub(crate) fn take_missed(&self) -> Vec<MissedFirings> {
        std::mem::take(&mut lock(&self.missed))
    }
}

impl SchedulerLog for Log {
    fn cron_ran(&self, report: &CronReport) {
        lock(&self.cron).push(report.clone());
    }

    fn firings_missed(&self, report: &MissedFirings) {
        lock(&self.missed).push(report.clone());
    }

    fn clock_went_back(&self, report: &ClockWentBack) {
        lock(&self.went_back).push(*report);
    }

    fn batch_ran(&self, report: &BatchReport) {
        lock(&self.batches).push(report.clone());
    }

    fn waits_for_process(&self, process: Option<u32>) {
        lock(&self.waits_for).push(process);
    }

    fn took_over(&self) {
        lock(&self.took_over).push(());
    }

    fn trouble(&self, trouble: &Trouble) {
        lock(&self.troubles).push(trouble.to_string());
    }
}

impl Worker {
    /// One whose `queue` handlers all end at once, with the same decision about each message.
    pub(crate) fn deciding(outcome: HandlerOutcome, decision: Decision) -> Arc<Self> {
        let worker = Self::default();
        *lock(&worker.decision) = Some((outcome, decision));
        Arc::new(worker)
    }

    /// One whose handlers all end well at once.
    pub(crate) fn quick() -> Arc<Self> {
        let worker = Self::deciding(HandlerOutcome::Ok, Decision::Undecided);
        *lock(&worker.quick) = true;
        worker
    }

    /// One whose handlers are held.
    pub(crate) fn slow() -> Arc<Self> {
        Arc::default()
    }

    /// The bodies of each batch at work.
    pub(crate) fn at_work(&self) -> Vec<Vec<String>> {
        lock(&self.batches).iter().map(HeldBatch::bodies).collect()
    }

    /// The oldest batch at work.
    pub(crate) fn take_batch(&self) -> HeldBatch {
        let mut batches = lock(&self.batches);
        assert!(!batches.is_empty(), "no batch is at work");
        batches.remove(0)
    }

    pub(crate) fn take_batches(&self) -> Vec<HeldBatch> {
        std::mem::take(&mut lock(&self.batches))
    }

    /// The oldest event at work.
    pub(crate) fn take_event(&self) -> HeldEvent {
        let mut events = lock(&self.events);
        assert!(!events.is_empty(), "no event is at work");
        events.remove(0)
    }

    pub(crate) fn events_at_work(&self) -> usize {
        lock(&self.events).len()
    }

    /// Every event so far, as expression and time.
    pub(crate) fn take_seen(&self) -> Vec<(String, u64)> {
        let seen = std::mem::take(&mut *lock(&self.seen));
        seen.into_iter().map(|event| (event.cron.to_string(), event.scheduled_time_ms)).collect()
    }
}

#[async_trait]
impl EventTarget for Worker {
    async fn scheduled(&self, event: ScheduledEvent) -> ScheduledOutcome {
        lock(&self.seen).push(event);
        if *lock(&self.quick) {
            return ScheduledOutcome { outcome: HandlerOutcome::Ok, no_retry: false, output: Vec::new() };
        }
        let (answer, answered) = oneshot::channel();
        lock(&self.events).push(HeldEvent { answer });
        answered.await.expect("tests answer what they hold")
    }

    async fn queue(&self, delivery: QueueBatch) -> BatchOutcome {
        if let Some((outcome, decision)) = *lock(&self.decision) {
            return BatchOutcome { outcome, decisions: vec![decision; delivery.messages.len()], output: Vec::new() };
        }
        let (answer, answered) = oneshot::channel();
        lock(&self.batches).push(HeldBatch { delivery, answer });
        answered.await.expect("tests answer what they hold")
    }
}

impl HeldBatch {
    pub(crate) fn bodies(&self) -> Vec<String> {
        let messages = self.delivery.messages.iter();
        messages.map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
    }

    pub(crate) fn attempts(&self) -> Vec<u32> {
        self.delivery.messages.iter().map(|message| message.attempts).collect()
    }

    /// Ends the handler.
    pub(crate) async fn end(self, outcome: HandlerOutcome, decisions: &[Decision]) {
        // Nobody listens after a crash.
        let _ = self.answer.send(BatchOutcome { outcome, decisions: decisions.to_vec(), output: Vec::new() });
        settle().await;
    }

    pub(crate) async fn end_well(self) {
        let decisions = vec![Decision::Undecided; self.delivery.messages.len()];
        self.end(HandlerOutcome::Ok, &decisions).await;
    }
}

impl HeldEvent {
    pub(crate) async fn end(self, outcome: HandlerOutcome) {
        self.answer
            .send(ScheduledOutcome { outcome, no_retry: false, output: Vec::new() })
            .expect("the scheduler listens");
        settle().await;
    }
}

/// A test that panicked while it held the lock is the one that failed; the value is of use still.
pub(crate) fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one test on a runtime like that of the binary's main thread.
pub(crate) fn play<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

/// Lets all tasks run until each waits for time or for the test.
pub(crate) async fn settle() {
    for _ in 0..TASKS_IN_A_ROW {
        tokio::task::yield_now().await;
    }
}

/// Every queue has another name in its driver than in the config, as in a mounted project.
pub(crate) fn queue_name(name: &str) -> QueueName {
    QueueName { name: name.into(), state: format!("{name}@shop").into() }
}

/// Batches of three, or of what came within five seconds.
pub(crate) fn settings() -> ConsumerSettings {
    ConsumerSettings {
        max_batch_size: 3,
        max_batch_timeout: Duration::from_secs(5),
        max_retries: 2,
        retry_delay: Duration::ZERO,
        max_concurrency: 1,
        dead_letter_queue: None,
        visibility_timeout: Duration::from_secs(30),
    }
}

/// The same, without waiting for more.
pub(crate) fn at_once() -> ConsumerSettings {
    ConsumerSettings { max_batch_timeout: Duration::ZERO, ..settings() }
}
