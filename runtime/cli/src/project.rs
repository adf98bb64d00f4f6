//! From a config to workers that can be served: drivers opened, migrations applied, modules loaded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aerostack_ai::ops::{AiBindings, NamedAi};
use aerostack_bindings::{BindingInfo, Calls, Lazy};
use aerostack_cache::NamedCache;
use aerostack_cache::ops::Caches;
use aerostack_config::{
    Colour, Config, ConfigErrors, DatabaseBinding, Diagnostic, Outbound, Private, ServiceOrigin, VariableValue,
    Worker as WorkerConfig, WorkerRole,
};
use aerostack_database::migrations::{MigrationError, Migrations};
use aerostack_database::ops::{Databases, NamedDatabase};
use aerostack_isolate::{
    Breach, Breaches, EnvEntry, EnvValue, InstallBindings, InvocationLimits, Limits, OpState, OutboundPolicy,
    PrivateAddresses, WebOptions, WorkerParts, WorkerVersion,
};
use aerostack_modules::{DiskReader, FrameStyle, Graph, Loader, ModuleErrors};
use aerostack_queue::ops::Queues;
use aerostack_queue::{BacklogLimit, NamedQueue, QueueDriver};
use aerostack_storage::ops::Storages;
use aerostack_storage::{NamedStorage, limits as storage_limits};
use aerostack_telemetry::Terminal;
use aerostack_telemetry::metrics::Metrics;
use aerostack_trace::Tracer;
use aerostack_vectorize::NamedVectorIndex;
use aerostack_vectorize::ops::VectorIndexes;
use anyhow::bail;

use crate::commands::{shown, with_causes};
use crate::drivers::{self, Drivers};
use crate::logs::WorkerLines;
use crate::migrations::{MissingTables, edited_too_late, render_failure};
use crate::observed::Observed;
use crate::running::Face;

/// What outlives a reload: open drivers and compiled modules.
pub(crate) struct Project {
    drivers: Drivers,
    loaders: HashMap<PathBuf, Loader>,
    state_folder: PathBuf,
    web: WebOptions,
    terminal: Terminal,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    sent: ToldOfSends,
    /// How often each worker has met its limits, by its name.
    breaches: HashMap<String, Arc<Breaches>>,
    missing_tables: Arc<MissingTables>,
    face: Face,
}

/// What is done about migrations that a database has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PendingMigrations {
    /// They are applied.
    Apply,
    /// The worker does not start: who changes a schema that others use wants to say so.
    Refuse,
}

/// Whether workers may reach addresses of this machine and of private networks, where the config does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrivateDefault {
    /// A developer's other services are on the same machine.
    Allowed,
    /// Behind a public port, what clients can make a worker fetch is not theirs to choose.
    Denied,
}

/// Told of every queue that a worker sends to.
pub(crate) type ToldOfSends = Arc<dyn Fn(&NamedQueue) + Send + Sync>;

/// Why a worker cannot be made from its config.
#[derive(Debug)]
pub(crate) enum BuildError {
    /// Its modules cannot be loaded.
    Modules(ModuleErrors),
    /// A migration failed.
    Migration(MigrationError),
    /// A binding cannot be opened.
    Binding(anyhow::Error),
}

/// A worker ready to be loaded, and what the start table says of it.
pub(crate) struct Built {
    pub(crate) version: Arc<WorkerVersion>,
    pub(crate) bindings: Vec<BindingInfo>,
    /// Migrations applied just now.
    pub(crate) migrated: Vec<String>,
    /// What is to be known of migrations that were edited after they were applied.
    pub(crate) warnings: Vec<String>,
}

/// What is on a worker's `env`.
struct Bound {
    env: Vec<EnvEntry>,
    install: InstallBindings,
    bindings: Vec<BindingInfo>,
    migrated: Vec<String>,
    warnings: Vec<String>,
}

impl Project {
    pub(crate) fn new(state_folder: &Path, observed: &Observed, sent: ToldOfSends, face: Face) -> Self {
        // The convention of OpenSSL and everything built on it.
        let extra_roots = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        Self {
            drivers: Drivers::new(state_folder),
            loaders: HashMap::new(),
            state_folder: state_folder.to_path_buf(),
            web: WebOptions::new(extra_roots),
            terminal: observed.terminal.clone(),
            metrics: observed.metrics.clone(),
            tracer: observed.tracer.clone(),
            sent,
            breaches: HashMap::new(),
            missing_tables: MissingTables::new(observed.terminal.clone()),
            face,
        }
    }

    /// Where all queues of the process are.
    pub(crate) fn queues(&mut self) -> Arc<Lazy<dyn QueueDriver>> {
        self.drivers.queues()
    }

    /// Forgets the open drivers: what is built from now on opens its state anew.
    pub(crate) fn forget_state(&mut self) {
        self.drivers = Drivers::new(&self.state_folder);
    }

    /// The files and folders of the drivers that are open.
    pub(crate) fn opened_state(&self) -> Vec<PathBuf> {
        self.drivers.opened_state()
    }

    /// Opens what the worker needs and loads its modules. All that is wrong comes back at once.
    pub(crate) fn build(&mut self, worker: &WorkerConfig) -> Result<Built, Vec<BuildError>> {
        let breaches = self.breaches.entry(worker.name.clone()).or_default().clone();
        let metrics = self.metrics.worker(&worker.name);
        let counted = breaches.clone();
        metrics.count_breaches_by(Box::new(move || counted.counts()));
        let (bound, graph) = match (self.bind(worker, &breaches), self.graph(worker)) {
            (Ok(bound), Ok(graph)) => (bound, graph),
            (bound, graph) => return Err(bound.err().into_iter().chain(graph.err()).collect()),
        };
        let Bound { env, install, bindings, migrated, warnings } = bound;
        let log = WorkerLines::new(&worker.name, Arc::new(self.terminal.output()), self.terminal.output());
        let version = WorkerVersion::new(WorkerParts {
            name: worker.name.clone(),
            graph: Arc::new(graph),
            env,
            install,
            limits: limits(worker),
            log: log.clone(),
            web: self.web.with_outbound(self.outbound(worker)),
            breaches,
            metrics,
            calls: self.metrics.calls().clone(),
            tracer: self.tracer.clone(),
        });
        log.belongs_to(&version);
        Ok(Built { version, bindings, migrated, warnings })
    }

    /// Loads the worker's modules.
    fn graph(&mut self, worker: &WorkerConfig) -> Result<Graph, BuildError> {
        let loader = self.loaders.entry(worker.root.clone()).or_insert_with(|| {
            let folder = self.state_folder.join("cache").join("modules");
            Loader::new(worker.root.clone(), DiskReader).with_disk_cache(folder)
        });
        loader.load_graph_with(&worker.main, &worker.alias).map_err(BuildError::Modules)
    }

    /// Opens what is on the worker's `env`, and applies migrations or refuses those that are pending.
    fn bind(&mut self, worker: &WorkerConfig, breaches: &Arc<Breaches>) -> Result<Bound, BuildError> {
        let mut env = Vec::new();
        for variable in &worker.variables {
            let value = match &variable.value {
                VariableValue::Text(text) => serde_json::Value::from(text.as_str()),
                VariableValue::Json(json) => json.clone(),
                VariableValue::Secret(secret) => serde_json::Value::from(secret.expose()),
            };
            env.push(EnvEntry { name: variable.name.clone(), value: EnvValue::Json(value) });
        }

        let mut bindings = Vec::new();
        let (mut migrated, mut warnings) = (Vec::new(), Vec::new());
        let mut databases = Vec::new();
        for binding in &worker.bindings.databases {
            let migrations = drivers::migrations(&self.state_folder, binding);
            if self.face.pending_migrations == PendingMigrations::Refuse {
                refuse_pending(binding, &migrations).map_err(BuildError::Binding)?;
            }
            let (driver, info) = self.drivers.database(binding).map_err(BuildError::Binding)?;
            if self.face.pending_migrations == PendingMigrations::Apply {
                migrated.extend(migrations.apply().map_err(BuildError::Migration)?);
            }
            let edited = migrations.edited().map_err(BuildError::Migration)?;
            warnings.extend(edited.iter().map(|name| edited_too_late(binding, name)));
            env.push(bound(&binding.binding, "database", databases.len()));
            let lacks_table = self.missing_tables.of(binding, migrations);
            databases.push(NamedDatabase { name: binding.binding.as_str().into(), driver, lacks_table });
            bindings.push(info);
        }
        let mut caches = Vec::new();
        for binding in &worker.bindings.caches {
            let (driver, info) = self.drivers.cache(binding).map_err(BuildError::Binding)?;
            env.push(bound(&binding.binding, "cache", caches.len()));
            let clock = Arc::new(aerostack_bindings::SystemClock);
            let min_ttl_seconds = u64::from(binding.min_ttl);
            caches.push(Arc::new(NamedCache { name: binding.binding.clone(), driver, clock, min_ttl_seconds }));
            bindings.push(info);
        }
        let mut queues = Vec::new();
        for binding in &worker.bindings.queues {
            let backlog = backlog_limit(worker, breaches);
            let (queue, info) = self.drivers.queue(binding, backlog).map_err(BuildError::Binding)?;
            env.push(bound(&binding.binding, queue_kind(worker), queues.len()));
            bindings.push(info);
            queues.push(Arc::new(queue));
        }
        let mut vector_indexes = Vec::new();
        for binding in &worker.bindings.vector_indexes {
            let (driver, info) = self.drivers.vector_index(binding).map_err(BuildError::Binding)?;
            env.push(bound(&binding.binding, "vectorize", vector_indexes.len()));
            vector_indexes.push(Arc::new(NamedVectorIndex { name: binding.binding.clone(), driver }));
            bindings.push(info);
        }
        let mut storages = Vec::new();
        for binding in &worker.bindings.buckets {
            let (driver, info) = self.drivers.bucket(binding).map_err(BuildError::Binding)?;
            env.push(bound(&binding.binding, "storage", storages.len()));
            let min_part_bytes = storage_limits::MIN_PART_BYTES;
            storages.push(Arc::new(NamedStorage { name: binding.binding.clone(), driver, min_part_bytes }));
            bindings.push(info);
        }
        let mut ai = Vec::new();
        if let Some(binding) = &worker.bindings.ai {
            let (driver, info) = self.drivers.ai(binding).map_err(BuildError::Binding)?;
            env.push(bound(&binding.binding, "ai", ai.len()));
            ai.push(NamedAi { name: binding.binding.clone(), driver });
            bindings.push(info);
        }
        let ai = AiBindings(ai);
        let queues = Queues { queues, sent: self.sent.clone() };
        let (databases, caches, storages) = (Databases(databases), Caches(caches), Storages(storages));
        let vector_indexes = VectorIndexes(vector_indexes);
        let named_from = paths_are_named_from(&self.state_folder, worker);
        let install: InstallBindings = Arc::new(move |state: &mut OpState| {
            let calls = state.take::<Calls>().naming_paths_from(named_from.clone());
            state.put(calls);
            state.put(databases.clone());
            state.put(caches.clone());
            state.put(queues.clone());
            state.put(vector_indexes.clone());
            state.put(storages.clone());
            state.put(ai.clone());
        });

        Ok(Bound { env, install, bindings, migrated, warnings })
    }

    fn outbound(&self, worker: &WorkerConfig) -> OutboundPolicy {
        let Outbound { allow, deny, private } = worker.outbound.clone();
        let private = match (private, self.face.private_addresses) {
            (Some(Private::Allowed), _) | (None, PrivateDefault::Allowed) => PrivateAddresses::Allowed,
            (Some(Private::Denied), _) | (None, PrivateDefault::Denied) => {
                PrivateAddresses::Denied { except: Vec::new() }
            }
            (Some(Private::Only(except)), _) => PrivateAddresses::Denied { except },
        };
        OutboundPolicy { allow, deny, private }
    }
}

impl BuildError {
    /// All there is to say, with code frames.
    pub(crate) fn render(&self, style: FrameStyle) -> String {
        match self {
            Self::Modules(errors) => errors.render(style),
            Self::Migration(error) => render_failure(error, style),
            Self::Binding(error) => match error.downcast_ref::<ConfigErrors>() {
                Some(errors) => errors.render(match style {
                    FrameStyle::Plain => Colour::Never,
                    FrameStyle::Coloured => Colour::Always,
                }),
                None => format!("error: {}", with_causes(error)),
            },
        }
    }

    /// Files whose change may mend it.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Modules(errors) => errors.files().map(Path::to_path_buf).collect(),
            Self::Migration(MigrationError::Failed { file, .. }) => vec![file.clone()],
            Self::Migration(_) | Self::Binding(_) => Vec::new(),
        }
    }
}

/// What the config asks for and this build accepts without doing it yet, each as a sentence.
pub(crate) fn unsupported(config: &Config) -> Vec<String> {
    let mut unsupported = Vec::new();
    for worker in &config.workers {
        let bindings = &worker.bindings;
        unsupported.extend(
            bindings
                .postgres
                .iter()
                .map(|b| format!("[[postgres_databases]] is not supported yet: env.{} is missing", b.binding)),
        );
        let requested = bindings.services.iter().filter(|b| b.origin == ServiceOrigin::Requested);
        unsupported
            .extend(requested.map(|b| format!("service bindings are not supported yet: env.{} is missing", b.binding)));
        if worker.role == WorkerRole::Service {
            unsupported
                .push(format!("service bindings are not supported yet: nothing calls the service {}", worker.name));
        }
    }
    unsupported.dedup();
    unsupported
}

/// Models whose files the config names and that are not there.
pub(crate) fn missing_models(config: &Config) -> Vec<Diagnostic> {
    let models = config.workers.iter().filter_map(|worker| worker.bindings.ai.as_ref()).flat_map(|ai| &ai.models);
    let mut missing: Vec<Diagnostic> = Vec::new();
    for model in models {
        let Some(path) = model.path.as_ref().filter(|path| !path.exists()) else { continue };
        let diagnostic =
            Diagnostic::warning(format!("the model {:?} is missing: nothing is at {}", model.name, shown(path)))
                .at(model.span.clone(), "`env.AI.run` with this name fails until it is there");
        if !missing.contains(&diagnostic) {
            missing.push(diagnostic);
        }
    }
    missing
}

/// What `send` stores when the caller does not say: structured clones before 2024-03-18, JSON since (Cloudflare
/// contract, 3.1), unless a flag chooses.
fn queue_kind(worker: &WorkerConfig) -> &'static str {
    let has = |flag: &str| worker.compatibility_flags.iter().any(|given| given == flag);
    match worker.compatibility_date.as_deref() {
        _ if has("queues_json_messages") => "queue",
        _ if has("no_queues_json_messages") => "queue_of_clones",
        Some(date) if date < "2024-03-18" => "queue_of_clones",
        _ => "queue",
    }
}

/// How code frames look on a terminal.
pub(crate) fn frame_style(terminal: &Terminal) -> FrameStyle {
    if terminal.paint().is_coloured() { FrameStyle::Coloured } else { FrameStyle::Plain }
}

/// The folders that errors in a worker leave out of paths: where a project lies on the machine is not for its clients to know.
fn paths_are_named_from(state_folder: &Path, worker: &WorkerConfig) -> Vec<PathBuf> {
    let models = worker.bindings.ai.as_ref().and_then(|ai| drivers::models_folder(ai.models_dir.as_deref()).ok());
    let mut folders = vec![worker.root.clone()];
    folders.extend(
        [state_folder.parent(), models.as_ref().and_then(|models| models.path().parent())]
            .into_iter()
            .flatten()
            .map(Path::to_path_buf),
    );
    // Of two that lie in each other the inner one counts.
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.as_os_str().len()));
    folders.dedup();
    folders
}

fn refuse_pending(binding: &DatabaseBinding, migrations: &Migrations) -> anyhow::Result<()> {
    let all = migrations.list()?;
    let pending: Vec<&str> = all
        .iter()
        .filter(|migration| migration.applied_at.is_none())
        .map(|migration| migration.name.as_str())
        .collect();
    let [first, rest @ ..] = pending.as_slice() else { return Ok(()) };
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    bail!(
        "database {} ({}): migration {first}{more} in {} {} pending\n\
         hint: run `aerostack db migrate apply`; serve never applies migrations itself",
        binding.binding,
        binding.database.name,
        shown(&binding.migrations_dir),
        if rest.is_empty() { "is" } else { "are" },
    )
}

fn bound(name: &str, kind: &'static str, index: usize) -> EnvEntry {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    EnvEntry { name: name.to_owned(), value: EnvValue::Binding { kind, index } }
}

const KIBIBYTE: u64 = 1024;
const MEBIBYTE: u64 = 1024 * KIBIBYTE;

fn limits(worker: &WorkerConfig) -> Limits {
    let limits = &worker.limits;
    let size = |number: u64, unit: u64| usize::try_from(number.saturating_mul(unit)).unwrap_or(usize::MAX);
    Limits {
        cpu: Duration::from_millis(limits.cpu_ms),
        wall: limits.wall_ms.map(Duration::from_millis),
        event_wall: Duration::from_millis(limits.event_wall_ms),
        wait_until: Duration::from_millis(limits.wait_until_ms),
        heap_bytes: size(limits.memory_mb, MEBIBYTE),
        array_buffer_bytes: size(limits.array_buffer_mb, MEBIBYTE),
        concurrent_requests: size(limits.concurrent_requests, 1),
        queued_requests: size(limits.queued_requests, 1),
        invocation: InvocationLimits {
            subrequests: u32::try_from(limits.subrequests).unwrap_or(u32::MAX),
            response_body_bytes: limits.response_body_mb.map(|mebibytes| mebibytes.saturating_mul(MEBIBYTE)),
            log_bytes: size(limits.log_kb, KIBIBYTE),
        },
    }
}

fn backlog_limit(worker: &WorkerConfig, breaches: &Arc<Breaches>) -> BacklogLimit {
    let breaches = breaches.clone();
    let bytes = worker.limits.queue_backlog_mb.saturating_mul(MEBIBYTE);
    BacklogLimit::new(bytes, Arc::new(move || breaches.note(Breach::QueueBacklog)))
}
