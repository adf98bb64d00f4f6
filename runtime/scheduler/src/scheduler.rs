use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aerostack_cron::{CronExpression, WhenMissed};
use aerostack_queue::QueueDriver;
use tokio::sync::watch;

use crate::consumer::{Consumer, QueueName, Role, consume};
use crate::cron::CronRunner;
use crate::log::SchedulerLog;
use crate::ownership::Ownership;
use crate::shared::{CutOff, Phase, Shared};
use crate::target::{EventTarget, ScheduledOutcome};
use crate::tasks::Tasks;
use crate::timer::Timer;

/// Runs the cron triggers and queue consumers of a process, as tasks of the tokio runtime it is made in.
///
/// The setters may be called at any time on that runtime, after every reload for instance: they replace what the worker
/// had. What is at work goes on and ends on the target it began with. Dropping a scheduler ends it as a crash would;
/// [`Scheduler::stop`] is the polite way.
pub struct Scheduler {
    shared: Arc<Shared>,
    /// The tasks that find work.
    loops: Tasks,
    cron: Arc<CronRunner>,
    consumers: Mutex<HashMap<ConsumerKey, RunningConsumer>>,
}

/// What [`Scheduler::stop`] had to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StopReport {
    /// `scheduled` handlers that were still at work.
    pub cron_runs_cut_off: usize,
    /// `queue` handlers that were still at work, and batches whose outcome could not be written.
    pub batches_cut_off: usize,
    /// Messages given back to their queues, due at once.
    pub messages_released: usize,
}

/// Why [`Scheduler::run_now`] has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunNowError {
    /// No triggers were ever set for a worker of this name, not even none.
    #[error("there is no worker \"{0}\"")]
    UnknownWorker(String),
    /// The scheduler stopped before the handler ended, or the call of the handler panicked.
    #[error("the handler was given up before it ended")]
    GivenUp,
}

/// A queue of one driver, which lives as long as the consumer holds it.
#[derive(PartialEq, Eq, Hash)]
struct ConsumerKey {
    driver: usize,
    queue: QueueName,
}

struct RunningConsumer {
    worker: Arc<str>,
    role: watch::Sender<Option<Role>>,
}

/// How long messages may take to be given back after the grace of a stop is over.
const RELEASE_TIME: Duration = Duration::from_secs(2);

impl Scheduler {
    /// A scheduler without work, on the tokio runtime this is called in. It keeps which cron firings were handled in
    /// `<state_folder>/cron/handled`.
    ///
    /// With its first trigger or consumer it takes `<state_folder>/background.lock`. Where another process has it, all work but
    /// [`Scheduler::run_now`] waits until that process ends.
    pub fn new(timer: Arc<dyn Timer>, log: Arc<dyn SchedulerLog>, state_folder: &Path) -> Self {
        let ownership = Ownership::new(state_folder, Arc::clone(&log));
        let shared = Arc::new(Shared {
            timer,
            log,
            ownership,
            phase: watch::Sender::new(Phase::Running),
            work: Tasks::default(),
            cut_off: CutOff::default(),
        });
        let cron = Arc::new(CronRunner::new(Arc::clone(&shared), state_folder));
        let loops = Tasks::default();
        loops.spawn(Arc::clone(&cron).run());
        Self { shared, loops, cron, consumers: Mutex::new(HashMap::new()) }
    }

    /// Replaces the cron triggers of a worker; unchanged ones go on where they were. Firings that a trigger missed since an
    /// earlier process handled it are reported soon after. Without triggers, the worker is known to [`Scheduler::run_now`]
    /// only.
    pub fn set_triggers(
        &self,
        worker: &str,
        target: Arc<dyn EventTarget>,
        triggers: Vec<CronExpression>,
        when_missed: WhenMissed,
    ) {
        let has_work = !triggers.is_empty();
        self.cron.set(&worker.into(), target, triggers, when_missed);
        if has_work {
            self.claim();
        }
    }

    /// Replaces the queue consumers of a worker. A queue has one consumer: one that another worker had moves to this one.
    pub fn set_consumers(&self, worker: &str, target: &Arc<dyn EventTarget>, consumers: Vec<Consumer>) {
        if !consumers.is_empty() {
            self.claim();
        }
        let worker: Arc<str> = worker.into();
        let mut running = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: HashMap<ConsumerKey, Consumer> =
            consumers.into_iter().map(|consumer| (ConsumerKey::of(&consumer), consumer)).collect();
        running.retain(|key, consumer| consumer.worker != worker || wanted.contains_key(key) || consumer.end());
        for (key, Consumer { queue, driver, settings }) in wanted {
            let role = Role { worker: Arc::clone(&worker), target: Arc::clone(target), settings: Arc::new(settings) };
            if let Some(consumer) = running.get_mut(&key) {
                consumer.worker = Arc::clone(&worker);
                consumer.role.send_replace(Some(role));
                continue;
            }
            let role = watch::Sender::new(Some(role));
            self.loops.spawn(consume(Arc::clone(&self.shared), driver, queue, role.subscribe()));
            running.insert(key, RunningConsumer { worker: Arc::clone(&worker), role });
        }
    }

    /// Forgets a worker that the config has no more: its triggers and consumers. Messages stay in their queues.
    pub fn remove_worker(&self, worker: &str) {
        self.cron.remove(worker);
        let mut running = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, consumer| *consumer.worker != *worker || consumer.end());
    }

    /// Runs a worker's `scheduled` handler now, whatever its triggers are. `scheduled_time_ms` is in milliseconds since the
    /// UNIX epoch. The run goes on when this future is dropped.
    pub async fn run_now(
        &self,
        worker: &str,
        cron: &str,
        scheduled_time_ms: u64,
    ) -> Result<ScheduledOutcome, RunNowError> {
        let run = self.cron.run_now(worker, cron, scheduled_time_ms).await;
        run.ok_or_else(|| RunNowError::UnknownWorker(worker.to_owned()))?.ok_or(RunNowError::GivenUp)
    }

    /// Takes no more work, waits up to `grace` for handlers at work, then gives up those that are left and gives their messages
    /// back, due at once. Their attempt counts.
    pub async fn stop(&self, grace: Duration) -> StopReport {
        self.shared.phase.send_replace(Phase::Stopping);
        if !self.ended_within(grace).await {
            self.shared.phase.send_replace(Phase::CutOff);
            self.ended_within(RELEASE_TIME).await;
        }
        self.loops.abort();
        self.shared.work.abort();
        self.cron.finish().await;
        self.shared.ownership.give_back();
        let cut_off = &self.shared.cut_off;
        StopReport {
            cron_runs_cut_off: cut_off.cron_runs.load(Ordering::Relaxed),
            batches_cut_off: cut_off.batches.load(Ordering::Relaxed),
            messages_released: cut_off.released.load(Ordering::Relaxed),
        }
    }

    fn claim(&self) {
        let cron = Arc::clone(&self.cron);
        let waiting = self.shared.ownership.claim(&self.shared.timer, move || cron.take_over());
        if let Some(waiting) = waiting {
            let shared = Arc::clone(&self.shared);
            self.loops.spawn(async move {
                tokio::select! {
                    () = waiting => {}
                    () = shared.reached(Phase::Stopping) => {}
                }
            });
        }
    }

    async fn ended_within(&self, time: Duration) -> bool {
        let ended = async {
            // In this order: what finds work may still begin some.
            self.loops.idle().await;
            self.shared.work.idle().await;
        };
        tokio::select! {
            biased;
            () = ended => true,
            () = self.shared.timer.sleep_until(self.shared.after(time)) => false,
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.ownership.give_back();
        self.loops.abort();
        self.shared.work.abort();
    }
}

impl ConsumerKey {
    fn of(consumer: &Consumer) -> Self {
        let driver: *const dyn QueueDriver = Arc::as_ptr(&consumer.driver);
        Self { driver: driver.addr(), queue: consumer.queue.clone() }
    }
}

impl RunningConsumer {
    /// Ends it; false, for `retain`.
    fn end(&self) -> bool {
        self.role.send_replace(None);
        false
    }
}
