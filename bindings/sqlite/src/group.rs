use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Writes that are asked for one right after the other and committed together, at the end of the turn of the thread that asked for the
/// first. A commit is the larger part of a small write: its locks, the pages it appends to the log, their checksums.
///
/// Who calls for a write waits as long as before for what is durable when it returns; only what is ready to run meanwhile runs first.
pub struct TurnGroup<T, R> {
    waiting: Mutex<Vec<Grouped<T, R>>>,
    count: AtomicUsize,
    epoch: Instant,
    asked_ns: AtomicU64,
    skips: AtomicU32,
}

/// A write that waits in a [`TurnGroup`].
pub struct Grouped<T, R> {
    /// What is to be done.
    pub work: T,
    outcome: oneshot::Sender<R>,
}

/// Apart by more than this, two writes are no neighbours.
const APART: Duration = Duration::from_micros(500);

/// After a write that waited for others and was alone, so many do not wait: they probably come from one caller, each when the one
/// before is done.
const SKIPS: u32 = 16;

impl<T, R> TurnGroup<T, R> {
    /// A group that nobody has joined.
    pub fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            count: AtomicUsize::new(0),
            epoch: Instant::now(),
            asked_ns: AtomicU64::new(0),
            skips: AtomicU32::new(0),
        }
    }

    /// Whether the write that comes now should wait for others.
    pub fn is_worth_it(&self) -> bool {
        self.is_worth_it_at(self.epoch.elapsed())
    }

    /// The same at a time since the group was made.
    fn is_worth_it_at(&self, now: Duration) -> bool {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let before = self.asked_ns.swap(now, Relaxed);
        if !self.is_empty() {
            return true;
        }
        if Duration::from_nanos(now.saturating_sub(before)) > APART {
            return false;
        }
        self.skips.try_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Has `work` wait. Calls `begin` for the first one, which must see to it that they are answered: [`TurnGroup::finish`] in a task, which
    /// runs after all that are ready already. The
    /// receiver fails when nobody answers: then nothing was done.
    pub fn join(&self, work: T, begin: impl FnOnce()) -> oneshot::Receiver<R> {
        let (outcome, receiver) = oneshot::channel();
        let is_first = {
            let mut waiting = self.lock();
            waiting.push(Grouped { work, outcome });
            self.count.store(waiting.len(), Relaxed);
            waiting.len() == 1
        };
        if is_first {
            begin();
        }
        receiver
    }

    /// Takes those that wait, and answers as many of them as `run` has outcomes for, in their order. The others wait on.
    pub fn answer_with(&self, run: impl FnOnce(&[Grouped<T, R>]) -> Vec<R>) -> usize {
        let mut waiting = self.take();
        let outcomes = run(&waiting);
        let answered = outcomes.len();
        self.put_back(waiting.split_off(answered));
        for (grouped, outcome) in waiting.into_iter().zip(outcomes) {
            // One that is gone is told nothing.
            let _ = grouped.outcome.send(outcome);
        }
        answered
    }

    /// Takes steps until those that wait now are answered, or no step answers any. A step says how many it answered.
    pub fn finish_those_of_now(&self, step: impl Fn() -> usize) {
        let mut left = self.len();
        while left > 0 {
            match step() {
                0 => return,
                answered => left = left.saturating_sub(answered),
            }
        }
    }

    /// Takes steps until nobody waits, with a turn of the thread between. Where none answers any for `patience`, all are answered with
    /// `given_up`.
    pub async fn finish(&self, patience: Duration, step: impl Fn() -> usize, given_up: impl Fn() -> R) {
        let mut progressed = Instant::now();
        loop {
            if step() > 0 {
                progressed = Instant::now();
            } else if progressed.elapsed() >= patience {
                self.answer_with(|waiting| waiting.iter().map(|_| given_up()).collect());
            }
            if self.is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// All that wait, in the order in which they came.
    fn take(&self) -> Vec<Grouped<T, R>> {
        let taken = {
            let mut waiting = self.lock();
            self.count.store(0, Relaxed);
            std::mem::take(&mut *waiting)
        };
        if !taken.is_empty() {
            self.skips.store(if taken.len() == 1 { SKIPS } else { 0 }, Relaxed);
        }
        taken
    }

    /// Puts those back that were not answered, before all that came since.
    fn put_back(&self, mut taken: Vec<Grouped<T, R>>) {
        let mut waiting = self.lock();
        taken.append(&mut waiting);
        *waiting = taken;
        self.count.store(waiting.len(), Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Grouped<T, R>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, R> Default for TurnGroup<T, R> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_come_alone_do_not_wait_and_neighbours_do() {
        let group = TurnGroup::<u32, ()>::new();
        let at = Duration::from_secs(1);
        assert!(!group.is_worth_it_at(at), "nothing came before");
        assert!(group.is_worth_it_at(at + APART), "a neighbour came right before");
        let _first = group.join(1, || {});
        assert!(group.is_worth_it_at(at + APART * 9), "one waits");
        let _second = group.join(2, || panic!("the first has begun"));
        assert_eq!(group.take().iter().map(|grouped| grouped.work).collect::<Vec<_>>(), [1, 2]);
        assert!(group.is_empty());
        assert!(group.is_worth_it_at(at + APART * 10), "the last were two");
        assert!(!group.is_worth_it_at(at + APART * 12), "it comes alone");
    }

    #[test]
    fn after_one_that_waited_in_vain_some_do_not_wait() {
        let group = TurnGroup::<u32, ()>::new();
        let mut begun = 0;
        let _alone = group.join(1, || begun += 1);
        assert_eq!((group.take().len(), begun), (1, 1));
        let waits: Vec<bool> = (0..=SKIPS).map(|_| group.is_worth_it_at(APART)).collect();
        assert_eq!(waits.iter().position(|waits| *waits), Some(SKIPS as usize));
    }

    #[test]
    fn who_is_not_answered_in_a_step_comes_first_in_the_next() {
        let group = TurnGroup::<u32, u32>::new();
        let mut waits = [1, 2, 3].map(|work| group.join(work, || {}));
        let works = |waiting: &[Grouped<u32, u32>]| waiting.iter().map(|grouped| grouped.work).collect::<Vec<_>>();
        assert_eq!(group.answer_with(|waiting| vec![waiting[0].work * 10]), 1);
        let _late = group.join(4, || {});
        assert_eq!(group.answer_with(|waiting| works(waiting)), 3);
        assert_eq!(waits.each_mut().map(oneshot::Receiver::try_recv), [Ok(10), Ok(2), Ok(3)]);
    }

    #[test]
    fn where_no_step_answers_anybody_all_are_given_up() {
        let group = TurnGroup::<u32, u32>::new();
        let mut wait = group.join(1, || {});
        group.finish_those_of_now(|| 0);
        assert_eq!(group.len(), 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(group.finish(Duration::from_millis(1), || 0, || 7));
        assert_eq!(wait.try_recv(), Ok(7));
    }

    #[test]
    fn who_is_not_answered_hears_of_it() {
        let group = TurnGroup::<u32, ()>::new();
        let mut waits = group.join(1, || {});
        drop(group.take());
        assert!(matches!(waits.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    }
}
