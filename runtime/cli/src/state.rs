use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Notices that the files of open drivers were removed or replaced: the system lets their owners go on with files that nobody else can
/// ever see again.
#[derive(Default)]
pub(crate) struct StateWatch {
    seen: HashMap<PathBuf, FileId>,
    lost: Option<PathBuf>,
}

type FileId = (u64, u64);

impl StateWatch {
    /// Looks at the files and folders of all open drivers. Returns one that was lost once it was at two looks in a row: whoever removes a
    /// folder is done with it by then.
    pub(crate) fn look(&mut self, opened: &[PathBuf]) -> Option<PathBuf> {
        self.seen.retain(|path, _| opened.contains(path));
        let mut lost = None;
        for path in opened {
            match (id(path), self.seen.get(path)) {
                (Some(now), None) => {
                    self.seen.insert(path.clone(), now);
                }
                (Some(now), Some(seen)) if now == *seen => {}
                _ => lost = lost.or(Some(path)),
            }
        }
        let was_lost = std::mem::replace(&mut self.lost, lost.cloned()).is_some();
        self.lost.clone().filter(|_| was_lost)
    }
}

fn id(path: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::StateWatch;

    #[test]
    fn a_file_that_was_removed_or_replaced_is_lost_at_the_second_look() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (kept, other) = (folder.path().join("kept"), folder.path().join("other"));
        std::fs::write(&kept, "one").expect("a file can be written");
        let opened = [kept.clone()];
        let mut watch = StateWatch::default();
        assert_eq!((watch.look(&opened), watch.look(&opened)), (None, None));
        std::fs::write(&kept, "two").expect("a file can be written");
        assert_eq!((watch.look(&opened), watch.look(&opened)), (None, None));
        std::fs::write(&other, "three").expect("a file can be written");
        std::fs::rename(&other, &kept).expect("it can be replaced");
        assert_eq!((watch.look(&opened), watch.look(&opened)), (None, Some(kept.clone())));
        let mut watch = StateWatch::default();
        assert_eq!(watch.look(&opened), None);
        std::fs::remove_file(&kept).expect("it can be removed");
        assert_eq!((watch.look(&opened), watch.look(&opened)), (None, Some(kept)));
    }
}
