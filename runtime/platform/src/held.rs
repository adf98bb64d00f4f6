//! Memory that ops of others take on behalf of a call, which they do not count themselves.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use aerostack_bindings::{Calls, Error, Held, Memory};
use deno_core::error::ResourceError;
use deno_core::{OpState, Resource, ResourceId, op2};
use deno_error::JsErrorBox;

struct HeldBytes {
    _held: Held,
}

impl Resource for HeldBytes {
    fn name(&self) -> Cow<'_, str> {
        "heldBytes".into()
    }
}

/// Has bytes count until [`op_release_bytes`].
#[op2(fast)]
#[smi]
pub(crate) fn op_hold_bytes(state: &mut OpState, #[number] bytes: u64) -> Result<ResourceId, JsErrorBox> {
    let held = state.borrow::<Calls>().memory().hold(usize::try_from(bytes).unwrap_or(usize::MAX));
    let held = held.map_err(|error| out_of_memory(&error))?;
    Ok(state.resource_table.add(HeldBytes { _held: held }))
}

/// The call is done.
#[op2(fast)]
pub(crate) fn op_release_bytes(state: &mut OpState, #[smi] held: ResourceId) -> Result<(), ResourceError> {
    state.resource_table.take::<HeldBytes>(held).map(drop)
}

/// Stands in for deno_core's op of this name, which gathers a body without a bound before V8 sees any of it.
#[op2]
#[buffer]
pub(crate) async fn op_read_all(
    state: Rc<RefCell<OpState>>,
    #[smi] resource: ResourceId,
) -> Result<Vec<u8>, JsErrorBox> {
    let (resource, memory) = {
        let state = state.borrow();
        let resource = state.resource_table.get_any(resource).map_err(JsErrorBox::from_err)?;
        (resource, state.borrow::<Calls>().memory().clone())
    };
    // What is only announced takes no memory yet.
    let announced = resource.size_hint().1.and_then(|most| usize::try_from(most).ok()).unwrap_or(0);
    let mut all = Vec::with_capacity(announced.min(MOST_ANNOUNCED));
    let mut held = memory.hold_anyway(0);
    loop {
        let piece = resource.clone().read(PIECE_BYTES).await?;
        if piece.is_empty() {
            return Ok(all);
        }
        let length = all.len() + piece.len();
        if length > held.bytes() + Memory::FREE {
            held.grow_to(length.next_multiple_of(COUNTED_STEP)).map_err(|error| out_of_memory(&error))?;
        }
        all.extend_from_slice(&piece);
    }
}

const PIECE_BYTES: usize = 64 * 1024;
/// How many more bytes are counted at once.
const COUNTED_STEP: usize = 1024 * 1024;
/// For how many bytes that are announced room is made.
const MOST_ANNOUNCED: usize = 128 * 1024 * 1024;

fn out_of_memory(error: &Error) -> JsErrorBox {
    JsErrorBox::range_error(error.message().to_owned())
}
