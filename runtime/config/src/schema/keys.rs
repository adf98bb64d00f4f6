//! The tables of keys: contract 3.1, and what wrangler has beside it (cloudflare-contract section 13).

use super::{Below, Key, Support};

const fn read(name: &'static str) -> Key {
    Key { name, support: Support::Read, below: Below::Free }
}

const fn accepted(name: &'static str) -> Key {
    Key { name, support: Support::Accepted, below: Below::Free }
}

const fn unsupported(name: &'static str, what_is_missing: &'static str) -> Key {
    Key { name, support: Support::Unsupported(what_is_missing), below: Below::Free }
}

const fn section(name: &'static str, keys: &'static [Key]) -> Key {
    Key { name, support: Support::Read, below: Below::Keys(keys) }
}

/// Every key of the top level, and of `env.<name>`.
pub(crate) const TOP_LEVEL: &[Key] = &[
    // The worker.
    read("name"),
    section("main", &[read("path")]),
    read("compatibility_date"),
    read("compatibility_flags"),
    read("alias"),
    section("functions", FUNCTIONS),
    section("services", SERVICES),
    section("triggers", TRIGGERS),
    section("limits", LIMITS),
    section("outbound", OUTBOUND),
    section("server", SERVER),
    section("dev", DEV),
    Key { name: "env", support: Support::Read, below: Below::Environments },
    // What is on env.
    read("vars"),
    read("secrets"),
    section("d1_databases", D1_DATABASES),
    section("database", &[read("durability")]),
    section("kv_namespaces", KV_NAMESPACES),
    section("cache", &[read("min_ttl")]),
    section("queues", QUEUES),
    section("ai", AI),
    section("vectorize", VECTORIZE),
    section("r2_buckets", R2_BUCKETS),
    section("postgres_databases", POSTGRES_DATABASES),
    // The platform's.
    read("project_slug"),
    read("slug"),
    read("project_id"),
    read("api_key"),
    read("description"),
    read("category"),
    read("tags"),
    read("scopes"),
    accepted("commands"),
    // Wrangler's, without meaning for a local runtime.
    accepted("$schema"),
    accepted("account_id"),
    accepted("base_dir"),
    accepted("compliance_region"),
    accepted("dependencies_instrumentation"),
    accepted("find_additional_modules"),
    accepted("first_party_worker"),
    accepted("keep_names"),
    accepted("keep_vars"),
    accepted("legacy_env"),
    accepted("logpush"),
    accepted("migrations"),
    accepted("minify"),
    accepted("no_bundle"),
    accepted("observability"),
    accepted("pages_build_output_dir"),
    accepted("placement"),
    accepted("preserve_file_names"),
    accepted("preview_urls"),
    accepted("route"),
    accepted("routes"),
    accepted("send_metrics"),
    accepted("tail_consumers"),
    accepted("topLevelName"),
    accepted("tsconfig"),
    accepted("upload_source_maps"),
    accepted("usage_model"),
    accepted("userConfigPath"),
    accepted("workers_dev"),
    // Wrangler's that would change what a worker does.
    unsupported("analytics_engine_datasets", "the binding is not on `env`"),
    unsupported("assets", "static files are not served, and the binding is not on `env`"),
    unsupported("browser", "the binding is not on `env`"),
    unsupported("build", "the command is not run; point `main` at the source, TypeScript works as it is"),
    unsupported("cloudchamber", "no container is started"),
    unsupported("containers", "no container is started"),
    unsupported("data_blobs", "the binding is not on `env`"),
    unsupported("define", "names are not replaced; use `[vars]`"),
    unsupported("dispatch_namespaces", "the binding is not on `env`"),
    unsupported("durable_objects", "the binding is not on `env`, and the classes are not started"),
    unsupported("hyperdrive", "use `[[postgres_databases]]` with `binding` and `connection_string`"),
    unsupported("images", "the binding is not on `env`"),
    unsupported("jsx_factory", "the default of the compiler is used; a `@jsx` comment in the file works"),
    unsupported("jsx_fragment", "the default of the compiler is used; a `@jsxFrag` comment in the file works"),
    unsupported("media", "the binding is not on `env`"),
    unsupported("mtls_certificates", "the binding is not on `env`"),
    unsupported("pipelines", "the binding is not on `env`"),
    unsupported("ratelimits", "the binding is not on `env`"),
    unsupported("rules", "modules are told apart by their extension only"),
    unsupported("secrets_store_secrets", "the binding is not on `env`; use `.dev.vars`"),
    unsupported("send_email", "the binding is not on `env`"),
    unsupported("site", "static files are not served"),
    unsupported("text_blobs", "the binding is not on `env`"),
    unsupported("unsafe", "its bindings are not on `env`"),
    unsupported("version_metadata", "the binding is not on `env`"),
    unsupported("vpc_services", "the binding is not on `env`"),
    unsupported("wasm_modules", "import the `.wasm` file instead"),
    unsupported("worker_loaders", "the binding is not on `env`"),
    unsupported("workflows", "the binding is not on `env`, and no workflow is run"),
];

const FUNCTIONS: &[Key] =
    &[read("name"), read("path"), read("main"), read("project"), read("route"), read("strip_prefix")];

const SERVICES: &[Key] = &[
    read("name"),
    read("main"),
    read("binding"),
    read("service"),
    read("entrypoint"),
    read("props"),
    accepted("environment"),
    accepted("remote"),
];

const TRIGGERS: &[Key] = &[read("crons"), read("weekdays"), read("missed"), read("worker")];

const LIMITS: &[Key] = &[
    read("cpu_ms"),
    read("wall_ms"),
    read("event_wall_ms"),
    read("memory_mb"),
    read("array_buffer_mb"),
    read("request_body_mb"),
    read("response_body_mb"),
    read("concurrent_requests"),
    read("queued_requests"),
    read("subrequests"),
    read("log_kb"),
    read("wait_until_ms"),
    read("queue_backlog_mb"),
    read("connections"),
];

const OUTBOUND: &[Key] = &[read("allow"), read("deny"), read("private")];

const SERVER: &[Key] = &[read("trusted_proxies")];

const DEV: &[Key] = &[
    read("port"),
    read("ip"),
    read("host"),
    read("persist_to"),
    accepted("local_protocol"),
    accepted("upstream_protocol"),
    accepted("inspector_port"),
    accepted("inspector_ip"),
    accepted("enable_containers"),
    accepted("container_engine"),
    accepted("generate_types"),
];

const D1_DATABASES: &[Key] = &[
    read("binding"),
    read("database_name"),
    read("database_id"),
    read("migrations_dir"),
    read("migrations_table"),
    read("durability"),
    read("driver"),
    read("options"),
    accepted("preview_database_id"),
    accepted("migrations_pattern"),
    accepted("database_internal_env"),
    accepted("remote"),
];

const KV_NAMESPACES: &[Key] = &[
    read("binding"),
    read("id"),
    read("preview_id"),
    read("min_ttl"),
    read("driver"),
    read("options"),
    accepted("remote"),
];

const QUEUES: &[Key] = &[section("producers", PRODUCERS), section("consumers", CONSUMERS)];

const PRODUCERS: &[Key] =
    &[read("binding"), read("queue"), read("delivery_delay"), read("driver"), read("options"), accepted("remote")];

const CONSUMERS: &[Key] = &[
    read("queue"),
    read("worker"),
    read("type"),
    read("max_batch_size"),
    read("max_batch_timeout"),
    read("max_retries"),
    read("retry_delay"),
    read("max_concurrency"),
    read("dead_letter_queue"),
    read("visibility_timeout_ms"),
];

const AI: &[Key] = &[
    read("binding"),
    read("models_dir"),
    Key { name: "models", support: Support::Read, below: Below::Named(AI_MODEL) },
    accepted("staging"),
    accepted("remote"),
];

const AI_MODEL: &[Key] = &[
    read("model"),
    read("task"),
    read("path"),
    read("url"),
    read("api_key"),
    read("key"),
    read("driver"),
    read("provider"),
    read("options"),
];

const VECTORIZE: &[Key] = &[
    read("binding"),
    read("index_name"),
    read("dimensions"),
    read("metric"),
    read("driver"),
    read("options"),
    accepted("remote"),
];

const R2_BUCKETS: &[Key] = &[
    read("binding"),
    read("bucket_name"),
    read("driver"),
    read("options"),
    accepted("preview_bucket_name"),
    accepted("jurisdiction"),
    accepted("remote"),
];

const POSTGRES_DATABASES: &[Key] =
    &[read("binding"), read("connection_string"), read("schema"), read("pool_size"), read("migrations_dir")];

/// Where a key that people look for at the top level really is.
pub(super) fn usual_place(key: &str) -> Option<&'static str> {
    Some(match key {
        "cron" | "crons" | "schedule" | "schedules" => "`[triggers] crons = [...]`",
        "port" => "`[dev] port`",
        "host" | "ip" => "`[dev] ip`",
        "trusted_proxies" | "trust_proxy" => "`[server] trusted_proxies`",
        "d1" | "db" | "database" | "databases" | "sqlite" => "`[[d1_databases]]`",
        "kv" | "kv_namespace" => "`[[kv_namespaces]]`",
        "r2" | "bucket" | "buckets" | "storage" => "`[[r2_buckets]]`",
        "queue" | "producers" => "`[[queues.producers]]`",
        "consumers" => "`[[queues.consumers]]`",
        "vector" | "vectors" | "vector_indexes" => "`[[vectorize]]`",
        "postgres" | "postgresql" | "pg" => "`[[postgres_databases]]`",
        "models" => "`[ai.models.\"name\"]`",
        "entry" | "entrypoint" | "entry_point" => "`main`",
        "environment" | "environments" => "`[env.<name>]`",
        _ => return None,
    })
}
