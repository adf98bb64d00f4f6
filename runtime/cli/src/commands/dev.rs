//! `aerostack dev`: serve the project in this folder and reload it on every save.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use aerostack_config::{Colour, Config, Dev as DevConfig, Loaded, ValueSources};
use aerostack_server::{ErrorDetail, Server, ServerOptions, refuse_all};
use aerostack_telemetry::{Level, Role, Terminal};
use anyhow::Context as _;

use crate::commands::{AlreadyPrinted, ConfigSource, LoadFailure, ProjectArguments, counted};
use crate::descriptors;
use crate::listen::{self, Bound, DEFAULT_PORT, Port, address};
use crate::logs::{AnsweredRequests, RequestLines, milliseconds};
use crate::observed::{ENVIRONMENT, Observed, ObservedArguments};
use crate::running::{Face, Running, colour_of, connection_limits, stop_requested};
use crate::start_over::{self, End, StartOver};
use crate::start_table::{print_not_ready, print_ready, print_table};
use crate::state::StateWatch;
use crate::watch::FileWatcher;

/// `aerostack dev`
#[derive(clap::Args)]
#[command(after_help = ENVIRONMENT)]
pub(crate) struct Arguments {
    /// Port to listen on; exits if it is taken [default: 8788, or the next free port]
    #[arg(long, short)]
    port: Option<u16>,
    /// Address to listen on: an IP address, localhost, or * for all addresses of this machine [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    host: Option<IpAddr>,
    #[command(flatten)]
    observed: ObservedArguments,
    #[command(flatten)]
    project: ProjectArguments,
}

/// How often the files of open drivers are looked at.
const STATE_CHECK: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    // Before any other thread: see `initialise`.
    aerostack_isolate::initialise();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(serve(arguments, started))
}

async fn serve(arguments: &Arguments, started: Instant) -> anyhow::Result<()> {
    let source = arguments.project.config.source(ValueSources::default())?;
    let observed = Observed::start(&arguments.observed)?;
    let descriptors = descriptors::raise_limit().context("cannot raise the limit of open files")?;
    let terminal = observed.terminal.clone();
    let mut watcher = FileWatcher::new(source.root());
    let mut stop = std::pin::pin!(stop_requested());
    let begun = tokio::select! {
        // Listens for signals before anything is said.
        biased;
        () = stop.as_mut() => {
            observed.end().await;
            return Ok(());
        }
        begun = begin(arguments, &source, &mut watcher, &terminal) => begun,
    };
    let begun = begun.inspect_err(|_| terminal.flush())?;
    let Begun { config, bound: Bound { listener, address, taken }, read_since } = begun;
    let start_over = StartOver::with(&listener)?;
    let state_folder = arguments.project.state_folder(&config)?;
    let running = Running::new(Face::DEV, config, &state_folder, &observed);
    let mut dev = Dev {
        runs_with: running.config.clone(),
        running,
        arguments,
        source,
        config_files: BTreeSet::new(),
        state: StateWatch::default(),
        address,
        is_ready: false,
    };
    if let Some(taken) = taken {
        terminal.line(format!("port {taken} is in use, using {}", address.port()));
    }
    // What fails is printed, and may be fixed while the server says so.
    let _ = dev.running.start_all().await;
    let server = Server::start(
        listener,
        ServerOptions {
            routes: dev.running.routes(),
            broken: dev.running.broken_mounts(),
            limits: dev.running.client_limits(descriptors),
            log: RequestLines::new(terminal.output(), AnsweredRequests::Shown),
            triggers: Some(dev.running.background.clone()),
            admin_hosts: Vec::new(),
            trusted_proxies: dev.running.trusted_proxies(),
            breaches: dev.running.breaches.clone(),
            errors: ErrorDetail::Shown(terminal.redaction().clone()),
            status: dev.running.status.clone(),
            metrics: observed.metrics.clone(),
            tracer: observed.tracer.clone(),
        },
    );
    // Before the ready line: a save right after it must not be missed.
    watch(&mut watcher, dev.watched_files(), read_since, &terminal);
    dev.announce(started);
    let mut state_check = tokio::time::interval(STATE_CHECK);
    state_check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut lost = std::pin::pin!(aerostack_isolate::too_much_lost());
    let end = loop {
        let read_since = tokio::select! {
            changed = watcher.changed() => {
                let read_since = SystemTime::now();
                dev.reload(&changed, &server).await;
                read_since
            }
            _ = state_check.tick() => {
                let read_since = SystemTime::now();
                if !dev.replace_lost_state(&server).await {
                    continue;
                }
                read_since
            }
            () = stop.as_mut() => break End::Stop,
            lost = lost.as_mut() => break start_over::drain(&dev.running, &server, lost).await,
        };
        watch(&mut watcher, dev.watched_files(), read_since, &terminal);
    };
    start_over.end(end, dev.running.drain(&server), observed.end()).await
}

/// What `dev` starts with.
struct Begun {
    config: Config,
    bound: Bound,
    /// Since when files were read.
    read_since: SystemTime,
}

/// Reads the config and binds the port. Where the config cannot be used, says so on the terminal and to every client, and waits until it can.
async fn begin(
    arguments: &Arguments,
    source: &ConfigSource,
    watcher: &mut FileWatcher,
    terminal: &Terminal,
) -> anyhow::Result<Begun> {
    let mut meanwhile: Option<((IpAddr, Port), Bound)> = None;
    loop {
        let read_since = SystemTime::now();
        let failure = match source.load() {
            Ok(Loaded { config, warnings }) => {
                for warning in &warnings {
                    terminal.say(Level::Warn, warning.render(colour_of(terminal)));
                }
                let wanted = place(arguments, Some(&config.dev));
                let is_first = meanwhile.is_none();
                // One that listens elsewhere is closed before the port is bound.
                let bound = match meanwhile.take().filter(|(place, _)| *place == wanted) {
                    Some((_, bound)) => bound,
                    None if is_first => listen::bind(wanted.0, wanted.1)?,
                    None => listen::bind_anew(wanted.0, wanted.1)?,
                };
                return Ok(Begun { config, bound, read_since });
            }
            Err(failure) => failure,
        };
        let LoadFailure { errors, files } = failure;
        terminal.say(Level::Error, errors.render(colour_of(terminal)));
        let bound = if let Some((_, bound)) = &mut meanwhile {
            bound
        } else {
            let place = place(arguments, None);
            &mut meanwhile.insert((place, listen::bind(place.0, place.1)?)).1
        };
        print_not_ready(terminal, bound.address, "answers with this error: fix the config and save it");
        watch(watcher, files, read_since, terminal);
        let text = errors.render(Colour::Never);
        tokio::select! {
            _ = watcher.changed() => {}
            never = refuse_all(&bound.listener, &text) => match never {},
        }
    }
}

/// Where to listen.
fn place(arguments: &Arguments, config: Option<&DevConfig>) -> (IpAddr, Port) {
    let ip = arguments.host.or(config.map(|config| config.ip)).unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let port = match (arguments.port, config.and_then(|config| config.port)) {
        (Some(port), _) => Port::Exactly(port),
        (None, port) => Port::FirstFreeFrom(port.unwrap_or(DEFAULT_PORT)),
    };
    (ip, port)
}

fn watch(
    watcher: &mut FileWatcher,
    files: impl IntoIterator<Item = PathBuf>,
    read_since: SystemTime,
    terminal: &Terminal,
) {
    if let Some(warning) = watcher.watch(files, read_since) {
        terminal.warn(&warning);
    }
}

/// A running project that follows its files.
struct Dev<'a> {
    running: Running,
    arguments: &'a Arguments,
    source: ConfigSource,
    /// The config as it was at the start, for what only a restart changes.
    runs_with: Config,
    /// What was asked for when the config was read last and could not be used.
    config_files: BTreeSet<PathBuf>,
    state: StateWatch,
    address: SocketAddr,
    /// Whether the ready line was printed.
    is_ready: bool,
}

impl Dev<'_> {
    /// Prints the tables and the ready line once every worker runs, and before that what is missing.
    fn announce(&mut self, started: Instant) {
        if self.is_ready {
            return;
        }
        let unloaded = self.running.unloaded();
        if unloaded == 0 {
            print_table(&self.running);
            print_ready(&self.running, self.address, started.elapsed());
            self.is_ready = true;
            return;
        }
        let workers = counted(unloaded as u64, "worker");
        let what = format!("answers with the error above for {workers}: fix it and save");
        print_not_ready(&self.running.terminal, self.address, &what);
    }

    /// Loads what changed. Whatever fails is printed, and the last good version goes on.
    async fn reload(&mut self, changed: &BTreeSet<PathBuf>, server: &Server) {
        let started = Instant::now();
        let first = changed.iter().next().map(|path| self.display(path)).unwrap_or_default();
        let config_changed = changed
            .iter()
            .any(|path| self.running.config.watched_files.contains(path) || self.config_files.contains(path));
        if config_changed && !self.reload_config() {
            return;
        }
        self.running.broken_files.clear();
        let mut reloaded = Vec::new();
        let mut failed = false;
        for worker in self.running.config.workers.clone() {
            let running = self.running.workers.get(&worker.name);
            let concerned = running.is_none_or(|running| {
                let version = running.version();
                version.graph.files().any(|file| changed.contains(file))
            });
            let migrates = worker
                .bindings
                .databases
                .iter()
                .any(|database| changed.iter().any(|path| path.starts_with(&database.migrations_dir)));
            // A version that did not load has files the running one does not know: anything may have fixed it.
            if !config_changed && !concerned && !migrates && !changed.iter().any(|path| path.starts_with(&worker.root))
            {
                continue;
            }
            match self.running.load_version(&worker).await {
                Ok(()) => reloaded.push(worker.name.clone()),
                Err(AlreadyPrinted) => failed = true,
            }
        }
        self.running.keep_configured();
        self.mount(server);
        if failed {
            self.print_not_reloaded(&first);
        } else if !reloaded.is_empty() {
            self.running.terminal.line(format!(
                "{} {first} -> reloaded in {}",
                self.running.terminal.paint().paint(Role::Good, "~"),
                milliseconds(started.elapsed())
            ));
        }
        self.announce(started);
    }

    /// Serves what is loaded now: before it is said, because whoever reads it may ask at once.
    fn mount(&self, server: &Server) {
        server.set_routes(self.running.routes(), self.running.broken_mounts());
        server.set_trusted_proxies(self.running.trusted_proxies());
        self.running.note_served();
    }

    fn print_not_reloaded(&self, first: &str) {
        let tilde = self.running.terminal.paint().paint(Role::Bad, "~");
        let meanwhile = if self.running.unloaded() == 0 { ", still serving the last good version" } else { "" };
        self.running.terminal.say(Level::Error, format!("{tilde} {first}: not reloaded{meanwhile}"));
    }

    /// False when the new config is wrong; it is printed, and the old one stays.
    fn reload_config(&mut self) -> bool {
        let terminal = self.running.terminal.clone();
        match self.source.load() {
            Ok(Loaded { config, warnings }) => {
                for warning in &warnings {
                    terminal.say(Level::Warn, warning.render(colour_of(&terminal)));
                }
                for key in self.needs_restart(&config) {
                    terminal.warn(&format!("{key} has changed: restart aerostack dev to apply it"));
                }
                self.config_files.clear();
                self.running.take_config(config);
                true
            }
            Err(LoadFailure { errors, files }) => {
                terminal.say(Level::Error, errors.render(colour_of(&terminal)));
                terminal.line("keeping the last good config");
                self.config_files = files;
                false
            }
        }
    }

    /// Keys that have changed and only count at the start.
    fn needs_restart(&self, config: &Config) -> Vec<&'static str> {
        let (start, before, project) = (&self.runs_with, &self.running.config, &self.arguments.project);
        let port = |config: &Config| config.dev.port.unwrap_or(DEFAULT_PORT);
        let is_new = |differs: &dyn Fn(&Config) -> bool| differs(start) && differs(before);
        let mut keys = Vec::new();
        if self.arguments.port.is_none() && is_new(&|other| port(other) != port(config)) {
            keys.push("[dev] port");
        }
        if self.arguments.host.is_none() && is_new(&|other| other.dev.ip != config.dev.ip) {
            keys.push("[dev] ip");
        }
        if project.persist_to.is_none() && is_new(&|other| other.dev.persist_to != config.dev.persist_to) {
            keys.push("[dev] persist_to");
        }
        if is_new(&|other| connection_limits(other).connections != connection_limits(config).connections) {
            keys.push("[limits] connections");
        }
        if is_new(&|other| connection_limits(other).request_body_mb != connection_limits(config).request_body_mb) {
            keys.push("[limits] request_body_mb");
        }
        keys
    }

    /// Opens all state anew where some was removed or replaced. False where nothing was.
    async fn replace_lost_state(&mut self, server: &Server) -> bool {
        let Some(lost) = self.state.look(&self.running.project.opened_state()) else { return false };
        let started = Instant::now();
        let lost = self.display(&lost);
        self.running.terminal.warn(&format!("{lost} was removed or replaced: starting afresh"));
        self.state = StateWatch::default();
        let outcome = self.running.start_afresh().await;
        self.mount(server);
        match outcome {
            Ok(()) => self.running.terminal.line(format!(
                "{} {lost} -> started afresh in {}",
                self.running.terminal.paint().paint(Role::Good, "~"),
                milliseconds(started.elapsed())
            )),
            Err(AlreadyPrinted) => self.print_not_reloaded(&lost),
        }
        true
    }

    fn watched_files(&self) -> Vec<PathBuf> {
        let config = &self.running.config;
        let mut files = config.watched_files.clone();
        files.extend(self.config_files.iter().chain(&self.running.broken_files).cloned());
        for worker in &config.workers {
            files.push(worker.main.clone());
            files.extend(worker.bindings.databases.iter().map(|database| database.migrations_dir.clone()));
        }
        for worker in self.running.workers.values() {
            files.extend(worker.version().graph.files().map(Path::to_path_buf));
        }
        files
    }

    fn display(&self, path: &Path) -> String {
        path.strip_prefix(&self.running.config.root).unwrap_or(path).display().to_string()
    }
}
