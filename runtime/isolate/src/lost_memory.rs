//! Memory that nobody can give back: the heaps of isolates whose threads were given up inside of V8.

use std::sync::atomic::{AtomicU64, Ordering};

use aerostack_telemetry::machine_memory;
use tokio::sync::Notify;

/// It is the process's, as memory is.
static LOST: LostMemory = LostMemory { bytes: AtomicU64::new(0), grew: Notify::const_new() };

struct LostMemory {
    bytes: AtomicU64,
    grew: Notify,
}

/// What may be lost of a machine's memory, or of a control group's, before a restart is due: a quarter.
const TOLERATED_PART: u64 = 4;

/// Adds to what is lost.
pub(crate) fn note_lost(bytes: u64) {
    let all = LOST.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
    tracing::error!(
        megabytes = all / (1024 * 1024),
        "an isolate could not be stopped: the memory of its thread is lost until the process is restarted"
    );
    LOST.grew.notify_waiters();
}

/// Waits until so much memory is lost that only a restart helps, and returns how many bytes that are.
pub async fn too_much_lost() -> u64 {
    loop {
        let grew = LOST.grew.notified();
        let lost = LOST.bytes.load(Ordering::Acquire);
        if machine_memory::limit().is_some_and(|limit| lost > limit / TOLERATED_PART) {
            return lost;
        }
        grew.await;
    }
}
