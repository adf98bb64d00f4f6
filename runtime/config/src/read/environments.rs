//! `[env.<name>]`: what an environment takes over from the top level, and what it does not (cloudflare-contract 13).

use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Entry, Kind, Table, Value};
use crate::schema::did_you_mean;
use crate::section::Reader;
use crate::source::Span;

/// Keys that an environment does not take over from the top level: what is on `env`, and what is a resource.
const NOT_INHERITED: &[&str] = &[
    "ai",
    "analytics_engine_datasets",
    "browser",
    "cloudchamber",
    "containers",
    "d1_databases",
    "data_blobs",
    "define",
    "dispatch_namespaces",
    "durable_objects",
    "hyperdrive",
    "images",
    "kv_namespaces",
    "media",
    "mtls_certificates",
    "pipelines",
    "postgres_databases",
    "queues",
    "r2_buckets",
    "ratelimits",
    "secrets",
    "secrets_store_secrets",
    "send_email",
    "services",
    "tail_consumers",
    "text_blobs",
    "unsafe",
    "vars",
    "vectorize",
    "version_metadata",
    "vpc_services",
    "wasm_modules",
    "worker_loaders",
    "workflows",
];

/// What to do when the config has no such environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MissingEnvironment {
    /// It was asked for by name: an error.
    Report,
    /// The asking project has it and this one is only mounted there: use the top level.
    UseTopLevel,
}

/// The environment that was asked for, as one table with what it takes over.
pub(super) struct Selected {
    pub(super) table: Table,
    /// Whether the environment gives itself a name; otherwise it is `<name>-<environment>`.
    pub(super) has_own_name: bool,
}

/// The table of `env.<name>` merged with the top level; none when there is no such environment.
pub(super) fn select(
    reader: &Reader<'_>,
    document: &Table,
    name: &str,
    missing: MissingEnvironment,
) -> Option<Selected> {
    let environments = document.get("env").and_then(|entry| match &entry.value.kind {
        Kind::Table(table) => Some(table),
        _ => None,
    });
    let found = environments.and_then(|table| table.get(name));
    let Some(entry) = found else {
        if missing == MissingEnvironment::Report {
            report_missing(reader.problems, environments, name);
        }
        return None;
    };
    let Kind::Table(own) = &entry.value.kind else {
        reader.error(&entry.value, format!("`env.{name}` must be a table"), "");
        return None;
    };
    let mut merged = own.clone();
    for inherited in &document.entries {
        if inherited.key == "env" || own.get(&inherited.key).is_some() {
            continue;
        }
        if inherited.key == "services" {
            merged.entries.push(inherited_services(reader, inherited, name));
        } else if NOT_INHERITED.contains(&inherited.key.as_str()) {
            warn_not_inherited(reader, inherited, name);
        } else {
            merged.entries.push(inherited.clone());
        }
    }
    warn_missing_vars(reader, document, own, name);
    Some(Selected { table: merged, has_own_name: own.get("name").is_some() })
}

fn report_missing(problems: &Problems, environments: Option<&Table>, name: &str) {
    let known: Vec<&str> =
        environments.iter().flat_map(|table| &table.entries).map(|entry| entry.key.as_str()).collect();
    let mut diagnostic = Diagnostic::error(format!("there is no environment \"{name}\" in the config"));
    if known.is_empty() {
        diagnostic = diagnostic.help(format!("add a section `[env.{name}]`"));
    } else {
        diagnostic = diagnostic.help(format!("the config has: {}", known.join(", ")));
    }
    problems.report(match did_you_mean(name, &known) {
        Some(hint) => diagnostic.help(hint),
        None => diagnostic,
    });
}

/// Entries that define workers are the structure of the project and stay; those that bind other workers do not.
fn inherited_services(reader: &Reader<'_>, services: &Entry, environment: &str) -> Entry {
    let items = match &services.value.kind {
        Kind::Array(items) => items.clone(),
        _ => vec![services.value.clone()],
    };
    let count = items.len();
    let workers: Vec<Value> = items
        .into_iter()
        .filter(|item| !matches!(&item.kind, Kind::Table(table) if table.get("binding").is_some()))
        .collect();
    if workers.len() < count {
        warn_not_inherited(reader, services, environment);
    }
    let value = Value { kind: Kind::Array(workers), range: services.value.range.clone() };
    Entry { value, ..services.clone() }
}

fn warn_not_inherited(reader: &Reader<'_>, entry: &Entry, environment: &str) {
    let key = &entry.key;
    let message = format!(
        "\"{key}\" exists at the top level, but not on \"env.{environment}\".\n\
         This is not what you probably want, since \"{key}\" is not inherited by environments.\n\
         Please add \"{key}\" to \"env.{environment}\"."
    );
    reader.problems.report(Diagnostic::warning(message).at(reader.span(&entry.key_range), ""));
}

/// An environment with its own `vars` lacks each variable that it does not repeat.
fn warn_missing_vars(reader: &Reader<'_>, document: &Table, own: &Table, environment: &str) {
    let (Some(top), Some(own)) = (document.get("vars"), own.get("vars")) else {
        return;
    };
    let (Kind::Table(top), Kind::Table(own_vars)) = (&top.value.kind, &own.value.kind) else {
        return;
    };
    let missing: Vec<&Entry> = top.entries.iter().filter(|entry| own_vars.get(&entry.key).is_none()).collect();
    let Some(first) = missing.first() else {
        return;
    };
    let names: Vec<String> = missing.iter().map(|entry| format!("- {}", entry.key)).collect();
    let message = format!(
        "The following vars exist at the top level, but not on \"env.{environment}.vars\".\n\
         This is not what you probably want, since \"vars\" configuration is not inherited by environments.\n\
         Please add these vars to \"env.{environment}.vars\":\n{}",
        names.join("\n")
    );
    let place: Span = reader.span(&first.key_range);
    reader.problems.report(Diagnostic::warning(message).at(place, ""));
}
