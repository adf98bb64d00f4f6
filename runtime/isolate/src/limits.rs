//! What keeps one worker from taking the process with it.
//!
//! Time on the CPU is watched from a thread of its own, because an endless loop never gives control back; memory by V8's
//! near-heap-limit callback and by a counting allocator for ArrayBuffers, which live outside the heap. A breach stops the
//! isolate for good: V8 is not used again after a termination, the isolate is replaced.
//!
//! The CPU limit is an invocation's, and a turn of the event loop runs many. So the watchdog samples: every few milliseconds it asks
//! V8 for an interrupt, in which the invocation that is running is known and is charged with the time since the last look. Many
//! short turns add up this way, and a request that only waits is not charged with what its neighbours do. What cannot be
//! interrupted (a sort, a pattern) is one long turn, and is found by the thread's clock alone.

use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use aerostack_bindings::Memory;
use aerostack_platform::{Breach, Breaches, InvocationLimits};
use aerostack_telemetry::machine_memory;
use aerostack_telemetry::metrics::ReplacedFor;
use deno_core::v8;

use crate::attribution::Attribution;
use crate::lost_memory::{self, LostMemory};
use crate::pressure::{self, Gauge, Pressure};
use crate::thread::ThreadLoad;

/// The limits of one worker's isolates (`[limits]` in aerostack.toml).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest time an invocation may take on the CPU, in one turn or in many.
    pub cpu: Duration,
    /// Longest time from a request's arrival to its answer.
    pub wall: Option<Duration>,
    /// Longest time from a `scheduled` or `queue` handler's call to the end of its `waitUntil` work.
    pub event_wall: Duration,
    /// Longest time that `waitUntil` work of a request may go on after its answer has left.
    pub wait_until: Duration,
    /// JavaScript heap, bytes.
    pub heap_bytes: usize,
    /// Bytes of all ArrayBuffers, WebAssembly memories and blobs of an isolate together.
    pub array_buffer_bytes: usize,
    /// Requests that an isolate works on at once: not answered yet, still streaming, or with `waitUntil` work left.
    pub concurrent_requests: usize,
    /// Requests that wait for those; more are refused at once.
    pub queued_requests: usize,
    /// What is counted one invocation at a time.
    pub invocation: InvocationLimits,
}

/// Why an isolate was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// An invocation took longer on the CPU than [`Limits::cpu`].
    Cpu,
    /// The heap reached [`Limits::heap_bytes`].
    Heap,
    /// V8 gave up on finding room for an ArrayBuffer within [`Limits::array_buffer_bytes`].
    ArrayBuffers,
    /// The machine was about to run out of memory, and this isolate grew the most.
    Machine,
}

impl StopReason {
    /// The limit that was met.
    pub fn breach(self) -> Breach {
        match self {
            Self::Cpu => Breach::Cpu,
            Self::Heap => Breach::Memory,
            Self::ArrayBuffers | Self::Machine => Breach::ArrayBuffers,
        }
    }

    /// The same as the metrics name it.
    pub(crate) fn replaced_for(self) -> ReplacedFor {
        match self {
            Self::Cpu => ReplacedFor::Cpu,
            Self::Heap => ReplacedFor::Memory,
            Self::ArrayBuffers | Self::Machine => ReplacedFor::ArrayBuffers,
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
            StopReason::Machine => {
                "stopped because the machine is nearly out of memory and this worker used the most".to_owned()
            }
        }
    }
}

/// Most of the heap granted past the limit so that the stop can be carried out; an isolate that got here is never used again. Large,
/// because a built-in that is growing one huge array sees the stop only when it returns, and V8 ends the whole process when it may not
/// grow on. One that needs still more takes its thread with it, and nothing else.
const MOST_HEADROOM_BYTES: usize = 1024 * 1024 * 1024;

/// Heap granted where a buffer was refused and not the heap was full, and how often.
const GRANT_FOR_BUFFERS_BYTES: usize = 4 * 1024 * 1024;
const MOST_GRANTS_FOR_BUFFERS: usize = 256;

/// Growth of the process past an isolate's limits that is put down to its neighbours and to what it is about to give back.
const UNCLEAR_GROWTH_BYTES: usize = 256 * 1024 * 1024;

/// What the watchdog knows of one isolate. Shared between the isolate's thread and the watchdog's.
pub(crate) struct Guard {
    limits: Limits,
    /// How often the isolate's thread has entered V8, and whether it is inside: then the number is odd.
    turn: AtomicU64,
    stopped: AtomicU8,
    /// Time on the CPU that no invocation was charged with yet, nanoseconds, and the turn it was seen in.
    seen_cpu: AtomicU64,
    seen_turn: AtomicU64,
    /// Whether V8 was asked to call [`Guard::take_seen_cpu`]'s caller and has not yet.
    asked: AtomicBool,
    /// Whether V8 has got headroom, and how often it has got a little because a buffer was refused.
    granted_headroom: AtomicBool,
    /// The thread was frozen and never runs again.
    frozen: AtomicBool,
    granted_for_buffers: AtomicUsize,
    /// The CPU clock of the isolate's thread. Reading it after the thread ended is an error, not undefined.
    cpu_clock: libc::clockid_t,
    thread_id: libc::pid_t,
    handle: v8::IsolateHandle,
    waker: Arc<dyn Fn() + Send + Sync>,
    breaches: Arc<Breaches>,
    /// The thread the isolate is on, which is given up when the isolate cannot be stopped.
    thread: Arc<ThreadLoad>,
}

impl Guard {
    /// Begins to watch the isolate of the calling thread. `waker` is called from the watchdog's thread after a stop.
    pub(crate) fn watch(
        limits: Limits,
        handle: v8::IsolateHandle,
        waker: Arc<dyn Fn() + Send + Sync>,
        breaches: Arc<Breaches>,
        thread: Arc<ThreadLoad>,
    ) -> Arc<Self> {
        let mut cpu_clock: libc::clockid_t = 0;
        // SAFETY: the calling thread exists, and the pointer is to a local.
        let found = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut cpu_clock) };
        assert_eq!(found, 0, "a thread has a CPU clock");
        let guard = Arc::new(Self {
            limits,
            turn: AtomicU64::new(0),
            stopped: AtomicU8::new(0),
            seen_cpu: AtomicU64::new(0),
            seen_turn: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            granted_headroom: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            granted_for_buffers: AtomicUsize::new(0),
            cpu_clock,
            // SAFETY: gettid has no preconditions.
            thread_id: unsafe { libc::gettid() },
            handle,
            waker,
            breaches,
            thread,
        });
        Watchdog::get().watch(&guard);
        HERE.replace(Arc::downgrade(&guard));
        guard
    }

    /// Marks the time in V8 until the returned value is dropped. Not nested.
    pub(crate) fn enter(&self) -> Entered<'_> {
        self.pass_border();
        Entered(self)
    }

    fn pass_border(&self) {
        // Only the isolate's thread writes.
        self.turn.store(self.turn.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Called from the interrupt that the watchdog asked for: the time on the CPU to charge to the invocation that is running.
    pub(crate) fn take_seen_cpu(&self) -> Option<Duration> {
        self.asked.store(false, Ordering::Release);
        let cpu = Duration::from_nanos(self.seen_cpu.swap(0, Ordering::AcqRel));
        // The turn it was seen in may have ended before V8 looked.
        (self.seen_turn.load(Ordering::Acquire) == self.turn.load(Ordering::Relaxed)).then_some(cpu)
    }

    /// Stops the isolate when an invocation has used this much.
    pub(crate) fn check_cpu(&self, used: Duration) {
        if used > self.limits.cpu {
            self.stop(StopReason::Cpu);
        }
    }

    /// Has the time on the CPU charged to the invocation that is running, as soon as V8 can say which. Called from the watchdog.
    fn charge_running(self: &Arc<Self>, turn: u64, cpu: Duration) {
        if self.seen_turn.swap(turn, Ordering::AcqRel) != turn {
            self.seen_cpu.store(0, Ordering::Release);
        }
        self.seen_cpu.fetch_add(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.handle.request_interrupt(charge_running_invocation, Arc::as_ptr(self).cast_mut().cast());
        }
    }

    /// Whether the thread is in V8.
    fn is_inside(&self) -> bool {
        self.turn.load(Ordering::Acquire) % 2 == 1
    }

    /// Growth of the process during one turn that the isolate cannot have caused within its limits.
    fn impossible_growth(&self) -> u64 {
        (self.limits.heap_bytes + UNCLEAR_GROWTH_BYTES + self.limits.array_buffer_bytes) as u64
    }

    /// Why the isolate was stopped, if it was. Sticky.
    pub(crate) fn stopped(&self) -> Option<StopReason> {
        match self.stopped.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopReason::Cpu),
            2 => Some(StopReason::Heap),
            3 => Some(StopReason::ArrayBuffers),
            _ => Some(StopReason::Machine),
        }
    }

    /// Stops the isolate for good. Safe from any thread, and inside V8's callbacks.
    pub(crate) fn stop(&self, reason: StopReason) {
        let code = match reason {
            StopReason::Cpu => 1,
            StopReason::Heap => 2,
            StopReason::ArrayBuffers => 3,
            StopReason::Machine => 4,
        };
        if self.stopped.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.breaches.note(reason.breach());
        }
        self.handle.terminate_execution();
        (self.waker)();
    }

    /// The heap limit V8 may go on with; stops the isolate. Does not return when that did not help: what runs is a built-in that looks
    /// at nothing until it is done, and V8 would end the process. Only the thread ends here, and never runs again.
    pub(crate) fn near_heap_limit(&self, current: usize, buffers: &BufferQuota) -> usize {
        // V8 also comes here when an ArrayBuffer finds no room, because buffers count as part of the heap's size.
        let refused = buffers.refused.load(Ordering::Relaxed);
        self.stop(if refused { StopReason::ArrayBuffers } else { StopReason::Heap });
        // The heap may be small then. Each request that was about to begin may come here once.
        if refused && self.granted_for_buffers.fetch_add(1, Ordering::Relaxed) < MOST_GRANTS_FOR_BUFFERS {
            return current + GRANT_FOR_BUFFERS_BYTES;
        }
        let headroom = if self.granted_headroom.swap(true, Ordering::Relaxed) { 0 } else { headroom() };
        if headroom > 0 {
            return current + headroom;
        }
        // Nobody can take the heap away from V8, nor what it has in buffers.
        self.park_for_ever((current + buffers.used.load(Ordering::Relaxed)) as u64)
    }

    /// V8 has failed to allocate and would end the process. Does not return.
    fn out_of_memory(&self) -> ! {
        self.stop(StopReason::Heap);
        self.park_for_ever(self.touched_bytes())
    }

    /// Gives up the calling thread, which keeps `bytes`: V8 must not go on.
    fn park_for_ever(&self, bytes: u64) -> ! {
        let reason = self.stopped().unwrap_or(StopReason::Heap);
        self.thread.give_up(&self.limits.describe(reason), LostMemory::new(bytes));
        park_for_ever()
    }

    /// What the thread has in memory, at most.
    fn touched_bytes(&self) -> u64 {
        let touched = pages_touched(self.thread_id).unwrap_or(0).saturating_mul(page_bytes());
        touched.min(resident_bytes().unwrap_or(u64::MAX))
    }

    /// Gives up the thread, which is in a built-in that does not see that it was stopped. The thread ends if the built-in
    /// does; until then it has its memory, and what others leave of its core.
    fn give_up(&self, reason: StopReason) {
        self.thread.give_up(&self.limits.describe(reason), LostMemory::new(self.touched_bytes()));
        pressure::run_last(self.thread_id);
    }

    /// Gives up the thread and has it never run again.
    fn freeze(&self, reason: StopReason) {
        pressure::freeze(self.thread_id);
        self.frozen.store(true, Ordering::Release);
        self.thread.give_up(&self.limits.describe(reason), LostMemory::new(self.touched_bytes()));
    }
}

/// How much the heap of a stopped isolate may grow: half of what the machine has left, so that the process outlives it.
fn headroom() -> usize {
    let available = machine_memory::available().map_or(u64::MAX, |available| available / 2);
    usize::try_from(available).unwrap_or(usize::MAX).min(MOST_HEADROOM_BYTES)
}

thread_local! {
    /// That of the isolate of this thread.
    static HERE: RefCell<Weak<Guard>> = RefCell::default();
}

/// Called for each panic. One that comes from within V8 would end the process, because no panic unwinds through V8: it ends
/// the thread only.
pub(crate) fn panicked() {
    let guard = HERE.try_with(|here| here.try_borrow().ok()?.upgrade());
    if let Ok(Some(guard)) = guard
        && guard.is_inside()
    {
        guard.thread.give_up("the runtime failed: its log says where", LostMemory::new(guard.touched_bytes()));
        park_for_ever()
    }
}

fn park_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// V8 calls this instead of ending the process when an allocation fails that it cannot do without.
pub(crate) unsafe extern "C" fn out_of_memory(_location: *const c_char, _details: &v8::OomDetails) {
    if let Some(guard) = HERE.with_borrow(Weak::upgrade) {
        guard.out_of_memory();
    }
}

/// See [`Guard::enter`].
pub(crate) struct Entered<'a>(&'a Guard);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.pass_border();
    }
}

/// See [`Guard::charge_running`].
unsafe extern "C" fn charge_running_invocation(isolate: v8::UnsafeRawIsolatePtr, guard: *mut c_void) {
    // SAFETY: the isolate's runtime holds the guard (in its near-heap-limit callback), and V8 calls this while it lives.
    let guard = unsafe { &*guard.cast::<Guard>() };
    let Some(cpu) = guard.take_seen_cpu() else { return };
    // SAFETY: V8 calls this on the isolate's thread.
    let isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(isolate) };
    let Some(attribution) = isolate.get_slot::<Rc<Attribution>>().cloned() else { return };
    if let Some(used) = attribution.charge_cpu(cpu) {
        guard.check_cpu(used);
    }
    let limit = guard.limits.array_buffer_bytes;
    if attribution.bytes_outside_heap(limit) > limit {
        guard.stop(StopReason::ArrayBuffers);
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
    /// The thread's CPU time at the last look.
    cpu: Duration,
    /// Bytes that were resident in the whole process when the turn was found to be long.
    before: Option<u64>,
    /// Pages that the thread had touched first when the isolate was made, and at most a second ago.
    pages_at_first: u64,
    pages_lately: u64,
    /// When the isolate was made.
    made: Instant,
    /// The turn that was running when the isolate was first seen to be stopped, and the thread's CPU time then.
    stopped: Option<(u64, Duration)>,
}

/// How often the watchdog looks while some isolate is inside V8, and while none is.
const BUSY_PERIOD: Duration = Duration::from_millis(5);
const IDLE_PERIOD: Duration = Duration::from_millis(25);

/// A turn this long is worth a look at the memory of the process.
const LONG_TURN: Duration = Duration::from_millis(50);

/// Time on the CPU that an isolate may take to see that it was stopped, before its thread is given up.
const PATIENCE: Duration = Duration::from_secs(5);

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
        let pages = pages_touched(guard.thread_id).unwrap_or(0);
        let watched = Watched {
            guard: Arc::downgrade(guard),
            turn: 0,
            cpu_at_first_sight: Duration::ZERO,
            cpu: Duration::ZERO,
            before: None,
            pages_at_first: pages,
            pages_lately: pages,
            made: Instant::now(),
            stopped: None,
        };
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    fn run(&self) {
        let mut relief = Gauge::new().map(Relief::new);
        loop {
            let busy = self.look();
            if let Some(relief) = &mut relief {
                self.relieve(relief);
            }
            std::thread::sleep(if busy { BUSY_PERIOD } else { IDLE_PERIOD });
        }
    }

    /// Stops isolates, one at a time, before the machine runs out of memory.
    fn relieve(&self, relief: &mut Relief) {
        if relief.looked.elapsed() < relief.period {
            return;
        }
        let Some(resident) = resident_bytes() else { return };
        relief.looked = Instant::now();
        relief.period = if relief.gauge.is_far(resident) { FAR_PERIOD } else { BUSY_PERIOD };
        let pressure = relief.gauge.read(resident);
        let is_time_to_note = relief.noted.elapsed() >= LATELY;
        if pressure == Pressure::None && !is_time_to_note {
            return;
        }
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        match pressure {
            Pressure::None => relief.waits_since = None,
            Pressure::Low | Pressure::Critical => relief.act(pressure, &watched),
        }
        if is_time_to_note {
            relief.noted = Instant::now();
            watched.iter_mut().for_each(Watched::note_touched);
        }
    }

    /// Looks at every isolate once; whether any is inside V8.
    fn look(&self) -> bool {
        let mut busy = false;
        let mut long_turns = Vec::new();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain_mut(|watched| {
            let Some(guard) = watched.guard.upgrade() else { return false };
            let turn = guard.turn.load(Ordering::Acquire);
            if turn % 2 == 0 {
                watched.turn = turn;
                return true;
            }
            busy = true;
            let cpu = read_cpu_clock(guard.cpu_clock);
            if let Some(reason) = guard.stopped() {
                // deno_core's own error path may have cancelled the termination: say it again until the thread is out.
                guard.stop(reason);
                let stopped = watched.stopped.get_or_insert((turn, cpu));
                if stopped.0 == turn && cpu.saturating_sub(stopped.1) > PATIENCE && guard.thread.lost().is_none() {
                    guard.give_up(reason);
                }
                return true;
            }
            let since_last_look = cpu.saturating_sub(std::mem::replace(&mut watched.cpu, cpu));
            if watched.turn != turn {
                watched.turn = turn;
                watched.cpu_at_first_sight = cpu;
                watched.before = None;
            } else if cpu.saturating_sub(watched.cpu_at_first_sight) > guard.limits.cpu {
                guard.stop(StopReason::Cpu);
                return true;
            }
            // A look that finds the thread in V8 stands for the time since the last one, at most for what lies between two.
            guard.charge_running(turn, since_last_look.min(IDLE_PERIOD));
            if cpu.saturating_sub(watched.cpu_at_first_sight) >= LONG_TURN {
                long_turns.extend(watched.growth().map(|grown| (grown, guard.clone())));
            }
            true
        });
        // What no counter sees (messages between ports, buffers that are shared) ends here, whether the one that grows takes
        // one long turn or many short ones beside it.
        let is_impossible = |(grown, guard): &(u64, Arc<Guard>)| *grown > guard.impossible_growth();
        if long_turns.iter().any(is_impossible)
            && let Some(guilty) = greediest(&watched)
        {
            guilty.stop(StopReason::ArrayBuffers);
        }
        busy
    }
}

/// What is done while the machine is nearly out of memory.
struct Relief {
    gauge: Gauge,
    /// When the memory was looked at last, and how long that is enough.
    looked: Instant,
    period: Duration,
    /// When [`Watched::note_touched`] was called last.
    noted: Instant,
    /// The isolate that was stopped last, and when: its memory comes back a little later.
    stopping: (Weak<Guard>, Instant),
    /// Since when one is waited for that was stopped and is still in V8.
    waits_since: Option<Instant>,
}

/// How often the memory of the process is looked at while it has little: nothing fills the rest of it any faster.
const FAR_PERIOD: Duration = Duration::from_millis(50);

/// For how long pages count as touched lately.
const LATELY: Duration = Duration::from_secs(1);

/// Pages touched lately that are a reason to stop an isolate before those that have touched more before: 64 MB.
const MANY_PAGES: u64 = 16 * 1024;

/// How long a thread that is in V8 although its isolate was stopped may keep its memory.
const INSIDE_PATIENCE: Duration = Duration::from_secs(1);

/// How long an isolate that was stopped is waited for before the next one is.
const STOPPING_PATIENCE: Duration = Duration::from_millis(500);

impl Relief {
    fn new(gauge: Gauge) -> Self {
        let now = Instant::now();
        Self { gauge, looked: now, period: FAR_PERIOD, noted: now, stopping: (Weak::new(), now), waits_since: None }
    }

    /// Has memory come back: from one that was stopped already, if there is any, or else from one that is stopped now.
    fn act(&mut self, pressure: Pressure, watched: &[Watched]) {
        let inside = still_inside(watched);
        if inside.is_empty() {
            self.waits_since = None;
            self.stop_one(watched);
            return;
        }
        let waited = self.waits_since.get_or_insert_with(Instant::now).elapsed();
        let mut has_frozen = false;
        // All of them at once: each that is left would take what freezing the others has saved.
        for (guard, reason, is_growing) in inside {
            let is_hopeless = guard.thread.lost().is_some() || waited >= INSIDE_PATIENCE;
            if is_hopeless || is_growing && pressure == Pressure::Critical {
                guard.freeze(reason);
                has_frozen = true;
            }
        }
        if has_frozen {
            lost_memory::start_over_now();
            self.gauge.note_frozen();
        }
    }

    /// Stops the isolate that probably holds the most, unless the last one is still ending. Nobody knows who holds what: one that
    /// was stopped lately, without much effect, is the last to be stopped again.
    fn stop_one(&mut self, watched: &[Watched]) {
        let is_ending = self.stopping.0.upgrade().is_some_and(|guard| guard.thread.lost().is_none());
        if is_ending && self.stopping.1.elapsed() < STOPPING_PATIENCE {
            return;
        }
        let candidates = watched.iter().filter_map(|watched| {
            let guard = watched.guard.upgrade().filter(|guard| guard.stopped().is_none())?;
            if watched.made.elapsed() < LATELY {
                // It may take the place of one that was stopped, and cannot hold much.
                return None;
            }
            let lately = watched.touched_since(watched.pages_lately).filter(|pages| *pages >= MANY_PAGES);
            let pages = lately.or_else(|| watched.touched_since(watched.pages_at_first))?;
            Some(((!guard.thread.was_stopped_for_others(), lately.is_some(), pages), guard))
        });
        let Some((_, guard)) = candidates.max_by_key(|(rank, _)| *rank) else { return };
        guard.thread.note_stopped_for_others();
        guard.stop(StopReason::Machine);
        self.stopping = (Arc::downgrade(&guard), Instant::now());
    }
}

/// The threads that were stopped and run in V8 nevertheless, and whether each goes on touching new pages.
fn still_inside(watched: &[Watched]) -> Vec<(Arc<Guard>, StopReason, bool)> {
    let inside = watched.iter().filter_map(|watched| {
        let guard = watched.guard.upgrade().filter(|guard| guard.is_inside())?;
        let reason = guard.stopped().filter(|_| !guard.frozen.load(Ordering::Acquire))?;
        let is_growing = watched.touched_since(watched.pages_lately)? >= MANY_PAGES;
        Some((guard, reason, is_growing))
    });
    inside.collect()
}

/// Of those that were not stopped yet, the one that has touched the most new pages lately.
fn greediest(watched: &[Watched]) -> Option<Arc<Guard>> {
    let touched = watched.iter().filter_map(|watched| {
        let guard = watched.guard.upgrade().filter(|guard| guard.stopped().is_none())?;
        Some((watched.touched_since(watched.pages_lately)?, guard))
    });
    touched.max_by_key(|(pages, _)| *pages).filter(|(pages, _)| *pages >= MANY_PAGES).map(|(_, guard)| guard)
}

impl Watched {
    /// Pages that the thread has touched first since it had touched so many.
    fn touched_since(&self, pages: u64) -> Option<u64> {
        Some(pages_touched(self.guard.upgrade()?.thread_id)?.saturating_sub(pages))
    }

    fn note_touched(&mut self) {
        self.pages_lately += self.touched_since(self.pages_lately).unwrap_or(0);
    }

    /// Bytes that the process has grown by since the turn was found to be long. `None` where the system does not tell.
    fn growth(&mut self) -> Option<u64> {
        let now = resident_bytes()?;
        Some(now.saturating_sub(*self.before.get_or_insert(now)))
    }
}

/// Memory of the whole process; `None` where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let statistics = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statistics.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_bytes())
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).expect("pages have a size")
}

/// Pages that a thread was the first to touch: its minor faults, field 10 of proc_pid_stat(5).
fn pages_touched(thread: libc::pid_t) -> Option<u64> {
    let statistics = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    // The name before may contain anything, but no later parenthesis.
    statistics.rsplit_once(") ")?.1.split(' ').nth(7)?.parse().ok()
}

/// Time a thread has spent on the CPU; zero once it has ended.
fn read_cpu_clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local.
    let found = unsafe { libc::clock_gettime(clock, &raw mut time) } == 0;
    if found { Duration::new(time.tv_sec as u64, time.tv_nsec as u32) } else { Duration::ZERO }
}

/// Hands out ArrayBuffer memory up to a quota, which is that of everything the process holds outside of V8 for the isolate.
pub(crate) struct BufferQuota {
    used: AtomicUsize,
    limit: usize,
    memory: Memory,
    /// Whether the last request was refused.
    refused: AtomicBool,
    /// An isolate is being made of the snapshot, where V8 ends the process when it gets no buffer.
    starting: AtomicBool,
}

/// While it lives, no buffer is refused. They all count.
pub(crate) struct Starting(Arc<BufferQuota>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.starting.store(false, Ordering::Relaxed);
    }
}

impl BufferQuota {
    /// A quota of `limit` bytes for one isolate, less what `memory` holds.
    pub(crate) fn new(limit: usize, memory: Memory) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
            memory,
            refused: AtomicBool::new(false),
            starting: AtomicBool::new(false),
        })
    }

    /// Refuses nothing while an isolate starts, whatever the process still holds for the one before: answers that clients
    /// have not taken, a statement that goes on.
    pub(crate) fn starting(self: Arc<Self>) -> Starting {
        self.starting.store(true, Ordering::Relaxed);
        Starting(self)
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
        let fits = taken.saturating_add(bytes).saturating_add(self.memory.held()) <= self.limit
            || self.starting.load(Ordering::Relaxed);
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
