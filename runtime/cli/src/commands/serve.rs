//! `aerostack serve`: the same project as `dev`, for others than its developer.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use aerostack_config::{Precedence, ValueSources};
use aerostack_server::{ErrorDetail, Server, ServerOptions, Triggers};
use anyhow::Context as _;

use crate::commands::{AlreadyPrinted, ProjectArguments};
use crate::descriptors;
use crate::listen::{self, DEFAULT_PORT, Port};
use crate::logs::{AnsweredRequests, RequestLines};
use crate::observed::{Observed, ObservedArguments};
use crate::running::{Face, Running, stop_requested};
use crate::start_over::{self, End, StartOver};
use crate::start_table::{print_ready, print_table};

/// `aerostack serve`
#[derive(clap::Args)]
#[command(after_help = "\
Same config and state folder as `aerostack dev`; its `[dev]` section counts for nothing but `persist_to`.
Migrations are not applied: run `aerostack db migrate apply` first.
A secret is taken from the environment, else from the file of --env-file, or of .dev.vars without one.
SIGTERM and Ctrl-C let begun requests end; a second signal stops at once.

Example:
  aerostack serve --host 0.0.0.0 --port 80 --env-file /etc/shop/secrets")]
pub(crate) struct Arguments {
    /// Port to listen on; when it is taken, serve stops
    #[arg(long, short, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Address to listen on: loopback, for a proxy on this machine, unless others may reach it
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Isolates of each worker; one a core by default
    #[arg(long, value_name = "COUNT")]
    isolates: Option<NonZeroUsize>,
    /// File of `KEY=value` lines to read in place of .dev.vars; variables of the environment beat it
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Print no line for each request; failures are printed all the same
    #[arg(long)]
    quiet: bool,
    /// Answer /cdn-cgi/handler/* and /__scheduled, which run event handlers by hand
    #[arg(long)]
    trigger_routes: bool,
    /// Name under which other machines may ask the admin routes /_aerostack/*; may be given more than once. Without it, only
    /// this machine may
    #[arg(long, value_name = "NAME")]
    admin_host: Vec<String>,
    #[command(flatten)]
    observed: ObservedArguments,
    #[command(flatten)]
    project: ProjectArguments,
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
    let isolates = match arguments.isolates {
        Some(isolates) => isolates,
        None => std::thread::available_parallelism().context("cannot count the cores: say --isolates")?,
    };
    let descriptors = descriptors::raise_limit().context("cannot raise the limit of open files")?;
    let bound = listen::bind(arguments.host, Port::Exactly(arguments.port))?;
    let start_over = StartOver::with(&bound.listener)?;
    let observed = Observed::start(&arguments.observed)?;
    let mut running = Running::new(Face::serve(isolates.get()), config, &state_folder, &observed);
    let terminal = running.terminal.clone();
    let Ok(loaded) = running.start_all().await else {
        terminal.flush();
        return Err(AlreadyPrinted.into());
    };
    let answered = if arguments.quiet { AnsweredRequests::Hidden } else { AnsweredRequests::Shown };
    let triggers = arguments.trigger_routes.then(|| running.background.clone() as Arc<dyn Triggers>);
    let server = Server::start(
        bound.listener,
        ServerOptions {
            routes: running.routes(),
            limits: running.client_limits(descriptors),
            log: RequestLines::new(terminal.clone(), answered),
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
    print_table(&running, &loaded);
    print_ready(&running, bound.address, started.elapsed());
    let end = tokio::select! {
        () = stop_requested() => End::Stop,
        lost = aerostack_isolate::too_much_lost() => start_over::drain(&running, &server, lost).await,
    };
    if end == End::Stop {
        running.drain(&server).await;
    }
    observed.end().await;
    end.carry_out(start_over)
}
