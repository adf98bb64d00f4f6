use std::fmt::Write as _;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use aerostack_isolate::{Caller, ConsoleLevel, ErrorReport, Failure, JsError, WorkerLog, WorkerVersion};
use aerostack_modules::FrameStyle;
use aerostack_server::{FinishedRequest, RequestLog};
use aerostack_telemetry::{Entry, Level, Paint, Role, Terminal, shown, without_colours};

/// One line a request: `GET /api/items 200 1.2 ms · database 1`.
pub(crate) struct RequestLines {
    terminal: Terminal,
    answered: AnsweredRequests,
}

/// Whether requests that were answered have a line. Those that failed always have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnsweredRequests {
    Shown,
    Hidden,
}

impl RequestLines {
    pub(crate) fn new(terminal: Terminal, answered: AnsweredRequests) -> Arc<Self> {
        Arc::new(Self { terminal, answered })
    }
}

impl RequestLog for RequestLines {
    fn answered(&self, request: &FinishedRequest<'_>) {
        if self.answered == AnsweredRequests::Hidden {
            return;
        }
        self.terminal
            .request_line(|| self.terminal.formatted(|paint| request_text(paint, request), || request_entry(request)));
    }

    fn failed(&self, request: &Caller, failure: &Failure, version: &WorkerVersion) {
        // Said once by the worker, and by the status of each request: a line more a request would be a flood of its own.
        if matches!(failure, Failure::Overloaded(_)) {
            return;
        }
        self.terminal.print(self.terminal.formatted(
            |paint| match failure {
                Failure::Exception(error) => exception_text(paint, Some(&request.name), error, version),
                Failure::Hung | Failure::Stopped(_) | Failure::Overloaded(_) | Failure::Exceeded(_) => {
                    format!(
                        "{} {}: {}",
                        paint.paint(Role::Bad, "error"),
                        printable(&request.name),
                        request_failure_text(failure)
                    )
                }
            },
            || match failure {
                Failure::Exception(error) => exception_entry(Some(request), error, &version.name, Some(version)),
                Failure::Hung | Failure::Stopped(_) | Failure::Overloaded(_) | Failure::Exceeded(_) => of_caller(
                    Entry::new(Level::Error, request_failure_text(failure)).worker(&version.name),
                    Some(request),
                ),
            },
        ));
    }
}

fn request_text(paint: Paint, request: &FinishedRequest<'_>) -> String {
    let status = request.status.as_u16();
    let role = match status {
        0..=399 => Role::Good,
        400..=499 => Role::Warning,
        _ => Role::Bad,
    };
    let mut line = format!(
        "{} {} {} {}",
        request.method,
        printable(request.path),
        paint.paint(role, &status.to_string()),
        paint.paint(Role::Quiet, &milliseconds(request.took)),
    );
    for (kind, calls) in request.costs.iter() {
        let _ = write!(line, "{}", paint.paint(Role::Quiet, &format!(" · {kind} {calls}")));
    }
    line
}

fn request_entry(request: &FinishedRequest<'_>) -> Entry {
    let status = request.status.as_u16();
    let calls: serde_json::Map<_, _> =
        request.costs.iter().map(|(kind, calls)| (kind.to_owned(), calls.into())).collect();
    let mut entry = Entry::new(Level::Info, format!("{} {} {status}", request.method, request.path))
        .identity(request.identity)
        .field("method", request.method)
        .field("path", request.path)
        .field("status", status)
        .field("duration_ms", in_milliseconds(request.took));
    if !calls.is_empty() {
        entry = entry.field("binding_calls", calls);
    }
    match request.worker {
        Some(worker) => entry.worker(worker),
        None => entry,
    }
}

fn request_failure_text(failure: &Failure) -> &str {
    match failure {
        Failure::Exception(error) => &error.exception_message,
        Failure::Hung => "the handler waits for something that can never happen, and would never generate a response",
        Failure::Stopped(reason) | Failure::Overloaded(reason) | Failure::Exceeded(reason) => reason,
    }
}

/// Where finished lines go.
pub(crate) trait LineSink: Send + Sync {
    /// Takes a line, or several, as [`Terminal::formatted`] makes them.
    fn line(&self, line: String);
}

impl LineSink for Terminal {
    fn line(&self, line: String) {
        self.print(line);
    }
}

/// A worker's console and the errors it did not catch.
pub(crate) struct WorkerLines {
    worker: String,
    sink: Arc<dyn LineSink>,
    terminal: Terminal,
    /// Set once the version exists; it owns this log.
    version: OnceLock<Weak<WorkerVersion>>,
}

impl WorkerLines {
    /// The lines of the worker of this name. They are formatted as those of `terminal`, and go to `sink`.
    pub(crate) fn new(worker: &str, sink: Arc<dyn LineSink>, terminal: Terminal) -> Arc<Self> {
        Arc::new(Self { worker: worker.to_owned(), sink, terminal, version: OnceLock::new() })
    }

    pub(crate) fn belongs_to(&self, version: &Arc<WorkerVersion>) {
        // Called once for each log; a second call would name the same version.
        let _ = self.version.set(Arc::downgrade(version));
    }

    fn version(&self) -> Option<Arc<WorkerVersion>> {
        self.version.get().and_then(Weak::upgrade)
    }
}

impl WorkerLog for WorkerLines {
    fn console(&self, caller: Option<&Caller>, level: ConsoleLevel, message: &str) {
        self.sink.line(self.terminal.formatted(
            |paint| {
                let (word, role) = match level {
                    ConsoleLevel::Debug => ("debug", Role::Quiet),
                    ConsoleLevel::Info => ("log", Role::Name),
                    ConsoleLevel::Warn => ("warn", Role::Warning),
                    ConsoleLevel::Error => ("error", Role::Bad),
                };
                let mut text = format!("  {}", paint.paint(role, word));
                if let Some(caller) = caller {
                    let _ = write!(text, " {}", paint.paint(Role::Quiet, &printable(&caller.name)));
                }
                let message = shown(message, paint);
                let mut lines = message.split('\n');
                let _ = write!(text, " {}", lines.next().unwrap_or_default());
                for line in lines {
                    let _ = write!(text, "\n    {line}");
                }
                text
            },
            || {
                let level = match level {
                    ConsoleLevel::Debug => Level::Debug,
                    ConsoleLevel::Info => Level::Info,
                    ConsoleLevel::Warn => Level::Warn,
                    ConsoleLevel::Error => Level::Error,
                };
                of_caller(Entry::new(level, without_colours(message)).worker(&self.worker), caller)
                    .field("source", "console")
            },
        ));
    }

    fn limit_met(&self, caller: Option<&Caller>, text: &str) {
        self.sink.line(self.terminal.formatted(
            |paint| {
                let request = caller.map_or(String::new(), |caller| format!(" {}", printable(&caller.name)));
                format!("  {}{} {text}", paint.paint(Role::Warning, "limit"), paint.paint(Role::Quiet, &request))
            },
            || of_caller(Entry::new(Level::Warn, text).worker(&self.worker), caller),
        ));
    }

    fn uncaught(&self, caller: Option<&Caller>, error: &JsError) {
        let version = self.version();
        let name = caller.map(|caller| caller.name.as_str());
        self.sink.line(self.terminal.formatted(
            |paint| match &version {
                Some(version) => exception_text(paint, name, error, version),
                None => error.exception_message.clone(),
            },
            || exception_entry(caller, error, &self.worker, version.as_deref()),
        ));
    }
}

/// Names the request or event that an entry is about.
pub(crate) fn of_caller(entry: Entry, caller: Option<&Caller>) -> Entry {
    match caller {
        Some(caller) => entry.identity(caller.identity).field("request", caller.name.as_str()),
        None => entry,
    }
}

/// An error for a program: its message, and its stack as people read it.
pub(crate) fn exception_entry(
    caller: Option<&Caller>,
    error: &JsError,
    worker: &str,
    version: Option<&WorkerVersion>,
) -> Entry {
    let entry = of_caller(Entry::new(Level::Error, error.exception_message.as_str()).worker(worker), caller);
    match version {
        Some(version) => entry.field("stack", ErrorReport::new(error, version).stack_text()),
        None => entry,
    }
}

/// An error with its code frame and stack, or its stack alone when it was not thrown by the worker's own files.
pub(crate) fn exception_text(paint: Paint, request: Option<&str>, error: &JsError, version: &WorkerVersion) -> String {
    let report = ErrorReport::new(error, version);
    let mut text = String::new();
    if let Some(request) = request {
        let _ = writeln!(text, "{} {}", paint.paint(Role::Bad, "failed"), printable(request));
    }
    let style = if paint.is_coloured() { FrameStyle::Coloured } else { FrameStyle::Plain };
    match report.code_frame(style) {
        Some(frame) => {
            text.push_str(&frame);
            let trace = report.trace();
            if let Some(trace) = trace.strip_prefix('\n') {
                let _ = write!(text, "\n{}", paint.paint(Role::Quiet, trace));
            }
        }
        None => text.push_str(&report.stack_text()),
    }
    text
}

pub(crate) fn milliseconds(took: Duration) -> String {
    let milliseconds = took.as_secs_f64() * 1000.0;
    if milliseconds < 10.0 { format!("{milliseconds:.1} ms") } else { format!("{milliseconds:.0} ms") }
}

/// For programs: a number, to the microsecond.
pub(crate) fn in_milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// Text from outside, unable to move the cursor of the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character })
        .collect()
}
