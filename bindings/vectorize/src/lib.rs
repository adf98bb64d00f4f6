//! The `VECTORIZE` binding: what Workers call a Vectorize index.
//!
//! [`NamedVectorIndex`] is the binding itself: it checks arguments, gives them the meaning and the error texts of Vectorize V2
//! (Cloudflare contract, section 5) and calls a [`VectorDriver`], which stores and searches. The JavaScript face is in [`ops`]
//! and in `js/bindings/vectorize.ts`; nothing else here knows V8.

mod binding;
#[cfg(feature = "conformance")]
pub mod conformance;
mod driver;
pub mod drivers;
pub mod filter;
pub mod limits;
#[cfg(feature = "ops")]
pub mod ops;
pub mod search;

pub use binding::{NamedVectorIndex, QueryOptions, ReturnMetadata};
pub use driver::{Description, Match, Metric, Mutation, Query, Vector, VectorDriver, Writing};

/// The kind of this binding, as [`aerostack_bindings::BindingInfo`] shows it.
pub const KIND: &str = "vectorize";
