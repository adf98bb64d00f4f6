//! A VFS like SQLite's own, whose temporary files have a bound: what a sort or a temporary table does not keep in memory would
//! otherwise fill the disk.

use std::ffi::{CStr, c_void};
use std::mem::ManuallyDrop;
use std::os::raw::c_int;
use std::sync::OnceLock;

use aerostack_bindings::Held;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

use crate::working_memory::{refuse, temporary_bytes};

/// Its name.
pub const VFS: &CStr = c"aerostack";

/// What SQLite opens and nobody else ever sees.
const TEMPORARY: c_int = ffi::SQLITE_OPEN_TEMP_DB
    | ffi::SQLITE_OPEN_TRANSIENT_DB
    | ffi::SQLITE_OPEN_TEMP_JOURNAL
    | ffi::SQLITE_OPEN_SUBJOURNAL;

/// SQLite's own VFS. It lives as long as the process.
struct Own(*mut sqlite3_vfs);

// SAFETY: SQLite's VFS may be used by any thread.
unsafe impl Send for Own {}
// SAFETY: as above.
unsafe impl Sync for Own {}

static OWN: OnceLock<Own> = OnceLock::new();

/// An open temporary file. SQLite's own file lies right behind it.
#[repr(C)]
struct TemporaryFile {
    base: sqlite3_file,
    held: ManuallyDrop<Held>,
}

/// Without the parts that share memory and map files: temporary ones have no use for them.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Makes [`VFS`] known to SQLite. Returns SQLite's code.
pub(crate) fn register() -> c_int {
    // SAFETY: the VFS found lives for ever, and so does the one made here.
    unsafe {
        let own = ffi::sqlite3_vfs_find(std::ptr::null());
        if own.is_null() {
            return ffi::SQLITE_ERROR;
        }
        OWN.get_or_init(|| Own(own));
        let vfs = Box::leak(Box::new(sqlite3_vfs {
            szOsFile: (*own).szOsFile + size_of::<TemporaryFile>() as c_int,
            pNext: std::ptr::null_mut(),
            zName: VFS.as_ptr(),
            xOpen: Some(open),
            ..*own
        }));
        ffi::sqlite3_vfs_register(vfs, 0)
    }
}

/// SQLite's own file behind one of ours.
fn own_file(file: *mut sqlite3_file) -> *mut sqlite3_file {
    file.wrapping_byte_add(size_of::<TemporaryFile>())
}

unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let Some(Own(own)) = OWN.get() else { return ffi::SQLITE_ERROR };
    // SAFETY: SQLite gives `szOsFile` bytes of room, which is enough for both files; everything else is passed on.
    unsafe {
        let Some(open) = (**own).xOpen else { return ffi::SQLITE_ERROR };
        if flags & TEMPORARY == 0 {
            return open(*own, name, file, flags, out_flags);
        }
        (*file).pMethods = std::ptr::null();
        let code = open(*own, name, own_file(file), flags, out_flags);
        if code == ffi::SQLITE_OK {
            let held = ManuallyDrop::new(temporary_bytes().hold_anyway(0));
            file.cast::<TemporaryFile>()
                .write(TemporaryFile { base: sqlite3_file { pMethods: &raw const METHODS }, held });
        }
        code
    }
}

/// Calls a method of SQLite's own file.
macro_rules! pass_on {
    ($method:ident, $file:expr $(, $argument:expr)*) => {{
        let own = own_file($file);
        // SAFETY: SQLite calls a method of a file that it has opened, and not closed.
        unsafe {
            match (*(*own).pMethods).$method {
                Some(method) => method(own $(, $argument)*),
                None => ffi::SQLITE_ERROR,
            }
        }
    }};
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let code = pass_on!(xClose, file);
    // SAFETY: the file is ours, was opened, and is not used after this.
    unsafe {
        ManuallyDrop::drop(&mut (*file.cast::<TemporaryFile>()).held);
        (*file).pMethods = std::ptr::null();
    }
    code
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is ours and open.
    let held = unsafe { &mut (*file.cast::<TemporaryFile>()).held };
    let end = at.saturating_add(i64::from(count));
    if let Err(error) = held.grow_to(usize::try_from(end).unwrap_or(usize::MAX)) {
        refuse(error);
        return ffi::SQLITE_FULL;
    }
    pass_on!(xWrite, file, bytes, count, at)
}

unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, count: c_int, at: ffi::sqlite3_int64) -> c_int {
    pass_on!(xRead, file, into, count, at)
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    pass_on!(xTruncate, file, size)
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    pass_on!(xSync, file, flags)
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    pass_on!(xFileSize, file, size)
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass_on!(xLock, file, level)
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass_on!(xUnlock, file, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, taken: *mut c_int) -> c_int {
    pass_on!(xCheckReservedLock, file, taken)
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    pass_on!(xFileControl, file, operation, argument)
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    pass_on!(xSectorSize, file)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    pass_on!(xDeviceCharacteristics, file)
}
