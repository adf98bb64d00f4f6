//! One file a driver.

pub mod sqlite;
