//! `aerostack serve`: the same project as `dev`, in production.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use aerostack_config::{Config, Precedence, SecretPresence, ValueSources};
use aerostack_server::{ErrorDetail, Server, ServerOptions, Triggers};
use aerostack_telemetry::machine_memory;
use anyhow::{Context as _, bail};

use crate::commands::{AlreadyPrinted, ProjectArguments, counted, say};
use crate::descriptors;
use crate::listen::{self, DEFAULT_PORT, Port, address};
use crate::logs::{AnsweredRequests, RequestLines};
use crate::observed::{ENVIRONMENT, Observed, ObservedArguments};
use crate::running::{Face, Running, stop_requested};
use crate::start_over::{self, End, StartOver};
use crate::start_table::{print_ready, print_table};

/// `aerostack serve`
#[derive(clap::Args)]
#[command(after_help = help())]
pub(crate) struct Arguments {
    /// Port to listen on; exits if it is taken
    #[arg(long, short, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Address to listen on: an IP address, localhost, or * for all addresses of this machine
    #[arg(long, value_name = "ADDRESS", value_parser = address, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Isolates of each worker [default: one per core]
    #[arg(long, value_name = "COUNT")]
    isolates: Option<NonZeroUsize>,
    /// File of KEY=value lines to read in place of .dev.vars; environment variables take precedence
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Do not log requests; failures are still logged
    #[arg(long)]
    quiet: bool,
    /// Enable /cdn-cgi/handler/* and /__scheduled, which trigger event handlers manually
    #[arg(long)]
    trigger_routes: bool,
    /// Host name under which other machines may reach /_aerostack/*; repeatable [default: this machine only]
    #[arg(long, value_name = "NAME")]
    admin_host: Vec<String>,
    #[command(flatten)]
    observed: ObservedArguments,
    #[command(flatten)]
    project: ProjectArguments,
}

fn help() -> String {
    const TEXT: &str = "\
Uses the same config and state folder as aerostack dev; of [dev], only
persist_to is used. Migrations are not applied: run `aerostack db migrate
apply` first. Secrets come from the environment, then from --env-file (or
.dev.vars if it is not given); serve exits if a required one is missing.
SIGTERM and Ctrl-C let requests in progress finish; a second signal exits
immediately.

Example:
  aerostack serve --host 0.0.0.0 --port 80 --env-file /etc/shop/secrets";
    format!("{TEXT}\n\n{ENVIRONMENT}")
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    // Before any other thread: see `initialise`.
    aerostack_isolate::initialise();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(serve(arguments, started))
}

async fn serve(arguments: &Arguments, started: Instant) -> anyhow::Result<()> {
    let values = ValueSources { file: arguments.env_file.clone(), precedence: Precedence::ProcessEnvironment };
    let (config, state_folder) = arguments.project.open_with(values)?;
    refuse_absent_secrets(&config)?;
    let isolates = isolates(arguments.isolates, config.workers.len())?;
    let descriptors = descriptors::raise_limit().context("cannot raise the limit of open files")?;
    let bound = listen::bind(arguments.host, Port::Exactly(arguments.port))?;
    let start_over = StartOver::with(&bound.listener)?;
    let observed = Observed::start(&arguments.observed)?;
    let mut running = Running::new(Face::serve(isolates), config, &state_folder, &observed);
    let terminal = running.terminal.clone();
    if let Err(AlreadyPrinted) = running.start_all().await {
        terminal.flush();
        return Err(AlreadyPrinted.into());
    }
    let answered = if arguments.quiet { AnsweredRequests::Hidden } else { AnsweredRequests::Shown };
    let triggers = arguments.trigger_routes.then(|| running.background.clone() as Arc<dyn Triggers>);
    let server = Server::start(
        bound.listener,
        ServerOptions {
            routes: running.routes(),
            broken: Vec::new(),
            limits: running.client_limits(descriptors),
            log: RequestLines::new(terminal.output(), answered),
            triggers,
            admin_hosts: arguments.admin_host.clone(),
            trusted_proxies: running.trusted_proxies(),
            breaches: running.breaches.clone(),
            errors: ErrorDetail::Hidden,
            status: running.status.clone(),
            metrics: observed.metrics.clone(),
            tracer: observed.tracer.clone(),
        },
    );
    print_table(&running);
    print_ready(&running, bound.address, started.elapsed());
    let end = tokio::select! {
        () = stop_requested() => End::Stop,
        lost = aerostack_isolate::too_much_lost() => start_over::drain(&running, &server, lost).await,
    };
    start_over.end(end, running.drain(&server), observed.end()).await
}

/// A service that runs without a secret fails later, at the request that needs it.
fn refuse_absent_secrets(config: &Config) -> anyhow::Result<()> {
    let absent = config.required_secrets.iter().filter(|secret| secret.presence == SecretPresence::Absent);
    let names: Vec<&str> = absent.map(|secret| secret.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    bail!(
        "{} not set: {}\nhint: set them in the environment, or in the file that --env-file names",
        counted(names.len() as u64, "required secret"),
        names.join(", ")
    )
}

/// What an idle isolate of a small worker takes, as measured: heap, stack and code.
const IDLE_ISOLATE_BYTES: u64 = 3 * 1024 * 1024;

/// How many isolates each worker gets. Refuses more than fit into memory even while they are idle.
fn isolates(wanted: Option<NonZeroUsize>, workers: usize) -> anyhow::Result<usize> {
    let cores = std::thread::available_parallelism().context("cannot count the cores: use --isolates")?;
    let Some(wanted) = wanted else { return Ok(cores.get()) };
    let all = (wanted.get() as u64).saturating_mul(workers as u64);
    let needed = all.saturating_mul(IDLE_ISOLATE_BYTES);
    if let Some(total) = machine_memory::limit().filter(|total| needed > *total) {
        const MEBIBYTE: u64 = 1024 * 1024;
        bail!(
            "{} need at least {} MB of memory, and there are {} MB\nhint: one isolate per core is the default: leave out --isolates",
            counted(all, "isolate"),
            needed / MEBIBYTE,
            total / MEBIBYTE
        );
    }
    if wanted > cores {
        say(&format!(
            "starting {} on {}: more than one per core rarely helps",
            counted(all, "isolate"),
            counted(cores.get() as u64, "core")
        ));
    }
    Ok(wanted.get())
}
