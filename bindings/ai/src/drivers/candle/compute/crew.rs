//! The threads that help the one that computes.
//!
//! candle's pools do not fit a process that serves requests on the same cores. One waits at the end of each piece of work for all of its
//! threads, also for those that the system gave no core meanwhile; the other lets its threads sleep so soon that they miss work of
//! some microseconds. Here nobody waits for a thread that has not begun: a helper that comes too late finds nothing to do.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, TryLockError};
use std::thread;

/// So often a helper looks for more work before it sleeps: for longer than one thread computes alone in between.
const LOOKS: u32 = 4000;

/// So often the one who is helped looks whether the last helper is done before it offers its core to others.
const PATIENCE: u32 = 1000;

/// The bit of [`Crew::state`] that says that helpers may join. Below it is how many are at work, above it the number of the work.
const OPEN: u64 = 1 << 16;

/// Threads that help.
pub(super) struct Crew {
    state: AtomicU64,
    /// Written while nobody is at work, and read by those who are.
    work: UnsafeCell<&'static (dyn Fn() + Sync)>,
    /// Held by the one who is helped.
    helped: Mutex<()>,
    asleep: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    helpers: OnceLock<Vec<thread::Thread>>,
}

/// Ends a piece of work when it is dropped.
struct Closing<'a>(&'a Crew);

// SAFETY: `work` is written by the one who holds `helped` while nobody is at work, and read by those only who are.
unsafe impl Sync for Crew {}

impl Crew {
    /// The crew of the process. With the one who is helped it has as many threads as `CANDLE_NUM_THREADS` says, or one a physical core.
    pub(super) fn of_process() -> &'static Self {
        static CREW: OnceLock<&'static Crew> = OnceLock::new();
        CREW.get_or_init(|| {
            let said = std::env::var("CANDLE_NUM_THREADS").ok().and_then(|number| number.parse().ok());
            let threads = said.filter(|number| *number > 0).unwrap_or_else(candle_core::utils::get_num_threads);
            Self::start(threads - 1)
        })
    }

    /// Starts so many helpers, which stay.
    fn start(helpers: usize) -> &'static Self {
        let crew: &'static Self = Box::leak(Box::new(Self {
            state: AtomicU64::new(0),
            work: UnsafeCell::new(&|| ()),
            helped: Mutex::new(()),
            asleep: AtomicUsize::new(0),
            panic: Mutex::new(None),
            helpers: OnceLock::new(),
        }));
        let start = |number| {
            let builder = thread::Builder::new().name(format!("aerostack-ai-{number}"));
            builder.spawn(|| crew.help()).expect("a thread starts").thread().clone()
        };
        crew.helpers.get_or_init(|| (1..=helpers).map(start).collect());
        crew
    }

    /// How many threads there are, the one who is helped included.
    pub(super) fn threads(&self) -> usize {
        self.helpers.get().map_or(1, |helpers| helpers.len() + 1)
    }

    /// Calls `work`, and lets the helpers call it too meanwhile. Each call returns when nothing is left to begin.
    pub(super) fn share(&self, work: &(dyn Fn() + Sync)) {
        let helped = match self.helped.try_lock() {
            Ok(helped) => helped,
            Err(TryLockError::Poisoned(helped)) => helped.into_inner(),
            // They help somebody else, or this is a piece of shared work itself.
            Err(TryLockError::WouldBlock) => return work(),
        };
        // SAFETY: nobody is at work, since the last who was helped waited for that. The reference is used by those only who are at work,
        // and `Closing` waits for them before this function returns.
        unsafe { *self.work.get() = std::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work) };
        let number = self.state.load(Ordering::Relaxed) / (2 * OPEN) + 1;
        self.state.store(number * 2 * OPEN + OPEN, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 {
            self.helpers.get().into_iter().flatten().for_each(thread::Thread::unpark);
        }
        let closing = Closing(self);
        work();
        drop(closing);
        drop(helped);
    }

    /// What a helper does as long as the process lives.
    fn help(&self) {
        let mut last = 0;
        loop {
            last = self.join(last);
            // SAFETY: whoever has joined may read it.
            let work = unsafe { *self.work.get() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Joins the next work after that of the number `last`, and returns its number.
    fn join(&self, last: u64) -> u64 {
        let mut looks = 0;
        loop {
            let state = self.state.load(Ordering::SeqCst);
            if is_new(state, last) {
                if self.state.compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return state / (2 * OPEN);
                }
            } else if looks < LOOKS {
                looks += 1;
                spin_loop();
            } else {
                looks = 0;
                self.asleep.fetch_add(1, Ordering::SeqCst);
                // Who opens work after this look sees that somebody is asleep.
                if !is_new(self.state.load(Ordering::SeqCst), last) {
                    thread::park();
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let crew = self.0;
        crew.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0;
        while !crew.state.load(Ordering::Acquire).is_multiple_of(OPEN) {
            if looks < PATIENCE {
                looks += 1;
                spin_loop();
            } else {
                thread::yield_now();
            }
        }
        let panic = crew.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

fn is_new(state: u64, last: u64) -> bool {
    state & OPEN != 0 && state / (2 * OPEN) != last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up to `count` in turns, and returns how often each number came.
    fn count(crew: &Crew, count: usize) -> Vec<usize> {
        let (next, seen) = (AtomicUsize::new(0), (0..count).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
        crew.share(&|| {
            while let Some(seen) = seen.get(next.fetch_add(1, Ordering::Relaxed)) {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        seen.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn each_piece_is_done_once_however_many_help() {
        for helpers in [0, 1, 3] {
            let crew = Crew::start(helpers);
            assert_eq!(crew.threads(), helpers + 1);
            for _ in 0..2000 {
                assert_eq!(count(crew, 20), [1; 20]);
            }
        }
    }

    #[test]
    fn a_helper_that_sleeps_is_woken() {
        let crew = Crew::start(1);
        while crew.asleep.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let arrived = AtomicUsize::new(0);
        // Neither goes on before the other is there.
        crew.share(&|| {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
        });
        assert_eq!(arrived.into_inner(), 2);
    }

    #[test]
    fn work_within_work_and_of_others_at_once_is_done_alone() {
        let crew = Crew::start(1);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        crew.share(&|| assert_eq!(count(crew, 5), [1; 5]));
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_of_a_helper_reaches_the_one_who_is_helped_and_ends_nothing_else() {
        let crew = Crew::start(1);
        let helped = thread::current().id();
        let begun = AtomicUsize::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            crew.share(&|| {
                begun.fetch_add(1, Ordering::SeqCst);
                while begun.load(Ordering::SeqCst) < 2 {
                    thread::yield_now();
                }
                assert_eq!(thread::current().id(), helped, "the helper's");
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(count(crew, 50), [1; 50]);
    }
}
