use std::cell::RefCell;
use std::path::{Path, PathBuf};

use aerostack_cron::{Weekdays, WhenMissed};

use super::assignment::{assigned, of_worker};
use super::bindings::read_bindings;
use super::code::{read_alias, read_compatibility_date, read_compatibility_flags};
use super::dev::read_dev;
use super::environments::{MissingEnvironment, select};
use super::limits::read_limits;
use super::metadata::read_metadata;
use super::names_on_env::settled;
use super::outbound::read_outbound;
use super::project_file::ProjectFile;
use super::queues::read_consumers;
use super::resource::Place;
use super::server::{read_server, report_unused_server};
use super::services::{Callable, Visibility, implied_service_bindings, read_service_bindings};
use super::triggers::{merged, read_triggers};
use super::variables::{read_required_secrets, read_variables, report_absent_secrets};
use super::workers::{Content, Draft, WorkerReader};
use crate::dev_vars::DevVars;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Kind, Table};
use crate::environment::Environment;
use crate::load::ValueSources;
use crate::model::{
    Bindings, Dev, Limits, Metadata, Outbound, RequiredSecret, Server, ServiceBinding, Triggers, Variable, Worker,
    WorkerRole,
};
use crate::names::{DEFAULT_WORKER_NAME, sanitized_worker_name};
use crate::paths::normalized;
use crate::references::Lookup;
use crate::routes::Route;
use crate::schema::{report_unknown_keys, report_unsupported_keys};
use crate::secret::Secret;
use crate::section::{Reader, Section};
use crate::source::Span;

/// One config file, read: a whole [`Config`](crate::Config), or the part of one that a mounted project adds.
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) workers: Vec<Worker>,
    pub(crate) dev: Dev,
    pub(crate) server: Server,
    pub(crate) required_secrets: Vec<RequiredSecret>,
    pub(crate) metadata: Metadata,
    pub(crate) watched_files: Vec<PathBuf>,
    /// Values that must not be shown, see [`Config::secrets`](crate::Config::secrets).
    pub(crate) secrets: Vec<Secret>,
}

/// What reading a project needs to know beside its file.
pub(crate) struct ProjectReader<'a> {
    /// `env.<name>` to use.
    pub(crate) target: Option<&'a str>,
    pub(crate) values: &'a ValueSources,
    pub(crate) environment: &'a dyn Environment,
    pub(crate) problems: &'a Problems,
}

/// Where a project hangs in another one.
struct Mount<'a> {
    name: &'a str,
    route: Option<&'a Route>,
    span: Option<&'a Span>,
}

impl ProjectReader<'_> {
    /// Reads the project that was asked for.
    pub(crate) fn read(&self, file: &ProjectFile) -> Project {
        self.read_at(file, None)
    }

    fn read_at(&self, file: &ProjectFile, mount: Option<&Mount<'_>>) -> Project {
        let place = Place {
            root: file.root().to_path_buf(),
            state_suffix: mount.map_or_else(String::new, |mount| format!("@{}", mount.name)),
        };
        let mut watched_files = vec![file.path.clone()];
        let dev_vars = match (&self.values.file, mount) {
            (Some(path), None) => self.read_values_file(path, &mut watched_files),
            _ => self.read_dev_vars(&place, &mut watched_files),
        };
        let lookup = Lookup {
            dev_vars: &dev_vars,
            environment: self.environment,
            precedence: self.values.precedence,
            found: RefCell::default(),
        };
        let reader = Reader { source: &file.source, problems: self.problems, lookup };
        report_unknown_keys(&reader, &file.document);

        let missing = if mount.is_some() { MissingEnvironment::UseTopLevel } else { MissingEnvironment::Report };
        let selected = self.target.and_then(|target| select(&reader, &file.document, target, missing));
        let table: &Table = selected.as_ref().map_or(&file.document, |selected| &selected.table);
        report_unsupported_keys(&reader, table);
        let root = Section { reader: &reader, table, title: String::new(), span: reader.span(&(0..0)) };

        let environment_suffix =
            self.target.filter(|_| selected.as_ref().is_some_and(|selected| !selected.has_own_name));
        let name = read_name(&root, environment_suffix);
        let env_list = file.document.get("env");
        if let Some(entry) = env_list.filter(|entry| !matches!(entry.value.kind, Kind::Array(_) | Kind::Table(_))) {
            root.wrong_kind(entry, "a list of names of secrets, or a table of environments");
        }

        let mut required_secrets = read_required_secrets(&root, env_list);
        let variables = read_variables(&root, file.dialect, &required_secrets, &dev_vars);
        report_absent_secrets(&root, &mut required_secrets, &variables);
        let explicit = read_bindings(&root, &place);
        let worker_reader =
            WorkerReader { root: &root, place: &place, environment: self.environment, dialect: file.dialect };
        let drafts = worker_reader.read(mount.map_or(name.as_str(), |mount| mount.name));

        // Mounted projects come first: whether others can call them depends on what they hold.
        let mounted: Vec<Option<Project>> = drafts.iter().map(|draft| self.read_mounted(draft)).collect();
        let callable = callable_workers(&drafts, &mounted, mount);
        let mut services = read_service_bindings(&root, &callable, file.dialect);
        let implied = implied_service_bindings(&callable, &services);
        report_hidden_defaults(&root, &implied, &explicit.wanted_defaults());
        services.extend(implied);

        let bindings = settled(&root, &explicit, services, &variables, &place);
        let consumers = assigned(&root, &drafts, read_consumers(&root, &place), "this consumer");
        let triggers = assigned(&root, &drafts, read_triggers(&root), "this trigger");
        let shared = Shared {
            root: place.root.clone(),
            compatibility_date: read_compatibility_date(&root),
            compatibility_flags: read_compatibility_flags(&root),
            alias: read_alias(&root),
            bindings,
            variables,
            limits: read_limits(&root),
            outbound: read_outbound(&root),
        };
        let mut workers = Vec::new();
        let mut secrets = Vec::new();
        for (position, (draft, mounted)) in drafts.into_iter().zip(mounted).enumerate() {
            if let Some(mounted) = mounted {
                workers.extend(mounted.workers);
                watched_files.extend(mounted.watched_files);
                secrets.extend(mounted.secrets);
                required_secrets.extend(mounted.required_secrets);
            }
            let Content::Module(main) = &draft.content else {
                continue;
            };
            let mut worker = shared.worker(&draft, main, mount);
            worker.consumers = of_worker(&consumers, position).map(|requested| requested.consumer.clone()).collect();
            worker.triggers = merged(&root, &of_worker(&triggers, position).collect::<Vec<_>>(), file.dialect);
            workers.push(worker);
        }
        let metadata = read_metadata(&root);
        let models = shared.bindings.ai.iter().flat_map(|ai| &ai.models);
        secrets.extend(models.filter_map(|model| model.api_key.clone()).chain(metadata.api_key.clone()));
        let dev = read_dev(&root, &place, file.dialect);
        let server = read_server(&root);
        if mount.is_some() {
            report_unused_server(&root);
        }
        secrets.extend(dev_vars.variables.iter().map(|variable| variable.value.clone()));
        secrets.extend(reader.lookup.found.take().into_iter().map(Secret::new));
        Project { name, workers, dev, server, required_secrets, metadata, watched_files, secrets }
    }

    /// `.dev.vars.<environment>` replaces `.dev.vars` where it exists, as wrangler does.
    fn read_dev_vars(&self, place: &Place, watched_files: &mut Vec<PathBuf>) -> DevVars {
        let mut path = place.path(".dev.vars");
        if let Some(target) = self.target {
            let of_target = place.path(format!(".dev.vars.{target}"));
            watched_files.push(of_target.clone());
            if self.environment.is_file(&of_target) {
                path = of_target;
            }
        }
        if !watched_files.contains(&path) {
            watched_files.push(path.clone());
        }
        DevVars::read(&path, self.environment, self.problems)
    }

    /// A file that was asked for by name and is not there is an error: the secrets in it are meant to be used.
    fn read_values_file(&self, path: &Path, watched_files: &mut Vec<PathBuf>) -> DevVars {
        let path = normalized(&self.environment.current_directory().join(path));
        watched_files.push(path.clone());
        if !self.environment.is_file(&path) {
            let diagnostic = Diagnostic::error(format!("there is no file {}", path.display()));
            self.problems.report(diagnostic.help("it was named as the file of variables and secrets"));
        }
        DevVars::read(&path, self.environment, self.problems)
    }

    fn read_mounted(&self, draft: &Draft) -> Option<Project> {
        let Content::Project(config) = &draft.content else {
            return None;
        };
        let file = ProjectFile::open(config, self.environment, self.problems)?;
        let mount = Mount { name: &draft.name, route: draft.route.as_ref(), span: draft.span.as_ref() };
        Some(self.read_at(&file, Some(&mount)))
    }
}

/// What all workers of one file have in common.
struct Shared {
    root: PathBuf,
    compatibility_date: Option<String>,
    compatibility_flags: Vec<String>,
    alias: Vec<(String, String)>,
    /// With bindings to all workers; each worker leaves out the one to itself.
    bindings: Bindings,
    variables: Vec<Variable>,
    limits: Limits,
    outbound: Outbound,
}

impl Shared {
    /// The worker of a draft, without consumers and triggers.
    fn worker(&self, draft: &Draft, main: &Path, mount: Option<&Mount<'_>>) -> Worker {
        let name = process_name(&draft.name, draft.role, mount);
        let mut bindings = self.bindings.clone();
        bindings.services.retain(|service| service.worker.as_ref() != Some(&name));
        let (role, route) = match mount {
            Some(mount) if draft.role == WorkerRole::Main => (WorkerRole::Function, mount.route.cloned()),
            Some(mount) => {
                let route = draft.route.as_ref().zip(mount.route).map(|(inner, outer)| inner.inside(outer));
                (draft.role, route)
            }
            None => (draft.role, draft.route.clone()),
        };
        Worker {
            name,
            role,
            root: self.root.clone(),
            main: main.to_path_buf(),
            route,
            compatibility_date: self.compatibility_date.clone(),
            compatibility_flags: self.compatibility_flags.clone(),
            alias: self.alias.clone(),
            bindings,
            variables: self.variables.clone(),
            consumers: Vec::new(),
            triggers: Triggers { crons: Vec::new(), weekdays: Weekdays::Unix, missed: WhenMissed::Skip },
            limits: self.limits.clone(),
            outbound: self.outbound.clone(),
            span: draft.span.clone().or_else(|| mount.and_then(|mount| mount.span.cloned())),
        }
    }
}

/// The name of the project, with the environment at its end unless that has a name of its own.
fn read_name(root: &Section<'_>, environment_suffix: Option<&str>) -> String {
    let name = root.string("name").map_or_else(|| DEFAULT_WORKER_NAME.to_owned(), |name| name.value);
    let name = sanitized_worker_name(&name);
    match environment_suffix {
        Some(suffix) => sanitized_worker_name(&format!("{name}-{suffix}")),
        None => name,
    }
}

/// The name of a worker in the process: inside a mount, the mount's own name or `<mount>/<name>`.
fn process_name(local_name: &str, role: WorkerRole, mount: Option<&Mount<'_>>) -> String {
    match mount {
        Some(mount) if role == WorkerRole::Main => mount.name.to_owned(),
        Some(mount) => format!("{}/{local_name}", mount.name),
        None => local_name.to_owned(),
    }
}

fn callable_workers(drafts: &[Draft], mounted: &[Option<Project>], mount: Option<&Mount<'_>>) -> Vec<Callable> {
    drafts
        .iter()
        .zip(mounted)
        .filter(|(draft, mounted)| match (&draft.content, mounted) {
            (Content::Module(_), _) => true,
            (Content::Project(_), Some(project)) => project.workers.iter().any(|worker| worker.name == draft.name),
            (Content::Project(_), None) => false,
        })
        .map(|(draft, _)| Callable {
            local_name: draft.name.clone(),
            worker: process_name(&draft.name, draft.role, mount),
            span: draft.span.clone(),
            visibility: if draft.role == WorkerRole::Main { Visibility::OnRequest } else { Visibility::Everyone },
        })
        .collect()
}

/// A worker called `cache` takes `env.CACHE`; nobody asked for that, so it is said.
fn report_hidden_defaults(root: &Section<'_>, implied: &[ServiceBinding], defaults: &[&str]) {
    for service in implied.iter().filter(|service| defaults.contains(&service.binding.as_str())) {
        let message = format!(
            "`env.{}` is the worker \"{}\" now, and the default binding of that name is not on `env`",
            service.binding, service.service
        );
        let mut diagnostic = Diagnostic::warning(message).help("give the worker another name to keep the default");
        if let Some(span) = &service.span {
            diagnostic = diagnostic.at(span.clone(), "");
        }
        root.reader.problems.report(diagnostic);
    }
}
