use std::path::{Path, PathBuf};

use crate::diagnostic::{ConfigErrors, Diagnostic};
use crate::environment::Environment;
use crate::paths::{normalized, shown};

/// The names of a config, the first that exists wins. Wrangler's own order among its three.
pub const CONFIG_FILE_NAMES: [&str; 4] = ["aerostack.toml", "wrangler.json", "wrangler.jsonc", "wrangler.toml"];

/// Finds the config file: `explicit` (a file, or a folder that holds one), else the one in `start`. No other folder is
/// searched. The result is absolute; relative arguments start at [`Environment::current_directory`].
pub fn locate(start: &Path, explicit: Option<&Path>, environment: &dyn Environment) -> Result<PathBuf, ConfigErrors> {
    let current = environment.current_directory();
    let asked = normalized(&current.join(explicit.unwrap_or(start)));
    if explicit.is_some() && environment.is_file(&asked) {
        return Ok(asked);
    }
    if let Some(found) = config_file_in(&asked, environment) {
        return Ok(found);
    }
    let shown_path = shown(&asked, current);
    let looks_like_a_file =
        asked.extension().is_some_and(|extension| matches!(extension.to_str(), Some("toml" | "json" | "jsonc")));
    if explicit.is_some() && looks_like_a_file {
        return Err(Diagnostic::error(format!("there is no file {}", shown_path.display())).into());
    }
    Err(Diagnostic::error(format!("no aerostack.toml in {}", shown_path.display()))
        .help("an aerostack.toml with one line is enough for a worker in src/index.ts: `name = \"my-app\"`")
        .help("a wrangler.toml, wrangler.json or wrangler.jsonc works too")
        .into())
}

/// The config file in `folder` (absolute).
pub(crate) fn config_file_in(folder: &Path, environment: &dyn Environment) -> Option<PathBuf> {
    CONFIG_FILE_NAMES.iter().map(|name| folder.join(name)).find(|path| environment.is_file(path))
}
