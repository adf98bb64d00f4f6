use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aerostack_ai::drivers::candle::{CandleDriver, CandleOptions, Engine, EngineOptions};
use aerostack_ai::drivers::openai::{DEFAULT_URL, OpenAiDriver, OpenAiModel, OpenAiOptions, Patience};
use aerostack_ai::drivers::router::Router;
use aerostack_ai::{AiDriver, ModelsFolder, Task, catalogue};
use aerostack_bindings::{BindingInfo, BindingState, DriverSpec, Lazy, Memory, SystemClock};
use aerostack_cache::CacheDriver;
use aerostack_cache::drivers::sqlite::{DEFAULT_MEMORY_BYTES, SqliteCache, SqliteOptions as CacheOptions};
use aerostack_config::{
    AiBinding, AiModel, AiTask, BucketBinding, CacheBinding, ConfigErrors, DatabaseBinding, Diagnostic, DriverChoice,
    Durability, QueueBinding, VectorIndexBinding, VectorMetric,
};
use aerostack_database::migrations::Migrations;
use aerostack_database::{DatabaseDriver, Sqlite, SqliteOptions as DatabaseOptions};
use aerostack_queue::drivers::sqlite::{SqliteOptions, SqliteQueues};
use aerostack_queue::{BacklogLimit, NamedQueue, QueueDriver};
use aerostack_storage::StorageDriver;
use aerostack_storage::drivers::fs::{FsOptions, FsStorage};
use aerostack_telemetry::machine_memory;
use aerostack_vectorize::drivers::sqlite as vectors;
use aerostack_vectorize::{Metric, VectorDriver};
use anyhow::bail;

/// The drivers of the process, each opened once and kept over reloads, by the name its state is kept under. Databases are open,
/// because migrations are applied at the start; the others wait for their first use.
pub(crate) struct Drivers {
    state_folder: PathBuf,
    databases: HashMap<String, Database>,
    caches: HashMap<String, Arc<Lazy<dyn CacheDriver>>>,
    buckets: HashMap<String, Arc<Lazy<dyn StorageDriver>>>,
    queues: Option<Arc<Lazy<dyn QueueDriver>>>,
    vector_indexes: HashMap<String, VectorIndex>,
    /// For the vectors of all indexes together: half of what the machine has.
    vector_memory: Memory,
    /// What runs models, for all workers.
    engine: Arc<Lazy<Engine>>,
}

/// A database, and what the configuration said of it when it was opened.
struct Database {
    durability: Durability,
    driver: Arc<dyn DatabaseDriver>,
}

/// A vector index, and what the configuration said of it when it was opened.
struct VectorIndex {
    dimensions: Option<u32>,
    metric: VectorMetric,
    driver: Arc<Lazy<dyn VectorDriver>>,
}

impl Drivers {
    pub(crate) fn new(state_folder: &Path) -> Self {
        Self {
            state_folder: state_folder.to_path_buf(),
            databases: HashMap::new(),
            caches: HashMap::new(),
            buckets: HashMap::new(),
            queues: None,
            vector_indexes: HashMap::new(),
            vector_memory: machine_memory::limit().map_or(Memory::unlimited(), |bytes| {
                vectors::memory_for_vectors(usize::try_from(bytes / 2).unwrap_or(usize::MAX))
            }),
            engine: Lazy::new(|| Engine::start(EngineOptions::default())),
        }
    }

    /// The database behind a binding, and its line in the start table. Opened anew where the configuration has changed.
    pub(crate) fn database(
        &mut self,
        binding: &DatabaseBinding,
    ) -> anyhow::Result<(Arc<dyn DatabaseDriver>, BindingInfo)> {
        chosen(aerostack_database::drivers::DRIVERS, &format!("database {}", binding.binding), &binding.driver)?;
        let durability = binding.durability;
        let driver = match self.databases.get(&binding.database.state) {
            Some(known) if known.durability == durability => known.driver.clone(),
            _ => {
                let options = DatabaseOptions {
                    durability: match durability {
                        Durability::Normal => aerostack_database::Durability::Normal,
                        Durability::Full => aerostack_database::Durability::Full,
                    },
                    ..DatabaseOptions::default()
                };
                let file = database_file(&self.state_folder, binding);
                let driver: Arc<dyn DatabaseDriver> = Arc::new(Sqlite::open_with(file, options, &SystemClock)?);
                let known = Database { durability, driver: driver.clone() };
                self.databases.insert(binding.database.state.clone(), known);
                driver
            }
        };
        let info = aerostack_database::describe(&binding.binding, driver.as_ref());
        Ok((driver, info))
    }

    /// The cache behind a binding, and its line in the start table.
    pub(crate) fn cache(
        &mut self,
        binding: &CacheBinding,
    ) -> anyhow::Result<(Arc<Lazy<dyn CacheDriver>>, BindingInfo)> {
        chosen(aerostack_cache::drivers::DRIVERS, &format!("cache {}", binding.binding), &binding.driver)?;
        let path = self.state_folder.join("cache").join(format!("{}.sqlite", binding.namespace.state));
        let info = unopened(&binding.binding, aerostack_cache::KIND, "sqlite", path.display().to_string());
        let driver = self.caches.entry(binding.namespace.state.clone()).or_insert_with(|| {
            let options = CacheOptions { name: binding.binding.clone(), path, memory_bytes: DEFAULT_MEMORY_BYTES };
            Lazy::<dyn CacheDriver>::new(move || Ok(Arc::new(SqliteCache::open(&options, Arc::new(SystemClock))?)))
        });
        Ok((driver.clone(), info))
    }

    /// The vector index behind a binding, and its line in the start table. Opened anew where the configuration has changed.
    pub(crate) fn vector_index(
        &mut self,
        binding: &VectorIndexBinding,
    ) -> anyhow::Result<(Arc<Lazy<dyn VectorDriver>>, BindingInfo)> {
        chosen(aerostack_vectorize::drivers::DRIVERS, &format!("vectorize {}", binding.binding), &binding.driver)?;
        let (dimensions, metric) = (binding.dimensions, binding.metric);
        let options = vectors::SqliteOptions {
            name: binding.binding.clone(),
            path: self.state_folder.join("vectorize").join(format!("{}.sqlite", binding.index.state)),
            dimensions,
            metric: match metric {
                VectorMetric::Cosine => Metric::Cosine,
                VectorMetric::Euclidean => Metric::Euclidean,
                VectorMetric::DotProduct => Metric::DotProduct,
            },
            approximate_from: vectors::DEFAULT_APPROXIMATE_FROM,
            memory: self.vector_memory.clone(),
        };
        let summary = format!("{} ({})", options.path.display(), options.metric.as_str());
        let info = unopened(&binding.binding, aerostack_vectorize::KIND, "sqlite", summary);
        let driver = match self.vector_indexes.get(&binding.index.state) {
            Some(known) if (known.dimensions, known.metric) == (dimensions, metric) => known.driver.clone(),
            _ => {
                let driver = Lazy::<dyn VectorDriver>::new(move || {
                    Ok(Arc::new(vectors::SqliteVectors::open(&options, Arc::new(SystemClock))?))
                });
                let known = VectorIndex { dimensions, metric, driver: driver.clone() };
                self.vector_indexes.insert(binding.index.state.clone(), known);
                driver
            }
        };
        Ok((driver, info))
    }

    /// What answers for an AI binding, and its line in the start table. Opens nothing.
    pub(crate) fn ai(&self, binding: &AiBinding) -> anyhow::Result<(Arc<dyn AiDriver>, BindingInfo)> {
        let folder = models_folder(binding.models_dir.as_deref())?;
        let ConfiguredModels { files, served } = configured_models(binding)?;
        let mut services: BTreeMap<String, Arc<dyn AiDriver>> = BTreeMap::new();
        let has_services = !served.is_empty();
        if has_services {
            let names: Vec<String> = served.keys().cloned().collect();
            let name = binding.binding.clone();
            let options = OpenAiOptions { name, models: served, patience: Patience::default() };
            let service: Arc<dyn AiDriver> = Arc::new(OpenAiDriver::new(options)?);
            services.extend(names.into_iter().map(|name| (name, service.clone())));
        }
        let info = BindingInfo {
            name: binding.binding.clone(),
            kind: aerostack_ai::KIND,
            driver: if has_services { "candle+openai" } else { "candle" },
            summary: folder.path().display().to_string(),
            state: BindingState::Lazy,
        };
        let (engine, name) = (self.engine.clone(), binding.binding.clone());
        let local = Lazy::<dyn AiDriver>::new(move || {
            // What the config names comes before what was added by hand.
            let mut models = folder.added()?;
            models.extend(files.clone());
            let options = CandleOptions {
                name: name.clone(),
                models_folder: folder.path().to_owned(),
                models,
                context_limit: CandleOptions::CONTEXT_LIMIT,
            };
            Ok(Arc::new(CandleDriver::new(options, engine.get()?.clone())))
        });
        Ok((Arc::new(Router::new(info.clone(), local, services)), info))
    }

    /// The bucket behind a binding, and its line in the start table.
    pub(crate) fn bucket(
        &mut self,
        binding: &BucketBinding,
    ) -> anyhow::Result<(Arc<Lazy<dyn StorageDriver>>, BindingInfo)> {
        chosen(aerostack_storage::drivers::DRIVERS, &format!("bucket {}", binding.binding), &binding.driver)?;
        let folder = self.state_folder.join("storage").join(&binding.bucket.state);
        let info = unopened(&binding.binding, aerostack_storage::KIND, "fs", folder.display().to_string());
        let driver = self.buckets.entry(binding.bucket.state.clone()).or_insert_with(|| {
            let options = FsOptions { name: binding.binding.clone(), folder };
            Lazy::<dyn StorageDriver>::new(move || Ok(Arc::new(FsStorage::open(&options, Arc::new(SystemClock))?)))
        });
        Ok((driver.clone(), info))
    }

    /// The queue behind a producer's binding, and its line in the start table.
    pub(crate) fn queue(
        &mut self,
        binding: &QueueBinding,
        backlog: BacklogLimit,
    ) -> anyhow::Result<(NamedQueue, BindingInfo)> {
        chosen(aerostack_queue::drivers::DRIVERS, &format!("queue {}", binding.binding), &binding.driver)?;
        let summary = format!("{} in {}", binding.queue.state, self.queues_file().display());
        let info = unopened(&binding.binding, aerostack_queue::KIND, "sqlite", summary);
        let queue = NamedQueue {
            name: binding.binding.clone(),
            queue: binding.queue.state.clone(),
            driver: self.queues(),
            delivery_delay: Duration::from_secs(u64::from(binding.delivery_delay)),
            backlog,
        };
        Ok((queue, info))
    }

    /// Where all queues of the process are.
    pub(crate) fn queues(&mut self) -> Arc<Lazy<dyn QueueDriver>> {
        let options = SqliteOptions { path: self.queues_file() };
        let open =
            || Lazy::<dyn QueueDriver>::new(move || Ok(Arc::new(SqliteQueues::open(&options, Arc::new(SystemClock))?)));
        self.queues.get_or_insert_with(open).clone()
    }

    /// The files and folders of the drivers that are open.
    pub(crate) fn opened_state(&self) -> Vec<PathBuf> {
        let file = |kind: &str, state: &str| self.state_folder.join(kind).join(format!("{state}.sqlite"));
        let mut opened: Vec<PathBuf> = self.databases.keys().map(|state| file("database", state)).collect();
        let caches = self.caches.iter().filter(|(_, driver)| driver.opened().is_some());
        opened.extend(caches.map(|(state, _)| file("cache", state)));
        let indexes = self.vector_indexes.iter().filter(|(_, index)| index.driver.opened().is_some());
        opened.extend(indexes.map(|(state, _)| file("vectorize", state)));
        let buckets = self.buckets.iter().filter(|(_, driver)| driver.opened().is_some());
        opened.extend(buckets.map(|(state, _)| self.state_folder.join("storage").join(state)));
        opened.extend(self.queues.iter().filter(|driver| driver.opened().is_some()).map(|_| self.queues_file()));
        opened
    }

    fn queues_file(&self) -> PathBuf {
        self.state_folder.join("queue").join("queues.sqlite")
    }
}

/// The models that a config names: what their names mean in its project.
#[derive(Default)]
pub(crate) struct ConfiguredModels {
    /// The file or the folder of each.
    pub(crate) files: BTreeMap<String, PathBuf>,
    /// The service behind each.
    pub(crate) served: BTreeMap<String, OpenAiModel>,
}

/// Sorts the models of a config by what runs them.
pub(crate) fn configured_models(binding: &AiBinding) -> anyhow::Result<ConfiguredModels> {
    let mut configured = ConfiguredModels::default();
    for model in &binding.models {
        match runner_of(model)? {
            Runner::Files(path) => {
                configured.files.insert(model.name.clone(), path);
            }
            Runner::Service(service) => {
                configured.served.insert(model.name.clone(), service);
            }
        }
    }
    Ok(configured)
}

/// What runs a model that the config names.
enum Runner {
    Files(PathBuf),
    Service(OpenAiModel),
}

fn runner_of(model: &AiModel) -> anyhow::Result<Runner> {
    let name = &model.name;
    chosen(aerostack_ai::drivers::DRIVERS, &format!("[ai.models.{name:?}]"), &model.driver)?;
    let driver = model.driver.name.as_ref().map(|driver| driver.value.as_str());
    match (driver, &model.path, &model.url) {
        (None | Some("candle"), Some(path), None) => Ok(Runner::Files(path.clone())),
        (None | Some("openai"), None, Some(_)) | (Some("openai"), None, None) => {
            let url = model.url.as_ref().map_or(DEFAULT_URL, |url| url.expose()).to_owned();
            let key = model.api_key.as_ref().map(|key| key.expose().to_owned());
            let task = match model.task {
                Some(AiTask::TextEmbeddings) => Task::TextEmbeddings,
                Some(AiTask::TextGeneration) => Task::TextGeneration,
                None => likely_task(name, &model.model),
            };
            Ok(Runner::Service(OpenAiModel { url, model: model.model.clone(), key, task }))
        }
        _ => bail!(
            "[ai.models.{name:?}] must say what runs it: `path` (a GGUF file or a folder of a model), or \
             `driver = \"openai\"` with `url`"
        ),
    }
}

/// What a model does whose config does not say so.
fn likely_task(name: &str, model: &str) -> Task {
    match catalogue::find(name) {
        Some(row) => row.task,
        None if model.to_lowercase().contains("embed") => Task::TextEmbeddings,
        None => Task::TextGeneration,
    }
}

/// The folder of models: what the config says, else `AEROSTACK_MODELS`, else where the system keeps data of this user.
pub(crate) fn models_folder(configured: Option<&Path>) -> anyhow::Result<ModelsFolder> {
    if let Some(folder) = configured {
        return Ok(ModelsFolder::new(folder));
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = match (set("AEROSTACK_MODELS"), set("XDG_DATA_HOME"), std::env::home_dir()) {
        (Some(folder), _, _) => folder,
        (None, Some(data), _) => data.join("aerostack").join("models"),
        (None, None, Some(home)) => home.join(".local").join("share").join("aerostack").join("models"),
        (None, None, None) => bail!("there is no place for models: set AEROSTACK_MODELS to a folder"),
    };
    Ok(ModelsFolder::new(std::path::absolute(&folder)?))
}

fn unopened(name: &str, kind: &'static str, driver: &'static str, summary: String) -> BindingInfo {
    BindingInfo { name: name.to_owned(), kind, driver, summary, state: BindingState::Lazy }
}

/// The file of a database.
pub(crate) fn database_file(state_folder: &Path, binding: &DatabaseBinding) -> PathBuf {
    state_folder.join("database").join(format!("{}.sqlite", binding.database.state))
}

/// The migrations of a database.
pub(crate) fn migrations(state_folder: &Path, binding: &DatabaseBinding) -> Migrations {
    Migrations::new(database_file(state_folder, binding), &binding.migrations_dir).with_table(&binding.migrations_table)
}

/// The driver that the config chooses. Fails where this build has no such driver, or the driver does not read an
/// option; the error is [`ConfigErrors`], with the lines.
fn chosen(drivers: &[DriverSpec], who: &str, choice: &DriverChoice) -> Result<DriverSpec, ConfigErrors> {
    let driver = match &choice.name {
        None => drivers.first(),
        Some(name) => drivers.iter().find(|driver| driver.name == name.value),
    };
    let Some(driver) = driver else {
        let names: Vec<String> = drivers.iter().map(|driver| format!("\"{}\"", driver.name)).collect();
        let asked = choice.name.as_ref().map_or("", |name| name.value.as_str());
        let diagnostic = Diagnostic::error(format!("{who}: this build has no driver {asked:?}"));
        let label = format!("there is: {}", names.join(", "));
        return Err(match &choice.name {
            Some(name) => diagnostic.at(name.span.clone(), label),
            None => diagnostic.help(label),
        }
        .into());
    };
    let unknown = choice.options.iter().filter(|option| !driver.options.contains(&option.key.as_str()));
    let diagnostics: Vec<Diagnostic> = unknown
        .map(|option| {
            let label = match driver.options {
                [] => "it has no options".to_owned(),
                known => format!("it has: {}", known.join(", ")),
            };
            Diagnostic::error(format!("{who}: the driver {:?} has no option {:?}", driver.name, option.key))
                .at(option.span.clone(), label)
        })
        .collect();
    if diagnostics.is_empty() { Ok(*driver) } else { Err(ConfigErrors { diagnostics }) }
}
