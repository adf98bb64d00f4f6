use std::path::{Path, PathBuf};

use crate::diagnostic::{ConfigErrors, Diagnostic, Problems, Severity};
use crate::environment::Environment;
use crate::model::{Config, Worker};
use crate::paths::normalized;
use crate::read::{Project, ProjectFile, ProjectReader};

/// A config that can be used, and what is odd about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// Unknown keys, absent secrets, sections that are not supported yet, ... in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// How a config is loaded, besides its path.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The name of an environment: `--env staging` uses `[env.staging]`.
    pub target: Option<String>,
    /// Where values of secrets come from.
    pub values: ValueSources,
}

/// Where the values of `$NAME` and of secrets come from: a file of variables, and the process environment.
#[derive(Debug, Clone, Default)]
pub struct ValueSources {
    /// Read in place of the `.dev.vars` of the project that is loaded; it must exist. Mounted projects keep their own.
    pub file: Option<PathBuf>,
    /// Who wins where both know a name.
    pub precedence: Precedence,
}

/// Which source of values wins. Either way the names are only those that the file or the config spells out: nothing else of the
/// process environment is reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precedence {
    /// The file, as people expect of `dev`: what they just typed into it counts.
    #[default]
    File,
    /// The process environment, as people expect of a service: the supervisor has the last word.
    ProcessEnvironment,
}

/// Reads the config at `path` with its `.dev.vars`, and those of the projects it mounts, as `dev` does.
///
/// `target` is the name of an environment (`--env staging` uses `[env.staging]`). All problems are reported at once:
/// unknown keys are warnings, wrong values are errors.
pub fn load(path: &Path, target: Option<&str>, environment: &dyn Environment) -> Result<Loaded, ConfigErrors> {
    let options = LoadOptions { target: target.map(str::to_owned), values: ValueSources::default() };
    load_with(path, &options, environment)
}

/// The same with all that can be chosen.
pub fn load_with(path: &Path, options: &LoadOptions, environment: &dyn Environment) -> Result<Loaded, ConfigErrors> {
    let target = options.target.as_deref();
    let problems = Problems::default();
    let path = normalized(&environment.current_directory().join(path));
    let project = ProjectFile::open(&path, environment, &problems).map(|file| {
        let reader = ProjectReader { target, values: &options.values, environment, problems: &problems };
        let project = reader.read(&file);
        report_duplicate_routes(&project.workers, &problems);
        (file, project)
    });
    if project.is_some() && !problems.has_errors() && project.as_ref().is_some_and(|(_, p)| p.workers.is_empty()) {
        problems.report(Diagnostic::error("the config has no worker"));
    }
    let has_errors = problems.has_errors();
    let diagnostics = problems.into_sorted();
    let Some((file, project)) = project.filter(|_| !has_errors) else {
        return Err(ConfigErrors { diagnostics });
    };
    debug_assert!(diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Warning));
    let Project { name, workers, dev, server, required_secrets, metadata, watched_files, secrets } = project;
    let root = file.root().to_path_buf();
    let environment = target.map(str::to_owned);
    let config = Config {
        root,
        file: file.path,
        watched_files,
        name,
        environment,
        workers,
        dev,
        server,
        required_secrets,
        metadata,
        secrets,
    };
    Ok(Loaded { config, warnings: diagnostics })
}

/// Two workers on one route: only one of them would ever answer.
fn report_duplicate_routes(workers: &[Worker], problems: &Problems) {
    for (position, worker) in workers.iter().enumerate() {
        let Some(route) = &worker.route else {
            continue;
        };
        let same = |other: &&Worker| {
            other.route.as_ref().is_some_and(|other| other.prefix == route.prefix && other.reach == route.reach)
        };
        let Some(first) = workers[..position].iter().find(same) else {
            continue;
        };
        let mut diagnostic = Diagnostic::error(format!("two workers answer the route \"{}\"", route.pattern));
        if let Some(span) = &worker.span {
            diagnostic = diagnostic.at(span.clone(), format!("\"{}\" answers it", worker.name));
        }
        if let Some(span) = &first.span {
            diagnostic = diagnostic.related(span.clone(), format!("\"{}\" answers it too", first.name));
        }
        problems.report(diagnostic);
    }
}
