//! The `aerostack` binary.

mod background;
mod commands;
mod descriptors;
mod drivers;
mod events;
mod limits_line;
mod listen;
mod logs;
mod migrations;
mod observed;
mod project;
mod running;
mod start_over;
mod start_table;
mod state;
mod status;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{cache, check, cron, db, dev, models, queue, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run Workers-style TypeScript functions on your own machine
///
/// SQL, a key-value cache, queues, cron and the web platform are built in. No Node.js, no account, no network.
#[derive(Parser)]
#[command(name = "aerostack", version, arg_required_else_help = true, after_help = GETTING_STARTED)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const GETTING_STARTED: &str = "\
Getting started:
  1. Write a function in src/index.ts:
       export default { fetch: () => Response.json({ hello: \"world\" }) }
  2. Put `name = \"hello\"` into aerostack.toml beside src.
  3. aerostack dev";

#[derive(Subcommand)]
enum Command {
    /// Serve the project on this machine and reload it on every save
    Dev(dev::Arguments),
    /// Run the project in production: one isolate per core, no reloading, no stack traces sent to clients
    Serve(serve::Arguments),
    /// Check the config, the modules and the migrations, without serving: for CI
    Check(check::Arguments),
    /// Query the project's databases and migrate them
    #[command(subcommand)]
    Db(db::Command),
    /// Read and change the project's caches
    #[command(subcommand)]
    Cache(cache::Command),
    /// Inspect the project's queues, send to them and empty them
    #[command(subcommand)]
    Queue(queue::Command),
    /// List the project's cron triggers and run them
    #[command(subcommand)]
    Cron(cron::Command),
    /// Manage the model files on this machine
    #[command(subcommand)]
    Models(models::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Db(command) => db::run(&command),
        Command::Cache(command) => cache::run(&command),
        Command::Queue(command) => queue::run(&command),
        Command::Cron(command) => cron::run(&command),
        Command::Models(command) => models::run(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            commands::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// The help of a command and of all below it, at 80 columns.
    fn pages_of(command: &mut clap::Command, path: &str, pages: &mut Vec<(String, String)>) {
        let path = format!("{path} {}", command.get_name());
        *command = command.clone().term_width(80);
        pages.push((path.clone(), command.render_long_help().to_string()));
        for below in command.get_subcommands_mut() {
            pages_of(below, &path, pages);
        }
    }

    #[test]
    fn help_fits_into_80_columns_without_being_wrapped_a_second_time() {
        let mut all = Vec::new();
        pages_of(&mut Cli::command(), "", &mut all);
        assert!(all.len() > 20, "{}", all.len());
        for (path, page) in &all {
            for line in page.lines() {
                assert!(line.chars().count() <= 80, "{path}: {line}");
            }
        }
        let mut texts = Vec::new();
        after_help(&Cli::command(), &mut texts);
        for text in texts {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    /// What is written by hand below the options.
    fn after_help(command: &clap::Command, texts: &mut Vec<String>) {
        texts.extend(command.get_after_help().map(ToString::to_string));
        command.get_subcommands().for_each(|below| after_help(below, texts));
    }

    #[test]
    fn every_command_of_a_project_takes_a_config_and_an_environment() {
        fn look(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let has_no_commands = command.get_subcommands().next().is_none();
            if has_no_commands && command.get_name() != "help" {
                for flag in ["config", "env"] {
                    let takes = command.get_arguments().any(|argument| argument.get_long() == Some(flag));
                    assert!(takes, "{path} takes no --{flag}");
                }
            }
            command.get_subcommands().for_each(|below| look(below, &path));
        }
        look(&Cli::command(), "");
    }

    #[test]
    fn every_command_that_ends_has_json_for_programs() {
        fn look(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let has_no_commands = command.get_subcommands().next().is_none();
            if has_no_commands && !matches!(command.get_name(), "dev" | "serve" | "help") {
                let takes = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
                assert!(takes, "{path} takes no --json");
            }
            command.get_subcommands().for_each(|below| look(below, &path));
        }
        look(&Cli::command(), "");
    }
}
