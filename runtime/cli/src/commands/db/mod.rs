//! `aerostack db`: the project's databases from the command line.
//!
//! Works on the files themselves, with or without a running `aerostack dev`.

mod execute;
mod migrate;

use aerostack_config::DatabaseBinding;
use anyhow::bail;

/// `aerostack db`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make, run and list migrations: the numbered SQL files that make the tables
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Run SQL and print the rows
    Execute(execute::Arguments),
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Migrate(command) => migrate::run(command),
        Command::Execute(arguments) => execute::run(arguments),
    }
}

/// Scripts and migrations need the file.
fn only_sqlite(binding: &DatabaseBinding) -> anyhow::Result<()> {
    match &binding.driver.name {
        Some(name) if name.value != "sqlite" => bail!(
            "the database {} has the driver {:?}, and `aerostack db` works with \"sqlite\" only",
            binding.binding,
            name.value
        ),
        _ => Ok(()),
    }
}
