//! Bakes the startup snapshot (embedding notes, section 2).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::{env, fs};

use deno_ast::{EmitOptions, MediaType, ParseParams, SourceMapOption, TranspileModuleOptions, TranspileOptions};
use deno_core::snapshot::{CreateSnapshotOptions, create_snapshot};
use deno_core::{ExtensionFileSourceCode, FastString, ModuleCodeString, ModuleName, SourceMapData};
use deno_error::JsErrorBox;

fn main() {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let extensions = aerostack_platform::extensions();
    let lazy_scripts: Vec<(&'static str, PathBuf)> = extensions
        .iter()
        .flat_map(|extension| extension.lazy_loaded_js_files.iter())
        .map(|file| match &file.code {
            ExtensionFileSourceCode::LoadedFromFsDuringSnapshot(path) => (file.specifier, PathBuf::from(path)),
            _ => panic!("{} is not loaded from a file", file.specifier),
        })
        .collect();

    let output = create_snapshot(
        CreateSnapshotOptions {
            cargo_manifest_dir: env!("CARGO_MANIFEST_DIR"),
            startup_snapshot: None,
            skip_op_registration: false,
            extensions,
            extension_transpiler: Some(Rc::new(transpile)),
            with_runtime_cb: None,
        },
        None,
    )
    .unwrap_or_else(|error| panic!("cannot bake the snapshot: {error}"));

    fs::write(out_dir.join("snapshot.bin"), &output.output).expect("OUT_DIR is writable");
    for path in &output.files_loaded_during_snapshot {
        println!("cargo:rerun-if-changed={}", path.display());
    }

    let consumed: HashSet<&str> = output.consumed_lazy_specifiers.iter().map(String::as_str).collect();
    let residual = lazy_scripts.into_iter().filter(|(specifier, _)| !consumed.contains(specifier)).collect();
    fs::write(out_dir.join("residual.rs"), residual_table(&out_dir, residual)).expect("OUT_DIR is writable");
}

/// The scripts that are not in the heap, compiled at their first use: deno_core finds them in this table by specifier.
fn residual_table(out_dir: &Path, mut scripts: Vec<(&'static str, PathBuf)>) -> String {
    scripts.sort_unstable();
    let mut table = String::from(
        "/// Scripts outside the heap: specifier and source, sorted by specifier.\npub static RESIDUAL_SCRIPTS: &[(&str, &str)] = &[\n",
    );
    for (index, (specifier, path)) in scripts.into_iter().enumerate() {
        println!("cargo:rerun-if-changed={}", path.display());
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (code, _) = transpile(FastString::from_static(specifier), source.into())
            .unwrap_or_else(|error| panic!("{specifier}: {error}"));
        let wrapped = deno_core::wrap_lazy_ext_script(code.as_str());
        assert!(wrapped.is_ascii(), "{specifier} must be 7-bit ASCII");
        let file = format!("residual_{index}.js");
        fs::write(out_dir.join(&file), wrapped).expect("OUT_DIR is writable");
        writeln!(table, "    ({specifier:?}, include_str!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))),")
            .expect("writing to a string cannot fail");
    }
    table.push_str("];\n");
    table
}

/// Strips the types of our own scripts, and the comments of all: their text is part of every isolate's heap.
#[expect(clippy::needless_pass_by_value, reason = "the signature is deno_core's")]
fn transpile(
    specifier: ModuleName,
    source: ModuleCodeString,
) -> Result<(ModuleCodeString, Option<SourceMapData>), JsErrorBox> {
    let media_type = match Path::new(specifier.as_str()).extension().and_then(|extension| extension.to_str()) {
        Some("ts") => MediaType::TypeScript,
        _ => MediaType::JavaScript,
    };
    let invalid = |error: &dyn std::fmt::Display| JsErrorBox::generic(error.to_string());
    let url = deno_core::ModuleSpecifier::parse(specifier.as_str()).map_err(|error| invalid(&error))?;
    let parsed = deno_ast::parse_module(ParseParams {
        specifier: url,
        text: Arc::from(source.as_str()),
        media_type,
        capture_tokens: false,
        scope_analysis: false,
        maybe_syntax: None,
    })
    .map_err(|error| invalid(&error))?;
    let emitted = parsed
        .transpile(
            &TranspileOptions::default(),
            &TranspileModuleOptions::default(),
            &EmitOptions { source_map: SourceMapOption::None, remove_comments: true, ..EmitOptions::default() },
        )
        .map_err(|error| invalid(&error))?
        .into_source();
    Ok((emitted.text.into(), None))
}
