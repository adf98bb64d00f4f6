//! `aerostack cron`: the project's cron triggers from the command line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aerostack_bindings::{Clock, SystemClock};
use aerostack_config::Worker as WorkerConfig;
use aerostack_cron::{CronExpression, minute_text};
use aerostack_isolate::{Event, Worker};
use aerostack_telemetry::{LogFormat, Role, Terminal};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::commands::choice::ResourceArguments;
use crate::commands::table::{self, Cell};
use crate::commands::{AlreadyPrinted, output, paint, paints, say};
use crate::events::WorkerEvents;
use crate::logs::{in_milliseconds, milliseconds};
use crate::observed::Observed;
use crate::project::{Project, frame_style};
use crate::running::{Face, hide_secrets};

/// `aerostack cron`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Run a worker's `scheduled` handler now
    Trigger(TriggerArguments),
    /// List the cron triggers in words, with the next firing of each
    List(ListArguments),
}

/// `aerostack cron trigger`
#[derive(clap::Args)]
#[command(after_help = "\
The handler runs in this process, with the project's own bindings, whether or
not aerostack dev is running. Exits with 1 if the handler fails.

Example:
  aerostack cron trigger '0 * * * *'")]
pub(crate) struct TriggerArguments {
    /// Value of `controller.cron` [default: the worker's first trigger]
    #[arg(value_name = "CRON")]
    cron: Option<String>,
    /// Value of `controller.scheduledTime`, in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MS")]
    time: Option<u64>,
    /// Print JSON: { worker, cron, scheduledTime, outcome, durationMs }; the console goes to standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    resources: ResourceArguments,
}

/// `aerostack cron list`
#[derive(clap::Args)]
pub(crate) struct ListArguments {
    /// Print JSON instead of a table: [{ worker, cron, description, nextTimestamp }]
    #[arg(long)]
    json: bool,
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
        ([], _) => bail!("no worker has cron triggers; choose one with --worker"),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|worker| worker.name.as_str()).collect();
            bail!("several workers have cron triggers, choose one with --worker: {}", names.join(", "));
        }
    };
    let first = config.triggers.crons.first().map(|cron| cron.value.text().clone());
    let cron: Arc<str> = arguments.cron.as_deref().map(Arc::from).or(first).unwrap_or_else(|| Arc::from(""));
    let scheduled_time_ms = arguments.time.unwrap_or_else(|| SystemClock.now_ms());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let terminal =
        if arguments.json { Terminal::beside_data(paint()) } else { Terminal::start(LogFormat::Text, paints()) };
    hide_secrets(&terminal, &project.config);
    let ran = runtime.block_on(run_once(config, &project.state_folder, &terminal, cron.clone(), scheduled_time_ms));
    terminal.flush();
    let ran = ran?;
    if arguments.json {
        let entry = json!({
            "worker": config.name,
            "cron": &*cron,
            "scheduledTime": scheduled_time_ms,
            "outcome": if ran.has_succeeded { "ok" } else { "failed" },
            "durationMs": in_milliseconds(ran.took),
        });
        output(&entry.to_string());
    }
    if ran.has_succeeded { Ok(()) } else { Err(AlreadyPrinted.into()) }
}

/// How a run by hand went.
struct Ran {
    has_succeeded: bool,
    took: Duration,
}

async fn run_once(
    config: &WorkerConfig,
    state_folder: &std::path::Path,
    terminal: &Terminal,
    cron: Arc<str>,
    scheduled_time_ms: u64,
) -> anyhow::Result<Ran> {
    let observed = Observed::by_nobody(terminal.clone());
    let mut project = Project::new(state_folder, &observed, Arc::new(|_| {}), Face::DEV);
    let built = project.build(config).map_err(|errors| {
        for error in &errors {
            terminal.line(error.render(frame_style(terminal)));
        }
        AlreadyPrinted
    })?;
    let worker = Arc::new(Worker::start(built.version, 1).await?);
    if !worker.handlers().scheduled {
        bail!("Handler does not export a scheduled() function.");
    }
    let started = Instant::now();
    let events = WorkerEvents::new(worker.clone(), terminal.output());
    let (report, lines) = events.run(Event::Scheduled { cron: cron.clone(), scheduled_time_ms }).await;
    let took = started.elapsed();
    let has_succeeded = report.outcome.is_ok();
    let (word, role) = if has_succeeded { ("ok", Role::Good) } else { ("failed", Role::Bad) };
    let output = terminal.output();
    output.line(format!("cron {cron} {} {}", output.paint().paint(role, word), milliseconds(took)));
    for line in lines {
        output.print(line);
    }
    worker.drain().await;
    Ok(Ran { has_succeeded, took })
}

fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let project = arguments.resources.open()?;
    let now = SystemClock.now_ms();
    let workers = project.workers()?;
    let triggers: Vec<(&WorkerConfig, &CronExpression)> = workers
        .into_iter()
        .flat_map(|worker| worker.triggers.crons.iter().map(move |cron| (worker, &cron.value)))
        .collect();
    if arguments.json {
        let list = triggers.iter().map(|(worker, cron)| {
            json!({
                "worker": worker.name,
                "cron": &**cron.text(),
                "description": cron.describe(),
                "nextTimestamp": cron.next_after(now),
            })
        });
        output(&list.collect::<Value>().to_string());
        return Ok(());
    }
    if triggers.is_empty() {
        say("no cron triggers; add [triggers] crons = [\"0 * * * *\"] to the config");
        return Ok(());
    }
    let row = |(worker, cron): &(&WorkerConfig, &CronExpression)| {
        let next = cron.next_after(now).map_or_else(|| "never".to_owned(), minute_text);
        vec![
            Cell::Text(worker.name.clone()),
            Cell::Text(cron.text().to_string()),
            Cell::Word(cron.describe()),
            Cell::Word(next),
        ]
    };
    let rows: Vec<Vec<Cell>> = triggers.iter().map(row).collect();
    output(&table::render(&["worker", "cron", "in words (UTC)", "next firing"], &rows));
    Ok(())
}
