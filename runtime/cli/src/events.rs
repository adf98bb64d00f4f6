//! Event handlers: how the scheduler reaches a worker, and the lines a person reads about it.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aerostack_cron::{WhenMissed, minute_text};
use aerostack_isolate::{Caller, Event, EventCall, EventReport, Failure, Worker};
use aerostack_queue::QueueBatch;
use aerostack_scheduler::{
    BatchOutcome, BatchReport, ClockWentBack, CronCause, CronReport, EventTarget, Fate, HandlerOutcome, MissedFirings,
    ScheduledEvent, ScheduledOutcome, SchedulerLog, Trouble,
};
use aerostack_telemetry::metrics::{EventOutcome, MessageOutcome, Metrics};
use aerostack_telemetry::{Entry, Level, LogFormat, Role, Terminal};
use async_trait::async_trait;

use crate::logs::{
    LineSink, WorkerLines, exception_entry, exception_text, in_milliseconds, milliseconds, of_caller, printable,
};

/// A worker as the scheduler sees it.
pub(crate) struct WorkerEvents {
    worker: Arc<Worker>,
    terminal: Terminal,
}

/// What an event's handler prints is shown below the line that tells its outcome, unless the handler takes longer than this.
const HELD: Duration = Duration::from_secs(1);

const HUNG: &str = "the handler waits for something that can never happen";

impl WorkerEvents {
    pub(crate) fn new(worker: Arc<Worker>, terminal: Terminal) -> Arc<Self> {
        Arc::new(Self { worker, terminal })
    }

    /// Calls the handler. Its console output and what failed it come back as lines, as far as they are not printed yet.
    pub(crate) async fn run(&self, event: Event) -> (EventReport, Vec<String>) {
        let version = self.worker.version();
        let held = Arc::new(HeldLines { terminal: self.terminal.clone(), held: Mutex::new(Some(Vec::new())) });
        let log = WorkerLines::new(&version.name, held.clone(), self.terminal.clone());
        log.belongs_to(&version);
        let name = event.to_string();
        let mut running = std::pin::pin!(self.worker.event(EventCall { event, log }));
        let report = tokio::select! {
            report = running.as_mut() => report,
            () = tokio::time::sleep(HELD) => {
                held.let_go();
                running.await
            }
        };
        if let Err(failure) = &report.outcome {
            let caller = report.identity.map(|identity| Caller { name: name.clone(), identity });
            let stopped =
                |reason: &str| of_caller(Entry::new(Level::Error, reason).worker(&version.name), caller.as_ref());
            held.line(self.terminal.formatted(
                |paint| match failure {
                    Failure::Exception(error) => indented(&exception_text(paint, None, error, &version)),
                    Failure::Hung => {
                        format!("  {} {}: {HUNG}", paint.paint(Role::Bad, "error"), printable(&name))
                    }
                    Failure::Stopped(reason) | Failure::Overloaded(reason) | Failure::Exceeded(reason) => {
                        format!("  {} {reason}", paint.paint(Role::Bad, "error"))
                    }
                },
                || match failure {
                    Failure::Exception(error) => exception_entry(caller.as_ref(), error, &version.name, Some(&version)),
                    Failure::Hung => stopped(HUNG),
                    Failure::Stopped(reason) | Failure::Overloaded(reason) | Failure::Exceeded(reason) => {
                        stopped(reason)
                    }
                },
            ));
        }
        (report, held.take())
    }
}

#[async_trait]
impl EventTarget for WorkerEvents {
    async fn scheduled(&self, event: ScheduledEvent) -> ScheduledOutcome {
        let ScheduledEvent { cron, scheduled_time_ms } = event;
        let (report, output) = self.run(Event::Scheduled { cron, scheduled_time_ms }).await;
        ScheduledOutcome { outcome: outcome_of(&report), no_retry: report.notes.no_retry, output }
    }

    async fn queue(&self, batch: QueueBatch) -> BatchOutcome {
        let (report, output) = self.run(Event::Queue(batch)).await;
        BatchOutcome { outcome: outcome_of(&report), decisions: report.notes.decisions, output }
    }
}

pub(crate) fn outcome_of(report: &EventReport) -> HandlerOutcome {
    match report.outcome {
        Ok(()) => HandlerOutcome::Ok,
        Err(_) if report.begun => HandlerOutcome::Exception,
        Err(_) => HandlerOutcome::NotRun,
    }
}

fn counted(outcome: HandlerOutcome) -> EventOutcome {
    match outcome {
        HandlerOutcome::Ok => EventOutcome::Ok,
        HandlerOutcome::Exception => EventOutcome::Failed,
        HandlerOutcome::NotRun => EventOutcome::NotRun,
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Lines that wait for the line they belong below.
struct HeldLines {
    terminal: Terminal,
    /// None once they are no longer held.
    held: Mutex<Option<Vec<String>>>,
}

impl HeldLines {
    fn let_go(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.into_iter().flatten().for_each(|line| self.terminal.print(line));
    }

    fn take(&self) -> Vec<String> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

impl LineSink for HeldLines {
    fn line(&self, line: String) {
        match &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => held.push(line),
            None => self.terminal.print(line),
        }
    }
}

/// The scheduler's own lines, and its counts. What handlers did is output; the rest is not.
pub(crate) struct SchedulerLines {
    terminal: Terminal,
    output: Terminal,
    metrics: Arc<Metrics>,
}

impl SchedulerLines {
    pub(crate) fn new(terminal: Terminal, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { output: terminal.output(), terminal, metrics })
    }

    fn print(&self, line: String, below: impl IntoIterator<Item = String>) {
        let mut text = line;
        for line in below {
            let _ = write!(text, "\n{line}");
        }
        self.output.print(text);
    }

    fn outcome(&self, outcome: HandlerOutcome) -> String {
        let paint = self.output.paint();
        match outcome {
            HandlerOutcome::Ok => paint.paint(Role::Good, "ok"),
            HandlerOutcome::Exception => paint.paint(Role::Bad, "failed"),
            HandlerOutcome::NotRun => paint.paint(Role::Bad, "not run"),
        }
    }
}

impl SchedulerLog for SchedulerLines {
    /// `cron 0 * * * * ok 13 ms`
    fn cron_ran(&self, report: &CronReport) {
        self.metrics.cron_ran(&report.worker, counted(report.outcome.outcome));
        let line = self.output.formatted(
            |paint| {
                let cause = match report.cause {
                    CronCause::OnTime => String::new(),
                    CronCause::CaughtUp => format!(", missed at {}", minute_text(report.scheduled_time_ms)),
                    CronCause::ByHand => ", by hand".to_owned(),
                };
                format!(
                    "cron {} {} {}{}",
                    printable(&report.cron),
                    self.outcome(report.outcome.outcome),
                    paint.paint(Role::Quiet, &milliseconds(report.duration)),
                    paint.paint(Role::Quiet, &cause),
                )
            },
            || {
                let cause = match report.cause {
                    CronCause::OnTime => "on_time",
                    CronCause::CaughtUp => "caught_up",
                    CronCause::ByHand => "by_hand",
                };
                let outcome = report.outcome.outcome;
                Entry::new(level(outcome), format!("cron {} {}", report.cron, word(outcome)))
                    .worker(&report.worker)
                    .field("cron", &*report.cron)
                    .field("scheduled_time_ms", report.scheduled_time_ms)
                    .field("cause", cause)
                    .field("outcome", word(outcome))
                    .field("duration_ms", in_milliseconds(report.duration))
            },
        );
        self.print(line, report.outcome.output.iter().cloned());
    }

    fn firings_missed(&self, missed: &MissedFirings) {
        let times = if missed.firings.count == 1 { "firing" } else { "firings" };
        let action = match missed.action {
            WhenMissed::Skip => "skipped",
            WhenMissed::RunLatest => "the latest runs now",
        };
        let text = |word: &str| {
            format!(
                "cron {} {word} {} {times} missed, the last at {}: {action}",
                printable(&missed.cron),
                missed.firings.count,
                minute_text(missed.firings.last_ms),
            )
        };
        self.terminal.print(self.terminal.formatted(
            |paint| text(&paint.paint(Role::Warning, "missed")),
            || {
                Entry::new(Level::Warn, text("missed"))
                    .worker(&missed.worker)
                    .field("cron", &*missed.cron)
                    .field("count", missed.firings.count)
            },
        ));
    }

    fn clock_went_back(&self, report: &ClockWentBack) {
        self.terminal.warn(&format!(
            "the clock went back from {} to {}: cron triggers fire again from there",
            minute_text(report.handled_ms),
            minute_text(report.now_ms),
        ));
    }

    /// `queue local-queue 9/10 acked 22 ms, 1 -> retry 2/4`
    fn batch_ran(&self, report: &BatchReport) {
        self.metrics.batch_ran(&report.queue, counted(report.outcome));
        for (outcome, count) in [
            (MessageOutcome::Acked, report.acked()),
            (MessageOutcome::Retried, report.retried()),
            (MessageOutcome::DeadLettered, report.dead_lettered()),
            (MessageOutcome::Dropped, report.dropped()),
        ] {
            self.metrics.messages_settled(&report.queue, outcome, count);
        }
        let line = self.output.formatted(
            |paint| {
                let acked = format!("{}/{} acked", report.acked(), report.messages.len());
                let all_acked = report.acked() == report.messages.len();
                let mut line = format!(
                    "queue {} {} {}",
                    printable(&report.queue),
                    paint.paint(if all_acked { Role::Good } else { Role::Warning }, &acked),
                    paint.paint(Role::Quiet, &milliseconds(report.duration)),
                );
                for fate in fates(report) {
                    let _ = write!(line, ", {}", paint.paint(Role::Warning, &fate));
                }
                line
            },
            || batch_entry(report),
        );
        let message_lines = match self.output.format() {
            LogFormat::Text => report.message_lines(),
            // They are in the entry.
            LogFormat::Json => Vec::new(),
        };
        let paint = self.output.paint();
        let message_lines = message_lines.into_iter().map(|line| format!("  {}", paint.paint(Role::Quiet, &line)));
        self.print(line, report.output.iter().cloned().chain(message_lines));
    }

    fn waits_for_process(&self, process: Option<u32>) {
        let who = process.map_or("another process".to_owned(), |process| format!("another process ({process})"));
        self.terminal.line(format!(
            "{}: {who} runs the cron triggers and queue consumers of this project; this one will when that ends",
            self.terminal.paint().paint(Role::Warning, "note"),
        ));
    }

    fn took_over(&self) {
        self.terminal.line(format!(
            "{}: that process has ended: cron triggers and queue consumers run here now",
            self.terminal.paint().paint(Role::Warning, "note"),
        ));
    }

    fn trouble(&self, trouble: &Trouble) {
        self.terminal.error(&trouble.to_string());
    }
}

fn batch_entry(report: &BatchReport) -> Entry {
    let (acked, all) = (report.acked(), report.messages.len());
    let mut entry = Entry::new(level(report.outcome), format!("queue {} {acked}/{all} acked", report.queue))
        .worker(&report.worker)
        .field("queue", &*report.queue)
        .field("outcome", word(report.outcome))
        .field("acked", acked)
        .field("retried", report.retried())
        .field("dead_lettered", report.dead_lettered())
        .field("dropped", report.dropped())
        .field("duration_ms", in_milliseconds(report.duration));
    let lines = report.message_lines();
    if !lines.is_empty() {
        entry = entry.field("messages", lines);
    }
    entry
}

/// How an event ended, for programs.
fn word(outcome: HandlerOutcome) -> &'static str {
    match outcome {
        HandlerOutcome::Ok => "ok",
        HandlerOutcome::Exception => "failed",
        HandlerOutcome::NotRun => "not_run",
    }
}

fn level(outcome: HandlerOutcome) -> Level {
    if outcome == HandlerOutcome::Ok { Level::Info } else { Level::Error }
}

/// `1 -> retry 2/4`, `2 -> dead letters`, `1 dropped`: messages of one fate together.
fn fates(report: &BatchReport) -> Vec<String> {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for message in &report.messages {
        let fate = match &message.fate {
            Fate::Acked => continue,
            Fate::Retried(_) => format!("-> retry {}/{}", message.attempts + 1, message.max_attempts),
            Fate::DeadLettered(queue) => format!("-> {}", printable(&queue.name)),
            Fate::Dropped => "dropped".to_owned(),
        };
        match groups.iter_mut().find(|(known, _)| *known == fate) {
            Some((_, count)) => *count += 1,
            None => groups.push((fate, 1)),
        }
    }
    groups.into_iter().map(|(fate, count)| format!("{count} {fate}")).collect()
}
