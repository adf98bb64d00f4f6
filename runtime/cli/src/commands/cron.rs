//! `aerostack cron`: the project's cron triggers from the command line.

use std::sync::Arc;
use std::time::Instant;

use aerostack_bindings::{Clock, SystemClock};
use aerostack_config::Worker as WorkerConfig;
use aerostack_cron::minute_text;
use aerostack_isolate::{Event, Worker};

use aerostack_telemetry::{LogFormat, Role, Terminal};
use anyhow::{Context as _, bail};

use crate::commands::choice::ResourceArguments;
use crate::commands::table::{self, Cell};
use crate::commands::{AlreadyPrinted, output, paint, say};
use crate::events::WorkerEvents;
use crate::logs::milliseconds;
use crate::observed::Observed;
use crate::project::{Project, frame_style};
use crate::running::{Face, hide_secrets};

/// `aerostack cron`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Run a worker's `scheduled` handler now
    Trigger(TriggerArguments),
    /// List the cron triggers, in words, with the next firing of each
    List(ListArguments),
}

/// `aerostack cron trigger`
#[derive(clap::Args)]
#[command(after_help = "\
The handler runs in this process, with the project's own bindings, whether or not `aerostack dev` runs too. A handler that
fails gives exit code 1.

Example:
  aerostack cron trigger '0 * * * *'")]
pub(crate) struct TriggerArguments {
    /// What the handler sees as `cron`; without it, the worker's first trigger
    #[arg(value_name = "CRON")]
    cron: Option<String>,
    /// What the handler sees as `scheduledTime`, in milliseconds since 1970; now without it
    #[arg(long, value_name = "MS")]
    time: Option<u64>,
    #[command(flatten)]
    resources: ResourceArguments,
}

/// `aerostack cron list`
#[derive(clap::Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    resources: ResourceArguments,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Trigger(arguments) => trigger(arguments),
        Command::List(arguments) => list(arguments),
    }
}

fn trigger(arguments: &TriggerArguments) -> anyhow::Result<()> {
    // Before any other thread: see `initialise`.
    aerostack_isolate::initialise();
    let project = arguments.resources.open()?;
    let all = project.workers()?;
    let with_triggers: Vec<&WorkerConfig> =
        all.iter().copied().filter(|worker| !worker.triggers.crons.is_empty()).collect();
    let config = match (with_triggers.as_slice(), all.as_slice()) {
        ([only], _) | ([], [only]) => *only,
        ([], _) => bail!("no worker has cron triggers; say which one to run with --worker"),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|worker| worker.name.as_str()).collect();
            bail!("say which worker with --worker: {}", names.join(", "));
        }
    };
    let first = config.triggers.crons.first().map(|cron| cron.value.text().clone());
    let cron: Arc<str> = arguments.cron.as_deref().map(Arc::from).or(first).unwrap_or_else(|| Arc::from(""));
    let scheduled_time_ms = arguments.time.unwrap_or_else(|| SystemClock.now_ms());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let terminal = Terminal::start(LogFormat::Text, paint());
    hide_secrets(&terminal, &project.config);
    let outcome = runtime.block_on(run_once(config, &project.state_folder, &terminal, cron, scheduled_time_ms));
    terminal.flush();
    outcome
}

async fn run_once(
    config: &WorkerConfig,
    state_folder: &std::path::Path,
    terminal: &Terminal,
    cron: Arc<str>,
    scheduled_time_ms: u64,
) -> anyhow::Result<()> {
    let observed = Observed::by_nobody(terminal.clone());
    let mut project = Project::new(state_folder, &observed, Arc::new(|_| {}), Face::DEV);
    let built = project.build(config).map_err(|error| {
        terminal.line(error.render(frame_style(terminal)));
        AlreadyPrinted
    })?;
    let worker = Arc::new(Worker::start(built.version, 1).await?);
    if !worker.handlers().scheduled {
        bail!("Handler does not export a scheduled() function.");
    }
    let started = Instant::now();
    let events = WorkerEvents::new(worker.clone(), terminal.clone());
    let (report, lines) = events.run(Event::Scheduled { cron: cron.clone(), scheduled_time_ms }).await;
    let (word, role) = if report.outcome.is_ok() { ("ok", Role::Good) } else { ("failed", Role::Bad) };
    let word = terminal.paint().paint(role, word);
    terminal.line(format!("cron {cron} {word} {}", milliseconds(started.elapsed())));
    for line in lines {
        terminal.line(line);
    }
    worker.drain().await;
    if report.outcome.is_err() {
        return Err(AlreadyPrinted.into());
    }
    Ok(())
}

fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let project = arguments.resources.open()?;
    let now = SystemClock.now_ms();
    let mut rows = Vec::new();
    for worker in project.workers()? {
        for cron in worker.triggers.crons.iter().map(|cron| &cron.value) {
            let next = cron.next_after(now).map_or_else(|| "never".to_owned(), minute_text);
            rows.push(vec![
                Cell::Text(worker.name.clone()),
                Cell::Text(cron.text().to_string()),
                Cell::Word(cron.describe()),
                Cell::Word(next),
            ]);
        }
    }
    if rows.is_empty() {
        say("no worker has cron triggers: [triggers] crons = [\"0 * * * *\"] in the config makes some");
        return Ok(());
    }
    output(&table::render(&["worker", "cron", "in words (UTC)", "next firing"], &rows));
    Ok(())
}
