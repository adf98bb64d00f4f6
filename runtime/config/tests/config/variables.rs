use aerostack_config::{SecretPresence, Variable, VariableValue, Worker};
use serde_json::json;

use crate::{errors_of, load_from, project, warnings_of, worker_of};

fn variable<'a>(worker: &'a Worker, name: &str) -> &'a Variable {
    worker.variables.iter().find(|variable| variable.name == name).expect("the variable exists")
}

fn secret(worker: &Worker, name: &str) -> String {
    match &variable(worker, name).value {
        VariableValue::Secret(secret) => secret.expose().to_owned(),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn vars_are_strings_numbers_booleans_lists_and_tables() {
    let worker = worker_of(
        "[vars]\nTEXT = \"a\"\nCOUNT = 3\nRATIO = 0.5\nON = true\nLIST = [1, \"b\"]\nDAY = 2026-11-01\nFLAGS = { beta = true, nested = { z = 1, a = \"$LEFT_ALONE\" } }\n",
    );
    let json_of = |name: &str| match &variable(&worker, name).value {
        VariableValue::Json(value) => value.clone(),
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!(variable(&worker, "TEXT").value, VariableValue::Text("a".to_owned()));
    assert_eq!(variable(&worker, "DAY").value, VariableValue::Text("2026-11-01".to_owned()));
    assert_eq!(json_of("COUNT"), json!(3));
    assert_eq!(json_of("RATIO"), json!(0.5));
    assert_eq!(json_of("ON"), json!(true));
    assert_eq!(json_of("LIST"), json!([1, "b"]));
    assert_eq!(json_of("FLAGS").to_string(), r#"{"beta":true,"nested":{"z":1,"a":"$LEFT_ALONE"}}"#);
}

#[test]
fn dev_vars_win_over_vars() {
    let loaded = load_from(&project("[vars]\nKEY = \"from the config\"\nOTHER = 1\n").file(".dev.vars", "KEY=local\n"));
    let worker = &loaded.config.workers[0];
    assert_eq!(secret(worker, "KEY"), "local");
    assert_eq!(worker.variables.len(), 2);
}

#[test]
fn references_are_looked_up_in_dev_vars_first_and_in_the_environment_then() {
    let environment = project("[vars]\nA = \"$ONE\"\nB = \"${TWO}/x\"\nC = \"a $ONE and $TWO\"\n")
        .file(".dev.vars", "ONE=dev\n")
        .with_variable("ONE", "process")
        .with_variable("TWO", "process");
    let loaded = load_from(&environment);
    let worker = &loaded.config.workers[0];
    assert_eq!(secret(worker, "A"), "dev");
    assert_eq!(secret(worker, "B"), "process/x");
    assert_eq!(secret(worker, "C"), "a dev and process");
}

#[test]
fn a_dollar_sign_that_names_nothing_is_a_dollar_sign() {
    let worker = worker_of("[vars]\nPRICE = \"$5, US$ 7, $\"\nPATTERN = \"^a$\"\nESCAPED = \"$$HOME and $${HOME}\"\n");
    assert_eq!(variable(&worker, "PRICE").value, VariableValue::Text("$5, US$ 7, $".to_owned()));
    assert_eq!(variable(&worker, "PATTERN").value, VariableValue::Text("^a$".to_owned()));
    assert_eq!(variable(&worker, "ESCAPED").value, VariableValue::Text("$HOME and ${HOME}".to_owned()));
}

#[test]
fn every_unset_reference_is_an_error_that_says_where_it_is_used() {
    let rendered = errors_of("[vars]\nA = \"$ONE-$TWO\"\nB = \"${broken\"\nC = \"${}\"\n");
    assert!(rendered.contains("the variable \"ONE\" is not set"), "{rendered}");
    assert!(rendered.contains("the variable \"TWO\" is not set"), "{rendered}");
    assert!(rendered.contains("`A` uses it here"), "{rendered}");
    assert!(rendered.contains("add `ONE=...` to .dev.vars, or set it in the environment"), "{rendered}");
    assert_eq!(rendered.matches("without a name and `}`").count(), 2, "{rendered}");
}

#[test]
fn the_process_environment_is_not_on_env_unless_the_config_names_it() {
    let environment = project("").with_variable("PATH", "/bin");
    assert!(load_from(&environment).config.workers[0].variables.is_empty());
    let environment =
        project("[secrets]\nOPENAI_KEY = \"get one at openai.example\"\n").with_variable("OPENAI_KEY", "sk-1");
    let loaded = load_from(&environment);
    assert!(loaded.warnings.is_empty());
    assert_eq!(secret(&loaded.config.workers[0], "OPENAI_KEY"), "sk-1");
    assert_eq!(loaded.config.required_secrets[0].presence, SecretPresence::Present);
}

#[test]
fn an_absent_secret_is_a_warning_with_its_help_text() {
    let loaded =
        load_from(&project("env = [\"SLACK_TOKEN\"]\n[secrets]\nOPENAI_KEY = \"get one at openai.example\"\n"));
    let rendered = aerostack_config::render_all(&loaded.warnings, aerostack_config::Colour::Never);
    insta::assert_snapshot!(rendered, @r#"
    warning: the secret "SLACK_TOKEN" is not set
     --> aerostack.toml:1:8
      |
    1 | env = ["SLACK_TOKEN"]
      |        ^^^^^^^^^^^^^
      |
      = help: add `SLACK_TOKEN=...` to .dev.vars, or set it in the environment

    warning: the secret "OPENAI_KEY" is not set
     --> aerostack.toml:3:1
      |
    3 | OPENAI_KEY = "get one at openai.example"
      | ^^^^^^^^^^ get one at openai.example
      |
      = help: add `OPENAI_KEY=...` to .dev.vars, or set it in the environment
    "#);
    assert!(loaded.config.required_secrets.iter().all(|secret| secret.presence == SecretPresence::Absent));
}

#[test]
fn secrets_are_hidden_in_debug_output() {
    let environment = project("api_key = \"$PLATFORM_KEY\"\n[vars]\nB = \"${TWO}\"\n")
        .file(".dev.vars", "ONE=hunter2\nPLATFORM_KEY=hunter4")
        .with_variable("TWO", "hunter3");
    let loaded = load_from(&environment);
    let shown = format!("{loaded:?} {loaded:#?}");
    assert!(shown.contains("Secret(***)"));
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(loaded.config.metadata.api_key.as_ref().map(aerostack_config::Secret::expose), Some("hunter4"));
}

#[test]
fn a_variable_with_the_name_of_a_binding_is_an_error() {
    let rendered = errors_of("[vars]\nKV = \"x\"\n[[kv_namespaces]]\nbinding = \"KV\"\n");
    assert!(rendered.contains("`env.KV` has two meanings"), "{rendered}");
    assert!(rendered.contains("here it is a variable"), "{rendered}");
    assert!(rendered.contains("here it is a KV namespace"), "{rendered}");
}

#[test]
fn numbers_that_json_does_not_have_are_errors() {
    let rendered = errors_of("[vars]\nA = inf\nB = [nan]\nC = 99999999999999999999\n");
    assert_eq!(rendered.matches("has a number that JSON does not have").count(), 2, "{rendered}");
}

#[test]
fn a_secret_is_described_by_a_text_or_by_a_table() {
    let config = "[secrets]\nA = \"get one\"\nB = { description = \"Token: found in Settings\" }\nC = {}\n";
    let help: Vec<(String, Option<String>)> = load_from(&project(config))
        .config
        .required_secrets
        .into_iter()
        .map(|secret| (secret.name, secret.help))
        .collect();
    let expected = [("A", Some("get one")), ("B", Some("Token: found in Settings")), ("C", None)];
    assert_eq!(help, expected.map(|(name, help)| (name.to_owned(), help.map(str::to_owned))));
    let warnings = warnings_of("[secrets]\nA = { description = \"x\", required = true }\n");
    assert!(warnings.contains("unknown key `required` in `secrets.A`"), "{warnings}");
    assert!(errors_of("[secrets]\nA = { description = 1 }\n").contains("`secrets.A.description` must be a string"));
    assert!(errors_of("[secrets]\nA = 1\n").contains("`secrets.A` must say what the secret is for"));
}
