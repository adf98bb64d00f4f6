//! Finding the nearest vectors in memory. Knows nothing of where they come from.
//!
//! Every vector has a *slot*, a number from zero that stays its own until it is deleted, and then may become another's.
//! [`Space`] holds the components, contiguous and in float32; [`scan`] compares a query with all of them, exactly.
//! [`Columns`] answers filters for all slots at once.

mod columns;
pub mod distance;
mod nearest;
mod scan;
mod slots;
mod space;

pub use columns::Columns;
pub use nearest::{Near, Nearest};
pub use scan::{nearest as scan, threads_for};
pub use slots::Slots;
pub use space::{PreparedQuery, Space};
