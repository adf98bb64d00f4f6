//! Which workers a project has: `main`, `[[functions]]`, `[[services]]`.

use std::path::{Path, PathBuf};

use super::project_file::Dialect;
use super::resource::Place;
use super::services::defines_no_worker;
use crate::diagnostic::Diagnostic;
use crate::document::Kind;
use crate::environment::Environment;
use crate::locate::config_file_in;
use crate::model::WorkerRole;
use crate::names::sanitized_worker_name;
use crate::paths::shown;
use crate::routes::{Prefix, Route};
use crate::section::Section;
use crate::source::{Located, Span};

/// A worker before its bindings are known.
pub(super) struct Draft {
    /// The name inside its project.
    pub(super) name: String,
    pub(super) role: WorkerRole,
    pub(super) content: Content,
    pub(super) route: Option<Route>,
    pub(super) span: Option<Span>,
}

/// Where the code of a worker is.
pub(super) enum Content {
    /// A module, by absolute path.
    Module(PathBuf),
    /// Another project, by the absolute path of its config.
    Project(PathBuf),
}

/// Where the main worker is looked for when `main` does not say (contract 3.1).
const DEFAULT_ENTRIES: [&str; 2] = ["src/index.ts", "src/index.js"];

/// What may follow a folder that is given in place of a module.
const ENTRIES_IN_A_FOLDER: [&str; 4] = ["index.ts", "index.js", "src/index.ts", "src/index.js"];

/// Reads one project's workers; needs to ask which files exist.
pub(super) struct WorkerReader<'a> {
    pub(super) root: &'a Section<'a>,
    pub(super) place: &'a Place,
    pub(super) environment: &'a dyn Environment,
    pub(super) dialect: Dialect,
}

impl WorkerReader<'_> {
    /// Every worker of the project: main first, then functions, then services; names are unique.
    pub(super) fn read(&self, project_name: &str) -> Vec<Draft> {
        let mut drafts: Vec<Draft> = Vec::new();
        let functions = self.root.sections("functions");
        let mut services = self.root.sections("services");
        services.retain(|section| !defines_no_worker(section, self.dialect));
        drafts.extend(self.read_main(project_name, !functions.is_empty() || !services.is_empty()));
        drafts.extend(functions.iter().filter_map(|section| self.read_function(section)));
        drafts.extend(services.iter().filter_map(|section| self.read_service(section)));
        self.report_duplicate_names(&drafts);
        drafts
    }

    fn read_main(&self, name: &str, has_other_workers: bool) -> Option<Draft> {
        let entry = self.root.get("main");
        let main = match entry.map(|entry| &entry.value.kind) {
            Some(Kind::Table(_)) => self.root.section("main")?.string("path"),
            Some(_) => Some(self.root.string("main")?),
            None => None,
        };
        // The published CLI builds to dist/worker.js and reads it as "not set" (contract 3.1).
        let main = main.filter(|main| !matches!(main.value.as_str(), "" | "dist/worker.js" | "./dist/worker.js"));
        let (path, span) = match main {
            Some(main) => (self.module(&main, "main")?, Some(main.span)),
            None => (self.default_main(has_other_workers)?, None),
        };
        let content = Content::Module(path);
        Some(Draft { name: name.to_owned(), role: WorkerRole::Main, content, route: None, span })
    }

    fn default_main(&self, has_other_workers: bool) -> Option<PathBuf> {
        let found =
            DEFAULT_ENTRIES.iter().map(|entry| self.place.path(entry)).find(|path| self.environment.is_file(path));
        if found.is_none() && !has_other_workers {
            let folder = shown(&self.place.root, self.environment.current_directory());
            let message = format!("{} has neither {} nor {}", folder.display(), DEFAULT_ENTRIES[0], DEFAULT_ENTRIES[1]);
            let diagnostic = Diagnostic::error(message)
                .help("create src/index.ts, or name the module: `main = \"path/to/worker.ts\"`");
            self.root.reader.problems.report(diagnostic);
        }
        found
    }

    fn read_function(&self, section: &Section<'_>) -> Option<Draft> {
        let route = self.read_route(section);
        let path = section.string("path").or_else(|| section.string("main"));
        let project = section.string("project");
        if let (Some(path), Some(project)) = (&path, &project) {
            let diagnostic = Diagnostic::error("a function has a `path` or a `project`, not both")
                .at(project.span.clone(), "")
                .related(path.span.clone(), "");
            section.reader.problems.report(diagnostic);
            return None;
        }
        if let Some(project) = project {
            let config = self.project_config(section, &project)?;
            let folder_name =
                config.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
            let name = match section.get("name") {
                Some(_) => section.required("name")?.value,
                None => folder_name,
            };
            let name = sanitized_worker_name(&name);
            let span = Some(project.span);
            return Some(Draft { name, role: WorkerRole::Function, content: Content::Project(config), route, span });
        }
        let name = section.required("name")?;
        let Some(path) = path else {
            let diagnostic = Diagnostic::error(format!("the function \"{}\" has no `path`", name.value))
                .at(section.span.clone(), "needs `path = \"...\"` or `project = \"...\"`");
            section.reader.problems.report(diagnostic);
            return None;
        };
        Some(Draft {
            name: sanitized_worker_name(&name.value),
            role: WorkerRole::Function,
            content: Content::Module(self.module(&path, "path")?),
            route,
            span: Some(name.span),
        })
    }

    fn read_service(&self, section: &Section<'_>) -> Option<Draft> {
        let name = section.required("name")?;
        let main = section
            .string("main")
            .unwrap_or_else(|| Located { value: format!("services/{}/index.ts", name.value), span: name.span.clone() });
        Some(Draft {
            name: sanitized_worker_name(&name.value),
            role: WorkerRole::Service,
            content: Content::Module(self.module(&main, "main")?),
            route: None,
            span: Some(name.span),
        })
    }

    fn read_route(&self, section: &Section<'_>) -> Option<Route> {
        let prefix = match section.boolean("strip_prefix") {
            Some(false) => Prefix::Kept,
            _ => Prefix::Stripped,
        };
        let pattern = section.string("route")?;
        match Route::parse(&pattern.value, prefix) {
            Ok(route) => Some(route),
            Err(problem) => {
                let message = format!("\"{}\" is not a route", pattern.value);
                self.root.reader.problems.report(Diagnostic::error(message).at(pattern.span, problem));
                None
            }
        }
    }

    /// The module at a path of the config: the file itself, or the usual entry of the folder.
    fn module(&self, path: &Located<String>, key: &str) -> Option<PathBuf> {
        let absolute = self.place.path(&path.value);
        if self.environment.is_file(&absolute) {
            return Some(absolute);
        }
        let in_folder = ENTRIES_IN_A_FOLDER.iter().map(|entry| absolute.join(entry));
        if let Some(found) = in_folder.into_iter().find(|candidate| self.environment.is_file(candidate)) {
            return Some(found);
        }
        let shown_path = shown(&absolute, self.environment.current_directory());
        let mut diagnostic = Diagnostic::error(format!("there is no file {}", shown_path.display()))
            .at(path.span.clone(), format!("`{key}` is relative to the folder of this file"));
        let other_extensions =
            ["ts", "js", "mjs", "tsx", "jsx", "mts"].map(|extension| absolute.with_extension(extension));
        if let Some(other) = other_extensions.iter().find(|candidate| self.environment.is_file(candidate)) {
            let other = shown(other, &self.place.root);
            diagnostic = diagnostic.help(format!("did you mean \"{}\"?", other.display()));
        }
        self.root.reader.problems.report(diagnostic);
        None
    }

    fn project_config(&self, section: &Section<'_>, project: &Located<String>) -> Option<PathBuf> {
        let folder = self.place.path(&project.value);
        if !self.place.state_suffix.is_empty() {
            let diagnostic = Diagnostic::error("a mounted project cannot mount another one")
                .at(project.span.clone(), "")
                .help("mount it from the outermost project");
            section.reader.problems.report(diagnostic);
            return None;
        }
        let config = config_file_in(&folder, self.environment);
        if config.is_none() {
            let folder = shown(&folder, self.environment.current_directory());
            let diagnostic = Diagnostic::error(format!("there is no aerostack.toml in {}", folder.display()))
                .at(project.span.clone(), "`project` is a folder, relative to the folder of this file");
            section.reader.problems.report(diagnostic);
        }
        config
    }

    fn report_duplicate_names(&self, drafts: &[Draft]) {
        for (position, draft) in drafts.iter().enumerate() {
            let Some(first) = drafts[..position].iter().find(|first| first.name == draft.name) else {
                continue;
            };
            let mut diagnostic = Diagnostic::error(format!("two workers have the name \"{}\"", draft.name));
            if let Some(span) = &draft.span {
                diagnostic = diagnostic.at(span.clone(), "second worker of this name");
            }
            diagnostic = match &first.span {
                Some(span) => diagnostic.related(span.clone(), "first worker of this name"),
                None => diagnostic.help("it is the name of the project, and so of its main worker"),
            };
            self.root.reader.problems.report(diagnostic);
        }
    }
}
