//! What user code and its reader see of where a worker's files lie: paths below the project, never the machine's, and
//! no frame of the runtime's own scripts.

use std::rc::Rc;
use std::sync::Arc;

use aerostack_modules::{Graph, Url};
use deno_core::error::{format_file_name, format_stack_trace, prepare_stack_trace_callback};
use deno_core::v8;

/// Lets `error.stack` and `import.meta` of the isolate name the graph's files as the user knows them.
pub(crate) fn install(isolate: &mut v8::Isolate, graph: Arc<Graph>) {
    isolate.set_slot(Rc::new(Sources { graph }));
    isolate.set_prepare_stack_trace_callback(prepare_stack_trace);
    isolate.set_host_initialize_import_meta_object_callback(initialise_import_meta);
}

/// Whether a script is one of the runtime's.
pub(crate) fn is_own_script(name: &str) -> bool {
    name.starts_with("ext:")
}

/// In a slot of the isolate.
struct Sources {
    graph: Arc<Graph>,
}

impl Sources {
    fn of(isolate: &v8::Isolate) -> Option<Rc<Self>> {
        isolate.get_slot::<Rc<Self>>().cloned()
    }

    /// How a script's file is printed; `None` for one that is no file of the project.
    fn shown(&self, script: &str) -> Option<String> {
        self.graph.display(&Url::parse(script).ok()?)
    }
}

/// Makes `error.stack`. Called by V8 when it is first read.
fn prepare_stack_trace<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Value>,
    callsites: v8::Local<'s, v8::Array>,
) -> v8::Local<'s, v8::Value> {
    let frames = foreign_frames(scope, callsites);
    let elements: Vec<v8::Local<v8::Value>> = frames.iter().map(|frame| frame.callsite.into()).collect();
    let callsites = v8::Array::new_with_elements(scope, &elements);
    // Keeps the frames for `JsError`, and calls the worker's own `Error.prepareStackTrace`.
    let prepared = prepare_stack_trace_callback(scope, error, callsites);
    if has_own_formatter(scope) {
        return prepared;
    }
    let Some(sources) = Sources::of(scope) else { return prepared };
    let nothing = v8::Array::new(scope, 0);
    let mut stack = format_stack_trace(scope, error, nothing).to_rust_string_lossy(scope);
    for Frame { callsite, script } in frames {
        let one = v8::Array::new_with_elements(scope, &[callsite.into()]);
        let no_error = v8::undefined(scope).into();
        let line = format_stack_trace(scope, no_error, one).to_rust_string_lossy(scope);
        let shown = script.as_deref().and_then(|script| Some((script, sources.shown(script)?)));
        stack += &match shown {
            Some((script, shown)) => with_path(&line, &format_file_name(script, None).file_name, &shown),
            None => line,
        };
    }
    v8::String::new(scope, &stack).map_or(prepared, Into::into)
}

/// The line of a frame with `shown` in place of its file, which stands last in it: before it is only the function's
/// name.
fn with_path(line: &str, file: &str, shown: &str) -> String {
    match line.rfind(file) {
        Some(at) => format!("{}{shown}{}", &line[..at], &line[at + file.len()..]),
        None => line.to_owned(),
    }
}

struct Frame<'s> {
    callsite: v8::Local<'s, v8::Object>,
    script: Option<String>,
}

/// The call sites that are not in the runtime's own scripts.
fn foreign_frames<'s>(scope: &mut v8::PinScope<'s, '_>, callsites: v8::Local<'s, v8::Array>) -> Vec<Frame<'s>> {
    let mut frames = Vec::with_capacity(callsites.length() as usize);
    for index in 0..callsites.length() {
        let Some(callsite) = callsites.get_index(scope, index).and_then(|site| site.try_cast::<v8::Object>().ok())
        else {
            continue;
        };
        let script = script_of(scope, callsite);
        if !script.as_deref().is_some_and(is_own_script) {
            frames.push(Frame { callsite, script });
        }
    }
    frames
}

fn script_of(scope: &mut v8::PinScope<'_, '_>, callsite: v8::Local<'_, v8::Object>) -> Option<String> {
    v8::tc_scope!(let scope, scope);
    let callsite = v8::Local::new(scope, callsite);
    let name = v8::String::new(scope, "getFileName")?;
    let method = callsite.get(scope, name.into())?.try_cast::<v8::Function>().ok()?;
    let script = method.call(scope, callsite.into(), &[])?.try_cast::<v8::String>().ok()?;
    Some(script.to_rust_string_lossy(scope))
}

/// Whether the worker has set `Error.prepareStackTrace`.
fn has_own_formatter(scope: &mut v8::PinScope<'_, '_>) -> bool {
    v8::tc_scope!(let scope, scope);
    let global = scope.get_current_context().global(scope);
    let found =
        [c"Error", c"prepareStackTrace"].iter().try_fold(v8::Local::<v8::Value>::from(global), |holder, name| {
            let name = v8::String::new(scope, name.to_str().ok()?)?;
            holder.try_cast::<v8::Object>().ok()?.get(scope, name.into())
        });
    found.is_some_and(|formatter| formatter.is_function())
}

/// Fills `import.meta` of a module with `url` and `resolve`. V8 calls it from the module's code, when it is first read.
unsafe extern "C" fn initialise_import_meta(
    context: v8::Local<v8::Context>,
    _module: v8::Local<v8::Module>,
    meta: v8::Local<v8::Object>,
) {
    // SAFETY: V8 calls this with the context that is entered.
    v8::callback_scope!(unsafe scope, context);
    let Some(script) = v8::StackTrace::current_script_name_or_source_url(scope) else { return };
    let Some(sources) = Sources::of(scope) else { return };
    let script_url = Url::parse(&script.to_rust_string_lossy(scope)).ok();
    let Some(url) = script_url.and_then(|url| sources.graph.bundle_url(&url)) else { return };
    let resolve = v8::Function::builder(resolve_for_import_meta).data(script.into()).build(scope);
    let (Some(name), Some(url)) = (v8::String::new(scope, "url"), v8::String::new(scope, url.as_str())) else { return };
    meta.create_data_property(scope, name.into(), url.into());
    if let (Some(name), Some(resolve)) = (v8::String::new(scope, "resolve"), resolve) {
        meta.create_data_property(scope, name.into(), resolve.into());
    }
}

/// `import.meta.resolve(specifier)`; the script is the function's data.
#[expect(clippy::needless_pass_by_value, reason = "the signature of V8's callbacks")]
fn resolve_for_import_meta(
    scope: &mut v8::PinScope<'_, '_>,
    arguments: v8::FunctionCallbackArguments<'_>,
    mut answer: v8::ReturnValue<'_>,
) {
    // A symbol throws here.
    let Some(specifier) = arguments.get(0).to_string(scope) else { return };
    let specifier = specifier.to_rust_string_lossy(scope);
    let script = Url::parse(&arguments.data().to_rust_string_lossy(scope));
    let (Some(sources), Ok(script)) = (Sources::of(scope), script) else { return };
    let resolved = match sources.graph.resolve(&specifier, &script) {
        Ok(url) => sources.graph.bundle_url(&url).unwrap_or(url).to_string(),
        Err(error) => {
            let message = v8::String::new(scope, &error.to_string()).unwrap_or_else(|| v8::String::empty(scope));
            let error = v8::Exception::type_error(scope, message);
            scope.throw_exception(error);
            return;
        }
    };
    if let Some(resolved) = v8::String::new(scope, &resolved) {
        answer.set(resolved.into());
    }
}

#[cfg(test)]
mod tests {
    use super::with_path;

    #[test]
    fn only_the_file_of_a_frame_is_shortened_and_not_the_name_of_its_function() {
        let line = "\n    at Object.file:///p/a.ts (file:///p/a.ts:1:2)";
        assert_eq!(with_path(line, "file:///p/a.ts", "a.ts"), "\n    at Object.file:///p/a.ts (a.ts:1:2)");
    }
}
