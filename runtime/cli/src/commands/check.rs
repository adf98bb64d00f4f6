//! `aerostack check`: what is wrong with a project, without serving it.

use std::path::Path;
use std::sync::Arc;

use aerostack_config::{Diagnostic, Loaded, Severity, ValueSources, Worker as WorkerConfig};
use aerostack_database::migrations::MigrationError;
use aerostack_isolate::{ErrorReport, LoadError, Worker};
use aerostack_modules::Position;
use aerostack_telemetry::{Paint, Role, Terminal};
use anyhow::Context as _;
use serde_json::{Value, json};

use crate::commands::{AlreadyPrinted, ConfigArguments, counted, output, paint, say, shown};
use crate::observed::Observed;
use crate::project::{BuildError, Built, Project, frame_style, missing_models, unsupported};
use crate::running::{Face, colour_of, hide_secrets, load_error_text};

/// `aerostack check`
#[derive(clap::Args)]
#[command(after_help = "\
Reads the config, compiles all modules, applies the migrations to an empty
database and loads every worker, as aerostack dev would, in a state folder of
its own that is deleted afterwards. Prints every problem and exits with 1 if
one of them is an error.

Example:
  aerostack check --env production")]
pub(crate) struct Arguments {
    /// Print JSON: { ok, problems: [{ severity, worker, message, place, text }] }
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Something that is wrong with the project.
struct Problem {
    severity: Severity,
    /// None for the config.
    worker: Option<String>,
    /// In a line.
    message: String,
    /// `src/index.ts:3:1`, where it has a place.
    place: Option<String>,
    /// All there is to say, with a code frame.
    text: String,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // Before any other thread: see `initialise`.
    aerostack_isolate::initialise();
    let terminal = Terminal::beside_data(if arguments.json { Paint::Plain } else { paint() });
    let of_config =
        |all: &[Diagnostic]| -> Vec<Problem> { all.iter().map(|one| Problem::of_config(one, &terminal)).collect() };
    let loaded = match arguments.config.locate(ValueSources::default())? {
        Ok(source) => source.load().map_err(|failure| failure.errors),
        Err(errors) => Err(errors),
    };
    let Loaded { config, warnings } = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return report(arguments, None, &of_config(&errors.diagnostics)),
    };
    let mut problems = of_config(&warnings);
    problems
        .extend(unsupported(&config).into_iter().map(|sentence| Problem::warning(None, sentence, terminal.paint())));
    problems.extend(of_config(&missing_models(&config)));
    hide_secrets(&terminal, &config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let state = tempfile::tempdir().context("cannot create a temporary folder")?;
    for problem in runtime.block_on(check_workers(&config.workers, state.path(), &terminal)) {
        // What several workers share is wrong once.
        if problems.iter().all(|known| known.text != problem.text) {
            problems.push(problem);
        }
    }
    terminal.flush();
    let workers = counted(config.workers.len() as u64, "worker");
    report(arguments, Some(&format!("{}: {workers}", config.name)), &problems)
}

async fn check_workers(workers: &[WorkerConfig], state_folder: &Path, terminal: &Terminal) -> Vec<Problem> {
    let observed = Observed::by_nobody(terminal.clone());
    let mut project = Project::new(state_folder, &observed, Arc::new(|_| {}), Face::DEV);
    let mut problems = Vec::new();
    for config in workers {
        match project.build(config) {
            Err(errors) => problems.extend(errors.iter().flat_map(|error| Problem::of_build(error, config, terminal))),
            Ok(built) => problems.extend(load(built, config, terminal).await),
        }
    }
    problems
}

/// Loads a worker, which finds what only running its modules can find.
async fn load(built: Built, config: &WorkerConfig, terminal: &Terminal) -> Vec<Problem> {
    let version = built.version;
    let worker = match Worker::start(version.clone(), 1).await {
        Ok(worker) => worker,
        Err(error) => {
            let text = load_error_text(&error, &version, terminal.paint());
            let (message, place) = match &error {
                LoadError::Exception(exception) => {
                    let report = ErrorReport::new(exception, &version);
                    let place = report.frames.first().map(|frame| frame.location.clone());
                    (report.message.clone(), place)
                }
                _ => (error.to_string(), None),
            };
            let worker = Some(config.name.clone());
            return vec![Problem { severity: Severity::Error, worker, message, place, text }];
        }
    };
    let handlers = worker.handlers();
    worker.drain().await;
    let mut problems = Vec::new();
    let paint = terminal.paint();
    let mut warn = |message: &str| problems.push(Problem::warning(Some(&config.name), message.to_owned(), paint));
    if !config.triggers.crons.is_empty() && !handlers.scheduled {
        warn("cron triggers do not fire: the worker exports no `scheduled` handler");
    }
    if !config.consumers.is_empty() && !handlers.queue {
        warn("messages stay in their queues: the worker exports no `queue` handler");
    }
    problems
}

impl Problem {
    fn of_config(diagnostic: &Diagnostic, terminal: &Terminal) -> Self {
        Self {
            severity: diagnostic.severity,
            worker: None,
            message: diagnostic.message.clone(),
            place: diagnostic.span.as_ref().map(ToString::to_string),
            text: diagnostic.render(colour_of(terminal)),
        }
    }

    fn of_build(error: &BuildError, config: &WorkerConfig, terminal: &Terminal) -> Vec<Self> {
        let worker = Some(config.name.clone());
        let style = frame_style(terminal);
        match error {
            BuildError::Modules(errors) => {
                let of_module = |diagnostic: &aerostack_modules::Diagnostic| Self {
                    severity: Severity::Error,
                    worker: worker.clone(),
                    message: diagnostic.message.clone(),
                    place: Some(diagnostic.location()),
                    text: diagnostic.render(style),
                };
                errors.diagnostics.iter().map(of_module).collect()
            }
            BuildError::Migration(cause) => {
                let place = match cause {
                    MigrationError::Failed { file, text, position, .. } => {
                        let position = position.map(|position| Position::of_byte(text, position));
                        let place = position.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
                        Some(format!("{}{place}", shown(file)))
                    }
                    _ => None,
                };
                let message = cause.to_string();
                vec![Self { severity: Severity::Error, worker, message, place, text: error.render(style) }]
            }
            BuildError::Binding(cause) => vec![Self {
                severity: Severity::Error,
                worker,
                message: cause.to_string(),
                place: None,
                text: error.render(style),
            }],
        }
    }

    /// A warning without a place.
    fn warning(worker: Option<&str>, message: String, paint: Paint) -> Self {
        let of_worker = worker.map_or(String::new(), |worker| format!("{worker}: "));
        let text = format!("{}: {of_worker}{message}", paint.paint(Role::Warning, "warning"));
        Self { severity: Severity::Warning, worker: worker.map(str::to_owned), message, place: None, text }
    }
}

/// Prints the problems; an error where one of them is. `checked` is what was looked at, if it came to that.
fn report(arguments: &Arguments, checked: Option<&str>, problems: &[Problem]) -> anyhow::Result<()> {
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count() as u64;
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if arguments.json {
        let problems: Vec<Value> = problems.iter().map(as_json).collect();
        output(&json!({ "ok": errors == 0, "problems": problems }).to_string());
    } else {
        for problem in problems {
            say(&format!("{}\n", problem.text));
        }
        let checked = checked.map_or(String::new(), |checked| format!("{checked}, "));
        say(&format!("{checked}{}, {}", counted(errors, "error"), counted(warnings, "warning")));
    }
    if errors == 0 { Ok(()) } else { Err(AlreadyPrinted.into()) }
}

fn as_json(problem: &Problem) -> Value {
    json!({
        "severity": match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "worker": problem.worker,
        "message": problem.message,
        "place": problem.place,
        "text": problem.text,
    })
}
