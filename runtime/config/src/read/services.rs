//! How the workers of a project see each other on `env`.

use super::project_file::Dialect;
use super::variables::json_of;
use crate::diagnostic::Diagnostic;
use crate::model::{ServiceBinding, ServiceOrigin};
use crate::names::{sanitized_worker_name, service_binding_names};
use crate::schema::did_you_mean;
use crate::section::Section;
use crate::source::Span;

/// A worker that others of its project can call.
pub(super) struct Callable {
    /// The name inside its project, which bindings use.
    pub(super) local_name: String,
    /// The name in the process.
    pub(super) worker: String,
    /// Its entry in the config.
    pub(super) span: Option<Span>,
    /// Whether every other worker of the project has a binding to it without asking.
    pub(super) visibility: Visibility,
}

/// Which workers get a binding to a [`Callable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visibility {
    /// All others of the project: functions and services.
    Everyone,
    /// Those that have a `[[services]]` entry for it: the main worker.
    OnRequest,
}

/// Reads the `[[services]]` entries that bind (`binding`, `service`) instead of defining a worker.
pub(super) fn read_service_bindings(
    root: &Section<'_>,
    callable: &[Callable],
    dialect: Dialect,
) -> Vec<ServiceBinding> {
    root.sections("services")
        .iter()
        .filter(|section| defines_no_worker(section, dialect))
        .filter_map(|section| {
            let entrypoint = section.string("entrypoint").map(|entrypoint| entrypoint.value);
            let props = section.get("props").and_then(|entry| json_of(section, "props", &entry.value));
            let (binding, service) = (section.binding(), section.required("service"));
            let (binding, service) = (binding?, service?);
            let wanted = sanitized_worker_name(&service.value);
            let target = callable.iter().find(|callable| callable.local_name == wanted);
            if target.is_none() {
                let known: Vec<&str> = callable.iter().map(|callable| callable.local_name.as_str()).collect();
                let message =
                    format!("the project has no worker \"{}\": calls of `{}` will fail", service.value, binding.value);
                let diagnostic = Diagnostic::warning(message).at(service.span.clone(), "");
                root.reader.problems.report(match did_you_mean(&wanted, &known) {
                    Some(hint) => diagnostic.help(hint),
                    None => diagnostic,
                });
            }
            Some(ServiceBinding {
                origin: ServiceOrigin::Requested,
                binding: binding.value,
                alias: None,
                worker: target.map(|callable| callable.worker.clone()),
                service: service.value,
                entrypoint,
                props,
                span: Some(binding.span),
            })
        })
        .collect()
}

/// Whether a `[[services]]` entry is wrangler's: a binding to a worker, not a worker.
pub(super) fn defines_no_worker(section: &Section<'_>, dialect: Dialect) -> bool {
    section.get("binding").is_some()
        || section.get("service").is_some()
        || dialect == Dialect::Wrangler && section.get("main").is_none()
}

/// The bindings that exist without asking: every function and service under its own name, where an explicit binding
/// does not already give that name to the same worker.
pub(super) fn implied_service_bindings(callable: &[Callable], explicit: &[ServiceBinding]) -> Vec<ServiceBinding> {
    callable
        .iter()
        .filter(|callable| callable.visibility == Visibility::Everyone)
        .filter_map(|callable| {
            let (binding, alias) = service_binding_names(&callable.local_name);
            let is_explicit = |name: &str| {
                explicit.iter().any(|other| other.binding == name && other.worker.as_ref() == Some(&callable.worker))
            };
            if is_explicit(&binding) {
                return None;
            }
            Some(ServiceBinding {
                origin: ServiceOrigin::Implied,
                alias: alias.filter(|alias| !is_explicit(alias)),
                binding,
                worker: Some(callable.worker.clone()),
                service: callable.local_name.clone(),
                entrypoint: None,
                props: None,
                span: callable.span.clone(),
            })
        })
        .collect()
}
