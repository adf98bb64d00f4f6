//! `aerostack queue`: the project's queues from the command line.
//!
//! Works on the queues' file itself, with or without a running `aerostack dev`, which sees what is sent here at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use aerostack_bindings::{Clock, SystemClock};
use aerostack_config::{Config, QueueBinding, ResourceName};
use aerostack_queue::{BacklogLimit, ContentType, Message, PeekedMessage, QueueDriver, QueueSummary};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::commands::choice::ResourceArguments;
use crate::commands::table::{self, Cell};
use crate::commands::{counted, output, read_input, say};
use crate::drivers::Drivers;

/// `aerostack queue`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Send a message to a queue
    Send(SendArguments),
    /// List queues and their backlogs
    List(ListArguments),
    /// Show the next messages of a queue without receiving them
    Peek(PeekArguments),
    /// Delete all messages of a queue
    Purge(PurgeArguments),
    /// Move the messages of a dead-letter queue back to their queues
    Redrive(RedriveArguments),
}

/// `aerostack queue send`
#[derive(clap::Args)]
#[command(
    override_usage = "aerostack queue send [OPTIONS] <BODY|--file <FILE>>",
    after_help = "\
Example:
  aerostack queue send '{\"type\":\"email\",\"to\":\"ada@example.com\"}' --delay 60"
)]
pub(crate) struct SendArguments {
    #[command(flatten)]
    body: BodyArguments,
    /// Send the body as plain text instead of JSON
    #[arg(long)]
    text: bool,
    /// Deliver after this many seconds (maximum 86400)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    delay: Option<i32>,
    /// Print JSON: { queue, messages }, the backlog after the message
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    queue: QueueArguments,
}

/// `aerostack queue list`
#[derive(clap::Args)]
pub(crate) struct ListArguments {
    /// Print JSON instead of a table: [{ name, messages, bytes, delayed, leased, oldestMessageTimestamp }]
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    resources: ResourceArguments,
}

/// `aerostack queue peek`
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  aerostack queue peek --queue dead-letters --limit 1")]
pub(crate) struct PeekArguments {
    /// Maximum number of messages
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Print JSON instead of a table: [{ id, timestamp, attempts, dueAt, leased, deadLetteredFrom, contentType, body }]
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    queue: NamedQueueArguments,
}

/// `aerostack queue purge`
#[derive(clap::Args)]
#[command(after_help = "\
In-flight messages are deleted too; later acks and retries are ignored.

Example:
  aerostack queue purge --queue dead-letters --yes")]
pub(crate) struct PurgeArguments {
    /// Required: confirms that the messages are deleted for good
    #[arg(long, required = true)]
    yes: bool,
    /// Print JSON: { queue, deleted }
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    queue: NamedQueueArguments,
}

/// `aerostack queue redrive`
#[derive(clap::Args)]
#[command(after_help = "\
Moved messages are due immediately and their attempts restart at 1. Messages
sent here directly stay unless --to is given.

Example:
  aerostack queue redrive --queue dead-letters")]
pub(crate) struct RedriveArguments {
    /// Move the messages to this queue instead
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Print JSON: { queue, to, moved }
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    queue: NamedQueueArguments,
}

/// The queue of the config that a command works on.
#[derive(clap::Args)]
struct QueueArguments {
    /// Queue: its binding, for example QUEUE, or its name [default: the first of the project]
    #[arg(long = "queue", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    resources: ResourceArguments,
}

/// The queue that a command works on: one of the config, or any that has had messages.
#[derive(clap::Args)]
struct NamedQueueArguments {
    #[command(flatten)]
    queue: QueueArguments,
    /// What --queue names, as earlier versions took it.
    #[arg(value_name = "QUEUE", hide = true, conflicts_with = "name")]
    positional: Option<String>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct BodyArguments {
    /// Body of the message: JSON
    #[arg(value_name = "BODY", allow_negative_numbers = true)]
    inline: Option<String>,
    /// File that holds the body, or - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        match command {
            Command::Send(arguments) => send(arguments).await,
            Command::List(arguments) => list(arguments).await,
            Command::Peek(arguments) => peek(arguments).await,
            Command::Purge(arguments) => purge(arguments).await,
            Command::Redrive(arguments) => redrive(arguments).await,
        }
    })
}

async fn send(arguments: &SendArguments) -> anyhow::Result<()> {
    let project = arguments.queue.resources.open()?;
    let binding = project.one::<QueueBinding>(arguments.queue.name.as_deref())?;
    let (queue, _) = Drivers::new(&project.state_folder).queue(binding, BacklogLimit::none())?;
    let body = match (&arguments.body.inline, &arguments.body.file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(file)) => read_input(file)?,
        (None, None) => bail!("give the body as BODY or with --file"),
    };
    let (content_type, body) = if arguments.text {
        (ContentType::Text, String::from_utf8(body).context("the body is not UTF-8")?)
    } else {
        let json: Value =
            serde_json::from_slice(&body).context("the body is not JSON; use --text to send plain text")?;
        (ContentType::Json, json.to_string())
    };
    let message = Message { content_type, body: body.into(), delay_seconds: arguments.delay };
    let backlog = queue.send(message).await?;
    if arguments.json {
        output(&json!({ "queue": queue.queue, "messages": backlog.messages }).to_string());
    } else {
        say(&format!("sent to {}, which has {} now", queue.queue, counted(backlog.messages, "message")));
    }
    Ok(())
}

async fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let project = arguments.resources.open()?;
    let driver = Drivers::new(&project.state_folder).queues().get()?.clone();
    let mut queues: BTreeMap<String, Option<QueueSummary>> =
        configured(&project.config).map(|queue| (queue.state.clone(), None)).collect();
    for summary in driver.queues().await? {
        queues.insert(summary.name.clone(), Some(summary));
    }
    let now = SystemClock.now_ms();
    if arguments.json {
        let all: Vec<Value> = queues.iter().map(|(name, summary)| queue_as_json(name, summary.as_ref())).collect();
        output(&Value::from(all).to_string());
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = queues
        .iter()
        .map(|(name, summary)| {
            let number = |of: fn(&QueueSummary) -> u64| summary.as_ref().map_or(0, of).to_string();
            let oldest = summary.as_ref().and_then(|summary| summary.backlog.oldest_ms);
            vec![
                Cell::Text(name.clone()),
                Cell::Word(number(|summary| summary.backlog.messages)),
                Cell::Word(number(|summary| summary.delayed)),
                Cell::Word(number(|summary| summary.leased)),
                Cell::Word(oldest.map_or_else(String::new, |sent| ago(now.saturating_sub(sent)))),
            ]
        })
        .collect();
    output(&table::render(&["queue", "messages", "delayed", "in flight", "oldest"], &rows));
    Ok(())
}

async fn peek(arguments: &PeekArguments) -> anyhow::Result<()> {
    let (driver, queue) = arguments.queue.open().await?;
    let messages = driver.peek(&queue, arguments.limit).await?;
    if arguments.json {
        let all: Vec<Value> = messages.iter().map(message_as_json).collect();
        output(&Value::from(all).to_string());
        return Ok(());
    }
    if messages.is_empty() {
        say(&format!("{queue} is empty"));
        return Ok(());
    }
    let now = SystemClock.now_ms();
    let rows: Vec<Vec<Cell>> = messages
        .iter()
        .map(|message| {
            let due = match (message.leased, message.due_at_ms.checked_sub(now)) {
                (true, _) => "in flight".to_owned(),
                (false, None | Some(0)) => "now".to_owned(),
                (false, Some(left)) => format!("in {} s", left.div_ceil(1000)),
            };
            vec![
                Cell::Word(message.id.to_string()),
                Cell::Word(ago(now.saturating_sub(message.sent_at_ms))),
                Cell::Word(message.attempts.to_string()),
                Cell::Word(due),
                Cell::Text(body_as_text(message)),
            ]
        })
        .collect();
    output(&table::render(&["id", "sent", "attempts", "due", "body"], &rows));
    Ok(())
}

async fn purge(arguments: &PurgeArguments) -> anyhow::Result<()> {
    let (driver, queue) = arguments.queue.open().await?;
    let purged = driver.purge(&queue).await?;
    if arguments.json {
        output(&json!({ "queue": queue, "deleted": purged }).to_string());
    } else {
        say(&format!("deleted {} from {queue}", counted(purged, "message")));
    }
    Ok(())
}

async fn redrive(arguments: &RedriveArguments) -> anyhow::Result<()> {
    let (driver, queue) = arguments.queue.open().await?;
    let target = match &arguments.to {
        None => None,
        Some(name) => Some(arguments.queue.named(&driver, name).await?),
    };
    if target.as_ref() == Some(&queue) {
        bail!("{queue} cannot be moved to itself");
    }
    let moved = driver.redrive(&queue, target.as_deref()).await?;
    if arguments.json {
        output(&json!({ "queue": queue, "to": target, "moved": moved }).to_string());
        return Ok(());
    }
    let to = target.as_deref().unwrap_or("their queues");
    let back = if target.is_none() { "back " } else { "" };
    say(&format!("moved {} from {queue} {back}to {to}", counted(moved, "message")));
    Ok(())
}

impl NamedQueueArguments {
    /// The driver, and the queue as it knows it.
    async fn open(&self) -> anyhow::Result<(Arc<dyn QueueDriver>, String)> {
        let project = self.queue.resources.open()?;
        let driver = Drivers::new(&project.state_folder).queues().get()?.clone();
        let queue = match self.queue.name.as_deref().or(self.positional.as_deref()) {
            None => project.one::<QueueBinding>(None)?.queue.state.clone(),
            Some(name) => self.named(&driver, name).await?,
        };
        Ok((driver, queue))
    }

    /// The queue that `name` means: one of the config by binding or name, or one that has had messages.
    async fn named(&self, driver: &Arc<dyn QueueDriver>, name: &str) -> anyhow::Result<String> {
        let project = self.queue.resources.open()?;
        let bound = project.config.workers.iter().flat_map(|worker| &worker.bindings.queues);
        let bound = bound.filter(|queue| queue.binding == name).map(|queue| &queue.queue);
        let named = configured(&project.config).filter(|queue| queue.name == name || queue.state == name);
        let mut meant: Vec<String> = bound.chain(named).map(|queue| queue.state.clone()).collect();
        let known = driver.queues().await?;
        meant.extend(known.iter().filter(|queue| queue.name == name).map(|queue| queue.name.clone()));
        meant.sort();
        meant.dedup();
        match meant.as_slice() {
            [only] => Ok(only.clone()),
            [] => {
                let mut all: Vec<&str> = configured(&project.config).map(|queue| queue.state.as_str()).collect();
                all.extend(known.iter().map(|queue| queue.name.as_str()));
                all.sort_unstable();
                all.dedup();
                bail!("no queue {name:?}; the project has: {}", all.join(", "))
            }
            several => bail!("{name:?} is ambiguous, choose one of: {}", several.join(", ")),
        }
    }
}

/// Every queue the config names, in whatever place; some more than once.
fn configured(config: &Config) -> impl Iterator<Item = &ResourceName> {
    config.workers.iter().flat_map(|worker| {
        let consumed = worker
            .consumers
            .iter()
            .flat_map(|consumer| std::iter::once(&consumer.queue).chain(consumer.settings.dead_letter_queue.as_ref()));
        worker.bindings.queues.iter().map(|queue| &queue.queue).chain(consumed)
    })
}

fn queue_as_json(name: &str, summary: Option<&QueueSummary>) -> Value {
    let backlog = summary.map(|summary| summary.backlog).unwrap_or_default();
    json!({
        "name": name,
        "messages": backlog.messages,
        "bytes": backlog.bytes,
        "delayed": summary.map_or(0, |summary| summary.delayed),
        "leased": summary.map_or(0, |summary| summary.leased),
        "oldestMessageTimestamp": backlog.oldest_ms,
    })
}

fn message_as_json(message: &PeekedMessage) -> Value {
    let body: Value = match message.content_type {
        ContentType::Json => serde_json::from_slice(&message.body).unwrap_or_else(|_| body_as_text(message).into()),
        _ => body_as_text(message).into(),
    };
    json!({
        "id": message.id.to_string(),
        "timestamp": message.sent_at_ms,
        "attempts": message.attempts,
        "dueAt": message.due_at_ms,
        "leased": message.leased,
        "deadLetteredFrom": message.dead_lettered_from,
        "contentType": message.content_type.as_str(),
        "body": body,
    })
}

/// JSON and text as they are; what only a program reads, by its length.
fn body_as_text(message: &PeekedMessage) -> String {
    match message.content_type {
        ContentType::Json | ContentType::Text => String::from_utf8_lossy(&message.body).into_owned(),
        ContentType::Bytes | ContentType::V8 => {
            format!("{} of {}", counted(message.body.len() as u64, "byte"), message.content_type.as_str())
        }
    }
}

fn ago(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        seconds @ ..60 => format!("{seconds} s ago"),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}
