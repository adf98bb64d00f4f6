use std::sync::atomic::{AtomicU64, Ordering};

/// A limit that somebody met. Each is told to whoever met it, written to the log, and counted in [`Breaches`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breach {
    /// An invocation took too long on the CPU: the isolate was stopped.
    Cpu,
    /// The JavaScript heap is full: the isolate was stopped.
    Memory,
    /// ArrayBuffers and WebAssembly memories take too much: the isolate was stopped.
    ArrayBuffers,
    /// A `fetch` handler took too long to answer: 503.
    Wall,
    /// An event's handler took too long: the event failed.
    EventWall,
    /// `waitUntil` work went on for too long after the answer: nobody waits for it any more.
    WaitUntil,
    /// More requests at once than an isolate works on and lets wait: 503 at once.
    Requests,
    /// Too many `fetch` and binding calls of one invocation: the call throws.
    Subrequests,
    /// A response body is too long: 500, or cut where it has begun.
    ResponseBody,
    /// An invocation logs too much: the rest is left out.
    Log,
    /// A queue holds too much: the send throws.
    QueueBacklog,
    /// A request body is too long: 413.
    RequestBody,
    /// More connections at once than the server keeps: 503 at once.
    Connections,
}

impl Breach {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Cpu,
        Self::Memory,
        Self::ArrayBuffers,
        Self::Wall,
        Self::EventWall,
        Self::WaitUntil,
        Self::Requests,
        Self::Subrequests,
        Self::ResponseBody,
        Self::Log,
        Self::QueueBacklog,
        Self::RequestBody,
        Self::Connections,
    ];

    /// The key below `[limits]` that raises the limit; also its name in metrics.
    pub fn key(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_ms",
            Self::Memory => "memory_mb",
            Self::ArrayBuffers => "array_buffer_mb",
            Self::Wall => "wall_ms",
            Self::EventWall => "event_wall_ms",
            Self::WaitUntil => "wait_until_ms",
            Self::Requests => "concurrent_requests",
            Self::Subrequests => "subrequests",
            Self::ResponseBody => "response_body_mb",
            Self::Log => "log_kb",
            Self::QueueBacklog => "queue_backlog_mb",
            Self::RequestBody => "request_body_mb",
            Self::Connections => "connections",
        }
    }
}

/// How often each limit was met. One a worker, kept over its reloads, and one of the server; whoever shows metrics reads it.
#[derive(Debug, Default)]
pub struct Breaches([AtomicU64; Breach::ALL.len()]);

impl Breaches {
    /// Counts one.
    pub fn note(&self, breach: Breach) {
        self.0[breach as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All of them, by key.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        Breach::ALL.into_iter().map(|breach| (breach.key(), self.count(breach))).collect()
    }

    /// How often so far.
    pub fn count(&self, breach: Breach) -> u64 {
        self.0[breach as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Breach, Breaches};

    #[test]
    fn each_breach_is_counted_for_itself() {
        let breaches = Breaches::default();
        for (place, breach) in Breach::ALL.into_iter().enumerate() {
            assert_eq!(breach as usize, place);
            for _ in 0..=place {
                breaches.note(breach);
            }
        }
        for (place, breach) in Breach::ALL.into_iter().enumerate() {
            assert_eq!(breaches.count(breach), place as u64 + 1, "{breach:?}");
        }
    }
}
