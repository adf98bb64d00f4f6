//! The `STORAGE` binding: what Workers call an R2 bucket.
//!
//! [`NamedStorage`] is the binding itself: it checks arguments, gives them the meaning and the error texts of R2 (Cloudflare
//! contract, section 4) and calls a [`StorageDriver`]. The rules that a driver must apply in the middle of its own work (whether a
//! condition holds, which bytes a range means, which parts make an object) are written once, in [`conditional`], [`range`],
//! [`checksum`] and [`multipart`]. The JavaScript face is in [`ops`] and in `js/bindings/storage.ts`; nothing else here knows
//! V8.

mod binding;
pub mod checksum;
pub mod conditional;
#[cfg(feature = "conformance")]
pub mod conformance;
mod driver;
pub mod drivers;
pub mod limits;
pub mod listing;
mod metadata;
pub mod multipart;
#[cfg(feature = "ops")]
pub mod ops;
pub mod range;

pub use binding::{ListOptions, NamedStorage, ObjectPage};
pub use driver::{
    Body, Found, GetRequest, Include, ListRequest, Listing, NewObject, NewPart, NewUpload, Object, StorageDriver,
    Upload, UploadedPart,
};
pub use metadata::{CustomMetadata, HttpMetadata, StorageClass};

/// The kind of this binding, as [`aerostack_bindings::BindingInfo`] shows it.
pub const KIND: &str = "storage";
