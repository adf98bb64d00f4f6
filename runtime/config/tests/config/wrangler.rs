use std::path::Path;

use aerostack_config::{Colour, Loaded, MemoryEnvironment, VariableValue, Weekdays, load};

fn load_file(name: &str, text: &str) -> Loaded {
    let environment = MemoryEnvironment::new().file(name, text).file("src/index.ts", "");
    load(Path::new(name), None, &environment).unwrap_or_else(|errors| panic!("{errors}"))
}

const JSONC: &str = r#"{
  // comments and trailing commas are fine
  "$schema": "node_modules/wrangler/config-schema.json",
  "name": "app",
  "main": "src/index.ts",
  "compatibility_date": "2026-11-01",
  "kv_namespaces": [{ "binding": "KV", "id": "abc" }],
  "d1_databases": [{ "binding": "DB", "database_name": "app", "database_id": "1", "migrations_dir": "db" }],
  "queues": { "producers": [{ "binding": "Q", "queue": "jobs" }], "consumers": [{ "queue": "jobs" }] },
  "r2_buckets": null,
  "triggers": { "crons": ["0 9 * * 1"] },
  "vars": { "PRICE": "$FIVE", "N": 1e3, "NONE": null, "BIG": 12345678901234567890 },
  "limits": { "cpu_ms": 100 },
  "routes": [{ "pattern": "example.com/*", "zone_name": "example.com" }],
}"#;

#[test]
fn wrangler_jsonc_is_read() {
    for name in ["wrangler.jsonc", "wrangler.json"] {
        let loaded = load_file(name, JSONC);
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let worker = &loaded.config.workers[0];
        assert_eq!(worker.bindings.caches[0].namespace.name, "abc");
        assert_eq!(worker.bindings.databases[0].migrations_dir.to_str(), Some("/project/db"));
        assert_eq!(worker.bindings.buckets[0].binding, "STORAGE", "null counts as absent");
        assert_eq!(worker.consumers[0].queue.name, "jobs");
        assert_eq!(worker.limits.cpu_ms, 100);
        assert_eq!(worker.variables[1].value, VariableValue::Json(serde_json::json!(1000.0)));
        assert_eq!(worker.variables[2].value, VariableValue::Json(serde_json::Value::Null));
    }
}

#[test]
fn wranglers_vars_are_literal_and_its_weekdays_are_cloudflares() {
    let loaded = load_file("wrangler.jsonc", JSONC);
    let worker = &loaded.config.workers[0];
    assert_eq!(worker.variables[0].value, VariableValue::Text("$FIVE".to_owned()));
    assert_eq!(worker.triggers.weekdays, Weekdays::Quartz);
    let toml =
        load_file("wrangler.toml", "[vars]\nA = \"$X $$\"\n[triggers]\ncrons = [\"0 9 * * 1\"]\nweekdays = \"unix\"\n");
    assert_eq!(toml.config.workers[0].variables[0].value, VariableValue::Text("$X $$".to_owned()));
    assert_eq!(toml.config.workers[0].triggers.weekdays, Weekdays::Unix);
}

#[test]
fn errors_of_a_json_file_show_its_lines() {
    let environment = MemoryEnvironment::new()
        .file("wrangler.jsonc", "{\n  \"name\": \"app\",\n  \"limits\": { \"cpu_ms\": true }\n}")
        .file("src/index.ts", "");
    let errors = load(Path::new("wrangler.jsonc"), None, &environment).expect_err("true is no number");
    insta::assert_snapshot!(errors.render(Colour::Never), @r#"
    error: `limits.cpu_ms` must be an integer
     --> wrangler.jsonc:3:25
      |
    3 |   "limits": { "cpu_ms": true }
      |                         ^^^^ expected an integer, found a boolean
    "#);
}

#[test]
fn json_that_does_not_parse_is_one_error_with_its_place() {
    for (text, expected) in [
        ("{\n  \"name\" \"app\"\n}", "wrangler.json:2:"),
        ("{\n  'name': 1\n}", "wrangler.json:2:"),
        ("", "the file holds no JSON value"),
        ("[1]", "a config is a JSON object"),
        ("{ \"name\": \"a\", \"name\": \"b\" }", "duplicate key \"name\""),
    ] {
        let environment = MemoryEnvironment::new().file("wrangler.json", text);
        let errors = load(Path::new("wrangler.json"), None, &environment).expect_err("it does not parse");
        let rendered = errors.render(Colour::Never);
        assert!(rendered.contains(expected), "{text:?}: {rendered}");
    }
}

#[test]
fn service_bindings_of_wrangler_find_the_workers_of_the_project() {
    let text = "name = \"app\"\n[[functions]]\nname = \"auth\"\npath = \"src/index.ts\"\n[[services]]\nbinding = \"LOGIN\"\nservice = \"auth\"\nentrypoint = \"Admin\"\nprops = { level = 3 }\n[[services]]\nbinding = \"SELF\"\nservice = \"app\"\n[[services]]\nbinding = \"FAR\"\nservice = \"elsewhere\"\n";
    let loaded = load_file("aerostack.toml", text);
    let auth = loaded.config.worker("auth").expect("the worker exists");
    let app = loaded.config.worker("app").expect("the worker exists");
    let login = app.bindings.services.iter().find(|service| service.binding == "LOGIN").expect("the binding exists");
    assert_eq!(login.worker.as_deref(), Some("auth"));
    assert_eq!(login.entrypoint.as_deref(), Some("Admin"));
    assert_eq!(login.props, Some(serde_json::json!({"level": 3})));
    assert!(auth.bindings.services.iter().any(|service| service.worker.as_deref() == Some("app")));
    assert_eq!(loaded.warnings[0].message, "the project has no worker \"elsewhere\": calls of `FAR` will fail");
    assert!(app.bindings.services.iter().any(|service| service.binding == "FAR" && service.worker.is_none()));
}

#[test]
fn wranglers_dev_host_is_not_an_address() {
    let loaded =
        load_file("wrangler.toml", "[dev]\nhost = \"example.com\"\nlocal_protocol = \"http\"\ninspector_port = 9\n");
    assert_eq!(loaded.config.dev.ip.to_string(), "127.0.0.1");
    assert!(loaded.warnings.is_empty());
}
