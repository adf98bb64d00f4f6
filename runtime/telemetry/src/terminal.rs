use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::log::{Entry, Level, LogFormat};
use crate::redaction::Redaction;
use crate::style::{Paint, Role};

/// Lines on their way to the terminal, and their bytes, before whoever prints one waits.
const LINES_IN_FLIGHT: usize = 4096;
const BYTES_IN_FLIGHT: usize = 8 * 1024 * 1024;

/// Lines that wait together leave in one write of about this size at most.
const BYTES_A_WRITE: usize = 256 * 1024;

/// Request lines printed in one second; a person reads none of the rest.
const REQUEST_LINES_A_SECOND: u64 = 200;

const SECOND: Duration = Duration::from_secs(1);

/// Standard output and standard error, written by one thread of its own, in the order in which lines are said. Cheap to clone.
///
/// A handle writes to one of the two: what workers do goes to standard output ([`Terminal::output`]), what the runtime says of itself to
/// standard error. As JSON all lines are data, and go to standard output.
#[derive(Clone)]
pub struct Terminal {
    inner: Arc<Inner>,
    stream: Stream,
}

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// How the two streams are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paints {
    /// Standard output.
    pub output: Paint,
    /// Standard error.
    pub error: Paint,
}

struct Inner {
    lines: SyncSender<Message>,
    in_flight: Arc<InFlight>,
    format: LogFormat,
    paints: Paints,
    /// Where [`Terminal::output`] goes.
    output: Stream,
    redaction: Redaction,
    budget: Arc<Budget>,
}

enum Message {
    Line(Stream, String),
    Flush(SyncSender<()>),
}

/// Bytes of lines that are not written yet.
#[derive(Default)]
struct InFlight {
    bytes: Mutex<usize>,
    written: Condvar,
}

impl InFlight {
    /// Waits until there is room. A line that is longer than all the room there is waits until nothing else is left.
    fn add(&self, bytes: usize) {
        let is_full = |in_flight: &mut usize| *in_flight > 0 && *in_flight + bytes > BYTES_IN_FLIGHT;
        let in_flight = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut in_flight = self.written.wait_while(in_flight, is_full).unwrap_or_else(PoisonError::into_inner);
        *in_flight += bytes;
    }

    fn remove(&self, bytes: usize) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) -= bytes;
        self.written.notify_all();
    }
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
    /// Starts the writer and returns the handle for standard error. JSON is never coloured.
    pub fn start(format: LogFormat, paints: Paints) -> Self {
        match format {
            LogFormat::Text => Self::begin(format, paints, Stream::Error, Stream::Output),
            LogFormat::Json => {
                let paints = Paints { output: Paint::Plain, error: Paint::Plain };
                Self::begin(format, paints, Stream::Output, Stream::Output)
            }
        }
    }

    /// For a command that prints data of its own to standard output: all lines go to standard error.
    pub fn beside_data(paint: Paint) -> Self {
        let paints = Paints { output: paint, error: paint };
        Self::begin(LogFormat::Text, paints, Stream::Error, Stream::Error)
    }

    fn begin(format: LogFormat, paints: Paints, stream: Stream, output: Stream) -> Self {
        let (lines, inbox) = sync_channel(LINES_IN_FLIGHT);
        let budget = Arc::new(Budget {
            started: Instant::now(),
            second: AtomicU64::new(0),
            used: AtomicU64::new(0),
            unprinted: AtomicU64::new(0),
        });
        let counted = budget.clone();
        let in_flight = Arc::<InFlight>::default();
        let written = in_flight.clone();
        let redaction = Redaction::default();
        let redacting = redaction.clone();
        std::thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || write_lines(&inbox, &counted, &redacting, &written))
            .expect("a thread can be started");
        Self { inner: Arc::new(Inner { lines, in_flight, format, paints, output, redaction, budget }), stream }
    }

    /// The same, for what workers print and what is told of their requests and events: standard output.
    #[must_use]
    pub fn output(&self) -> Self {
        Self { inner: self.inner.clone(), stream: self.inner.output }
    }

    /// What lines are written in.
    pub fn format(&self) -> LogFormat {
        self.inner.format
    }

    /// How text is coloured.
    pub fn paint(&self) -> Paint {
        match self.stream {
            Stream::Output => self.inner.paints.output,
            Stream::Error => self.inner.paints.error,
        }
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
            LogFormat::Text => self.print(format!("{}: {text}", self.paint().paint(role, word))),
            LogFormat::Json => self.entry(&Entry::new(level, text)),
        }
    }

    /// What is printed for a line: `text` for a person, `entry` for a program. Only the one that is printed is made.
    pub fn formatted(&self, text: impl FnOnce(Paint) -> String, entry: impl FnOnce() -> Entry) -> String {
        match self.inner.format {
            LogFormat::Text => text(self.paint()),
            LogFormat::Json => entry().to_json(SystemTime::now()),
        }
    }

    /// Prints an entry for a program.
    pub(crate) fn entry(&self, entry: &Entry) {
        self.print(entry.to_json(SystemTime::now()));
    }

    /// Prints a line, or several, that [`Terminal::formatted`] made.
    pub fn print(&self, line: impl Into<String>) {
        let line = line.into();
        self.inner.in_flight.add(line.len());
        // An error means the writer is gone, and with it the terminal: there is nobody to tell.
        let _ = self.inner.lines.send(Message::Line(self.stream, line));
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

fn write_lines(inbox: &Receiver<Message>, budget: &Budget, redaction: &Redaction, in_flight: &InFlight) {
    let mut unwritten = Unwritten { stream: Stream::Error, bytes: Vec::new(), counted: 0, in_flight };
    loop {
        match inbox.recv_timeout(SECOND) {
            Ok(message) => unwritten.accept(message, redaction),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Whatever else is waiting leaves in the same write.
        while let Ok(message) = inbox.try_recv() {
            unwritten.accept(message, redaction);
        }
        let unprinted = budget.unprinted.swap(0, Ordering::Relaxed);
        if unprinted > 0 {
            unwritten.add(Stream::Output, &format!("... and {unprinted} more requests"));
        }
        unwritten.write();
    }
}

/// Lines for one of the streams that are not written yet.
struct Unwritten<'a> {
    stream: Stream,
    bytes: Vec<u8>,
    /// Bytes of these lines that are in flight; secrets were longer or shorter than what replaced them.
    counted: usize,
    in_flight: &'a InFlight,
}

impl Unwritten<'_> {
    fn accept(&mut self, message: Message, redaction: &Redaction) {
        match message {
            Message::Line(stream, line) => {
                self.add(stream, &redaction.redacted(&line));
                self.counted += line.len();
                if self.counted >= BYTES_A_WRITE {
                    self.write();
                }
            }
            Message::Flush(done) => {
                self.write();
                let _ = done.send(());
            }
        }
    }

    /// Lines for the other stream are written before, so that a terminal shows all in the order in which they were said.
    fn add(&mut self, stream: Stream, line: &str) {
        if self.stream != stream {
            self.write();
            self.stream = stream;
        }
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
    }

    fn write(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        // A closed terminal must not end the server.
        let _ = match self.stream {
            Stream::Output => {
                let mut output = std::io::stdout().lock();
                output.write_all(&self.bytes).and_then(|()| output.flush())
            }
            Stream::Error => std::io::stderr().lock().write_all(&self.bytes),
        };
        // Nothing is kept of a burst.
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_A_WRITE);
        self.in_flight.remove(std::mem::take(&mut self.counted));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{BYTES_IN_FLIGHT, InFlight};

    #[test]
    fn whoever_prints_waits_for_room_and_a_longer_line_for_an_empty_queue() {
        let in_flight = Arc::<InFlight>::default();
        in_flight.add(BYTES_IN_FLIGHT + 1);
        let has_room = Arc::new(AtomicBool::new(false));
        let (waiting, told) = (in_flight.clone(), has_room.clone());
        let waiter = std::thread::spawn(move || {
            waiting.add(1);
            told.load(Ordering::Acquire)
        });
        std::thread::yield_now();
        has_room.store(true, Ordering::Release);
        in_flight.remove(BYTES_IN_FLIGHT + 1);
        assert!(waiter.join().expect("it comes to its end"), "it did not wait");
        in_flight.add(BYTES_IN_FLIGHT - 1);
        assert_eq!(*in_flight.bytes.lock().expect("nobody panicked"), BYTES_IN_FLIGHT);
    }
}
