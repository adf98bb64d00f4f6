//! What `/_aerostack/ready` and `/_aerostack/metrics` tell of this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aerostack_bindings::{Clock, Lazy, SystemClock};
use aerostack_isolate::Worker;
use aerostack_queue::{QueueDriver, QueueSummary};
use aerostack_server::{Status, WorkerStatus};
use aerostack_telemetry::metrics::{Metrics, QueueDepth, Queues};
use async_trait::async_trait;

/// A page of metrics waits this long for the queues' file and then goes without.
const QUEUES_TIMEOUT: Duration = Duration::from_secs(1);

/// The process as the admin routes see it.
pub(crate) struct ProcessStatus {
    metrics: Arc<Metrics>,
    queues: Mutex<Arc<Lazy<dyn QueueDriver>>>,
    workers: Mutex<Vec<(String, Option<Arc<Worker>>)>>,
}

impl ProcessStatus {
    pub(crate) fn new(metrics: Arc<Metrics>, queues: Arc<Lazy<dyn QueueDriver>>) -> Arc<Self> {
        Arc::new(Self { metrics, queues: Mutex::new(queues), workers: Mutex::default() })
    }

    /// The workers of the config from now on; `None` for one that was never loaded.
    pub(crate) fn serves(&self, workers: Vec<(String, Option<Arc<Worker>>)>) {
        *self.workers() = workers;
    }

    /// The queues of the process from now on.
    pub(crate) fn reads_queues(&self, queues: Arc<Lazy<dyn QueueDriver>>) {
        *self.queues.lock().unwrap_or_else(PoisonError::into_inner) = queues;
    }

    /// A queues' file that nothing has opened yet is left alone: looking must not make one.
    async fn queues(&self) -> Queues {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(driver) = queues.opened() else { return Queues::Known(Vec::new()) };
        match tokio::time::timeout(QUEUES_TIMEOUT, driver.queues()).await {
            Ok(Ok(queues)) => {
                let now_ms = SystemClock.now_ms();
                Queues::Known(queues.into_iter().map(|queue| depth(queue, now_ms)).collect())
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the metrics of queues cannot be read");
                Queues::Unreadable
            }
            Err(_) => Queues::Unreadable,
        }
    }

    fn workers(&self) -> MutexGuard<'_, Vec<(String, Option<Arc<Worker>>)>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Status for ProcessStatus {
    fn workers(&self) -> Vec<WorkerStatus> {
        let status = |(name, worker): &(String, Option<Arc<Worker>>)| WorkerStatus {
            name: name.clone(),
            unready: match worker {
                Some(worker) => worker.unready().map(|reason| reason.to_string()),
                None => Some("no version of it could be loaded: the log says why".to_owned()),
            },
        };
        self.workers().iter().map(status).collect()
    }

    async fn metrics(&self) -> String {
        self.workers().iter().filter_map(|(_, worker)| worker.as_ref()).for_each(|worker| worker.ask_for_memory());
        let queues = self.queues().await;
        self.metrics.text(queues)
    }
}

fn depth(queue: QueueSummary, now_ms: u64) -> QueueDepth {
    let age = |sent_ms| Duration::from_millis(now_ms.saturating_sub(sent_ms));
    QueueDepth {
        queue: queue.name,
        messages: queue.backlog.messages,
        bytes: queue.backlog.bytes,
        oldest: queue.backlog.oldest_ms.map(age),
    }
}
