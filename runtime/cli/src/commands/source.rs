//! Where a command's project comes from: its config file, the environment in it, and the sources of its secrets.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use aerostack_config::{ConfigErrors, Environment, LoadOptions, Loaded, ProcessEnvironment, ValueSources};

/// How the config of a project is found and read, again and again.
pub(crate) struct ConfigSource {
    file: PathBuf,
    options: LoadOptions,
    environment: ProcessEnvironment,
}

/// Why a config cannot be used.
pub(crate) struct LoadFailure {
    pub(crate) errors: ConfigErrors,
    /// Files whose change may mend it: all that were asked for.
    pub(crate) files: BTreeSet<PathBuf>,
}

impl ConfigSource {
    /// Finds the config file: `explicit`, or the nearest one in the current folder and those above it.
    pub(crate) fn locate(
        explicit: Option<&Path>,
        target: Option<&str>,
        values: ValueSources,
    ) -> anyhow::Result<Result<Self, ConfigErrors>> {
        let environment = ProcessEnvironment::new()?;
        // As in Wrangler, an empty name means the top level.
        let target = target.filter(|name| !name.is_empty()).map(str::to_owned);
        let options = LoadOptions { target, values };
        let located = aerostack_config::locate(Path::new("."), explicit, &environment);
        Ok(located.map(|file| Self { file, options, environment }))
    }

    /// The folder of the config file.
    pub(crate) fn root(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    pub(crate) fn load(&self) -> Result<Loaded, LoadFailure> {
        let environment = Recording { environment: &self.environment, asked: RefCell::default() };
        aerostack_config::load_with(&self.file, &self.options, &environment)
            .map_err(|errors| LoadFailure { errors, files: environment.asked.into_inner() })
    }
}

/// The machine, and which of its files were asked for.
struct Recording<'a> {
    environment: &'a ProcessEnvironment,
    asked: RefCell<BTreeSet<PathBuf>>,
}

impl Environment for Recording<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.environment.variable(name)
    }

    fn current_directory(&self) -> &Path {
        self.environment.current_directory()
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.asked.borrow_mut().insert(path.to_owned());
        self.environment.read_file(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        self.asked.borrow_mut().insert(path.to_owned());
        self.environment.is_file(path)
    }
}
