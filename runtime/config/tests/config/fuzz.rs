use std::path::Path;

use aerostack_config::{Colour, MemoryEnvironment, load, render_all};
use proptest::prelude::*;

/// Loads and renders everything there is to render; the test is that it returns.
fn survives(file: &str, bytes: &[u8], dev_vars: &[u8], target: Option<&str>) {
    let environment = MemoryEnvironment::new()
        .file(file, bytes)
        .file(".dev.vars", dev_vars)
        .file("src/index.ts", "")
        .with_variable("SET", "value");
    for colour in [Colour::Never, Colour::Always] {
        match load(Path::new(file), target, &environment) {
            Ok(loaded) => {
                let _ = (render_all(&loaded.warnings, colour), format!("{loaded:?}"));
                let _ = loaded.config.worker_for_path("/a/b");
            }
            Err(errors) => assert!(!errors.render(colour).is_empty()),
        }
    }
}

/// Lines that mix keys the config knows with values of every kind, so that random files get past the parser.
fn config_line() -> impl Strategy<Value = String> {
    let header = prop::sample::select(vec![
        "[vars]",
        "[limits]",
        "[dev]",
        "[ai]",
        "[triggers]",
        "[[triggers]]",
        "[[functions]]",
        "[[services]]",
        "[secrets]",
        "[[d1_databases]]",
        "[[kv_namespaces]]",
        "[[queues.producers]]",
        "[[queues.consumers]]",
        "[[vectorize]]",
        "[[r2_buckets]]",
        "[[postgres_databases]]",
        "[env.staging]",
        "[[env.staging.services]]",
        "[cache]",
        "[main]",
        "[ai.models.x]",
        "[alias]",
        "[env.staging.vars]",
    ])
    .prop_map(str::to_owned);
    let key = prop::sample::select(vec![
        "name",
        "main",
        "path",
        "project",
        "route",
        "binding",
        "service",
        "queue",
        "crons",
        "weekdays",
        "missed",
        "weekdays",
        "worker",
        "env",
        "ai",
        "vars",
        "services",
        "functions",
        "d1_databases",
        "queues",
        "database_name",
        "id",
        "connection_string",
        "options",
        "driver",
        "cpu_ms",
        "port",
        "ip",
        "dead_letter_queue",
        "props",
        "strip_prefix",
        "url",
        "KEY",
        "zzz",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "\"src/index.ts\"",
            "\"$SET\"",
            "\"${UNSET}\"",
            "\"/a/*\"",
            "\"* * * * *\"",
            "1",
            "-1",
            "true",
            "[]",
            "{}",
            "[\"a\", 1]",
            "{ a = 1 }",
            "2026-11-01",
            "1.5",
            "\"\"",
            "[[]]",
            "\".\"",
            "\"DB\"",
            "\"a\"",
            "inf",
            "99999999999999999999",
            "\"postgres://a:b@c/d\"",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9$@/*. äß漢🦀-]{0,12}".prop_map(|text| format!("\"{text}\"")),
    ];
    prop_oneof![
        1 => header,
        4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => "\\PC{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), vars in prop::collection::vec(any::<u8>(), 0..80)) {
        for file in ["aerostack.toml", "wrangler.json"] {
            survives(file, &bytes, &vars, None);
        }
    }

    #[test]
    fn random_text_never_panics(text in "\\PC{0,120}", vars in "[A-Z=\"'#\\\\\n\r ä$]{0,60}") {
        for file in ["aerostack.toml", "wrangler.jsonc"] {
            survives(file, text.as_bytes(), vars.as_bytes(), Some("staging"));
        }
    }

    #[test]
    fn random_configs_never_panic(lines in prop::collection::vec(config_line(), 0..25), staging in any::<bool>()) {
        survives("aerostack.toml", lines.join("\n").as_bytes(), b"KEY=1\n", staging.then_some("staging"));
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let toml = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    survives("aerostack.toml", toml.as_bytes(), b"", None);
    let json = format!("{{\"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    survives("wrangler.json", json.as_bytes(), b"", None);
}
