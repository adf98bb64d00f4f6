//! `export { User } from "./types"` where `User` is an interface: only the whole graph tells that there is nothing to
//! export.

use std::collections::{BTreeSet, HashSet};

use url::Url;

use crate::compile::{CompileOptions, Forwarded, TypeName, UnusedImports};
use crate::loader::{Walk, script_module};
use crate::module::Dialect;

impl Walk<'_> {
    /// Compiles the TypeScript modules again that import or export names of others which are types only, without those
    /// names.
    pub(super) fn drop_type_names(&mut self) {
        let importers: Vec<(Url, Dialect)> = self
            .scripts
            .iter()
            .filter(|(_, (_, dialect))| *dialect != Dialect::JavaScript)
            .map(|(url, (_, dialect))| (url.clone(), *dialect))
            .collect();
        for (url, dialect) in importers {
            let type_names = self.type_names(&url);
            if type_names.is_empty() {
                continue;
            }
            let Some(module) = self.modules.get(&url).cloned() else { continue };
            let options = CompileOptions { type_names, ..self.options.clone() };
            match self.compile(&url, &module.path, dialect, &module.original, &options) {
                Ok(compiled) => {
                    let module = script_module(&url, &module.path, &module.original, &compiled);
                    self.modules.insert(url, module.into());
                }
                Err(problems) => self.problems.extend(problems),
            }
        }
    }

    /// The names that a module takes from others and that are types only.
    fn type_names(&self, url: &Url) -> BTreeSet<TypeName> {
        let Some((compiled, _)) = self.scripts.get(url) else { return BTreeSet::new() };
        let keeps_imports = self.options.unused_imports == UnusedImports::Keep;
        let of_interest = |name: &&Forwarded| name.imported != "*" && (name.exported.is_some() || keeps_imports);
        let names = compiled
            .names
            .forwarded
            .iter()
            .filter(of_interest)
            .filter(|name| self.target(url, &name.specifier).is_some_and(|target| self.is_type_only(target, name)));
        names.map(|name| (name.specifier.clone(), name.imported.clone())).collect()
    }

    fn is_type_only(&self, target: &Url, name: &Forwarded) -> bool {
        let Some((_, dialect)) = self.scripts.get(target) else { return false };
        if self.has_value(target, &name.imported, &mut HashSet::new()) {
            return false;
        }
        // Types of JavaScript are declared in files that are no part of the graph.
        match dialect {
            Dialect::JavaScript => name.exported.is_some(),
            _ => self.has_type(target, &name.imported, &mut HashSet::new()),
        }
    }

    fn target(&self, url: &Url, specifier: &str) -> Option<&Url> {
        self.edges.get(url)?.get(specifier)
    }

    /// Whether a module exports a value of that name. What is not known to be a script may export anything.
    fn has_value(&self, url: &Url, name: &str, seen: &mut HashSet<(Url, String)>) -> bool {
        let Some((compiled, _)) = self.scripts.get(url) else { return true };
        if !seen.insert((url.clone(), name.to_owned())) {
            return false;
        }
        let names = &compiled.names;
        let through = |specifier: &str, name: &str, seen: &mut HashSet<(Url, String)>| {
            name == "*" || self.target(url, specifier).is_none_or(|target| self.has_value(target, name, seen))
        };
        names.values.contains(name)
            || names.forwarded.iter().any(|forwarded| {
                forwarded.exported.as_deref() == Some(name) && through(&forwarded.specifier, &forwarded.imported, seen)
            })
            || name != "default" && names.stars.iter().any(|specifier| through(specifier, name, seen))
    }

    /// Whether a module exports a type of that name, as far as the graph tells.
    fn has_type(&self, url: &Url, name: &str, seen: &mut HashSet<(Url, String)>) -> bool {
        let Some((compiled, dialect)) = self.scripts.get(url) else { return false };
        if !seen.insert((url.clone(), name.to_owned())) {
            return false;
        }
        let names = &compiled.names;
        let through = |specifier: &str, name: &str, seen: &mut HashSet<(Url, String)>| {
            self.target(url, specifier).is_some_and(|target| self.has_type(target, name, seen))
        };
        // A file of types alone leaves no import of it in the code, and so no module in the graph.
        let mut type_stars = names.type_stars.iter();
        *dialect == Dialect::JavaScript
            || names.types.contains(name)
            || names.forwarded.iter().any(|forwarded| {
                forwarded.exported.as_deref() == Some(name) && through(&forwarded.specifier, &forwarded.imported, seen)
            })
            || names.stars.iter().any(|specifier| through(specifier, name, seen))
            || type_stars
                .any(|specifier| self.target(url, specifier).is_none_or(|target| self.has_type(target, name, seen)))
    }
}
