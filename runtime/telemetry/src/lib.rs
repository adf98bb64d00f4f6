//! What is seen of a running server from outside: by a person at the terminal, and by programs that read its metrics.
//!
//! Every line goes through one [`Terminal`]: a writer thread of its own, so that a slow terminal never holds up a request, and
//! a budget of request lines a second, past which they are counted instead of printed.

pub mod metrics;
mod style;
mod terminal;

pub use style::{Paint, Role};
pub use terminal::Terminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Sends `tracing` events of `filter` (for example `warn` or `aerostack=debug`) to the terminal. Call once a process.
pub fn install_tracing(terminal: &Terminal, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let writer = TerminalWriter(terminal.clone());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal.paint().is_coloured())
        .without_time()
        .with_target(false)
        .with_writer(writer)
        .finish();
    // An error means a test or an embedder has set its own: theirs stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct TerminalWriter(Terminal);

impl<'a> MakeWriter<'a> for TerminalWriter {
    type Writer = EventWriter;

    fn make_writer(&'a self) -> EventWriter {
        EventWriter { terminal: self.0.clone(), event: Vec::new() }
    }
}

/// Collects one event, which arrives in pieces, and prints it as lines.
struct EventWriter {
    terminal: Terminal,
    event: Vec<u8>,
}

impl std::io::Write for EventWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.event.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        let event = String::from_utf8_lossy(&self.event);
        if !event.trim_end().is_empty() {
            self.terminal.line(event.trim_end());
        }
    }
}
