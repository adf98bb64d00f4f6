use std::io;
use std::path::{Path, PathBuf};

use aerostack_bindings::{Error, ErrorKind, Result};

/// A file as it was when it was opened, to see that it is still there.
///
/// Where somebody removes or replaces a file that is open, the system lets its owner write on into what nobody can ever read
/// again, and SQLite does not look. So a driver asks before it writes: a microsecond, and no acknowledged write is lost.
#[derive(Debug)]
pub struct OpenedFile {
    path: PathBuf,
    identity: Identity,
}

#[cfg(unix)]
type Identity = (u64, u64);
/// Other systems do not let an open file be removed.
#[cfg(not(unix))]
type Identity = ();

impl OpenedFile {
    /// The file at `path`, which is open.
    ///
    /// # Errors
    /// `Unavailable` where it is gone already.
    pub fn at(path: &Path) -> Result<Self> {
        match identity(path) {
            Ok(identity) => Ok(Self { path: path.to_owned(), identity }),
            Err(error) => Err(gone(path).with_source(error)),
        }
    }

    /// Whether the path still leads to the file.
    ///
    /// # Errors
    /// `Unavailable`, with the path and what to do.
    pub fn check(&self) -> Result<()> {
        if self.is_in_place() { Ok(()) } else { Err(self.gone()) }
    }

    /// Whether the path still leads to the file. Where the system does not say, it does not.
    pub fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }

    /// The error of [`OpenedFile::check`].
    pub fn gone(&self) -> Error {
        gone(&self.path)
    }
}

fn gone(path: &Path) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "{} was removed or replaced while it was open, so nothing is written to it any more; put it back, or restart \
             aerostack to begin anew",
            path.display()
        ),
    )
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_path: &Path) -> io::Result<Identity> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_moved_replaced_or_removed_is_missed_and_one_that_is_put_back_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, aside) = (folder.path().join("file"), folder.path().join("aside"));
        std::fs::write(&path, "one").expect("a file can be written");
        let opened = OpenedFile::at(&path).expect("it is there");
        std::fs::write(&path, "two").expect("a file can be written");
        opened.check().expect("it is the same file");
        std::fs::rename(&path, &aside).expect("it can be moved");
        let text = opened.check().expect_err("it is gone").to_string();
        assert!(text.starts_with(&format!("{} was removed or replaced", path.display())), "{text}");
        std::fs::write(&path, "another").expect("a file can be written");
        assert!(opened.check().is_err());
        std::fs::rename(&aside, &path).expect("it can be moved");
        opened.check().expect("it is back");
    }
}
