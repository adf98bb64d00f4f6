//! Memory that ops of others take on behalf of a call, which they do not count themselves.

use std::borrow::Cow;

use aerostack_bindings::{Calls, Held};
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
    let held = held.map_err(|error| JsErrorBox::range_error(error.message().to_owned()))?;
    Ok(state.resource_table.add(HeldBytes { _held: held }))
}

/// The call is done.
#[op2(fast)]
pub(crate) fn op_release_bytes(state: &mut OpState, #[smi] held: ResourceId) -> Result<(), ResourceError> {
    state.resource_table.take::<HeldBytes>(held).map(drop)
}
