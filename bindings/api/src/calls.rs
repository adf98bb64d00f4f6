use std::borrow::Cow;
use std::future::{Future, pending, poll_fn};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::{Error, ErrorKind, Memory, Result};

/// Names the handler that a call is made for, to the observer and to nobody else. 0 where it is made for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerId(pub u64);

/// Is told of every binding call. The runtime's implementation feeds the request line and the metrics.
pub trait CallObserver {
    /// Called when a call begins, while the JavaScript that made it is still on the stack. What it returns comes back with
    /// [`CallObserver::finished`]. An error keeps the call from beginning.
    fn started(&self, kind: &'static str) -> Result<CallerId>;

    /// Called once a call that began, after it finished or was given up, on the thread that drove it.
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
    folders: Rc<[String]>,
    memory: Memory,
}

impl Calls {
    /// A door that reports to `observer` and fails a call with [`ErrorKind::Timeout`] after `deadline`. Nothing of what calls hold is
    /// counted.
    pub fn new(observer: Rc<dyn CallObserver>, deadline: Duration) -> Self {
        Self { observer, deadline, folders: Rc::new([]), memory: Memory::unlimited() }
    }

    /// The same door, where errors name what lies below one of `folders` from there: callers may show their text to anybody. The log
    /// has the whole path.
    #[must_use]
    pub fn naming_paths_from(self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let folders = folders.into_iter().map(|folder| format!("{}/", folder.display())).collect();
        Self { folders, ..self }
    }

    /// The same door for calls whose arguments and results count in `memory`.
    #[must_use]
    pub fn with_memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// Where arguments and results count that are worth it.
    pub fn memory(&self) -> &Memory {
        &self.memory
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
        let mut open = self.open(kind, binding, op)?;
        let outcome = open.step(call).await;
        open.finish(&outcome);
        outcome
    }

    /// Begins a call of several steps, between which others act: the client whose bytes are stored, or who reads them.
    pub fn open<'a>(
        &self,
        kind: &'static str,
        binding: impl Into<Cow<'a, str>>,
        op: &'static str,
    ) -> Result<OpenCall<'a>> {
        let caller = self.observer.started(kind)?;
        let (calls, binding, started) = (self.clone(), binding.into(), Instant::now());
        Ok(OpenCall { calls, caller, kind, binding, op, started, is_reported: false })
    }

    /// What follows a call that was reported, such as reading the body that it found. Its steps have the deadline of the call.
    pub fn after_call<'a>(
        &self,
        kind: &'static str,
        binding: impl Into<Cow<'a, str>>,
        op: &'static str,
    ) -> OpenCall<'a> {
        let (calls, binding, started) = (self.clone(), binding.into(), Instant::now());
        OpenCall { calls, caller: CallerId(0), kind, binding, op, started, is_reported: true }
    }
}

/// A call that has begun, see [`Calls::open`]. It is reported once: by [`OpenCall::finish`], or as cancelled when it is dropped before.
pub struct OpenCall<'a> {
    calls: Calls,
    caller: CallerId,
    kind: &'static str,
    binding: Cow<'a, str>,
    op: &'static str,
    started: Instant,
    is_reported: bool,
}

impl OpenCall<'_> {
    /// Waits for the driver, up to the deadline. What happens between two steps takes as long as it takes.
    pub async fn step<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        let mut step = pin!(step);
        // Many are over at once; they need no timer.
        let outcome = match poll_fn(|context| Poll::Ready(step.as_mut().poll(context))).await {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                let deadline = self.calls.deadline;
                tokio::time::timeout(deadline, step).await.unwrap_or_else(|_| Err(self.timed_out(deadline)))
            }
        };
        outcome.map_err(|error| {
            self.log(&error);
            error.naming_paths_from(&self.calls.folders)
        })
    }

    /// Reports the outcome.
    pub fn finish<T>(&mut self, outcome: &Result<T>) {
        self.report(outcome.as_ref().err().map(Error::kind));
    }

    fn report(&mut self, error: Option<ErrorKind>) {
        if !std::mem::replace(&mut self.is_reported, true) {
            let took = self.started.elapsed();
            self.calls.observer.finished(self.caller, self.kind, &self.binding, self.op, took, error);
        }
    }

    /// Tells of a failure with all its causes, and with the paths as they are on this machine.
    fn log(&self, error: &Error) {
        let Self { kind, binding, op, .. } = self;
        let text = error.with_causes();
        match error.kind() {
            // What only the operator can do something about; the rest is the worker's own affair.
            ErrorKind::Unexpected | ErrorKind::Unavailable | ErrorKind::ConfigInvalid => {
                tracing::warn!(kind, %binding, op, error = text, "binding call failed");
            }
            _ => tracing::debug!(kind, %binding, op, error = text, "binding call failed"),
        }
    }

    fn timed_out(&self, deadline: Duration) -> Error {
        let Self { kind, binding, op, .. } = self;
        let text = format!("{kind} call {op} on {binding} took longer than {} s", deadline.as_secs());
        Error::new(ErrorKind::Timeout, text)
    }
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        self.report(Some(ErrorKind::Cancelled));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[derive(Default)]
    struct Seen {
        started: RefCell<u32>,
        finished: RefCell<Vec<(String, Option<ErrorKind>)>>,
    }

    impl CallObserver for Seen {
        fn started(&self, _kind: &'static str) -> Result<CallerId> {
            *self.started.borrow_mut() += 1;
            Ok(CallerId(1))
        }

        fn finished(
            &self,
            _caller: CallerId,
            kind: &'static str,
            binding: &str,
            op: &'static str,
            _took: Duration,
            error: Option<ErrorKind>,
        ) {
            self.finished.borrow_mut().push((format!("{kind} {binding} {op}"), error));
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("it starts").block_on(work)
    }

    /// A door whose deadline has passed as soon as a step must be waited for.
    fn door() -> (Rc<Seen>, Calls) {
        let seen = Rc::new(Seen::default());
        (seen.clone(), Calls::new(seen, Duration::ZERO))
    }

    #[test]
    fn a_call_of_several_steps_is_one_call_and_only_its_steps_have_the_deadline() {
        let (seen, calls) = door();
        run(async {
            let mut call = calls.open("storage", "BUCKET", "put").expect("it begins");
            call.step(async { Ok(()) }).await.expect("a step");
            tokio::task::yield_now().await;
            let outcome = call.step(async { Ok(7) }).await;
            call.finish(&outcome);
            assert!(seen.finished.borrow().len() == 1, "reported before it is dropped");
        });
        assert_eq!(*seen.started.borrow(), 1);
        assert_eq!(*seen.finished.borrow(), [("storage BUCKET put".to_owned(), None)]);
    }

    #[test]
    fn a_step_that_takes_too_long_fails_with_the_names_of_the_call() {
        let (seen, calls) = door();
        let error = run(calls.call("cache", "CACHE", "get", pending::<Result<()>>())).expect_err("it takes for ever");
        assert_eq!(error.message(), "cache call get on CACHE took longer than 0 s");
        assert_eq!(*seen.finished.borrow(), [("cache CACHE get".to_owned(), Some(ErrorKind::Timeout))]);
    }

    #[test]
    fn errors_name_paths_from_the_folders_of_the_project() {
        let (_, calls) = door();
        let folders = ["/home/ann/shop", "/var/models"].map(PathBuf::from);
        let calls = calls.naming_paths_from(folders);
        let text = "/home/ann/shop/.aerostack/a.sqlite: disk full (/var/models/x, /home/ann/shopping)";
        let failing = async { Err::<(), _>(Error::new(ErrorKind::Unavailable, text)) };
        let error = run(calls.call("database", "DB", "run", failing)).expect_err("it fails");
        assert_eq!(error.message(), ".aerostack/a.sqlite: disk full (x, /home/ann/shopping)");
    }

    #[test]
    fn a_call_that_is_given_up_is_reported_as_cancelled() {
        let (seen, calls) = door();
        run(async {
            let call = calls.open("storage", "BUCKET", "put").expect("it begins");
            call.step(async { Ok(()) }).await.expect("a step");
        });
        assert_eq!(*seen.finished.borrow(), [("storage BUCKET put".to_owned(), Some(ErrorKind::Cancelled))]);
    }
}
