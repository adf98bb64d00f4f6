use std::fmt::Write;

use aerostack_modules::{CodeFrame, FramePlace, FrameStyle, Position, PositionRange, Url, render_code_frame};
use deno_core::error::{JsError, JsStackFrame};

use crate::worker::WorkerVersion;

/// An uncaught error as a person reads it: what, where in the files they wrote, and why.
#[derive(Debug, Clone)]
pub struct ErrorReport {
    /// For example `Uncaught TypeError: x is not a function`.
    pub message: String,
    /// The stack, innermost first, without the runtime's own frames.
    pub frames: Vec<ReportFrame>,
    /// The line that threw, if it is in the worker's own files.
    place: Option<Place>,
    /// The `cause`, and its cause.
    pub cause: Option<Box<ErrorReport>>,
}

/// One line of a stack.
#[derive(Debug, Clone)]
pub struct ReportFrame {
    /// The function, `<anonymous>` where it has no name.
    pub function: String,
    /// `file:line:column`, the file relative to the project.
    pub location: String,
}

#[derive(Debug, Clone)]
struct Place {
    file: String,
    source: std::sync::Arc<str>,
    position: Position,
}

impl ErrorReport {
    /// Describes an error with source-mapped frames (deno_core has mapped them).
    pub fn new(error: &JsError, version: &WorkerVersion) -> Self {
        let own = |frame: &&JsStackFrame| frame.file_name.as_deref().is_some_and(|file| !file.starts_with("ext:"));
        let frames = error
            .frames
            .iter()
            .filter(own)
            .map(|frame| ReportFrame { function: function_name(frame), location: location(frame, version) });
        Self {
            message: error.exception_message.clone(),
            frames: frames.collect(),
            place: error.frames.iter().find_map(|frame| place(frame, version)),
            cause: error.cause.as_ref().map(|cause| Box::new(Self::new(cause, version))),
        }
    }

    /// The line that threw with the lines around it, if it is in the worker's own files.
    pub fn code_frame(&self, style: FrameStyle) -> Option<String> {
        let place = self.place.as_ref()?;
        let range = PositionRange::point(place.position);
        let frame = CodeFrame {
            message: &self.message,
            file: &place.file,
            place: Some(FramePlace { source: &place.source, range }),
            hint: hint(&self.message),
        };
        Some(render_code_frame(&frame, style))
    }

    /// Message and stack as plain text, the way `error.stack` reads.
    pub fn stack_text(&self) -> String {
        let mut text = self.message.clone();
        for frame in &self.frames {
            let _ = write!(text, "\n    at {} ({})", frame.function, frame.location);
        }
        if let Some(cause) = &self.cause {
            let _ = write!(text, "\nCaused by: {}", cause.stack_text().trim_start_matches("Uncaught "));
        }
        text
    }

    /// What to do about it, for errors that newcomers meet first.
    pub fn hint(&self) -> Option<&'static str> {
        hint(&self.message)
    }
}

/// What to do about errors that newcomers meet first.
fn hint(message: &str) -> Option<&'static str> {
    if message.contains("no such table") {
        return Some(
            "put CREATE TABLE statements into migrations/0001_name.sql; `aerostack dev` applies them at its start",
        );
    }
    if message.contains("Code generation from strings disallowed") {
        return Some("as on Workers, `eval` and `new Function` work while modules load, and in no handler");
    }
    if message.contains("Array buffer allocation failed") {
        return Some("limits.array_buffer_mb says how much all ArrayBuffers of an isolate may take together");
    }
    if message.contains("the main module has no default export") {
        return Some(
            "export a handler: `export default { fetch(request, env, ctx) { return new Response(\"hello\") } }`",
        );
    }
    None
}

fn function_name(frame: &JsStackFrame) -> String {
    let name = match (&frame.function_name, &frame.type_name, &frame.method_name) {
        (Some(function), _, _) => function.clone(),
        (None, Some(class), Some(method)) => format!("{class}.{method}"),
        _ => "<anonymous>".to_owned(),
    };
    if frame.is_async { format!("async {name}") } else { name }
}

fn location(frame: &JsStackFrame, version: &WorkerVersion) -> String {
    let file = frame.file_name.as_deref().unwrap_or("<unknown>");
    let file = Url::parse(file).ok().and_then(|url| version.display_path(&url)).unwrap_or_else(|| file.to_owned());
    match (frame.line_number, frame.column_number) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        _ => file,
    }
}

fn place(frame: &JsStackFrame, version: &WorkerVersion) -> Option<Place> {
    let url = Url::parse(frame.file_name.as_deref()?).ok()?;
    let module = version.graph.module(&url)?;
    let file = version.display_path(&url)?;
    if file.contains("node_modules/") {
        return None;
    }
    let line = u32::try_from(frame.line_number?).ok()?;
    let column = u32::try_from(frame.column_number?).ok()?;
    Some(Place { file, source: module.original.clone(), position: Position { line, column } })
}
