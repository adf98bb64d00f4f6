//! What is on `env`: databases, KV, vector indexes, buckets and models. Queues and Postgres have files of their own.
//!
//! A section of a kind is the whole truth about that kind: with one entry or more, exactly those entries exist. Without
//! any, the default binding of the kind exists, unless something else of the config takes its name.

use super::postgres::read_postgres;
use super::queues::{DEFAULT_QUEUE, read_producers};
use super::resource::{DefaultBinding, Place, driver_choice};
use crate::diagnostic::Diagnostic;
use crate::document::Kind;
use crate::model::{
    AiBinding, AiModel, AiTask, Bindings, BucketBinding, CacheBinding, DatabaseBinding, DriverChoice, Durability,
    QueueBinding, VectorIndexBinding, VectorMetric,
};
use crate::secret::Secret;
use crate::section::Section;
use crate::source::Located;

const DEFAULT_DATABASE: DefaultBinding = DefaultBinding { binding: "DB", resource: "local-db" };
const DEFAULT_CACHE: DefaultBinding = DefaultBinding { binding: "CACHE", resource: "local-kv" };
const DEFAULT_INDEX: DefaultBinding = DefaultBinding { binding: "VECTORIZE", resource: "local-vectors" };
const DEFAULT_BUCKET: DefaultBinding = DefaultBinding { binding: "STORAGE", resource: "local-storage" };
const DEFAULT_AI: &str = "AI";

/// The smallest time to live in seconds that KV accepts (cloudflare-contract 2.2).
const PRODUCTION_MIN_TTL: u64 = 60;

/// Which default bindings the config leaves room for, decided by kind alone; names are looked at afterwards.
pub(super) struct Explicit {
    pub(super) bindings: Bindings,
    /// Whether `ai = false` switches the default off.
    ai_is_off: bool,
    cache_min_ttl: u32,
    durability: Durability,
}

/// Reads all sections of bindings but services.
pub(super) fn read_bindings(root: &Section<'_>, place: &Place) -> Explicit {
    let cache_min_ttl =
        root.section("cache").and_then(|section| min_ttl(&section)).unwrap_or(PRODUCTION_MIN_TTL as u32);
    let durability = root.section("database").and_then(|section| durability(&section)).unwrap_or_default();
    let ai = read_ai(root, place);
    let ai_is_off = root.get("ai").is_some_and(|entry| matches!(entry.value.kind, Kind::Boolean(false)));
    let bindings = Bindings {
        databases: read_databases(root, place, durability),
        caches: read_caches(root, place, cache_min_ttl),
        queues: read_producers(root, place),
        ai,
        vector_indexes: read_vector_indexes(root, place),
        buckets: read_buckets(root, place),
        postgres: read_postgres(root, place),
        services: Vec::new(),
    };
    Explicit { bindings, ai_is_off, cache_min_ttl, durability }
}

impl Explicit {
    /// The names on `env` of the default bindings whose kind the config does not mention.
    pub(super) fn wanted_defaults(&self) -> Vec<&'static str> {
        let Bindings { databases, caches, queues, ai, vector_indexes, buckets, .. } = &self.bindings;
        [
            (databases.is_empty(), DEFAULT_DATABASE.binding),
            (caches.is_empty(), DEFAULT_CACHE.binding),
            (queues.is_empty(), DEFAULT_QUEUE.binding),
            (ai.is_none() && !self.ai_is_off, DEFAULT_AI),
            (vector_indexes.is_empty(), DEFAULT_INDEX.binding),
            (buckets.is_empty(), DEFAULT_BUCKET.binding),
        ]
        .into_iter()
        .filter_map(|(is_wanted, name)| is_wanted.then_some(name))
        .collect()
    }

    /// The bindings with the default of each kind that the config does not mention, where its name is free.
    pub(super) fn with_defaults(&self, place: &Place, is_taken: &dyn Fn(&str) -> bool) -> Bindings {
        let mut bindings = self.bindings.clone();
        let free: Vec<&str> = self.wanted_defaults().into_iter().filter(|name| !is_taken(name)).collect();
        if free.contains(&DEFAULT_DATABASE.binding) {
            bindings.databases.push(DatabaseBinding {
                binding: DEFAULT_DATABASE.binding.to_owned(),
                database: place.resource(DEFAULT_DATABASE.resource),
                database_id: None,
                migrations_dir: place.path("migrations"),
                migrations_table: "d1_migrations".to_owned(),
                durability: self.durability,
                driver: DriverChoice::default(),
                span: None,
            });
        }
        if free.contains(&DEFAULT_CACHE.binding) {
            bindings.caches.push(CacheBinding {
                binding: DEFAULT_CACHE.binding.to_owned(),
                namespace: place.resource(DEFAULT_CACHE.resource),
                preview_id: None,
                min_ttl: self.cache_min_ttl,
                driver: DriverChoice::default(),
                span: None,
            });
        }
        if free.contains(&DEFAULT_QUEUE.binding) {
            bindings.queues.push(QueueBinding {
                binding: DEFAULT_QUEUE.binding.to_owned(),
                queue: place.resource(DEFAULT_QUEUE.resource),
                delivery_delay: 0,
                driver: DriverChoice::default(),
                span: None,
            });
        }
        if free.contains(&DEFAULT_AI) {
            let binding = DEFAULT_AI.to_owned();
            bindings.ai = Some(AiBinding { binding, models_dir: None, models: Vec::new(), span: None });
        }
        if free.contains(&DEFAULT_INDEX.binding) {
            bindings.vector_indexes.push(VectorIndexBinding {
                binding: DEFAULT_INDEX.binding.to_owned(),
                index: place.resource(DEFAULT_INDEX.resource),
                dimensions: None,
                metric: VectorMetric::default(),
                driver: DriverChoice::default(),
                span: None,
            });
        }
        if free.contains(&DEFAULT_BUCKET.binding) {
            bindings.buckets.push(BucketBinding {
                binding: DEFAULT_BUCKET.binding.to_owned(),
                bucket: place.resource(DEFAULT_BUCKET.resource),
                driver: DriverChoice::default(),
                span: None,
            });
        }
        bindings
    }
}

fn durability(section: &Section<'_>) -> Option<Durability> {
    section.choice("durability", &["normal", "full"]).map(|choice| match choice {
        "full" => Durability::Full,
        _ => Durability::Normal,
    })
}

fn read_databases(root: &Section<'_>, place: &Place, default_durability: Durability) -> Vec<DatabaseBinding> {
    let mut databases: Vec<DatabaseBinding> = Vec::new();
    for section in root.sections("d1_databases") {
        let binding = section.binding();
        let migrations_dir = section.string("migrations_dir").map_or_else(|| "migrations".to_owned(), |dir| dir.value);
        let migrations_table = section.string("migrations_table");
        let database_id = section.string("database_id");
        let durability = durability(&section).unwrap_or(default_durability);
        let driver = driver_choice(&section);
        let Some(binding) = binding else {
            continue;
        };
        let Some(database) = place.resource_of(&section, "database_name", &binding.value, &DEFAULT_DATABASE) else {
            continue;
        };
        let database = DatabaseBinding {
            binding: binding.value,
            database,
            database_id: database_id.map(|id| id.value),
            migrations_dir: place.path(migrations_dir),
            migrations_table: migrations_table.map_or_else(|| "d1_migrations".to_owned(), |table| table.value),
            durability,
            driver,
            span: Some(binding.span),
        };
        if let Some(first) = databases.iter().find(|first| first.database == database.database) {
            report_contradiction(&section, first, &database);
        }
        databases.push(database);
    }
    databases
}

/// Two bindings may share a database, but then they must agree on what it is.
fn report_contradiction(section: &Section<'_>, first: &DatabaseBinding, second: &DatabaseBinding) {
    let key = if first.database_id != second.database_id {
        "database_id"
    } else if first.migrations_dir != second.migrations_dir {
        "migrations_dir"
    } else if first.migrations_table != second.migrations_table {
        "migrations_table"
    } else if first.durability != second.durability {
        "durability"
    } else {
        return;
    };
    let (Some(first_span), Some(second_span)) = (first.span.clone(), second.span.clone()) else {
        return;
    };
    let name = &second.database.name;
    let diagnostic = Diagnostic::error(format!("the database \"{name}\" has two values of `{key}`"))
        .at(second_span, format!("\"{name}\" with another `{key}`"))
        .related(first_span, format!("\"{name}\" is here first"))
        .help("bindings with the same `database_name` share one database");
    section.reader.problems.report(diagnostic);
}

fn read_caches(root: &Section<'_>, place: &Place, default_min_ttl: u32) -> Vec<CacheBinding> {
    root.sections("kv_namespaces")
        .iter()
        .filter_map(|section| {
            let binding = section.binding();
            let preview_id = section.string("preview_id");
            let min_ttl = min_ttl(section).unwrap_or(default_min_ttl);
            let driver = driver_choice(section);
            let binding = binding?;
            Some(CacheBinding {
                namespace: place.resource_of(section, "id", &binding.value, &DEFAULT_CACHE)?,
                binding: binding.value,
                preview_id: preview_id.map(|id| id.value),
                min_ttl,
                driver,
                span: Some(binding.span),
            })
        })
        .collect()
}

fn min_ttl(section: &Section<'_>) -> Option<u32> {
    section.integer("min_ttl", 0..=PRODUCTION_MIN_TTL, "seconds").map(|seconds| seconds as u32)
}

fn read_buckets(root: &Section<'_>, place: &Place) -> Vec<BucketBinding> {
    root.sections("r2_buckets")
        .iter()
        .filter_map(|section| {
            let driver = driver_choice(section);
            let binding = section.binding()?;
            Some(BucketBinding {
                bucket: place.resource_of(section, "bucket_name", &binding.value, &DEFAULT_BUCKET)?,
                binding: binding.value,
                driver,
                span: Some(binding.span),
            })
        })
        .collect()
}

fn read_vector_indexes(root: &Section<'_>, place: &Place) -> Vec<VectorIndexBinding> {
    root.sections("vectorize")
        .iter()
        .filter_map(|section| {
            let dimensions = section.integer("dimensions", 1..=65_536, "");
            let metric = match section.choice("metric", &["cosine", "euclidean", "dot-product"]) {
                Some("euclidean") => VectorMetric::Euclidean,
                Some("dot-product") => VectorMetric::DotProduct,
                _ => VectorMetric::Cosine,
            };
            let driver = driver_choice(section);
            let binding = section.binding()?;
            Some(VectorIndexBinding {
                index: place.resource_of(section, "index_name", &binding.value, &DEFAULT_INDEX)?,
                binding: binding.value,
                dimensions: dimensions.map(|dimensions| dimensions as u32),
                metric,
                driver,
                span: Some(binding.span),
            })
        })
        .collect()
}

/// `ai = true`, `ai = false`, or `[ai]`.
fn read_ai(root: &Section<'_>, place: &Place) -> Option<AiBinding> {
    let entry = root.get("ai")?;
    if let Kind::Boolean(is_on) = entry.value.kind {
        let span = Some(root.reader.span(&entry.key_range));
        let binding = DEFAULT_AI.to_owned();
        return is_on.then_some(AiBinding { binding, models_dir: None, models: Vec::new(), span });
    }
    if !matches!(entry.value.kind, Kind::Table(_)) {
        root.wrong_kind(entry, "a table, true or false");
        return None;
    }
    let section = root.section("ai")?;
    let models_dir = section.string("models_dir").map(|dir| place.path(dir.value));
    let models = section.section("models").map_or_else(Vec::new, |models| read_models(&models, place));
    let binding = section.binding_or(Some(DEFAULT_AI))?;
    Some(AiBinding { binding: binding.value, models_dir, models, span: Some(binding.span) })
}

fn read_models(models: &Section<'_>, place: &Place) -> Vec<AiModel> {
    models
        .table
        .entries
        .iter()
        .filter_map(|entry| {
            let section = models.section(&entry.key)?;
            let task = section.choice("task", &["text-generation", "text-embeddings"]);
            let mut driver = driver_choice(&section);
            driver.name = only_one(&section, ["driver", "provider"], driver.name, section.string("provider"));
            let api_key = only_one(&section, ["api_key", "key"], section.expanded("api_key"), section.expanded("key"));
            Some(AiModel {
                name: entry.key.clone(),
                model: section.string("model").map_or_else(|| entry.key.clone(), |model| model.value),
                task: task.map(|task| match task {
                    "text-embeddings" => AiTask::TextEmbeddings,
                    _ => AiTask::TextGeneration,
                }),
                path: section.string("path").map(|path| place.path(path.value)),
                url: section.expanded("url").map(|url| Secret::new(url.value)),
                api_key: api_key.map(|key| Secret::new(key.value)),
                driver,
                span: section.span.clone(),
            })
        })
        .collect()
}

/// The value of two keys that mean the same.
fn only_one(
    section: &Section<'_>,
    keys: [&str; 2],
    first: Option<Located<String>>,
    second: Option<Located<String>>,
) -> Option<Located<String>> {
    if let (Some(first), Some(second)) = (&first, &second) {
        let [one, other] = keys;
        let diagnostic = Diagnostic::error(format!("`{one}` and `{other}` mean the same"))
            .at(second.span.clone(), "the same again")
            .related(first.span.clone(), format!("`{one}` is here"));
        section.reader.problems.report(diagnostic);
    }
    first.or(second)
}
