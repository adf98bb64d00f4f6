//! A worker's source files: found, resolved, turned into JavaScript and mapped back. No V8 in here.
//!
//! [`Loader::load_graph`] walks from the worker's main file through every import that is written as a literal and hands back a
//! [`Graph`], or [`ModuleErrors`] with every problem at once. The graph answers the three questions of the runtime: what does
//! this specifier mean ([`Graph::resolve`]), what code runs for this URL ([`Graph::module`]), and which line did the user write
//! for this line of the stack ([`Graph::original_position`]). [`render_code_frame`] draws the place in the source.
//!
//! Reading order: [`SourceReader`] -> [`Loader`] -> `resolve` -> `compile` -> `cache` -> [`Graph`] -> [`Diagnostic`].

mod cache;
mod compile;
mod diagnostic;
mod frame;
mod graph;
mod loader;
mod module;
mod position;
mod reader;
mod resolve;
mod source_map;
mod tsconfig;

pub use diagnostic::{Diagnostic, DiagnosticKind, ModuleErrors};
pub use frame::{CodeFrame, FramePlace, FrameStyle, render_code_frame};
pub use graph::{Graph, LoadCounts, OriginalPlace};
pub use loader::Loader;
pub use module::{Module, ModuleCode, ModuleKind};
pub use position::{Position, PositionRange};
pub use reader::{DiskReader, EntryKind, MemoryReader, SourceReader};
pub use resolve::ResolveError;
pub use source_map::SourceMap;
pub use url::Url;

#[cfg(test)]
mod tests;
