use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::{Error, ErrorKind, Result};

/// Names the handler that a call is made for, to the observer and to nobody else. 0 where it is made for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerId(pub u64);

/// Is told of every binding call. The runtime's implementation feeds the request line and the metrics.
pub trait CallObserver {
    /// Called when a call begins, while the JavaScript that made it is still on the stack. What it returns comes back with
    /// [`CallObserver::finished`]. An error keeps the call from beginning.
    fn started(&self, kind: &'static str) -> Result<CallerId>;

    /// Called once a call that began, after it finished, on the thread that drove it.
    fn finished(
        &self,
        caller: CallerId,
        kind: &'static str,
        binding: &str,
        op: &'static str,
        took: Duration,
        error: Option<ErrorKind>,
    );

    /// See [`Calls::caller_over`].
    fn caller_over(&self) -> CallerOver {
        Box::pin(pending())
    }
}

/// See [`Calls::caller_over`].
pub type CallerOver = Pin<Box<dyn Future<Output = ()>>>;

/// The one door between JavaScript and the drivers: every binding call goes through [`Calls::call`].
///
/// One an isolate; cheap to clone.
#[derive(Clone)]
pub struct Calls {
    observer: Rc<dyn CallObserver>,
    deadline: Duration,
}

impl Calls {
    /// A door that reports to `observer` and fails a call with [`ErrorKind::Timeout`] after `deadline`.
    pub fn new(observer: Rc<dyn CallObserver>, deadline: Duration) -> Self {
        Self { observer, deadline }
    }

    /// The same door for calls that may take longer or shorter.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Resolves when the handler whose JavaScript is on the stack is over with all its `waitUntil` work, or its client has left:
    /// nobody waits for what it began. For calls that are costly enough to be cancelled then.
    pub fn caller_over(&self) -> CallerOver {
        self.observer.caller_over()
    }

    /// Runs one driver call: times it, applies the deadline, reports the outcome.
    pub async fn call<T>(
        &self,
        kind: &'static str,
        binding: &str,
        op: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let caller = self.observer.started(kind)?;
        let started = Instant::now();
        let mut call = pin!(call);
        // Many are over at once; they need no timer.
        let outcome = match poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => tokio::time::timeout(self.deadline, call).await.unwrap_or_else(|_| {
                let text = format!("{kind} call {op} on {binding} took longer than {} s", self.deadline.as_secs());
                Err(Error::new(ErrorKind::Timeout, text))
            }),
        };
        let error = outcome.as_ref().err().map(Error::kind);
        if let Err(error) = &outcome {
            tracing::debug!(kind, binding, op, %error, "binding call failed");
        }
        self.observer.finished(caller, kind, binding, op, started.elapsed(), error);
        outcome
    }
}
