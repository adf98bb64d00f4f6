//! Which of the project's databases, caches, queues or workers a command means.

use std::path::PathBuf;

use aerostack_config::{Bindings, CacheBinding, Config, DatabaseBinding, QueueBinding, ResourceName, Worker};
use anyhow::bail;

use crate::commands::{ProjectArguments, say, shown};

/// The project, and whose bindings are meant.
#[derive(clap::Args)]
pub(crate) struct ResourceArguments {
    #[command(flatten)]
    project: ProjectArguments,
    /// Limit to this worker (mounted projects may use the same names)
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
}

/// The project that a command works on.
pub(super) struct Opened<'a> {
    pub(super) state_folder: PathBuf,
    pub(super) config: Config,
    worker: Option<&'a str>,
}

/// A binding with data behind it.
pub(super) trait Resource: PartialEq + Sized {
    /// In words: `database`.
    const KIND: &'static str;

    fn of(bindings: &Bindings) -> &[Self];

    /// The name on `env`.
    fn binding(&self) -> &str;

    /// What it is bound to.
    fn resource(&self) -> &ResourceName;
}

impl Resource for DatabaseBinding {
    const KIND: &'static str = "database";

    fn of(bindings: &Bindings) -> &[Self] {
        &bindings.databases
    }

    fn binding(&self) -> &str {
        &self.binding
    }

    fn resource(&self) -> &ResourceName {
        &self.database
    }
}

impl Resource for CacheBinding {
    const KIND: &'static str = "cache";

    fn of(bindings: &Bindings) -> &[Self] {
        &bindings.caches
    }

    fn binding(&self) -> &str {
        &self.binding
    }

    fn resource(&self) -> &ResourceName {
        &self.namespace
    }
}

impl Resource for QueueBinding {
    const KIND: &'static str = "queue";

    fn of(bindings: &Bindings) -> &[Self] {
        &bindings.queues
    }

    fn binding(&self) -> &str {
        &self.binding
    }

    fn resource(&self) -> &ResourceName {
        &self.queue
    }
}

impl ResourceArguments {
    /// Reads the config.
    pub(super) fn open(&self) -> anyhow::Result<Opened<'_>> {
        let (config, state_folder) = self.project.open()?;
        Ok(Opened { state_folder, config, worker: self.worker.as_deref() })
    }
}

impl Opened<'_> {
    /// The one that `name` (a binding, or what it is bound to) means; the project's first without a name.
    pub(super) fn one<R: Resource>(&self, name: Option<&str>) -> anyhow::Result<&R> {
        let chosen = self.all::<R>(name)?;
        let first = chosen[0];
        let is_another = |other: &&&R| other.resource() != first.resource();
        let others: Vec<&str> = chosen.iter().filter(is_another).map(|other| other.resource().state.as_str()).collect();
        if !others.is_empty() {
            let (kind, name) = (R::KIND, &first.resource().state);
            say(&format!("using {kind} {name}, the first of the project; others: {}", others.join(", ")));
        }
        Ok(first)
    }

    /// All bindings to the one that `name` means; without a name, all there are. At least one.
    pub(super) fn all<R: Resource>(&self, name: Option<&str>) -> anyhow::Result<Vec<&R>> {
        let offers = self.offers::<R>()?;
        let Some(name) = name else {
            return Ok(offers.into_iter().map(|offer| offer.resource).collect());
        };
        let is_bound_as = |offer: &&Offer<'_, R>| offer.resource.binding() == name;
        let is_bound_to = |offer: &&Offer<'_, R>| {
            let resource = offer.resource.resource();
            resource.name == name || resource.state == name
        };
        let mut chosen: Vec<&Offer<'_, R>> = offers.iter().filter(is_bound_as).collect();
        if chosen.is_empty() {
            chosen = offers.iter().filter(is_bound_to).collect();
        }
        let kind = R::KIND;
        let Some(first) = chosen.first() else {
            bail!("no {kind} {name:?}; the project has:\n{}", list(&offers));
        };
        if chosen.iter().any(|other| other.resource.resource() != first.resource.resource()) {
            bail!("{name:?} is ambiguous, choose with --worker:\n{}", list(chosen));
        }
        Ok(chosen.into_iter().map(|offer| offer.resource).collect())
    }

    /// The worker that was named, or all. At least one.
    pub(super) fn workers(&self) -> anyhow::Result<Vec<&Worker>> {
        let workers = &self.config.workers;
        let Some(wanted) = self.worker else { return Ok(workers.iter().collect()) };
        let Some(worker) = self.config.worker(wanted) else {
            let names: Vec<&str> = workers.iter().map(|worker| worker.name.as_str()).collect();
            bail!("no worker {wanted:?}; the project has: {}", names.join(", "));
        };
        Ok(vec![worker])
    }

    /// What there is to choose from, each once. At least one.
    fn offers<R: Resource>(&self) -> anyhow::Result<Vec<Offer<'_, R>>> {
        let mut offers: Vec<Offer<'_, R>> = Vec::new();
        for worker in self.workers()? {
            for resource in R::of(&worker.bindings) {
                match offers.iter_mut().find(|offer| offer.resource == resource) {
                    Some(offer) => offer.workers.push(&worker.name),
                    None => offers.push(Offer { resource, workers: vec![&worker.name] }),
                }
            }
        }
        if offers.is_empty() {
            bail!("no {} in {}", R::KIND, shown(&self.config.file));
        }
        Ok(offers)
    }
}

/// A database, cache or queue, and the workers that share it.
struct Offer<'a, R> {
    resource: &'a R,
    workers: Vec<&'a str>,
}

fn list<'a, R: Resource + 'a>(offers: impl IntoIterator<Item = &'a Offer<'a, R>>) -> String {
    let lines: Vec<String> = offers
        .into_iter()
        .map(|Offer { resource, workers }| {
            let word = if workers.len() == 1 { "worker" } else { "workers" };
            format!("  {} ({}) of {word} {}", resource.binding(), resource.resource().state, workers.join(", "))
        })
        .collect();
    lines.join("\n")
}
