use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::redaction::Redaction;
use crate::style::Paint;

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
    /// Starts the writer.
    pub fn start(paint: Paint) -> Self {
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
        Self { inner: Arc::new(Inner { lines, paint, redaction, budget }) }
    }

    /// How text is coloured.
    pub fn paint(&self) -> Paint {
        self.inner.paint
    }

    /// What is hidden from all lines.
    pub fn redaction(&self) -> &Redaction {
        &self.inner.redaction
    }

    /// Prints a line, or several.
    pub fn line(&self, line: impl Into<String>) {
        // An error means the writer is gone, and with it the terminal: there is nobody to tell.
        let _ = self.inner.lines.send(Message::Line(line.into()));
    }

    /// Prints the line of a request, unless this second has had enough of them; then it is counted. `line` is called only
    /// when it is printed.
    pub fn request_line(&self, line: impl FnOnce() -> String) {
        let budget = &self.inner.budget;
        let second = budget.started.elapsed().as_secs() + 1;
        if budget.second.swap(second, Ordering::Relaxed) != second {
            budget.used.store(0, Ordering::Relaxed);
        }
        if budget.used.fetch_add(1, Ordering::Relaxed) < REQUEST_LINES_A_SECOND {
            self.line(line());
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
