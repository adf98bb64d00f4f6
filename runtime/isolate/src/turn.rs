use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Work that is put off to the end of the turn of its thread.
pub trait AtTurnEnd {
    /// Everything that was ready when the turn began has run.
    fn turn_ended(self: Rc<Self>);
}

/// What is put off on one thread.
pub(crate) struct TurnEnd {
    due: RefCell<Vec<Rc<dyn AtTurnEnd>>>,
    waker: RefCell<Option<Waker>>,
    asked: Cell<Instant>,
}

/// Apart from each other by more than this, two pieces of work are not worth being put together.
const APART: Duration = Duration::from_micros(500);

/// So much work ends the turn: what was put off first has waited long enough.
const ENOUGH: usize = 64;

impl TurnEnd {
    pub(crate) fn new() -> Self {
        Self {
            due: RefCell::new(Vec::with_capacity(ENOUGH)),
            waker: RefCell::new(None),
            asked: Cell::new(Instant::now()),
        }
    }

    pub(crate) fn is_worth_it(&self) -> bool {
        let now = Instant::now();
        now.duration_since(self.asked.replace(now)) < APART
    }

    pub(crate) fn add(&self, work: Rc<dyn AtTurnEnd>) {
        let count = {
            let mut due = self.due.borrow_mut();
            due.push(work);
            due.len()
        };
        if count >= ENOUGH {
            self.end();
        } else if count == 1
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    fn end(&self) {
        let mut due = self.due.replace(Vec::with_capacity(ENOUGH));
        for work in due.drain(..) {
            work.turn_ended();
        }
    }

    /// Ends turns for as long as the thread lives. A task that is woken runs after all that are ready already.
    pub(crate) async fn drive(self: Rc<Self>) {
        poll_fn(|context| {
            self.end();
            let mut waker = self.waker.borrow_mut();
            if waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
            Poll::<()>::Pending
        })
        .await;
    }
}
