//! The `CACHE` binding: what Workers call a KV namespace.
//!
//! [`NamedCache`] is the binding itself: it checks arguments, gives them the meaning and the error texts of Workers KV
//! (Cloudflare contract, section 2) and calls a [`CacheDriver`], which only stores. The JavaScript face is in [`ops`] and in
//! `js/bindings/cache.ts`; nothing else here knows V8.

mod binding;
#[cfg(feature = "conformance")]
pub mod conformance;
mod driver;
pub mod drivers;
pub mod limits;
#[cfg(feature = "ops")]
pub mod ops;

pub use binding::{KeyPage, NamedCache};
pub use driver::{CacheDriver, Entry, ListedKey, Listing};

/// The kind of this binding, as [`aerostack_bindings::BindingInfo`] shows it.
pub const KIND: &str = "cache";
