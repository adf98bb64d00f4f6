//! The stores a bucket can lie in, one file each.

pub mod fs;
