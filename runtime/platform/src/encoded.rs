//! Bodies that are encoded on their way out, as they are read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};

use aerostack_bindings::{Error, Held, Memory};
use deno_core::{AsyncResult, BufView, Resource};
use deno_error::JsErrorBox;

use crate::coding::{Encoder, Format, PIECE_BYTES};

/// What another resource gives, encoded. The encoder counts in `memory`.
///
/// # Errors
/// Where there is no memory left for it.
pub(crate) fn encoded(inner: Rc<dyn Resource>, format: Format, memory: &Memory) -> Result<Rc<dyn Resource>, Error> {
    let held = memory.hold(Encoder::bytes(format))?;
    let state = Encoding { encoder: Some(Encoder::new(format)), reading: None, keeps: Keeps::Nothing };
    Ok(Rc::new(EncodedResource { inner, state: RefCell::new(state), _held: held }))
}

struct EncodedResource {
    inner: Rc<dyn Resource>,
    state: RefCell<Encoding>,
    _held: Held,
}

struct Encoding {
    /// None at the end.
    encoder: Option<Encoder>,
    reading: Option<AsyncResult<BufView>>,
    keeps: Keeps,
}

/// What the encoder may still have of what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Nothing,
    Something,
}

impl Resource for EncodedResource {
    fn name(&self) -> Cow<'_, str> {
        "encodedBody".into()
    }

    fn read(self: Rc<Self>, _limit: usize) -> AsyncResult<BufView> {
        Box::pin(poll_fn(move |context| {
            let mut state = self.state.borrow_mut();
            let Encoding { encoder, reading, keeps } = &mut *state;
            loop {
                let Some(coder) = encoder else { return Poll::Ready(Ok(BufView::empty())) };
                let read = reading.get_or_insert_with(|| self.inner.clone().read(PIECE_BYTES));
                let plain = match read.as_mut().poll(context) {
                    // What is there is not kept until there is more.
                    Poll::Pending if *keeps == Keeps::Something => {
                        *keeps = Keeps::Nothing;
                        let flushed = coder.flush().map_err(JsErrorBox::from_err)?;
                        if flushed.is_empty() {
                            return Poll::Pending;
                        }
                        return Poll::Ready(Ok(flushed.into()));
                    }
                    plain => ready!(plain)?,
                };
                *reading = None;
                let output = if plain.is_empty() {
                    match encoder.take() {
                        Some(coder) => coder.finish(),
                        None => Ok(Vec::new()),
                    }
                } else {
                    *keeps = Keeps::Something;
                    coder.write(&plain)
                };
                let output = output.map_err(JsErrorBox::from_err)?;
                if !output.is_empty() {
                    return Poll::Ready(Ok(output.into()));
                }
            }
        }))
    }

    fn close(self: Rc<Self>) {
        self.inner.clone().close();
    }
}

/// Bytes that are all there.
pub(crate) struct BytesResource(RefCell<BufView>);

impl BytesResource {
    pub(crate) fn new(bytes: BufView) -> Self {
        Self(RefCell::new(bytes))
    }
}

impl Resource for BytesResource {
    fn name(&self) -> Cow<'_, str> {
        "bytes".into()
    }

    fn read(self: Rc<Self>, limit: usize) -> AsyncResult<BufView> {
        let mut rest = self.0.borrow_mut();
        let length = limit.min(rest.len());
        let piece = rest.split_to(length);
        Box::pin(std::future::ready(Ok(piece)))
    }
}
