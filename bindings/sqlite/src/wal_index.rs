//! Knowing without asking SQLite whether the file has changed.
//!
//! In WAL mode every connection to a file, of every process, shares the "WAL index": a piece of shared memory whose first 48
//! bytes describe the last commit (<https://sqlite.org/walformat.html>, section 2.1). SQLite compares those bytes to decide
//! whether its own page cache is still good; `PRAGMA data_version` is the same comparison behind a statement, two system
//! calls and a connection's lock. Reading them here costs two loads and needs no lock, so that a value found in memory
//! can be checked against the file on every `get`.

use std::os::raw::c_int;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rusqlite::{Connection, ffi};

/// The size SQLite maps the WAL index in (`WALINDEX_PGSZ`).
const REGION_BYTES: c_int = 32 * 1024;

// Places in the header, counted in words of 32 bits.
const CHANGE_COUNTER: usize = 2;
const LAST_FRAME: usize = 4;
const DATABASE_PAGES: usize = 5;
const FRAME_CHECKSUM: usize = 6;

/// The state of the file after one commit. Two equal stamps mean the same content.
///
/// The counter of commits alone would do, were it not restarted when SQLite rebuilds the index after a crash in the middle of
/// writing it; the checksum of the last frame tells those states apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    commits: u32,
    checksum: u32,
}

/// The header of the WAL index of an open file.
pub struct WalIndex {
    header: NonNull<AtomicU32>,
}

// SAFETY: the header is shared memory made for any number of readers, and it is read only through atomics.
unsafe impl Send for WalIndex {}
// SAFETY: as above.
unsafe impl Sync for WalIndex {}

impl Stamp {
    /// As one number.
    pub fn to_bits(self) -> u64 {
        u64::from(self.commits) << 32 | u64::from(self.checksum)
    }

    /// Whether exactly one commit lies between `earlier` and this.
    pub fn is_the_commit_after(self, earlier: Self) -> bool {
        self.commits == earlier.commits.wrapping_add(1)
    }
}

impl WalIndex {
    /// The WAL index of `connection`, or `None` where its file system cannot share memory.
    ///
    /// # Safety
    /// The connection must have read the file in WAL mode, and must stay open as long as the result is used.
    pub unsafe fn of(connection: &Connection) -> Option<Self> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        let mut header = ptr::null_mut();
        // SAFETY: the handle is that of an open connection; FILE_POINTER writes one pointer to where its argument points.
        let outcome = unsafe {
            ffi::sqlite3_file_control(
                connection.handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast(),
            )
        };
        if outcome != ffi::SQLITE_OK || file.is_null() {
            return None;
        }
        // SAFETY: SQLite keeps the file and its methods for as long as the connection is open.
        let map = unsafe { file.as_ref()?.pMethods.as_ref()?.xShmMap? };
        // SAFETY: this is the call with which SQLite itself gets the first region, which the connection has mapped already
        // and keeps mapped until it closes. It is asked not to make one that is not there.
        let outcome = unsafe { map(file, 0, REGION_BYTES, 0, &raw mut header) };
        if outcome != ffi::SQLITE_OK {
            return None;
        }
        NonNull::new(header.cast()).map(|header| Self { header })
    }

    /// The state of the file now.
    pub fn stamp(&self) -> Stamp {
        let stamp = Stamp { commits: self.word(CHANGE_COUNTER), checksum: self.word(FRAME_CHECKSUM) };
        fence(Ordering::Acquire);
        stamp
    }

    /// How many frames (changed pages) the log holds.
    pub fn frames(&self) -> u32 {
        self.word(LAST_FRAME)
    }

    /// How many pages the database has after the last commit; 0 where nothing was committed since the log was made.
    pub fn database_pages(&self) -> u32 {
        self.word(DATABASE_PAGES)
    }

    fn word(&self, index: usize) -> u32 {
        // SAFETY: the region is far longer than the header and aligned to a page; the words are only ever read here.
        unsafe { self.header.add(index).as_ref() }.load(Ordering::Acquire)
    }
}
