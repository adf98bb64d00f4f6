//! Work on tokio's blocking pool.

use aerostack_bindings::{Error, ErrorKind, Result};
use tokio::task::{JoinError, JoinHandle};

/// Runs `work` on a thread that may wait. Once begun it is done, also where nobody waits for it any more.
pub(super) async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(not_done)
}

/// A state and the work on it, of which there is at most one piece at a time. The state is not lost where a caller gives up
/// waiting.
pub(super) struct Offloaded<State, Outcome>(Place<State, Outcome>);

enum Place<State, Outcome> {
    Here(State),
    Away(JoinHandle<(State, Outcome)>),
    /// Its work panicked or was never done.
    Lost,
}

impl<State: Send + 'static, Outcome: Send + 'static> Offloaded<State, Outcome> {
    pub(super) fn new(state: State) -> Self {
        Self(Place::Here(state))
    }

    /// Begins a piece of work. The one before must have been waited for.
    pub(super) fn begin(&mut self, work: impl FnOnce(&mut State) -> Outcome + Send + 'static) -> Result<()> {
        match std::mem::replace(&mut self.0, Place::Lost) {
            Place::Here(mut state) => {
                self.0 = Place::Away(tokio::task::spawn_blocking(move || {
                    let outcome = work(&mut state);
                    (state, outcome)
                }));
                Ok(())
            }
            Place::Away(_) | Place::Lost => Err(lost()),
        }
    }

    /// Waits for the work that was begun, if any was.
    pub(super) async fn outcome(&mut self) -> Result<Option<Outcome>> {
        let Place::Away(work) = &mut self.0 else { return Ok(None) };
        match work.await {
            Ok((state, outcome)) => {
                self.0 = Place::Here(state);
                Ok(Some(outcome))
            }
            Err(error) => {
                self.0 = Place::Lost;
                Err(not_done(error))
            }
        }
    }

    /// The state, where no work is going on.
    pub(super) fn take(&mut self) -> Result<State> {
        match std::mem::replace(&mut self.0, Place::Lost) {
            Place::Here(state) => Ok(state),
            away @ Place::Away(_) => {
                self.0 = away;
                Err(lost())
            }
            Place::Lost => Err(lost()),
        }
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Unexpected, "an earlier step of this call failed")
}

fn not_done(error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => Error::new(ErrorKind::Unavailable, "the runtime is shutting down").with_source(error),
    }
}
