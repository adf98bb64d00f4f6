//! All queues in one SQLite file.
//!
//! One file, so that a message which moves to another queue does so in one transaction. Every call that writes is done by the
//! one thread of `writer`; the short reads run on the caller's thread, on a connection that waits for nobody, and the long ones on
//! a thread of tokio's blocking pool. Nothing is kept in memory: what is delayed costs disk, and finding what is due next is one
//! look into an index.

mod changes;
mod file;
mod reader;
mod rows;
#[cfg(test)]
mod tests;
mod transaction;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::{BindingInfo, BindingState, Clock, Error, ErrorKind, Result};
use async_trait::async_trait;
use tokio::sync::watch;

use self::changes::Changes;
use self::reader::Reader;
use self::transaction::Sweep;
use self::writer::{Durability, Jobs, Writer};
use crate::{
    Backlog, Delivery, Due, KIND, Lease, Outgoing, PeekedMessage, QueueDriver, QueueSummary, Settlement, Verdict,
};

/// What a [`SqliteQueues`] is opened with.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file; it and its folder are made where they are missing.
    pub path: PathBuf,
}

/// All queues, in one SQLite file.
///
/// Dropping it waits until what was accepted is written.
pub struct SqliteQueues {
    // Ahead of the readers: the last connection that closes removes the log.
    writer: Writer,
    reader: Reader,
    /// For reads that take long, so that the short ones do not wait for them.
    long_reader: Arc<Reader>,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    changes: Arc<Changes>,
}

/// Leases on their way to the caller. Where the caller went away, they are given back at once instead of when their time is
/// over.
struct Claim {
    queue: String,
    deliveries: Vec<Delivery>,
    jobs: Jobs,
}

impl SqliteQueues {
    /// Opens the file and starts the thread that writes.
    ///
    /// # Errors
    /// `ConfigInvalid`, with the path and what to do, where the file cannot be used.
    pub fn open(options: &SqliteOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = options.path.clone();
        let changes = Arc::new(Changes::default());
        let writer = Writer::start(path.clone(), Arc::clone(&clock), Arc::clone(&changes))?;
        let reader = Reader::open(&path)?;
        let long_reader = Arc::new(Reader::open(&path)?);
        Ok(Self { writer, reader, long_reader, path, clock, changes })
    }

    /// Reads on a thread where that may take long.
    async fn read_long<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let reader = Arc::clone(&self.long_reader);
        match tokio::task::spawn_blocking(move || read(&reader)).await {
            Ok(outcome) => outcome.map_err(|error| self.cannot_read(error)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => {
                    Err(Error::new(ErrorKind::Unavailable, "the runtime is shutting down").with_source(error))
                }
            },
        }
    }

    fn cannot_read(&self, error: rusqlite::Error) -> Error {
        file::failed(&self.path, "read", &Arc::new(error))
    }
}

#[async_trait]
impl QueueDriver for SqliteQueues {
    fn info(&self) -> BindingInfo {
        BindingInfo {
            name: "queues".to_owned(),
            kind: KIND,
            driver: "sqlite",
            summary: self.path.display().to_string(),
            state: BindingState::Ready,
        }
    }

    async fn send(&self, queue: &str, messages: Vec<Outgoing>) -> Result<Backlog> {
        let queue = queue.to_owned();
        self.writer.call(Durability::Flushed, move |transaction| transaction.send(&queue, &messages)).await
    }

    async fn due(&self, queue: &str, limit: usize) -> Result<Due> {
        self.reader.due(queue, limit, self.clock.now_ms()).map_err(|error| self.cannot_read(error))
    }

    async fn lease(&self, queue: &str, limit: usize, visibility: Duration) -> Result<Vec<Delivery>> {
        let queue = queue.to_owned();
        let jobs = self.writer.jobs();
        let claimed_from = queue.clone();
        let claim = self
            .writer
            .call_and_claim(
                Durability::Written,
                move |transaction| transaction.lease(&queue, limit, visibility),
                |deliveries| Claim { queue: claimed_from, deliveries, jobs },
            )
            .await?;
        Ok(claim.take())
    }

    async fn extend(&self, queue: &str, leases: &[Lease], visibility: Duration) -> Result<()> {
        let (queue, leases) = (queue.to_owned(), leases.to_vec());
        self.writer.call(Durability::Written, move |transaction| transaction.extend(&queue, &leases, visibility)).await
    }

    async fn settle(&self, queue: &str, settlements: Vec<Settlement>) -> Result<usize> {
        let queue = queue.to_owned();
        // A deletion that is lost with the power is a delivery too many. A lost retry would be a delay too short, and a lost
        // move one failure too many.
        let only_deletes = settlements.iter().all(|settlement| settlement.verdict == Verdict::Delete);
        let durability = if only_deletes { Durability::Written } else { Durability::Flushed };
        self.writer.call(durability, move |transaction| transaction.settle(&queue, &settlements)).await
    }

    fn changes(&self, queue: &str) -> watch::Receiver<u64> {
        self.changes.watch(queue)
    }

    async fn backlog(&self, queue: &str) -> Result<Backlog> {
        self.reader.backlog(queue).map_err(|error| self.cannot_read(error))
    }

    async fn queues(&self) -> Result<Vec<QueueSummary>> {
        let now_ms = self.clock.now_ms();
        self.read_long(move |reader| reader.queues(now_ms)).await
    }

    async fn peek(&self, queue: &str, limit: usize) -> Result<Vec<PeekedMessage>> {
        let (queue, now_ms) = (queue.to_owned(), self.clock.now_ms());
        self.read_long(move |reader| reader.peek(&queue, limit, now_ms)).await
    }

    async fn purge(&self, queue: &str) -> Result<u64> {
        let mut done = 0;
        let mut sweep: Option<Sweep> = None;
        loop {
            let queue = queue.to_owned();
            let step =
                self.writer.call(Durability::Flushed, move |transaction| transaction.purge_some(&queue, sweep)).await?;
            done += step.done;
            sweep = step.next;
            if sweep.is_none() {
                return Ok(done);
            }
        }
    }

    async fn redrive(&self, queue: &str, target: Option<&str>) -> Result<u64> {
        let mut done = 0;
        let mut sweep: Option<Sweep> = None;
        loop {
            let (queue, target) = (queue.to_owned(), target.map(str::to_owned));
            let step = self
                .writer
                .call(Durability::Flushed, move |transaction| {
                    transaction.redrive_some(&queue, target.as_deref(), sweep)
                })
                .await?;
            done += step.done;
            sweep = step.next;
            if sweep.is_none() {
                return Ok(done);
            }
        }
    }
}

impl Claim {
    fn take(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.deliveries.is_empty() {
            return;
        }
        let queue = std::mem::take(&mut self.queue);
        let leases: Vec<_> = self.deliveries.iter().map(|delivery| delivery.lease).collect();
        self.jobs.post(Durability::Written, move |transaction| transaction.unlease(&queue, &leases));
    }
}
