//! The startup snapshot: a V8 heap in which the web platform is already set up, and the sources it left out.
//!
//! Baked by this crate's build script, which links V8 once more. Kept in a crate of its own so that only a change of the
//! platform bakes it again.

include!(concat!(env!("OUT_DIR"), "/residual.rs"));

/// The heap. Tied to this very V8 and to the extensions of `aerostack_platform::extensions`, in their order.
pub static SNAPSHOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/snapshot.bin"));
