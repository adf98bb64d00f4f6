//! The walk from the main file through all imports.

mod problems;
mod types;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use crate::cache::{CompileCache, Origin};
use crate::compile::{CompileOptions, Compiled, Import, ImportKind, ModuleFormat};
use crate::diagnostic::{Diagnostic, DiagnosticKind, ModuleErrors};
use crate::graph::{Graph, LoadCounts, file_url, target_url};
use crate::module::{Dialect, FileType, Module, ModuleCode, ModuleKind};
use crate::position::PositionRange;
use crate::reader::SourceReader;
use crate::resolve::{Files, Presence, Resolver, Target, normalize};
use crate::source_map::SourceMap;
use crate::tsconfig::TsConfig;

/// Loads the workers of one project. Keep it between reloads: it remembers what it compiled.
pub struct Loader {
    root: PathBuf,
    reader: Arc<dyn SourceReader>,
    builtins: Arc<BTreeSet<String>>,
    cache: CompileCache,
}

impl Loader {
    /// A loader for the project in a folder: the one of its aerostack.toml, absolute. No import leads out of it.
    pub fn new(project_root: PathBuf, sources: impl SourceReader) -> Self {
        Self { root: project_root, reader: Arc::new(sources), builtins: Arc::default(), cache: CompileCache::default() }
    }

    /// The specifiers that the runtime answers itself, such as `cloudflare:workers`: [`Graph::resolve`] gives them back as
    /// URLs, `builtin:<name>` for a name that is none.
    #[must_use]
    pub fn with_builtins<S: Into<String>>(mut self, specifiers: impl IntoIterator<Item = S>) -> Self {
        self.builtins = Arc::new(specifiers.into_iter().map(Into::into).collect());
        self
    }

    /// Keeps compiled scripts in a folder (`.aerostack/cache/modules`), so that a cold start need not compile. The folder may
    /// be deleted at any time; entries that are damaged are made anew.
    #[must_use]
    pub fn with_disk_cache(mut self, folder: PathBuf) -> Self {
        self.cache = CompileCache::in_folder(folder);
        self
    }

    /// Loads a main file (absolute, or relative to the project; its extension may be left out) and all it imports by literal
    /// specifiers, statically or not. Reports all problems at once. An `import()` whose failure is handled in place, or that
    /// stands in a package, fails when it runs and not here.
    pub fn load_graph(&self, main: &Path) -> Result<Graph, ModuleErrors> {
        self.load_graph_with(main, &[])
    }

    /// The same with specifiers that mean others: each pair names what is imported and what is loaded in its place, a
    /// specifier or a path relative to the project. Paths below the first are taken from below the second.
    pub fn load_graph_with(&self, main: &Path, replacements: &[(String, String)]) -> Result<Graph, ModuleErrors> {
        self.cache.begin_load();
        let root = self.reader.real_path(&self.root).unwrap_or_else(|_| normalize(&self.root));
        let files = Files::recording(self.reader.clone(), root);

        let mut problems = Vec::new();
        let config = TsConfig::load(&files).unwrap_or_else(|problem| {
            problems.push(*problem);
            TsConfig::default()
        });
        let resolver =
            Resolver::new(files, self.builtins.clone(), config.aliases).with_replacements(replacements.to_vec());
        let mut walk = Walk {
            cache: &self.cache,
            options: config.compile,
            resolver,
            stage: Stage::Required,
            queue: VecDeque::new(),
            deferred: Vec::new(),
            modules: HashMap::new(),
            edges: HashMap::new(),
            scripts: HashMap::new(),
            problems,
            failures: HashMap::new(),
            counts: LoadCounts::default(),
        };
        let main = walk.find_main(main, &self.root);
        if let Some(main) = &main {
            walk.queue.push_back(Wanted { path: main.clone(), site: None, kind: None });
            walk.run();
            walk.drop_type_names();
        }
        walk.finish(main)
    }
}

/// What a failed module does to the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is a problem.
    Required,
    /// It is left to the `import()` that the worker guards.
    Optional,
}

/// The state of one load.
struct Walk<'l> {
    cache: &'l CompileCache,
    options: CompileOptions,
    resolver: Resolver,
    stage: Stage,
    queue: VecDeque<Wanted>,
    /// Found by guarded imports: looked at once all that is required is there.
    deferred: Vec<Wanted>,
    modules: HashMap<Url, Arc<Module>>,
    edges: HashMap<Url, HashMap<String, Url>>,
    /// What each script compiled to, and from which language.
    scripts: HashMap<Url, (Arc<Compiled>, Dialect)>,
    problems: Vec<Diagnostic>,
    failures: HashMap<Url, Vec<Diagnostic>>,
    counts: LoadCounts,
}

struct Wanted {
    path: PathBuf,
    site: Option<ImportSite>,
    /// What an attribute of the import makes of a file whose name says nothing.
    kind: Option<ModuleKind>,
}

/// An import, for the problems that are shown where it stands.
#[derive(Clone)]
struct ImportSite {
    importer: Arc<Module>,
    bytes: Option<(usize, usize)>,
    specifier: String,
}

impl Walk<'_> {
    fn find_main(&mut self, main: &Path, given_root: &Path) -> Option<PathBuf> {
        // An absolute path may go through a link on the way to the project, which the root no longer does.
        let relative = main.strip_prefix(given_root).unwrap_or(main);
        let path = self.resolver.files.root().join(relative);
        let shown = relative.display().to_string();
        let error = match self.resolver.probe(&shown, &path) {
            Ok(Some(found)) => return Some(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        let problem = self.main_problem(&path, &shown, error.as_ref());
        self.problems.push(problem);
        None
    }

    fn run(&mut self) {
        loop {
            while let Some(wanted) = self.queue.pop_front() {
                self.visit(&wanted);
            }
            if self.deferred.is_empty() {
                return;
            }
            self.stage = Stage::Optional;
            self.queue.extend(self.deferred.drain(..));
        }
    }

    fn visit(&mut self, wanted: &Wanted) {
        let url = file_url(&wanted.path);
        if self.modules.contains_key(&url) || self.failures.contains_key(&url) {
            return;
        }
        match self.load(&url, wanted) {
            Ok((module, imports)) => {
                let module = Arc::new(module);
                self.modules.insert(url, module.clone());
                self.follow(&module, &imports);
            }
            Err(problems) => {
                if self.stage == Stage::Required {
                    self.problems.extend(problems.iter().cloned());
                }
                self.failures.insert(url, problems);
            }
        }
    }

    fn follow(&mut self, module: &Arc<Module>, imports: &[Import]) {
        let in_project = module.path.strip_prefix(self.resolver.files.root()).unwrap_or(&module.path);
        let is_in_package = in_project.components().any(|part| part.as_os_str() == "node_modules");
        for import in imports {
            let kind = match import.attribute.as_deref() {
                None | Some("json") => None,
                Some("text") => Some(ModuleKind::Text),
                Some("bytes") => Some(ModuleKind::Bytes),
                Some(other) => {
                    let problem = self.attribute_problem(module, import, other);
                    self.problems.push(problem);
                    continue;
                }
            };
            let is_optional = match import.kind {
                ImportKind::Static => false,
                ImportKind::Dynamic => is_in_package,
                ImportKind::Guarded => true,
            };
            match self.resolver.resolve(&import.specifier, &module.path) {
                Ok(target) => {
                    if let Target::File(path) = &target {
                        let site = ImportSite {
                            importer: module.clone(),
                            bytes: import.bytes,
                            specifier: import.specifier.clone(),
                        };
                        let wanted = Wanted { path: path.clone(), site: Some(site), kind };
                        if is_optional { self.deferred.push(wanted) } else { self.queue.push_back(wanted) }
                    }
                    let edges = self.edges.entry(module.url.clone()).or_default();
                    edges.insert(import.specifier.clone(), target_url(target));
                }
                // The runtime asks again for an import that it gets to, and then hands the same error to the worker.
                Err(_) if is_optional || self.stage == Stage::Optional => {}
                Err(error) => {
                    let problem = self.import_problem(module, import, &error);
                    self.problems.push(problem);
                }
            }
        }
    }

    fn load(&mut self, url: &Url, wanted: &Wanted) -> Result<(Module, Vec<Import>), Vec<Diagnostic>> {
        let path = &wanted.path;
        let file_type = match FileType::of(path).or(wanted.kind.map(FileType::Data)) {
            Some(FileType::CommonJs) => return Err(vec![self.commonjs_problem(wanted, None)]),
            Some(file_type) => file_type,
            None => return Err(vec![self.unknown_type_problem(wanted)]),
        };
        if let FileType::Data(kind @ (ModuleKind::Wasm | ModuleKind::Bytes)) = file_type {
            let bytes = self.resolver.files.read(path).map_err(|error| vec![self.read_problem(path, &error)])?;
            return Ok((data_module(url, path, kind, ModuleCode::Bytes(bytes.into()), Arc::from("")), Vec::new()));
        }
        let text = self.resolver.files.read_text(path).map_err(|error| vec![self.read_problem(path, &error)])?;
        match file_type {
            FileType::Script(dialect) => self.load_script(url, wanted, dialect, &text),
            FileType::Data(kind) => {
                if kind == ModuleKind::Json
                    && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text)
                {
                    return Err(vec![self.json_problem(path, &text, &error)]);
                }
                Ok((data_module(url, path, kind, ModuleCode::Text(text.clone()), text), Vec::new()))
            }
            FileType::CommonJs => unreachable!("returned above"),
        }
    }

    fn load_script(
        &mut self,
        url: &Url,
        wanted: &Wanted,
        dialect: Dialect,
        text: &Arc<str>,
    ) -> Result<(Module, Vec<Import>), Vec<Diagnostic>> {
        let compiled = self.compile(url, &wanted.path, dialect, text, &self.options.clone())?;
        if compiled.format == ModuleFormat::CommonJs {
            return Err(vec![self.commonjs_problem(wanted, Some(text))]);
        }
        self.scripts.insert(url.clone(), (compiled.clone(), dialect));
        Ok((script_module(url, &wanted.path, text, &compiled), compiled.imports.clone()))
    }

    fn compile(
        &mut self,
        url: &Url,
        path: &Path,
        dialect: Dialect,
        text: &Arc<str>,
        options: &CompileOptions,
    ) -> Result<Arc<Compiled>, Vec<Diagnostic>> {
        let (compiled, origin) = self.cache.compile(url, text, dialect, options).map_err(|problems| {
            let place = |bytes: Range<usize>| PositionRange::of_bytes(text, bytes);
            problems
                .into_iter()
                .map(|problem| {
                    self.problem_in(path, DiagnosticKind::Syntax, problem.message, text, problem.bytes.map(place))
                })
                .collect::<Vec<_>>()
        })?;
        match origin {
            Origin::Compiled => self.counts.compiled += 1,
            Origin::Memory => self.counts.from_memory += 1,
            Origin::Disk => self.counts.from_disk += 1,
        }
        Ok(compiled)
    }

    fn finish(mut self, main: Option<PathBuf>) -> Result<Graph, ModuleErrors> {
        let looked_at: BTreeMap<PathBuf, Presence> = self.resolver.files.take_recording();
        let main = match main {
            Some(main) if self.problems.is_empty() => file_url(&main),
            _ => return Err(ModuleErrors { diagnostics: self.problems, files: looked_at.into_keys().collect() }),
        };
        Ok(Graph {
            main,
            modules: self.modules,
            failures: self.failures,
            edges: self.edges,
            resolver: self.resolver,
            looked_at,
            counts: self.counts,
        })
    }
}

fn script_module(url: &Url, path: &Path, text: &Arc<str>, compiled: &Compiled) -> Module {
    let (code, source_map) = match &compiled.output {
        Some(output) => (Arc::from(&*output.code), Some(SourceMap::new(Arc::from(&*output.source_map)))),
        None => (text.clone(), None),
    };
    Module {
        url: url.clone(),
        kind: ModuleKind::JavaScript,
        code: ModuleCode::Text(code),
        source_map,
        original: text.clone(),
        path: path.to_path_buf(),
    }
}

fn data_module(url: &Url, path: &Path, kind: ModuleKind, code: ModuleCode, original: Arc<str>) -> Module {
    Module { url: url.clone(), kind, code, source_map: None, original, path: path.to_path_buf() }
}
