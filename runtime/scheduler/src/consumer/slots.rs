use std::sync::Arc;

use tokio::sync::watch;

/// How much of its concurrency a consumer uses. It may change with every reload, so this counts and the consumer compares.
#[derive(Clone, Default)]
pub(super) struct Slots(Arc<watch::Sender<InUse>>);

/// What is in use.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InUse {
    /// Handlers at work.
    handlers: usize,
    /// Batches leased and not settled: those with a handler at work, and those whose outcome is being written.
    batches: usize,
}

/// A handler at work, until it is dropped.
pub(super) struct HandlerSlot(Slots);

/// A batch that is leased, until it is dropped.
pub(super) struct BatchSlot(Slots);

impl Slots {
    pub(super) fn enter(&self) -> (HandlerSlot, BatchSlot) {
        self.0.send_modify(|in_use| {
            in_use.handlers += 1;
            in_use.batches += 1;
        });
        (HandlerSlot(self.clone()), BatchSlot(self.clone()))
    }

    /// Resolves when another batch may be leased. A handler may begin while outcomes of earlier ones are still written, but
    /// for each handler at most one: a driver that writes no more stops the consumer.
    pub(super) async fn free(&self, max_concurrency: usize) {
        let allowed = max_concurrency.max(1);
        let mut in_use = self.0.subscribe();
        // The sender is borrowed, so the channel stays open and this cannot fail.
        let _ = in_use.wait_for(|in_use| in_use.handlers < allowed && in_use.batches < allowed * 2).await;
    }
}

impl Drop for HandlerSlot {
    fn drop(&mut self) {
        self.0.0.send_modify(|in_use| in_use.handlers -= 1);
    }
}

impl Drop for BatchSlot {
    fn drop(&mut self) {
        self.0.0.send_modify(|in_use| in_use.batches -= 1);
    }
}
