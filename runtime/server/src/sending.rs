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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io;
    use std::task::Poll;
    use std::time::Duration;

    use super::SendWatch;

    #[test]
    fn a_client_that_takes_a_little_is_waited_for_until_it_takes_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let looks = Cell::new(0);
        let unconfirmed = || {
            looks.set(looks.get() + 1);
            // Three times a little less, then always the same.
            Ok(100 - looks.get().min(4))
        };
        let mut watch = SendWatch::new(Duration::from_millis(5));
        let ended =
            runtime.block_on(poll_fn(|context| watch.watch(Poll::<io::Result<()>>::Pending, context, unconfirmed)));
        assert_eq!(ended.expect_err("it is given up").kind(), io::ErrorKind::TimedOut);
        assert_eq!(looks.get(), 5);
    }
}
