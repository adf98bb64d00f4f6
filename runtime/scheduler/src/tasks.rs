use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::task::JoinSet;

/// Tasks that can be waited for and aborted together. A task may hold a clone, so whoever owns the first must abort at its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set();
        // A panic has been printed by its hook; what the task had leased is due again when the leases run out.
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    /// Resolves when no task is left.
    pub(crate) async fn idle(&self) {
        poll_fn(|context| {
            let mut set = self.set();
            loop {
                match set.poll_join_next(context) {
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }

    pub(crate) fn abort(&self) {
        self.set().abort_all();
    }

    fn set(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
