//! A project that runs: its workers loaded, their triggers and consumers turning. `dev` and `serve` are two faces of it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::BindingInfo;
use aerostack_config::{Colour, Config, Limits, ResourceName, Secret, WorkerRole};
use aerostack_isolate::{Breaches, ErrorReport, LoadError, Worker, WorkerVersion};
use aerostack_modules::{CodeFrame, render_code_frame};
use aerostack_queue::NamedQueue;
use aerostack_server::{ClientLimits, Route, RouteReach, Server, TrustedProxies};
use aerostack_telemetry::{Level, Terminal};

use crate::background::{Background, ConsumedQueues, ConsumerDefaults};
use crate::commands::AlreadyPrinted;
use crate::descriptors;
use crate::logs::{exception_entry, exception_text};
use crate::observed::Observed;
use crate::project::{BuildError, Built, PendingMigrations, PrivateDefault, Project, frame_style, unserved_sections};
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
    pub(crate) background: Arc<Background>,
    pub(crate) workers: HashMap<String, Arc<Worker>>,
    pub(crate) config: Config,
    pub(crate) terminal: Terminal,
    /// What the admin routes tell.
    pub(crate) status: Arc<ProcessStatus>,
    /// How often clients met the limits of the server itself.
    pub(crate) breaches: Arc<Breaches>,
    /// Files of versions that could not be loaded: a change of one may mend it.
    pub(crate) broken_files: Vec<PathBuf>,
    warned: HashSet<String>,
    face: Face,
}

/// What the start table says of one worker: its name and its bindings.
pub(crate) type StartedWorker = (String, Vec<BindingInfo>);

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
        Self {
            status: ProcessStatus::new(metrics.clone(), project.queues()),
            project,
            background: Background::new(terminal, metrics.clone(), state_folder, consumed, face.consumers),
            workers: HashMap::new(),
            config,
            terminal: terminal.clone(),
            breaches,
            broken_files: Vec::new(),
            warned: HashSet::new(),
            face,
        }
    }

    /// Loads every worker. What fails is printed; the bindings of each worker come back.
    pub(crate) async fn start_all(&mut self) -> Result<Vec<StartedWorker>, AlreadyPrinted> {
        for section in unserved_sections(&self.config) {
            self.terminal.warn(&format!("{section} is in the config, and not served by this version yet"));
        }
        let mut all = Vec::new();
        for worker in self.config.workers.clone() {
            let Built { version, bindings, migrated, warnings } = match self.project.build(&worker) {
                Ok(built) => built,
                Err(error) => return Err(self.print_build_error(&error)),
            };
            self.print_migrated(&migrated);
            self.warn_once(warnings);
            match Worker::start(version.clone(), self.face.isolates).await {
                Ok(started) => self.workers.insert(worker.name.clone(), Arc::new(started)),
                Err(error) => return Err(self.print_load_error(&error, &version)),
            };
            self.take_over(&worker)?;
            all.push((worker.name, bindings));
        }
        self.note_served();
        Ok(all)
    }

    /// Lets the admin routes tell of the workers of the config, and of what runs of them.
    pub(crate) fn note_served(&self) {
        let of_config = self.config.workers.iter();
        let served = of_config.map(|worker| (worker.name.clone(), self.workers.get(&worker.name).cloned()));
        self.status.serves(served.collect());
    }

    /// Of what aerostack-config renders.
    pub(crate) fn colour(&self) -> Colour {
        if self.terminal.paint().is_coloured() { Colour::Always } else { Colour::Never }
    }

    /// Loads a version of a worker in place of the one that runs, if any. What fails is printed.
    pub(crate) async fn load_version(
        &mut self,
        worker: &aerostack_config::Worker,
        running: Option<Arc<Worker>>,
    ) -> Result<(), AlreadyPrinted> {
        let built = match self.project.build(worker) {
            Ok(built) => built,
            Err(error) => {
                self.broken_files.extend(error.files());
                return Err(self.print_build_error(&error));
            }
        };
        self.print_migrated(&built.migrated);
        self.warn_once(built.warnings);
        let version = built.version.clone();
        let loaded = match running {
            Some(running) => running.replace(built.version, self.face.isolates).await,
            None => Worker::start(built.version, self.face.isolates).await.map(|started| {
                self.workers.insert(worker.name.clone(), Arc::new(started));
            }),
        };
        loaded.map_err(|error| {
            self.broken_files.extend(version.graph.files().map(Path::to_path_buf));
            self.print_load_error(&error, &version)
        })?;
        self.take_over(worker)
    }

    /// Lets the worker's triggers fire and its queues be consumed, as its config now says.
    fn take_over(&mut self, config: &aerostack_config::Worker) -> Result<(), AlreadyPrinted> {
        let Some(worker) = self.workers.get(&config.name) else { return Ok(()) };
        let queues = self.project.queues();
        let consumers = self.config.workers.iter().flat_map(|worker| &worker.consumers);
        let configured: Vec<ResourceName> = consumers.map(|consumer| consumer.queue.clone()).collect();
        let taken = self.background.loaded(config, worker, &configured, &queues);
        taken.map_err(|error| self.print_build_error(&BuildError::Binding(error.into())))
    }

    /// Uses another config from now on; nothing is loaded yet.
    pub(crate) fn take_config(&mut self, config: Config) {
        hide_secrets(&self.terminal, &config);
        self.config = config;
    }

    /// Forgets workers that the config has no more.
    pub(crate) fn keep_configured(&mut self) {
        let names: HashSet<&str> = self.config.workers.iter().map(|worker| worker.name.as_str()).collect();
        self.workers.retain(|name, _| names.contains(name.as_str()));
        self.background.keep_only(|name| names.contains(name));
    }

    /// Where the workers are mounted.
    pub(crate) fn routes(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        for config in &self.config.workers {
            let Some(worker) = self.workers.get(&config.name).cloned() else { continue };
            match &config.route {
                Some(route) => routes.push(Route {
                    prefix: route.prefix.clone(),
                    reach: match route.reach {
                        aerostack_config::RouteReach::Exact => RouteReach::Exact,
                        aerostack_config::RouteReach::Below => RouteReach::Tree,
                    },
                    replacement: route.replacement.clone(),
                    worker,
                }),
                None if config.role == WorkerRole::Main => {
                    let (prefix, replacement) = (String::new(), String::new());
                    routes.push(Route { prefix, reach: RouteReach::Tree, replacement, worker });
                }
                None => {}
            }
        }
        routes
    }

    /// Whose word about the client counts.
    pub(crate) fn trusted_proxies(&self) -> TrustedProxies {
        self.config.server.trusted_proxies.clone().map(TrustedProxies::listed).unwrap_or_default()
    }

    /// What clients may do where the process may open so many files: of several workers' limits the largest.
    pub(crate) fn client_limits(&self, descriptors: u64) -> ClientLimits {
        let limits = || self.config.workers.iter().map(|worker| &worker.limits);
        let defaults = Limits::default();
        let body_mb = limits().map(|limits| limits.request_body_mb).max().unwrap_or(defaults.request_body_mb);
        let wanted = limits().map(|limits| limits.connections).max().unwrap_or(defaults.connections);
        let connections = descriptors::connections(wanted, descriptors);
        if connections < wanted {
            self.terminal.line(format!(
                "only {connections} connections at once, not {wanted}: the process may open {descriptors} files (`ulimit -Hn`)"
            ));
        }
        ClientLimits {
            body_bytes: body_mb.saturating_mul(1024 * 1024),
            connections: usize::try_from(connections).unwrap_or(usize::MAX),
            ..ClientLimits::default()
        }
    }

    /// Lets begun work end, counting down in sight; a second signal stops at once.
    pub(crate) async fn drain(&self, server: &Server) {
        let drained = async {
            tokio::join!(server.shut_down(), self.background.stop(DRAIN));
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
                // Gives leased messages back, so that the next start need not wait for their leases to run out.
                self.background.stop(Duration::ZERO).await;
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

    fn print_build_error(&self, error: &BuildError) -> AlreadyPrinted {
        self.terminal.say(Level::Error, error.render(frame_style(&self.terminal)));
        AlreadyPrinted
    }

    fn print_load_error(&self, error: &LoadError, version: &WorkerVersion) -> AlreadyPrinted {
        match error {
            LoadError::Exception(exception) => {
                let report = ErrorReport::new(exception, version);
                if report.frames.is_empty() {
                    // Nothing of the worker's own threw: the module as a whole is wrong, for example empty.
                    let file = version.display_path(&version.graph.main).unwrap_or_default();
                    let frame = CodeFrame { message: &report.message, file: &file, place: None, hint: report.hint() };
                    self.terminal.say(Level::Error, render_code_frame(&frame, frame_style(&self.terminal)));
                } else {
                    self.terminal.print(self.terminal.formatted(
                        |paint| exception_text(paint, None, exception, version),
                        || exception_entry(None, exception, &version.name, Some(version)),
                    ));
                }
            }
            _ => self.terminal.error(&error.to_string()),
        }
        AlreadyPrinted
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
