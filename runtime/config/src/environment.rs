use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::paths::normalized;

/// Everything that loading a config asks of the machine: variables and files. Passed in, so that nothing here is global.
pub trait Environment {
    /// The process environment variable `name`; none when it is unset or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
    /// The absolute folder that relative paths start from; diagnostics show paths relative to it.
    fn current_directory(&self) -> &Path;
    /// The whole file at `path`.
    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Whether a file (not a folder) is at `path`.
    fn is_file(&self, path: &Path) -> bool;
}

/// The real process environment and file system.
#[derive(Debug, Clone)]
pub struct ProcessEnvironment {
    current_directory: PathBuf,
}

/// An environment that exists in memory only, for tests and for configs that were never on a disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryEnvironment {
    variables: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl ProcessEnvironment {
    /// Reads the current folder of the process once; fails when it was removed.
    pub fn new() -> io::Result<Self> {
        Ok(Self { current_directory: std::env::current_dir()? })
    }
}

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn current_directory(&self) -> &Path {
        &self.current_directory
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }
}

impl MemoryEnvironment {
    /// The folder of every memory environment.
    pub const ROOT: &'static str = "/project";

    /// An environment without variables and files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file; a relative `path` is relative to [`Self::ROOT`].
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(normalized(&Path::new(Self::ROOT).join(path)), content.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

impl Environment for MemoryEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn current_directory(&self) -> &Path {
        Path::new(Self::ROOT)
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn is_file(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }
}
