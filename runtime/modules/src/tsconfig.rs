//! The few settings of `tsconfig.json` that change what code means: decorators, JSX, kept imports and path aliases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonc_parser::ParseOptions;
use serde::Deserialize;

use crate::compile::{CompileOptions, Decorators, JsxTransform, UnusedImports};
use crate::diagnostic::{Diagnostic, DiagnosticKind};
use crate::position::PositionRange;
use crate::reader::EntryKind;
use crate::resolve::{Files, normalize};

/// What a project's `tsconfig.json` says, with everything it extends.
#[derive(Debug, Default)]
pub(crate) struct TsConfig {
    pub(crate) compile: CompileOptions,
    pub(crate) aliases: PathAliases,
}

/// `paths` and `baseUrl`, absolute.
#[derive(Debug, Default)]
pub(crate) struct PathAliases {
    /// Pattern (at most one `*`) to the paths to try.
    pub(crate) patterns: Vec<(String, Vec<PathBuf>)>,
    pub(crate) base: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    extends: Option<Extends>,
    #[serde(default)]
    compiler_options: RawOptions,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Extends {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawOptions {
    experimental_decorators: Option<bool>,
    emit_decorator_metadata: Option<bool>,
    verbatim_module_syntax: Option<bool>,
    jsx: Option<String>,
    jsx_factory: Option<String>,
    jsx_fragment_factory: Option<String>,
    jsx_import_source: Option<String>,
    base_url: Option<PathBuf>,
    paths: Option<BTreeMap<String, Vec<PathBuf>>>,
}

/// Longer chains of `extends` are cycles.
const LONGEST_CHAIN: usize = 16;

impl TsConfig {
    /// Reads `<root>/tsconfig.json`; the defaults when there is none.
    pub(crate) fn load(files: &Files) -> Result<Self, Box<Diagnostic>> {
        let path = files.root().join("tsconfig.json");
        if files.kind(&path).ok().flatten() != Some(EntryKind::File) {
            return Ok(Self::default());
        }
        let options = read_chain(files, &path, 0)?;
        Ok(Self { compile: options.compile(), aliases: options.aliases() })
    }
}

fn read_chain(files: &Files, path: &Path, depth: usize) -> Result<RawOptions, Box<Diagnostic>> {
    let mut problem = Diagnostic {
        kind: DiagnosticKind::Configuration,
        message: String::new(),
        path: path.to_path_buf(),
        file: files.display(path),
        source: Arc::from(""),
        range: None,
        hint: None,
    };
    let text = match files.read_text(path) {
        Ok(text) => text,
        Err(error) => {
            problem.message = format!("cannot read {}: {error}", problem.file);
            return Err(problem.into());
        }
    };
    problem.source = text.clone();
    // The defaults also take missing commas, single quotes and the like, which the TypeScript compiler refuses.
    let json_with_comments = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_missing_commas: false,
        allow_loose_object_property_names: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
    };
    let raw: RawConfig = match jsonc_parser::parse_to_serde_value(&text, &json_with_comments) {
        Ok(raw) => raw,
        Err(error) => {
            problem.message = format!("invalid {}: {}", problem.file, error.kind());
            problem.range = Some(PositionRange::of_bytes(&text, error.range().start..error.range().end));
            return Err(problem.into());
        }
    };

    let folder = path.parent().unwrap_or(path);
    let mut options = raw.compiler_options;
    options.make_absolute(folder);
    let parents = match raw.extends {
        None => return Ok(options),
        Some(Extends::One(parent)) => vec![parent],
        Some(Extends::Several(parents)) => parents,
    };
    // The last parent wins over the ones before it, and the file itself over all.
    for parent in parents.iter().rev() {
        let found = if depth < LONGEST_CHAIN { find_parent(files, folder, parent) } else { None };
        let Some(found) = found else {
            if !parent.starts_with('.') && depth < LONGEST_CHAIN {
                // Bases from npm only make type checking stricter as a rule, and a checkout without node_modules has to run.
                tracing::warn!(tsconfig = %problem.file, extends = %parent, "tsconfig base is not installed and is left out");
                continue;
            }
            problem.message = format!("{} extends {parent:?}, which cannot be found", problem.file);
            problem.hint = Some("the runtime reads decorators, JSX and path aliases from there".to_owned());
            problem.range = text.find(parent.as_str()).map(|at| PositionRange::of_bytes(&text, at..at + parent.len()));
            return Err(problem.into());
        };
        options.inherit(read_chain(files, &found, depth + 1)?);
    }
    Ok(options)
}

/// A relative path or a package's file, with or without `.json`. A base above the project's folder is taken too: it is
/// settings and not code, and repositories with several projects keep it there.
fn find_parent(files: &Files, folder: &Path, parent: &str) -> Option<PathBuf> {
    let bases: Vec<PathBuf> = if parent.starts_with('.') {
        vec![folder.join(parent)]
    } else {
        folder.ancestors().map(|ancestor| ancestor.join("node_modules").join(parent)).collect()
    };
    for base in bases {
        let with_extension = PathBuf::from(format!("{}.json", base.display()));
        let candidates = [base.clone(), with_extension, base.join("tsconfig.json")];
        for candidate in candidates {
            let candidate = normalize(&candidate);
            if files.kind(&candidate).ok().flatten() == Some(EntryKind::File) {
                return Some(candidate);
            }
        }
    }
    None
}

impl RawOptions {
    fn make_absolute(&mut self, folder: &Path) {
        if let Some(base) = &mut self.base_url {
            *base = folder.join(&*base);
        }
        let targets_from = self.base_url.clone().unwrap_or_else(|| folder.to_path_buf());
        for target in self.paths.iter_mut().flat_map(BTreeMap::values_mut).flatten() {
            *target = targets_from.join(&*target);
        }
    }

    fn inherit(&mut self, parent: Self) {
        let Self {
            experimental_decorators,
            emit_decorator_metadata,
            verbatim_module_syntax,
            jsx,
            jsx_factory,
            jsx_fragment_factory,
            jsx_import_source,
            base_url,
            paths,
        } = parent;
        self.experimental_decorators = self.experimental_decorators.or(experimental_decorators);
        self.emit_decorator_metadata = self.emit_decorator_metadata.or(emit_decorator_metadata);
        self.verbatim_module_syntax = self.verbatim_module_syntax.or(verbatim_module_syntax);
        self.jsx = self.jsx.take().or(jsx);
        self.jsx_factory = self.jsx_factory.take().or(jsx_factory);
        self.jsx_fragment_factory = self.jsx_fragment_factory.take().or(jsx_fragment_factory);
        self.jsx_import_source = self.jsx_import_source.take().or(jsx_import_source);
        self.base_url = self.base_url.take().or(base_url);
        self.paths = self.paths.take().or(paths);
    }

    fn compile(&self) -> CompileOptions {
        let decorators = match self.experimental_decorators {
            Some(true) => Decorators::Experimental { metadata: self.emit_decorator_metadata.unwrap_or_default() },
            _ => Decorators::Standard,
        };
        let is_classic = match self.jsx.as_deref() {
            Some(jsx) => jsx.eq_ignore_ascii_case("react"),
            None => self.jsx_factory.is_some(),
        };
        let jsx = if is_classic {
            JsxTransform::Classic {
                factory: self.jsx_factory.clone().unwrap_or_else(|| "React.createElement".to_owned()),
                fragment: self.jsx_fragment_factory.clone().unwrap_or_else(|| "React.Fragment".to_owned()),
            }
        } else {
            JsxTransform::Automatic { import_source: self.jsx_import_source.clone() }
        };
        let unused_imports = match self.verbatim_module_syntax {
            Some(true) => UnusedImports::Keep,
            _ => UnusedImports::Drop,
        };
        CompileOptions { decorators, jsx, unused_imports, type_names: BTreeSet::new() }
    }

    fn aliases(self) -> PathAliases {
        PathAliases { patterns: self.paths.unwrap_or_default().into_iter().collect(), base: self.base_url }
    }
}
