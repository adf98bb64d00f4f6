//! The crate from outside: a project in memory goes in, a graph or problems come out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Diagnostic, FrameStyle, Graph, Loader, MemoryReader, Module, ModuleErrors};

mod caching;
mod compiling;
mod garbage;
mod packages;
mod problems;
mod recipes;
mod resolving;
mod stacks;

/// A project in `/app` whose main file is `src/index.ts`.
struct Project {
    files: Arc<MemoryReader>,
    loader: Loader,
}

impl Project {
    /// Files by their path in the project.
    fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let reader = Arc::new(MemoryReader::default());
        reader.write("/app/aerostack.toml", "");
        for (path, text) in files {
            reader.write(format!("/app/{path}"), text);
        }
        let loader = Loader::new(PathBuf::from("/app"), reader.clone()).with_builtins(["cloudflare:workers"]);
        Self { files: reader, loader }
    }

    fn load(&self) -> Result<Graph, ModuleErrors> {
        self.loader.load_graph(Path::new("src/index.ts"))
    }

    #[track_caller]
    fn graph(&self) -> Graph {
        self.load().unwrap_or_else(|errors| panic!("expected a graph, got\n{errors}"))
    }

    #[track_caller]
    fn errors(&self) -> ModuleErrors {
        self.load().expect_err("expected problems, got a graph")
    }

    /// The one problem of the project.
    #[track_caller]
    fn problem(&self) -> Diagnostic {
        let errors = self.errors();
        assert_eq!(errors.diagnostics.len(), 1, "{errors}");
        errors.diagnostics[0].clone()
    }

    #[track_caller]
    fn frame(&self) -> String {
        self.problem().render(FrameStyle::Plain)
    }
}

#[track_caller]
fn module<'g>(graph: &'g Graph, path: &str) -> &'g Module {
    let found = graph.modules.values().find(|module| module.path == Path::new("/app").join(path));
    found.unwrap_or_else(|| panic!("no module {path} among {:?}", paths(graph)))
}

#[track_caller]
fn code(graph: &Graph, path: &str) -> String {
    module(graph, path).as_javascript().expect("a text module").to_string()
}

/// The modules of a graph by their path in the project, in order.
fn paths(graph: &Graph) -> Vec<String> {
    let mut paths: Vec<String> = graph
        .modules
        .values()
        .map(|module| module.path.strip_prefix("/app").unwrap_or(&module.path).display().to_string())
        .collect();
    paths.sort();
    paths
}

/// What `src/index.ts` with one import of `specifier` imports, as a path in the project.
#[track_caller]
fn imported_as(specifier: &str, others: &[(&str, &str)]) -> String {
    let main = format!("import \"{specifier}\";");
    let project = Project::new(others.iter().copied().chain([("src/index.ts", &*main)]));
    let graph = project.graph();
    let url = graph.resolve(specifier, &graph.main).expect("the load resolved it");
    match url.to_file_path() {
        Ok(path) => path.strip_prefix("/app").expect("inside the project").display().to_string(),
        Err(()) => url.to_string(),
    }
}
