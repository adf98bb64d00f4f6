use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aerostack_isolate::Mourner;
use tokio::net::TcpStream;

use crate::acceptor::OpenConnection;
use crate::lifecycle::{Lifecycle, State};
use crate::socket;

/// A connection seen from outside of its thread, and what is going on on it. It counts as open for as long as this is
/// held.
pub(crate) struct OpenSocket {
    /// Open until the thread's mourning for it has ended: see `Writing`.
    descriptor: RawFd,
    version: HttpVersion,
    pub(crate) lifecycle: Lifecycle,
    /// Counts it until it is closed, or lost.
    open: Mutex<Option<OpenConnection>>,
    /// Of HTTP/2.
    streams: AtomicUsize,
    holds_answer: AtomicBool,
}

/// Which HTTP a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    One,
    Two,
}

/// A stream of an HTTP/2 connection, from its request to the end of its answer.
pub(crate) struct OpenStream(Arc<OpenSocket>);

impl OpenSocket {
    pub(crate) fn new(
        stream: &TcpStream,
        version: HttpVersion,
        lifecycle: Lifecycle,
        open: OpenConnection,
    ) -> Arc<Self> {
        let (descriptor, open) = (stream.as_raw_fd(), Mutex::new(Some(open)));
        let (streams, holds_answer) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { descriptor, version, lifecycle, open, streams, holds_answer })
    }

    /// A stream has begun. It goes on until the returned value is dropped.
    pub(crate) fn stream(self: &Arc<Self>) -> OpenStream {
        if self.streams.fetch_add(1, Ordering::Relaxed) == 0 {
            self.lifecycle.enter(State::Answering);
        }
        OpenStream(self.clone())
    }

    /// Tells whether an answer is there that was not sent.
    pub(crate) fn holds_answer(&self, holds: bool) {
        self.holds_answer.store(holds, Ordering::Relaxed);
    }

    /// Whether the client waits for an answer of which it has nothing.
    fn owes_answer(&self) -> bool {
        match self.lifecycle.state() {
            State::Answering | State::Moving => true,
            State::Sending | State::Draining | State::Lingering => false,
            State::Waiting | State::Reading => {
                self.holds_answer.load(Ordering::Relaxed)
                    || socket::unread_bytes(self.descriptor).is_ok_and(|bytes| bytes > 0)
            }
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.lifecycle.enter(State::Waiting);
        }
    }
}

impl Mourner for OpenSocket {
    /// The connection lives on the lost thread and says nothing any more: whoever waits for an answer gets it from here.
    fn lost(&self, reason: &str) {
        if self.version == HttpVersion::One && self.owes_answer() {
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
