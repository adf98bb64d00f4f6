use std::path::{Path, PathBuf};

use crate::diagnostic::{ConfigErrors, Diagnostic};
use crate::environment::Environment;
use crate::paths::{normalized, shown};

/// The names of a config, the first that exists wins. Wrangler's own order among its three.
pub const CONFIG_FILE_NAMES: [&str; 4] = ["aerostack.toml", "wrangler.json", "wrangler.jsonc", "wrangler.toml"];

/// Finds the config file: `explicit` (a file, or a folder that holds one), else the nearest one in `start` and the folders above it. The
/// result is absolute; relative arguments start at [`Environment::current_directory`].
pub fn locate(start: &Path, explicit: Option<&Path>, environment: &dyn Environment) -> Result<PathBuf, ConfigErrors> {
    let current = environment.current_directory();
    let Some(explicit) = explicit else {
        let start = normalized(&current.join(start));
        let found = start.ancestors().find_map(|folder| config_file_in(folder, environment));
        let shown_path = shown(&start, current);
        return found.ok_or_else(|| no_config(&format!("{} or any folder above it", shown_path.display())));
    };
    let asked = normalized(&current.join(explicit));
    if environment.is_file(&asked) {
        return Ok(asked);
    }
    if let Some(found) = config_file_in(&asked, environment) {
        return Ok(found);
    }
    let shown_path = shown(&asked, current);
    let looks_like_a_file =
        asked.extension().is_some_and(|extension| matches!(extension.to_str(), Some("toml" | "json" | "jsonc")));
    if looks_like_a_file {
        return Err(Diagnostic::error(format!("there is no file {}", shown_path.display())).into());
    }
    Err(no_config(&shown_path.display().to_string()))
}

fn no_config(place: &str) -> ConfigErrors {
    Diagnostic::error(format!("no aerostack.toml in {place}"))
        .help("an aerostack.toml with one line is enough for a worker in src/index.ts: `name = \"my-app\"`")
        .help("a wrangler.toml, wrangler.json or wrangler.jsonc works too")
        .into()
}

/// The config file in `folder` (absolute).
pub(crate) fn config_file_in(folder: &Path, environment: &dyn Environment) -> Option<PathBuf> {
    CONFIG_FILE_NAMES.iter().map(|name| folder.join(name)).find(|path| environment.is_file(path))
}
