use std::path::PathBuf;

use super::queues::QueueBinding;
use crate::secret::Secret;
use crate::source::{Located, Span};

/// Everything on one worker's `env` but variables. Without any section of a kind its default binding is here:
/// `DB`, `CACHE`, `QUEUE`, `AI`, `VECTORIZE`, `STORAGE` (contract 1.1).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bindings {
    /// `[[d1_databases]]`.
    pub databases: Vec<DatabaseBinding>,
    /// `[[kv_namespaces]]`.
    pub caches: Vec<CacheBinding>,
    /// `[[queues.producers]]`.
    pub queues: Vec<QueueBinding>,
    /// `[ai]`; none only after `ai = false`.
    pub ai: Option<AiBinding>,
    /// `[[vectorize]]`.
    pub vector_indexes: Vec<VectorIndexBinding>,
    /// `[[r2_buckets]]`.
    pub buckets: Vec<BucketBinding>,
    /// `[[postgres_databases]]`.
    pub postgres: Vec<PostgresBinding>,
    /// Other workers of the project, and `[[services]]` with a `binding`.
    pub services: Vec<ServiceBinding>,
}

/// The kinds of [`Bindings`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BindingKind {
    /// A D1 database.
    Database,
    /// A KV namespace.
    Cache,
    /// A queue to send to.
    Queue,
    /// Models.
    Ai,
    /// A vector index.
    VectorIndex,
    /// An R2 bucket.
    Bucket,
    /// A Postgres database.
    Postgres,
    /// Another worker.
    Service,
}

/// What a binding is bound to: the name the config gives it, and the one its state is kept under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceName {
    /// As the config has it. A queue's has letters, digits, `_`, `-` and `.` alone.
    pub name: String,
    /// Unique in the process, safe as a file name: made from `name`, with `@mount` behind it in a mounted project.
    /// Bindings with the same state share their data.
    pub state: String,
}

/// A D1 database.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseBinding {
    /// The name on `env`.
    pub binding: String,
    /// `database_name`.
    pub database: ResourceName,
    /// `database_id`; only the platform uses it.
    pub database_id: Option<String>,
    /// The absolute folder of the migrations: `<root>/migrations` unless configured.
    pub migrations_dir: PathBuf,
    /// The table that records applied migrations: `d1_migrations` unless configured.
    pub migrations_table: String,
    /// What a power failure may take of it.
    pub durability: Durability,
    /// Where the database lives.
    pub driver: DriverChoice,
    /// None for the default binding.
    pub span: Option<Span>,
}

/// What a power failure may take of a database. The end of the process, however it comes, takes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Perhaps the last writes. A write does not wait for the disk.
    #[default]
    Normal,
    /// Nothing that was acknowledged. Each write waits for the disk.
    Full,
}

/// A KV namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheBinding {
    /// The name on `env`.
    pub binding: String,
    /// `id`.
    pub namespace: ResourceName,
    /// `preview_id`; only the platform uses it.
    pub preview_id: Option<String>,
    /// The smallest time to live that `put` accepts, in seconds: 60 as in production unless configured lower.
    pub min_ttl: u32,
    /// Where the namespace lives.
    pub driver: DriverChoice,
    /// None for the default binding.
    pub span: Option<Span>,
}

/// Models to run.
#[derive(Debug, Clone, PartialEq)]
pub struct AiBinding {
    /// The name on `env`.
    pub binding: String,
    /// The absolute folder of model files; none leaves it to the runtime.
    pub models_dir: Option<PathBuf>,
    /// `[ai.models."name"]`: models that are not found by their name alone.
    pub models: Vec<AiModel>,
    /// None for the default binding.
    pub span: Option<Span>,
}

/// One `[ai.models."name"]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AiModel {
    /// The name that `env.AI.run` is called with.
    pub name: String,
    /// The name that the driver knows it by; the same unless configured.
    pub model: String,
    /// What it does; none leaves it to the driver.
    pub task: Option<AiTask>,
    /// The absolute file or folder of the weights.
    pub path: Option<PathBuf>,
    /// The service that runs it.
    pub url: Option<Secret>,
    /// The key of that service; `key` is the same.
    pub api_key: Option<Secret>,
    /// What runs it; `provider` is the same.
    pub driver: DriverChoice,
    /// Its table.
    pub span: Span,
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AiTask {
    /// `text-generation`
    TextGeneration,
    /// `text-embeddings`
    TextEmbeddings,
}

/// A vector index.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorIndexBinding {
    /// The name on `env`.
    pub binding: String,
    /// `index_name`.
    pub index: ResourceName,
    /// Length of every vector; none takes it from the first write. 1 to 65536.
    pub dimensions: Option<u32>,
    /// How nearness is measured.
    pub metric: VectorMetric,
    /// Where the index lives.
    pub driver: DriverChoice,
    /// None for the default binding.
    pub span: Option<Span>,
}

/// How a vector index measures nearness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VectorMetric {
    /// By angle: 1 is the same direction.
    #[default]
    Cosine,
    /// By distance: 0 is the same point.
    Euclidean,
    /// By inner product.
    DotProduct,
}

/// An R2 bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketBinding {
    /// The name on `env`.
    pub binding: String,
    /// `bucket_name`.
    pub bucket: ResourceName,
    /// Where the bucket lives.
    pub driver: DriverChoice,
    /// None for the default binding.
    pub span: Option<Span>,
}

/// A Postgres database, on `env` as an object with a `connectionString` (contract 3.4).
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresBinding {
    /// The name on `env`.
    pub binding: String,
    /// `postgres://` or `postgresql://` with a host and a database; references are replaced.
    pub connection_string: Secret,
    /// The schema to search first.
    pub schema: Option<String>,
    /// Connections at most. 1 to 1000.
    pub pool_size: u32,
    /// The absolute folder of the migrations: `<root>/migrations_postgres` unless configured.
    pub migrations_dir: PathBuf,
    /// Its entry.
    pub span: Span,
}

/// Why a [`ServiceBinding`] is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceOrigin {
    /// A `[[services]]` entry asks for it.
    Requested,
    /// Every function and service is on the `env` of the others.
    Implied,
}

/// Another worker on `env`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceBinding {
    /// Why it is there.
    pub origin: ServiceOrigin,
    /// The name on `env`: `AUTH_HOOK`.
    pub binding: String,
    /// The second name of the same binding where it differs: `AUTH-HOOK`.
    pub alias: Option<String>,
    /// The [`Worker::name`](super::Worker::name) it calls; none when the project has no such worker, so that calls fail.
    pub worker: Option<String>,
    /// The name as the config has it, for messages.
    pub service: String,
    /// The named export it calls; none for the default export.
    pub entrypoint: Option<String>,
    /// `ctx.props` of the called worker.
    pub props: Option<serde_json::Value>,
    /// The entry that asks for it: of the called worker, or of the binding itself.
    pub span: Option<Span>,
}

/// Which driver serves a binding, and what that driver was told: `driver = "redis"`, `options = { url = "$REDIS_URL" }`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DriverChoice {
    /// None for the driver of the kind that needs no service.
    pub name: Option<Located<String>>,
    /// The driver checks these; each knows its line.
    pub options: Vec<DriverOption>,
}

/// One key of `options`.
#[derive(Debug, Clone, PartialEq)]
pub struct DriverOption {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: OptionValue,
    /// Where it stands.
    pub span: Span,
}

/// The value of a [`DriverOption`].
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// A string with its references replaced. Any of them may be a password, so all are secrets.
    Text(Secret),
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// A list.
    List(Vec<OptionValue>),
}

impl DriverChoice {
    /// The string option `key`.
    pub fn text(&self, key: &str) -> Option<&Secret> {
        self.options.iter().find(|option| option.key == key).and_then(|option| match &option.value {
            OptionValue::Text(text) => Some(text),
            _ => None,
        })
    }
}

impl Bindings {
    /// Whether a section of the config names this binding; the others are there by default.
    pub fn is_configured(&self, name: &str) -> bool {
        self.names().iter().any(|(known, _, span)| *known == name && span.is_some())
    }

    /// Every name on `env` that a binding takes, with its kind and place (none for defaults); aliases included.
    pub fn names(&self) -> Vec<(&str, BindingKind, Option<&Span>)> {
        let mut names = Vec::new();
        names.extend(self.databases.iter().map(|b| (b.binding.as_str(), BindingKind::Database, b.span.as_ref())));
        names.extend(self.caches.iter().map(|b| (b.binding.as_str(), BindingKind::Cache, b.span.as_ref())));
        names.extend(self.queues.iter().map(|b| (b.binding.as_str(), BindingKind::Queue, b.span.as_ref())));
        names.extend(self.ai.iter().map(|b| (b.binding.as_str(), BindingKind::Ai, b.span.as_ref())));
        names.extend(
            self.vector_indexes.iter().map(|b| (b.binding.as_str(), BindingKind::VectorIndex, b.span.as_ref())),
        );
        names.extend(self.buckets.iter().map(|b| (b.binding.as_str(), BindingKind::Bucket, b.span.as_ref())));
        names.extend(self.postgres.iter().map(|b| (b.binding.as_str(), BindingKind::Postgres, Some(&b.span))));
        for service in &self.services {
            names.push((service.binding.as_str(), BindingKind::Service, service.span.as_ref()));
            names.extend(
                service.alias.iter().map(|alias| (alias.as_str(), BindingKind::Service, service.span.as_ref())),
            );
        }
        names
    }
}

impl BindingKind {
    /// In words: "a database".
    pub fn described(self) -> &'static str {
        match self {
            Self::Database => "a database",
            Self::Cache => "a KV namespace",
            Self::Queue => "a queue",
            Self::Ai => "the AI binding",
            Self::VectorIndex => "a vector index",
            Self::Bucket => "a bucket",
            Self::Postgres => "a Postgres database",
            Self::Service => "a service",
        }
    }
}
