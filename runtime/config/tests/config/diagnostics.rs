use std::path::Path;

use aerostack_config::{Colour, MemoryEnvironment, Severity, load};

use crate::{errors_from, errors_of, project, warnings_of};

#[test]
fn every_problem_of_a_file_is_reported_at_once() {
    insta::assert_snapshot!(errors_of(
        r#"
name = 7
compatability_date = "2026-11-01"

[limits]
cpu_ms = "fast"
memory_mb = 1

[[d1_databases]]
database_name = "app"

[triggers]
crons = ["0 9 * *", "@daily"]
"#
    ), @r#"
    error: `name` must be a string
     --> aerostack.toml:2:8
      |
    2 | name = 7
      |        ^ expected a string, found an integer

    warning: unknown key `compatability_date`
     --> aerostack.toml:3:1
      |
    3 | compatability_date = "2026-11-01"
      | ^^^^^^^^^^^^^^^^^^
      |
      = help: did you mean `compatibility_date`?

    error: `limits.cpu_ms` must be an integer
     --> aerostack.toml:6:10
      |
    6 | cpu_ms = "fast"
      |          ^^^^^^ expected an integer, found a string

    error: `limits.memory_mb` is out of range: 1
     --> aerostack.toml:7:13
      |
    7 | memory_mb = 1
      |             ^ allowed: 16 to 16384 MiB

    error: `binding` is missing in [[d1_databases]]
     --> aerostack.toml:9:1
      |
    9 | [[d1_databases]]
      | ^^^^^^^^^^^^^^^^ needs `binding = "..."`

    error: a cron expression has 5 fields, "0 9 * *" has 4
      --> aerostack.toml:13:10
       |
    13 | crons = ["0 9 * *", "@daily"]
       |          ^^^^^^^^^
       |
       = help: the fields are minute, hour, day of the month, month, weekday: "0 9 * * MON"

    error: a cron expression has 5 fields, "@daily" has 1
      --> aerostack.toml:13:21
       |
    13 | crons = ["0 9 * *", "@daily"]
       |                     ^^^^^^^^
       |
       = help: the fields are minute, hour, day of the month, month, weekday: "0 9 * * MON"
       = help: names such as @daily are not supported: write "0 0 * * *"
    "#);
}

#[test]
fn a_syntax_error_is_shown_in_its_line() {
    insta::assert_snapshot!(errors_of("name = \"app\"\nmain = src/index.ts\n[vars\n"), @r#"
    error: string values must be quoted, expected literal string
     --> aerostack.toml:2:8
      |
    2 | main = src/index.ts
      |        ^^^^^^^^^^^^

    error: unclosed table, expected `]`
     --> aerostack.toml:3:6
      |
    3 | [vars
      |      ^
    "#);
}

#[test]
fn a_duplicate_binding_name_points_at_both_places() {
    insta::assert_snapshot!(errors_of(
        "[[kv_namespaces]]\nbinding = \"DATA\"\n\n[[r2_buckets]]\nbinding = \"DATA\"\n"
    ), @r#"
    error: `env.DATA` has two meanings
     --> aerostack.toml:5:11
      |
    2 | binding = "DATA"
      |           ------ here it is a KV namespace
    ...
    5 | binding = "DATA"
      |           ^^^^^^ here it is a bucket
    "#);
}

#[test]
fn unknown_keys_are_warnings_with_a_guess_at_what_was_meant() {
    insta::assert_snapshot!(warnings_of(
        "mian = \"src/index.ts\"\ncrons = []\nflavour = 1\n[limits]\ncpu = 5\n[[kv_namespaces]]\nbinding = \"KV\"\nname = \"x\"\n"
    ), @r#"
    warning: unknown key `mian`
     --> aerostack.toml:1:1
      |
    1 | mian = "src/index.ts"
      | ^^^^
      |
      = help: did you mean `main`?

    warning: unknown key `crons`
     --> aerostack.toml:2:1
      |
    2 | crons = []
      | ^^^^^
      |
      = help: did you mean `[triggers] crons = [...]`?

    warning: unknown key `flavour`
     --> aerostack.toml:3:1
      |
    3 | flavour = 1
      | ^^^^^^^

    warning: unknown key `cpu` in `limits`
     --> aerostack.toml:5:1
      |
    5 | cpu = 5
      | ^^^
      |
      = help: did you mean `cpu_ms`?

    warning: unknown key `name` in `kv_namespaces`
     --> aerostack.toml:8:1
      |
    8 | name = "x"
      | ^^^^
      |
      = help: `name` is a key of the top level: move it above the first `[section]`
    "#);
}

#[test]
fn sections_that_are_not_supported_yet_say_what_is_missing() {
    insta::assert_snapshot!(warnings_of(
        "[durable_objects]\nbindings = [{ name = \"ROOM\", class_name = \"Room\" }]\n[[hyperdrive]]\nbinding = \"HD\"\nid = \"1\"\n"
    ), @r#"
    warning: `durable_objects` is not supported yet: the binding is not on `env`, and the classes are not started
     --> aerostack.toml:1:2
      |
    1 | [durable_objects]
      |  ^^^^^^^^^^^^^^^

    warning: `hyperdrive` is not supported yet: use `[[postgres_databases]]` with `binding` and `connection_string`
     --> aerostack.toml:3:3
      |
    3 | [[hyperdrive]]
      |   ^^^^^^^^^^
    "#);
}

#[test]
fn keys_that_mean_nothing_to_a_local_runtime_are_accepted_silently() {
    let config = "account_id = \"1\"\nworkers_dev = true\nlogpush = true\n[placement]\nmode = \"smart\"\n[observability]\nenabled = true\n[commands]\nbuild = \"x\"\n";
    assert_eq!(warnings_of(config), "");
}

#[test]
fn an_unset_reference_names_the_variable_and_hides_what_stands_beside_it() {
    insta::assert_snapshot!(errors_of(
        "[[postgres_databases]]\nbinding = \"PG\"\nconnection_string = \"postgres://me:hunter2@$PG_HOST/app\"\n"
    ), @r#"
    error: the variable "PG_HOST" is not set
     --> aerostack.toml:3:21
      |
    3 | connection_string = "**********************************"
      |                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ `connection_string` uses it here
      |
      = help: add `PG_HOST=...` to .dev.vars, or set it in the environment
    "#);
}

#[test]
fn a_secret_is_never_shown_even_in_a_line_that_does_not_parse() {
    let rendered = errors_of("[[postgres_databases]]\nconnection_string = \"postgres://me:hunter2@h/db\n");
    assert!(!rendered.contains("hunter2"), "{rendered}");
    assert!(rendered.contains("aerostack.toml:2:"), "{rendered}");
}

#[test]
fn colour_is_added_on_request_only() {
    let errors = load(Path::new("aerostack.toml"), None, &project("name = 1")).expect_err("a number is no name");
    assert!(!errors.render(Colour::Never).contains('\u{1b}'));
    assert!(errors.render(Colour::Always).contains('\u{1b}'));
    assert_eq!(errors.to_string(), errors.render(Colour::Never));
}

#[test]
fn errors_come_with_the_warnings_of_the_same_file_in_the_order_of_its_lines() {
    let errors = load(Path::new("aerostack.toml"), None, &project("[limits]\ncpu_ms = 0\nxyz = 1\n[dev]\nport = -1\n"))
        .expect_err("the numbers are out of range");
    let lines: Vec<(Severity, usize)> = errors
        .diagnostics
        .iter()
        .map(|diagnostic| (diagnostic.severity, diagnostic.span.as_ref().expect("a place").line_and_column().0))
        .collect();
    assert_eq!(lines, [(Severity::Error, 2), (Severity::Warning, 3), (Severity::Error, 5)]);
}

#[test]
fn positions_count_characters_and_survive_a_byte_order_mark_and_windows_line_ends() {
    let errors = load(
        Path::new("aerostack.toml"),
        None,
        &project("\u{feff}name = \"app\"\r\ndescription = \"grüße\"\r\nmain = { path = \"\", \"ö\" = 1 }\r\ntags = [\"ü\", 5]\r\n"),
    )
    .expect_err("5 is no tag");
    let places: Vec<String> =
        errors.diagnostics.iter().filter_map(|diagnostic| diagnostic.span.as_ref()).map(ToString::to_string).collect();
    assert_eq!(places, ["aerostack.toml:3:21", "aerostack.toml:4:14"], "{errors}");
}

#[test]
fn a_file_that_is_not_text_is_an_error_with_a_position() {
    let environment = MemoryEnvironment::new().file("aerostack.toml", b"name = \"a\"\nx = \"\xff\xfe\"".to_vec());
    let rendered = errors_from(&environment);
    assert!(rendered.contains("aerostack.toml is not UTF-8 text"), "{rendered}");
    assert!(rendered.contains("aerostack.toml:2:6"), "{rendered}");
}

#[test]
fn a_key_of_the_top_level_below_a_section_is_told_where_it_belongs() {
    let rendered = warnings_of("[limits]\ncpu_ms = 5\nmain = \"src/index.ts\"\n");
    assert!(rendered.contains("move it above the first `[section]`"), "{rendered}");
}
