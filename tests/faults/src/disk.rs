//! Disks of a few megabytes that a test fills up.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

/// A file system in memory with room for little, mounted in a temporary folder, and unmounted when dropped.
pub struct SmallDisk {
    folder: TempDir,
}

const BALLAST: &str = "ballast";

const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// A test that needs a disk of its own. Mounting one needs root, so elsewhere the test is ignored and its name says why.
pub fn trial_on_disk(
    name: &'static str,
    bytes: u64,
    body: impl FnOnce(&SmallDisk) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    if let Err(reason) = SmallDisk::mount(bytes) {
        let name = format!("{name} (ignored: no small disk can be mounted: {reason})");
        return Trial::test(name, || Ok(())).with_ignored_flag(true);
    }
    Trial::test(name, move || body(&SmallDisk::mount(bytes)?))
}

impl SmallDisk {
    /// Mounts one with room for so many bytes.
    pub fn mount(bytes: u64) -> io::Result<Self> {
        let disk = Self { folder: tempfile::tempdir()? };
        mount(disk.path(), &format!("size={bytes}"), 0)?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills all room that is left.
    pub fn fill(&self) -> Result<(), Failed> {
        let mut ballast = File::options().create(true).append(true).open(self.ballast())?;
        let mut piece = vec![0x55; 64 * 1024];
        while !piece.is_empty() {
            match ballast.write(&piece) {
                Ok(0) => return Err("nothing can be written, for no reason".into()),
                Ok(_) => {}
                // Down to the last byte, so that no log finds room.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub fn make_room(&self) -> Result<(), Failed> {
        std::fs::remove_file(self.ballast()).map_err(Failed::from)
    }

    /// From now on nothing can be written, or everything again.
    ///
    /// The system refuses while a file is open to be written. A process that another trial has just started holds copies of
    /// all open files until it runs its own program, so this waits a while.
    pub fn remount(&self, access: Access) -> Result<(), Failed> {
        let flags = match access {
            Access::ReadOnly => libc::MS_RDONLY,
            Access::ReadWrite => 0,
        };
        let deadline = Instant::now() + BUSY_PATIENCE;
        loop {
            match mount(self.path(), "", libc::MS_REMOUNT | flags) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                outcome => return outcome.map_err(Failed::from),
            }
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path().join(BALLAST)
    }
}

/// What may be done on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = c_string(self.path());
        // SAFETY: the string ends with a zero and outlives the call. What is still open keeps the memory, not the mount.
        let outcome = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        if outcome != 0 && !std::thread::panicking() {
            eprintln!("{} could not be unmounted: {}", self.path().display(), io::Error::last_os_error());
        }
    }
}

fn mount(at: &Path, options: &str, flags: libc::c_ulong) -> io::Result<()> {
    let (at, options) = (c_string(at), CString::new(options)?);
    // SAFETY: the strings end with a zero and outlive the call; `tmpfs` takes its options as a string.
    let outcome =
        unsafe { libc::mount(c"tmpfs".as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), flags, options.as_ptr().cast()) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path has no zero in it")
}
