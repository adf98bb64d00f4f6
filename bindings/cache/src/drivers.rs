//! The stores a cache can lie in, one file each.

pub mod sqlite;

use aerostack_bindings::DriverSpec;

/// The drivers of this kind, the default first.
pub const DRIVERS: &[DriverSpec] = &[DriverSpec { name: "sqlite", options: &[] }];
