//! Bare imports: from a package's name to a file in `node_modules`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use crate::reader::EntryKind;
use crate::resolve::package_json::{CONDITIONS, NODE_CONDITIONS, PackageJson};
use crate::resolve::{ResolveError, Resolver, is_relative};

/// Modules of Node that are imported without `node:` as often as with it. A package of the same name is preferred.
const NODE_MODULES: [&str; 38] = [
    "assert",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "domain",
    "events",
    "fs",
    "http",
    "http2",
    "https",
    "inspector",
    "module",
    "net",
    "os",
    "path",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "stream",
    "string_decoder",
    "timers",
    "tls",
    "tty",
    "url",
    "util",
    "v8",
    "vm",
    "worker_threads",
    "zlib",
];

/// `package` or `@scope/package`, and the rest as `.` or `./...`.
struct PackageSpecifier<'s> {
    name: &'s str,
    subpath: String,
}

impl Resolver {
    pub(crate) fn resolve_package(&self, specifier: &str, folder: &Path) -> Result<PathBuf, ResolveError> {
        if specifier.starts_with('#') {
            return self.resolve_package_import(specifier, folder);
        }
        let wanted = PackageSpecifier::parse(specifier)?;

        if let Some((own_folder, own)) = self.nearest_package(specifier, folder)?
            && own.exports.is_some()
            && own.name.as_deref() == Some(wanted.name)
        {
            return self.resolve_in_package(specifier, &wanted, &own_folder, &own);
        }
        for ancestor in self.ancestors(folder) {
            if ancestor.file_name().is_some_and(|name| name == "node_modules") {
                continue;
            }
            let package_folder = ancestor.join("node_modules").join(wanted.name);
            if self.kind(specifier, &package_folder)? == Some(EntryKind::Folder) {
                let package = self.package_json(specifier, &package_folder)?.unwrap_or_default();
                return self.resolve_in_package(specifier, &wanted, &package_folder, &package);
            }
        }

        let specifier = specifier.to_owned();
        if NODE_MODULES.contains(&wanted.name) {
            return Err(ResolveError::NodeModule { specifier, available: self.builtins.iter().cloned().collect() });
        }
        Err(ResolveError::PackageNotInstalled { specifier, package: wanted.name.to_owned() })
    }

    fn resolve_in_package(
        &self,
        specifier: &str,
        wanted: &PackageSpecifier<'_>,
        folder: &Path,
        package: &PackageJson,
    ) -> Result<PathBuf, ResolveError> {
        let name = wanted.name.to_owned();
        let broken = |reason: String| ResolveError::PackageBroken {
            specifier: specifier.to_owned(),
            package: name.clone(),
            reason,
        };

        if package.exports.is_some() {
            let Some(target) = package.exported(&wanted.subpath, &CONDITIONS) else {
                let specifier = specifier.to_owned();
                return Err(match package.exported(&wanted.subpath, &NODE_CONDITIONS) {
                    Some(_) => ResolveError::PackageForNodeOnly { specifier, package: name },
                    None => ResolveError::NotExported { specifier, package: name, subpath: wanted.subpath.clone() },
                });
            };
            let path = self.files.inside_root(specifier, &folder.join(&target))?;
            if self.kind(specifier, &path)? != Some(EntryKind::File) {
                return Err(broken(format!("its exports name {target}, which is not there")));
            }
            return self.files.real_path(specifier, &path);
        }

        if wanted.subpath != "." {
            return match self.probe(specifier, &folder.join(&wanted.subpath))? {
                Some(found) => Ok(found),
                None => Err(broken(format!("it has no file {}", wanted.subpath))),
            };
        }
        let entries = [package.module.as_deref(), package.main.as_deref(), Some("index")];
        for entry in entries.into_iter().flatten().filter(|entry| !entry.is_empty()) {
            if let Some(found) = self.probe(specifier, &folder.join(entry))? {
                return Ok(found);
            }
        }
        let named = package.module.as_deref().or(package.main.as_deref()).filter(|entry| !entry.is_empty());
        Err(broken(match named {
            Some(entry) => format!("its package.json names {entry}, which is not there"),
            None => "it has no code, only types perhaps".to_owned(),
        }))
    }

    /// `#name`, through the `imports` of the package that the file belongs to.
    fn resolve_package_import(&self, specifier: &str, folder: &Path) -> Result<PathBuf, ResolveError> {
        let not_found = |package: &str| ResolveError::NotExported {
            specifier: specifier.to_owned(),
            package: package.to_owned(),
            subpath: specifier.to_owned(),
        };
        let Some((package_folder, package)) = self.nearest_package(specifier, folder)? else {
            return Err(not_found("package.json"));
        };
        let name = package.name.as_deref().unwrap_or("package.json");
        let target = package.imported(specifier, &CONDITIONS).ok_or_else(|| not_found(name))?;
        if is_relative(&target) {
            return self.probe_or_not_found(specifier, &package_folder.join(target));
        }
        // Without this a package could send the search round in circles.
        if target.starts_with('#') || target.starts_with('/') {
            return Err(not_found(name));
        }
        self.resolve_file(&target, &package_folder)
    }

    fn nearest_package(
        &self,
        specifier: &str,
        folder: &Path,
    ) -> Result<Option<(PathBuf, Arc<PackageJson>)>, ResolveError> {
        for ancestor in self.ancestors(folder) {
            if let Some(package) = self.package_json(specifier, ancestor)? {
                return Ok(Some((ancestor.to_path_buf(), package)));
            }
        }
        Ok(None)
    }

    fn package_json(&self, specifier: &str, folder: &Path) -> Result<Option<Arc<PackageJson>>, ResolveError> {
        let path = folder.join("package.json");
        let known = self.packages.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let package = match self.kind(specifier, &path)? {
            Some(EntryKind::File) => {
                let text = self
                    .files
                    .read_text(&path)
                    .map_err(|error| ResolveError::unreadable(specifier, &self.files, &path, &error))?;
                let package = PackageJson::parse(&text).map_err(|error| ResolveError::PackageBroken {
                    specifier: specifier.to_owned(),
                    package: self.files.display(folder),
                    reason: format!("its package.json is not valid JSON ({error})"),
                })?;
                Some(Arc::new(package))
            }
            Some(EntryKind::Folder) | None => None,
        };
        self.packages.lock().unwrap_or_else(PoisonError::into_inner).insert(path, package.clone());
        Ok(package)
    }

    fn kind(&self, specifier: &str, path: &Path) -> Result<Option<EntryKind>, ResolveError> {
        self.files.kind(path).map_err(|error| ResolveError::unreadable(specifier, &self.files, path, &error))
    }

    /// The folder and those above it, up to the project's.
    fn ancestors<'p>(&'p self, folder: &'p Path) -> impl Iterator<Item = &'p Path> {
        folder.ancestors().take_while(|ancestor| ancestor.starts_with(self.files.root()))
    }
}

impl<'s> PackageSpecifier<'s> {
    fn parse(specifier: &'s str) -> Result<Self, ResolveError> {
        let slashes_in_name = usize::from(specifier.starts_with('@'));
        let end = specifier.match_indices('/').nth(slashes_in_name).map_or(specifier.len(), |(at, _)| at);
        let name = &specifier[..end];
        let is_name = name.split('/').count() == slashes_in_name + 1
            && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part != "node_modules")
            && !name.contains(['\\', '%', '\0']);
        if !is_name {
            return Err(ResolveError::NotAPackage { specifier: specifier.to_owned() });
        }
        Ok(Self { name, subpath: format!(".{}", &specifier[end..]) })
    }
}
