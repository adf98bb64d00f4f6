//! From the tree of a file to the typed model, one file a part of the config.

mod assignment;
mod bindings;
mod code;
mod dev;
mod environments;
mod limits;
mod metadata;
mod names_on_env;
mod outbound;
mod postgres;
mod project;
mod project_file;
mod queues;
mod resource;
mod server;
mod services;
mod triggers;
mod variables;
mod workers;

pub use self::dev::listen_address;
pub(crate) use self::project::{Project, ProjectReader};
pub(crate) use self::project_file::ProjectFile;
