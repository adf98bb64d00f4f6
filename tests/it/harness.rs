//! What the tests are written with.
//!
//! [`TestWorker`] runs a worker's source in this process: a request in, a response out. [`TestServer`] puts one behind real
//! HTTP on a free port. [`Binary`] runs the `aerostack` binary on a project in a temporary folder.

mod binary;
mod connection;
mod http_client;
mod memory_group;
mod scripted_ai;
mod server;
mod test_models;
mod worker;

pub use binary::{Binary, Run, TestProject};
pub use connection::Connection;
pub use http_client::{HttpAnswer, exchange, get, send, try_get};
pub use memory_group::MemoryGroup;
pub use scripted_ai::{ScriptedAi, models as scripted_models};
pub use server::{TestServer, wait_until_idle};
pub use test_models::TestModels;
pub use worker::{TestWorker, WorkerAnswer, WorkerSetup, default_limits};

use libtest_mimic::{Failed, Trial};

/// A test that needs tokio, named as a sentence.
pub fn test<F, T>(name: &str, body: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    Trial::test(name.to_owned(), move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failed::from)?;
        runtime.block_on(body());
        Ok(())
    })
}

/// A test that takes minutes and wants the machine for itself: a soak, an attack, a thousand reloads. It runs where
/// `AEROSTACK_LONG` is set, as `./x test --long` does, and is ignored elsewhere.
pub fn long_test<F, T>(name: &str, body: F) -> Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    if is_long_run() { test(name, body).with_kind("long") } else { left_to_long_run(name) }
}

/// The same for a test that needs no tokio, or brings its own.
pub fn long_blocking_test(name: &str, body: impl FnOnce() + Send + 'static) -> Trial {
    if is_long_run() { blocking_test(name, body).with_kind("long") } else { left_to_long_run(name) }
}

/// A test that needs no tokio, or brings its own.
pub fn blocking_test(name: &str, body: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name.to_owned(), move || {
        body();
        Ok(())
    })
}

fn is_long_run() -> bool {
    std::env::var_os("AEROSTACK_LONG").is_some()
}

fn left_to_long_run(name: &str) -> Trial {
    let name = format!("{name} (ignored: takes minutes, `./x test --long` runs it)");
    Trial::test(name, || Ok(())).with_kind("long").with_ignored_flag(true)
}
