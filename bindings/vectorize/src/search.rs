//! Finding the nearest vectors in memory. Knows nothing of where they come from.
//!
//! Every vector has a *slot*, a number from zero that stays its own until it is deleted, and then may become another's.
//! [`Space`] holds the components, contiguous and in float32; [`scan`] compares a query with all of them, exactly;
//! [`Approximate`] finds nearly the same much faster where there are many, with a [`Graph`]. [`Columns`] answers filters for all slots at once.

mod approximate;
mod chunk;
mod columns;
pub mod distance;
mod graph;
mod nearest;
mod scan;
mod slots;
mod space;

pub use approximate::{Approximate, BREADTHS, Samples, WANTED_RECALL};
pub use columns::Columns;
pub use graph::{Graph, GraphFile, GraphFileError, Plan, Stamp};
pub use nearest::{Near, Nearest};
pub use scan::{nearest as scan, threads_for};
pub use slots::Slots;
pub use space::{PreparedQuery, Space};
