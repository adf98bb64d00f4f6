//! Why an import leads nowhere.

use std::io;
use std::path::{Path, PathBuf};

use crate::resolve::Files;

/// Why an import cannot be followed. [`ResolveError::hint`] says what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ResolveError {
    /// `import ""`.
    #[error("an import needs the name of a module, this one is empty")]
    Empty,
    /// No file lies where the specifier points.
    #[error("cannot find module \"{specifier}\"")]
    NotFound {
        /// What was imported.
        specifier: String,
        /// The path it means, relative to the project.
        looked_for: String,
        /// A file with a similar name, as it would be imported.
        did_you_mean: Option<String>,
    },
    /// The path, or the link that lies there, leads out of the project's folder.
    #[error("\"{specifier}\" leads out of the project, to {}", leads_to.display())]
    OutsideProject {
        /// What was imported.
        specifier: String,
        /// Where it leads.
        leads_to: PathBuf,
        /// The project's folder: the one of its aerostack.toml.
        root: PathBuf,
    },
    /// The file is there, or may be, and the system does not let us see it.
    #[error("cannot read {file}: {reason}")]
    Unreadable {
        /// What was imported.
        specifier: String,
        /// The file, relative to the project.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// The file is none that can be imported.
    #[error("cannot import \"{specifier}\": {file} is no kind of module")]
    UnknownFileType {
        /// What was imported.
        specifier: String,
        /// The file, relative to the project.
        file: String,
    },
    /// No such package lies in a `node_modules` folder of the project.
    #[error("package \"{package}\" is not installed")]
    PackageNotInstalled {
        /// What was imported.
        specifier: String,
        /// The package it belongs to.
        package: String,
    },
    /// The package is there, and its `exports` (or `imports`) do not offer this path.
    #[error("package \"{package}\" does not export \"{subpath}\"")]
    NotExported {
        /// What was imported.
        specifier: String,
        /// The package it belongs to.
        package: String,
        /// The path in it, `.` for the package itself.
        subpath: String,
    },
    /// The package offers this path to `require()` or to Node alone.
    #[error("package \"{package}\" has \"{specifier}\" only as CommonJS or for Node.js, which a worker cannot load")]
    PackageForNodeOnly {
        /// What was imported.
        specifier: String,
        /// The package it belongs to.
        package: String,
    },
    /// The package contradicts itself.
    #[error("package \"{package}\" cannot be imported: {reason}")]
    PackageBroken {
        /// What was imported.
        specifier: String,
        /// The package it belongs to.
        package: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The specifier is neither a path nor a URL nor the name of a package.
    #[error("\"{specifier}\" is neither a path nor the name of a package")]
    NotAPackage {
        /// What was imported.
        specifier: String,
    },
    /// A module of Node.
    #[error("\"{specifier}\" is a module of Node.js, which is not supported yet")]
    NodeModule {
        /// What was imported.
        specifier: String,
        /// The built-in modules there are.
        available: Vec<String>,
    },
    /// A module of Cloudflare's runtime that this one does not have.
    #[error("\"{specifier}\" is not supported yet")]
    CloudflareModule {
        /// What was imported.
        specifier: String,
        /// The built-in modules there are.
        available: Vec<String>,
    },
    /// A URL of a kind that modules are not loaded from.
    #[error("cannot import \"{specifier}\": modules are not loaded from {scheme}: URLs")]
    UnsupportedScheme {
        /// What was imported.
        specifier: String,
        /// The part before the colon.
        scheme: String,
    },
}

impl ResolveError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Empty => return None,
            Self::NotFound { did_you_mean: Some(guess), .. } => format!("did you mean \"{guess}\"?"),
            Self::NotFound { looked_for, .. } => {
                format!(
                    "looked for {looked_for}, with .ts .tsx .mts .js .mjs .jsx behind it, and as a folder with an index file"
                )
            }
            Self::OutsideProject { root, .. } => {
                format!("a worker's files lie in the folder of its aerostack.toml, {}", root.display())
            }
            Self::Unreadable { .. } => "check the file's permissions".to_owned(),
            Self::UnknownFileType { .. } => {
                "modules are .ts .tsx .mts .js .mjs .jsx .json .wasm .txt .html .sql and .bin files".to_owned()
            }
            Self::PackageNotInstalled { specifier, .. } if specifier.starts_with('@') => {
                "install it with npm; \"@shared/...\" means the project's shared folder".to_owned()
            }
            Self::PackageNotInstalled { package, .. } => {
                format!("run `npm install {package}`, or write \"./{package}\" if a file is meant")
            }
            Self::NotExported { .. } => "the exports in its package.json say what can be imported".to_owned(),
            Self::PackageForNodeOnly { .. } => "look for a version or a package with ES modules".to_owned(),
            Self::PackageBroken { .. } => {
                "if it is imported for its types alone, write `import type`; else install it again".to_owned()
            }
            Self::NotAPackage { .. } => "paths begin with ./ or ../".to_owned(),
            Self::NodeModule { available, .. } | Self::CloudflareModule { available, .. } if available.is_empty() => {
                "there are no built-in modules".to_owned()
            }
            Self::NodeModule { available, .. } | Self::CloudflareModule { available, .. } => {
                format!("the built-in modules are {}", available.join(", "))
            }
            Self::UnsupportedScheme { scheme, .. } if scheme == "npm" || scheme == "jsr" => {
                "install the package with npm and import it by its name".to_owned()
            }
            Self::UnsupportedScheme { .. } => "copy the file into the project and import it by its path".to_owned(),
        })
    }

    pub(crate) fn unreadable(specifier: &str, files: &Files, path: &Path, error: &io::Error) -> Self {
        Self::Unreadable { specifier: specifier.to_owned(), file: files.display(path), reason: error.to_string() }
    }
}
