//! One file a verb; the folder mirrors the command line.

pub(crate) mod cache;
pub(crate) mod check;
mod choice;
pub(crate) mod cron;
pub(crate) mod db;
pub(crate) mod dev;
pub(crate) mod models;
pub(crate) mod queue;
pub(crate) mod serve;
mod source;
mod table;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use aerostack_config::{Colour, Config, ConfigErrors, Loaded, ValueSources};
use aerostack_telemetry::{ColourChoice, Paint, Paints, Role};
use anyhow::Context as _;

pub(crate) use self::source::{ConfigSource, LoadFailure};

/// The arguments that say which project, and in which environment.
#[derive(clap::Args)]
pub(crate) struct ConfigArguments {
    /// Config file, or the folder that holds it [default: the nearest one in this folder and those above it]
    #[arg(long, short, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Environment to use: the section [env.NAME] of the config, and .dev.vars.NAME [default: the top level]
    #[arg(long, short, value_name = "NAME")]
    env: Option<String>,
}

/// The same, and where the project's state is.
#[derive(clap::Args)]
pub(crate) struct ProjectArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// Folder for local state such as databases and caches [default: .aerostack beside the config]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) persist_to: Option<PathBuf>,
}

impl ConfigArguments {
    /// Finds the config. Where there is none, the errors come back.
    pub(crate) fn locate(&self, values: ValueSources) -> anyhow::Result<Result<ConfigSource, ConfigErrors>> {
        ConfigSource::locate(self.config.as_deref(), self.env.as_deref(), values)
    }

    /// Finds the config. That there is none is printed here.
    pub(crate) fn source(&self, values: ValueSources) -> anyhow::Result<ConfigSource> {
        Ok(self.locate(values)?.map_err(|errors| print_config_errors(&errors))?)
    }

    /// Whether the command names a config.
    pub(crate) fn is_explicit(&self) -> bool {
        self.config.is_some()
    }
}

impl ProjectArguments {
    /// Reads the config, and says where the state is. Errors of the config are printed here, all at once; warnings too.
    pub(crate) fn open(&self) -> anyhow::Result<(Config, PathBuf)> {
        self.open_with(ValueSources::default())
    }

    /// The same with other sources for the values of secrets.
    pub(crate) fn open_with(&self, values: ValueSources) -> anyhow::Result<(Config, PathBuf)> {
        let source = self.config.source(values)?;
        let Loaded { config, warnings } = source.load().map_err(|failure| print_config_errors(&failure.errors))?;
        for warning in &warnings {
            say(&warning.render(colour()));
        }
        let state_folder = self.state_folder(&config)?;
        Ok((config, state_folder))
    }

    /// Where the state of a project is.
    pub(crate) fn state_folder(&self, config: &Config) -> anyhow::Result<PathBuf> {
        match &self.persist_to {
            Some(folder) => std::path::absolute(folder).with_context(|| format!("not a path: {}", folder.display())),
            None => Ok(config.dev.persist_to.clone()),
        }
    }
}

pub(crate) fn print_config_errors(errors: &ConfigErrors) -> AlreadyPrinted {
    say(&errors.render(colour()));
    AlreadyPrinted
}

/// An error that has been printed with all it has to say; only the exit code is left.
#[derive(Debug)]
pub(crate) struct AlreadyPrinted;

impl std::fmt::Display for AlreadyPrinted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the error is printed above")
    }
}

impl std::error::Error for AlreadyPrinted {}

/// Prints an error and its causes, each once.
pub(crate) fn print_error(error: &anyhow::Error) {
    if error.is::<AlreadyPrinted>() {
        return;
    }
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        say(&errors.render(colour()));
        return;
    }
    say(&format!("{}: {}", paint().paint(Role::Bad, "error"), with_causes(error)));
}

/// An error and its causes, each on its line. A cause that the text before it has told already is left out: errors of
/// libraries repeat theirs.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str("\n  caused by: ");
            text.push_str(&cause);
        }
    }
    text
}

/// Prints a line of talk. Data goes to standard output, talk to standard error.
pub(crate) fn say(text: &str) {
    // A closed standard error must not turn into a panic.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a line of data.
pub(crate) fn output(text: &str) {
    let Err(error) = writeln!(std::io::stdout().lock(), "{text}") else { return };
    // A reader that left (`| head`) has had enough; a full disk has not had all.
    if error.kind() != std::io::ErrorKind::BrokenPipe {
        say(&format!("{}: cannot write to standard output: {error}", paint().paint(Role::Bad, "error")));
        std::process::exit(1);
    }
}

/// The bytes of a file, or of standard input where the path is `-`.
pub(crate) fn read_input(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}

/// `1 row`, `2 rows`
pub(crate) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A path as a person in the current folder writes it.
pub(crate) fn shown(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(current).unwrap_or(path).display().to_string()
}

/// Colour or not, on each stream.
pub(crate) fn paints() -> Paints {
    let choice = ColourChoice::read(|name| std::env::var_os(name));
    Paints { output: choice.paint(&std::io::stdout()), error: choice.paint(&std::io::stderr()) }
}

/// Colour or not, on standard error.
pub(crate) fn paint() -> Paint {
    paints().error
}

pub(crate) fn colour() -> Colour {
    if paint().is_coloured() { Colour::Always } else { Colour::Never }
}
