//! One leased batch: its handler, its heartbeat, its settling.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aerostack_bindings::Error;
use aerostack_queue::{Backlog, Delivery, Lease, MessageId, QueueBatch, QueueDriver, Settlement, Verdict};

use super::backoff::Backoff;
use super::slots::{BatchSlot, HandlerSlot};
use super::{QueueName, Role};
use crate::log::{BatchReport, MessageReport, Trouble};
use crate::shared::{Phase, Shared};

/// Messages on their way through a handler.
pub(super) struct Batch {
    pub(super) shared: Arc<Shared>,
    pub(super) driver: Arc<dyn QueueDriver>,
    pub(super) queue: QueueName,
    pub(super) role: Role,
    pub(super) messages: Vec<Delivery>,
    pub(super) backlog: Backlog,
}

impl Batch {
    /// Calls the handler and settles the messages. The handler's slot is free before that: the next batch is leased while this
    /// one's outcome is written, so that throughput is not one write to the disk a batch. Safe, because what is not settled
    /// is still leased, and nobody gets it twice.
    pub(super) async fn deliver(mut self, handler_slot: HandlerSlot, batch_slot: BatchSlot) {
        let leases: Vec<Lease> = self.messages.iter().map(|message| message.lease).collect();
        if self.shared.is_stopping() {
            self.release(&leases).await;
            return;
        }
        // The handler takes the bodies; what is left of the batch is small.
        let delivered: Vec<(MessageId, u32)> =
            self.messages.iter().map(|message| (message.id, message.attempts)).collect();
        let batch = QueueBatch {
            queue: Arc::clone(&self.queue.name),
            messages: std::mem::take(&mut self.messages),
            backlog: self.backlog,
        };
        let started = Instant::now();
        let outcome = tokio::select! {
            biased;
            outcome = self.role.target.queue(batch) => outcome,
            () = self.shared.reached(Phase::CutOff) => {
                self.shared.cut_off.batches.fetch_add(1, Ordering::Relaxed);
                self.release(&leases).await;
                return;
            }
            never = self.keep_leased(&leases) => match never {},
        };
        let duration = started.elapsed();
        drop(handler_slot);
        let messages = MessageReport::of_batch(delivered, &outcome, &self.role.settings);
        if let Some(passed_over) = self.settle(&leases, &messages).await {
            self.shared.log.batch_ran(&BatchReport {
                worker: Arc::clone(&self.role.worker),
                queue: Arc::clone(&self.queue.name),
                outcome: outcome.outcome,
                messages,
                passed_over,
                duration,
                output: outcome.output,
            });
        }
        drop(batch_slot);
    }

    /// Prolongs the leases for as long as it is polled; never resolves.
    async fn keep_leased(&self, leases: &[Lease]) -> Infallible {
        let visibility = self.role.settings.visibility_timeout;
        loop {
            self.shared.timer.sleep_until(self.shared.after(visibility / 3)).await;
            if let Err(error) = self.driver.extend(&self.queue.state, leases, visibility).await {
                self.report("extend", error, Some(visibility / 3));
            }
        }
    }

    /// Writes what became of the messages; goes on until it is written. Returns how many leases had run out, or `None` when it
    /// had to be given up because the scheduler stops.
    async fn settle(&self, leases: &[Lease], messages: &[MessageReport]) -> Option<usize> {
        let settlements: Vec<Settlement> = leases
            .iter()
            .zip(messages)
            .map(|(lease, message)| Settlement { lease: *lease, verdict: message.fate.verdict() })
            .collect();
        let visibility = self.role.settings.visibility_timeout;
        let mut backoff = Backoff::default();
        loop {
            let error = match self.driver.settle(&self.queue.state, settlements.clone()).await {
                Ok(passed_over) => return Some(passed_over),
                Err(error) => error,
            };
            // Before the leases run out, which are prolonged at every try.
            let retry_in = backoff.after_failure().min(visibility / 3);
            self.report("settle", error, Some(retry_in));
            tokio::select! {
                () = self.shared.timer.sleep_until(self.shared.after(retry_in)) => {}
                () = self.shared.reached(Phase::CutOff) => {
                    self.shared.cut_off.batches.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
            }
            if let Err(error) = self.driver.extend(&self.queue.state, leases, visibility).await {
                self.report("extend", error, None);
            }
        }
    }

    /// Gives messages back that nobody works on any more, due at once, so that a restart need not wait for their leases to
    /// run out.
    async fn release(&self, leases: &[Lease]) {
        let settlements: Vec<Settlement> =
            leases.iter().map(|lease| Settlement { lease: *lease, verdict: Verdict::Retry(Duration::ZERO) }).collect();
        match self.driver.settle(&self.queue.state, settlements).await {
            Ok(passed_over) => {
                self.shared.cut_off.released.fetch_add(leases.len().saturating_sub(passed_over), Ordering::Relaxed);
            }
            Err(error) => self.report("release", error, None),
        }
    }

    fn report(&self, operation: &'static str, error: Error, retry_in: Option<Duration>) {
        self.shared.log.trouble(&Trouble::Queue { queue: Arc::clone(&self.queue.name), operation, error, retry_in });
    }
}
