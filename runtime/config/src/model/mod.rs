//! What a config says, typed. Nothing in here reads anything.

mod bindings;
mod limits;
mod outbound;
mod queues;
mod variables;

use std::net::IpAddr;
use std::path::PathBuf;

use aerostack_cron::{CronExpression, Weekdays, WhenMissed};
use ipnet::IpNet;

pub use self::bindings::{
    AiBinding, AiModel, AiTask, BindingKind, Bindings, BucketBinding, CacheBinding, DatabaseBinding, DriverChoice,
    DriverOption, Durability, OptionValue, PostgresBinding, ResourceName, ServiceBinding, ServiceOrigin,
    VectorIndexBinding, VectorMetric,
};
pub use self::limits::Limits;
pub use self::outbound::{Outbound, Private};
pub use self::queues::{ConsumerKind, ConsumerSettings, QueueBinding, QueueConsumer};
pub use self::variables::{RequiredSecret, SecretPresence, Variable, VariableValue};

use crate::routes::Route;
use crate::secret::Secret;
use crate::source::{Located, Span};

/// A whole project: every worker of the process and the settings of the development server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The absolute folder of the config file.
    pub root: PathBuf,
    /// The absolute path of the config file.
    pub file: PathBuf,
    /// Every file that was read or looked for, absolute: config files and `.dev.vars`. A change of one means: load again.
    pub watched_files: Vec<PathBuf>,
    /// The name of the project, and of its main worker: lower case letters, digits and `-`.
    pub name: String,
    /// The environment (`env.<name>`) that was asked for.
    pub environment: Option<String>,
    /// At least one: the main worker first when there is one, then functions, then services, in the order of the file.
    pub workers: Vec<Worker>,
    /// `[dev]`.
    pub dev: Dev,
    /// `[server]`.
    pub server: Server,
    /// Names of secrets that the project says it needs, from `[secrets]` and `env = [...]`.
    pub required_secrets: Vec<RequiredSecret>,
    /// What the runtime itself does not use.
    pub metadata: Metadata,
    /// Every value that must not be shown: all of `.dev.vars`, what `$NAME` stood for, named secrets of the environment, and the keys
    /// of models.
    pub secrets: Vec<Secret>,
}

/// One worker: a module with handlers, its own `env`, its own isolates.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Unique in the process. A function of a mounted project is `<mount>/<name>`.
    pub name: String,
    /// Which part of the config it comes from.
    pub role: WorkerRole,
    /// The absolute folder of the config file it comes from: relative paths and `@shared/` start there.
    pub root: PathBuf,
    /// The absolute path of the entry module; the file existed when the config was loaded.
    pub main: PathBuf,
    /// Which requests it answers. None for the main worker, which answers what no route matches, and for workers that
    /// only service bindings reach.
    pub route: Option<Route>,
    /// `YYYY-MM-DD`. None means the newest behaviour.
    pub compatibility_date: Option<String>,
    /// As written, in order. Those without a meaning here have a warning.
    pub compatibility_flags: Vec<String>,
    /// `[alias]`: module specifier -> replacement, in the order of the file.
    pub alias: Vec<(String, String)>,
    /// What is on `env` besides the variables.
    pub bindings: Bindings,
    /// Variables and secrets on `env`, each name once.
    pub variables: Vec<Variable>,
    /// Which queues it consumes and how. Beside these, a worker whose module exports `queue` consumes its own default
    /// queue unless some entry of the config names that queue; see [`QueueConsumer::implicit`].
    pub consumers: Vec<QueueConsumer>,
    /// When its `scheduled` handler runs.
    pub triggers: Triggers,
    /// What its requests may use.
    pub limits: Limits,
    /// What its `fetch` may reach.
    pub outbound: Outbound,
    /// The entry of the config it comes from; none for a main worker found by its default path.
    pub span: Option<Span>,
}

/// Which part of the config a [`Worker`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerRole {
    /// `main`: answers every request that no route matches.
    Main,
    /// `[[functions]]`: answers its route, or service bindings only.
    Function,
    /// `[[services]]`: answers service bindings only.
    Service,
}

/// `[triggers]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triggers {
    /// Each keeps its text character for character, because handlers compare it.
    pub crons: Vec<Located<CronExpression>>,
    /// How digits in the weekday field count. The expressions have been read by it.
    pub weekdays: Weekdays,
    /// What is done about firings that were missed while the runtime was down or the machine slept.
    pub missed: WhenMissed,
}

/// `[dev]`: the development server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dev {
    /// None means 8788, and the next free port when that is taken. 0 means any free port.
    pub port: Option<u16>,
    /// The address to listen on: 127.0.0.1 unless configured.
    pub ip: IpAddr,
    /// The absolute folder of all local state: `<root>/.aerostack` unless configured.
    pub persist_to: PathBuf,
}

/// `[server]`: how requests come in, in `dev` and in `serve`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// The proxies whose word about the client counts. None means that the config does not say.
    pub trusted_proxies: Option<Vec<IpNet>>,
}

/// Keys that belong to the Aerostack platform and its tools; the runtime keeps them and does nothing with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `project_slug`, or `slug`.
    pub project_slug: Option<String>,
    /// `project_id`: the deploy target.
    pub project_id: Option<String>,
    /// `api_key` of the platform.
    pub api_key: Option<Secret>,
    /// `description`.
    pub description: Option<String>,
    /// `category`.
    pub category: Option<String>,
    /// `tags`.
    pub tags: Vec<String>,
    /// `scopes`.
    pub scopes: Vec<String>,
}

/// The answer of [`Config::worker_for_path`].
#[derive(Debug, Clone)]
pub struct Routed<'a> {
    /// The worker that answers.
    pub worker: &'a Worker,
    /// The path its handler sees.
    pub path: String,
}

impl Config {
    /// The worker of that name.
    pub fn worker(&self, name: &str) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.name == name)
    }

    /// The main worker; a project may have functions only.
    pub fn main_worker(&self) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.role == WorkerRole::Main)
    }

    /// Who answers a request to `path` (without its query): the worker with the longest matching route, else the main
    /// worker, else nobody.
    pub fn worker_for_path(&self, path: &str) -> Option<Routed<'_>> {
        self.workers
            .iter()
            .filter_map(|worker| {
                let route = worker.route.as_ref()?;
                Some((route.specificity(), Routed { worker, path: route.path_seen_by_handler(path)? }))
            })
            .max_by_key(|(specificity, _)| *specificity)
            .map(|(_, routed)| routed)
            .or_else(|| self.main_worker().map(|worker| Routed { worker, path: path.to_owned() }))
    }
}
