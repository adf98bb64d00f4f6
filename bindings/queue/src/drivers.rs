//! The stores queues can lie in, one file each.

pub mod sqlite;
