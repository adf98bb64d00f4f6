//! The reader, bound to one project: what lies outside it is out of reach, and what was looked at is remembered.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::reader::{EntryKind, SourceReader};
use crate::resolve::ResolveError;

/// The files of one project.
pub(crate) struct Files {
    reader: Arc<dyn SourceReader>,
    /// Absolute, links followed.
    root: PathBuf,
    /// `None` while nobody asks: a running worker can resolve any number of made-up names.
    looked_at: Option<Mutex<BTreeMap<PathBuf, Presence>>>,
}

/// Whether a file that was looked at was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Read,
    Missing,
}

impl Files {
    /// Remembers what it looks at, for the watcher.
    pub(crate) fn recording(reader: Arc<dyn SourceReader>, root: PathBuf) -> Self {
        Self { reader, root, looked_at: Some(Mutex::default()) }
    }

    /// Stops remembering and hands out what was looked at.
    pub(crate) fn take_recording(&mut self) -> BTreeMap<PathBuf, Presence> {
        let recording = self.looked_at.take().unwrap_or_default();
        recording.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        let kind = self.reader.kind(path)?;
        if kind.is_none() {
            self.remember(path, Presence::Missing);
        }
        Ok(kind)
    }

    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.remember(path, Presence::Read);
        self.reader.read(path)
    }

    /// The text without a byte order mark.
    pub(crate) fn read_text(&self, path: &Path) -> io::Result<Arc<str>> {
        let bytes = self.read(path)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text).into()),
            Err(error) => {
                let message = format!("not UTF-8 text (byte {} is not valid)", error.valid_up_to());
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        }
    }

    pub(crate) fn names(&self, folder: &Path) -> Vec<String> {
        // Only ever used for a guess in a hint: a folder that cannot be listed has no guesses.
        self.reader.names(folder).unwrap_or_default()
    }

    /// The path with links followed, if that still lies in the project.
    pub(crate) fn real_path(&self, specifier: &str, path: &Path) -> Result<PathBuf, ResolveError> {
        let real =
            self.reader.real_path(path).map_err(|error| ResolveError::unreadable(specifier, self, path, &error))?;
        if real != path {
            // A link on the way may lead elsewhere later.
            self.remember(path, Presence::Read);
        }
        if real.starts_with(&self.root) {
            return Ok(real);
        }
        Err(ResolveError::OutsideProject { specifier: specifier.to_owned(), leads_to: real, root: self.root.clone() })
    }

    /// The path without `.` and `..`, if that lies in the project: nothing outside is even looked at.
    pub(crate) fn inside_root(&self, specifier: &str, path: &Path) -> Result<PathBuf, ResolveError> {
        let path = normalize(path);
        if path.starts_with(&self.root) {
            return Ok(path);
        }
        Err(ResolveError::OutsideProject { specifier: specifier.to_owned(), leads_to: path, root: self.root.clone() })
    }

    /// The path as it is printed: relative to the project, `/` between folders; absolute outside of it.
    pub(crate) fn display(&self, path: &Path) -> String {
        let Ok(relative) = path.strip_prefix(&self.root) else { return path.display().to_string() };
        let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        parts.join("/")
    }

    fn remember(&self, path: &Path, presence: Presence) {
        if let Some(looked_at) = &self.looked_at {
            let mut looked_at = looked_at.lock().unwrap_or_else(PoisonError::into_inner);
            match presence {
                Presence::Read => looked_at.insert(path.to_path_buf(), presence),
                Presence::Missing => Some(*looked_at.entry(path.to_path_buf()).or_insert(presence)),
            };
        }
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("root", &self.root).finish_non_exhaustive()
    }
}

/// The path without `.` and `..`, by its text alone.
pub(crate) fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
