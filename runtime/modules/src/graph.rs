//! The loaded modules of a worker.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use crate::diagnostic::Diagnostic;
use crate::frame::{CodeFrame, FramePlace, FrameStyle, render_code_frame};
use crate::module::Module;
use crate::position::{Position, PositionRange};
use crate::resolve::{Presence, ResolveError, Resolver, Target};

/// All modules that a worker's main module can reach through literal imports. Immutable, and shared by its isolates.
#[derive(Debug)]
pub struct Graph {
    /// The URL of the main module.
    pub main: Url,
    /// The modules by their URL.
    pub modules: HashMap<Url, Arc<Module>>,
    pub(crate) failures: HashMap<Url, Vec<Diagnostic>>,
    /// What each specifier in each module means.
    pub(crate) edges: HashMap<Url, HashMap<String, Url>>,
    pub(crate) resolver: Resolver,
    pub(crate) looked_at: BTreeMap<PathBuf, Presence>,
    pub(crate) counts: LoadCounts,
}

/// Where the scripts of a load came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadCounts {
    /// Compiled now.
    pub compiled: usize,
    /// Known since an earlier load of this process.
    pub from_memory: usize,
    /// Read from the cache on disk.
    pub from_disk: usize,
}

/// A place in a file as the user wrote it.
#[derive(Debug, Clone)]
pub struct OriginalPlace {
    /// The file, absolute.
    pub path: PathBuf,
    /// The file as it is printed: relative to the project.
    pub file: String,
    /// Its text.
    pub source: Arc<str>,
    /// The place in it.
    pub position: Position,
}

/// Where the project lies for its own code, as on Workers.
const BUNDLE: &str = "/bundle";

impl Graph {
    /// What `specifier` means in the module `referrer`. Literal imports were resolved by the load; names that the worker makes
    /// up are resolved now by the same rules, and then may mean a file that is no module of this graph: load that one by
    /// [`Loader::load_graph`](crate::Loader::load_graph).
    pub fn resolve(&self, specifier: &str, referrer: &Url) -> Result<Url, ResolveError> {
        if let Some(known) = self.edges.get(referrer).and_then(|edges| edges.get(specifier)) {
            return Ok(known.clone());
        }
        let of_bundle = self.path_of_bundle_url(specifier);
        let specifier = of_bundle.as_deref().unwrap_or(specifier);
        let referrer = match self.modules.get(referrer) {
            Some(module) => module.path.clone(),
            // Code without a file, such as a built-in module, resolves as the main module does.
            None => referrer.to_file_path().unwrap_or_else(|()| self.resolver.files.root().join("main")),
        };
        Ok(target_url(self.resolver.resolve(specifier, &referrer)?))
    }

    /// The module of a URL.
    pub fn module(&self, url: &Url) -> Option<&Arc<Module>> {
        self.modules.get(url)
    }

    /// A file's path as it is printed: relative to the project, absolute outside of it. `None` for what is no file.
    pub fn display(&self, url: &Url) -> Option<String> {
        Some(self.resolver.files.display(&url.to_file_path().ok()?))
    }

    /// The name that code gets to see of a file of the project: it tells nothing of the machine. `None` for all else.
    pub fn bundle_url(&self, url: &Url) -> Option<Url> {
        let path = url.to_file_path().ok()?;
        let path = path.strip_prefix(self.resolver.files.root()).ok()?;
        Url::from_file_path(Path::new(BUNDLE).join(path)).ok()
    }

    /// The absolute path behind a name that [`Graph::bundle_url`] gave, with what code has made of it.
    fn path_of_bundle_url(&self, specifier: &str) -> Option<String> {
        if !specifier.starts_with("file:") {
            return None;
        }
        let path = Url::parse(specifier).ok()?.to_file_path().ok()?;
        let path = self.resolver.files.root().join(path.strip_prefix(BUNDLE).ok()?);
        Some(path.to_str()?.to_owned())
    }

    /// Why a module is not in the graph although it is imported: only ever for an `import()` whose failure the worker handles
    /// itself, or that stands in a package. Empty for all others.
    pub fn load_failure(&self, url: &Url) -> &[Diagnostic] {
        self.failures.get(url).map_or(&[], Vec::as_slice)
    }

    /// The place that the user wrote for a place in the code that runs (line and column from 1, as V8 reports them).
    /// `None` for modules of others and for code that nobody wrote.
    pub fn original_position(&self, url: &Url, generated: Position) -> Option<OriginalPlace> {
        let module = self.modules.get(url)?;
        let position = match &module.source_map {
            Some(map) => map.original_position(generated)?,
            None => generated,
        };
        let file = self.resolver.files.display(&module.path);
        Some(OriginalPlace { path: module.path.clone(), file, source: module.original.clone(), position })
    }

    /// Files that a watcher should follow: those that were read, and those that were looked for in vain, so that creating one
    /// reloads too.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.looked_at.keys().map(PathBuf::as_path)
    }

    /// Of [`Graph::files`], those that were not there.
    pub fn missing_files(&self) -> impl Iterator<Item = &Path> {
        let missing = self.looked_at.iter().filter(|(_, presence)| **presence == Presence::Missing);
        missing.map(|(path, _)| path.as_path())
    }

    /// How much of the load was work.
    pub fn counts(&self) -> LoadCounts {
        self.counts
    }
}

impl OriginalPlace {
    /// A code frame for an error thrown here.
    pub fn render(&self, message: &str, hint: Option<&str>, style: FrameStyle) -> String {
        let place = Some(FramePlace { source: &self.source, range: PositionRange::point(self.position) });
        render_code_frame(&CodeFrame { message, file: &self.file, place, hint }, style)
    }
}

pub(crate) fn target_url(target: Target) -> Url {
    match target {
        Target::File(path) => file_url(&path),
        Target::Builtin(url) => url,
    }
}

pub(crate) fn file_url(path: &Path) -> Url {
    Url::from_file_path(path).expect("resolved paths are absolute")
}
