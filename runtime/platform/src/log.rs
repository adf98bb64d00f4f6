use deno_core::error::JsError;

use crate::Caller;

/// How a line was written: `console.debug` to `console.error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleLevel {
    /// `console.debug`
    Debug,
    /// `console.log` and `console.info`
    Info,
    /// `console.warn`
    Warn,
    /// `console.error`
    Error,
}

impl ConsoleLevel {
    pub(crate) fn from_number(level: u32) -> Self {
        match level {
            0 => Self::Debug,
            1 => Self::Info,
            2 => Self::Warn,
            _ => Self::Error,
        }
    }
}

/// Where a worker's own words go: its console, and the errors it did not catch.
pub trait WorkerLog: Send + Sync {
    /// A console line, inspected, without colour, without the final newline. `caller` is what it was
    /// written for, `None` outside a handler or after its end.
    fn console(&self, caller: Option<&Caller>, level: ConsoleLevel, message: &str);

    /// An error that nobody caught and that fails no request: a rejected promise nobody awaits, a throwing timer, a rejected
    /// `waitUntil`. Frames are source-mapped.
    fn uncaught(&self, caller: Option<&Caller>, error: &JsError);

    /// A limit was met that neither fails the request nor throws: a log that is cut, a body that ends early, work that nobody waits for
    /// any more. The text names the limit and its key.
    fn limit_met(&self, caller: Option<&Caller>, text: &str);
}
