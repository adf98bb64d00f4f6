use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// How long the file system must be quiet before a change counts: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(15);

/// Tells of changes to a set of files. Watches the folders they are in, because editors replace files instead of writing
/// to them.
pub(crate) struct FileWatcher {
    watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<PathBuf>,
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl FileWatcher {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            for path in event.paths {
                // An error means nobody watches any more.
                let _ = sender.send(path);
            }
        })
        .context("cannot watch files")?;
        Ok(Self { watcher, events, folders: BTreeSet::new(), files: BTreeSet::new() })
    }

    /// Watches these files, which need not exist, and files directly in these folders, from now on.
    pub(crate) fn watch(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        self.files = files.into_iter().collect();
        let wanted: BTreeSet<PathBuf> =
            self.files.iter().flat_map(|file| nearest_folder(file)).map(Path::to_path_buf).collect();
        for folder in self.folders.difference(&wanted) {
            // The folder may be gone, and its watch with it.
            let _ = self.watcher.unwatch(folder);
        }
        let mut watched = BTreeSet::new();
        for folder in wanted {
            if self.folders.contains(&folder) || self.watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                watched.insert(folder);
            }
        }
        self.folders = watched;
    }

    /// The watched files that changed, once the file system is quiet again.
    pub(crate) async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            let mut changed = BTreeSet::new();
            let Some(first) = self.events.recv().await else { std::future::pending().await };
            changed.insert(first);
            while let Ok(Some(path)) = tokio::time::timeout(QUIET, self.events.recv()).await {
                changed.insert(path);
            }
            changed.retain(|path| self.concerns(path));
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    fn concerns(&self, path: &Path) -> bool {
        self.files.contains(path) || path.parent().is_some_and(|folder| self.files.contains(folder))
    }
}

/// The file's folder, or the nearest one above it that exists; the path itself too when it is a folder.
fn nearest_folder(file: &Path) -> impl Iterator<Item = &Path> {
    let itself = file.is_dir().then_some(file);
    let above = file.ancestors().skip(1).find(|folder| folder.is_dir());
    itself.into_iter().chain(above)
}
