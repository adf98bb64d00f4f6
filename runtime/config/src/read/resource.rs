//! What every kind of binding has: the thing it is bound to, and the driver that serves it.

use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::document::{Kind, Value};
use crate::model::{DriverChoice, DriverOption, OptionValue, ResourceName};
use crate::names::{is_resource_name, resource_name_of_binding, state_name};
use crate::paths::normalized;
use crate::section::Section;
use crate::source::Located;

/// Where the project of a config lies: on the disk, and among the projects of the process.
pub(crate) struct Place {
    /// The absolute folder of the config file.
    pub(crate) root: PathBuf,
    /// Empty for the project itself, `@mount` for a mounted one, so that state never collides.
    pub(crate) state_suffix: String,
}

/// The name on `env` of a kind that exists without any config, and what it is bound to then.
pub(crate) struct DefaultBinding {
    pub(crate) binding: &'static str,
    pub(crate) resource: &'static str,
}

impl Place {
    /// The absolute path of a path of the config.
    pub(crate) fn path(&self, text: impl AsRef<Path>) -> PathBuf {
        normalized(&self.root.join(text))
    }

    pub(crate) fn resource(&self, name: &str) -> ResourceName {
        ResourceName { name: name.to_owned(), state: format!("{}{}", state_name(name), self.state_suffix) }
    }

    /// Checks the name of a queue: handlers see it, and people type it.
    pub(crate) fn checked_queue(
        &self,
        section: &Section<'_>,
        key: &str,
        name: &Located<String>,
    ) -> Option<ResourceName> {
        if is_resource_name(&name.value) {
            return Some(self.resource(&name.value));
        }
        let diagnostic = Diagnostic::error(format!("`{key}` cannot be \"{}\"", name.value))
            .at(name.span.clone(), "letters, digits, `_`, `-` and `.`, no `.` first, at most 128")
            .help("handlers and commands know the queue by this name");
        section.reader.problems.report(diagnostic);
        None
    }

    /// What `binding` is bound to: `key` of its section, whatever text that is; without it the kind's default for the
    /// default binding, and for any other its own name in lower case.
    pub(crate) fn resource_of(
        &self,
        section: &Section<'_>,
        key: &str,
        binding: &str,
        default: &DefaultBinding,
    ) -> Option<ResourceName> {
        if section.get(key).is_some() {
            return section.required(key).map(|name| self.resource(&name.value));
        }
        Some(self.implied_resource(binding, default))
    }

    /// The queue that `binding` sends to, found as [`Place::resource_of`] does.
    pub(crate) fn queue_of(
        &self,
        section: &Section<'_>,
        binding: &str,
        default: &DefaultBinding,
    ) -> Option<ResourceName> {
        if section.get("queue").is_some() {
            return self.checked_queue(section, "queue", &section.required("queue")?);
        }
        Some(self.implied_resource(binding, default))
    }

    fn implied_resource(&self, binding: &str, default: &DefaultBinding) -> ResourceName {
        if binding == default.binding {
            return self.resource(default.resource);
        }
        self.resource(&resource_name_of_binding(binding))
    }
}

/// `driver = "redis"` and `options = { ... }`.
pub(crate) fn driver_choice(section: &Section<'_>) -> DriverChoice {
    let name = section.string("driver");
    let Some(options) = section.section("options") else {
        return DriverChoice { name, options: Vec::new() };
    };
    let options = options
        .table
        .entries
        .iter()
        .filter_map(|entry| {
            let value = option_value(&options, &entry.key, &entry.value)?;
            Some(DriverOption { key: entry.key.clone(), value, span: options.span_of(entry) })
        })
        .collect();
    DriverChoice { name, options }
}

fn option_value(section: &Section<'_>, key: &str, value: &Value) -> Option<OptionValue> {
    Some(match &value.kind {
        Kind::String(text) => {
            let expanded = section.reader.expand(key, text, value)?;
            OptionValue::Text(crate::secret::Secret::new(expanded.into_text()))
        }
        Kind::Integer(number) => OptionValue::Integer(*number),
        Kind::Float(number) => OptionValue::Float(*number),
        Kind::Boolean(value) => OptionValue::Boolean(*value),
        Kind::Array(items) => {
            OptionValue::List(items.iter().filter_map(|item| option_value(section, key, item)).collect())
        }
        Kind::Date(_) | Kind::Table(_) | Kind::Null => {
            let label = format!("expected a string, number, boolean or list, found {}", value.described());
            section.reader.error(value, format!("the option `{key}` has a wrong type"), label);
            return None;
        }
    })
}
