//! One line of the log, for a person or for a program.

mod entry;
mod events;

pub use entry::{Entry, Level, LogFormat};
pub use events::install_tracing;
