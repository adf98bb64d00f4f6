use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, ErrorKind, Result};

/// What the process holds outside of V8 on behalf of one isolate, in bytes, and how much that may be: rows on their way to
/// JavaScript, values on their way to a driver, blobs, answers that their clients have not taken yet. A driver that keeps
/// its data in memory has one for that, see [`Memory::of_a_driver`].
///
/// Cheap to clone; clones count together. Small things are not worth a count: see [`Memory::FREE`].
#[derive(Clone, Default)]
pub struct Memory(Option<Arc<Ledger>>);

struct Ledger {
    held: AtomicUsize,
    limit: usize,
    refused: Arc<dyn Fn() + Send + Sync>,
    out_of: fn(usize) -> Error,
    /// What lies in temporary files.
    files: Memory,
}

impl Memory {
    /// What holds less than this may be left out, so that small calls cost nothing.
    pub const FREE: usize = 64 * 1024;

    /// Counts nothing and refuses nothing: for the project's owner.
    pub const fn unlimited() -> Self {
        Self(None)
    }

    /// Up to `limit` bytes may be held. `refused` is called for each demand that is not met, from the thread that makes it.
    pub fn limited(limit: usize, refused: impl Fn() + Send + Sync + 'static) -> Self {
        let refused: Arc<dyn Fn() + Send + Sync> = Arc::new(refused);
        let files = Self::of(MOST_IN_FILES, refused.clone(), out_of_file_space, Self(None));
        Self::of(limit, refused, out_of_memory, files)
    }

    /// Up to `limit` bytes may be held. A demand that is not met fails with the error that `out_of` makes of the limit.
    pub fn of_a_driver(limit: usize, out_of: fn(usize) -> Error) -> Self {
        Self::of(limit, Arc::new(|| ()), out_of, Self(None))
    }

    fn of(limit: usize, refused: Arc<dyn Fn() + Send + Sync>, out_of: fn(usize) -> Error, files: Self) -> Self {
        Self(Some(Arc::new(Ledger { held: AtomicUsize::new(0), limit, refused, out_of, files })))
    }

    /// Where the bytes of temporary files count, which have a bound of their own: 1 GB.
    #[must_use]
    pub fn files(&self) -> Self {
        self.0.as_ref().map_or(Self(None), |ledger| ledger.files.clone())
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |ledger| ledger.held.load(Ordering::Relaxed))
    }

    /// Counts bytes until the returned value is dropped.
    ///
    /// # Errors
    /// `RateLimited` where that is more than the limit leaves.
    pub fn hold(&self, bytes: usize) -> Result<Held> {
        let mut held = Held { memory: self.clone(), bytes: 0 };
        held.grow_to(bytes)?;
        Ok(held)
    }

    /// Counts bytes until the returned value is dropped, although the limit may not leave them: for what cannot be refused.
    pub fn hold_anyway(&self, bytes: usize) -> Held {
        if let Some(ledger) = &self.0 {
            ledger.held.fetch_add(bytes, Ordering::Relaxed);
        }
        Held { memory: self.clone(), bytes }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(ledger) => write!(formatter, "{} of {} bytes", self.held(), ledger.limit),
            None => formatter.write_str("unlimited"),
        }
    }
}

/// Two are the same when they count together.
impl PartialEq for Memory {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

/// Bytes that count in a [`Memory`] until this is dropped.
#[derive(Debug, Default)]
pub struct Held {
    memory: Memory,
    bytes: usize,
}

impl Held {
    /// Counts this many from now on. Never fewer than before.
    ///
    /// # Errors
    /// `RateLimited` where that is more than the limit leaves; then the count stays as it was.
    pub fn grow_to(&mut self, bytes: usize) -> Result<()> {
        let more = bytes.saturating_sub(self.bytes);
        let Some(ledger) = self.memory.0.as_deref().filter(|_| more > 0) else { return Ok(()) };
        let before = ledger.held.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > ledger.limit {
            ledger.held.fetch_sub(more, Ordering::Relaxed);
            (ledger.refused)();
            return Err((ledger.out_of)(ledger.limit));
        }
        self.bytes = bytes;
        Ok(())
    }

    /// How many count.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(ledger) = &self.memory.0 {
            ledger.held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// Bytes that the temporary files of one isolate may have together.
const MOST_IN_FILES: usize = 1024 * 1024 * 1024;

fn out_of_file_space(limit: usize) -> Error {
    let text =
        format!("the temporary files of the isolate's queries would take more than {} MB", limit / (1024 * 1024));
    Error::new(ErrorKind::RateLimited, text)
}

fn out_of_memory(limit: usize) -> Error {
    let text = format!(
        "out of memory: what the isolate holds outside of its heap would take more than {} MB: raise limits.array_buffer_mb",
        limit / (1024 * 1024)
    );
    Error::new(ErrorKind::RateLimited, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_until_it_is_dropped() {
        let memory = Memory::limited(10, || ());
        let one = memory.hold(6).unwrap();
        let other = memory.clone().hold(4).unwrap();
        assert_eq!(memory.held(), 10);
        drop(one);
        assert_eq!(memory.held(), 4);
        drop(other);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn what_the_limit_does_not_leave_is_refused_told_and_not_counted() {
        let refusals = Arc::new(AtomicUsize::new(0));
        let told = refusals.clone();
        let memory = Memory::limited(10, move || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        let mut held = memory.hold(6).unwrap();
        let error = held.grow_to(11).unwrap_err();
        assert_eq!((error.kind(), held.bytes(), memory.held()), (ErrorKind::RateLimited, 6, 6));
        assert!(memory.hold(usize::MAX).is_err());
        held.grow_to(10).unwrap();
        held.grow_to(3).unwrap();
        assert_eq!((held.bytes(), refusals.load(Ordering::Relaxed)), (10, 2));
    }

    #[test]
    fn what_cannot_be_refused_counts_past_the_limit() {
        let memory = Memory::limited(10, || ());
        let held = memory.hold_anyway(11);
        assert_eq!(memory.held(), 11);
        assert!(memory.hold(1).is_err());
        drop(held);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn what_a_driver_keeps_is_refused_in_its_own_words() {
        let memory = Memory::of_a_driver(10, |limit| Error::new(ErrorKind::RateLimited, format!("{limit} are full")));
        let _held = memory.hold(10).unwrap();
        assert_eq!(memory.hold(1).unwrap_err().to_string(), "10 are full");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let memory = Memory::unlimited();
        let _held = memory.hold(usize::MAX).unwrap();
        assert_eq!(memory.held(), 0);
    }
}
