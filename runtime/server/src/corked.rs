use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use aerostack_isolate::{AtTurnEnd, Host};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::open_socket::OpenSocket;
use crate::rewind::Rewind;

/// What is held of a connection's answers at most.
const HELD_BYTES: usize = 16 * 1024;

/// A connection whose small answers are held to the end of the thread's turn where answers follow each other quickly. Sent one right
/// after the other they wake their client once, and not once each.
pub(crate) struct Corked(Rc<Cork>);

struct Cork {
    io: RefCell<Rewind>,
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
    /// Of who wrote them.
    waker: Option<Waker>,
}

impl Corked {
    pub(crate) fn new(io: Rewind, host: Rc<Host>, socket: Arc<OpenSocket>) -> Self {
        Self(Rc::new(Cork { io: RefCell::new(io), held: RefCell::default(), is_stuck: Cell::new(false), host, socket }))
    }
}

impl Cork {
    /// Takes what is written now, if it is to be sent later.
    fn hold(self: &Rc<Self>, context: &Context<'_>, slices: &[IoSlice<'_>]) -> Option<usize> {
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let mut held = self.held.borrow_mut();
        if held.bytes.len() + length > HELD_BYTES || self.is_stuck.get() {
            return None;
        }
        let is_first = held.bytes.is_empty();
        if is_first && !self.host.answers_come_quickly() {
            return None;
        }
        for slice in slices {
            held.bytes.extend_from_slice(slice);
        }
        if is_first {
            if held.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
                held.waker = Some(context.waker().clone());
            }
            drop(held);
            self.socket.holds_answer(true);
            self.host.at_turn_end(self.clone());
        }
        Some(length)
    }

    /// Sends all that is held.
    fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.held.borrow_mut();
        if held.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut io = self.io.borrow_mut();
        while held.sent < held.bytes.len() {
            let sent = ready!(Pin::new(&mut *io).poll_write(context, &held.bytes[held.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            held.sent += sent;
        }
        (held.bytes, held.sent) = (Vec::new(), 0);
        self.is_stuck.set(false);
        self.socket.holds_answer(false);
        Poll::Ready(Ok(()))
    }
}

impl AtTurnEnd for Cork {
    fn turn_ended(self: Rc<Self>) {
        if let Poll::Ready(Ok(())) = self.poll_send(&mut Context::from_waker(Waker::noop())) {
            return;
        }
        // Whoever wrote it flushes it, and finds the error if there is one.
        self.is_stuck.set(true);
        if let Some(waker) = &self.held.borrow().waker {
            waker.wake_by_ref();
        }
    }
}

impl AsyncRead for Corked {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.io.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(length) = self.0.hold(context, &[IoSlice::new(bytes)]) {
            return Poll::Ready(Ok(length));
        }
        ready!(self.0.poll_send(context))?;
        Pin::new(&mut *self.0.io.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(length) = self.0.hold(context, slices) {
            return Poll::Ready(Ok(length));
        }
        ready!(self.0.poll_send(context))?;
        Pin::new(&mut *self.0.io.borrow_mut()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.io.borrow().is_write_vectored()
    }

    /// What is held counts as flushed: it needs nobody's help to be sent.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.is_stuck.get() {
            ready!(self.0.poll_send(context))?;
        }
        Pin::new(&mut *self.0.io.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_send(context))?;
        Pin::new(&mut *self.0.io.borrow_mut()).poll_shutdown(context)
    }
}
