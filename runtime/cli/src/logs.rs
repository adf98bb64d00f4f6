use std::fmt::Write as _;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use aerostack_isolate::{ConsoleLevel, ErrorReport, Failure, JsError, WorkerLog, WorkerVersion};
use aerostack_modules::FrameStyle;
use aerostack_server::{FinishedRequest, RequestLog};
use aerostack_telemetry::{Paint, Role, Terminal};

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
        self.terminal.request_line(|| {
            let paint = self.terminal.paint();
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
        });
    }

    fn failed(&self, request: &str, failure: &Failure, version: &WorkerVersion) {
        match failure {
            Failure::Exception(error) => {
                self.terminal.line(exception_text(self.terminal.paint(), Some(request), error, version));
            }
            Failure::Hung => self.terminal.line(format!(
                "{} {}: the handler waits for something that can never happen, and would never generate a response",
                self.terminal.paint().paint(Role::Bad, "error"),
                printable(request)
            )),
            // Said once by the worker, and by the status of each request: a line more a request would be a flood of its own.
            Failure::Overloaded(_) => {}
            Failure::Stopped(reason) | Failure::Exceeded(reason) => self.terminal.line(format!(
                "{} {}: {reason}",
                self.terminal.paint().paint(Role::Bad, "error"),
                printable(request)
            )),
        }
    }
}

/// Where finished lines go.
pub(crate) trait LineSink: Send + Sync {
    /// Takes a line, or several.
    fn line(&self, line: String);
}

impl LineSink for Terminal {
    fn line(&self, line: String) {
        Self::line(self, line);
    }
}

/// A worker's console and the errors it did not catch.
pub(crate) struct WorkerLines {
    sink: Arc<dyn LineSink>,
    paint: Paint,
    /// Set once the version exists; it owns this log.
    version: OnceLock<Weak<WorkerVersion>>,
}

impl WorkerLines {
    pub(crate) fn new(sink: Arc<dyn LineSink>, paint: Paint) -> Arc<Self> {
        Arc::new(Self { sink, paint, version: OnceLock::new() })
    }

    pub(crate) fn belongs_to(&self, version: &Arc<WorkerVersion>) {
        // Called once for each log; a second call would name the same version.
        let _ = self.version.set(Arc::downgrade(version));
    }
}

impl WorkerLog for WorkerLines {
    fn console(&self, request: Option<&str>, level: ConsoleLevel, message: &str) {
        let paint = self.paint;
        let (word, role) = match level {
            ConsoleLevel::Debug => ("debug", Role::Quiet),
            ConsoleLevel::Info => ("log", Role::Name),
            ConsoleLevel::Warn => ("warn", Role::Warning),
            ConsoleLevel::Error => ("error", Role::Bad),
        };
        let mut text = format!("  {}", paint.paint(role, word));
        if let Some(request) = request {
            let _ = write!(text, " {}", paint.paint(Role::Quiet, &printable(request)));
        }
        let root =
            self.version.get().and_then(Weak::upgrade).map(|version| format!("file://{}/", version.root.display()));
        // Stacks of logged errors: the runtime's own frames say nothing to the user, and paths read better without the root.
        let is_own_frame = |line: &&str| !(line.trim_start().starts_with("at ") && line.contains("(ext:"));
        let mut lines = message.split('\n').filter(is_own_frame).map(|line| match &root {
            Some(root) => printable(&line.replace(root.as_str(), "")),
            None => printable(line),
        });
        let _ = write!(text, " {}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = write!(text, "\n    {line}");
        }
        self.sink.line(text);
    }

    fn limit_met(&self, request: Option<&str>, text: &str) {
        let request = request.map_or(String::new(), |request| format!(" {}", printable(request)));
        let word = self.paint.paint(Role::Warning, "limit");
        self.sink.line(format!("  {word}{} {text}", self.paint.paint(Role::Quiet, &request)));
    }

    fn uncaught(&self, request: Option<&str>, error: &JsError) {
        self.sink.line(match self.version.get().and_then(Weak::upgrade) {
            Some(version) => exception_text(self.paint, request, error, &version),
            None => error.exception_message.clone(),
        });
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
            let stack = report.stack_text();
            if let Some((_, stack)) = stack.split_once('\n') {
                let _ = write!(text, "\n{}", paint.paint(Role::Quiet, stack));
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

/// Text from outside, unable to move the cursor of the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() && character != '\t' { '\u{fffd}' } else { character })
        .collect()
}
