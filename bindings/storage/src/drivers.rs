//! The stores a bucket can lie in, one file each.

pub mod fs;

use aerostack_bindings::DriverSpec;

/// The drivers of this kind, the default first.
pub const DRIVERS: &[DriverSpec] = &[DriverSpec { name: "fs", options: &[] }];
