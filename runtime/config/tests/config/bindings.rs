use aerostack_config::{AiTask, BindingKind, Durability, OptionValue, VectorMetric};

use crate::{config_of, errors_of, load_from, project, warnings_of, worker_of};

fn names(config: &str) -> Vec<String> {
    worker_of(config).bindings.names().into_iter().map(|(name, _, _)| name.to_owned()).collect()
}

#[test]
fn all_six_bindings_exist_without_any_config() {
    let worker = worker_of("");
    let names: Vec<(&str, BindingKind)> =
        worker.bindings.names().into_iter().map(|(name, kind, _)| (name, kind)).collect();
    assert_eq!(
        names,
        [
            ("DB", BindingKind::Database),
            ("CACHE", BindingKind::Cache),
            ("QUEUE", BindingKind::Queue),
            ("AI", BindingKind::Ai),
            ("VECTORIZE", BindingKind::VectorIndex),
            ("STORAGE", BindingKind::Bucket),
        ]
    );
    let bindings = worker.bindings;
    assert_eq!(bindings.databases[0].database.name, "local-db");
    assert_eq!(bindings.databases[0].database.state, "local-db");
    assert_eq!(bindings.databases[0].migrations_dir.to_str(), Some("/project/migrations"));
    assert_eq!(bindings.databases[0].migrations_table, "d1_migrations");
    assert_eq!(bindings.caches[0].namespace.name, "local-kv");
    assert_eq!(bindings.caches[0].min_ttl, 60);
    assert_eq!(bindings.queues[0].queue.name, "local-queue");
    assert_eq!(bindings.vector_indexes[0].index.name, "local-vectors");
    assert_eq!(bindings.buckets[0].bucket.name, "local-storage");
    assert!(bindings.databases[0].span.is_none());
}

#[test]
fn a_section_of_a_kind_is_the_whole_truth_about_that_kind() {
    assert_eq!(
        names("[[d1_databases]]\nbinding = \"ANALYTICS\"\n"),
        ["ANALYTICS", "CACHE", "QUEUE", "AI", "VECTORIZE", "STORAGE"]
    );
    assert_eq!(names("d1_databases = []"), ["DB", "CACHE", "QUEUE", "AI", "VECTORIZE", "STORAGE"]);
}

#[test]
fn adjacent_sections_of_a_kind_all_count() {
    let config =
        "[[d1_databases]]\nbinding = \"A\"\n[[d1_databases]]\nbinding = \"B\"\n[[d1_databases]]\nbinding = \"C\"\n";
    assert_eq!(names(config)[..3], ["A", "B", "C"]);
}

#[test]
fn a_default_gives_way_to_anything_the_config_calls_by_its_name() {
    let worker = worker_of("[vars]\nCACHE = \"redis\"\n[[r2_buckets]]\nbinding = \"DB\"\n");
    assert!(worker.bindings.caches.is_empty());
    assert!(worker.bindings.databases.is_empty());
    assert_eq!(worker.bindings.buckets[0].binding, "DB");
}

#[test]
fn a_resource_without_a_name_is_named_after_its_binding() {
    let worker = worker_of(
        "[[kv_namespaces]]\nbinding = \"CACHE\"\n[[kv_namespaces]]\nbinding = \"USER_SESSIONS\"\n[[kv_namespaces]]\nbinding = \"X\"\nid = \"abc123\"\npreview_id = \"def\"\n",
    );
    let caches = worker.bindings.caches;
    assert_eq!(caches[0].namespace.name, "local-kv");
    assert_eq!(caches[1].namespace.name, "user-sessions");
    assert_eq!(caches[2].namespace.name, "abc123");
    assert_eq!(caches[2].preview_id.as_deref(), Some("def"));
}

#[test]
fn a_single_bracket_section_is_a_list_of_one() {
    let worker = worker_of("[d1_databases]\nbinding = \"DB\"\ndatabase_name = \"app\"\ndatabase_id = \"local-mock\"\n");
    assert_eq!(worker.bindings.databases[0].database.name, "app");
    assert_eq!(worker.bindings.databases[0].database_id.as_deref(), Some("local-mock"));
}

#[test]
fn migrations_of_a_database_can_lie_elsewhere() {
    let worker = worker_of(
        "[[d1_databases]]\nbinding = \"DB\"\nmigrations_dir = \"./db/../sql\"\nmigrations_table = \"applied\"\n",
    );
    assert_eq!(worker.bindings.databases[0].migrations_dir.to_str(), Some("/project/sql"));
    assert_eq!(worker.bindings.databases[0].migrations_table, "applied");
}

#[test]
fn two_bindings_of_one_database_must_agree_on_it() {
    let same = "[[d1_databases]]\nbinding = \"A\"\ndatabase_name = \"app\"\n[[d1_databases]]\nbinding = \"B\"\ndatabase_name = \"app\"\n";
    assert_eq!(worker_of(same).bindings.databases.len(), 2);
    let rendered = errors_of(&format!("{same}migrations_dir = \"other\"\n"));
    assert!(rendered.contains("the database \"app\" has two values of `migrations_dir`"), "{rendered}");
    assert!(rendered.contains("\"app\" is here first"), "{rendered}");
}

#[test]
fn any_id_is_taken_and_its_state_stays_in_the_state_folder() {
    let worker = worker_of(
        "[[d1_databases]]\nbinding = \"DB\"\ndatabase_name = \"../../etc/passwd\"\n\
         [[kv_namespaces]]\nbinding = \"KV\"\nid = \"<REPLACE_WITH_YOUR_ID>\"\n\
         [[kv_namespaces]]\nbinding = \"OTHER\"\nid = \"replace with your id\"\n\
         [[r2_buckets]]\nbinding = \"B\"\nbucket_name = \".hidden\"\n\
         [[vectorize]]\nbinding = \"V\"\nindex_name = \"a b\"\n",
    );
    let bindings = &worker.bindings;
    let resources = [
        (&bindings.databases[0].database, "../../etc/passwd", "etc-passwd-"),
        (&bindings.caches[0].namespace, "<REPLACE_WITH_YOUR_ID>", "replace-with-your-id-"),
        (&bindings.caches[1].namespace, "replace with your id", "replace-with-your-id-"),
        (&bindings.buckets[0].bucket, ".hidden", "hidden-"),
        (&bindings.vector_indexes[0].index, "a b", "a-b-"),
    ];
    for (resource, name, state) in resources {
        assert_eq!(resource.name, name);
        assert!(resource.state.starts_with(state) && !resource.state.contains(['/', ' ', '<']), "{resource:?}");
    }
    assert_ne!(bindings.caches[0].namespace.state, bindings.caches[1].namespace.state);
}

#[test]
fn a_queue_has_a_name_that_handlers_and_commands_can_use() {
    let rendered = errors_of("[[queues.producers]]\nbinding = \"Q\"\nqueue = \"a@b\"\n");
    assert!(rendered.contains("handlers and commands know the queue by this name"), "{rendered}");
}

#[test]
fn a_binding_name_is_a_name() {
    let rendered = errors_of("[[kv_namespaces]]\nbinding = \"my cache\"\n[[r2_buckets]]\nbinding = \"1ST\"\n");
    assert!(rendered.contains("\"my cache\" cannot be the name of a binding"), "{rendered}");
    assert!(rendered.contains("\"1ST\" cannot be the name of a binding"), "{rendered}");
}

#[test]
fn the_durability_can_be_raised_for_all_databases_or_for_one() {
    let durabilities = |config: &str| -> Vec<Durability> {
        worker_of(config).bindings.databases.iter().map(|database| database.durability).collect()
    };
    assert_eq!(durabilities(""), [Durability::Normal]);
    assert_eq!(durabilities("[database]\ndurability = \"full\"\n"), [Durability::Full]);
    let two = "[database]\ndurability = \"full\"\n[[d1_databases]]\nbinding = \"A\"\n[[d1_databases]]\nbinding = \"B\"\ndurability = \"normal\"\n";
    assert_eq!(durabilities(two), [Durability::Full, Durability::Normal]);
    let rendered = errors_of("[database]\ndurability = \"fsync\"\n");
    assert!(rendered.contains("\"normal\"") && rendered.contains("\"full\""), "{rendered}");
    let shared = "[[d1_databases]]\nbinding = \"A\"\ndatabase_name = \"x\"\n[[d1_databases]]\nbinding = \"B\"\ndatabase_name = \"x\"\ndurability = \"full\"\n";
    let rendered = errors_of(shared);
    assert!(rendered.contains("the database \"x\" has two values of `durability`"), "{rendered}");
}

#[test]
fn the_smallest_ttl_can_be_lowered_for_all_namespaces_or_for_one() {
    assert_eq!(worker_of("[cache]\nmin_ttl = 0\n").bindings.caches[0].min_ttl, 0);
    let worker = worker_of(
        "[cache]\nmin_ttl = 10\n[[kv_namespaces]]\nbinding = \"A\"\n[[kv_namespaces]]\nbinding = \"B\"\nmin_ttl = 1\n",
    );
    assert_eq!([worker.bindings.caches[0].min_ttl, worker.bindings.caches[1].min_ttl], [10, 1]);
    assert!(errors_of("[cache]\nmin_ttl = 61\n").contains("allowed: 0 to 60 seconds"));
}

#[test]
fn ai_can_be_switched_on_off_and_renamed() {
    let on = worker_of("ai = true").bindings.ai.expect("ai is on");
    assert_eq!(on.binding, "AI");
    assert!(on.span.is_some());
    assert_eq!(worker_of("ai = false").bindings.ai, None);
    assert_eq!(worker_of("[ai]\nbinding = \"MODELS\"\n").bindings.ai.expect("ai is on").binding, "MODELS");
    assert!(errors_of("ai = \"yes\"").contains("`ai` must be a table, true or false"));
}

#[test]
fn models_have_a_name_and_what_runs_them() {
    let environment = project(
        "[ai]\nmodels_dir = \"models\"\n[ai.models.\"@cf/meta/llama\"]\npath = \"models/llama.gguf\"\n[ai.models.\"gpt-4o-mini\"]\ndriver = \"openai\"\nurl = \"https://api.example/v1\"\napi_key = \"$OPENAI_KEY\"\n",
    )
    .with_variable("OPENAI_KEY", "sk-very-secret");
    let loaded = load_from(&environment);
    let ai = loaded.config.workers[0].bindings.ai.clone().expect("ai is on");
    assert_eq!(ai.models_dir.as_deref().and_then(|path| path.to_str()), Some("/project/models"));
    assert_eq!(ai.models[0].name, "@cf/meta/llama");
    assert_eq!(ai.models[0].model, "@cf/meta/llama");
    assert_eq!(ai.models[0].path.as_deref().and_then(|path| path.to_str()), Some("/project/models/llama.gguf"));
    assert_eq!(ai.models[1].driver.name.as_ref().map(|name| name.value.as_str()), Some("openai"));
    assert_eq!(ai.models[1].api_key.as_ref().map(aerostack_config::Secret::expose), Some("sk-very-secret"));
    assert!(!format!("{:?}", loaded.config).contains("sk-very-secret"));
}

#[test]
fn a_models_service_can_be_called_provider_and_its_key_key() {
    let environment = project(
        "[ai.models.fast]\nprovider = \"openai\"\nurl = \"https://api.example/v1\"\nkey = \"$KEY\"\nmodel = \"m\"\ntask = \"text-embeddings\"\n",
    )
    .with_variable("KEY", "sk-very-secret");
    let loaded = load_from(&environment);
    let model = loaded.config.workers[0].bindings.ai.clone().expect("ai is on").models.remove(0);
    assert_eq!(model.driver.name.as_ref().map(|name| name.value.as_str()), Some("openai"));
    assert_eq!(model.api_key.as_ref().map(aerostack_config::Secret::expose), Some("sk-very-secret"));
    assert_eq!((model.model.as_str(), model.task), ("m", Some(AiTask::TextEmbeddings)));
    assert!(!format!("{:?}", loaded.config).contains("sk-very-secret"));

    let rendered = errors_of("[ai.models.fast]\nprovider = \"openai\"\ndriver = \"openai\"\n");
    assert!(rendered.contains("`driver` and `provider` mean the same"), "{rendered}");
    let rendered = errors_of("[ai.models.fast]\nkey = \"sk-hidden\"\napi_key = \"sk-hidden\"\n");
    assert!(rendered.contains("`api_key` and `key` mean the same") && !rendered.contains("sk-hidden"), "{rendered}");
    let rendered = errors_of("[ai.models.fast]\ntask = \"poetry\"\n");
    assert!(rendered.contains("allowed: \"text-generation\", \"text-embeddings\""), "{rendered}");
}

#[test]
fn vector_indexes_have_dimensions_and_a_metric() {
    let index =
        worker_of("[[vectorize]]\nbinding = \"V\"\nindex_name = \"docs\"\ndimensions = 768\nmetric = \"euclidean\"\n")
            .bindings
            .vector_indexes
            .remove(0);
    assert_eq!(
        (index.index.name.as_str(), index.dimensions, index.metric),
        ("docs", Some(768), VectorMetric::Euclidean)
    );
    let rendered = errors_of("[[vectorize]]\nbinding = \"V\"\nmetric = \"manhattan\"\n");
    assert!(rendered.contains("allowed: \"cosine\", \"euclidean\", \"dot-product\""), "{rendered}");
}

#[test]
fn a_driver_gets_its_options_with_references_replaced() {
    let environment = project(
        "[[kv_namespaces]]\nbinding = \"CACHE\"\ndriver = \"redis\"\noptions = { url = \"redis://:$REDIS_PASSWORD@localhost\", pool = 4, tls = false, hosts = [\"a\", \"b\"] }\n",
    )
    .file(".dev.vars", "REDIS_PASSWORD=hunter2\n");
    let loaded = load_from(&environment);
    let cache = &loaded.config.workers[0].bindings.caches[0];
    assert_eq!(cache.driver.name.as_ref().map(|name| name.value.as_str()), Some("redis"));
    assert_eq!(cache.driver.text("url").map(aerostack_config::Secret::expose), Some("redis://:hunter2@localhost"));
    assert_eq!(cache.driver.options[1].value, OptionValue::Integer(4));
    assert_eq!(cache.driver.options[1].span.to_string(), "aerostack.toml:4:64");
    assert!(matches!(&cache.driver.options[3].value, OptionValue::List(items) if items.len() == 2));
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn postgres_keeps_the_default_database_and_hides_its_password() {
    let environment = project(
        "[[postgres_databases]]\nbinding = \"PG\"\nconnection_string = \"${DATABASE_URL}\"\nschema = \"app\"\n",
    )
    .with_variable("DATABASE_URL", "postgres://me:hunter2@db.example/app");
    let loaded = load_from(&environment);
    let bindings = &loaded.config.workers[0].bindings;
    assert_eq!(bindings.databases[0].binding, "DB");
    assert_eq!(bindings.postgres[0].connection_string.expose(), "postgres://me:hunter2@db.example/app");
    assert_eq!(bindings.postgres[0].pool_size, 10);
    assert_eq!(bindings.postgres[0].schema.as_deref(), Some("app"));
    assert_eq!(bindings.postgres[0].migrations_dir.to_str(), Some("/project/migrations_postgres"));
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
}

#[test]
fn a_bad_connection_string_is_explained_without_showing_it() {
    let rendered = errors_of(
        "[[postgres_databases]]\nbinding = \"PG\"\nconnection_string = \"mysql://me:hunter2@db/app\"\npool_size = 0\n",
    );
    assert!(rendered.contains("the `connection_string` of `PG` does not start with `postgres://`"), "{rendered}");
    assert!(rendered.contains("allowed: 1 to 1000 connections"), "{rendered}");
    assert!(!rendered.contains("hunter2"), "{rendered}");
}

#[test]
fn queues_have_producers_and_consumers() {
    let worker = worker_of(
        r#"
[[queues.producers]]
binding = "ORDERS"
queue = "orders"
delivery_delay = 5

[[queues.consumers]]
queue = "orders"
max_batch_size = 50
max_batch_timeout = 0
max_retries = 0
retry_delay = 30
max_concurrency = 2
visibility_timeout_ms = 1500
dead_letter_queue = "orders-dead"
"#,
    );
    assert_eq!(worker.bindings.queues.len(), 1);
    assert_eq!(worker.bindings.queues[0].delivery_delay, 5);
    let consumer = &worker.consumers[0];
    assert_eq!(consumer.queue.name, "orders");
    let settings = &consumer.settings;
    assert_eq!((settings.max_batch_size, settings.max_batch_timeout, settings.max_retries), (50, Some(0), 0));
    assert_eq!((settings.retry_delay, settings.max_concurrency), (30, Some(2)));
    assert_eq!(settings.visibility_timeout_ms, 1_500);
    assert_eq!(settings.dead_letter_queue.as_ref().map(|queue| queue.name.as_str()), Some("orders-dead"));
}

#[test]
fn consumers_alone_leave_the_default_queue_and_have_the_decided_defaults() {
    let worker = worker_of("[[queues.consumers]]\nqueue = \"local-queue\"\n");
    assert_eq!(worker.bindings.queues[0].binding, "QUEUE");
    assert_eq!(worker.consumers[0].queue, worker.bindings.queues[0].queue);
    let settings = &worker.consumers[0].settings;
    assert_eq!((settings.max_batch_size, settings.max_batch_timeout), (10, None));
    assert_eq!((settings.max_retries, settings.retry_delay), (3, 0));
    assert_eq!(settings.dead_letter_queue, None);
}

#[test]
fn a_queue_has_one_consumer_and_is_not_its_own_dead_letter_queue() {
    let rendered = errors_of(
        "[[queues.consumers]]\nqueue = \"q\"\ndead_letter_queue = \"q\"\n[[queues.consumers]]\nqueue = \"q\"\nmax_batch_size = 101\n",
    );
    assert!(rendered.contains("the queue \"q\" has two consumers"), "{rendered}");
    assert!(rendered.contains("the queue \"q\" is its own `dead_letter_queue`"), "{rendered}");
    assert!(rendered.contains("allowed: 1 to 100 messages"), "{rendered}");
}

#[test]
fn a_pull_consumer_is_a_warning_until_it_is_supported() {
    let rendered = warnings_of("[[queues.consumers]]\nqueue = \"q\"\ntype = \"http_pull\"\n");
    assert!(
        rendered.contains("pull consumers are not supported yet: the messages of \"q\" stay in the queue"),
        "{rendered}"
    );
}

#[test]
fn a_kind_that_is_not_a_table_is_one_error() {
    let rendered = errors_of("queues = 5\nd1_databases = [1, 2]\n");
    assert_eq!(rendered.matches("`queues` must be a table").count(), 1, "{rendered}");
    assert_eq!(rendered.matches("`d1_databases` is a list of tables").count(), 2, "{rendered}");
}

#[test]
fn the_state_folder_and_the_files_to_watch_are_absolute() {
    let config = config_of("");
    assert_eq!(config.root.to_str(), Some("/project"));
    assert_eq!(config.dev.persist_to.to_str(), Some("/project/.aerostack"));
    let watched: Vec<&str> = config.watched_files.iter().filter_map(|path| path.to_str()).collect();
    assert_eq!(watched, ["/project/aerostack.toml", "/project/.dev.vars"]);
}
