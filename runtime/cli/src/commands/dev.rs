//! `aerostack dev`: serve the project in this folder and reload it on every save.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aerostack_bindings::{BindingInfo, BindingState};
use aerostack_config::{Colour, Config, ProcessEnvironment, ResourceName, WorkerRole};
use aerostack_isolate::{ErrorReport, LoadError, Worker, WorkerVersion};
use aerostack_modules::{CodeFrame, render_code_frame};
use aerostack_queue::NamedQueue;
use aerostack_server::{ClientLimits, Route, RouteReach, Server, ServerOptions};
use aerostack_telemetry::metrics::Metrics;
use aerostack_telemetry::otlp::{Exporter, OtlpSettings};
use aerostack_telemetry::{Entry, Level, LogFormat, Role, Terminal};
use aerostack_trace::Tracer;
use anyhow::{Context as _, bail};

use crate::background::{Background, ConsumedQueues};
use crate::commands::{AlreadyPrinted, ProjectArguments, paint};
use crate::listen::{self, Bound, DEFAULT_PORT, Port};
use crate::logs::{RequestLines, exception_entry, exception_text, milliseconds};
use crate::project::{BuildError, Built, Project, frame_style, unserved_sections};
use crate::status::ProcessStatus;
use crate::watch::FileWatcher;

const ENVIRONMENT: &str = "\
Environment:
  AEROSTACK_LOG                 which of the runtime's own events are logged: warn, or for example debug
  AEROSTACK_LOG_FORMAT          text or json, where --log-format does not say
  OTEL_EXPORTER_OTLP_ENDPOINT   exports traces to this collector (http/json); its other standard variables count too

Seen from outside: GET /_aerostack/health, /_aerostack/ready, /_aerostack/metrics";

/// `aerostack dev`
#[derive(clap::Args)]
#[command(after_help = ENVIRONMENT)]
pub(crate) struct Arguments {
    /// Port to listen on; when it is taken, dev stops. Without it: 8788, or the next free one
    #[arg(long, short)]
    port: Option<u16>,
    /// Address to listen on: loopback, unless others may reach this machine
    #[arg(long)]
    host: Option<IpAddr>,
    /// How the log is written: text for people, json for programs, one object a line. Without it: what AEROSTACK_LOG_FORMAT says,
    /// else text
    #[arg(long, value_name = "text|json")]
    log_format: Option<LogFormat>,
    #[command(flatten)]
    project: ProjectArguments,
}

/// How long work that was begun may go on after Ctrl-C.
const DRAIN: Duration = Duration::from_secs(30);

/// How long the last spans may take to reach their collector.
const LAST_SPANS: Duration = Duration::from_secs(3);

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    // Before any other thread: see `initialise`.
    aerostack_isolate::initialise();
    let (config, state_folder) = arguments.project.open()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(serve(arguments, config, &state_folder, started))
}

async fn serve(arguments: &Arguments, config: Config, state_folder: &Path, started: Instant) -> anyhow::Result<()> {
    let terminal = Terminal::start(log_format(arguments)?, paint());
    let filter = std::env::var("AEROSTACK_LOG").unwrap_or_else(|_| "warn".to_owned());
    aerostack_telemetry::install_tracing(&terminal, &filter);
    let environment = ProcessEnvironment::new()?;
    let bound = bind(arguments, &config)?;
    let consumed = Arc::new(ConsumedQueues::default());
    let (asked, asking) = (consumed.clone(), terminal.clone());
    let sent = Arc::new(move |queue: &NamedQueue| asked.sent(queue, &asking));
    let metrics = Metrics::new(VERSION);
    let exporter = start_export(&metrics, &terminal)?;
    let tracer = exporter.clone().map_or_else(Tracer::off, |exporter| Tracer::new(exporter));
    let mut project = Project::new(state_folder, terminal.clone(), metrics.clone(), tracer.clone(), sent);
    let status = ProcessStatus::new(metrics.clone(), project.queues());
    let mut dev = Dev {
        project,
        background: Background::new(&terminal, metrics.clone(), state_folder, consumed),
        workers: HashMap::new(),
        config,
        config_path: arguments.project.config.clone(),
        terminal: terminal.clone(),
        broken_files: Vec::new(),
        environment,
    };
    let Ok(bindings) = dev.start_all().await else {
        terminal.flush();
        return Err(AlreadyPrinted.into());
    };

    status.serves(dev.served());
    let address = bound.address;
    let server = Server::start(
        bound.listener,
        ServerOptions {
            routes: dev.routes(),
            limits: ClientLimits { body_bytes: dev.largest_body(), ..ClientLimits::default() },
            log: RequestLines::new(terminal.clone()),
            triggers: dev.background.clone(),
            admin_hosts: Vec::new(),
            status: status.clone(),
            metrics,
            tracer,
        },
    );
    // Before the ready line: a save right after it must not be missed.
    let mut watcher = FileWatcher::new()?;
    watcher.watch(dev.watched_files());
    dev.print_ready(address, bound.taken, &bindings, started.elapsed());

    let mut stop = std::pin::pin!(stop_requested());
    loop {
        tokio::select! {
            changed = watcher.changed() => {
                dev.reload(&changed).await;
                server.set_routes(dev.routes());
                status.serves(dev.served());
                watcher.watch(dev.watched_files());
            }
            () = stop.as_mut() => break,
        }
    }
    drain(&dev, &server).await;
    if let Some(exporter) = exporter {
        exporter.flush(LAST_SPANS).await;
    }
    terminal.flush();
    Ok(())
}

/// The running project.
struct Dev {
    project: Project,
    background: Arc<Background>,
    workers: HashMap<String, Arc<Worker>>,
    config: Config,
    config_path: Option<PathBuf>,
    terminal: Terminal,
    /// Files of versions that could not be loaded: a change of one may mend it.
    broken_files: Vec<PathBuf>,
    environment: ProcessEnvironment,
}

impl Dev {
    /// Loads every worker. What fails is printed; the bindings of each worker come back.
    async fn start_all(&mut self) -> Result<Vec<(String, Vec<BindingInfo>)>, AlreadyPrinted> {
        for section in unserved_sections(&self.config) {
            self.terminal.warn(&format!("{section} is in the config, and not served by this version yet"));
        }
        let mut all = Vec::new();
        for worker in self.config.workers.clone() {
            let Built { version, bindings, migrated } = match self.project.build(&worker) {
                Ok(built) => built,
                Err(error) => return Err(self.print_build_error(&error)),
            };
            self.print_migrated(&migrated);
            match Worker::start(version.clone(), 1).await {
                Ok(started) => self.workers.insert(worker.name.clone(), Arc::new(started)),
                Err(error) => return Err(self.print_load_error(&error, &version)),
            };
            self.take_over(&worker)?;
            all.push((worker.name, bindings));
        }
        Ok(all)
    }

    /// Loads what changed. Whatever fails is printed, and the last good version goes on.
    async fn reload(&mut self, changed: &BTreeSet<PathBuf>) {
        let started = Instant::now();
        let first = changed.iter().next().map(|path| self.display(path)).unwrap_or_default();
        let config_changed = changed.iter().any(|path| self.config.watched_files.contains(path));
        if config_changed && !self.reload_config() {
            return;
        }
        self.broken_files.clear();
        let mut reloaded = Vec::new();
        let mut failed = false;
        for worker in self.config.workers.clone() {
            let running = self.workers.get(&worker.name).cloned();
            let concerned = running.as_ref().is_none_or(|running| {
                let version = running.version();
                version.graph.files().any(|file| changed.contains(file))
            });
            let migrates = worker
                .bindings
                .databases
                .iter()
                .any(|database| changed.iter().any(|path| path.starts_with(&database.migrations_dir)));
            // A version that did not load has files the running one does not know: anything may have mended it.
            if !config_changed && !concerned && !migrates && !changed.iter().any(|path| path.starts_with(&worker.root))
            {
                continue;
            }
            match self.load_version(&worker, running).await {
                Ok(()) => reloaded.push(worker.name.clone()),
                Err(AlreadyPrinted) => failed = true,
            }
        }
        let names: BTreeSet<&str> = self.config.workers.iter().map(|worker| worker.name.as_str()).collect();
        self.workers.retain(|name, _| names.contains(name.as_str()));
        self.background.keep_only(|name| names.contains(name));
        if failed {
            let tilde = self.terminal.paint().paint(Role::Bad, "~");
            let text = format!("{tilde} {first}: not reloaded, the last good version goes on");
            self.terminal.say(Level::Error, text);
        } else if !reloaded.is_empty() {
            self.terminal.line(format!(
                "{} {first} -> reloaded in {}",
                self.terminal.paint().paint(Role::Good, "~"),
                milliseconds(started.elapsed())
            ));
        }
    }

    async fn load_version(
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
        let version = built.version.clone();
        let loaded = match running {
            Some(running) => running.replace(built.version, 1).await,
            None => Worker::start(built.version, 1).await.map(|started| {
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

    /// False when the new config is wrong; it is printed, and the old one stays.
    fn reload_config(&mut self) -> bool {
        let located = aerostack_config::locate(Path::new("."), self.config_path.as_deref(), &self.environment);
        match located.and_then(|path| aerostack_config::load(&path, None, &self.environment)) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    self.terminal.say(Level::Warn, warning.render(self.colour()));
                }
                self.config = loaded.config;
                true
            }
            Err(errors) => {
                self.terminal.say(Level::Error, errors.render(self.colour()));
                self.terminal.line("the last good config goes on");
                false
            }
        }
    }

    fn routes(&self) -> Vec<Route> {
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

    /// Every worker of the config, with what runs of it.
    fn served(&self) -> Vec<(String, Option<Arc<Worker>>)> {
        let of_config = self.config.workers.iter();
        of_config.map(|worker| (worker.name.clone(), self.workers.get(&worker.name).cloned())).collect()
    }

    fn watched_files(&self) -> Vec<PathBuf> {
        let mut files = self.config.watched_files.clone();
        files.extend(self.broken_files.iter().cloned());
        for worker in &self.config.workers {
            files.extend(worker.bindings.databases.iter().map(|database| database.migrations_dir.clone()));
        }
        for worker in self.workers.values() {
            files.extend(worker.version().graph.files().map(Path::to_path_buf));
        }
        files
    }

    fn largest_body(&self) -> u64 {
        let largest = self.config.workers.iter().map(|worker| worker.limits.request_body_mb).max().unwrap_or(100);
        largest.saturating_mul(1024 * 1024)
    }

    fn display(&self, path: &Path) -> String {
        path.strip_prefix(&self.config.root).unwrap_or(path).display().to_string()
    }

    fn print_migrated(&self, migrated: &[String]) {
        for name in migrated {
            self.terminal.line(format!("applied migration {name}"));
        }
    }

    fn print_build_error(&self, error: &BuildError) -> AlreadyPrinted {
        self.terminal.say(Level::Error, error.render(frame_style(&self.terminal)));
        AlreadyPrinted
    }

    /// Of what aerostack-config renders.
    fn colour(&self) -> Colour {
        if self.terminal.paint().is_coloured() { Colour::Always } else { Colour::Never }
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

    fn print_ready(
        &self,
        address: std::net::SocketAddr,
        taken: Option<u16>,
        bindings: &[(String, Vec<BindingInfo>)],
        took: Duration,
    ) {
        let paint = self.terminal.paint();
        for (worker, bindings) in bindings {
            let route = self.config.worker(worker).and_then(|worker| worker.route.as_ref());
            let place = route.map_or(String::new(), |route| format!("  {}", route.pattern));
            let mut table = format!("{}{}", paint.paint(Role::Strong, worker), paint.paint(Role::Quiet, &place));
            for info in bindings {
                let state = match &info.state {
                    BindingState::Ready => paint.paint(Role::Good, "ready"),
                    BindingState::Lazy => paint.paint(Role::Quiet, "at first use"),
                    BindingState::Failed(reason) => paint.paint(Role::Bad, &format!("failed: {reason}")),
                };
                let summary = info.summary.replace(&format!("{}/", self.config.root.display()), "");
                let _ =
                    write!(table, "\n  {:<12} {:<10} {:<8} {summary:<48} {state}", info.name, info.kind, info.driver);
            }
            let config = self.config.worker(worker);
            for [name, kind, what, then] in config.map_or_else(Vec::new, |config| self.background.described(config)) {
                let _ = write!(table, "\n  {name:<12} {kind:<19} {what:<48} {}", paint.paint(Role::Quiet, &then));
            }
            self.terminal.print(self.terminal.formatted(|_| table, || start_entry(worker, bindings)));
        }
        if let Some(taken) = taken {
            self.terminal.line(format!("port {taken} is in use by another program, took the next free one"));
        }
        let url = format!("http://{}", display_address(address));
        let took = format!("in {}", milliseconds(took));
        self.terminal.line(format!(
            "{} {} {}",
            paint.paint(Role::Good, "ready"),
            paint.paint(Role::Strong, &url),
            paint.paint(Role::Quiet, &took)
        ));
    }
}

/// What the flag says, else the environment.
fn log_format(arguments: &Arguments) -> anyhow::Result<LogFormat> {
    const VARIABLE: &str = "AEROSTACK_LOG_FORMAT";
    if let Some(format) = arguments.log_format {
        return Ok(format);
    }
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse().map_err(|problem| anyhow::anyhow!("{VARIABLE}: {problem}")),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(LogFormat::Text),
        Err(error @ std::env::VarError::NotUnicode(_)) => bail!("{VARIABLE}: {error}"),
    }
}

/// Exports spans where the standard variables of OpenTelemetry name a collector.
fn start_export(metrics: &Metrics, terminal: &Terminal) -> anyhow::Result<Option<Arc<Exporter>>> {
    let Some(settings) = OtlpSettings::read(|name| std::env::var(name).ok(), VERSION)? else { return Ok(None) };
    terminal.line(format!("traces go to {}", settings.shown_endpoint()));
    Ok(Some(Exporter::start(settings, VERSION, metrics.spans().clone())?))
}

/// What a program reads of a worker at the start: its bindings.
fn start_entry(worker: &str, bindings: &[BindingInfo]) -> Entry {
    let binding = |info: &BindingInfo| {
        let state = match &info.state {
            BindingState::Ready => "ready".to_owned(),
            BindingState::Lazy => "at first use".to_owned(),
            BindingState::Failed(reason) => format!("failed: {reason}"),
        };
        serde_json::json!({
            "name": info.name, "kind": info.kind, "driver": info.driver, "where": info.summary, "state": state,
        })
    };
    let bindings: Vec<serde_json::Value> = bindings.iter().map(binding).collect();
    Entry::new(Level::Info, format!("loaded {worker}")).worker(worker).field("bindings", bindings)
}

fn bind(arguments: &Arguments, config: &Config) -> anyhow::Result<Bound> {
    let ip = arguments.host.unwrap_or(config.dev.ip);
    let port = match (arguments.port, config.dev.port) {
        (Some(port), _) => Port::Exactly(port),
        (None, Some(port)) => Port::FirstFreeFrom(port),
        (None, None) => Port::FirstFreeFrom(DEFAULT_PORT),
    };
    listen::bind(ip, port)
}

/// What a person types into a browser: loopback has a name.
fn display_address(address: std::net::SocketAddr) -> String {
    if address.ip() == IpAddr::from([127, 0, 0, 1]) {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// Ctrl-C, or the polite signal of a supervisor.
async fn stop_requested() {
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

/// Lets begun work end, counting down in sight; a second Ctrl-C stops at once.
async fn drain(dev: &Dev, server: &Server) {
    let drained = async {
        tokio::join!(server.shut_down(), dev.background.stop(DRAIN));
        for worker in dev.workers.values() {
            worker.drain().await;
        }
    };
    let mut shown = 0;
    let counted = async {
        loop {
            let in_flight = server.in_flight();
            if in_flight != shown {
                shown = in_flight;
                dev.terminal.line(format!("draining: {in_flight} still in flight (Ctrl-C again to stop now)"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = counted => {}
        () = stop_requested() => {
            dev.terminal.line("stopped before everything was done");
            // Gives leased messages back, so that the next start need not wait for their leases to run out.
            dev.background.stop(Duration::ZERO).await;
        }
        () = tokio::time::sleep(DRAIN + Duration::from_secs(3)) => {
            dev.terminal.line(format!("stopped after {} s of draining", DRAIN.as_secs()));
        },
    }
}
