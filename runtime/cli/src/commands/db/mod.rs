//! `aerostack db`: the project's databases from the command line.
//!
//! Works on the files themselves, with or without a running `aerostack dev`.

mod execute;
mod migrate;

use aerostack_config::DatabaseBinding;
use anyhow::bail;

use crate::commands::choice::ResourceArguments;

/// `aerostack db`
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Create, apply and list migrations, the numbered SQL files that define your tables
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Run SQL and print the rows
    Execute(execute::Arguments),
}

/// The one database that a command works on.
#[derive(clap::Args)]
struct DatabaseArguments {
    /// Database: its binding, for example DB, or its name [default: the first of the project]
    #[arg(long = "database", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    resources: ResourceArguments,
}

/// The databases that a command works on.
#[derive(clap::Args)]
struct DatabasesArguments {
    /// Database: its binding, for example DB, or its name [default: all of the project]
    #[arg(long = "database", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    resources: ResourceArguments,
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
