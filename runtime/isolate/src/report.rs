use std::fmt::Write;

use aerostack_modules::{CodeFrame, FramePlace, FrameStyle, Position, PositionRange, Url, render_code_frame};
use deno_core::error::{JsError, JsStackFrame};

use crate::hints::hint;
use crate::sources::is_own_script;
use crate::worker::WorkerVersion;

/// An uncaught error as a person reads it: what, where in the files they wrote, and why.
#[derive(Debug, Clone)]
pub struct ErrorReport {
    /// For example `Uncaught TypeError: x is not a function`. Several lines where a value was thrown that takes several
    /// to show.
    pub message: String,
    /// The stack, innermost first, without the runtime's own frames.
    pub frames: Vec<ReportFrame>,
    /// The line that threw, if it is in the worker's own files.
    place: Option<Place>,
    /// The worker's main module, for an error that no line of the worker threw.
    main: String,
    /// The `cause`, and its cause.
    pub cause: Option<Box<ErrorReport>>,
    /// The `errors` of an AggregateError.
    pub inner: Vec<ErrorReport>,
    hint: Option<String>,
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
pub(crate) struct Place {
    file: String,
    pub(crate) source: std::sync::Arc<str>,
    pub(crate) position: Position,
}

impl ErrorReport {
    /// Describes an error with source-mapped frames (deno_core has mapped them).
    pub fn new(error: &JsError, version: &WorkerVersion) -> Self {
        let own = |frame: &&JsStackFrame| frame.file_name.as_deref().is_some_and(|file| !is_own_script(file));
        let frames = error
            .frames
            .iter()
            .filter(own)
            .map(|frame| ReportFrame { function: function_name(frame), location: location(frame, version) });
        let place = error.frames.iter().find_map(|frame| place(frame, version));
        Self {
            message: error.exception_message.clone(),
            frames: frames.collect(),
            hint: hint(error, place.as_ref(), version),
            place,
            main: version.display_path(&version.graph.main).unwrap_or_default(),
            cause: error.cause.as_ref().map(|cause| Box::new(Self::new(cause, version))),
            inner: error.aggregated.iter().flatten().map(|inner| Self::new(inner, version)).collect(),
        }
    }

    /// The line that threw with the lines around it, if it is in the worker's own files; the worker's main module alone
    /// where no line is known at all.
    pub fn code_frame(&self, style: FrameStyle) -> Option<String> {
        let (file, place) = match &self.place {
            Some(Place { file, source, position }) => {
                (file, Some(FramePlace { source, range: PositionRange::point(*position) }))
            }
            None if self.frames.is_empty() => (&self.main, None),
            None => return None,
        };
        let frame = CodeFrame { message: &self.message, file, place, hint: self.hint.as_deref() };
        Some(render_code_frame(&frame, style))
    }

    /// Message and stack as plain text, the way `error.stack` reads.
    pub fn stack_text(&self) -> String {
        format!("{}{}", self.message, self.trace())
    }

    /// What follows the message in [`ErrorReport::stack_text`]: the stack, the cause and the inner errors, each line
    /// after a line feed.
    pub fn trace(&self) -> String {
        let mut text = String::new();
        for frame in &self.frames {
            let _ = write!(text, "\n    at {} ({})", frame.function, frame.location);
        }
        let below = |report: &Self| report.stack_text().trim_start_matches("Uncaught ").to_owned();
        if let Some(cause) = &self.cause {
            let _ = write!(text, "\nCaused by: {}", below(cause));
        }
        for (index, inner) in self.inner.iter().enumerate() {
            let _ = write!(text, "\nInner error {} of {}: {}", index + 1, self.inner.len(), below(inner));
        }
        text
    }

    /// What to do about it, for errors that newcomers meet first.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
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
