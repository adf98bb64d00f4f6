use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aerostack_isolate::Mourner;
use tokio::net::TcpStream;

use crate::acceptor::OpenConnection;
use crate::socket;

/// A connection seen from outside of its thread, and what is going on on it.
pub(crate) struct OpenSocket {
    /// Open until the thread's mourning for it has ended: see `Writing`.
    descriptor: RawFd,
    version: HttpVersion,
    /// Counts it until it is closed, or lost.
    open: Mutex<Option<OpenConnection>>,
    asked: AtomicU64,
    answering: AtomicUsize,
    holds_answer: AtomicBool,
}

/// Which HTTP a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    One,
    Two,
}

/// A request whose answer has not begun.
pub(crate) struct Answering(Arc<OpenSocket>);

impl OpenSocket {
    pub(crate) fn new(stream: &TcpStream, version: HttpVersion, open: OpenConnection) -> Arc<Self> {
        let (descriptor, open) = (stream.as_raw_fd(), Mutex::new(Some(open)));
        let (asked, answering, holds_answer) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { descriptor, version, open, asked, answering, holds_answer })
    }

    pub(crate) fn answering(self: &Arc<Self>) -> Answering {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// Tells whether an answer is there that was not sent.
    pub(crate) fn holds_answer(&self, holds: bool) {
        self.holds_answer.store(holds, Ordering::Relaxed);
    }

    /// Whether there was a request.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    /// Resolves once nothing was asked for `timeout`, or half as long again, and the answer to everything has begun.
    pub(crate) async fn idle_for(&self, timeout: Duration) {
        let mut idle_looks = 0;
        let mut seen = self.asked.load(Ordering::Relaxed);
        while idle_looks < 2 {
            tokio::time::sleep(timeout / 2).await;
            let before = std::mem::replace(&mut seen, self.asked.load(Ordering::Relaxed));
            let is_idle = self.answering.load(Ordering::Relaxed) == 0 && before == seen;
            idle_looks = if is_idle { idle_looks + 1 } else { 0 };
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Mourner for OpenSocket {
    /// The connection lives on the lost thread and says nothing any more: whoever waits for an answer gets it from here.
    fn lost(&self, reason: &str) {
        let waits = self.answering.load(Ordering::Relaxed) > 0
            || self.holds_answer.load(Ordering::Relaxed)
            || socket::unread_bytes(self.descriptor).is_ok_and(|bytes| bytes > 0);
        if waits && self.version == HttpVersion::One {
            let text = format!("the worker {reason}");
            let answer = format!(
                "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}\n",
                text.len() + 1
            );
            socket::send_now(self.descriptor, answer.as_bytes());
        }
        socket::end(self.descriptor);
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
