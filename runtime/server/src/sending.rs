use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// Gives up on a client that takes nothing of what is sent to it. A slow one that takes a little is waited for.
pub(crate) struct SendWatch {
    timeout: Duration,
    /// While a write waits: until when, and what the client had not confirmed at the last look.
    waiting: Option<(Pin<Box<Sleep>>, u64)>,
}

impl SendWatch {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, waiting: None }
    }

    /// Passes on what a write has come to; an error when it has waited for too long.
    pub(crate) fn watch<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
        unconfirmed: impl Fn() -> io::Result<u64>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let timeout = self.timeout;
        if self.waiting.is_none() {
            self.waiting = Some((Box::pin(tokio::time::sleep(timeout)), unconfirmed()?));
        }
        while let Some((until, before)) = &mut self.waiting
            && until.as_mut().poll(context).is_ready()
        {
            let now = unconfirmed()?;
            if now >= *before {
                let text = format!("the client took nothing of its answer for {} s", timeout.as_secs_f64());
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            self.waiting = Some((Box::pin(tokio::time::sleep(timeout)), now));
        }
        Poll::Pending
    }
}
