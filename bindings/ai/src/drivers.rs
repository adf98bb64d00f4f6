//! What can answer for an `AI` binding, one folder or file each.

#[cfg(feature = "candle")]
pub mod candle;
#[cfg(feature = "openai")]
pub mod openai;
pub mod router;

use aerostack_bindings::DriverSpec;

/// What can run a model, the default first. What each needs are keys of the model's own table.
pub const DRIVERS: &[DriverSpec] =
    &[DriverSpec { name: "candle", options: &[] }, DriverSpec { name: "openai", options: &[] }];
