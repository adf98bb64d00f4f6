//! A consumer's own task: it finds out when a batch is to be delivered, and leases it then and not before.

use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::Error;
use aerostack_queue::QueueDriver;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::batch::Batch;
use super::slots::Slots;
use super::{QueueName, Role};
use crate::log::Trouble;
use crate::shared::{Phase, Shared};

/// What one look at the queue led to.
enum Look {
    /// A batch was leased.
    Leased,
    /// There is nothing to do until then, or until the queue changes; `None` for the latter only.
    Idle(Option<u64>),
}

/// A driver call that failed.
struct Failed {
    operation: &'static str,
    error: Error,
}

/// How long to leave a queue alone that said it had messages and then gave none: another process took them.
const AFTER_EMPTY_LEASE: Duration = Duration::from_millis(50);

/// Consumes a queue until `role` is `None` or the scheduler stops.
pub(crate) async fn consume(
    shared: Arc<Shared>,
    driver: Arc<dyn QueueDriver>,
    queue: QueueName,
    mut role: watch::Receiver<Option<Role>>,
) {
    loop {
        tokio::select! {
            () = shared.ownership.won() => break,
            () = shared.reached(Phase::Stopping) => return,
            changed = role.changed() => {
                if changed.is_err() || role.borrow().is_none() {
                    return;
                }
            }
        }
    }
    let mut changes = driver.changes(&queue.state);
    let consumer = Looking { shared, driver, queue, slots: Slots::default() };
    let mut backoff = Backoff::default();
    loop {
        let Some(current) = role.borrow_and_update().clone() else { return };
        if consumer.shared.is_stopping() {
            return;
        }
        tokio::select! {
            () = consumer.slots.free(current.settings.max_concurrency) => {}
            changed = role.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            () = consumer.shared.reached(Phase::Stopping) => return,
        }
        // Before looking: a change during the look must not be slept through.
        changes.borrow_and_update();
        let (wake_at, on_change) = match consumer.look(&current).await {
            Ok(Look::Leased) => {
                backoff.succeeded();
                continue;
            }
            Ok(Look::Idle(until)) => {
                backoff.succeeded();
                (until, true)
            }
            Err(Failed { operation, error }) => {
                let retry_in = backoff.after_failure();
                consumer.shared.log.trouble(&Trouble::Queue {
                    queue: Arc::clone(&consumer.queue.name),
                    operation,
                    error,
                    retry_in: Some(retry_in),
                });
                (Some(consumer.shared.after(retry_in)), false)
            }
        };
        tokio::select! {
            () = consumer.shared.sleep_until(wake_at) => {}
            () = changed(&mut changes), if on_change => {}
            changed = role.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = consumer.shared.reached(Phase::Stopping) => return,
        }
    }
}

struct Looking {
    shared: Arc<Shared>,
    driver: Arc<dyn QueueDriver>,
    queue: QueueName,
    slots: Slots,
}

impl Looking {
    /// Leases and delivers a batch if one is to be delivered now. A lease that was begun is always seen through: a message must
    /// not be hidden with nobody at work on it.
    async fn look(&self, role: &Role) -> Result<Look, Failed> {
        let settings = &role.settings;
        let state = &*self.queue.state;
        let size = settings.max_batch_size.max(1);
        let due = self.driver.due(state, size).await.map_err(failed("due"))?;
        let now_ms = self.shared.timer.now_ms();
        let Some(earliest_ms) = due.earliest_ms else { return Ok(Look::Idle(None)) };
        if due.ready == 0 {
            // Its time may have come since the driver looked; a moment later it is ready.
            return Ok(Look::Idle(Some(earliest_ms.max(now_ms + 1))));
        }
        let flush_at = earliest_ms.saturating_add(milliseconds(settings.max_batch_timeout));
        if due.ready < size && flush_at > now_ms {
            return Ok(Look::Idle(Some(flush_at)));
        }
        // Before the lease: when it fails, nothing is hidden.
        let backlog = self.driver.backlog(state).await.map_err(failed("backlog"))?;
        let messages = self.driver.lease(state, size, settings.visibility_timeout).await.map_err(failed("lease"))?;
        if messages.is_empty() {
            return Ok(Look::Idle(Some(self.shared.after(AFTER_EMPTY_LEASE))));
        }
        let (handler_slot, batch_slot) = self.slots.enter();
        let batch = Batch {
            shared: Arc::clone(&self.shared),
            driver: Arc::clone(&self.driver),
            queue: self.queue.clone(),
            role: role.clone(),
            messages,
            backlog,
        };
        self.shared.work.spawn(batch.deliver(handler_slot, batch_slot));
        Ok(Look::Leased)
    }
}

fn failed(operation: &'static str) -> impl Fn(Error) -> Failed {
    move |error| Failed { operation, error }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Resolves when the queue changes. A driver that tells of no more changes leaves the due times to wake its consumers.
async fn changed(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
