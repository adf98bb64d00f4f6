use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// What to follow to notice every change on the way to some files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The folders that the system should report on. No link leads to any of them.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Every entry of a folder that lies on the way to a file, links and the file itself included.
    entries: BTreeSet<PathBuf>,
    /// Folders of which every file counts.
    listed: BTreeSet<PathBuf>,
}

/// As many links as the system itself follows.
const LINKS: usize = 40;

impl Plan {
    /// The ways to `files`, which are absolute, as they are now. `root` is a path without links.
    pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a PathBuf>, root: &Path) -> Self {
        let mut plan = Self::default();
        for file in files {
            plan.add(file, root);
        }
        plan
    }

    /// Whether a change of this entry may be one of the files.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        self.entries.contains(path) || path.parent().is_some_and(|folder| self.listed.contains(folder))
    }

    fn add(&mut self, file: &Path, root: &Path) {
        let mut folder = PathBuf::from("/");
        let mut left: VecDeque<OsString> = VecDeque::new();
        push_front(&mut left, file);
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                folder.pop();
                continue;
            }
            let entry = folder.join(&name);
            let is_last = left.is_empty();
            let metadata = std::fs::symlink_metadata(&entry);
            let is_link = metadata.as_ref().is_ok_and(std::fs::Metadata::is_symlink);
            if metadata.is_err() || is_link || is_last || folder.starts_with(root) {
                self.folders.insert(folder.clone());
            }
            self.entries.insert(entry.clone());
            if metadata.is_err() {
                return;
            }
            if !is_link {
                folder = entry;
                continue;
            }
            links += 1;
            let Ok(target) = std::fs::read_link(&entry) else { return };
            if links > LINKS {
                return;
            }
            if target.is_absolute() {
                folder = PathBuf::from("/");
            }
            push_front(&mut left, &target);
        }
        if folder.is_dir() {
            self.folders.insert(folder.clone());
            self.listed.insert(folder);
        }
    }
}

/// Puts the names in a path before those that are left.
fn push_front(left: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => left.push_front(name.to_owned()),
            Component::ParentDir => left.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(root: &Path, names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(|name| if name.is_empty() { root.to_owned() } else { root.join(name) }).collect()
    }

    #[test]
    fn all_folders_in_the_project_and_those_of_links_and_files_elsewhere_are_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let top = folder.path().canonicalize().expect("it is there");
        for path in ["project/src/lib", "packages/shared/src"] {
            std::fs::create_dir_all(top.join(path)).expect("folders can be made");
        }
        std::fs::write(top.join("project/src/lib/a.ts"), "").expect("a file can be written");
        std::fs::write(top.join("packages/shared/src/b.ts"), "").expect("a file can be written");
        symlink("../packages/shared", top.join("project/shared")).expect("a link can be made");
        let root = top.join("project");
        let files = ["src/lib/a.ts", "shared/src/b.ts", "gone/c.ts"].map(|file| root.join(file));
        let plan = Plan::of(&files, &root);
        assert_eq!(plan.folders, paths(&top, &["project", "project/src", "project/src/lib", "packages/shared/src"]));
        for entry in ["project", "project/src", "project/shared", "packages/shared", "project/gone"] {
            assert!(plan.concerns(&top.join(entry)), "{entry}");
        }
        assert!(plan.concerns(&top.join("packages/shared/src/b.ts")));
        assert!(!plan.concerns(&top.join("project/src/lib/other.ts")));
        let listed = Plan::of([&root.join("src")], &root);
        assert!(listed.concerns(&root.join("src/any.ts")));
    }

    #[test]
    fn links_that_lead_in_a_circle_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().canonicalize().expect("it is there");
        symlink("b", root.join("a")).expect("a link can be made");
        symlink("a", root.join("b")).expect("a link can be made");
        assert!(Plan::of([&root.join("a/x.ts")], &root).concerns(&root.join("b")));
    }
}
