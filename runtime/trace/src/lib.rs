//! Names of requests and traces.
//!
//! A [`RequestId`] names one request or event in the log of one process. A [`SpanContext`] names a piece of work across processes,
//! and travels in the header `traceparent` of W3C Trace Context (<https://www.w3.org/TR/trace-context/>). Knows no HTTP, no V8 and
//! no exporter: the snapshot's build script links it too.

mod ids;
mod parent;
mod span;

pub use ids::{Ids, RequestId, SpanId, TraceId};
pub use parent::{Sampling, SpanContext, TRACEPARENT};
pub use span::{Attribute, Span, SpanKind, SpanSink, Tracer};

/// What names a handler's call in logs and traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// In the log.
    pub request: RequestId,
    /// In traces: the span of the call itself. `None` while nobody needs one.
    pub span: Option<SpanContext>,
}
