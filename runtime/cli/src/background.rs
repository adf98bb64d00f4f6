//! The part of a running project that no request starts: cron triggers, queue consumers, and running either by hand.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aerostack_bindings::{Clock, Error, Lazy, SystemClock};
use aerostack_config::{ConsumerKind, QueueConsumer, ResourceName, Worker as WorkerConfig};
use aerostack_cron::{CronExpression, minute_text};
use aerostack_isolate::{Event, HandlerSet, Worker};
use aerostack_queue::{
    Backlog, ContentType, Decision, Delivery, Lease, MessageId, NamedQueue, QueueBatch, QueueDriver,
};
use aerostack_scheduler::{
    Consumer, ConsumerSettings, EventTarget, HandlerOutcome, QueueName, Scheduler, StopReport, SystemTimer,
};
use aerostack_server::{
    QueueResult, QueueTrigger, RetriedMessage, ScheduledResult, ScheduledTrigger, TriggerRefused, TriggeredMessage,
    Triggers,
};
use aerostack_telemetry::metrics::Metrics;
use aerostack_telemetry::{Role, Terminal};
use async_trait::async_trait;

use crate::events::{SchedulerLines, WorkerEvents, outcome_of};

/// What a queue's consumer does where the config does not say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConsumerDefaults {
    /// How long messages wait for a batch to fill.
    pub(crate) batch_timeout: Duration,
    /// How many batches are at work at a time.
    pub(crate) concurrency: usize,
}

/// Cron triggers and queue consumers of the loaded workers.
pub(crate) struct Background {
    scheduler: Scheduler,
    consumed: Arc<ConsumedQueues>,
    terminal: Terminal,
    consumer_defaults: ConsumerDefaults,
    workers: Mutex<Vec<EventWorker>>,
    /// What people were told that a reload need not repeat.
    noted: Mutex<HashSet<String>>,
}

/// The background of the process, which another one replaces where its state was removed.
pub(crate) struct CurrentBackground(Mutex<Arc<Background>>);

impl CurrentBackground {
    pub(crate) fn new(background: Arc<Background>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(background)))
    }

    pub(crate) fn current(&self) -> Arc<Background> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, background: Arc<Background>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = background;
    }
}

#[async_trait]
impl Triggers for CurrentBackground {
    async fn scheduled(&self, trigger: ScheduledTrigger) -> Result<ScheduledResult, TriggerRefused> {
        self.current().scheduled(trigger).await
    }

    async fn queue(&self, trigger: QueueTrigger) -> Result<QueueResult, TriggerRefused> {
        self.current().queue(trigger).await
    }
}

/// What is known of a loaded worker.
struct EventWorker {
    name: String,
    events: Arc<WorkerEvents>,
    handlers: HandlerSet,
    /// Its first cron expression.
    first_cron: Option<Arc<str>>,
    /// The queues it consumes, and how.
    queues: Vec<(ResourceName, ConsumerSettings)>,
}

/// Which queues have a consumer, so that whoever sends to another is told once.
#[derive(Default)]
pub(crate) struct ConsumedQueues {
    consumed: Mutex<HashMap<String, HashSet<String>>>,
    told: Mutex<HashSet<String>>,
}

impl ConsumedQueues {
    /// Told of every send.
    pub(crate) fn sent(&self, queue: &NamedQueue, terminal: &Terminal) {
        if self.lock().values().any(|queues| queues.contains(&queue.queue)) {
            return;
        }
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(queue.queue.clone()) {
            let (paint, name) = (terminal.paint(), &queue.queue);
            terminal.line(format!(
                "{}: queue {name} has no consumer: messages stay in it. Export a `queue` handler, or look with `aerostack queue peek --queue {name}`",
                paint.paint(Role::Warning, "note"),
            ));
        }
    }

    fn set(&self, worker: &str, queues: HashSet<String>) {
        self.lock().insert(worker.to_owned(), queues);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashSet<String>>> {
        self.consumed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Background {
    /// Nothing runs yet.
    pub(crate) fn new(
        terminal: &Terminal,
        metrics: Arc<Metrics>,
        state_folder: &Path,
        consumed: Arc<ConsumedQueues>,
        consumer_defaults: ConsumerDefaults,
    ) -> Arc<Self> {
        let log = SchedulerLines::new(terminal.clone(), metrics);
        Arc::new(Self {
            scheduler: Scheduler::new(Arc::new(SystemTimer), log, state_folder),
            consumed,
            terminal: terminal.clone(),
            consumer_defaults,
            workers: Mutex::new(Vec::new()),
            noted: Mutex::default(),
        })
    }

    /// Takes over a worker that was just loaded or replaced: its triggers and consumers are those of `config` from now on.
    /// `configured` are the queues for which some entry of the config names a consumer.
    pub(crate) fn loaded(
        &self,
        config: &WorkerConfig,
        worker: &Arc<Worker>,
        configured: &[ResourceName],
        driver: &Lazy<dyn QueueDriver>,
    ) -> Result<(), Error> {
        let handlers = worker.handlers();
        let events = WorkerEvents::new(worker.clone(), self.terminal.output());
        let target: Arc<dyn EventTarget> = events.clone();
        let mut triggers: Vec<CronExpression> = config.triggers.crons.iter().map(|cron| cron.value.clone()).collect();
        if !triggers.is_empty() && !handlers.scheduled {
            self.warn(&format!(
                "{} has cron triggers and exports no `scheduled` handler: they do not fire",
                config.name
            ));
            triggers.clear();
        }
        self.note_unused(config, worker);
        let first_cron = triggers.first().map(|cron| cron.text().clone());
        self.scheduler.set_triggers(&config.name, target.clone(), triggers, config.triggers.missed);

        let consumers = self.consumers(config, handlers, configured);
        let queues: Vec<(ResourceName, ConsumerSettings)> =
            consumers.iter().map(|consumer| (consumer.queue.clone(), self.settings(consumer))).collect();
        self.consumed.set(&config.name, queues.iter().map(|(queue, _)| queue.state.clone()).collect());
        let consumer = |(queue, settings): &(ResourceName, ConsumerSettings)| {
            Ok(Consumer { queue: queue_name(queue), driver: driver.get()?.clone(), settings: settings.clone() })
        };
        let consumers = queues.iter().map(consumer).collect::<Result<Vec<_>, Error>>()?;
        self.scheduler.set_consumers(&config.name, &target, consumers);

        let known = EventWorker { name: config.name.clone(), events, handlers, first_cron, queues };
        let mut workers = self.workers();
        match workers.iter_mut().find(|other| other.name == known.name) {
            Some(other) => *other = known,
            None => workers.push(known),
        }
        Ok(())
    }

    /// Tells once of handlers that nothing calls.
    fn note_unused(&self, config: &WorkerConfig, worker: &Worker) {
        let name = &config.name;
        let mut notes = Vec::new();
        if worker.handlers().scheduled && config.triggers.crons.is_empty() {
            notes.push(format!(
                "{name} exports `scheduled`, and no cron trigger calls it: \
                 add `[triggers] crons = [\"*/5 * * * *\"]` to the config"
            ));
        }
        for misspelled in worker.misspelled_handlers() {
            let (given, meant) = (&misspelled.name, misspelled.meant);
            notes.push(format!("{name} exports `{given}`, which no event calls: did you mean `{meant}`?"));
        }
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        for note in notes {
            if noted.insert(note.clone()) {
                self.terminal.line(format!("{}: {note}", self.terminal.paint().paint(Role::Warning, "note")));
            }
        }
    }

    /// Forgets workers that the config has no more.
    pub(crate) fn keep_only(&self, is_kept: impl Fn(&str) -> bool) {
        self.workers().retain(|worker| {
            let kept = is_kept(&worker.name);
            if !kept {
                self.scheduler.remove_worker(&worker.name);
                self.consumed.set(&worker.name, HashSet::new());
            }
            kept
        });
    }

    /// Takes no more work and lets handlers at work end.
    pub(crate) async fn stop(&self, grace: Duration) -> StopReport {
        self.scheduler.stop(grace).await
    }

    /// Lines of the start table: each schedule in words with its next firing, and who consumes what.
    pub(crate) fn described(&self, config: &WorkerConfig) -> Vec<[String; 4]> {
        let now_ms = SystemClock.now_ms();
        let mut lines = Vec::new();
        let workers = self.workers();
        let Some(worker) = workers.iter().find(|worker| worker.name == config.name) else { return lines };
        for cron in config.triggers.crons.iter().map(|cron| &cron.value) {
            let next = match cron.next_after(now_ms) {
                Some(next) if worker.handlers.scheduled => format!("next {}", minute_text(next)),
                _ => "never".to_owned(),
            };
            lines.push([cron.text().to_string(), "cron".to_owned(), cron.describe(), next]);
        }
        for (queue, settings) in &worker.queues {
            let timeout = settings.max_batch_timeout.as_secs();
            let dead_letters = settings.dead_letter_queue.as_ref().map_or("dropped", |queue| &queue.name);
            let retries = match settings.max_retries {
                1 => "1 retry".to_owned(),
                retries => format!("{retries} retries"),
            };
            let batches = format!("up to {} messages, {timeout} s, {retries}", settings.max_batch_size);
            lines.push([queue.name.clone(), "consumer".to_owned(), batches, format!("then {dead_letters}")]);
        }
        lines
    }

    /// What the worker consumes: what the config says, else its own `QUEUE` (DESIGN, decisions).
    fn consumers(
        &self,
        config: &WorkerConfig,
        handlers: HandlerSet,
        configured: &[ResourceName],
    ) -> Vec<QueueConsumer> {
        let of_worker = config.consumers.iter().filter(|consumer| consumer.kind == ConsumerKind::Worker);
        let mut consumers: Vec<QueueConsumer> = of_worker.cloned().collect();
        if !handlers.queue {
            for consumer in &consumers {
                let (worker, queue) = (&config.name, &consumer.queue.name);
                self.warn(&format!(
                    "{worker} is the consumer of queue {queue} and exports no `queue` handler: messages stay in it"
                ));
            }
            return Vec::new();
        }
        let queues = &config.bindings.queues;
        let own = queues.iter().find(|queue| queue.binding == "QUEUE").or(match queues.as_slice() {
            [only] => Some(only),
            _ => None,
        });
        let Some(own) = own.filter(|own| !configured.contains(&own.queue)) else { return consumers };
        let taken = self
            .workers()
            .iter()
            .find(|other| other.name != config.name && other.queues.iter().any(|(queue, _)| *queue == own.queue))
            .map(|other| other.name.clone());
        match taken {
            None => consumers.push(QueueConsumer::implicit(own.queue.clone())),
            Some(other) => {
                let (worker, queue) = (&config.name, &own.queue.name);
                self.warn(&format!(
                    "{worker} exports `queue`, and so does {other}, which consumes their queue {queue}: say in [[queues.consumers]] who does"
                ));
            }
        }
        consumers
    }

    fn settings(&self, consumer: &QueueConsumer) -> ConsumerSettings {
        let settings = &consumer.settings;
        let defaults = self.consumer_defaults;
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        ConsumerSettings {
            max_batch_size: settings.max_batch_size as usize,
            max_batch_timeout: settings.max_batch_timeout.map_or(defaults.batch_timeout, seconds),
            max_retries: settings.max_retries,
            retry_delay: seconds(settings.retry_delay),
            max_concurrency: settings.max_concurrency.map_or(defaults.concurrency, |batches| batches as usize),
            dead_letter_queue: settings.dead_letter_queue.as_ref().map(queue_name),
            visibility_timeout: Duration::from_millis(u64::from(settings.visibility_timeout_ms)),
        }
    }

    fn warn(&self, text: &str) {
        self.terminal.warn(text);
    }

    fn workers(&self) -> MutexGuard<'_, Vec<EventWorker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker that a trigger means: the one it names, else the only one that has the handler.
    fn chosen<T>(
        &self,
        wanted: Option<&str>,
        handler: &str,
        has: impl Fn(&EventWorker) -> bool,
        take: impl FnOnce(&EventWorker) -> T,
    ) -> Result<T, TriggerRefused> {
        let workers = self.workers();
        if let Some(wanted) = wanted {
            let named = workers.iter().find(|worker| worker.name == wanted);
            let named = named.ok_or_else(|| TriggerRefused(format!("there is no worker {wanted:?}")))?;
            if !has(named) {
                return Err(TriggerRefused(format!("Handler does not export a {handler}() function.")));
            }
            return Ok(take(named));
        }
        let able: Vec<&EventWorker> = workers.iter().filter(|worker| has(worker)).collect();
        match able.as_slice() {
            [] => Err(TriggerRefused(format!("no worker exports a {handler}() function"))),
            [only] => Ok(take(only)),
            several => {
                let names: Vec<&str> = several.iter().map(|worker| worker.name.as_str()).collect();
                Err(TriggerRefused(format!("say which with ?worker=: {}", names.join(", "))))
            }
        }
    }
}

#[async_trait]
impl Triggers for Background {
    async fn scheduled(&self, trigger: ScheduledTrigger) -> Result<ScheduledResult, TriggerRefused> {
        let ScheduledTrigger { worker, cron, time_ms } = trigger;
        let (worker, first_cron) = self.chosen(
            worker.as_deref(),
            "scheduled",
            |worker| worker.handlers.scheduled,
            |worker| (worker.name.clone(), worker.first_cron.clone()),
        )?;
        let cron = cron.map(Arc::from).or(first_cron).unwrap_or_else(|| Arc::from(""));
        let time_ms = time_ms.unwrap_or_else(|| SystemClock.now_ms());
        match self.scheduler.run_now(&worker, &cron, time_ms).await {
            Ok(outcome) => {
                Ok(ScheduledResult { succeeded: outcome.outcome == HandlerOutcome::Ok, no_retry: outcome.no_retry })
            }
            Err(error) => Err(TriggerRefused(error.to_string())),
        }
    }

    async fn queue(&self, trigger: QueueTrigger) -> Result<QueueResult, TriggerRefused> {
        let QueueTrigger { worker, queue, messages } = trigger;
        if !(1..=100).contains(&messages.len()) {
            return Err(TriggerRefused("a batch has 1 to 100 messages".to_owned()));
        }
        let (events, own) = self.chosen(
            worker.as_deref(),
            "queue",
            |worker| worker.handlers.queue,
            |worker| (worker.events.clone(), worker.queues.first().map(|(queue, _)| queue.name.clone())),
        )?;
        let queue = queue.or(own).unwrap_or_else(|| "queue".to_owned());
        let deliveries = messages.into_iter().enumerate().map(delivery).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<String> = deliveries.iter().map(|message| message.id.to_string()).collect();
        let batch = QueueBatch { queue: queue.into(), messages: deliveries, backlog: Backlog::default() };
        let (report, output) = events.run(Event::Queue(batch)).await;
        let terminal = self.terminal.output();
        for line in output {
            terminal.print(line);
        }
        let mut result = QueueResult { outcome: "ok", explicit_acks: Vec::new(), retry_messages: Vec::new() };
        if outcome_of(&report) != HandlerOutcome::Ok {
            result.outcome = "exception";
        }
        for (id, decision) in ids.into_iter().zip(report.notes.decisions) {
            match decision {
                Decision::Undecided => {}
                Decision::Ack => result.explicit_acks.push(id),
                Decision::Retry(delay) => {
                    let delay_seconds = delay.map(|delay| delay.as_secs());
                    result.retry_messages.push(RetriedMessage { msg_id: id, delay_seconds });
                }
            }
        }
        Ok(result)
    }
}

/// A message that never was in a queue: its lease names nothing.
fn delivery((place, message): (usize, TriggeredMessage)) -> Result<Delivery, TriggerRefused> {
    let now_ms = SystemClock.now_ms();
    let id = match &message.id {
        None => (u128::from(now_ms) << 80) + place as u128,
        Some(text) => match u128::from_str_radix(text, 16) {
            Ok(id) if text.len() == 32 => id,
            _ => return Err(TriggerRefused(format!("messages[{place}].id is {text:?}, not 32 hexadecimal digits"))),
        },
    };
    Ok(Delivery {
        lease: Lease { message: place as u64, token: 0 },
        id: MessageId(id.to_be_bytes()),
        sent_at_ms: message.timestamp.unwrap_or(now_ms),
        attempts: message.attempts.unwrap_or(1),
        content_type: ContentType::Json,
        body: message.body.to_string().into(),
    })
}

fn queue_name(queue: &ResourceName) -> QueueName {
    QueueName { name: queue.name.as_str().into(), state: queue.state.as_str().into() }
}
