//! `[vars]`, `.dev.vars`, `[secrets]` and `env = [...]` (contract 3.1 and 3.7).

use serde_json::{Map, Number, Value as Json};

use super::project_file::Dialect;
use crate::dev_vars::DevVars;
use crate::diagnostic::Diagnostic;
use crate::document::{Entry, Kind, Table, Value};
use crate::model::{RequiredSecret, SecretPresence, Variable, VariableValue};
use crate::references::Expanded;
use crate::secret::Secret;
use crate::section::Section;

/// Variables by increasing precedence: `[vars]`, then `.dev.vars`, which replaces those of the same name. A required
/// secret that neither has is taken from the process environment: naming it is what makes it reachable.
pub(super) fn read_variables(
    root: &Section<'_>,
    dialect: Dialect,
    required: &[RequiredSecret],
    dev_vars: &DevVars,
) -> Vec<Variable> {
    let mut variables = read_vars(root, dialect);
    for dev_var in &dev_vars.variables {
        variables.retain(|variable| variable.name != dev_var.name);
        let value = root.reader.lookup.find(&dev_var.name).map_or_else(|| dev_var.value.clone(), Secret::new);
        variables.push(Variable {
            name: dev_var.name.clone(),
            value: VariableValue::Secret(value),
            span: dev_var.span.clone(),
        });
    }
    for secret in required {
        if variables.iter().any(|variable| variable.name == secret.name) {
            continue;
        }
        if let Some(value) = root.reader.lookup.find(&secret.name) {
            let value = VariableValue::Secret(Secret::new(value));
            variables.push(Variable { name: secret.name.clone(), value, span: secret.span.clone() });
        }
    }
    variables
}

/// `[secrets] NAME = "help text"` or `NAME = { description = "help text" }`, wrangler's `[secrets] required = [...]`,
/// and the list `env = [...]` of the top level.
pub(super) fn read_required_secrets(root: &Section<'_>, env_list: Option<&Entry>) -> Vec<RequiredSecret> {
    let mut required = Vec::new();
    let secrets = root.section("secrets");
    for entry in secrets.iter().flat_map(|section| &section.table.entries) {
        match &entry.value.kind {
            Kind::String(help) => {
                let span = root.reader.span(&entry.key_range);
                let help = (!help.is_empty()).then(|| help.clone());
                required.push(RequiredSecret { name: entry.key.clone(), help, presence: SecretPresence::Absent, span });
            }
            Kind::Array(names) if entry.key == "required" => add_names(root, names, &mut required),
            Kind::Table(table) => required.extend(read_described(root, entry, table)),
            _ => {
                let label = format!("expected a string, found {}", entry.value.described());
                let message = format!(
                    "`secrets.{}` must say what the secret is for, as a text or as `{{ description = \"...\" }}`",
                    entry.key
                );
                root.reader.error(&entry.value, message, label);
            }
        }
    }
    if let Some(Entry { value: Value { kind: Kind::Array(names), .. }, .. }) = env_list {
        add_names(root, names, &mut required);
    }
    required
}

/// `NAME = { description = "..." }`.
fn read_described(root: &Section<'_>, entry: &Entry, table: &Table) -> Option<RequiredSecret> {
    for other in table.entries.iter().filter(|other| other.key != "description") {
        let diagnostic = Diagnostic::warning(format!("unknown key `{}` in `secrets.{}`", other.key, entry.key))
            .at(root.reader.span(&other.key_range), "has no effect")
            .help("a secret has a `description`");
        root.reader.problems.report(diagnostic);
    }
    let help = match table.get("description") {
        None => None,
        Some(Entry { value: Value { kind: Kind::String(text), .. }, .. }) => (!text.is_empty()).then(|| text.clone()),
        Some(wrong) => {
            let message = format!("`secrets.{}.description` must be a string", entry.key);
            root.reader.error(&wrong.value, message, format!("expected a string, found {}", wrong.value.described()));
            return None;
        }
    };
    let span = root.reader.span(&entry.key_range);
    Some(RequiredSecret { name: entry.key.clone(), help, presence: SecretPresence::Absent, span })
}

/// Says which required secrets have no value, now that all variables are known.
pub(super) fn report_absent_secrets(root: &Section<'_>, required: &mut [RequiredSecret], variables: &[Variable]) {
    for secret in required {
        if variables.iter().any(|variable| variable.name == secret.name) {
            secret.presence = SecretPresence::Present;
            continue;
        }
        let name = &secret.name;
        let diagnostic = Diagnostic::warning(format!("the secret \"{name}\" is not set"))
            .at(secret.span.clone(), secret.help.clone().unwrap_or_default())
            .help(format!("add `{name}=...` to {}, or set it in the environment", root.reader.lookup.dev_vars.path));
        root.reader.problems.report(diagnostic);
    }
}

fn add_names(root: &Section<'_>, names: &[Value], required: &mut Vec<RequiredSecret>) {
    for name in names {
        let Kind::String(text) = &name.kind else {
            root.reader.error(name, "a list of names of secrets holds strings", format!("found {}", name.described()));
            continue;
        };
        if !required.iter().any(|secret: &RequiredSecret| secret.name == *text) {
            let span = root.reader.span(&name.range);
            required.push(RequiredSecret { name: text.clone(), help: None, presence: SecretPresence::Absent, span });
        }
    }
}

fn read_vars(root: &Section<'_>, dialect: Dialect) -> Vec<Variable> {
    let Some(section) = root.section("vars") else {
        return Vec::new();
    };
    section
        .table
        .entries
        .iter()
        .filter_map(|entry| {
            let value = match &entry.value.kind {
                Kind::String(text) if dialect == Dialect::Wrangler => VariableValue::Text(text.clone()),
                Kind::String(text) => match root.reader.expand(&entry.key, text, &entry.value)? {
                    Expanded::Literal(text) => VariableValue::Text(text),
                    Expanded::Resolved(text) => VariableValue::Secret(Secret::new(text)),
                },
                Kind::Date(text) => VariableValue::Text(text.clone()),
                _ => VariableValue::Json(json_of(&section, &entry.key, &entry.value)?),
            };
            Some(Variable { name: entry.key.clone(), value, span: root.reader.span(&entry.key_range) })
        })
        .collect()
}

/// The JSON of a value of `[vars]` or of `props`; strings inside it are taken as they are.
pub(super) fn json_of(section: &Section<'_>, key: &str, value: &Value) -> Option<Json> {
    Some(match &value.kind {
        Kind::String(text) | Kind::Date(text) => Json::String(text.clone()),
        Kind::Integer(number) => Json::Number(Number::from(*number)),
        Kind::Boolean(boolean) => Json::Bool(*boolean),
        Kind::Null => Json::Null,
        Kind::Float(number) => {
            let Some(number) = Number::from_f64(*number) else {
                let message = format!("`{key}` has a number that JSON does not have");
                section.reader.error(value, message, "infinite, not a number, or too great");
                return None;
            };
            Json::Number(number)
        }
        Kind::Array(items) => {
            Json::Array(items.iter().map(|item| json_of(section, key, item)).collect::<Option<Vec<_>>>()?)
        }
        Kind::Table(table) => {
            let mut map = Map::new();
            for entry in &table.entries {
                map.insert(entry.key.clone(), json_of(section, key, &entry.value)?);
            }
            Json::Object(map)
        }
    })
}
