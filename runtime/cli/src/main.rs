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
mod status;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{cache, cron, db, dev, models, queue, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run Workers-style TypeScript functions on your own machine: SQL, key-value cache, queues, cron and the web platform built in. No
/// Node.js, no account, no network.
#[derive(Parser)]
#[command(name = "aerostack", version, arg_required_else_help = true, after_help = GETTING_STARTED)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const GETTING_STARTED: &str = "\
Getting started:
  1. Put a function into src/index.ts:
       export default { fetch: (request, env) => Response.json({ hello: \"world\" }) }
  2. Put `name = \"hello\"` into aerostack.toml beside src.
  3. aerostack dev";

#[derive(Subcommand)]
enum Command {
    /// Serve the project in this folder and reload it on every save
    Dev(dev::Arguments),
    /// Serve the project to others: one isolate a core, no reloading, no stack traces to clients
    Serve(serve::Arguments),
    /// Work with the project's databases
    #[command(subcommand)]
    Db(db::Command),
    /// Work with the project's caches
    #[command(subcommand)]
    Cache(cache::Command),
    /// Work with the project's queues
    #[command(subcommand)]
    Queue(queue::Command),
    /// Work with the project's cron triggers
    #[command(subcommand)]
    Cron(cron::Command),
    /// Work with the model files on this machine
    #[command(subcommand)]
    Models(models::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
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
