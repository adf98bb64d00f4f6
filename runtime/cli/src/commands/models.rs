//! `aerostack models`: the model files on this machine.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aerostack_ai::catalogue::{self, CatalogueModel};
use aerostack_ai::drivers::candle::{CandleDriver, CandleOptions, Engine, EngineOptions};
use aerostack_ai::drivers::openai::{OpenAiDriver, OpenAiOptions, Patience};
use aerostack_ai::hub::{Hub, PullProgress};
use aerostack_ai::{AiDriver, ModelInfo, ModelState, ModelsFolder, Task};
use aerostack_config::{AiBinding, ValueSources};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::commands::table::{self, Cell};
use crate::commands::{ConfigArguments, output, print_config_errors, say};
use crate::drivers::{ConfiguredModels, configured_models, models_folder};

/// `aerostack models`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List the models that `env.AI.run` knows, and whether their files are present
    List(ListArguments),
    /// Download a model; interrupted downloads resume
    Pull(PullArguments),
    /// Register a local model file or folder under a name
    Add(AddArguments),
    /// Delete the files of a model, or unregister a name
    Remove(RemoveArguments),
    /// Print the models folder, or where the files of a model are
    Where(WhereArguments),
}

/// `aerostack models list`
#[derive(clap::Args)]
pub(crate) struct ListArguments {
    /// Only models whose files are present
    #[arg(long)]
    present: bool,
    /// Print JSON instead of a table: [{ name, task, megabytes, state, location }]
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
}

/// `aerostack models pull`
#[derive(clap::Args)]
#[command(after_help = "\
Set HF_ENDPOINT to use another hub, HF_TOKEN for gated models.

Example:
  aerostack models pull @cf/baai/bge-base-en-v1.5")]
pub(crate) struct PullArguments {
    /// Models to download, as `aerostack models list` shows them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print JSON: [{ name, location }]
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
}

/// `aerostack models add`
#[derive(clap::Args)]
#[command(after_help = "\
The files stay where they are. A name of the built-in table stands for these
files from then on. Restart a running aerostack dev that has used a model.

Example:
  aerostack models add my-model ~/Downloads/SmolLM2-135M-Instruct-Q4_K_M.gguf")]
pub(crate) struct AddArguments {
    /// Name to pass to `env.AI.run`
    name: String,
    /// A GGUF file, a folder with one, or the folder of a sentence-transformers model
    path: PathBuf,
    /// Print JSON: { name, location }
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
}

/// `aerostack models remove`
#[derive(clap::Args)]
#[command(after_help = "\
Files registered with `aerostack models add` are not deleted.")]
pub(crate) struct RemoveArguments {
    /// The model
    name: String,
    /// Print JSON: { name, deleted }, the latter false for a name that was unregistered
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
}

/// `aerostack models where`
#[derive(clap::Args)]
pub(crate) struct WhereArguments {
    /// The model [default: the folder of all models]
    name: Option<String>,
    /// Print JSON: { name, location, state }, or { location } for the folder
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
}

#[derive(clap::Args)]
struct FolderArguments {
    #[command(flatten)]
    config: ConfigArguments,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(arguments) => list(arguments),
        Command::Pull(arguments) => pull(arguments),
        Command::Add(arguments) => add(arguments),
        Command::Remove(arguments) => remove(arguments),
        Command::Where(arguments) => locate(arguments),
    }
}

/// The models that a command is about.
struct Known {
    folder: ModelsFolder,
    /// What the project's config says of some names. It comes before the folder, as for `env.AI.run`.
    configured: ConfiguredModels,
}

impl FolderArguments {
    /// The folder of the project in the current folder, or of this user where there is none.
    fn open(&self) -> anyhow::Result<Known> {
        let source = match self.config.locate(ValueSources::default())? {
            Ok(source) => source,
            Err(_) if !self.config.is_explicit() => {
                return Ok(Known { folder: models_folder(None)?, configured: ConfiguredModels::default() });
            }
            Err(errors) => return Err(print_config_errors(&errors).into()),
        };
        let config = source.load().map_err(|failure| print_config_errors(&failure.errors))?.config;
        let bindings: Vec<&AiBinding> =
            config.workers.iter().filter_map(|worker| worker.bindings.ai.as_ref()).collect();
        let mut configured = ConfiguredModels::default();
        for binding in &bindings {
            let ConfiguredModels { files, served } = configured_models(binding)?;
            configured.files.extend(files);
            configured.served.extend(served);
        }
        let folder = models_folder(bindings.iter().find_map(|binding| binding.models_dir.as_deref()))?;
        Ok(Known { folder, configured })
    }
}

/// A model, and who it comes from.
struct Listed {
    info: ModelInfo,
    origin: Origin,
}

impl Listed {
    /// For programs.
    fn state(&self) -> &'static str {
        match (self.origin, is_there(&self.info)) {
            (Origin::Service, _) => "service",
            (_, true) => "present",
            (_, false) => "missing",
        }
    }
}

/// Where a name gets its meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The built-in table; its files take so many megabytes.
    Table(u32),
    /// The project's config, or `aerostack models add`.
    Given,
    /// A service that the config names.
    Service,
}

impl Known {
    /// The models of the project's config, those that were added, and the rest of the built-in table.
    fn models(&self) -> anyhow::Result<Vec<Listed>> {
        let mut files = self.folder.added()?;
        files.extend(self.configured.files.clone());
        let served = self.served()?;
        let local = driver(&self.folder, files.clone())?.models();
        let local = local.into_iter().filter(|info| !self.configured.served.contains_key(&info.name)).map(|info| {
            let row = catalogue::find(&info.name).filter(|_| !files.contains_key(&info.name));
            Listed { info, origin: row.map_or(Origin::Given, |row| Origin::Table(row.megabytes)) }
        });
        let mut models: Vec<Listed> = local.collect();
        models.extend(served.into_iter().map(|info| Listed { info, origin: Origin::Service }));
        models.sort_by(|one, other| one.info.name.cmp(&other.info.name));
        Ok(models)
    }

    fn served(&self) -> anyhow::Result<Vec<ModelInfo>> {
        let models = self.configured.served.clone();
        if models.is_empty() {
            return Ok(Vec::new());
        }
        let options = OpenAiOptions { name: "AI".to_owned(), models, patience: Patience::default() };
        Ok(OpenAiDriver::new(options)?.models())
    }
}

fn list(arguments: &ListArguments) -> anyhow::Result<()> {
    let mut models = arguments.folder.open()?.models()?;
    if arguments.present {
        models.retain(|model| is_there(&model.info));
    }
    if arguments.json {
        output(&models.iter().map(as_json).collect::<Value>().to_string());
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = models
        .iter()
        .map(|Listed { info, origin }| {
            let size = match origin {
                Origin::Table(megabytes) => size_in_words(u64::from(*megabytes) * 1_000_000),
                Origin::Given | Origin::Service => String::new(),
            };
            let files = match (origin, is_there(info)) {
                (Origin::Table(_), true) => "present".to_owned(),
                (Origin::Table(_), false) => "-".to_owned(),
                (Origin::Given, false) => format!("missing: {}", info.location),
                (Origin::Given, true) | (Origin::Service, _) => info.location.clone(),
            };
            let task = task_in_words(info.task).to_owned();
            vec![Cell::Text(info.name.clone()), Cell::Word(task), Cell::Word(size), Cell::Word(files)]
        })
        .collect();
    output(&table::render(&["name", "task", "size", "files"], &rows));
    Ok(())
}

fn pull(arguments: &PullArguments) -> anyhow::Result<()> {
    let models = arguments.names.iter().map(|name| in_catalogue(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let known = arguments.folder.open()?;
    for model in &models {
        let ConfiguredModels { files, served } = &known.configured;
        if files.contains_key(model.name) || served.contains_key(model.name) {
            say(&format!(
                "note: the config of this project gives {} another meaning and does not use these files",
                model.name
            ));
        }
    }
    let folder = known.folder;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let hub = Hub::from_environment()?;
        let mut pulled = Vec::new();
        for model in models {
            let shown = Shown::new(model.name);
            let place = hub.pull(model, folder.path(), &|progress| shown.tell(progress)).await;
            shown.end();
            let location = place?.display().to_string();
            if arguments.json {
                pulled.push(json!({ "name": model.name, "location": location }));
            } else {
                output(&location);
            }
        }
        if arguments.json {
            output(&Value::from(pulled).to_string());
        }
        Ok(())
    })
}

fn add(arguments: &AddArguments) -> anyhow::Result<()> {
    let AddArguments { name, path, json, folder } = arguments;
    let path = std::fs::canonicalize(path).with_context(|| format!("nothing at {}", path.display()))?;
    let folder = folder.open()?.folder;
    // The driver is the judge of what a model is.
    let named = BTreeMap::from([(name.clone(), path.clone())]);
    if !driver(&folder, named)?.models().iter().any(|model| model.name == *name && is_there(model)) {
        bail!("{} is not a GGUF file, nor a folder with one or with an embedding model", path.display());
    }
    folder.add(name, &path)?;
    if *json {
        output(&json!({ "name": name, "location": path.display().to_string() }).to_string());
    } else {
        say(&format!("registered {name} for {}", path.display()));
    }
    Ok(())
}

fn remove(arguments: &RemoveArguments) -> anyhow::Result<()> {
    let name = &arguments.name;
    let folder = arguments.folder.open()?.folder;
    let was_registered = folder.forget(name)?;
    if !was_registered {
        let row = in_catalogue(name)?;
        if !folder.remove(row.folder())? {
            bail!("the files of {name} are not in {}", folder.path().join(row.folder()).display());
        }
    }
    if arguments.json {
        output(&json!({ "name": name, "deleted": !was_registered }).to_string());
    } else if was_registered {
        say(&format!("unregistered {name}; its files stay"));
    } else {
        say(&format!("deleted the files of {name}"));
    }
    Ok(())
}

fn locate(arguments: &WhereArguments) -> anyhow::Result<()> {
    let known = arguments.folder.open()?;
    let Some(name) = &arguments.name else {
        let location = known.folder.path().display().to_string();
        output(&if arguments.json { json!({ "location": location }).to_string() } else { location });
        return Ok(());
    };
    let models = known.models()?;
    let Some(model) = models.iter().find(|model| model.info.name == *name) else {
        return in_catalogue(name).map(|_| ());
    };
    if arguments.json {
        output(&json!({ "name": name, "location": model.info.location, "state": model.state() }).to_string());
    } else {
        output(&model.info.location);
    }
    match &model.info.state {
        ModelState::Missing(why) => bail!("{name}: {why}"),
        ModelState::Loaded | ModelState::Present => Ok(()),
    }
}

fn driver(folder: &ModelsFolder, models: BTreeMap<String, PathBuf>) -> anyhow::Result<CandleDriver> {
    let options = CandleOptions {
        name: "AI".to_owned(),
        models_folder: folder.path().to_owned(),
        models,
        context_limit: CandleOptions::CONTEXT_LIMIT,
    };
    Ok(CandleDriver::new(options, Engine::start(EngineOptions::default())?))
}

fn in_catalogue(name: &str) -> anyhow::Result<&'static CatalogueModel> {
    let Some(model) = catalogue::find(name) else {
        bail!(
            "no model {name:?} in the built-in table: run `aerostack models list` to see it, \
             `aerostack models add {name} PATH` to use your own files"
        );
    };
    Ok(model)
}

fn is_there(model: &ModelInfo) -> bool {
    !matches!(model.state, ModelState::Missing(_))
}

fn as_json(listed: &Listed) -> Value {
    let Listed { info, origin } = listed;
    json!({
        "name": info.name,
        "task": task_in_words(info.task),
        "megabytes": match origin {
            Origin::Table(megabytes) => Some(*megabytes),
            Origin::Given | Origin::Service => None,
        },
        "state": listed.state(),
        "location": info.location,
    })
}

fn task_in_words(task: Task) -> &'static str {
    match task {
        Task::TextGeneration => "text-generation",
        Task::TextEmbeddings => "text-embeddings",
    }
}

fn size_in_words(bytes: u64) -> String {
    let megabytes = bytes as f64 / 1e6;
    if megabytes < 1000.0 { format!("{megabytes:.0} MB") } else { format!("{:.1} GB", megabytes / 1000.0) }
}

/// What a person sees of a download: a line that changes on a terminal, one line a file elsewhere.
struct Shown {
    name: &'static str,
    on_terminal: bool,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    written: Option<Instant>,
    file: String,
}

/// A terminal is told no more often.
const EVERY: Duration = Duration::from_millis(100);

impl Shown {
    fn new(name: &'static str) -> Self {
        Self { name, on_terminal: std::io::stderr().is_terminal(), line: Mutex::default() }
    }

    fn tell(&self, progress: PullProgress<'_>) {
        let PullProgress { file, received, total } = progress;
        let mut line = self.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_new = line.file != file;
        let is_whole = received == total;
        if self.on_terminal {
            if is_new || is_whole || line.written.is_none_or(|written| written.elapsed() >= EVERY) {
                line.written = Some(Instant::now());
                let (received, total) = (size_in_words(received), size_in_words(total));
                let _ = write!(std::io::stderr().lock(), "\r\u{1b}[K{}: {file} {received} of {total}", self.name);
            }
        } else if is_new {
            say(&format!("{}: {file} {}", self.name, size_in_words(total)));
        }
        if is_new {
            file.clone_into(&mut line.file);
        }
    }

    fn end(&self) {
        if self.on_terminal {
            say("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_the_unit_that_fits() {
        assert_eq!(size_in_words(439_000_000), "439 MB");
        assert_eq!(size_in_words(4_921_000_000), "4.9 GB");
        assert_eq!(size_in_words(0), "0 MB");
    }
}
