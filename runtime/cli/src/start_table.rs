//! What a started server says of itself: a table of each worker's bindings and triggers, and the line with its URL.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aerostack_bindings::{BindingInfo, BindingState};
use aerostack_telemetry::{Entry, Level, Role};

use crate::limits_line::limits_line;
use crate::logs::milliseconds;
use crate::running::{Running, StartedWorker};

/// Prints the tables.
pub(crate) fn print_table(running: &Running, started: &[StartedWorker]) {
    let paint = running.terminal.paint();
    for (worker, bindings) in started {
        let route = running.config.worker(worker).and_then(|worker| worker.route.as_ref());
        let place = route.map_or(String::new(), |route| format!("  {}", route.pattern));
        let mut table = format!("{}{}", paint.paint(Role::Strong, worker), paint.paint(Role::Quiet, &place));
        for info in bindings {
            let state = match &info.state {
                BindingState::Ready => paint.paint(Role::Good, "ready"),
                BindingState::Lazy => paint.paint(Role::Quiet, "at first use"),
                BindingState::Failed(reason) => paint.paint(Role::Bad, &format!("failed: {reason}")),
            };
            let summary = info.summary.replace(&format!("{}/", running.config.root.display()), "");
            let _ = write!(table, "\n  {:<12} {:<10} {:<8} {summary:<48} {state}", info.name, info.kind, info.driver);
        }
        let config = running.config.worker(worker);
        for [name, kind, what, then] in config.map_or_else(Vec::new, |config| running.background.described(config)) {
            let _ = write!(table, "\n  {name:<12} {kind:<19} {what:<48} {}", paint.paint(Role::Quiet, &then));
        }
        if let Some(config) = config {
            let _ = write!(table, "\n  {:<12} {}", "limits", paint.paint(Role::Quiet, &limits_line(&config.limits)));
        }
        running.terminal.print(running.terminal.formatted(|_| table, || start_entry(worker, bindings)));
    }
}

/// Prints the line that says where the server is, and that it is ready.
pub(crate) fn print_ready(running: &Running, address: SocketAddr, took: Duration) {
    let paint = running.terminal.paint();
    let url = format!("http://{}", display_address(address));
    let took = format!("in {}", milliseconds(took));
    running.terminal.line(format!(
        "{} {} {}",
        paint.paint(Role::Good, "ready"),
        paint.paint(Role::Strong, &url),
        paint.paint(Role::Quiet, &took)
    ));
}

/// What a program reads of a worker at the start: its bindings.
fn start_entry(worker: &str, bindings: &[BindingInfo]) -> Entry {
    let binding = |info: &BindingInfo| {
        let state = match &info.state {
            BindingState::Ready => "ready".to_owned(),
            BindingState::Lazy => "at first use".to_owned(),
            BindingState::Failed(reason) => format!("failed: {reason}"),
        };
        serde_json::json!({
            "name": info.name, "kind": info.kind, "driver": info.driver, "where": info.summary, "state": state,
        })
    };
    let bindings: Vec<serde_json::Value> = bindings.iter().map(binding).collect();
    Entry::new(Level::Info, format!("loaded {worker}")).worker(worker).field("bindings", bindings)
}

/// What a person types into a browser: loopback has a name.
fn display_address(address: SocketAddr) -> String {
    if address.ip() == IpAddr::from([127, 0, 0, 1]) {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}
