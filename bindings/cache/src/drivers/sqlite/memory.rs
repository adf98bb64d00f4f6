//! What is remembered of the file, so that most reads need neither SQLite nor a lock.
//!
//! The memory is good for one [`Stamp`] of the file. A reader compares that stamp with the one of the file, in both this
//! process and others, and looks away where they differ. Own writes carry the memory along from one stamp to the next, so
//! that it survives them; a commit of anybody else empties it. Since any commit at all is noticed, it is sound to remember
//! also that a key is not there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aerostack_sqlite::{Stamp, WalIndex};
use moka::sync::Cache;

use crate::Entry;

/// An entry larger than this is read from the file each time.
const MAX_REMEMBERED_BYTES: usize = 1024 * 1024;
/// What an entry costs beside its bytes, roughly.
const OVERHEAD_BYTES: usize = 160;

/// A bounded memory of the file's entries, each `None` where the file has no such key.
pub(super) struct Memory {
    entries: Cache<Box<str>, Remembered>,
    /// The stamp of the file that `entries` agree with, as bits.
    stamp: AtomicU64,
    /// Raised whenever everything is forgotten. An entry of an older generation counts as not there, however long the cache
    /// takes to drop it.
    generation: AtomicU64,
    /// Guards every change of the three above.
    turn: Mutex<Turn>,
}

/// Who is changing the memory.
#[derive(Default)]
struct Turn {
    /// Whether a write of this process is between [`Memory::before_write`] and [`Memory::after_write`]. It alone may move the
    /// stamp meanwhile: a reader cannot tell its commit from a foreign one.
    writing: bool,
}

/// What a write made of a key.
pub(super) enum Change<'a> {
    /// It has this entry now.
    Stored(&'a str, Entry),
    /// It is not there now.
    Removed(&'a str),
    /// Only entries went whose time had come, and those are not returned from memory either.
    Purged,
}

/// What the file holds under a key, which may be nothing.
pub(super) struct Known(pub(super) Option<Entry>);

#[derive(Clone)]
struct Remembered {
    generation: u64,
    entry: Option<Entry>,
}

impl Memory {
    /// An empty memory of at most `capacity_bytes`.
    pub(super) fn new(capacity_bytes: u64, stamp: Stamp) -> Self {
        Self {
            entries: Cache::builder().max_capacity(capacity_bytes).weigher(weigh).build(),
            stamp: AtomicU64::new(stamp.to_bits()),
            generation: AtomicU64::new(0),
            turn: Mutex::default(),
        }
    }

    /// What the file holds under `key`, where that is known. Takes no lock.
    pub(super) fn recall(&self, wal: &WalIndex, key: &str) -> Option<Known> {
        // The file is looked at first: whatever is found afterwards was true at that moment or became true since.
        if wal.stamp().to_bits() != self.stamp.load(Ordering::Acquire) {
            return None;
        }
        let remembered = self.entries.get(key)?;
        (remembered.generation == self.generation.load(Ordering::Acquire)).then_some(Known(remembered.entry))
    }

    /// Remembers what a read found, unless the file has changed since `before`, which was taken ahead of the read.
    pub(super) fn learn(&self, wal: &WalIndex, before: Stamp, key: &str, entry: Option<&Entry>) {
        let turn = self.turn();
        let now = wal.stamp();
        if now != before {
            return;
        }
        if now.to_bits() != self.stamp.load(Ordering::Relaxed) {
            if turn.writing {
                return;
            }
            self.forget_everything(now);
        }
        self.remember(key, entry.cloned());
    }

    /// Prepares for a write of this process; call it ahead of the statement. Writes must come one after the other.
    pub(super) fn before_write(&self, wal: &WalIndex) -> Stamp {
        let mut turn = self.turn();
        let now = wal.stamp();
        if now.to_bits() != self.stamp.load(Ordering::Relaxed) {
            self.forget_everything(now);
        }
        turn.writing = true;
        now
    }

    /// Takes over the outcome of a write: `committed` is what its one commit changed, or `None` where it committed nothing.
    pub(super) fn after_write<'a>(
        &self,
        wal: &WalIndex,
        before: Stamp,
        committed: Option<impl IntoIterator<Item = Change<'a>>>,
    ) {
        let mut turn = self.turn();
        turn.writing = false;
        let now = wal.stamp();
        match committed {
            None if now == before => {}
            Some(changes) if now.is_the_commit_after(before) => {
                for change in changes {
                    match change {
                        Change::Stored(key, entry) => self.remember(key, Some(entry)),
                        Change::Removed(key) => self.remember(key, None),
                        Change::Purged => {}
                    }
                }
                self.stamp.store(now.to_bits(), Ordering::Release);
            }
            // Somebody else has committed between the two stamps.
            _ => self.forget_everything(now),
        }
    }

    fn remember(&self, key: &str, entry: Option<Entry>) {
        if entry_bytes(entry.as_ref()) > MAX_REMEMBERED_BYTES {
            self.entries.invalidate(key);
            return;
        }
        let generation = self.generation.load(Ordering::Relaxed);
        self.entries.insert(key.into(), Remembered { generation, entry });
    }

    fn forget_everything(&self, now: Stamp) {
        self.generation.fetch_add(1, Ordering::Release);
        self.entries.invalidate_all();
        self.stamp.store(now.to_bits(), Ordering::Release);
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        // Nothing below panics while it holds the lock, so a poisoned one is as good as any.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry_bytes(entry: Option<&Entry>) -> usize {
    entry.map_or(0, |entry| entry.value.len() + entry.metadata.as_ref().map_or(0, |json| json.len()))
}

#[expect(clippy::borrowed_box, reason = "the type moka asks for")]
fn weigh(key: &Box<str>, remembered: &Remembered) -> u32 {
    (key.len() + entry_bytes(remembered.entry.as_ref()) + OVERHEAD_BYTES) as u32
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::file;
    use super::*;

    const NOTHING: Option<[Change<'_>; 0]> = None;

    /// A memory of a file with a connection of this process and one of somebody else.
    struct Fixture {
        ours: Connection,
        theirs: Connection,
        wal: WalIndex,
        memory: Memory,
        _folder: tempfile::TempDir,
    }

    impl Fixture {
        /// Memory knows the entry `old`, with the value `old`.
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("cache.sqlite");
            let (ours, theirs) = (file::open(&path).expect("the file opens"), file::open(&path).expect("and again"));
            // SAFETY: the connection has read the file, and lives in the same struct.
            let wal = unsafe { WalIndex::of(&ours) }.expect("shared memory");
            let memory = Memory::new(1024 * 1024, wal.stamp());
            let fixture = Self { ours, theirs, wal, memory, _folder: folder };
            let before = fixture.memory.before_write(&fixture.wal);
            commit(&fixture.ours, "old");
            fixture.memory.after_write(&fixture.wal, before, Some([Change::Stored("old", Entry::lasting("old"))]));
            assert!(fixture.knows("old"));
            fixture
        }

        fn knows(&self, key: &str) -> bool {
            self.memory.recall(&self.wal, key).is_some()
        }
    }

    fn commit(connection: &Connection, key: &str) {
        connection.execute("INSERT INTO cache_entries VALUES (?1, NULL, NULL, x'')", [key]).expect("a commit");
    }

    #[test]
    fn an_own_write_carries_the_memory_along() {
        let fixture = Fixture::new();
        let before = fixture.memory.before_write(&fixture.wal);
        commit(&fixture.ours, "new");
        assert!(!fixture.knows("old"), "between the commit and its outcome nobody knows whose it is");
        fixture.memory.after_write(&fixture.wal, before, Some([Change::Removed("new")]));
        assert!(fixture.knows("old") && fixture.knows("new"));
    }

    #[test]
    fn a_foreign_commit_beside_an_own_write_empties_the_memory() {
        let fixture = Fixture::new();
        let before = fixture.memory.before_write(&fixture.wal);
        commit(&fixture.theirs, "foreign");
        commit(&fixture.ours, "new");
        fixture.memory.after_write(&fixture.wal, before, Some([Change::Removed("new")]));
        assert!(!fixture.knows("old") && !fixture.knows("new"));
    }

    #[test]
    fn a_foreign_commit_is_not_taken_for_that_of_a_write_which_changed_nothing() {
        let fixture = Fixture::new();
        let before = fixture.memory.before_write(&fixture.wal);
        commit(&fixture.theirs, "foreign");
        fixture.memory.after_write(&fixture.wal, before, NOTHING);
        assert!(!fixture.knows("old"));
    }

    #[test]
    fn a_foreign_commit_before_an_own_write_empties_the_memory() {
        let fixture = Fixture::new();
        commit(&fixture.theirs, "foreign");
        assert!(!fixture.knows("old"));
        let before = fixture.memory.before_write(&fixture.wal);
        fixture.memory.after_write(&fixture.wal, before, NOTHING);
        assert!(!fixture.knows("old"));
    }

    #[test]
    fn what_was_read_before_a_commit_is_not_remembered_after_it() {
        for is_own in [false, true] {
            let fixture = Fixture::new();
            let before_read = fixture.wal.stamp();
            if is_own {
                let before = fixture.memory.before_write(&fixture.wal);
                commit(&fixture.ours, "key");
                fixture.memory.after_write(&fixture.wal, before, Some([Change::Stored("key", Entry::lasting("new"))]));
            } else {
                commit(&fixture.theirs, "key");
            }
            fixture.memory.learn(&fixture.wal, before_read, "key", None);
            let recalled = fixture.memory.recall(&fixture.wal, "key");
            assert!(recalled.is_none_or(|known| known.0.is_some()), "that there is no key is out of date");
        }
    }

    #[test]
    fn a_read_beside_an_own_write_leaves_the_memory_to_the_write() {
        let fixture = Fixture::new();
        let before = fixture.memory.before_write(&fixture.wal);
        commit(&fixture.ours, "new");
        fixture.memory.learn(&fixture.wal, fixture.wal.stamp(), "unrelated", None);
        fixture.memory.after_write(&fixture.wal, before, Some([Change::Stored("new", Entry::lasting(""))]));
        assert!(fixture.knows("old") && fixture.knows("new"));
    }

    #[test]
    fn a_read_after_a_foreign_commit_starts_the_memory_anew() {
        let fixture = Fixture::new();
        commit(&fixture.theirs, "foreign");
        fixture.memory.learn(&fixture.wal, fixture.wal.stamp(), "foreign", Some(&Entry::lasting("")));
        assert!(fixture.knows("foreign") && !fixture.knows("old"));
    }

    #[test]
    fn moving_the_log_to_the_file_changes_nothing() {
        let fixture = Fixture::new();
        fixture.theirs.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("a checkpoint");
        assert!(fixture.knows("old"));
    }
}
