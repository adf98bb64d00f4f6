//! What a started server says of itself: a table of each worker's bindings and triggers, and the line with its URL.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use aerostack_bindings::{BindingInfo, BindingState};
use aerostack_modules::Graph;
use aerostack_telemetry::{Entry, Level, Role, Terminal};

use crate::limits_line::changed_limits;
use crate::logs::milliseconds;
use crate::running::Running;

/// Prints the tables.
pub(crate) fn print_table(running: &Running) {
    let paint = running.terminal.paint();
    for config in &running.config.workers {
        let (Some(bindings), Some(worker)) = (running.bindings.get(&config.name), running.workers.get(&config.name))
        else {
            continue;
        };
        let place = config.route.as_ref().map_or(String::new(), |route| format!("  {}", route.pattern));
        let mut table = format!("{}{}", paint.paint(Role::Strong, &config.name), paint.paint(Role::Quiet, &place));
        let version = worker.version();
        let is_used =
            |info: &&BindingInfo| config.bindings.is_configured(&info.name) || mentions(&version.graph, &info.name);
        let (used, unused): (Vec<&BindingInfo>, Vec<&BindingInfo>) = bindings.iter().partition(is_used);
        let mut rows = Vec::new();
        for info in used {
            let state = match &info.state {
                BindingState::Ready => paint.paint(Role::Good, "ready"),
                BindingState::Lazy => paint.paint(Role::Quiet, "at first use"),
                BindingState::Failed(reason) => paint.paint(Role::Bad, &format!("failed: {reason}")),
            };
            let place = info.summary.replace(&format!("{}/", running.config.root.display()), "");
            rows.push(([info.name.clone(), info.kind.to_owned(), info.driver.to_owned(), place], state));
        }
        for [name, kind, what, then] in running.background.current().described(config) {
            rows.push(([name, kind, String::new(), what], paint.paint(Role::Quiet, &then)));
        }
        table.push_str(&aligned(&rows));
        if !unused.is_empty() {
            let names: Vec<&str> = unused.iter().map(|info| info.name.as_str()).collect();
            let text = format!("also on env: {}", names.join(", "));
            let _ = write!(table, "\n  {}", paint.paint(Role::Quiet, &text));
        }
        if let Some(limits) = changed_limits(&config.limits) {
            let _ = write!(table, "\n  {}", paint.paint(Role::Quiet, &format!("limits: {limits}")));
        }
        running.terminal.print(running.terminal.formatted(|_| table, || start_entry(&config.name, bindings)));
    }
}

/// Lines with their columns as wide as the widest cell. The last cell is coloured already.
fn aligned(rows: &[([String; 4], String)]) -> String {
    let width = |column: usize| rows.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let mut lines = String::new();
    for (cells, last) in rows {
        lines.push_str("\n ");
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(lines, " {cell:<width$} ");
        }
        lines.push_str(last);
    }
    lines
}

/// Whether the worker's own files have this word anywhere, which is as much as a table needs to know: a binding that is left out of it is
/// on `env` all the same.
fn mentions(graph: &Graph, name: &str) -> bool {
    let is_own = |path: &Path| path.components().all(|part| part.as_os_str() != "node_modules");
    graph.modules.values().any(|module| is_own(&module.path) && has_word(&module.original, name))
}

fn has_word(text: &str, word: &str) -> bool {
    let continues = |character: Option<char>| {
        character.is_some_and(|character| character.is_alphanumeric() || matches!(character, '_' | '$'))
    };
    text.match_indices(word).any(|(start, _)| {
        !continues(text[..start].chars().next_back()) && !continues(text[start + word.len()..].chars().next())
    })
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

/// Prints where the server is, and that something is to be fixed before it is ready.
pub(crate) fn print_not_ready(terminal: &Terminal, address: SocketAddr, what: &str) {
    let paint = terminal.paint();
    let url = format!("http://{}", display_address(address));
    let text = format!("{} {} {what}", paint.paint(Role::Bad, "not ready"), paint.paint(Role::Strong, &url));
    terminal.say(Level::Error, text);
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

#[cfg(test)]
mod tests {
    use super::has_word;

    #[test]
    fn a_binding_is_mentioned_where_its_name_stands_alone() {
        for (text, expected) in [
            ("env.DB.prepare", true),
            ("const { DB } = env", true),
            ("env['DB']", true),
            ("DB", true),
            ("DBS, MY_DB, DB_NAME, $DB", false),
            ("", false),
            ("üDB DBü DB.", true),
        ] {
            assert_eq!(has_word(text, "DB"), expected, "{text}");
        }
    }
}
