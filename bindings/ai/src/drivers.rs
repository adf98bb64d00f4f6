//! What can answer for an `AI` binding, one folder or file each.

#[cfg(feature = "candle")]
pub mod candle;
#[cfg(feature = "openai")]
pub mod openai;
pub mod router;
