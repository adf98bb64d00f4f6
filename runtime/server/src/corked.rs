use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use aerostack_isolate::{AtTurnEnd, Host};
use bytes::Buf;
use tokio::io::AsyncWrite;

use crate::open_socket::OpenSocket;
use crate::wire::Writing;

/// What is held of a connection's answers at most.
const HELD_BYTES: usize = 16 * 1024;

/// Memory that is kept for the next answer.
const KEPT_BYTES: usize = 1024;

/// Slices that are handed to the system at once.
const SLICES: usize = 4;

/// What goes out on a connection. Small answers are held to the end of the thread's turn where many come in one. Sent one right
/// after the other they wake their client once, and not once each.
pub(crate) struct Corked(Rc<Cork>);

struct Cork {
    io: RefCell<Writing>,
    held: RefCell<Held>,
    /// The system did not take all that was held when the turn ended, or refused it.
    is_stuck: Cell<bool>,
    host: Rc<Host>,
    socket: Arc<OpenSocket>,
}

#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    sent: usize,
    /// The end of the turn will send it.
    is_due: bool,
    /// Of who wrote it.
    waker: Option<Waker>,
}

impl Corked {
    pub(crate) fn new(io: Writing, host: Rc<Host>, socket: Arc<OpenSocket>) -> Self {
        Self(Rc::new(Cork { io: RefCell::new(io), held: RefCell::default(), is_stuck: Cell::new(false), host, socket }))
    }

    /// Whether so much more may wait for [`Self::poll_deliver`].
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.0.held.borrow().bytes.len() + length <= HELD_BYTES
    }

    /// Has `write` add to what is delivered next.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.0.held.borrow_mut().bytes);
    }

    /// Sends what was added, or leaves it to the end of the turn.
    pub(crate) fn poll_deliver(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.hold(context, 0, |_| {}) { Poll::Ready(Ok(())) } else { self.poll_send(context, &mut &[][..]) }
    }

    /// Sends on what the system did not take before; an error when that is refused.
    pub(crate) fn send_on(&self, context: &mut Context<'_>) -> io::Result<()> {
        match self.0.poll_flush(context) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    /// Says that nothing more will come, after all that was added.
    pub(crate) async fn shut_down(&self) -> io::Result<()> {
        poll_fn(|context| self.0.poll_shutdown(context)).await
    }

    /// Sends what was added, and `rest` after it.
    pub(crate) fn poll_send(&self, context: &mut Context<'_>, rest: &mut impl Buf) -> Poll<io::Result<()>> {
        self.0.poll_send(context, rest)
    }
}

impl Cork {
    /// Takes what `write` adds, if it and all before it is to be sent at the end of the turn.
    fn hold(self: &Rc<Self>, context: &Context<'_>, length: usize, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut held = self.held.borrow_mut();
        let is_small = held.sent == 0 && held.bytes.len() + length <= HELD_BYTES;
        if !is_small || self.is_stuck.get() || !held.is_due && !self.host.answers_come_quickly() {
            return false;
        }
        write(&mut held.bytes);
        if !std::mem::replace(&mut held.is_due, true) {
            if held.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
                held.waker = Some(context.waker().clone());
            }
            drop(held);
            self.socket.holds_answer(true);
            self.host.at_turn_end(self.clone());
        }
        true
    }

    /// Sends all that is held, and `rest` after it.
    fn poll_send(&self, context: &mut Context<'_>, rest: &mut impl Buf) -> Poll<io::Result<()>> {
        let mut held = self.held.borrow_mut();
        let held = &mut *held;
        let mut io = self.io.borrow_mut();
        loop {
            let unsent = &held.bytes[held.sent..];
            let sent = match (unsent.is_empty(), rest.has_remaining()) {
                (true, false) => break,
                (false, false) => Pin::new(&mut *io).poll_write(context, unsent),
                (_, true) => {
                    let mut slices = [IoSlice::new(unsent); SLICES];
                    let filled = 1 + rest.chunks_vectored(&mut slices[1..]);
                    Pin::new(&mut *io).poll_write_vectored(context, &slices[usize::from(unsent.is_empty())..filled])
                }
            };
            let sent = ready!(sent)?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = sent.min(unsent.len());
            held.sent += of_held;
            rest.advance(sent - of_held);
        }
        held.sent = 0;
        if held.bytes.capacity() > KEPT_BYTES {
            held.bytes = Vec::new();
        }
        held.bytes.clear();
        self.is_stuck.set(false);
        self.socket.holds_answer(false);
        Poll::Ready(Ok(()))
    }

    /// Sends what the end of the turn will not, or could not.
    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_left_alone = {
            let held = self.held.borrow();
            held.bytes.is_empty() || held.is_due && !self.is_stuck.get()
        };
        if is_left_alone { Poll::Ready(Ok(())) } else { self.poll_send(context, &mut &[][..]) }
    }

    fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context, &mut &[][..]))?;
        Pin::new(&mut *self.io.borrow_mut()).poll_shutdown(context)
    }
}

impl AtTurnEnd for Cork {
    fn turn_ended(self: Rc<Self>) {
        self.held.borrow_mut().is_due = false;
        if let Poll::Ready(Ok(())) = self.poll_send(&mut Context::from_waker(Waker::noop()), &mut &[][..]) {
            return;
        }
        // Whoever wrote it flushes it, and finds the error if there is one.
        self.is_stuck.set(true);
        if let Some(waker) = &self.held.borrow().waker {
            waker.wake_by_ref();
        }
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.0.hold(context, length, |bytes| slices.iter().for_each(|slice| bytes.extend_from_slice(slice))) {
            return Poll::Ready(Ok(length));
        }
        ready!(self.0.poll_send(context, &mut &[][..]))?;
        Pin::new(&mut *self.0.io.borrow_mut()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.io.borrow().is_write_vectored()
    }

    /// What is held counts as flushed.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_flush(context))?;
        Pin::new(&mut *self.0.io.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(context)
    }
}
