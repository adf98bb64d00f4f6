//! From a specifier in a file to the module it means.

mod error;
mod files;
mod package_json;
mod packages;
mod probe;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use url::Url;

pub use error::ResolveError;
pub(crate) use files::{Files, Presence, normalize};

use crate::tsconfig::PathAliases;
use package_json::PackageJson;

/// The rules of one load of one project. Thread-safe: the runtime asks it while the worker runs.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) files: Files,
    builtins: Arc<BTreeSet<String>>,
    aliases: PathAliases,
    /// `[alias]` of the config: what is imported in place of a specifier, or of its beginning up to a `/`.
    replacements: Vec<(String, String)>,
    /// `package.json` files by their path; `None` where there is none.
    packages: Mutex<HashMap<PathBuf, Option<Arc<PackageJson>>>>,
}

/// What a specifier means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file of the project, links followed.
    File(PathBuf),
    /// A module that the runtime brings.
    Builtin(Url),
}

impl Resolver {
    pub(crate) fn new(files: Files, builtins: Arc<BTreeSet<String>>, aliases: PathAliases) -> Self {
        Self { files, builtins, aliases, replacements: Vec::new(), packages: Mutex::default() }
    }

    pub(crate) fn with_replacements(self, replacements: Vec<(String, String)>) -> Self {
        Self { replacements, ..self }
    }

    /// What `specifier` means in the file `referrer` (absolute, links followed).
    pub(crate) fn resolve(&self, specifier: &str, referrer: &Path) -> Result<Target, ResolveError> {
        let folder = referrer.parent().unwrap_or(referrer);
        let replaced = self.replaced(specifier);
        let (specifier, folder) = match &replaced {
            // A path in the config starts where the config lies.
            Some(replacement) if is_relative(replacement) => (replacement.as_str(), self.files.root()),
            Some(replacement) => (replacement.as_str(), folder),
            None => (specifier, folder),
        };
        if self.builtins.contains(specifier) {
            return Ok(Target::Builtin(builtin_url(specifier)));
        }
        self.resolve_file(specifier, folder).map(Target::File)
    }

    fn replaced(&self, specifier: &str) -> Option<String> {
        let replaced = |(from, to): &(String, String)| {
            let rest = specifier.strip_prefix(from.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (from.len(), format!("{to}{rest}")))
        };
        let longest = self.replacements.iter().filter_map(replaced).max_by_key(|(length, _)| *length)?;
        Some(longest.1)
    }

    fn resolve_file(&self, specifier: &str, folder: &Path) -> Result<PathBuf, ResolveError> {
        if specifier.is_empty() {
            return Err(ResolveError::Empty);
        }
        if is_relative(specifier) || specifier.starts_with('/') {
            return self.probe_or_not_found(specifier, &folder.join(specifier));
        }
        if let Some(scheme) = scheme(specifier) {
            let file = || Url::parse(specifier).ok()?.to_file_path().ok();
            return match (scheme, file()) {
                ("file", Some(path)) => self.probe_or_not_found(specifier, &path),
                _ => Err(self.unsupported_scheme(specifier, scheme)),
            };
        }
        let alias_error = match self.resolve_alias(specifier) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            // Settings for an editor often reach out of the project for types. It only matters if nothing else fits.
            Err(error @ ResolveError::OutsideProject { .. }) => Some(error),
            Err(error) => return Err(error),
        };
        let found = match specifier.strip_prefix("@shared/") {
            Some(rest) => self.probe_or_not_found(specifier, &self.files.root().join("shared").join(rest)),
            None => self.resolve_package(specifier, folder),
        };
        found.map_err(|error| alias_error.unwrap_or(error))
    }

    /// `paths` and `baseUrl` of `tsconfig.json`. An alias that leads to no file leaves the specifier to the other rules, as
    /// the TypeScript compiler does.
    fn resolve_alias(&self, specifier: &str) -> Result<Option<PathBuf>, ResolveError> {
        let best = self
            .aliases
            .patterns
            .iter()
            .filter_map(|(pattern, targets)| Some((match_pattern(pattern, specifier)?, pattern, targets)))
            .max_by_key(|(_, pattern, _)| (!pattern.contains('*'), pattern.find('*')));
        if let Some((rest, _, targets)) = best {
            for target in targets {
                let target = PathBuf::from(target.to_string_lossy().replacen('*', rest, 1));
                if let Some(found) = self.probe(specifier, &target)? {
                    return Ok(Some(found));
                }
            }
        }
        match &self.aliases.base {
            Some(base) if normalize(base).starts_with(self.files.root()) => {
                self.probe(specifier, &base.join(specifier))
            }
            _ => Ok(None),
        }
    }

    fn unsupported_scheme(&self, specifier: &str, scheme: &str) -> ResolveError {
        let specifier = specifier.to_owned();
        let available = self.builtins.iter().cloned().collect();
        match scheme {
            "node" => ResolveError::NodeModule { specifier, available },
            "cloudflare" => ResolveError::CloudflareModule { specifier, available },
            _ => ResolveError::UnsupportedScheme { specifier, scheme: scheme.to_owned() },
        }
    }
}

/// The URL under which a built-in module is known: its name where that is a URL, else `builtin:<name>`.
fn builtin_url(name: &str) -> Url {
    Url::parse(name).unwrap_or_else(|_| {
        let mut url = Url::parse("builtin:").expect("a scheme alone is a URL");
        url.set_path(name);
        url
    })
}

fn is_relative(specifier: &str) -> bool {
    matches!(specifier, "." | "..") || specifier.starts_with("./") || specifier.starts_with("../")
}

fn scheme(specifier: &str) -> Option<&str> {
    let (scheme, _) = specifier.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '+' | '-' | '.'));
    is_scheme.then_some(scheme)
}

/// What the `*` of a pattern stands for; the empty text for a pattern without one that is the same as `text`.
fn match_pattern<'t>(pattern: &str, text: &'t str) -> Option<&'t str> {
    match pattern.split_once('*') {
        None => (pattern == text).then_some(""),
        Some((before, after)) => text.strip_prefix(before)?.strip_suffix(after),
    }
}
