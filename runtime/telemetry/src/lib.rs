//! What is seen of a running server from outside: by a person at the terminal, and by
//! programs that read its log, its metrics and its traces.
//!
//! Every line goes through one [`Terminal`]: a writer thread of its own, so that a slow terminal never holds up a request, and
//! a budget of request lines a second, past which they are counted instead of printed.

mod log;
pub mod metrics;
pub mod otlp;
mod style;
mod terminal;

pub use log::{Entry, Level, LogFormat, install_tracing};
pub use style::{Paint, Role};
pub use terminal::Terminal;
