//! `aerostack cache`: the project's caches from the command line, with the rules that workers meet.
//!
//! Works on the files themselves, with or without a running `aerostack dev`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use aerostack_bindings::SystemClock;
use aerostack_cache::limits::Expiry;
use aerostack_cache::{ListedKey, NamedCache};
use aerostack_config::CacheBinding;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::commands::choice::ResourceArguments;
use crate::commands::table::{self, Cell};
use crate::commands::{counted, output, read_input, say};
use crate::drivers::Drivers;

/// `aerostack cache`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print the value of a key, byte for byte
    Get(GetArguments),
    /// Store a value under a key
    Put(PutArguments),
    /// Delete a key
    Delete(DeleteArguments),
    /// List the keys
    List(ListArguments),
}

/// `aerostack cache get`
#[derive(clap::Args)]
#[command(after_help = "\
Exits with 1 if there is no such key.

Example:
  aerostack cache get stats:daily > stats.json")]
pub(crate) struct GetArguments {
    /// The key
    #[arg(value_parser = key)]
    key: String,
    /// Print JSON: { key, value, metadata }; the value is text, or a list of bytes where it is not UTF-8
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArguments,
}

/// `aerostack cache put`
#[derive(clap::Args)]
#[command(
    override_usage = "aerostack cache put [OPTIONS] <KEY> <VALUE|--file <FILE>>",
    after_help = "\
Example:
  aerostack cache put greeting hello --ttl 3600 --metadata '{\"lang\":\"en\"}'"
)]
pub(crate) struct PutArguments {
    /// The key
    #[arg(value_parser = key)]
    key: String,
    #[command(flatten)]
    value: ValueArguments,
    /// Expire after this many seconds (minimum 60) [default: never]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    ttl: Option<i32>,
    /// JSON to keep beside the value; `aerostack cache list` shows it
    #[arg(long, value_name = "JSON", value_parser = json_text, allow_negative_numbers = true)]
    metadata: Option<Arc<str>>,
    /// Print JSON: { key, bytes }
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArguments,
}

/// `aerostack cache delete`
#[derive(clap::Args)]
#[command(after_help = "\
Deleting a missing key is not an error.

Example:
  aerostack cache delete greeting")]
pub(crate) struct DeleteArguments {
    /// The key
    #[arg(value_parser = key)]
    key: String,
    /// Print JSON: { key, deleted }
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArguments,
}

/// `aerostack cache list`
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  aerostack cache list --prefix user: --limit 20")]
pub(crate) struct ListArguments {
    /// Only keys that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Maximum number of keys (default and limit: 1000)
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, allow_negative_numbers = true)]
    limit: i32,
    /// Continue from the cursor that the previous list printed
    #[arg(long, default_value = "", hide_default_value = true)]
    cursor: String,
    /// Print JSON instead of a table: { keys: [{ name, expiration, metadata }], list_complete, cursor }
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArguments,
}

#[derive(clap::Args)]
struct CacheArguments {
    /// Cache: its binding, for example CACHE, or its id [default: the first of the project]
    #[arg(long = "cache", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    resources: ResourceArguments,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct ValueArguments {
    /// The value
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    text: Option<String>,
    /// File that holds the value, or - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        match command {
            Command::Get(arguments) => get(arguments).await,
            Command::Put(arguments) => put(arguments).await,
            Command::Delete(arguments) => delete(arguments).await,
            Command::List(arguments) => list(arguments).await,
        }
    })
}

async fn get(arguments: &GetArguments) -> anyhow::Result<()> {
    let cache = arguments.cache.open()?;
    let Some(entry) = cache.get(&arguments.key).await? else {
        bail!("no key {:?} in {}", arguments.key, cache.name);
    };
    if arguments.json {
        let value = match std::str::from_utf8(&entry.value) {
            Ok(text) => Value::from(text),
            Err(_) => Value::from(entry.value.to_vec()),
        };
        let metadata = entry.metadata.as_deref().map(serde_json::from_str::<Value>).transpose();
        let metadata = metadata.with_context(|| format!("the metadata of the key {:?} is not JSON", arguments.key))?;
        output(&json!({ "key": arguments.key, "value": value, "metadata": metadata }).to_string());
        return Ok(());
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(&entry.value).and_then(|()| stdout.flush()) {
        // A reader that left (`| head`) is no error.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot print the value"),
        _ => Ok(()),
    }
}

async fn put(arguments: &PutArguments) -> anyhow::Result<()> {
    let cache = arguments.cache.open()?;
    let value = match (&arguments.value.text, &arguments.value.file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(file)) => read_input(file)?,
        (None, None) => bail!("give the value as VALUE or with --file"),
    };
    let expiry = arguments.ttl.map_or(Expiry::Never, Expiry::After);
    let bytes = value.len();
    cache.put(&arguments.key, Bytes::from(value), expiry, arguments.metadata.clone()).await?;
    if arguments.json {
        output(&json!({ "key": arguments.key, "bytes": bytes }).to_string());
    } else {
        say(&format!("stored {} under {:?} in {}", counted(bytes as u64, "byte"), arguments.key, cache.name));
    }
    Ok(())
}

async fn delete(arguments: &DeleteArguments) -> anyhow::Result<()> {
    let cache = arguments.cache.open()?;
    let key = &arguments.key;
    let was_there = cache.get(key).await?.is_some();
    cache.delete(key).await?;
    if arguments.json {
        output(&json!({ "key": key, "deleted": was_there }).to_string());
    } else if was_there {
        say(&format!("deleted {key:?} from {}", cache.name));
    } else {
        say(&format!("no key {key:?} in {}", cache.name));
    }
    Ok(())
}

async fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let cache = arguments.cache.open()?;
    let page = cache.list(&arguments.prefix, arguments.limit, &arguments.cursor).await?;
    if arguments.json {
        let keys = page.keys.iter().map(key_as_json).collect::<anyhow::Result<Vec<Value>>>()?;
        let mut list = json!({ "keys": keys, "list_complete": page.cursor.is_none() });
        if let Some(cursor) = page.cursor {
            list["cursor"] = cursor.into();
        }
        output(&list.to_string());
        return Ok(());
    }
    if page.keys.is_empty() {
        say(&format!("no keys in {}", cache.name));
        return Ok(());
    }
    let now = cache.clock.now_ms() / 1000;
    let rows: Vec<Vec<Cell>> = page
        .keys
        .into_iter()
        .map(|key| {
            let expires = key.expires_at.map_or_else(|| "never".to_owned(), |at| time_left(at.saturating_sub(now)));
            let metadata = key.metadata.map_or_else(String::new, |json| json.as_ref().to_owned());
            vec![Cell::Text(key.name), Cell::Word(expires), Cell::Word(metadata)]
        })
        .collect();
    output(&table::render(&["key", "expires", "metadata"], &rows));
    if let Some(cursor) = page.cursor {
        say(&format!("more keys: add --cursor {cursor}"));
    }
    Ok(())
}

impl CacheArguments {
    fn open(&self) -> anyhow::Result<NamedCache> {
        let project = self.resources.open()?;
        let binding = project.one::<CacheBinding>(self.name.as_deref())?;
        let (driver, _) = Drivers::new(&project.state_folder).cache(binding)?;
        let min_ttl_seconds = u64::from(binding.min_ttl);
        Ok(NamedCache { name: binding.binding.clone(), driver, clock: Arc::new(SystemClock), min_ttl_seconds })
    }
}

/// Refuses the keys that name nothing, in the words that a worker's `TypeError` has for them.
fn key(text: &str) -> Result<String, String> {
    match text {
        "" => Err("Key name cannot be empty.".to_owned()),
        "." | ".." => Err(format!("\"{text}\" is not allowed as a key name.")),
        _ => Ok(text.to_owned()),
    }
}

/// The JSON as `JSON.stringify` has it, without white space.
fn json_text(text: &str) -> Result<Arc<str>, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    Ok(json.to_string().into())
}

/// A key as `list()` gives it to a worker (Cloudflare contract, section 2).
fn key_as_json(key: &ListedKey) -> anyhow::Result<Value> {
    let mut listed = json!({ "name": key.name });
    if let Some(at) = key.expires_at {
        listed["expiration"] = at.into();
    }
    if let Some(metadata) = &key.metadata {
        listed["metadata"] = serde_json::from_str(metadata)
            .with_context(|| format!("the metadata of the key {:?} is not JSON", key.name))?;
    }
    Ok(listed)
}

/// `in 1 h 59 min`: rounded down to two units.
fn time_left(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        ..MINUTE => format!("in {seconds} s"),
        MINUTE..HOUR => format!("in {} min {} s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("in {} h {} min", seconds / HOUR, seconds % HOUR / MINUTE),
        DAY.. => format!("in {} d {} h", seconds / DAY, seconds % DAY / HOUR),
    }
}
