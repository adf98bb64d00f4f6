//! A project that runs: its workers loaded, their triggers and consumers turning. `dev` and `serve` are two faces of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::BindingInfo;
use aerostack_config::{Colour, Config, Limits, ResourceName, Secret, WorkerRole};
use aerostack_isolate::{Breaches, LoadError, Worker, WorkerVersion};
use aerostack_modules::FrameStyle;
use aerostack_queue::NamedQueue;
use aerostack_server::{BrokenMount, ClientLimits, Route, RouteReach, Server, TrustedProxies};
use aerostack_telemetry::metrics::Metrics;
use aerostack_telemetry::{Level, Paint, Role, Terminal};

use crate::background::{Background, ConsumedQueues, ConsumerDefaults, CurrentBackground};
use crate::commands::AlreadyPrinted;
use crate::descriptors;
use crate::logs::{exception_entry, exception_text};
use crate::observed::Observed;
use crate::project::{
    BuildError, Built, PendingMigrations, PrivateDefault, Project, frame_style, missing_models, unsupported,
};
use crate::status::ProcessStatus;

/// In which of its faces the binary runs a project: what differs between `dev` and `serve` inside of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Face {
    /// Isolates of each worker.
    pub(crate) isolates: usize,
    /// What is done about migrations that a database has not seen.
    pub(crate) pending_migrations: PendingMigrations,
    /// What a queue's consumer does where the config does not say.
    pub(crate) consumers: ConsumerDefaults,
    /// Whether workers may reach addresses of this machine and of private networks where the config does not say.
    pub(crate) private_addresses: PrivateDefault,
}

/// The running project.
pub(crate) struct Running {
    pub(crate) project: Project,
    pub(crate) background: Arc<CurrentBackground>,
    pub(crate) workers: HashMap<String, Arc<Worker>>,
    /// What is on the `env` of the version of a worker that was loaded last.
    pub(crate) bindings: HashMap<String, Vec<BindingInfo>>,
    /// Why the last version of a worker could not be loaded, in plain text.
    broken: BTreeMap<String, String>,
    pub(crate) config: Config,
    pub(crate) terminal: Terminal,
    /// What the admin routes tell.
    pub(crate) status: Arc<ProcessStatus>,
    /// How often clients met the limits of the server itself.
    pub(crate) breaches: Arc<Breaches>,
    /// Files of versions that could not be loaded: a change of one may fix it.
    pub(crate) broken_files: Vec<PathBuf>,
    warned: HashSet<String>,
    consumed: Arc<ConsumedQueues>,
    metrics: Arc<Metrics>,
    state_folder: PathBuf,
    face: Face,
}

/// How long work that was begun may go on after the first signal to stop.
const DRAIN: Duration = Duration::from_secs(30);

impl Face {
    /// One isolate a worker, so that module state behaves as people expect of a local server; everything happens soon.
    pub(crate) const DEV: Self = Self {
        isolates: 1,
        pending_migrations: PendingMigrations::Apply,
        consumers: ConsumerDefaults { batch_timeout: Duration::from_secs(1), concurrency: 1 },
        private_addresses: PrivateDefault::Allowed,
    };

    /// As in production: several isolates a worker, batches that wait to fill, and no change of a schema that nobody asked for.
    pub(crate) const fn serve(isolates: usize) -> Self {
        Self {
            isolates,
            pending_migrations: PendingMigrations::Refuse,
            consumers: ConsumerDefaults { batch_timeout: Duration::from_secs(5), concurrency: isolates },
            private_addresses: PrivateDefault::Denied,
        }
    }
}

impl Running {
    /// Nothing is loaded yet.
    pub(crate) fn new(face: Face, config: Config, state_folder: &Path, observed: &Observed) -> Self {
        let Observed { terminal, metrics, .. } = observed;
        hide_secrets(terminal, &config);
        let breaches = Arc::<Breaches>::default();
        let counted = breaches.clone();
        metrics.count_server_breaches_by(Box::new(move || counted.counts()));
        let consumed = Arc::new(ConsumedQueues::default());
        let (asked, asking) = (consumed.clone(), terminal.clone());
        let sent = Arc::new(move |queue: &NamedQueue| asked.sent(queue, &asking));
        let mut project = Project::new(state_folder, observed, sent, face);
        let background = Background::new(terminal, metrics.clone(), state_folder, consumed.clone(), face.consumers);
        Self {
            status: ProcessStatus::new(metrics.clone(), project.queues()),
            project,
            background: CurrentBackground::new(background),
            workers: HashMap::new(),
            bindings: HashMap::new(),
            broken: BTreeMap::new(),
            config,
            terminal: terminal.clone(),
            breaches,
            broken_files: Vec::new(),
            warned: HashSet::new(),
            consumed,
            metrics: metrics.clone(),
            state_folder: state_folder.to_owned(),
            face,
        }
    }

    /// Loads every worker. What fails is printed, of each worker; the others run.
    pub(crate) async fn start_all(&mut self) -> Result<(), AlreadyPrinted> {
        self.warn_of_config();
        let mut outcome = Ok(());
        for worker in self.config.workers.clone() {
            outcome = self.load_version(&worker).await.and(outcome);
        }
        self.note_served();
        outcome
    }

    /// Opens all state anew, and loads every worker with it: what was there was removed.
    pub(crate) async fn start_afresh(&mut self) -> Result<(), AlreadyPrinted> {
        self.project.forget_state();
        let consumers = self.face.consumers;
        let background =
            Background::new(&self.terminal, self.metrics.clone(), &self.state_folder, self.consumed.clone(), consumers);
        // The old one ends where nobody has it any more: it works on queues that are gone.
        self.background.replace(background);
        self.status.reads_queues(self.project.queues());
        let mut outcome = Ok(());
        for worker in self.config.workers.clone() {
            outcome = self.load_version(&worker).await.and(outcome);
        }
        self.note_served();
        outcome
    }

    /// Tells what of the config has no effect, or will fail.
    fn warn_of_config(&self) {
        for sentence in unsupported(&self.config) {
            self.terminal.warn(&sentence);
        }
        for diagnostic in missing_models(&self.config) {
            self.terminal.say(Level::Warn, diagnostic.render(colour_of(&self.terminal)));
        }
    }

    /// Lets the admin routes tell of the workers of the config, and of what runs of them.
    pub(crate) fn note_served(&self) {
        let of_config = self.config.workers.iter();
        let served = of_config.map(|worker| (worker.name.clone(), self.workers.get(&worker.name).cloned()));
        self.status.serves(served.collect());
    }

    /// Loads a version of a worker in place of the one that runs, if any. What fails is printed.
    pub(crate) async fn load_version(&mut self, worker: &aerostack_config::Worker) -> Result<(), AlreadyPrinted> {
        let loaded = self.load(worker).await;
        match loaded {
            Ok(()) => {
                self.broken.remove(&worker.name);
                Ok(())
            }
            Err(reason) => {
                self.broken.insert(worker.name.clone(), reason);
                Err(AlreadyPrinted)
            }
        }
    }

    /// What fails is printed, and comes back as plain text.
    async fn load(&mut self, worker: &aerostack_config::Worker) -> Result<(), String> {
        let Built { version, bindings, migrated, warnings } = match self.project.build(worker) {
            Ok(built) => built,
            Err(errors) => {
                self.broken_files.extend(errors.iter().flat_map(BuildError::files));
                return Err(self.print_build_errors(&errors));
            }
        };
        self.print_migrated(&migrated);
        self.warn_once(warnings);
        let loaded = match self.workers.get(&worker.name).cloned() {
            Some(running) => running.replace(version.clone(), self.face.isolates).await,
            None => Worker::start(version.clone(), self.face.isolates).await.map(|started| {
                self.workers.insert(worker.name.clone(), Arc::new(started));
            }),
        };
        if let Err(error) = loaded {
            self.broken_files.extend(version.graph.files().map(Path::to_path_buf));
            return Err(self.print_load_error(&error, &version));
        }
        self.bindings.insert(worker.name.clone(), bindings);
        self.take_over(worker)
    }

    /// Lets the worker's triggers fire and its queues be consumed, as its config now says.
    fn take_over(&mut self, config: &aerostack_config::Worker) -> Result<(), String> {
        let Some(worker) = self.workers.get(&config.name) else { return Ok(()) };
        let queues = self.project.queues();
        let consumers = self.config.workers.iter().flat_map(|worker| &worker.consumers);
        let configured: Vec<ResourceName> = consumers.map(|consumer| consumer.queue.clone()).collect();
        let taken = self.background.current().loaded(config, worker, &configured, &queues);
        taken.map_err(|error| self.print_build_errors(&[BuildError::Binding(error.into())]))
    }

    /// Uses another config from now on; nothing is loaded yet.
    pub(crate) fn take_config(&mut self, config: Config) {
        hide_secrets(&self.terminal, &config);
        self.config = config;
        self.warn_of_config();
    }

    /// Forgets workers that the config has no more.
    pub(crate) fn keep_configured(&mut self) {
        let names: HashSet<&str> = self.config.workers.iter().map(|worker| worker.name.as_str()).collect();
        self.workers.retain(|name, _| names.contains(name.as_str()));
        self.bindings.retain(|name, _| names.contains(name.as_str()));
        self.broken.retain(|name, _| names.contains(name.as_str()));
        self.background.current().keep_only(|name| names.contains(name));
    }

    /// How many workers of the config run in no version.
    pub(crate) fn unloaded(&self) -> usize {
        self.config.workers.iter().filter(|worker| !self.workers.contains_key(&worker.name)).count()
    }

    /// Where the workers are mounted.
    pub(crate) fn routes(&self) -> Vec<Route> {
        let mounted = self.config.workers.iter().filter_map(|config| {
            let worker = self.workers.get(&config.name).cloned()?;
            let Mount { prefix, reach, replacement } = mount(config)?;
            Some(Route { prefix, reach, replacement, worker })
        });
        mounted.collect()
    }

    /// Whose word about the client counts.
    pub(crate) fn trusted_proxies(&self) -> TrustedProxies {
        self.config.server.trusted_proxies.clone().map(TrustedProxies::listed).unwrap_or_default()
    }

    /// Where those would be mounted of which no version could be loaded.
    pub(crate) fn broken_mounts(&self) -> Vec<BrokenMount> {
        let unloaded = self.config.workers.iter().filter(|config| !self.workers.contains_key(&config.name));
        let broken = unloaded.filter_map(|config| {
            let reason = self.broken.get(&config.name)?.clone();
            let Mount { prefix, reach, .. } = mount(config)?;
            Some(BrokenMount { prefix, reach, reason })
        });
        broken.collect()
    }

    /// What clients may do where the process may open so many files.
    pub(crate) fn client_limits(&self, descriptors: u64) -> ClientLimits {
        let ConnectionLimits { request_body_mb: body_mb, connections: wanted } = connection_limits(&self.config);
        let connections = descriptors::connections(wanted, descriptors);
        if connections < wanted {
            self.terminal.line(format!(
                "{connections} connections at once instead of {wanted}: the process may open {descriptors} files (`ulimit -Hn`)"
            ));
        }
        ClientLimits {
            body_bytes: body_mb.saturating_mul(1024 * 1024),
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            ..ClientLimits::default()
        }
    }

    /// Gives leased messages back, so that the next start need not wait for their leases to run out.
    pub(crate) async fn give_back_leases(&self) {
        self.background.current().stop(Duration::ZERO).await;
    }

    /// Lets begun work end, counting down in sight; a second signal stops at once.
    pub(crate) async fn drain(&self, server: &Server) {
        let drained = async {
            let background = self.background.current();
            tokio::join!(server.shut_down(), background.stop(DRAIN));
            for worker in self.workers.values() {
                worker.drain().await;
            }
        };
        let mut shown = 0;
        let counted = async {
            loop {
                let in_flight = server.in_flight();
                if in_flight != shown {
                    shown = in_flight;
                    self.terminal.line(format!("draining: {in_flight} still in flight (Ctrl-C again to stop now)"));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = counted => {}
            () = stop_requested() => {
                self.terminal.line("stopped before everything was done");
                self.give_back_leases().await;
            }
            () = tokio::time::sleep(DRAIN + Duration::from_secs(3)) => {
                self.terminal.line(format!("stopped after {} s of draining", DRAIN.as_secs()));
            },
        }
    }

    fn print_migrated(&self, migrated: &[String]) {
        for name in migrated {
            self.terminal.line(format!("applied migration {name}"));
        }
    }

    /// Says what was not said before: what was wrong at the last reload may still be.
    fn warn_once(&mut self, warnings: Vec<String>) {
        for warning in warnings {
            if self.warned.insert(warning.clone()) {
                self.terminal.warn(&warning);
            }
        }
    }

    /// Prints errors and returns them in plain text.
    fn print_build_errors(&self, errors: &[BuildError]) -> String {
        let rendered =
            |style: FrameStyle| errors.iter().map(|error| error.render(style)).collect::<Vec<_>>().join("\n\n");
        self.terminal.say(Level::Error, rendered(frame_style(&self.terminal)));
        rendered(FrameStyle::Plain)
    }

    /// Prints an error and returns it in plain text.
    fn print_load_error(&self, error: &LoadError, version: &WorkerVersion) -> String {
        match error {
            LoadError::Exception(exception) => self.terminal.print(self.terminal.formatted(
                |paint| load_error_text(error, version, paint),
                || exception_entry(None, exception, &version.name, Some(version)),
            )),
            _ => self.terminal.error(&error.to_string()),
        }
        load_error_text(error, version, Paint::Plain)
    }
}

/// Why a version cannot be loaded, with a code frame where a line of the worker's own is to blame.
pub(crate) fn load_error_text(error: &LoadError, version: &WorkerVersion, paint: Paint) -> String {
    let LoadError::Exception(exception) = error else {
        return format!("{}: {error}", paint.paint(Role::Bad, "error"));
    };
    exception_text(paint, None, exception, version)
}

/// Limits that are not a worker's but the process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    pub(crate) request_body_mb: u64,
    pub(crate) connections: u64,
}

/// Of several workers' limits the largest.
pub(crate) fn connection_limits(config: &Config) -> ConnectionLimits {
    let limits = || config.workers.iter().map(|worker| &worker.limits);
    let defaults = Limits::default();
    ConnectionLimits {
        request_body_mb: limits().map(|limits| limits.request_body_mb).max().unwrap_or(defaults.request_body_mb),
        connections: limits().map(|limits| limits.connections).max().unwrap_or(defaults.connections),
    }
}

/// How what aerostack-config renders is coloured.
pub(crate) fn colour_of(terminal: &Terminal) -> Colour {
    if terminal.paint().is_coloured() { Colour::Always } else { Colour::Never }
}

/// Where a worker belongs.
struct Mount {
    prefix: String,
    reach: RouteReach,
    replacement: String,
}

/// None for a worker that only service bindings reach.
fn mount(config: &aerostack_config::Worker) -> Option<Mount> {
    match &config.route {
        Some(route) => Some(Mount {
            prefix: route.prefix.clone(),
            reach: match route.reach {
                aerostack_config::RouteReach::Exact => RouteReach::Exact,
                aerostack_config::RouteReach::Below => RouteReach::Tree,
            },
            replacement: route.replacement.clone(),
        }),
        None if config.role == WorkerRole::Main => {
            Some(Mount { prefix: String::new(), reach: RouteReach::Tree, replacement: String::new() })
        }
        None => None,
    }
}

/// Keeps the values of the config's secrets out of the terminal.
pub(crate) fn hide_secrets(terminal: &Terminal, config: &Config) {
    terminal.redaction().hide(config.secrets.iter().map(Secret::expose));
}

/// Ctrl-C, or the polite signal of a supervisor.
pub(crate) async fn stop_requested() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    let terminated = async {
        match &mut terminate {
            Some(terminate) => terminate.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}
