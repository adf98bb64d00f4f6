//! The stores a cache can lie in, one file each.

pub mod sqlite;
