//! Tells when files change, whatever happens to the folders and links on the way to them.
//!
//! What the system reports is only a hint to look: what changed is found by comparing each file with how it was seen last. So it does not
//! matter whether an editor writes to a file or replaces it, whether a folder was moved away and back, or whether a link now points
//! elsewhere.

mod plan;
mod stamp;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use plan::Plan;
use stamp::{FolderId, Stamp};

/// How long the file system must be quiet before a change counts: editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(15);

/// How long is waited for that.
const LONGEST_UNREST: Duration = Duration::from_secs(1);

/// How often files are looked at where the system cannot report changes of some folder.
const POLL: Duration = Duration::from_secs(1);

/// Tells of changes to a set of files.
pub(crate) struct FileWatcher {
    root: PathBuf,
    hints: Arc<Hints>,
    /// None before there is something to watch, and where the system has none to give.
    watcher: Option<RecommendedWatcher>,
    /// The folders whose changes are reported, and which ones they were at these paths.
    folders: BTreeMap<PathBuf, FolderId>,
    /// The files as they were seen last.
    files: BTreeMap<PathBuf, Stamp>,
    /// Changes that were seen and not returned yet.
    seen: BTreeSet<PathBuf>,
    /// Why some folder is not reported on, where that is so.
    blind: Option<String>,
}

/// What the system's reports are turned into.
#[derive(Default)]
struct Hints {
    /// Something on the way to a file may have changed.
    changed: Notify,
    /// A folder that is reported on was moved, removed or replaced: the system may not report on its path any more.
    is_stale: AtomicBool,
    plan: Mutex<Plan>,
}

impl FileWatcher {
    /// Watches nothing yet. In `root`, the project's folder, changes of all folders on the way to a file are noticed; elsewhere those of the
    /// folders that hold files or links.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            // A folder that is gone already is watched for under the name it had.
            root: std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned()),
            hints: Arc::default(),
            watcher: None,
            folders: BTreeMap::new(),
            files: BTreeMap::new(),
            seen: BTreeSet::new(),
            blind: None,
        }
    }

    /// Watches these files, which need not exist, and the files directly in these folders, from now on. They were read after `read_since`:
    /// one that is new here and was changed since then counts as changed. Returns a warning where the system cannot report changes of
    /// some folder, once.
    pub(crate) fn watch(&mut self, files: impl IntoIterator<Item = PathBuf>, read_since: SystemTime) -> Option<String> {
        let mut known = std::mem::take(&mut self.files);
        for file in files {
            let stamp = known.remove(&file).unwrap_or_else(|| Stamp::of(&file).if_older_than(read_since));
            self.files.insert(file, stamp);
        }
        let was_blind = self.blind.is_some();
        self.follow();
        self.blind.clone().filter(|_| !was_blind)
    }

    /// The watched files that changed, once the file system is quiet again. Nothing is lost where the future is dropped.
    pub(crate) async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            self.look();
            if self.seen.is_empty() {
                let hint = self.hints.changed.notified();
                if self.blind.is_none() {
                    hint.await;
                } else {
                    // An error means that it is time to look.
                    let _ = tokio::time::timeout(POLL, hint).await;
                }
            }
            let quiet = async { while tokio::time::timeout(QUIET, self.hints.changed.notified()).await.is_ok() {} };
            // An error means that it never gets quiet.
            let _ = tokio::time::timeout(LONGEST_UNREST, quiet).await;
            self.follow();
            self.look();
            if !self.seen.is_empty() {
                return std::mem::take(&mut self.seen);
            }
        }
    }

    /// Has the system report on all folders on the way to the files, as that way is now.
    fn follow(&mut self) {
        let plan = Plan::of(self.files.keys(), &self.root);
        let wanted: BTreeMap<PathBuf, FolderId> =
            plan.folders.iter().filter_map(|folder| Some((folder.clone(), FolderId::of(folder)?))).collect();
        *self.hints.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
        let is_stale = self.hints.is_stale.swap(false, Ordering::Relaxed);
        if !is_stale && wanted == self.folders {
            return;
        }
        // One that knows nothing of folders that were there before. The system has few to give, so the old one goes first.
        self.watcher = None;
        let hints = self.hints.clone();
        let (watcher, problem) = match notify::recommended_watcher(move |event| hints.take(event)) {
            Ok(mut watcher) => {
                let mut problem = None;
                for folder in wanted.keys() {
                    if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
                        // One that is gone by now is looked for when the folder above it changes.
                        && folder.is_dir()
                    {
                        problem = Some(format!("of {} ({error})", folder.display()));
                    }
                }
                (Some(watcher), problem)
            }
            Err(error) => (None, Some(format!("of files ({error})"))),
        };
        self.watcher = watcher;
        self.blind = problem
            .map(|what| format!("the system cannot report changes {what}: looking at files once a second instead"));
        self.folders = wanted;
    }

    /// Notes which files are not as they were seen last.
    fn look(&mut self) {
        for (path, known) in &mut self.files {
            let now = Stamp::of(path);
            self.seen.extend(known.differences(&now, path));
            *known = now;
        }
    }
}

impl Hints {
    fn take(&self, event: notify::Result<notify::Event>) {
        let is_hint = match event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
            Ok(event) if event.need_rescan() => true,
            Ok(event) => {
                let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
                if event.paths.iter().any(|path| plan.folders.contains(path)) {
                    self.is_stale.store(true, Ordering::Relaxed);
                }
                event.paths.iter().any(|path| plan.concerns(path))
            }
            // Whatever it could not report may have been a change.
            Err(_) => true,
        };
        if is_hint {
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Project {
        folder: tempfile::TempDir,
        watcher: FileWatcher,
    }

    impl Project {
        /// Writes `src/lib/a.ts`, and watches it and `others`.
        fn new(others: &[&str]) -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let root = folder.path().canonicalize().expect("it is there");
            let mut project = Self { folder, watcher: FileWatcher::new(&root) };
            project.write("src/lib/a.ts", "one");
            let files = ["src/lib/a.ts"].iter().chain(others).map(|file| root.join(file));
            let warning = project.watcher.watch(files, SystemTime::now());
            assert_eq!(warning, None);
            project
        }

        fn path(&self, path: &str) -> PathBuf {
            self.folder.path().canonicalize().expect("it is there").join(path)
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.path(path);
            std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folders can be made");
            std::fs::write(path, text).expect("a file can be written");
        }

        fn rename(&self, from: &str, to: &str) {
            std::fs::rename(self.path(from), self.path(to)).expect("it can be moved");
        }

        async fn changed(&mut self) -> Vec<PathBuf> {
            let changed = tokio::time::timeout(Duration::from_secs(20), self.watcher.changed());
            changed.await.expect("the change is seen").into_iter().collect()
        }

        async fn sees(&mut self, path: &str) {
            assert_eq!(self.changed().await, [self.path(path)]);
        }

        /// Saves until one is seen, as a person would.
        async fn sees_a_save_of(&mut self, path: &str) {
            self.write(path, "saved");
            self.sees(path).await;
        }
    }

    #[tokio::test]
    async fn a_save_is_seen_whether_the_file_is_written_or_replaced() {
        let mut project = Project::new(&[]);
        project.write("src/lib/a.ts", "two");
        project.sees("src/lib/a.ts").await;
        project.write("src/lib/a.ts.tmp", "three");
        project.rename("src/lib/a.ts.tmp", "src/lib/a.ts");
        project.sees("src/lib/a.ts").await;
    }

    #[tokio::test]
    async fn saves_are_seen_after_a_folder_was_moved_away_and_back() {
        let mut project = Project::new(&[]);
        for folder in ["src", "src/lib"] {
            project.rename(folder, "aside");
            project.sees("src/lib/a.ts").await;
            project.rename("aside", folder);
            project.sees("src/lib/a.ts").await;
            project.sees_a_save_of("src/lib/a.ts").await;
        }
        // So fast that nobody sees it gone.
        project.rename("src", "aside");
        project.rename("aside", "src");
        project.write("src/lib/a.ts", "after");
        project.sees("src/lib/a.ts").await;
        project.write("src/lib/a.ts", "and again");
        project.sees("src/lib/a.ts").await;
    }

    #[tokio::test]
    async fn saves_are_seen_after_a_folder_was_removed_and_made_again() {
        let mut project = Project::new(&[]);
        for _ in 0..2 {
            std::fs::remove_dir_all(project.path("src")).expect("it can be removed");
            project.sees("src/lib/a.ts").await;
            project.write("src/lib/a.ts", "restored");
            project.sees("src/lib/a.ts").await;
            project.sees_a_save_of("src/lib/a.ts").await;
        }
    }

    #[tokio::test]
    async fn a_link_that_points_elsewhere_is_a_change_wherever_it_stands_on_the_way() {
        let mut project = Project::new(&["linked/lib/a.ts", "src/link.ts"]);
        project.write("other/lib/a.ts", "elsewhere");
        for (link, target, file) in [("linked", "src", "linked/lib/a.ts"), ("src/link.ts", "lib/a.ts", "src/link.ts")] {
            symlink(target, project.path(link)).expect("a link can be made");
            project.sees(file).await;
        }
        std::fs::remove_file(project.path("linked")).expect("it can be removed");
        symlink("other", project.path("linked")).expect("a link can be made");
        project.sees("linked/lib/a.ts").await;
        project.write("other/lib/a.ts", "saved behind the link");
        project.sees("linked/lib/a.ts").await;
    }

    #[tokio::test]
    async fn files_are_seen_to_come_and_go_in_a_watched_folder() {
        let mut project = Project::new(&["migrations"]);
        project.write("migrations/0001_a.sql", "one");
        // First the folder comes into being.
        let mut changed = project.changed().await;
        if changed == [project.path("migrations")] {
            project.write("migrations/0002_b.sql", "two");
            changed = project.changed().await;
        }
        assert!(changed.iter().all(|path| path.starts_with(project.path("migrations"))), "{changed:?}");
        project.write("migrations/0003_c.sql", "three");
        project.sees("migrations/0003_c.sql").await;
        std::fs::remove_file(project.path("migrations/0003_c.sql")).expect("it can be removed");
        project.sees("migrations/0003_c.sql").await;
    }

    #[tokio::test]
    async fn a_file_that_was_saved_while_it_was_read_counts_as_changed() {
        let mut project = Project::new(&[]);
        let before = SystemTime::UNIX_EPOCH;
        project.write("src/new.ts", "new");
        let files = ["src/lib/a.ts", "src/new.ts"].map(|file| project.path(file));
        project.watcher.watch(files, before);
        project.sees("src/new.ts").await;
    }

    #[tokio::test]
    async fn a_change_is_not_lost_where_nobody_waited_for_it() {
        let mut project = Project::new(&[]);
        for _ in 0..3 {
            project.write("src/lib/a.ts", "two");
            // Dropped in the middle.
            let waited = tokio::time::timeout(Duration::from_millis(1), project.watcher.changed()).await;
            assert!(waited.is_err(), "the file system must be quiet first");
            project.sees("src/lib/a.ts").await;
        }
    }
}
