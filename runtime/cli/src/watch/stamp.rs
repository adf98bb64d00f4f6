use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How a path was seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// As nothing that is seen later.
    Unknown,
    /// Nothing is there, or nothing that may be looked at.
    Missing,
    File(Version),
    /// A folder, with the files directly in it.
    Folder(BTreeMap<OsString, Version>),
}

/// Tells two states of a file apart. The time of the last change of its inode moves with every write, rename and replacement, also where
/// the time of its content was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Tells two folders at one path apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FolderId {
    device: u64,
    inode: u64,
}

impl Stamp {
    /// Links are followed.
    pub(super) fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Self::Folder(files_in(path)),
            Ok(metadata) => Self::File(Version::of(&metadata)),
            Err(_) => Self::Missing,
        }
    }

    /// Itself, or unknown where something changed after `time`.
    pub(super) fn if_older_than(self, time: SystemTime) -> Self {
        let is_newer = match &self {
            Self::Unknown | Self::Missing => false,
            Self::File(version) => version.changed_after(time),
            Self::Folder(files) => files.values().any(|version| version.changed_after(time)),
        };
        if is_newer { Self::Unknown } else { self }
    }

    /// What differs now at `path`: the files of a folder, or the path itself.
    pub(super) fn differences(&self, now: &Self, path: &Path) -> Vec<PathBuf> {
        match (self, now) {
            (Self::Folder(before), Self::Folder(now)) => {
                let names = before.keys().chain(now.keys());
                names.filter(|name| before.get(*name) != now.get(*name)).map(|name| path.join(name)).collect()
            }
            _ if self == now => Vec::new(),
            _ => vec![path.to_owned()],
        }
    }
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn changed_after(&self, time: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let since_epoch = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0));
        SystemTime::UNIX_EPOCH + since_epoch > time
    }
}

impl FolderId {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        metadata.is_dir().then(|| Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// A file that goes while it is looked for is one that is not there.
fn files_in(folder: &Path) -> BTreeMap<OsString, Version> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let file = |entry: std::fs::DirEntry| {
        let metadata = std::fs::metadata(entry.path()).ok()?;
        metadata.is_file().then(|| (entry.file_name(), Version::of(&metadata)))
    };
    entries.filter_map(file).collect()
}
