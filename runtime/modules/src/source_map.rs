//! From the line that ran to the line that was written.

use std::sync::{Arc, OnceLock};

use deno_ast::swc::sourcemap;

use crate::position::Position;

/// A source map of one module, decoded when a stack first needs it: most never are.
#[derive(Debug, Clone)]
pub struct SourceMap {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    json: Arc<str>,
    decoded: OnceLock<Option<sourcemap::SourceMap>>,
}

impl SourceMap {
    pub(crate) fn new(json: Arc<str>) -> Self {
        Self { inner: Arc::new(Inner { json, decoded: OnceLock::new() }) }
    }

    /// The map as JSON, version 3: one source, named by the file's name alone, without its content.
    pub fn json(&self) -> &Arc<str> {
        &self.inner.json
    }

    /// The place in the original for a place in the generated code: the last mapping at or before it on the same line.
    /// `None` for code that nobody wrote, such as the helpers of decorators.
    pub fn original_position(&self, generated: Position) -> Option<Position> {
        let map = self.inner.decoded.get_or_init(|| sourcemap::SourceMap::from_slice(self.inner.json.as_bytes()).ok());
        let line = generated.line.checked_sub(1)?;
        let token = map.as_ref()?.lookup_token(line, generated.column.checked_sub(1)?)?;
        if token.get_dst_line() != line || !token.has_source() {
            return None;
        }
        Some(Position { line: token.get_src_line() + 1, column: token.get_src_col() + 1 })
    }
}
