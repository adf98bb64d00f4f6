//! One file a verb; the folder mirrors the command line.

pub(crate) mod cache;
mod choice;
pub(crate) mod cron;
pub(crate) mod db;
pub(crate) mod dev;
pub(crate) mod models;
pub(crate) mod queue;
pub(crate) mod serve;
mod table;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use aerostack_config::{Colour, Config, ConfigErrors, LoadOptions, Loaded, ProcessEnvironment, ValueSources};
use aerostack_telemetry::{Paint, Role};
use anyhow::Context as _;

/// The arguments that say which project, and where its state is.
#[derive(clap::Args)]
pub(crate) struct ProjectArguments {
    /// The config file, or the folder that holds it
    #[arg(long, short, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Folder for local state (databases, caches); `.aerostack` beside the config by default
    #[arg(long, value_name = "FOLDER")]
    persist_to: Option<PathBuf>,
}

impl ProjectArguments {
    /// Reads the config as [`load_config`] does, and says where the state is.
    pub(crate) fn open(&self) -> anyhow::Result<(Config, PathBuf)> {
        self.open_with(ValueSources::default())
    }

    /// The same with other sources for the values of secrets.
    pub(crate) fn open_with(&self, values: ValueSources) -> anyhow::Result<(Config, PathBuf)> {
        let config = load_config(self.config.as_deref(), values)?.config;
        let state_folder = match &self.persist_to {
            Some(folder) => std::path::absolute(folder).with_context(|| format!("{} is no path", folder.display()))?,
            None => config.dev.persist_to.clone(),
        };
        Ok((config, state_folder))
    }
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

/// Colour or not, on standard error.
pub(crate) fn paint() -> Paint {
    Paint::for_stderr(std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()))
}

/// Finds and reads the config. Its errors are printed here, all at once; warnings too.
fn load_config(explicit: Option<&Path>, values: ValueSources) -> anyhow::Result<Loaded> {
    let environment = ProcessEnvironment::new()?;
    let options = LoadOptions { target: None, values };
    let loaded = locate(explicit, &environment)
        .and_then(|path| aerostack_config::load_with(&path, &options, &environment))
        .map_err(|errors: ConfigErrors| {
            say(&errors.render(colour()));
            AlreadyPrinted
        })?;
    for warning in &loaded.warnings {
        say(&warning.render(colour()));
    }
    Ok(loaded)
}

fn locate(explicit: Option<&Path>, environment: &ProcessEnvironment) -> Result<PathBuf, ConfigErrors> {
    aerostack_config::locate(Path::new("."), explicit, environment)
}

pub(crate) fn colour() -> Colour {
    if paint().is_coloured() { Colour::Always } else { Colour::Never }
}
