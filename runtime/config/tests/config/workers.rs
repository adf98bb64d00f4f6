use aerostack_config::{Config, MemoryEnvironment, WorkerRole};

use crate::{config_of, errors_from, errors_of, load_from, project, warnings_of, worker_of};

fn answer(config: &Config, path: &str) -> Option<(String, String)> {
    config.worker_for_path(path).map(|routed| (routed.worker.name.clone(), routed.path))
}

#[test]
fn an_empty_file_is_a_project_with_a_main_worker() {
    let config = config_of("");
    assert_eq!(config.name, "aerostack-app");
    assert_eq!(config.workers.len(), 1);
    assert_eq!(config.workers[0].role, WorkerRole::Main);
    assert_eq!(config.workers[0].main.to_str(), Some("/project/src/index.ts"));
    assert_eq!(answer(&config, "/any"), Some(("aerostack-app".to_owned(), "/any".to_owned())));
}

#[test]
fn a_name_is_sanitized() {
    assert_eq!(config_of("name = \"My  Cool_App!\"").name, "my-cool-app");
    assert_eq!(config_of("name = \"\"").name, "aerostack-app");
}

#[test]
fn main_is_a_string_or_a_section_with_a_path() {
    for config in ["main = \"api/worker.ts\"", "[main]\npath = \"./api/worker.ts\"\n", "main = \"api/x/../worker.ts\""]
    {
        let loaded = load_from(&project(config).file("api/worker.ts", ""));
        assert_eq!(loaded.config.workers[0].main.to_str(), Some("/project/api/worker.ts"));
    }
}

#[test]
fn without_main_src_index_ts_is_found_and_then_src_index_js() {
    let environment =
        MemoryEnvironment::new().file("aerostack.toml", "main = \"dist/worker.js\"").file("src/index.js", "");
    assert_eq!(load_from(&environment).config.workers[0].main.to_str(), Some("/project/src/index.js"));
    assert_eq!(worker_of("main = \"\"").main.to_str(), Some("/project/src/index.ts"));
}

#[test]
fn a_folder_stands_for_its_index_module() {
    let loaded = load_from(&project("main = \"api\"").file("api/index.js", ""));
    assert_eq!(loaded.config.workers[0].main.to_str(), Some("/project/api/index.js"));
}

#[test]
fn a_missing_entry_is_an_error_that_says_what_to_write() {
    let rendered = errors_from(&MemoryEnvironment::new().file("aerostack.toml", ""));
    assert!(rendered.contains("has neither src/index.ts nor src/index.js"), "{rendered}");
    let rendered = errors_of("main = \"src/index.js\"");
    assert!(rendered.contains("there is no file src/index.js"), "{rendered}");
    assert!(rendered.contains("did you mean \"src/index.ts\"?"), "{rendered}");
}

const FUNCTIONS: &str = r#"
name = "app"

[[functions]]
name = "auth-hook"
path = "functions/auth.ts"
route = "/auth/*"

[[functions]]
name = "auth-admin"
path = "functions/admin"
route = "/auth/admin/*"
strip_prefix = false

[[functions]]
name = "health"
path = "functions/health.ts"
route = "/health"

[[functions]]
name = "internal"
path = "functions/internal.ts"

[[services]]
name = "mailer"
main = "services/mailer.ts"

[[services]]
name = "api-gateway"
"#;

fn project_with_functions() -> MemoryEnvironment {
    project(FUNCTIONS)
        .file("functions/auth.ts", "")
        .file("functions/admin/index.ts", "")
        .file("functions/health.ts", "")
        .file("functions/internal.ts", "")
        .file("services/mailer.ts", "")
        .file("services/api-gateway/index.ts", "")
}

#[test]
fn functions_and_services_are_workers_of_the_same_process() {
    let config = load_from(&project_with_functions()).config;
    let names: Vec<(&str, WorkerRole)> = config.workers.iter().map(|w| (w.name.as_str(), w.role)).collect();
    assert_eq!(
        names,
        [
            ("app", WorkerRole::Main),
            ("auth-hook", WorkerRole::Function),
            ("auth-admin", WorkerRole::Function),
            ("health", WorkerRole::Function),
            ("internal", WorkerRole::Function),
            ("mailer", WorkerRole::Service),
            ("api-gateway", WorkerRole::Service),
        ]
    );
    assert_eq!(config.workers[2].main.to_str(), Some("/project/functions/admin/index.ts"));
    assert_eq!(config.workers[6].main.to_str(), Some("/project/services/api-gateway/index.ts"));
}

#[test]
fn the_longest_route_wins_and_its_prefix_is_stripped_unless_kept() {
    let config = load_from(&project_with_functions()).config;
    let answer = |path| answer(&config, path).expect("somebody answers");
    assert_eq!(answer("/auth/login"), ("auth-hook".to_owned(), "/login".to_owned()));
    assert_eq!(answer("/auth"), ("auth-hook".to_owned(), "/".to_owned()));
    assert_eq!(answer("/auth/admin/users"), ("auth-admin".to_owned(), "/auth/admin/users".to_owned()));
    assert_eq!(answer("/health"), ("health".to_owned(), "/health".to_owned()));
    assert_eq!(answer("/health/x"), ("app".to_owned(), "/health/x".to_owned()));
    assert_eq!(answer("/internal"), ("app".to_owned(), "/internal".to_owned()));
}

#[test]
fn every_worker_sees_the_others_under_both_names_but_not_itself() {
    let config = load_from(&project_with_functions()).config;
    let services = &config.workers[0].bindings.services;
    let hook = services.iter().find(|service| service.binding == "AUTH_HOOK").expect("the binding exists");
    assert_eq!(hook.alias.as_deref(), Some("AUTH-HOOK"));
    assert_eq!(hook.worker.as_deref(), Some("auth-hook"));
    assert_eq!(services.len(), 6);
    let of_hook = &config.worker("auth-hook").expect("the worker exists").bindings.services;
    assert_eq!(of_hook.len(), 5);
    assert!(!of_hook.iter().any(|service| service.binding == "AUTH_HOOK"));
    assert!(!of_hook.iter().any(|service| service.worker.as_deref() == Some("app")));
}

#[test]
fn functions_share_the_bindings_of_their_project() {
    let config = load_from(&project_with_functions()).config;
    let state =
        |name: &str| config.worker(name).expect("the worker exists").bindings.databases[0].database.state.clone();
    assert_eq!(state("auth-hook"), "local-db");
    assert_eq!(state("mailer"), "local-db");
}

#[test]
fn crons_and_consumers_go_to_the_main_worker_or_to_the_one_they_name() {
    let config = format!(
        "{FUNCTIONS}\n[[triggers]]\ncrons = [\"0 * * * *\"]\n[[triggers]]\ncrons = [\"1 * * * *\"]\nworker = \"mailer\"\n[[queues.consumers]]\nqueue = \"mails\"\nworker = \"mailer\"\n"
    );
    let config = load_from(&project_with_functions().file("aerostack.toml", config)).config;
    let mailer = config.worker("mailer").expect("the worker exists");
    assert_eq!(config.workers[0].triggers.crons[0].value.to_string(), "0 * * * *");
    assert_eq!(mailer.triggers.crons[0].value.to_string(), "1 * * * *");
    assert_eq!(mailer.consumers[0].queue.name, "mails");
    assert!(config.workers[0].consumers.is_empty());
}

#[test]
fn a_project_may_have_functions_only() {
    let environment = MemoryEnvironment::new()
        .file(
            "aerostack.toml",
            "[[functions]]\nname = \"a\"\npath = \"a.ts\"\nroute = \"/a/*\"\n[triggers]\ncrons = [\"* * * * *\"]\n",
        )
        .file("a.ts", "");
    let config = load_from(&environment).config;
    assert!(config.main_worker().is_none());
    assert_eq!(answer(&config, "/b"), None);
    assert_eq!(config.workers[0].triggers.crons.len(), 1, "the only worker there is");
}

#[test]
fn without_a_main_worker_crons_have_to_name_their_worker() {
    let functions = "[[functions]]\nname = \"a\"\npath = \"a.ts\"\n[[functions]]\nname = \"b\"\npath = \"a.ts\"\n";
    let config = format!(
        "{functions}[triggers]\ncrons = [\"* * * * *\"]\n[[queues.consumers]]\nqueue = \"q\"\nworker = \"c\"\n"
    );
    let rendered = errors_from(&MemoryEnvironment::new().file("aerostack.toml", config).file("a.ts", ""));
    assert!(rendered.contains("nothing says which worker this trigger belongs to"), "{rendered}");
    assert!(rendered.contains("the project has no worker \"c\""), "{rendered}");
    assert!(rendered.contains("its workers are: a, b"), "{rendered}");
}

#[test]
fn clashing_workers_and_routes_point_at_both_places() {
    let rendered = errors_from(
        &project("name = \"a\"\n[[functions]]\nname = \"a\"\npath = \"f.ts\"\nroute = \"/x/*\"\n[[functions]]\nname = \"b\"\npath = \"f.ts\"\nroute = \"/x/*\"\n[[services]]\nname = \"b\"\nmain = \"f.ts\"\n")
            .file("f.ts", ""),
    );
    assert!(rendered.contains("two workers have the name \"a\""), "{rendered}");
    assert!(rendered.contains("it is the name of the project"), "{rendered}");
    assert!(rendered.contains("two workers have the name \"b\""), "{rendered}");
    assert!(rendered.contains("two workers answer the route \"/x/*\""), "{rendered}");
}

#[test]
fn a_function_needs_a_path_a_name_and_a_sound_route() {
    let rendered = errors_of(
        "[[functions]]\nname = \"a\"\n[[functions]]\npath = \"src/index.ts\"\nroute = \"x*\"\n[[functions]]\nname = \"c\"\npath = \"none.ts\"\n[[functions]]\nname = \"d\"\npath = \"a\"\nproject = \"b\"\n",
    );
    assert!(rendered.contains("the function \"a\" has no `path`"), "{rendered}");
    assert!(rendered.contains("`name` is missing in [[functions]]"), "{rendered}");
    assert!(rendered.contains("\"x*\" is not a route"), "{rendered}");
    assert!(rendered.contains("there is no file none.ts"), "{rendered}");
    assert!(rendered.contains("a function has a `path` or a `project`, not both"), "{rendered}");
}

#[test]
fn a_worker_that_takes_the_name_of_a_default_binding_is_a_warning() {
    let loaded = load_from(&project("[[services]]\nname = \"cache\"\nmain = \"src/index.ts\"\n"));
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].message.contains("`env.CACHE` is the worker \"cache\" now"));
    assert!(loaded.config.workers[0].bindings.caches.is_empty());
}

/// The demo project: two projects side by side, each with its own everything.
fn project_with_mounts() -> MemoryEnvironment {
    MemoryEnvironment::new()
        .file(
            "aerostack.toml",
            "name = \"demo\"\n[[functions]]\nproject = \"examples/rest-api\"\nroute = \"/rest-api/*\"\n[[functions]]\nname = \"shop\"\nproject = \"examples/store\"\nroute = \"/shop/*\"\n",
        )
        .file("examples/rest-api/aerostack.toml", "name = \"anything\"\n[triggers]\ncrons = [\"0 0 * * *\"]\n[limits]\ncpu_ms = 7\n")
        .file("examples/rest-api/src/index.ts", "")
        .file("examples/rest-api/.dev.vars", "KEY=of-rest-api\n")
        .file(
            "examples/store/aerostack.toml",
            "[[d1_databases]]\nbinding = \"DB\"\ndatabase_name = \"store\"\n[[queues.consumers]]\nqueue = \"local-queue\"\ndead_letter_queue = \"dead\"\n[[functions]]\nname = \"auth\"\npath = \"auth.ts\"\nroute = \"/auth/*\"\n",
        )
        .file("examples/store/src/index.ts", "")
        .file("examples/store/auth.ts", "")
}

#[test]
fn mounted_projects_run_side_by_side_with_state_of_their_own() {
    let config = load_from(&project_with_mounts()).config;
    let names: Vec<&str> = config.workers.iter().map(|worker| worker.name.as_str()).collect();
    assert_eq!(names, ["rest-api", "shop", "shop/auth"]);
    let rest_api = &config.workers[0];
    assert_eq!(rest_api.role, WorkerRole::Function);
    assert_eq!(rest_api.root.to_str(), Some("/project/examples/rest-api"));
    assert_eq!(rest_api.main.to_str(), Some("/project/examples/rest-api/src/index.ts"));
    assert_eq!(rest_api.limits.cpu_ms, 7);
    assert_eq!(rest_api.triggers.crons.len(), 1);
    assert_eq!(rest_api.variables[0].name, "KEY");
    let database = &rest_api.bindings.databases[0];
    assert_eq!((database.database.name.as_str(), database.database.state.as_str()), ("local-db", "local-db@rest-api"));
    assert_eq!(database.migrations_dir.to_str(), Some("/project/examples/rest-api/migrations"));
    let shop = &config.workers[1];
    assert_eq!(shop.bindings.databases[0].database.state, "store@shop");
    assert_eq!(shop.bindings.caches[0].namespace.state, "local-kv@shop");
    assert_eq!(shop.consumers[0].queue, shop.bindings.queues[0].queue);
    assert_eq!(shop.consumers[0].settings.dead_letter_queue.as_ref().map(|q| q.state.as_str()), Some("dead@shop"));
    assert_eq!(config.workers[2].bindings.databases[0].database.state, "store@shop");
    assert!(shop.variables.is_empty());
    assert_eq!(config.watched_files.len(), 6);
}

#[test]
fn requests_reach_mounted_projects_below_their_route() {
    let config = load_from(&project_with_mounts()).config;
    assert_eq!(answer(&config, "/rest-api/items"), Some(("rest-api".to_owned(), "/items".to_owned())));
    assert_eq!(answer(&config, "/shop/cart"), Some(("shop".to_owned(), "/cart".to_owned())));
    assert_eq!(answer(&config, "/shop/auth/login"), Some(("shop/auth".to_owned(), "/login".to_owned())));
    assert_eq!(answer(&config, "/other"), None);
}

#[test]
fn a_mounted_project_sees_its_own_workers_only() {
    let config = load_from(&project_with_mounts()).config;
    assert!(config.workers[0].bindings.services.is_empty());
    assert_eq!(config.workers[1].bindings.services[0].binding, "AUTH");
    assert_eq!(config.workers[1].bindings.services[0].worker.as_deref(), Some("shop/auth"));
}

#[test]
fn a_main_worker_can_call_the_projects_it_mounts() {
    let config = load_from(&project_with_mounts().file("src/index.ts", "")).config;
    let services: Vec<(&str, Option<&str>)> =
        config.workers[0].bindings.services.iter().map(|s| (s.binding.as_str(), s.worker.as_deref())).collect();
    assert_eq!(services, [("REST_API", Some("rest-api")), ("SHOP", Some("shop"))]);
}

#[test]
fn problems_of_a_mounted_project_name_its_own_file() {
    let rendered = errors_from(&project_with_mounts().file("examples/store/aerostack.toml", "[limits]\ncpu_ms = 0\n"));
    assert!(rendered.contains("examples/store/aerostack.toml:2:10"), "{rendered}");
}

#[test]
fn a_project_cannot_mount_itself_or_a_folder_without_a_config() {
    let rendered = errors_of("[[functions]]\nname = \"me\"\nproject = \".\"\n[[functions]]\nproject = \"nowhere\"\n");
    assert!(rendered.contains("a mounted project cannot mount another one"), "{rendered}");
    assert!(rendered.contains("there is no aerostack.toml in nowhere"), "{rendered}");
}

#[test]
fn aliases_of_modules_are_kept_in_order() {
    let worker = worker_of("[alias]\n\"@lib\" = \"./lib\"\n\"a\" = \"b\"\n");
    assert_eq!(worker.alias, [("@lib".to_owned(), "./lib".to_owned()), ("a".to_owned(), "b".to_owned())]);
}

#[test]
fn what_belongs_to_the_platform_is_kept() {
    let metadata = config_of(
        "slug = \"s\"\nproject_id = \"p\"\ndescription = \"d\"\ncategory = \"c\"\ntags = [\"t\"]\nscopes = [\"x\"]\n",
    )
    .metadata;
    assert_eq!(metadata.project_slug.as_deref(), Some("s"));
    assert_eq!(metadata.project_id.as_deref(), Some("p"));
    assert_eq!((metadata.tags.len(), metadata.scopes.len()), (1, 1));
    assert_eq!(warnings_of("project_slug = \"a\"\nslug = \"b\""), "");
}
