//! How much memory SQLite may take while it runs one statement.
//!
//! SQLite bounds each value and not their number: the registers of one statement can hold gigabytes. Its own limit of the heap counts
//! under a lock of the whole process. A statement runs on one thread, so a count of that thread needs no lock.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::os::raw::c_int;
use std::sync::{Once, OnceLock};

use aerostack_bindings::{Error, Held, Memory};
use rusqlite::ffi;

use crate::temporary_files;

/// What a statement may take without being counted.
const FREE_BYTES: isize = 1024 * 1024;
/// How much is asked for at once.
const STEP_BYTES: usize = 1024 * 1024;

/// SQLite's own allocator, behind the one that counts.
static SQLITE_ALLOCATOR: OnceLock<Own> = OnceLock::new();

struct Own(ffi::sqlite3_mem_methods);

// SAFETY: functions that any thread may call. What they share, if anything, is theirs.
unsafe impl Send for Own {}
// SAFETY: as above.
unsafe impl Sync for Own {}

thread_local! {
    /// Bytes that SQLite has taken on this thread, less what it gave back, since the statement began.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    /// How many that may be before somebody is asked.
    static ALLOWED: Cell<isize> = const { Cell::new(isize::MAX) };
    static STATEMENT: RefCell<Option<Budget>> = const { RefCell::new(None) };
    static REFUSAL: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// What the running statement has been given.
struct Budget {
    held: Held,
    files: Memory,
}

/// Readies SQLite for the process: no count of its memory, which takes a lock at each allocation, and [`WorkingMemory`] in its place.
/// To be called before the first connection is opened.
pub fn prepare_sqlite() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the arguments have the types that the options take. Where something else in the process has started SQLite already,
        // the calls are refused, and statements take what they need: that is told below.
        let codes = unsafe {
            let mut own = std::mem::zeroed::<ffi::sqlite3_mem_methods>();
            let asked = ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut own);
            let counting = ffi::sqlite3_mem_methods {
                xMalloc: Some(allocate),
                xFree: Some(free),
                xRealloc: Some(reallocate),
                ..own
            };
            let _ = SQLITE_ALLOCATOR.set(Own(own));
            let quiet = ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0);
            [
                asked,
                quiet,
                ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const counting),
                temporary_files::register(),
            ]
        };
        if codes.iter().any(|code| *code != ffi::SQLITE_OK) {
            tracing::warn!(?codes, "SQLite was in use before it was set up: the memory of statements has no bound");
        }
    });
}

/// While it lives, what SQLite takes on this thread counts, and past the limit SQLite is told that there is no memory
/// (`SQLITE_NOMEM`). Not nested.
pub struct WorkingMemory(());

impl WorkingMemory {
    /// Counts from now on.
    pub fn count_in(memory: &Memory) -> Self {
        TAKEN.set(0);
        if *memory != Memory::unlimited() {
            ALLOWED.set(FREE_BYTES);
            let held = memory.hold_anyway(0);
            STATEMENT.with_borrow_mut(|statement| *statement = Some(Budget { held, files: memory.files() }));
        }
        Self(())
    }
}

impl Drop for WorkingMemory {
    fn drop(&mut self) {
        if ALLOWED.replace(isize::MAX) != isize::MAX {
            STATEMENT.set(None);
        }
    }
}

/// Why SQLite was refused memory or room for a temporary file on this thread since the last call, if it was.
pub fn take_refusal() -> Option<Error> {
    REFUSAL.take()
}

/// Notes why SQLite is refused something.
pub(crate) fn refuse(error: Error) {
    REFUSAL.set(Some(error));
}

/// Where the temporary files of the running statement count.
pub(crate) fn temporary_bytes() -> Memory {
    STATEMENT.with_borrow(|statement| statement.as_ref().map_or_else(Memory::unlimited, |budget| budget.files.clone()))
}

/// Whether the statement may have taken so much.
fn may_take(taken: isize) -> bool {
    if taken <= ALLOWED.get() {
        return true;
    }
    STATEMENT.with_borrow_mut(|statement| {
        let Some(budget) = statement else { return true };
        let counted = usize::try_from(taken - FREE_BYTES).unwrap_or(0).next_multiple_of(STEP_BYTES);
        match budget.held.grow_to(counted) {
            Ok(()) => {
                ALLOWED.set(FREE_BYTES.saturating_add_unsigned(counted));
                true
            }
            Err(error) => {
                refuse(error);
                false
            }
        }
    })
}

fn own() -> &'static ffi::sqlite3_mem_methods {
    let Own(methods) = SQLITE_ALLOCATOR.get().expect("set before SQLite knows of this allocator");
    methods
}

/// # Safety
/// `block` must come from SQLite's own allocator.
unsafe fn size_of_block(block: *mut c_void) -> isize {
    // SAFETY: the caller vouches for the block.
    own().xSize.map_or(0, |size| unsafe { size(block) } as isize)
}

unsafe extern "C" fn allocate(bytes: c_int) -> *mut c_void {
    if !may_take(TAKEN.get() + bytes as isize) {
        return std::ptr::null_mut();
    }
    // SAFETY: passed on.
    let block = own().xMalloc.map_or(std::ptr::null_mut(), |allocate| unsafe { allocate(bytes) });
    if !block.is_null() {
        // SAFETY: the block was just made.
        TAKEN.set(TAKEN.get() + unsafe { size_of_block(block) });
    }
    block
}

unsafe extern "C" fn reallocate(block: *mut c_void, bytes: c_int) -> *mut c_void {
    // SAFETY: SQLite passes a block of this allocator, which is one of its own.
    let before = unsafe { size_of_block(block) };
    if !may_take(TAKEN.get() + bytes as isize - before) {
        return std::ptr::null_mut();
    }
    // SAFETY: passed on.
    let moved = own().xRealloc.map_or(std::ptr::null_mut(), |reallocate| unsafe { reallocate(block, bytes) });
    if !moved.is_null() {
        // SAFETY: the block was just made.
        TAKEN.set(TAKEN.get() + unsafe { size_of_block(moved) } - before);
    }
    moved
}

unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: SQLite passes a block of this allocator, which is one of its own.
    unsafe {
        TAKEN.set(TAKEN.get() - size_of_block(block));
        if let Some(free) = own().xFree {
            free(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;
    use crate::VFS;

    /// Runs a query whose registers hold so many values of 1 MB at once.
    fn hold_values(memory: &Memory, values: usize) -> rusqlite::Result<i64> {
        prepare_sqlite();
        let connection = Connection::open_in_memory_with_flags_and_vfs(OpenFlags::default(), VFS)?;
        let all = vec!["hex(zeroblob(500000))"; values].join(", ");
        let _counted = WorkingMemory::count_in(memory);
        connection.query_row(&format!("SELECT length(max({all}))"), [], |row| row.get(0))
    }

    #[test]
    fn a_statement_that_needs_more_memory_than_is_left_fails_and_says_why() {
        let memory = Memory::limited(20 * 1024 * 1024, || ());
        assert_eq!(hold_values(&memory, 10), Ok(1_000_000));
        assert!(take_refusal().is_none());
        let error = hold_values(&memory, 60).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::OutOfMemory), "{error}");
        assert!(take_refusal().unwrap().message().contains("more than 20 MB"));
        assert_eq!(memory.held(), 0);
        assert_eq!(hold_values(&Memory::unlimited(), 60), Ok(1_000_000));
    }

    #[test]
    fn temporary_files_count_until_they_are_closed_and_have_a_bound() {
        prepare_sqlite();
        let folder = tempfile::tempdir().unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = Connection::open_with_flags_and_vfs(folder.path().join("a"), flags, VFS).unwrap();
        connection.execute_batch("PRAGMA temp_store = FILE").unwrap();
        let memory = Memory::limited(64 * 1024 * 1024, || ());
        let distinct = |rows: usize| {
            let sql = format!(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {rows})
                 SELECT count(*) FROM (SELECT DISTINCT hex(zeroblob(50000)) || x FROM n)"
            );
            let _counted = WorkingMemory::count_in(&memory);
            connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
        };
        assert_eq!(distinct(200), Ok(200));
        assert_eq!((memory.files().held(), memory.held()), (0, 0));
        let taken = memory.files().hold(1024 * 1024 * 1024 - 4 * 1024 * 1024).unwrap();
        let error = distinct(200).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull), "{error}");
        assert!(take_refusal().unwrap().message().contains("temporary files"));
        drop(taken);
        assert_eq!(distinct(200), Ok(200));
        assert_eq!(memory.files().held(), 0);
    }
}
