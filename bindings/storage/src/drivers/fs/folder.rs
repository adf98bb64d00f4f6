//! The files of a bucket, and who may remove them.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind as IoErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use aerostack_bindings::{Error, ErrorKind, Result, make_state_folder};

use crate::checksum::to_hex;

/// The name of a file in `objects`: 32 lower-case hex digits. Nothing else ever becomes part of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FileId(String);

/// Whether other processes have the bucket open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    Others,
}

/// The folder of a bucket.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    lock: File,
}

impl FileId {
    /// A new one. That it is not taken is a matter of 128 random bits.
    pub(super) fn random() -> Result<Self> {
        Ok(Self(to_hex(&random_bytes::<16>()?)))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 32 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Bytes nobody can guess.
pub(super) fn random_bytes<const COUNT: usize>() -> Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Unexpected, "the system has no random numbers").with_context("error", error.to_string())
    })?;
    Ok(bytes)
}

impl Folder {
    /// Opens the folder at `root`, making it where it is missing. While the answer is [`Company::Alone`], nobody else comes in
    /// before [`Folder::admit_others`].
    pub(super) fn open(root: &Path) -> Result<(Self, Company)> {
        for folder in [root.join("objects"), root.join("unsettled")] {
            make_state_folder(&folder).map_err(|error| {
                let folder = folder.display();
                Error::new(
                    ErrorKind::ConfigInvalid,
                    format!("cannot make the folder {folder} of the bucket; check its permissions or give the bucket another name"),
                )
                .with_source(error)
            })?;
        }
        let path = root.join("lock");
        let cannot_lock = |error: io::Error| {
            Error::new(
                ErrorKind::ConfigInvalid,
                format!("cannot lock {}; check its permissions, and that it is on a local disk", path.display()),
            )
            .with_source(error)
        };
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(cannot_lock)?;
        let company = match lock.try_lock() {
            Ok(()) => Company::Alone,
            Err(TryLockError::WouldBlock) => {
                lock.lock_shared().map_err(cannot_lock)?;
                Company::Others
            }
            Err(TryLockError::Error(error)) => return Err(cannot_lock(error)),
        };
        Ok((Self { root: root.to_owned(), lock }, company))
    }

    /// Ends the time alone. Whoever gets in first meanwhile finds nothing of ours that is unsettled.
    pub(super) fn admit_others(&self) -> Result<()> {
        self.lock
            .unlock()
            .and_then(|()| self.lock.lock_shared())
            .map_err(|error| failed("lock", &self.root.join("lock"), error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    pub(super) fn metadata_path(&self) -> PathBuf {
        self.root.join("metadata.sqlite")
    }

    pub(super) fn file_path(&self, id: &FileId) -> PathBuf {
        self.root.join("objects").join(&id.0[..2]).join(&id.0)
    }

    /// Makes a new file, named in `unsettled` until [`Folder::settle`].
    pub(super) fn create(&self, id: &FileId) -> Result<File> {
        self.mark_unsettled(std::slice::from_ref(id))?;
        let path = self.file_path(id);
        let mut outcome = File::create_new(&path);
        if outcome.as_ref().is_err_and(|error| error.kind() == IoErrorKind::NotFound) {
            let parent = path.parent().unwrap_or(&self.root);
            outcome = make_state_folder(parent)
                .and_then(|()| sync_folder(&self.root.join("objects")))
                .and_then(|()| File::create_new(&path));
        }
        outcome.map_err(|error| failed("make", &path, error))
    }

    /// Has everything that was written to a new file on the disk, and its name too.
    pub(super) fn flush(&self, id: &FileId, file: &File) -> Result<()> {
        let path = self.file_path(id);
        file.sync_data()
            .and_then(|()| sync_folder(path.parent().unwrap_or(&self.root)))
            .map_err(|error| failed("flush", &path, error))
    }

    /// Opens a file for reading; `None` where it is not there any more.
    pub(super) fn open_file(&self, id: &FileId) -> Result<Option<File>> {
        let path = self.file_path(id);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &path, error)),
        }
    }

    /// Opens the first of several files for reading, and keeps all of them from being removed while it is open; `None` where
    /// they are being removed.
    pub(super) fn hold(&self, first: &FileId) -> Result<Option<File>> {
        let Some(file) = self.open_file(first)? else { return Ok(None) };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &self.file_path(first), error)),
        }
        // It may have been removed between the two steps.
        let path = self.file_path(first);
        let is_there = fs::exists(&path).map_err(|error| failed("open", &path, error))?;
        Ok(is_there.then_some(file))
    }

    /// Names files in `unsettled`. The first gives the mark its name.
    pub(super) fn mark_unsettled(&self, ids: &[FileId]) -> Result<()> {
        let Some(first) = ids.first() else { return Ok(()) };
        let path = self.mark_path(first);
        let names: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        File::create(&path)
            .and_then(|mut mark| mark.write_all(names.as_bytes()))
            .map_err(|error| failed("write", &path, error))
    }

    /// Takes the mark of a file away: a row names it, or it is gone.
    pub(super) fn settle(&self, first: &FileId) -> Result<()> {
        let path = self.mark_path(first);
        remove(&path).map_err(|error| failed("remove", &path, error))
    }

    /// Removes files that no row names, and their mark. `false` where somebody is reading them: then all are left as they are.
    pub(super) fn remove_files(&self, ids: &[FileId]) -> Result<bool> {
        let Some(first) = ids.first() else { return Ok(true) };
        // One file needs no lock: whoever reads it has it open.
        let held = if ids.len() > 1 { self.open_file(first)? } else { None };
        if let Some(file) = &held {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(error)) => return Err(failed("lock", &self.file_path(first), error)),
            }
        }
        // The first file goes first: that it is gone tells readers, who come once the lock is given back, that all are.
        for id in ids {
            let path = self.file_path(id);
            remove(&path).map_err(|error| failed("remove", &path, error))?;
        }
        self.settle(first)?;
        Ok(true)
    }

    /// What `unsettled` names, a list a mark.
    pub(super) fn unsettled(&self) -> Result<Vec<Vec<FileId>>> {
        let folder = self.root.join("unsettled");
        let unreadable = |error: io::Error| failed("read", &folder, error);
        let mut marks = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            // Whatever else somebody has put there is none of ours.
            let Some(first) = name.to_str().and_then(FileId::parse) else { continue };
            let mut names = String::new();
            let path = self.mark_path(&first);
            File::open(&path)
                .and_then(|mut mark| mark.read_to_string(&mut names))
                .map_err(|error| failed("read", &path, error))?;
            // The power may have failed before the names were written; the mark itself names the first.
            let others = names.lines().filter_map(FileId::parse).filter(|id| *id != first);
            marks.push(std::iter::once(first.clone()).chain(others).collect());
        }
        Ok(marks)
    }

    fn mark_path(&self, first: &FileId) -> PathBuf {
        self.root.join("unsettled").join(&first.0)
    }
}

/// The error of a file that could not be used.
pub(super) fn failed(action: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        IoErrorKind::StorageFull | IoErrorKind::QuotaExceeded => ErrorKind::Unavailable,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, format!("cannot {action} {} of the bucket: {}", path.display(), plain(&error))).with_source(error)
}

/// What the system says, without the number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((plain, _)) => plain.to_lowercase(),
        None => text,
    }
}

/// Removes a file. That it was not there is no error.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != IoErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
