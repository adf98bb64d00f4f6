//! Which bytes may come next in an answer that has to be JSON.
//!
//! [`JsonState`] reads an answer byte by byte and refuses the first one with which it could no longer become JSON of the wanted
//! shape. Where a schema leaves a choice (`anyOf`, which property comes next), every way that is still open is followed at once.
//! What a shape does not say (`pattern`, `minimum` ...) is checked when the answer is whole, by [`crate::conform`].

mod machine;
mod shape;

use std::sync::Arc;

use self::machine::Machine;
pub(super) use self::shape::Shapes;

/// The ways that an answer so far can be read. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct JsonState {
    shapes: Arc<Shapes>,
    open: Vec<Machine>,
}

impl JsonState {
    /// Before the first byte of an answer that has the shape of `shapes`.
    pub(super) fn new(shapes: Arc<Shapes>) -> Self {
        let mut open = Vec::new();
        Machine::begin(&shapes, &mut open);
        Self { shapes, open }
    }

    /// Takes the bytes of a token. Where they cannot come next, the answer is false and the state is of no more use.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            let mut next = Vec::with_capacity(self.open.len());
            for machine in self.open.drain(..) {
                machine.take(*byte, &self.shapes, &mut next);
            }
            self.open = next;
            if self.open.is_empty() {
                return false;
            }
        }
        true
    }

    /// Whether these bytes can come next.
    pub(super) fn allows(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && self.clone().take(bytes)
    }

    /// Whether the answer may end here.
    pub(super) fn may_end(&self) -> bool {
        self.open.iter().any(Machine::may_end)
    }

    /// Whether the answer has to end here: nothing can follow.
    pub(super) fn is_over(&self) -> bool {
        self.open.iter().all(Machine::is_over)
    }
}

#[cfg(test)]
mod tests;
