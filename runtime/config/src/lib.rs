//! `aerostack.toml` as typed values.
//!
//! [`locate`] finds the file, [`load`] reads it with its `.dev.vars` and the projects it mounts into a [`Config`]: the
//! workers of the process, what is on the `env` of each, and when they run. Everything that is wrong is reported at
//! once as [`Diagnostic`]s that know their line. `wrangler.toml`, `wrangler.json` and `wrangler.jsonc` are read when a
//! folder has no `aerostack.toml`.
//!
//! This is the only crate that knows TOML. It asks the machine for variables and files through [`Environment`], so
//! nothing in it is global, and it opens no connection. The keys are documented in this crate's README.md.

mod dev_vars;
mod diagnostic;
mod document;
mod environment;
mod load;
mod locate;
mod model;
mod names;
mod paths;
mod read;
mod references;
mod render;
mod routes;
mod schema;
mod secret;
mod section;
mod source;

pub use self::diagnostic::{Colour, ConfigErrors, Diagnostic, Severity, render_all};
pub use self::environment::{Environment, MemoryEnvironment, ProcessEnvironment};
pub use self::load::{LoadOptions, Loaded, Precedence, ValueSources, load, load_with};
pub use self::locate::{CONFIG_FILE_NAMES, locate};
pub use self::model::{
    AiBinding, AiModel, AiTask, BindingKind, Bindings, BucketBinding, CacheBinding, Config, ConsumerKind,
    ConsumerSettings, DatabaseBinding, Dev, DriverChoice, DriverOption, Durability, Limits, Metadata, OptionValue,
    Outbound, PostgresBinding, Private, QueueBinding, QueueConsumer, RequiredSecret, ResourceName, Routed,
    SecretPresence, ServiceBinding, ServiceOrigin, Triggers, Variable, VariableValue, VectorIndexBinding, VectorMetric,
    Worker, WorkerRole,
};
pub use self::read::listen_address;
pub use self::routes::{Route, RouteReach};
pub use self::secret::Secret;
pub use self::source::{Located, Span};
pub use aerostack_cron::{CronExpression, Weekdays, WhenMissed};
pub use aerostack_outbound::Rule;
