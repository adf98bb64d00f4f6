use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Work that is put off to the end of the turn of its thread.
pub trait AtTurnEnd {
    /// Everything that was ready when the turn began has run.
    fn turn_ended(self: Rc<Self>);
}

/// What is put off on one thread.
pub(crate) struct TurnEnd {
    due: RefCell<Vec<Rc<dyn AtTurnEnd>>>,
    waker: RefCell<Option<Waker>>,
    /// How often it was asked for in this turn, and in the last one in which it was.
    asked: Cell<usize>,
    asked_before: Cell<usize>,
}

/// Where so many pieces of work are ready in one turn, it is worth putting them together. Fewer come from as few clients: held back, they
/// would all come at the end, while their clients, and then this thread, have nothing to do. Four that ask for a hello world get 1.6
/// times as many answers without.
const MANY: usize = 8;

/// So much work ends the turn: what was put off first has waited long enough.
const ENOUGH: usize = 64;

impl TurnEnd {
    pub(crate) fn new() -> Self {
        Self {
            due: RefCell::new(Vec::with_capacity(ENOUGH)),
            waker: RefCell::new(None),
            asked: Cell::new(0),
            asked_before: Cell::new(0),
        }
    }

    pub(crate) fn is_worth_it(&self) -> bool {
        let asked = self.asked.get() + 1;
        self.asked.set(asked);
        if asked == 1 {
            self.wake();
        }
        asked.max(self.asked_before.get()) >= MANY
    }

    /// Has the end of the turn come when all is done that is ready.
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn add(&self, work: Rc<dyn AtTurnEnd>) {
        let count = {
            let mut due = self.due.borrow_mut();
            due.push(work);
            due.len()
        };
        if count >= ENOUGH {
            self.end();
        } else if count == 1 {
            self.wake();
        }
    }

    fn end(&self) {
        if self.due.borrow().is_empty() {
            return;
        }
        let mut due = self.due.replace(Vec::with_capacity(ENOUGH));
        for work in due.drain(..) {
            work.turn_ended();
        }
    }

    /// Ends turns for as long as the thread lives. A task that is woken runs after all that are ready already.
    pub(crate) async fn drive(self: Rc<Self>) {
        poll_fn(|context| {
            self.end();
            self.asked_before.set(self.asked.replace(0));
            let mut waker = self.waker.borrow_mut();
            if waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
            Poll::<()>::Pending
        })
        .await;
    }
}
