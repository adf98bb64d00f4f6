use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aerostack_bindings::{Clock, SystemClock};
use async_trait::async_trait;
use tokio::sync::oneshot;

/// A clock that can be waited for.
#[async_trait]
pub trait Timer: Clock {
    /// Resolves once the clock shows `at_ms`, milliseconds since the UNIX epoch, or later; and early when the clock is seen
    /// to have been set back by a minute or more, because what was waited for may then be due at another time. So look
    /// again after it.
    async fn sleep_until(&self, at_ms: u64);
}

/// The clock of the machine, waited for with tokio's timer.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemTimer;

/// A clock that moves only when a test moves it, and wakes who waits for it.
#[derive(Debug)]
pub struct ManualTimer(Mutex<ManualState>);

#[derive(Debug)]
struct ManualState {
    now_ms: u64,
    /// By the time they wake at, and a number that tells those of one time apart.
    sleepers: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    next_sleeper: u64,
}

/// tokio counts time that does not pass while the machine sleeps, and the clock can be set: look at it at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);

/// From so much on a clock that went back counts as set back.
const SET_BACK_MS: u64 = 60_000;

impl Clock for SystemTimer {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms()
    }
}

#[async_trait]
impl Timer for SystemTimer {
    async fn sleep_until(&self, at_ms: u64) {
        let mut latest_ms = 0;
        loop {
            let now_ms = self.now_ms();
            if at_ms <= now_ms || is_set_back(latest_ms, now_ms) {
                return;
            }
            latest_ms = latest_ms.max(now_ms);
            tokio::time::sleep(Duration::from_millis(at_ms - now_ms).min(LONGEST_SLEEP)).await;
        }
    }
}

fn is_set_back(before_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_add(SET_BACK_MS) <= before_ms
}

impl ManualTimer {
    /// A clock standing at `now_ms`, milliseconds since the UNIX epoch.
    pub fn new(now_ms: u64) -> Self {
        Self(Mutex::new(ManualState { now_ms, sleepers: BTreeMap::new(), next_sleeper: 0 }))
    }

    /// Sets the clock, forward or backward, and wakes whose time has come.
    pub fn set(&self, now_ms: u64) {
        let due = {
            let mut state = self.state();
            let before_ms = std::mem::replace(&mut state.now_ms, now_ms);
            let awake_ms = if is_set_back(before_ms, now_ms) { u64::MAX } else { now_ms.saturating_add(1) };
            let later = state.sleepers.split_off(&(awake_ms, 0));
            std::mem::replace(&mut state.sleepers, later)
        };
        for sleeper in due.into_values() {
            // Who stopped waiting needs no waking.
            let _ = sleeper.send(());
        }
    }

    /// The earliest time that somebody waits for.
    pub fn next_wake(&self) -> Option<u64> {
        let mut state = self.state();
        state.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        state.sleepers.keys().next().map(|(at_ms, _)| *at_ms)
    }

    fn state(&self) -> MutexGuard<'_, ManualState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualTimer {
    fn now_ms(&self) -> u64 {
        self.state().now_ms
    }
}

#[async_trait]
impl Timer for ManualTimer {
    async fn sleep_until(&self, at_ms: u64) {
        let woken = {
            let mut state = self.state();
            if state.now_ms >= at_ms {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            let number = state.next_sleeper;
            state.next_sleeper += 1;
            state.sleepers.insert((at_ms, number), sender);
            receiver
        };
        // An error means that the timer is gone, which the borrow of it rules out.
        let _ = woken.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_time_that_has_come_is_not_waited_for() {
        SystemTimer.sleep_until(0).await;
        ManualTimer::new(5).sleep_until(5).await;
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_exactly_whose_time_has_come() {
        let timer = ManualTimer::new(1_000);
        let sleep = async {
            timer.sleep_until(2_000).await;
            timer.now_ms()
        };
        let turn = async {
            tokio::task::yield_now().await;
            assert_eq!(timer.next_wake(), Some(2_000));
            timer.set(1_999);
            tokio::task::yield_now().await;
            assert_eq!(timer.next_wake(), Some(2_000));
            timer.set(500);
            timer.set(2_500);
        };
        assert_eq!(tokio::join!(sleep, turn).0, 2_500);
        assert_eq!(timer.next_wake(), None);
    }

    #[tokio::test]
    async fn who_waits_looks_again_when_the_clock_is_set_back() {
        let timer = ManualTimer::new(100_000);
        let turn = async {
            tokio::task::yield_now().await;
            timer.set(40_001);
            assert_eq!(timer.next_wake(), Some(200_000));
            timer.set(100_000);
            timer.set(40_000);
        };
        tokio::join!(timer.sleep_until(200_000), turn);
        assert_eq!(timer.next_wake(), None);
    }

    #[tokio::test]
    async fn the_clock_of_the_machine_is_waited_for() {
        let at_ms = SystemTimer.now_ms() + 2;
        SystemTimer.sleep_until(at_ms).await;
        assert!(SystemTimer.now_ms() >= at_ms);
    }
}
