//! What keeps one worker from taking the process with it.
//!
//! Time on the CPU is watched from a thread of its own, because an endless loop never gives control back; memory by V8's
//! near-heap-limit callback and by a counting allocator for ArrayBuffers, which live outside the heap. A breach stops the
//! isolate for good: V8 is not used again after a termination, the isolate is replaced.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use aerostack_telemetry::metrics::Limit;
use deno_core::v8;

/// The limits of one worker's isolates (`[limits]` in aerostack.toml).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest time an invocation may run: one uninterrupted turn by the CPU clock, many short ones added up.
    pub cpu: Duration,
    /// Longest time from a request's arrival to its answer.
    pub wall: Option<Duration>,
    /// Longest time from a `scheduled` or `queue` handler's call to the end of its `waitUntil` work.
    pub event_wall: Duration,
    /// JavaScript heap, bytes.
    pub heap_bytes: usize,
    /// Bytes of all ArrayBuffers of an isolate together.
    pub array_buffer_bytes: usize,
}

/// Why an isolate was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A turn took longer on the CPU than [`Limits::cpu`].
    Cpu,
    /// The heap reached [`Limits::heap_bytes`].
    Heap,
    /// V8 gave up on finding room for an ArrayBuffer within [`Limits::array_buffer_bytes`].
    ArrayBuffers,
}

impl StopReason {
    /// The limit that was broken, as the metrics name it.
    pub fn limit(self) -> Limit {
        match self {
            Self::Cpu => Limit::Cpu,
            Self::Heap => Limit::Memory,
            Self::ArrayBuffers => Limit::ArrayBuffers,
        }
    }
}

impl Limits {
    /// What the client and the log are told: the limit, and the key that raises it.
    pub fn describe(&self, reason: StopReason) -> String {
        match reason {
            StopReason::Cpu => {
                format!("exceeded CPU limit {} ms: raise limits.cpu_ms", self.cpu.as_millis())
            }
            StopReason::ArrayBuffers => {
                let limit = self.array_buffer_bytes / (1024 * 1024);
                format!("exceeded ArrayBuffer limit {limit} MB: raise limits.array_buffer_mb")
            }
            StopReason::Heap => {
                format!("exceeded memory limit {} MB: raise limits.memory_mb", self.heap_bytes / (1024 * 1024))
            }
        }
    }
}

/// Heap granted past the limit, each time V8 asks, so that the stop can be carried out; an isolate that got here is never used
/// again. Large, because a built-in that is growing one huge array sees the stop only when it returns, and V8 ends the whole
/// process when it may not grow on.
const HEAP_HEADROOM_BYTES: usize = 1024 * 1024 * 1024;

/// What the watchdog knows of one isolate. Shared between the isolate's thread and the watchdog's.
pub(crate) struct Guard {
    limits: Limits,
    /// Nanoseconds since [`Guard::started`] at which the isolate's thread entered V8, or 0 outside.
    entered_at: AtomicU64,
    started: Instant,
    stopped: AtomicU8,
    /// The CPU clock of the isolate's thread. Reading it after the thread ended is an error, not undefined.
    cpu_clock: libc::clockid_t,
    handle: v8::IsolateHandle,
    waker: Arc<dyn Fn() + Send + Sync>,
}

impl Guard {
    /// Begins to watch the isolate of the calling thread. `waker` is called from the watchdog's thread after a stop.
    pub(crate) fn watch(limits: Limits, handle: v8::IsolateHandle, waker: Arc<dyn Fn() + Send + Sync>) -> Arc<Self> {
        let mut cpu_clock: libc::clockid_t = 0;
        // SAFETY: the calling thread exists, and the pointer is to a local.
        let found = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut cpu_clock) };
        assert_eq!(found, 0, "a thread has a CPU clock");
        let guard = Arc::new(Self {
            limits,
            entered_at: AtomicU64::new(0),
            started: Instant::now(),
            stopped: AtomicU8::new(0),
            cpu_clock,
            handle,
            waker,
        });
        Watchdog::get().watch(&guard);
        guard
    }

    /// Marks the time in V8 until the returned value is dropped.
    pub(crate) fn enter(&self) -> Entered<'_> {
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        self.entered_at.store(now, Ordering::Release);
        Entered(self)
    }

    pub(crate) fn cpu_limit(&self) -> Duration {
        self.limits.cpu
    }

    /// Why the isolate was stopped, if it was. Sticky.
    pub(crate) fn stopped(&self) -> Option<StopReason> {
        match self.stopped.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopReason::Cpu),
            2 => Some(StopReason::Heap),
            _ => Some(StopReason::ArrayBuffers),
        }
    }

    /// Stops the isolate for good. Safe from any thread, and inside V8's callbacks.
    pub(crate) fn stop(&self, reason: StopReason) {
        let code = match reason {
            StopReason::Cpu => 1,
            StopReason::Heap => 2,
            StopReason::ArrayBuffers => 3,
        };
        let _ = self.stopped.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        self.handle.terminate_execution();
        (self.waker)();
    }

    /// The heap limit V8 may go on with; stops the isolate.
    pub(crate) fn near_heap_limit(&self, current: usize, buffers: &BufferQuota) -> usize {
        // V8 also comes here when an ArrayBuffer finds no room, because buffers count as part of the heap's size.
        let refused = buffers.refused.load(Ordering::Relaxed);
        self.stop(if refused { StopReason::ArrayBuffers } else { StopReason::Heap });
        current + HEAP_HEADROOM_BYTES
    }
}

/// See [`Guard::enter`].
pub(crate) struct Entered<'a>(&'a Guard);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.entered_at.store(0, Ordering::Release);
    }
}

/// One thread a process that looks at every isolate.
struct Watchdog {
    watched: Mutex<Vec<Watched>>,
}

struct Watched {
    guard: Weak<Guard>,
    /// The turn that was running at the last look, and the thread's CPU time when it was first seen.
    turn: u64,
    cpu_at_first_sight: Duration,
}

/// How often the watchdog looks while some isolate is inside V8, and while none is.
const BUSY_PERIOD: Duration = Duration::from_millis(5);
const IDLE_PERIOD: Duration = Duration::from_millis(25);

impl Watchdog {
    fn get() -> &'static Self {
        static WATCHDOG: OnceLock<&'static Watchdog> = OnceLock::new();
        WATCHDOG.get_or_init(|| {
            let watchdog: &'static Self = Box::leak(Box::new(Self { watched: Mutex::new(Vec::new()) }));
            std::thread::Builder::new()
                .name("watchdog".to_owned())
                .stack_size(64 * 1024)
                .spawn(|| watchdog.run())
                .expect("a thread can be started");
            watchdog
        })
    }

    fn watch(&self, guard: &Arc<Guard>) {
        let watched = Watched { guard: Arc::downgrade(guard), turn: 0, cpu_at_first_sight: Duration::ZERO };
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    fn run(&self) {
        loop {
            let busy = self.look();
            std::thread::sleep(if busy { BUSY_PERIOD } else { IDLE_PERIOD });
        }
    }

    /// Looks at every isolate once; whether any is inside V8.
    fn look(&self) -> bool {
        let mut busy = false;
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain_mut(|watched| {
            let Some(guard) = watched.guard.upgrade() else { return false };
            let turn = guard.entered_at.load(Ordering::Acquire);
            if turn == 0 {
                watched.turn = 0;
                return true;
            }
            busy = true;
            if let Some(reason) = guard.stopped() {
                // deno_core's own error path may have cancelled the termination: say it again until the thread is out.
                guard.stop(reason);
                return true;
            }
            let cpu = read_cpu_clock(guard.cpu_clock);
            if watched.turn != turn {
                watched.turn = turn;
                watched.cpu_at_first_sight = cpu;
            } else if cpu.saturating_sub(watched.cpu_at_first_sight) > guard.limits.cpu {
                guard.stop(StopReason::Cpu);
            }
            true
        });
        busy
    }
}

/// Time a thread has spent on the CPU; zero once it has ended.
fn read_cpu_clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local.
    let found = unsafe { libc::clock_gettime(clock, &raw mut time) } == 0;
    if found { Duration::new(time.tv_sec as u64, time.tv_nsec as u32) } else { Duration::ZERO }
}

/// Hands out ArrayBuffer memory up to a quota.
pub(crate) struct BufferQuota {
    used: AtomicUsize,
    limit: usize,
    /// Whether the last request was refused.
    refused: AtomicBool,
}

impl BufferQuota {
    /// A quota of `limit` bytes for one isolate.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit, refused: AtomicBool::new(false) })
    }

    /// The isolate's allocator; once the quota is used up it refuses, with a RangeError in JavaScript.
    pub(crate) fn allocator(self: Arc<Self>) -> v8::UniqueRef<v8::Allocator> {
        static VTABLE: v8::RustAllocatorVtable<BufferQuota> =
            v8::RustAllocatorVtable { allocate: allocate_zeroed, allocate_uninitialized, free, drop: drop_quota };
        // SAFETY: the pointer comes from Arc::into_raw and the vtable's drop gives it back.
        unsafe { v8::new_rust_allocator(Arc::into_raw(self), &VTABLE) }
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = taken.saturating_add(bytes) <= self.limit;
        self.refused.store(!fits, Ordering::Relaxed);
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

unsafe extern "C" fn allocate_zeroed(quota: &BufferQuota, bytes: usize) -> *mut c_void {
    if !quota.take(bytes) {
        return std::ptr::null_mut();
    }
    // SAFETY: calloc takes any size.
    unsafe { libc::calloc(bytes.max(1), 1) }
}

unsafe extern "C" fn allocate_uninitialized(quota: &BufferQuota, bytes: usize) -> *mut c_void {
    if !quota.take(bytes) {
        return std::ptr::null_mut();
    }
    // SAFETY: malloc takes any size.
    unsafe { libc::malloc(bytes.max(1)) }
}

unsafe extern "C" fn free(quota: &BufferQuota, data: *mut c_void, bytes: usize) {
    quota.used.fetch_sub(bytes, Ordering::Relaxed);
    // SAFETY: V8 gives back what this allocator handed out.
    unsafe { libc::free(data) }
}

unsafe extern "C" fn drop_quota(quota: *const BufferQuota) {
    // SAFETY: the pointer is the one given to new_rust_allocator.
    drop(unsafe { Arc::from_raw(quota) });
}
