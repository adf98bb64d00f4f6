//! Configs in, typed values and diagnostics out; no disk but in `real_files`.

mod bindings;
mod dev_vars;
mod diagnostics;
mod environments;
mod fuzz;
mod outbound;
mod real_files;
mod schedules_and_limits;
mod server;
mod variables;
mod workers;
mod wrangler;

use std::path::Path;

use aerostack_config::{Colour, Config, Loaded, MemoryEnvironment, Worker, load};

/// A project with `config` as its aerostack.toml and an entry module.
fn project(config: &str) -> MemoryEnvironment {
    MemoryEnvironment::new().file("aerostack.toml", config).file("src/index.ts", "")
}

fn load_from(environment: &MemoryEnvironment) -> Loaded {
    load(Path::new("aerostack.toml"), None, environment).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The config of a project without warnings.
fn config_of(config: &str) -> Config {
    let loaded = load_from(&project(config));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.config
}

/// The main worker of a project without warnings.
fn worker_of(config: &str) -> Worker {
    config_of(config).workers.remove(0)
}

/// The rendered errors of a project that cannot be used.
fn errors_from(environment: &MemoryEnvironment) -> String {
    match load(Path::new("aerostack.toml"), None, environment) {
        Ok(loaded) => panic!("it loads: {loaded:?}"),
        Err(errors) => errors.render(Colour::Never),
    }
}

fn errors_of(config: &str) -> String {
    errors_from(&project(config))
}

/// The rendered warnings of a project that can be used.
fn warnings_of(config: &str) -> String {
    aerostack_config::render_all(&load_from(&project(config)).warnings, Colour::Never)
}
