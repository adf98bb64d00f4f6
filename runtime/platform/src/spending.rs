//! What invocations have used up of the limits that are counted one invocation at a time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// What one invocation may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvocationLimits {
    /// `fetch` (each redirect is one) and binding calls.
    pub subrequests: u32,
    /// Bytes of a response body; `None` for no limit.
    pub response_body_bytes: Option<u64>,
    /// Bytes of console output and of errors that nobody caught.
    pub log_bytes: usize,
}

/// What one invocation has used.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) cpu: Duration,
    pub(crate) subrequests: u32,
    pub(crate) logged: usize,
}

/// What is left of a line that an invocation logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogRoom {
    /// All of it.
    Whole,
    /// Nothing, and it is the first line that is left out.
    Ended,
    /// Nothing.
    None,
}

impl Spent {
    pub(crate) fn log(&mut self, bytes: usize, limit: usize) -> LogRoom {
        let ended_before = self.logged > limit;
        self.logged = self.logged.saturating_add(bytes);
        match (ended_before, self.logged > limit) {
            (true, _) => LogRoom::None,
            (false, true) => LogRoom::Ended,
            (false, false) => LogRoom::Whole,
        }
    }

    /// False once the limit is met.
    pub(crate) fn subrequest(&mut self, limit: u32) -> bool {
        if self.subrequests >= limit {
            return false;
        }
        self.subrequests += 1;
        true
    }
}

/// What goes on after its invocation is over, by the invocation's number: timers, loops and promises that nobody waits for.
/// It has the limits of an invocation once more, and not for ever.
#[derive(Default)]
pub(crate) struct Strays(RefCell<HashMap<u64, Spent>>);

/// Strays that are remembered. Past it those that used next to nothing are forgotten.
const MOST_STRAYS: usize = 4096;
const NEXT_TO_NOTHING: Duration = Duration::from_millis(100);

impl Strays {
    pub(crate) fn with<T>(&self, number: u64, change: impl FnOnce(&mut Spent) -> T) -> T {
        let mut strays = self.0.borrow_mut();
        if strays.len() >= MOST_STRAYS && !strays.contains_key(&number) {
            strays.retain(|_, spent| spent.cpu >= NEXT_TO_NOTHING);
            if strays.len() >= MOST_STRAYS {
                strays.clear();
            }
        }
        change(strays.entry(number).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LogRoom, MOST_STRAYS, Spent, Strays};

    #[test]
    fn a_log_ends_with_the_line_that_does_not_fit_and_says_so_once() {
        let mut spent = Spent::default();
        assert_eq!(spent.log(6, 10), LogRoom::Whole);
        assert_eq!(spent.log(4, 10), LogRoom::Whole);
        assert_eq!(spent.log(1, 10), LogRoom::Ended);
        assert_eq!(spent.log(1, 10), LogRoom::None);
        assert_eq!(spent.log(usize::MAX, 10), LogRoom::None);
    }

    #[test]
    fn subrequests_end_at_their_limit() {
        let mut spent = Spent::default();
        assert!(spent.subrequest(2) && spent.subrequest(2));
        assert!(!spent.subrequest(2) && !spent.subrequest(2));
    }

    #[test]
    fn strays_are_bounded_and_the_greedy_ones_are_remembered() {
        let strays = Strays::default();
        strays.with(1, |spent| spent.cpu = Duration::from_secs(1));
        for number in 2..2 * MOST_STRAYS as u64 {
            strays.with(number, |spent| spent.cpu += Duration::from_millis(1));
        }
        assert!(strays.0.borrow().len() <= MOST_STRAYS);
        assert_eq!(strays.with(1, |spent| spent.cpu), Duration::from_secs(1));
    }
}
