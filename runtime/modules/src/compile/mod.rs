//! From the text of a script file to the JavaScript that runs, with its source map and the list of what it imports.

mod imports;
mod names;
mod namespaces;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use deno_ast::swc::ast::Program;
use deno_ast::swc::common::Spanned;
use deno_ast::swc::common::input::StringInput;
use deno_ast::swc::ecma_visit::VisitWith;
use deno_ast::swc::parser::error::SyntaxError;
use deno_ast::swc::parser::{Lexer, Parser};
use deno_ast::{
    DecoratorsTranspileOption, EmitOptions, FoldProgramError, ImportsNotUsedAsValues, JsxAutomaticOptions,
    JsxClassicOptions, JsxRuntime, MediaType, ModuleSpecifier, ParseDiagnostic, ParseParams, ParsedSource,
    SourceMapOption, StartSourcePos, TranspileOptions,
};
use serde::{Deserialize, Serialize};

use imports::ModuleScan;
pub(crate) use imports::{Import, ImportKind};
pub(crate) use names::{Forwarded, ModuleNames, TypeName};

use crate::module::Dialect;

/// The settings that change what a script means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CompileOptions {
    pub(crate) decorators: Decorators,
    pub(crate) jsx: JsxTransform,
    pub(crate) unused_imports: UnusedImports,
    /// Names of other modules, by specifier, that the rest of the graph has found to be types only.
    pub(crate) type_names: BTreeSet<TypeName>,
}

/// Which decorators TypeScript files use. JavaScript files always use the standard ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Decorators {
    /// The ones of the language (TC39), the default since TypeScript 5.
    #[default]
    Standard,
    /// `experimentalDecorators`, with `emitDecoratorMetadata` or without.
    Experimental { metadata: bool },
}

/// What JSX becomes. Comments in a file (`@jsxImportSource`, `@jsx`) win over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsxTransform {
    /// Calls of the functions of `<source>/jsx-runtime`, imported behind the scenes.
    Automatic { import_source: Option<String> },
    /// Calls of functions that the file imports itself.
    Classic { factory: String, fragment: String },
}

/// What becomes of imports in TypeScript whose names are never used as a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum UnusedImports {
    /// They were imported for their types: gone.
    #[default]
    Drop,
    /// `verbatimModuleSyntax`: only `import type` is gone.
    Keep,
}

/// A compiled script.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Compiled {
    /// What runs and how to map it back; `None` when the file runs as it is.
    pub(crate) output: Option<CompiledOutput>,
    pub(crate) imports: Vec<Import>,
    pub(crate) names: ModuleNames,
    pub(crate) format: ModuleFormat,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CompiledOutput {
    pub(crate) code: String,
    pub(crate) source_map: String,
}

/// Whether a script is a module of the kind that can be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ModuleFormat {
    EcmaScript,
    CommonJs,
}

/// Why a script cannot be compiled.
#[derive(Debug, Clone)]
pub(crate) struct CompileProblem {
    pub(crate) message: String,
    /// Bytes in the source; `None` when the compiler did not say.
    pub(crate) bytes: Option<std::ops::Range<usize>>,
}

/// Stack for the compiler, which recurses as deep as the source nests. Touched pages alone cost memory.
const STACK_BYTES: usize = 64 << 20;

impl Default for JsxTransform {
    fn default() -> Self {
        Self::Automatic { import_source: None }
    }
}

/// Compiles a script. `url` names the file in the source map, by the last part alone. Never panics, whatever the text is: a
/// half-typed file that trips the compiler is reported like any other error.
pub(crate) fn compile(
    url: &ModuleSpecifier,
    text: &Arc<str>,
    dialect: Dialect,
    options: &CompileOptions,
) -> Result<Compiled, Vec<CompileProblem>> {
    let run = || stacker::grow(STACK_BYTES, || compile_on_large_stack(url, text, dialect, options));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let message = format!("the compiler failed on this file: {}", said.unwrap_or("no reason given"));
        Err(vec![CompileProblem { message, bytes: None }])
    })
}

fn compile_on_large_stack(
    url: &ModuleSpecifier,
    text: &Arc<str>,
    dialect: Dialect,
    options: &CompileOptions,
) -> Result<Compiled, Vec<CompileProblem>> {
    let parsed = deno_ast::parse_module(ParseParams {
        specifier: url.clone(),
        text: text.clone(),
        media_type: dialect.media_type(),
        capture_tokens: false,
        scope_analysis: false,
        maybe_syntax: None,
    })
    .map_err(|fatal| syntax_problems(text, dialect, &fatal))?;

    // The engine would report these too, one at a time and only once it gets there.
    let early_errors: Vec<CompileProblem> = parsed
        .diagnostics()
        .iter()
        .filter(|diagnostic| breaks_the_engine(diagnostic.kind()))
        .map(CompileProblem::from)
        .collect();
    if !early_errors.is_empty() {
        return Err(early_errors);
    }

    if dialect == Dialect::JavaScript {
        let mut scan = ModuleScan::default();
        parsed.program_ref().visit_with(&mut scan);
        if !scan.needs_transform {
            let names = ModuleNames::of(&parsed.program());
            return Ok(Compiled { output: None, format: scan.format(), imports: scan.imports, names });
        }
    }
    transform(url, &parsed, dialect, options)
}

/// The fatal error, or the ones that the parser had met and recovered from before it: a string without its end is reported
/// where it begins, and not as a bracket missing at the end of the file.
fn syntax_problems(text: &str, dialect: Dialect, fatal: &ParseDiagnostic) -> Vec<CompileProblem> {
    let start = StartSourcePos::START_SOURCE_POS;
    let input = StringInput::new(text, start.as_byte_pos(), (start + text.len()).as_byte_pos());
    let lexer = Lexer::new(deno_ast::get_syntax(dialect.media_type()), deno_ast::ES_VERSION, input, None);
    let mut parser = Parser::new_from(lexer);
    // Failed once already; what counts is what it noted on the way.
    let _ = parser.parse_module();
    let mut earlier: Vec<CompileProblem> = parser
        .take_errors()
        .iter()
        .filter(|error| breaks_the_engine(error.kind()))
        .map(|error| {
            let span = error.span();
            let bytes = (span.lo.0 >= 1).then(|| span.lo.0 as usize - 1..span.hi.0 as usize - 1);
            CompileProblem { message: message(error.kind()), bytes }
        })
        .collect();
    if earlier.is_empty() {
        earlier.push(CompileProblem::from(fatal));
    }
    earlier
}

/// Errors named TS.. only break what a type checker says, and compile to code that runs.
fn breaks_the_engine(error: &SyntaxError) -> bool {
    !format!("{error:?}").starts_with("TS")
}

/// What the parser says, beginning in lower case like all our messages; a name or an abbreviation at its start stays.
fn message(error: &SyntaxError) -> String {
    let message = error.msg().into_owned();
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(message.chars().skip(1)).collect()
        }
        _ => message,
    }
}

/// As `ParsedSource::transpile`, but with a look at the imports that are left once the types are gone.
fn transform(
    url: &ModuleSpecifier,
    parsed: &ParsedSource,
    dialect: Dialect,
    options: &CompileOptions,
) -> Result<Compiled, Vec<CompileProblem>> {
    let source_map = deno_ast::SourceMap::single(url.clone(), parsed.text().to_string());
    let comments = parsed.comments().as_single_threaded();
    let mut program: Program = (*parsed.program()).clone();
    let names = ModuleNames::of(&program);
    if !options.type_names.is_empty() {
        names::drop_type_names(&mut program, &options.type_names);
    }
    if let Program::Module(module) = &mut program {
        namespaces::connect_namespaces(&mut module.body);
    }
    let mut transpile = transpile_options(dialect, options);
    if names_jsx_factory(parsed)
        && let Some(JsxRuntime::Automatic(_)) = transpile.jsx
    {
        transpile.jsx = Some(JsxRuntime::Classic(JsxClassicOptions::default()));
    }
    let program = parsed
        .globals()
        .with(|marks| {
            let diagnostics = Box::new(parsed.diagnostics().iter());
            deno_ast::fold_program(program, &transpile, &source_map, &comments, marks, diagnostics)
        })
        .map_err(|error| match error {
            FoldProgramError::ParseDiagnostics(problems) => problems.0.iter().map(CompileProblem::from).collect(),
            FoldProgramError::Swc(problems) => vec![CompileProblem { message: problems.to_string(), bytes: None }],
        })?;

    let mut scan = ModuleScan::default();
    program.visit_with(&mut scan);

    let emit_options = EmitOptions {
        source_map: SourceMapOption::Separate,
        // Sources by their name alone: two copies of a file share what the cache holds.
        source_map_base: url.join(".").ok(),
        source_map_file: None,
        inline_sources: false,
        remove_comments: true,
    };
    let emitted = deno_ast::emit((&program).into(), &comments, &source_map, &emit_options)
        .map_err(|error| vec![CompileProblem { message: error.to_string(), bytes: None }])?;
    let output = CompiledOutput { code: emitted.text, source_map: emitted.source_map.unwrap_or_default() };
    Ok(Compiled { output: Some(output), format: scan.format(), imports: scan.imports, names })
}

/// Whether a comment before the code says `@jsx h` or `@jsxFrag F`: the file then calls functions that it imports
/// itself, whatever the project does.
fn names_jsx_factory(parsed: &ParsedSource) -> bool {
    let comments = parsed.get_leading_comments();
    let words = comments.into_iter().flatten().flat_map(|comment| comment.text.split_whitespace());
    let mut factory = false;
    for word in words {
        match word {
            "@jsx" | "@jsxFrag" => factory = true,
            // Says itself how it is meant.
            "@jsxRuntime" | "@jsxImportSource" => return false,
            _ => {}
        }
    }
    factory
}

fn transpile_options(dialect: Dialect, options: &CompileOptions) -> TranspileOptions {
    let is_javascript = dialect == Dialect::JavaScript;
    let decorators = match options.decorators {
        Decorators::Experimental { metadata } if !is_javascript => {
            DecoratorsTranspileOption::LegacyTypeScript { emit_metadata: metadata }
        }
        _ => DecoratorsTranspileOption::Ecma,
    };
    let jsx = match &options.jsx {
        JsxTransform::Automatic { import_source } => {
            JsxRuntime::Automatic(JsxAutomaticOptions { development: false, import_source: import_source.clone() })
        }
        JsxTransform::Classic { factory, fragment } => {
            JsxRuntime::Classic(JsxClassicOptions { factory: factory.clone(), fragment_factory: fragment.clone() })
        }
    };
    TranspileOptions {
        decorators,
        // An unused import of JavaScript still runs the module.
        verbatim_module_syntax: is_javascript || options.unused_imports == UnusedImports::Keep,
        imports_not_used_as_values: ImportsNotUsedAsValues::Remove,
        jsx: matches!(dialect, Dialect::JavaScript | Dialect::TypeScriptJsx).then_some(jsx),
        var_decl_imports: false,
    }
}

impl Dialect {
    fn media_type(self) -> MediaType {
        match self {
            Self::TypeScript => MediaType::TypeScript,
            Self::TypeScriptModule => MediaType::Mts,
            Self::TypeScriptJsx => MediaType::Tsx,
            Self::JavaScript => MediaType::Jsx,
        }
    }
}

impl From<&ParseDiagnostic> for CompileProblem {
    fn from(diagnostic: &ParseDiagnostic) -> Self {
        let range = diagnostic.range();
        let bytes = range.as_byte_range(StartSourcePos::START_SOURCE_POS);
        Self { message: message(diagnostic.kind()), bytes: Some(bytes) }
    }
}
