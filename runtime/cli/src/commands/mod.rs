//! One file a verb; the folder mirrors the command line.

pub(crate) mod cache;
pub(crate) mod db;
pub(crate) mod dev;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use aerostack_config::{Colour, ConfigErrors, Loaded, ProcessEnvironment};
use aerostack_telemetry::{Paint, Role};

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
    let mut text = format!("{}: {error}", paint().paint(Role::Bad, "error"));
    for cause in error.chain().skip(1) {
        text.push_str("\n  caused by: ");
        text.push_str(&cause.to_string());
    }
    say(&text);
}

/// Prints a line of talk. Data goes to standard output, talk to standard error.
pub(crate) fn say(text: &str) {
    // A closed standard error must not turn into a panic.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a line of data.
pub(crate) fn output(text: &str) {
    // A reader that left (`| head`) is no error.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Colour or not, on standard error.
pub(crate) fn paint() -> Paint {
    Paint::for_stderr(std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()))
}

/// Finds and reads the config. Its errors are printed here, all at once; warnings too.
pub(crate) fn load_config(explicit: Option<&Path>) -> anyhow::Result<Loaded> {
    let environment = ProcessEnvironment::new()?;
    let loaded = locate(explicit, &environment)
        .and_then(|path| aerostack_config::load(&path, None, &environment))
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
