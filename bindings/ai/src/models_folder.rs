//! The folder that models lie in: those of the catalogue in folders of their own, and a list of files that lie elsewhere.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aerostack_bindings::{Error, ErrorKind, Result};

/// The list of what was added by hand: an object of names and absolute paths.
const ADDED: &str = "added.json";

/// A folder of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelsFolder {
    path: PathBuf,
}

impl ModelsFolder {
    /// The folder at an absolute path. It need not be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Models that were added by hand: their names and where their files are.
    pub fn added(&self) -> Result<BTreeMap<String, PathBuf>> {
        let list = self.path.join(ADDED);
        match std::fs::read(&list) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let text = format!("{} is damaged: {error}; mend or remove it", list.display());
                Error::new(ErrorKind::ConfigInvalid, text).with_source(error)
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(failed("read", &list, error)),
        }
    }

    /// Gives files that lie elsewhere a name, in place of what the name meant before. `path` is absolute.
    pub fn add(&self, name: &str, path: &Path) -> Result<()> {
        let mut added = self.added()?;
        added.insert(name.to_owned(), path.to_owned());
        self.write(&added)
    }

    /// Takes a name from the list. The files stay. False where it was not there.
    pub fn forget(&self, name: &str) -> Result<bool> {
        let mut added = self.added()?;
        if added.remove(name).is_none() {
            return Ok(false);
        }
        self.write(&added)?;
        Ok(true)
    }

    /// Removes the files of a folder inside, and the folders above it that are empty then. False where there were none.
    pub fn remove(&self, folder: &str) -> Result<bool> {
        let target = self.path.join(folder);
        match std::fs::remove_dir_all(&target) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("remove", &target, error)),
        }
        // Ends at the first folder that has other models.
        let above = target.ancestors().skip(1).take_while(|folder| *folder != self.path);
        for folder in above {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(true)
    }

    /// The list is replaced as a whole, or stays as it was.
    fn write(&self, added: &BTreeMap<String, PathBuf>) -> Result<()> {
        std::fs::create_dir_all(&self.path).map_err(|error| failed("create", &self.path, error))?;
        let list = self.path.join(ADDED);
        let new = self.path.join(format!("{ADDED}.{}.new", std::process::id()));
        let text = serde_json::to_vec_pretty(added).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, format!("a path is no text: {error}")).with_source(error)
        })?;
        let written = std::fs::File::create(&new).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(|error| failed("write", &new, error))?;
        std::fs::rename(&new, &list).map_err(|error| failed("write", &list, error))
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, format!("cannot {what} {}: {error}", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_listed_until_it_is_forgotten() -> Result<()> {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = ModelsFolder::new(temporary.path().join("not/yet/there"));
        assert_eq!(folder.added()?, BTreeMap::new());
        assert!(!folder.forget("one")?);
        folder.add("one", Path::new("/a"))?;
        folder.add("two", Path::new("/b"))?;
        folder.add("one", Path::new("/c"))?;
        let expected = [("one".to_owned(), PathBuf::from("/c")), ("two".to_owned(), PathBuf::from("/b"))];
        assert_eq!(folder.added()?, BTreeMap::from(expected));
        assert!(folder.forget("one")?);
        assert_eq!(folder.added()?.keys().collect::<Vec<_>>(), ["two"]);
        std::fs::write(folder.path().join(ADDED), "{").expect("a file can be written");
        let error = folder.added().expect_err("the list is damaged");
        assert!(error.to_string().contains("added.json is damaged"), "{error}");
        Ok(())
    }

    #[test]
    fn removing_takes_empty_folders_along_and_leaves_the_others() -> Result<()> {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = ModelsFolder::new(temporary.path());
        for model in ["baai/small", "baai/base", "meta/llama"] {
            std::fs::create_dir_all(folder.path().join(model)).expect("a folder can be made");
        }
        assert!(folder.remove("baai/small")?);
        assert!(!folder.remove("baai/small")?);
        assert!(folder.remove("meta/llama")?);
        assert!(folder.path().join("baai/base").is_dir());
        assert!(!folder.path().join("meta").exists());
        assert!(folder.path().is_dir());
        Ok(())
    }
}
