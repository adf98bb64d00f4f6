//! What is seen of a running server from outside: by a person at the terminal, and by
//! programs that read its log, its metrics and its traces.
//!
//! Every line goes through one [`Terminal`]: a writer thread of its own, so that a slow terminal never holds up a request, and
//! a budget of request lines a second, past which they are counted instead of printed. Values of secrets are hidden on the way
//! ([`Redaction`]), whoever wrote the line: the runtime, a worker's console, or the panic that ends it all.

mod escapes;
mod log;
pub mod machine_memory;
pub mod metrics;
pub mod otlp;
mod redaction;
mod style;
mod terminal;

pub use escapes::{shown, without_colours};
pub use log::{Entry, Level, LogFormat, install_tracing};
pub use redaction::Redaction;
pub use style::{ColourChoice, Paint, Role};
pub use terminal::{Paints, Stream, Terminal};

/// Sends the message of a panic through the terminal, so that it shows no secret either. Call once a process.
pub fn install_panic_hook(terminal: &Terminal) {
    let terminal = terminal.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let trace = std::backtrace::Backtrace::capture();
        let shown = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        terminal.say(Level::Error, format!("thread {:?} {panic}{shown}", thread.name().unwrap_or("without a name")));
        terminal.flush();
    }));
}
