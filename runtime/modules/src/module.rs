//! One module of a worker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use crate::source_map::SourceMap;

/// A file of the worker, ready to run.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its `file:` URL, links followed. The key in the graph and the name in stack traces.
    pub url: Url,
    /// What an import of it yields.
    pub kind: ModuleKind,
    /// What the engine gets: JavaScript for [`ModuleKind::JavaScript`], the file's own text or bytes for the rest.
    pub code: ModuleCode,
    /// From `code` back to `original`; `None` when they are the same.
    pub source_map: Option<SourceMap>,
    /// The text of the file without a byte order mark; empty for binary kinds.
    pub original: Arc<str>,
    /// Where the file lies, links followed.
    pub path: PathBuf,
}

/// What an import of a module yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModuleKind {
    /// An ES module: `.ts .tsx .mts .js .mjs .jsx`.
    JavaScript,
    /// The parsed value as the default export: `.json`, with or without `with { type: "json" }`.
    Json,
    /// A compiled `WebAssembly.Module` as the default export: `.wasm`.
    Wasm,
    /// A string as the default export: `.txt .html .sql`.
    Text,
    /// An `ArrayBuffer` as the default export: `.bin`.
    Bytes,
}

/// The code of a module.
#[derive(Debug, Clone)]
pub enum ModuleCode {
    /// Of JavaScript, JSON and text modules.
    Text(Arc<str>),
    /// Of `.wasm` and `.bin` modules.
    Bytes(Arc<[u8]>),
}

/// How a file becomes a module, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileType {
    Script(Dialect),
    Data(ModuleKind),
    CommonJs,
}

/// The language of a script file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dialect {
    TypeScript,
    TypeScriptModule,
    TypeScriptJsx,
    /// All JavaScript is parsed with JSX, as wrangler does: the two never clash.
    JavaScript,
}

impl Module {
    /// The module as an ES module's text: the code itself, or a default export of the JSON value or the string.
    /// `None` for binary kinds, whose value only the engine can build.
    pub fn as_javascript(&self) -> Option<Arc<str>> {
        let ModuleCode::Text(text) = &self.code else { return None };
        let literal = || serde_json::Value::from(&**text).to_string();
        match self.kind {
            ModuleKind::JavaScript => Some(text.clone()),
            // As a string to parse and not as an object literal, where a key named `__proto__` would set the prototype.
            ModuleKind::Json => Some(format!("export default JSON.parse({});\n", literal()).into()),
            ModuleKind::Text => Some(format!("export default {};\n", literal()).into()),
            ModuleKind::Wasm | ModuleKind::Bytes => None,
        }
    }
}

impl ModuleCode {
    /// The code as bytes, whatever its kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl FileType {
    /// `None` for a file that cannot be imported.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        Some(match extension {
            "ts" => Self::Script(Dialect::TypeScript),
            "mts" => Self::Script(Dialect::TypeScriptModule),
            "tsx" => Self::Script(Dialect::TypeScriptJsx),
            "js" | "mjs" | "jsx" => Self::Script(Dialect::JavaScript),
            "cjs" | "cts" => Self::CommonJs,
            "json" => Self::Data(ModuleKind::Json),
            "wasm" => Self::Data(ModuleKind::Wasm),
            "txt" | "html" | "sql" => Self::Data(ModuleKind::Text),
            "bin" => Self::Data(ModuleKind::Bytes),
            _ => return None,
        })
    }
}
