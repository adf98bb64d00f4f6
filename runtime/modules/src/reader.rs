//! Where sources come from: the disk, or a map in memory for tests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Reads the files of a project. Paths are absolute; implementations follow links.
pub trait SourceReader: Send + Sync + 'static {
    /// What lies at the path once links are followed; `None` when nothing does.
    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>>;

    /// The path with every link followed, so that a project cannot be left through one.
    fn real_path(&self, path: &Path) -> io::Result<PathBuf>;

    /// The bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The names in a folder, in any order. Used only to guess what a misspelt import meant.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file that can be read.
    File,
    /// A folder.
    Folder,
}

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskReader;

/// Files in memory, for tests: `/` separated absolute paths, folders exist because files lie in them.
#[derive(Debug, Default)]
pub struct MemoryReader {
    tree: Mutex<MemoryTree>,
}

#[derive(Debug, Default)]
struct MemoryTree {
    files: BTreeMap<PathBuf, Vec<u8>>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl SourceReader for DiskReader {
    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Some(EntryKind::Folder)),
            Ok(metadata) if metadata.is_file() => Ok(Some(EntryKind::File)),
            // A socket or a device is nothing that can be imported, and reading one could wait for ever.
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }
}

impl MemoryReader {
    /// A tree with these files.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let reader = Self::default();
        for (path, text) in files {
            reader.write(path, text);
        }
        reader
    }

    /// Creates or replaces a file.
    pub fn write(&self, path: impl Into<PathBuf>, bytes: impl AsRef<[u8]>) {
        self.tree().files.insert(path.into(), bytes.as_ref().to_vec());
    }

    /// Removes a file; nothing happens where there is none.
    pub fn remove(&self, path: impl AsRef<Path>) {
        self.tree().files.remove(path.as_ref());
    }

    /// Makes `from` a symbolic link to the file or folder `to`.
    pub fn link(&self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) {
        self.tree().links.insert(from.into(), to.into());
    }

    fn tree(&self) -> MutexGuard<'_, MemoryTree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryTree {
    fn follow(&self, path: &Path) -> PathBuf {
        let mut path = path.to_path_buf();
        // A bound instead of a visited set: a cycle of links ends at some path, where nothing lies.
        for _ in 0..16 {
            let Some((from, to)) = self.links.iter().find(|(from, _)| path.starts_with(from)) else { return path };
            let Ok(rest) = path.strip_prefix(from) else { return path };
            path = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
        }
        path
    }

    fn kind(&self, real: &Path) -> Option<EntryKind> {
        if self.files.contains_key(real) {
            return Some(EntryKind::File);
        }
        let is_folder = self.files.keys().chain(self.links.keys()).any(|file| file.starts_with(real));
        is_folder.then_some(EntryKind::Folder)
    }
}

impl SourceReader for MemoryReader {
    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        let tree = self.tree();
        Ok(tree.kind(&tree.follow(path)))
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        let tree = self.tree();
        let real = tree.follow(path);
        tree.kind(&real).map(|_| real).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let tree = self.tree();
        tree.files.get(&tree.follow(path)).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let tree = self.tree();
        let folder = tree.follow(folder);
        let mut names: Vec<String> = tree
            .files
            .keys()
            .chain(tree.links.keys())
            .filter_map(|path| path.strip_prefix(&folder).ok()?.components().next())
            .map(|name| name.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.dedup();
        Ok(names)
    }
}

impl<R: SourceReader + ?Sized> SourceReader for std::sync::Arc<R> {
    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        (**self).kind(path)
    }

    fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        (**self).real_path(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        (**self).read(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        (**self).names(folder)
    }
}
