use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::neighbours::Neighbours;

/// Writes that are asked for one right after the other and committed together, at the end of the turn of the thread that asked for the
/// first. A commit is the larger part of a small write: its locks, the pages it appends to the log, their checksums.
///
/// Who calls for a write waits as long as before for what is durable when it returns; only what is ready to run meanwhile runs first.
/// Writes are done in steps: [`answer_with`](Self::answer_with) some of those that wait, and say how many were answered.
pub struct TurnGroup<T, R> {
    state: Mutex<State<T, R>>,
    /// How many wait, for a look without the lock.
    count: AtomicUsize,
    neighbours: Neighbours,
}

struct State<T, R> {
    waiting: Vec<Grouped<T, R>>,
    /// Threads that have taken some, and may put them back.
    taking: usize,
    /// Whether there is a [`Finisher`].
    has_finisher: bool,
}

/// Sees to it that those who wait in a [`TurnGroup`] are answered. Dropped before, it sends them away: nothing was done for them.
#[must_use]
struct Finisher<T, R> {
    group: Arc<TurnGroup<T, R>>,
    has_finished: bool,
}

/// A write that waits in a [`TurnGroup`].
pub struct Grouped<T, R> {
    /// What is to be done.
    pub work: T,
    outcome: oneshot::Sender<R>,
}

impl<T, R> TurnGroup<T, R> {
    /// A group that nobody has joined.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State { waiting: Vec::new(), taking: 0, has_finisher: false }),
            count: AtomicUsize::new(0),
            neighbours: Neighbours::new(),
        }
    }

    /// Has `work` wait for others and returns its outcome. `None` where nothing was done of it and its time is now: it comes alone, and
    /// those that waited before are done, or nobody was there to do it.
    ///
    /// Takes a `step` in each turn of the thread until nobody waits. Where none answers any for `patience`, all are `given_up`.
    pub async fn wait(
        self: &Arc<Self>,
        work: T,
        patience: Duration,
        step: impl Fn() -> usize + Send + 'static,
        given_up: impl Fn() -> R + Send + 'static,
    ) -> Option<R>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        if self.is_worth_it()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let begin = |finisher: Finisher<T, R>| drop(runtime.spawn(finisher.finish(patience, step, given_up)));
            return self.join(work, begin).await.ok();
        }
        self.finish_those_of_now(step);
        None
    }

    /// Whether the write that comes now should wait for others.
    fn is_worth_it(&self) -> bool {
        self.neighbours.note() || !self.is_empty()
    }

    /// Whether nobody waits.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait.
    fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Has `work` wait. `begin` is called where nobody sees to those who wait yet: a task that drives [`Finisher::finish`] runs after all
    /// that are ready already. The receiver fails when nobody answers: then nothing was done.
    fn join(self: &Arc<Self>, work: T, begin: impl FnOnce(Finisher<T, R>)) -> oneshot::Receiver<R> {
        let (outcome, receiver) = oneshot::channel();
        let had_finisher = {
            let mut state = self.lock();
            state.waiting.push(Grouped { work, outcome });
            self.count.store(state.waiting.len(), Relaxed);
            std::mem::replace(&mut state.has_finisher, true)
        };
        if !had_finisher {
            begin(Finisher { group: Arc::clone(self), has_finished: false });
        }
        receiver
    }

    /// Takes those that wait, and answers as many of them as `run` has outcomes for, in their order. The others wait on.
    pub fn answer_with(&self, run: impl FnOnce(&[Grouped<T, R>]) -> Vec<R>) -> usize {
        let mut taken = Taken::from(self);
        let outcomes = run(&taken.waiting);
        let answered = outcomes.len();
        let rest = taken.waiting.split_off(answered);
        for (grouped, outcome) in std::mem::replace(&mut taken.waiting, rest).into_iter().zip(outcomes) {
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

    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, R> Finisher<T, R> {
    /// Takes steps until nobody waits, with a turn of the thread between. Where none answers any for `patience`, all are answered with
    /// `given_up`.
    async fn finish(mut self, patience: Duration, step: impl Fn() -> usize, given_up: impl Fn() -> R) {
        let mut progressed = Instant::now();
        while !self.is_over() {
            if step() > 0 {
                progressed = Instant::now();
            } else if progressed.elapsed() >= patience {
                self.group.answer_with(|waiting| waiting.iter().map(|_| given_up()).collect());
            }
            if self.is_over() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether nobody waits and nobody can be put back. Who joins from then on gets another finisher.
    fn is_over(&mut self) -> bool {
        let mut state = self.group.lock();
        if !self.has_finished && state.waiting.is_empty() && state.taking == 0 {
            state.has_finisher = false;
            self.has_finished = true;
        }
        self.has_finished
    }
}

impl<T, R> Drop for Finisher<T, R> {
    fn drop(&mut self) {
        if self.has_finished {
            return;
        }
        let sent_away = {
            let mut state = self.group.lock();
            state.has_finisher = false;
            self.group.count.store(0, Relaxed);
            std::mem::take(&mut state.waiting)
        };
        drop(sent_away);
    }
}

/// Those that one thread has taken. What is left of them goes back, before all that came since.
struct Taken<'a, T, R> {
    group: &'a TurnGroup<T, R>,
    waiting: Vec<Grouped<T, R>>,
}

impl<'a, T, R> Taken<'a, T, R> {
    fn from(group: &'a TurnGroup<T, R>) -> Self {
        let waiting = {
            let mut state = group.lock();
            state.taking += 1;
            group.count.store(0, Relaxed);
            std::mem::take(&mut state.waiting)
        };
        if !waiting.is_empty() {
            group.neighbours.have_shared(waiting.len());
        }
        Self { group, waiting }
    }
}

impl<T, R> Drop for Taken<'_, T, R> {
    fn drop(&mut self) {
        let mut state = self.group.lock();
        state.taking -= 1;
        self.waiting.append(&mut state.waiting);
        std::mem::swap(&mut state.waiting, &mut self.waiting);
        self.group.count.store(state.waiting.len(), Relaxed);
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

    type Group = Arc<TurnGroup<u32, u32>>;

    /// Keeps the finisher of whoever was the first.
    fn join(group: &Group, work: u32, finishers: &mut Vec<Finisher<u32, u32>>) -> oneshot::Receiver<u32> {
        group.join(work, |finisher| finishers.push(finisher))
    }

    fn works(waiting: &[Grouped<u32, u32>]) -> Vec<u32> {
        waiting.iter().map(|grouped| grouped.work).collect()
    }

    fn finish(finisher: Finisher<u32, u32>, step: impl Fn() -> usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(finisher.finish(Duration::from_millis(1), step, || 7));
    }

    #[test]
    fn a_write_waits_where_another_does() {
        let group = Group::default();
        let mut finishers = Vec::new();
        let mut waits = vec![join(&group, 1, &mut finishers)];
        group.neighbours.have_shared(1);
        assert!(group.is_worth_it());
        waits.push(join(&group, 2, &mut finishers));
        assert_eq!((group.answer_with(works), finishers.len()), (2, 1));
        assert!(group.is_empty());
    }

    #[test]
    fn after_one_that_waited_in_vain_the_next_does_not_wait() {
        let group = Group::default();
        let mut finishers = Vec::new();
        let _alone = join(&group, 1, &mut finishers);
        assert_eq!(group.answer_with(works), 1);
        assert!(!group.is_worth_it());
    }

    #[test]
    fn who_is_not_answered_in_a_step_comes_first_in_the_next() {
        let group = Group::default();
        let mut finishers = Vec::new();
        let mut waits = [1, 2, 3].map(|work| join(&group, work, &mut finishers));
        assert_eq!(group.answer_with(|waiting| vec![waiting[0].work * 10]), 1);
        let _late = join(&group, 4, &mut finishers);
        assert_eq!(group.answer_with(works), 3);
        assert_eq!(waits.each_mut().map(oneshot::Receiver::try_recv), [Ok(10), Ok(2), Ok(3)]);
    }

    #[test]
    fn where_no_step_answers_anybody_all_are_given_up() {
        let group = Group::default();
        let mut finishers = Vec::new();
        let mut wait = join(&group, 1, &mut finishers);
        group.finish_those_of_now(|| 0);
        assert_eq!(group.len(), 1);
        finish(finishers.remove(0), || 0);
        assert_eq!(wait.try_recv(), Ok(7));
    }

    #[test]
    fn a_finisher_stays_as_long_as_another_thread_may_put_some_back() {
        let group = Group::default();
        let mut finishers = Vec::new();
        let mut wait = join(&group, 1, &mut finishers);
        let finisher = finishers.remove(0);
        let mut finishing = None;
        // Taken by this thread, which does none of it.
        group.answer_with(|_| {
            let group = group.clone();
            finishing = Some(std::thread::spawn(move || finish(finisher, || group.answer_with(works))));
            Vec::new()
        });
        finishing.expect("it was begun").join().expect("the finisher does not panic");
        assert_eq!(wait.try_recv(), Ok(1));
        let _next = join(&group, 2, &mut finishers);
        assert_eq!(finishers.len(), 1, "the next gets another");
    }

    #[test]
    fn without_their_finisher_all_are_sent_away() {
        let group = Group::default();
        let mut finishers = Vec::new();
        let mut wait = join(&group, 1, &mut finishers);
        finishers.clear();
        assert!(matches!(wait.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        let _next = join(&group, 2, &mut finishers);
        assert_eq!((group.len(), finishers.len()), (1, 1));
    }
}
