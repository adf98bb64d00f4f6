use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::Error;
use aerostack_cron::{Firings, WhenMissed};
use aerostack_queue::MessageId;

use crate::consumer::{ConsumerSettings, Fate};
use crate::target::{BatchOutcome, HandlerOutcome, ScheduledOutcome};

/// Is told of everything that a person at the terminal should read. Called on the scheduler's runtime: must not block.
pub trait SchedulerLog: Send + Sync {
    /// A `scheduled` handler is over.
    fn cron_ran(&self, report: &CronReport);

    /// A trigger did not fire when it should have, because the process was not there or the machine slept.
    fn firings_missed(&self, report: &MissedFirings);

    /// The clock was set back by so much that the cron triggers started over.
    fn clock_went_back(&self, report: &ClockWentBack);

    /// A `queue` handler is over and its messages are settled.
    fn batch_ran(&self, report: &BatchReport);

    /// Another process, whose id is told where it is known, does the background work of the same state folder.
    fn waits_for_process(&self, process: Option<u32>);

    /// That process has ended, and this one does the work from now on.
    fn took_over(&self);

    /// Something the scheduler needs does not work. It goes on trying.
    fn trouble(&self, trouble: &Trouble);
}

/// One run of a `scheduled` handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronReport {
    /// The worker's name.
    pub worker: Arc<str>,
    /// The expression, as the config has it.
    pub cron: Arc<str>,
    /// The minute it stands for, milliseconds since the UNIX epoch.
    pub scheduled_time_ms: u64,
    /// Why it ran.
    pub cause: CronCause,
    /// How it ended.
    pub outcome: ScheduledOutcome,
    /// How long it took.
    pub duration: Duration,
}

/// Why a `scheduled` handler ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CronCause {
    /// Its minute had come.
    OnTime,
    /// Its minute was missed, and the config asks for the latest one.
    CaughtUp,
    /// Somebody asked for it.
    ByHand,
}

/// Firings of one trigger that did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissedFirings {
    /// The worker's name.
    pub worker: Arc<str>,
    /// The expression, as the config has it.
    pub cron: Arc<str>,
    /// How many, and which were the first and the last.
    pub firings: Firings,
    /// What was done about them.
    pub action: WhenMissed,
}

/// The clock shows a time long before one that was handled already, so it was wrong then or is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockWentBack {
    /// The latest minute that was handled, milliseconds since the UNIX epoch.
    pub handled_ms: u64,
    /// What the clock shows now, milliseconds since the UNIX epoch.
    pub now_ms: u64,
}

/// One run of a `queue` handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchReport {
    /// The worker's name.
    pub worker: Arc<str>,
    /// The queue's name, as the config has it.
    pub queue: Arc<str>,
    /// How the handler ended.
    pub outcome: HandlerOutcome,
    /// What became of each message, in the order of the batch.
    pub messages: Vec<MessageReport>,
    /// How many leases had run out before they could be settled: these messages are delivered again, whatever `messages` says.
    pub passed_over: usize,
    /// How long the handler took.
    pub duration: Duration,
    /// What the handler printed, and what failed it, as far as that was not shown yet.
    pub output: Vec<String>,
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageReport {
    /// The message.
    pub id: MessageId,
    /// How often it has been delivered, this time included.
    pub attempts: u32,
    /// After so many it is retried no more.
    pub max_attempts: u32,
    /// What became of it.
    pub fate: Fate,
}

/// What does not work.
#[derive(Debug)]
pub enum Trouble {
    /// A call of a queue's driver failed.
    Queue {
        /// The queue's name, as the config has it.
        queue: Arc<str>,
        /// What the driver was to do: `due`, `backlog`, `lease`, `extend`, `settle`, `release`.
        operation: &'static str,
        /// Why it did not.
        error: Error,
        /// When it is tried again; `None` when it is not, and the messages are delivered again after their leases.
        retry_in: Option<Duration>,
    },
    /// The lock that tells processes over one state folder apart cannot be had: the background work waits for it.
    Ownership {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file that says which cron firings were handled cannot be read or written: after a restart, missed firings are
    /// unknown.
    CronRecord {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl BatchReport {
    /// Messages that are done with.
    pub fn acked(&self) -> usize {
        self.messages.iter().filter(|message| message.fate == Fate::Acked).count()
    }

    /// Messages that are delivered again.
    pub fn retried(&self) -> usize {
        self.messages.iter().filter(|message| matches!(message.fate, Fate::Retried(_))).count()
    }

    /// Messages that moved to the dead-letter queue.
    pub fn dead_lettered(&self) -> usize {
        self.messages.iter().filter(|message| matches!(message.fate, Fate::DeadLettered(_))).count()
    }

    /// Messages that are lost, because their last attempt failed and there is no dead-letter queue.
    pub fn dropped(&self) -> usize {
        self.messages.iter().filter(|message| message.fate == Fate::Dropped).count()
    }

    /// A line for each message that was not acked, in the words that miniflare uses (Cloudflare contract, section 3.3).
    pub fn message_lines(&self) -> Vec<String> {
        self.messages.iter().filter_map(|message| message.line(&self.queue)).collect()
    }
}

impl MessageReport {
    /// What becomes of each message of a batch, given as its id and how often it was delivered.
    pub fn of_batch(
        messages: impl IntoIterator<Item = (MessageId, u32)>,
        outcome: &BatchOutcome,
        settings: &ConsumerSettings,
    ) -> Vec<Self> {
        let report = |(position, (id, attempts))| Self {
            id,
            attempts,
            max_attempts: settings.max_attempts(),
            fate: Fate::of(outcome.decision(position), outcome.outcome, attempts, settings),
        };
        messages.into_iter().enumerate().map(report).collect()
    }

    /// `Retrying message "id" on queue "q"...` and its like; `None` for an acked message.
    pub fn line(&self, queue: &str) -> Option<String> {
        let Self { id, attempts, fate, .. } = self;
        let failed = if *attempts == 1 { "1 failed attempt".to_owned() } else { format!("{attempts} failed attempts") };
        match fate {
            Fate::Acked => None,
            Fate::Retried(_) => Some(format!("Retrying message \"{id}\" on queue \"{queue}\"...")),
            Fate::DeadLettered(dead_letters) => Some(format!(
                "Moving message \"{id}\" on queue \"{queue}\" to dead letter queue \"{}\" after {failed}...",
                dead_letters.name
            )),
            Fate::Dropped => Some(format!("Dropped message \"{id}\" on queue \"{queue}\" after {failed}!")),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { queue, operation, error, retry_in } => {
                write!(formatter, "queue \"{queue}\": {operation} failed: {error}")?;
                match retry_in {
                    Some(retry_in) => write!(formatter, ", trying again in {retry_in:?}"),
                    None => Ok(()),
                }
            }
            Self::Ownership { path, reason } => write!(
                formatter,
                "cannot lock {}: {reason}; cron triggers and queue consumers wait until it can be locked",
                path.display()
            ),
            Self::CronRecord { path, reason } => {
                write!(
                    formatter,
                    "cron triggers: {}: {reason}; firings missed over a restart will not be noticed",
                    path.display()
                )
            }
        }
    }
}
