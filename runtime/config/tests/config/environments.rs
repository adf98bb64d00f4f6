use std::path::Path;

use aerostack_config::{Colour, Loaded, MemoryEnvironment, load, render_all};

use crate::{load_from, project};

const CONFIG: &str = r#"
name = "app"
compatibility_date = "2026-01-01"

[vars]
API = "top"
SHARED = "top"

[[kv_namespaces]]
binding = "KV"
id = "top"

[[d1_databases]]
binding = "DB"
database_name = "top"

[triggers]
crons = ["0 * * * *"]

[[env.staging.d1_databases]]
binding = "DB"
database_name = "staging"
database_id = "1"

[env.staging.vars]
API = "staging"

[env.production]
name = "the-app"
"#;

fn staged(environment: &MemoryEnvironment, target: &str) -> Loaded {
    load(Path::new("aerostack.toml"), Some(target), environment).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn without_a_name_the_top_level_counts() {
    let loaded = load_from(&project(CONFIG));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.name, "app");
    assert_eq!(loaded.config.workers[0].bindings.databases[0].database.name, "top");
}

#[test]
fn an_environment_takes_over_settings_but_nothing_that_is_on_env() {
    let loaded = staged(&project(CONFIG), "staging");
    let worker = &loaded.config.workers[0];
    assert_eq!(loaded.config.name, "app-staging");
    assert_eq!(loaded.config.environment.as_deref(), Some("staging"));
    assert_eq!(worker.compatibility_date.as_deref(), Some("2026-01-01"));
    assert_eq!(worker.triggers.crons.len(), 1);
    assert_eq!(worker.bindings.databases[0].database.name, "staging");
    assert_eq!(worker.bindings.caches[0].binding, "CACHE", "the default, not the KV of the top level");
    assert_eq!(worker.variables.len(), 1);
}

#[test]
fn what_an_environment_does_not_take_over_is_a_warning_in_wranglers_words() {
    let rendered = render_all(&staged(&project(CONFIG), "staging").warnings, Colour::Never);
    insta::assert_snapshot!(rendered, @r#"
    warning: The following vars exist at the top level, but not on "env.staging.vars".
             This is not what you probably want, since "vars" configuration is not inherited by environments.
             Please add these vars to "env.staging.vars":
             - SHARED
     --> aerostack.toml:7:1
      |
    7 | SHARED = "top"
      | ^^^^^^

    warning: "kv_namespaces" exists at the top level, but not on "env.staging".
             This is not what you probably want, since "kv_namespaces" is not inherited by environments.
             Please add "kv_namespaces" to "env.staging".
     --> aerostack.toml:9:3
      |
    9 | [[kv_namespaces]]
      |   ^^^^^^^^^^^^^
    "#);
}

#[test]
fn an_environment_can_have_a_name_of_its_own() {
    assert_eq!(staged(&project(CONFIG), "production").config.name, "the-app");
}

#[test]
fn an_environment_that_is_not_there_is_an_error_with_a_guess() {
    let errors = load(Path::new("aerostack.toml"), Some("stagign"), &project(CONFIG)).expect_err("no such environment");
    let rendered = errors.render(Colour::Never);
    assert!(rendered.contains("there is no environment \"stagign\" in the config"), "{rendered}");
    assert!(rendered.contains("the config has: staging, production"), "{rendered}");
    assert!(rendered.contains("did you mean \"staging\"?"), "{rendered}");
}

#[test]
fn an_environment_can_have_its_own_dev_vars() {
    let environment = project("[env.staging]\n").file(".dev.vars", "A=1\n").file(".dev.vars.staging", "B=2\n");
    let loaded = staged(&environment, "staging");
    assert_eq!(loaded.config.workers[0].variables[0].name, "B");
    assert_eq!(loaded.config.workers[0].variables.len(), 1);
    let environment = project("[env.staging]\n").file(".dev.vars", "A=1\n");
    assert_eq!(staged(&environment, "staging").config.workers[0].variables[0].name, "A");
}

#[test]
fn unknown_keys_of_environments_that_are_not_used_are_found_too() {
    let loaded = load_from(&project("[env.staging]\nmian = \"x\"\n[[env.staging.d1_databases]]\nbindng = \"DB\"\n"));
    let messages: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages, ["unknown key `mian` in `env.staging`", "unknown key `bindng` in `env.staging.d1_databases`"]);
}

#[test]
fn services_that_are_workers_stay_and_service_bindings_do_not() {
    let config = "[[services]]\nname = \"mailer\"\nmain = \"src/index.ts\"\n[[services]]\nbinding = \"OTHER\"\nservice = \"mailer\"\n[env.staging]\n";
    let loaded = staged(&project(config), "staging");
    assert!(loaded.config.worker("mailer").is_some());
    let bindings: Vec<&str> =
        loaded.config.workers[0].bindings.services.iter().map(|service| service.binding.as_str()).collect();
    assert_eq!(bindings, ["MAILER"]);
    assert!(
        loaded.warnings[0].message.starts_with("\"services\" exists at the top level, but not on \"env.staging\".")
    );
}

#[test]
fn a_mounted_project_without_the_environment_uses_its_top_level() {
    let environment = project("[[functions]]\nname = \"sub\"\nproject = \"sub\"\n[env.staging]\n")
        .file("sub/aerostack.toml", "[vars]\nA = 1\n")
        .file("sub/src/index.ts", "");
    let loaded = staged(&environment, "staging");
    assert_eq!(loaded.config.worker("sub").expect("the worker exists").variables[0].name, "A");
}
