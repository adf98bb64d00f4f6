//! What is left when the limits of isolates did not help: built-ins of V8 allocate where no counter sees it, and may not look
//! at a termination until they are done. Before the machine runs out of memory, and the kernel ends the process, the
//! isolate that grows the most is stopped; if that has no effect, its thread is frozen and the process starts over.

use std::sync::Once;

use aerostack_telemetry::machine_memory;

/// How far the machine, or the control group of the process, is from running out of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// Far enough, or the process is not to blame.
    None,
    /// Isolates that grow are to be stopped.
    Low,
    /// Threads that grow although they were stopped are to be frozen.
    Critical,
}

/// Measures the [`Pressure`].
pub(crate) struct Gauge {
    limit: u64,
    low: u64,
    critical: u64,
    left: u64,
}

/// Parts of all memory: below a process that holds less than half of it, nobody is stopped.
const BLAMED_PART: u64 = 2;
const LOW_PART: u64 = 8;
const CRITICAL_PART: u64 = 16;
/// On large machines less is enough.
const MOST_LOW_BYTES: u64 = 1024 * 1024 * 1024;

impl Gauge {
    /// `None` where the system does not say how much memory there is.
    pub(crate) fn new() -> Option<Self> {
        machine_memory::limit().map(Self::of)
    }

    fn of(limit: u64) -> Self {
        let low = (limit / LOW_PART).min(MOST_LOW_BYTES);
        let critical = low * LOW_PART / CRITICAL_PART;
        Self { limit, low, critical, left: limit }
    }

    /// Whether a process with `resident` bytes in memory is far from any pressure.
    pub(crate) fn is_far(&self, resident: u64) -> bool {
        resident < self.limit / BLAMED_PART / 2
    }

    /// The pressure while the process has `resident` bytes in memory. Cheap unless that is much.
    pub(crate) fn read(&mut self, resident: u64) -> Pressure {
        if resident < self.limit / BLAMED_PART {
            return Pressure::None;
        }
        let Some(left) = machine_memory::available() else { return Pressure::None };
        self.pressure_of(left)
    }

    fn pressure_of(&mut self, left: u64) -> Pressure {
        self.left = left;
        match left {
            left if left < self.critical => Pressure::Critical,
            left if left < self.low => Pressure::Low,
            _ => Pressure::None,
        }
    }

    /// A thread was frozen, and the process is about to start over: what is left must last until then, so others are
    /// only touched if they use up half of it.
    pub(crate) fn note_frozen(&mut self) {
        self.critical = self.left / 2;
        self.low = self.critical;
    }
}

/// Stops a thread of this process wherever it is, for good. Locks that it holds are never released.
pub(crate) fn freeze(thread: libc::pid_t) {
    static HANDLER: Once = Once::new();
    let signal = libc::SIGRTMIN() + FREEZE;
    HANDLER.call_once(|| {
        // SAFETY: the action is valid, and its handler only makes calls that are safe in signal handlers.
        let installed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = sleep_for_ever as *const () as usize;
            libc::sigfillset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        assert_eq!(installed, 0, "a handler can be installed for a real-time signal");
    });
    // SAFETY: a thread that has ended is an error, not undefined.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
}

/// The place of the signal among the real-time ones; the first few belong to debuggers and sanitizers.
const FREEZE: libc::c_int = 7;

extern "C" fn sleep_for_ever(_signal: libc::c_int) {
    loop {
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
}

/// Lets a thread run only while nothing else wants its core.
pub(crate) fn run_last(thread: libc::pid_t) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a local. A thread that has ended is an error; if it is refused, the thread stays as it was.
    unsafe { libc::sched_setscheduler(thread, libc::SCHED_IDLE, &raw const parameters) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    const MB: u64 = 1024 * 1024;

    #[test]
    fn pressure_begins_at_an_eighth_and_is_critical_at_a_sixteenth() {
        let mut gauge = Gauge::of(2048 * MB);
        assert_eq!(gauge.pressure_of(256 * MB), Pressure::None);
        assert_eq!(gauge.pressure_of(255 * MB), Pressure::Low);
        assert_eq!(gauge.pressure_of(128 * MB), Pressure::Low);
        assert_eq!(gauge.pressure_of(127 * MB), Pressure::Critical);
        let mut large = Gauge::of(1024 * 1024 * MB);
        assert_eq!(large.pressure_of(1025 * MB), Pressure::None);
        assert_eq!(large.pressure_of(511 * MB), Pressure::Critical);
    }

    #[test]
    fn a_process_that_holds_less_than_half_of_the_memory_is_not_to_blame() {
        let mut gauge = Gauge::of(u64::MAX);
        assert_eq!(gauge.read(u64::MAX / 2 - 1), Pressure::None);
    }

    #[test]
    fn after_a_thread_was_frozen_half_of_the_rest_is_left_alone() {
        let mut gauge = Gauge::of(2048 * MB);
        assert_eq!(gauge.pressure_of(100 * MB), Pressure::Critical);
        gauge.note_frozen();
        assert_eq!(gauge.pressure_of(100 * MB), Pressure::None);
        assert_eq!(gauge.pressure_of(49 * MB), Pressure::Critical);
    }

    #[test]
    fn a_frozen_thread_does_nothing_more() {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        static THREAD: AtomicI32 = AtomicI32::new(0);
        std::thread::spawn(|| {
            // SAFETY: no preconditions.
            THREAD.store(unsafe { libc::gettid() }, Ordering::Release);
            loop {
                COUNT.fetch_add(1, Ordering::Relaxed);
            }
        });
        while COUNT.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        freeze(THREAD.load(Ordering::Acquire));
        let began = Instant::now();
        let is_still = || {
            let before = COUNT.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            COUNT.load(Ordering::Relaxed) == before
        };
        while !is_still() {
            assert!(began.elapsed() < Duration::from_secs(20), "the thread goes on");
        }
    }
}
