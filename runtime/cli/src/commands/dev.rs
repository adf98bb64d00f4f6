//! `aerostack dev`: serve the project in this folder and reload it on every save.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use aerostack_config::{Config, ProcessEnvironment};
use aerostack_server::{ErrorDetail, Server, ServerOptions};
use aerostack_telemetry::{Level, Role};
use anyhow::Context as _;

use crate::commands::{AlreadyPrinted, ProjectArguments};
use crate::descriptors;
use crate::listen::{self, Bound, DEFAULT_PORT, Port};
use crate::logs::{AnsweredRequests, RequestLines, milliseconds};
use crate::observed::{ENVIRONMENT, Observed, ObservedArguments};
use crate::running::{Face, Running, stop_requested};
use crate::start_over::{self, End, StartOver};
use crate::start_table::{print_ready, print_table};
use crate::watch::FileWatcher;

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
    #[command(flatten)]
    observed: ObservedArguments,
    #[command(flatten)]
    project: ProjectArguments,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    // Before any other thread: see `initialise`.
    aerostack_isolate::initialise();
    let (config, state_folder) = arguments.project.open()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(serve(arguments, config, &state_folder, started))
}

async fn serve(arguments: &Arguments, config: Config, state_folder: &Path, started: Instant) -> anyhow::Result<()> {
    let observed = Observed::start(&arguments.observed)?;
    let environment = ProcessEnvironment::new()?;
    let descriptors = descriptors::raise_limit().context("cannot raise the limit of open files")?;
    let bound = bind(arguments, &config)?;
    let start_over = StartOver::with(&bound.listener)?;
    let running = Running::new(Face::DEV, config, state_folder, &observed);
    let mut dev = Dev { running, config_path: arguments.project.config.clone(), environment };
    let terminal = dev.running.terminal.clone();
    let Ok(loaded) = dev.running.start_all().await else {
        terminal.flush();
        return Err(AlreadyPrinted.into());
    };

    let address = bound.address;
    let server = Server::start(
        bound.listener,
        ServerOptions {
            routes: dev.running.routes(),
            limits: dev.running.client_limits(descriptors),
            log: RequestLines::new(terminal.clone(), AnsweredRequests::Shown),
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
    let mut watcher = FileWatcher::new()?;
    watcher.watch(dev.watched_files());
    print_table(&dev.running, &loaded);
    if let Some(taken) = bound.taken {
        terminal.line(format!("port {taken} is in use by another program, took the next free one"));
    }
    print_ready(&dev.running, address, started.elapsed());

    let mut stop = std::pin::pin!(stop_requested());
    let mut lost = std::pin::pin!(aerostack_isolate::too_much_lost());
    let end = loop {
        tokio::select! {
            changed = watcher.changed() => {
                dev.reload(&changed).await;
                server.set_routes(dev.running.routes());
                server.set_trusted_proxies(dev.running.trusted_proxies());
                dev.running.note_served();
                watcher.watch(dev.watched_files());
            }
            () = stop.as_mut() => break End::Stop,
            lost = lost.as_mut() => break start_over::drain(&dev.running, &server, lost).await,
        }
    };
    if end == End::Stop {
        dev.running.drain(&server).await;
    }
    observed.end().await;
    end.carry_out(start_over)
}

/// A running project that follows its files.
struct Dev {
    running: Running,
    config_path: Option<PathBuf>,
    environment: ProcessEnvironment,
}

impl Dev {
    /// Loads what changed. Whatever fails is printed, and the last good version goes on.
    async fn reload(&mut self, changed: &BTreeSet<PathBuf>) {
        let started = Instant::now();
        let first = changed.iter().next().map(|path| self.display(path)).unwrap_or_default();
        let config_changed = changed.iter().any(|path| self.running.config.watched_files.contains(path));
        if config_changed && !self.reload_config() {
            return;
        }
        self.running.broken_files.clear();
        let mut reloaded = Vec::new();
        let mut failed = false;
        for worker in self.running.config.workers.clone() {
            let running = self.running.workers.get(&worker.name).cloned();
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
            match self.running.load_version(&worker, running).await {
                Ok(()) => reloaded.push(worker.name.clone()),
                Err(AlreadyPrinted) => failed = true,
            }
        }
        self.running.keep_configured();
        if failed {
            let tilde = self.running.terminal.paint().paint(Role::Bad, "~");
            let text = format!("{tilde} {first}: not reloaded, the last good version goes on");
            self.running.terminal.say(Level::Error, text);
        } else if !reloaded.is_empty() {
            self.running.terminal.line(format!(
                "{} {first} -> reloaded in {}",
                self.running.terminal.paint().paint(Role::Good, "~"),
                milliseconds(started.elapsed())
            ));
        }
    }

    /// False when the new config is wrong; it is printed, and the old one stays.
    fn reload_config(&mut self) -> bool {
        let located = aerostack_config::locate(Path::new("."), self.config_path.as_deref(), &self.environment);
        match located.and_then(|path| aerostack_config::load(&path, None, &self.environment)) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    self.running.terminal.say(Level::Warn, warning.render(self.running.colour()));
                }
                self.running.take_config(loaded.config);
                true
            }
            Err(errors) => {
                self.running.terminal.say(Level::Error, errors.render(self.running.colour()));
                self.running.terminal.line("the last good config goes on");
                false
            }
        }
    }

    fn watched_files(&self) -> Vec<PathBuf> {
        let mut files = self.running.config.watched_files.clone();
        files.extend(self.running.broken_files.iter().cloned());
        for worker in &self.running.config.workers {
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

fn bind(arguments: &Arguments, config: &Config) -> anyhow::Result<Bound> {
    let ip = arguments.host.unwrap_or(config.dev.ip);
    let port = match (arguments.port, config.dev.port) {
        (Some(port), _) => Port::Exactly(port),
        (None, Some(port)) => Port::FirstFreeFrom(port),
        (None, None) => Port::FirstFreeFrom(DEFAULT_PORT),
    };
    listen::bind(ip, port)
}
