//! The stores a vector index can lie in, one file each.

pub mod sqlite;
