//! Who is told of changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// A value for each queue that somebody watches; it is another one after each change.
#[derive(Default)]
pub(super) struct Changes(Mutex<HashMap<String, watch::Sender<u64>>>);

impl Changes {
    pub(super) fn watch(&self, queue: &str) -> watch::Receiver<u64> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watched.get(queue) {
            return sender.subscribe();
        }
        watched.entry(queue.to_owned()).or_default().subscribe()
    }

    /// Tells those who watch `queue`.
    pub(super) fn tell(&self, queue: &str) {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watched.get(queue) {
            sender.send_modify(|count| *count += 1);
        }
    }

    /// Tells all, of a change that may be in any queue.
    pub(super) fn tell_all(&self) {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in watched.values() {
            sender.send_modify(|count| *count += 1);
        }
    }
}
