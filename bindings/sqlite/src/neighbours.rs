use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

/// Tells calls that follow each other quickly, and may share something until their thread's turn ends, from those that come alone.
pub struct Neighbours {
    epoch: Instant,
    asked_ns: AtomicU64,
    skips: AtomicU32,
}

/// Apart by more than this, two calls are no neighbours.
const APART: Duration = Duration::from_micros(500);

/// After a call that was alone with what it could have shared, so many count as alone: they probably come from one caller, each when
/// the one before is done.
const SKIPS: u32 = 16;

impl Neighbours {
    /// None yet.
    pub fn new() -> Self {
        Self { epoch: Instant::now(), asked_ns: AtomicU64::new(0), skips: AtomicU32::new(0) }
    }

    /// Notes a call, and says whether it probably has neighbours.
    pub fn note(&self) -> bool {
        self.note_at(self.epoch.elapsed())
    }

    /// The same at a time since the beginning.
    fn note_at(&self, now: Duration) -> bool {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let before = self.asked_ns.swap(now, Relaxed);
        let is_near = Duration::from_nanos(now.saturating_sub(before)) <= APART;
        is_near && self.skips.try_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
    }

    /// Learns how many calls have shared something in the end.
    pub fn have_shared(&self, calls: usize) {
        self.skips.store(if calls == 1 { SKIPS } else { 0 }, Relaxed);
    }
}

impl Default for Neighbours {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_neighbours_where_they_follow_quickly() {
        let neighbours = Neighbours::new();
        let at = Duration::from_secs(1);
        assert!(!neighbours.note_at(at));
        assert!(neighbours.note_at(at + APART));
        assert!(!neighbours.note_at(at + APART * 3));
    }

    #[test]
    fn after_one_that_was_alone_some_count_as_alone() {
        let neighbours = Neighbours::new();
        neighbours.have_shared(1);
        let notes: Vec<bool> = (0..=SKIPS).map(|_| neighbours.note_at(APART)).collect();
        assert_eq!(notes.iter().position(|has| *has), Some(SKIPS as usize));
        neighbours.have_shared(1);
        neighbours.have_shared(2);
        assert!(neighbours.note_at(APART));
    }
}
