use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use crate::log::{Entry, Level, LogFormat};
use crate::redaction::Redaction;
use crate::style::{Paint, Role};

/// Lines on their way to the terminal before whoever writes waits.
const LINES_IN_FLIGHT: usize = 4096;

/// Request lines printed in one second; a person reads none of the rest.
const REQUEST_LINES_A_SECOND: u64 = 200;

const SECOND: Duration = Duration::from_secs(1);

/// Standard error, written by a thread of its own. Cheap to clone.
#[derive(Clone)]
pub struct Terminal {
    inner: Arc<Inner>,
}

struct Inner {
    lines: SyncSender<Message>,
    format: LogFormat,
    paint: Paint,
    redaction: Redaction,
    budget: Arc<Budget>,
}

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// Request lines of the current second.
struct Budget {
    started: Instant,
    /// The second (from 1) that `used` counts.
    second: AtomicU64,
    used: AtomicU64,
    unprinted: AtomicU64,
}

impl Terminal {
    /// Starts the writer. JSON is never coloured.
    pub fn start(format: LogFormat, paint: Paint) -> Self {
        let paint = if format == LogFormat::Json { Paint::Plain } else { paint };
        let (lines, inbox) = sync_channel(LINES_IN_FLIGHT);
        let budget = Arc::new(Budget {
            started: Instant::now(),
            second: AtomicU64::new(0),
            used: AtomicU64::new(0),
            unprinted: AtomicU64::new(0),
        });
        let counted = budget.clone();
        let redaction = Redaction::default();
        let redacting = redaction.clone();
        std::thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || write_lines(&inbox, &counted, &redacting))
            .expect("a thread can be started");
        Self { inner: Arc::new(Inner { lines, format, paint, redaction, budget }) }
    }

    /// What lines are written in.
    pub fn format(&self) -> LogFormat {
        self.inner.format
    }

    /// How text is coloured.
    pub fn paint(&self) -> Paint {
        self.inner.paint
    }

    /// What is hidden from all lines.
    pub fn redaction(&self) -> &Redaction {
        &self.inner.redaction
    }

    /// Says something: as it is to a person, as an [`Entry`] without fields to a program.
    pub fn line(&self, line: impl Into<String>) {
        self.say(Level::Info, line);
    }

    /// The same for what a program should know to be more than information.
    pub fn say(&self, level: Level, line: impl Into<String>) {
        match self.inner.format {
            LogFormat::Text => self.print(line),
            LogFormat::Json => self.entry(&Entry::new(level, line)),
        }
    }

    /// Says that something is worth a look; a person reads `warning` before it.
    pub fn warn(&self, text: &str) {
        self.say_with_word(Level::Warn, Role::Warning, "warning", text);
    }

    /// Says that something failed; a person reads `error` before it.
    pub fn error(&self, text: &str) {
        self.say_with_word(Level::Error, Role::Bad, "error", text);
    }

    fn say_with_word(&self, level: Level, role: Role, word: &str, text: &str) {
        match self.inner.format {
            LogFormat::Text => self.print(format!("{}: {text}", self.inner.paint.paint(role, word))),
            LogFormat::Json => self.entry(&Entry::new(level, text)),
        }
    }

    /// What is printed for a line: `text` for a person, `entry` for a program. Only the one that is printed is made.
    pub fn formatted(&self, text: impl FnOnce(Paint) -> String, entry: impl FnOnce() -> Entry) -> String {
        match self.inner.format {
            LogFormat::Text => text(self.inner.paint),
            LogFormat::Json => entry().to_json(SystemTime::now()),
        }
    }

    /// Prints an entry for a program.
    pub(crate) fn entry(&self, entry: &Entry) {
        self.print(entry.to_json(SystemTime::now()));
    }

    /// Prints a line, or several, that [`Terminal::formatted`] made.
    pub fn print(&self, line: impl Into<String>) {
        // An error means the writer is gone, and with it the terminal: there is nobody to tell.
        let _ = self.inner.lines.send(Message::Line(line.into()));
    }

    /// Prints the line of a request, unless this second has had enough of them; then it is counted. A program gets them all. `line`
    /// is called only when it is printed, and makes what [`Terminal::formatted`] makes.
    pub fn request_line(&self, line: impl FnOnce() -> String) {
        if self.inner.format == LogFormat::Json {
            self.print(line());
            return;
        }
        let budget = &self.inner.budget;
        let second = budget.started.elapsed().as_secs() + 1;
        if budget.second.swap(second, Ordering::Relaxed) != second {
            budget.used.store(0, Ordering::Relaxed);
        }
        if budget.used.fetch_add(1, Ordering::Relaxed) < REQUEST_LINES_A_SECOND {
            self.print(line());
        } else {
            budget.unprinted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything said so far is written.
    pub fn flush(&self) {
        let (done, flushed) = sync_channel(1);
        if self.inner.lines.send(Message::Flush(done)).is_ok() {
            let _ = flushed.recv();
        }
    }
}

fn write_lines(inbox: &Receiver<Message>, budget: &Budget, redaction: &Redaction) {
    let mut buffer = Vec::new();
    loop {
        match inbox.recv_timeout(SECOND) {
            Ok(message) => accept(message, &mut buffer, redaction),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Whatever else is waiting leaves in the same write.
        while let Ok(message) = inbox.try_recv() {
            accept(message, &mut buffer, redaction);
        }
        let unprinted = budget.unprinted.swap(0, Ordering::Relaxed);
        if unprinted > 0 {
            buffer.extend_from_slice(format!("... and {unprinted} more requests\n").as_bytes());
        }
        write_out(&mut buffer);
    }
}

fn accept(message: Message, buffer: &mut Vec<u8>, redaction: &Redaction) {
    match message {
        Message::Line(line) => {
            buffer.extend_from_slice(redaction.redacted(&line).as_bytes());
            buffer.push(b'\n');
        }
        Message::Flush(done) => {
            write_out(buffer);
            let _ = done.send(());
        }
    }
}

fn write_out(buffer: &mut Vec<u8>) {
    // A closed terminal must not end the server.
    let _ = std::io::stderr().lock().write_all(buffer);
    buffer.clear();
}
