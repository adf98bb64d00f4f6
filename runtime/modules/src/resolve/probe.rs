//! From a path in a specifier to a file: extensions may be left out, `.js` may mean `.ts`, a folder means its index.

use std::path::{Path, PathBuf};

use crate::reader::EntryKind;
use crate::resolve::{ResolveError, Resolver};

/// Tried in this order behind a path that is no file.
const EXTENSIONS: [&str; 6] = ["ts", "tsx", "mts", "js", "mjs", "jsx"];

/// More alike than this, and a file is offered as what was meant (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

impl Resolver {
    /// The file that a path means, links followed; `None` when there is none.
    pub(crate) fn probe(&self, specifier: &str, path: &Path) -> Result<Option<PathBuf>, ResolveError> {
        for candidate in self.candidates(specifier, path)? {
            match self.files.kind(&candidate) {
                Ok(Some(EntryKind::File)) => return self.files.real_path(specifier, &candidate).map(Some),
                Ok(Some(EntryKind::Folder) | None) => {}
                Err(error) => return Err(ResolveError::unreadable(specifier, &self.files, &candidate, &error)),
            }
        }
        Ok(None)
    }

    pub(crate) fn probe_or_not_found(&self, specifier: &str, path: &Path) -> Result<PathBuf, ResolveError> {
        if let Some(found) = self.probe(specifier, path)? {
            return Ok(found);
        }
        let path = self.files.inside_root(specifier, path)?;
        Err(ResolveError::NotFound {
            specifier: specifier.to_owned(),
            looked_for: self.files.display(&path),
            did_you_mean: self.guess(specifier, &path),
        })
    }

    fn candidates(&self, specifier: &str, path: &Path) -> Result<Vec<PathBuf>, ResolveError> {
        // wrangler names the compiled form of a WebAssembly file so; here it is the only form there is.
        let text = path.to_string_lossy();
        let path = match text.strip_suffix("?module").map(Path::new) {
            Some(path) if path.extension().is_some_and(|extension| extension == "wasm") => path,
            _ => path,
        };
        let means_folder = specifier.ends_with('/') || matches!(specifier, "." | "..") || specifier.ends_with("/..");
        let path = self.files.inside_root(specifier, path)?;

        let mut candidates = Vec::new();
        if !means_folder {
            candidates.push(path.clone());
            let written_as: &[&str] = match path.extension().and_then(|extension| extension.to_str()) {
                Some("js") => &["ts", "tsx"],
                Some("mjs") => &["mts"],
                Some("jsx") => &["tsx"],
                _ => &[],
            };
            candidates.extend(written_as.iter().map(|extension| path.with_extension(extension)));
            candidates.extend(EXTENSIONS.iter().map(|extension| append(&path, extension)));
        }
        candidates.extend(EXTENSIONS.iter().map(|extension| append(&path.join("index"), extension)));
        Ok(candidates)
    }

    /// A file beside the one that is not there whose name is close, written as it would stand in the import.
    fn guess(&self, specifier: &str, path: &Path) -> Option<String> {
        let wanted = path.file_name()?.to_str()?;
        let (front, written) = specifier.rsplit_once('/')?;
        let keep_extension = Path::new(written).extension().is_some();
        let mut best: Option<(f64, String)> = None;
        for name in self.files.names(path.parent()?) {
            let stem = match Path::new(&name).extension().and_then(|extension| extension.to_str()) {
                Some(extension) if EXTENSIONS.contains(&extension) && !keep_extension => {
                    name[..name.len() - extension.len() - 1].to_owned()
                }
                _ => name.clone(),
            };
            let alike = strsim::jaro_winkler(&stem.to_lowercase(), &wanted.to_lowercase());
            if stem != wanted && alike > best.as_ref().map_or(ALIKE, |(alike, _)| *alike) {
                best = Some((alike, format!("{front}/{stem}")));
            }
        }
        best.map(|(_, guess)| guess)
    }
}

fn append(path: &Path, extension: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(".");
    text.push(extension);
    text.into()
}
