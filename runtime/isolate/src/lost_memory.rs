//! Memory of isolates that could not be stopped. Their threads were given up inside V8 and have it until they end, if they
//! ever do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aerostack_telemetry::machine_memory;
use tokio::sync::Notify;

/// It is the process's, as memory is.
static LOST: AllLost =
    AllLost { bytes: AtomicU64::new(0), is_urgent: AtomicBool::new(false), grew: Notify::const_new() };

struct AllLost {
    bytes: AtomicU64,
    /// Whether a restart is due however little was lost.
    is_urgent: AtomicBool,
    grew: Notify,
}

/// What may be lost of a machine's memory, or of a control group's, before a restart is due: a quarter.
const TOLERATED_PART: u64 = 4;

/// With a half, there is no time to wait for a quiet moment.
const URGENT_PART: u64 = 2;

/// Memory of one thread that was given up. Counts as lost until this is dropped.
#[derive(Debug)]
pub(crate) struct LostMemory(u64);

impl LostMemory {
    /// Counts bytes as lost.
    pub(crate) fn new(bytes: u64) -> Self {
        let all = LOST.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        tracing::error!(
            megabytes = all / MEGABYTE,
            "an isolate could not be stopped: its thread keeps its memory until it ends, or the process is restarted"
        );
        LOST.grew.notify_waiters();
        Self(bytes)
    }
}

impl Drop for LostMemory {
    fn drop(&mut self) {
        LOST.bytes.fetch_sub(self.0, Ordering::AcqRel);
    }
}

/// Makes a restart due: the machine is running out of memory.
pub(crate) fn start_over_now() {
    LOST.is_urgent.store(true, Ordering::Release);
    LOST.grew.notify_waiters();
}

/// Why a restart is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartDue {
    /// Bytes that are lost to isolates that could not be stopped.
    pub lost: u64,
    /// Whether the machine is about to run out of memory, so that little can be waited for.
    pub is_urgent: bool,
}

/// Waits until so much memory is lost that only a restart helps.
pub async fn too_much_lost() -> RestartDue {
    loop {
        let grew = LOST.grew.notified();
        let lost = LOST.bytes.load(Ordering::Acquire);
        let is_urgent = is_urgent();
        if is_urgent || is_more_than(lost, TOLERATED_PART) {
            return RestartDue { lost, is_urgent };
        }
        grew.await;
    }
}

/// Waits until a restart that is due cannot wait for a quiet moment any longer.
pub async fn restart_urgent() {
    loop {
        let grew = LOST.grew.notified();
        if is_urgent() {
            return;
        }
        grew.await;
    }
}

fn is_urgent() -> bool {
    LOST.is_urgent.load(Ordering::Acquire) || is_more_than(LOST.bytes.load(Ordering::Acquire), URGENT_PART)
}

/// Whether bytes are more than this part of the memory. Small losses are told without a look at the machine.
fn is_more_than(bytes: u64, part: u64) -> bool {
    bytes > 0 && machine_memory::limit().is_some_and(|limit| bytes > limit / part)
}

const MEGABYTE: u64 = 1024 * 1024;
