use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{Sampling, SpanContext, SpanId};

/// A piece of work that is over, as it is exported. Names and attributes follow OpenTelemetry's semantic conventions where they have
/// one (<https://opentelemetry.io/docs/specs/semconv/>), and begin with `aerostack.` where they have none.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Itself.
    pub context: SpanContext,
    /// The span that it is part of, of this process or another.
    pub parent: Option<SpanId>,
    /// What it is, in few words of few kinds: for example `GET`, `database all`.
    pub name: String,
    /// Which side of a call it is.
    pub kind: SpanKind,
    /// When it began.
    pub started: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Facts about it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// Which side of a call a [`Span`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Neither.
    Internal,
    /// A request from outside that is answered here.
    Server,
    /// A request to somewhere else.
    Client,
    /// Messages that are worked on here.
    Consumer,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// Takes spans that are over. Must not wait: it is called on the threads that serve.
pub trait SpanSink: Send + Sync {
    /// Takes one.
    fn take(&self, span: Span);
}

/// Where spans go: to a sink, or nowhere.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<dyn SpanSink>>);

impl Tracer {
    /// Keeps no spans.
    pub fn off() -> Self {
        Self(None)
    }

    /// Gives every span of a sampled trace to `sink`.
    pub fn new(sink: Arc<dyn SpanSink>) -> Self {
        Self(Some(sink))
    }

    /// Whether the spans of traces that begin here are kept.
    pub fn sampling(&self) -> Sampling {
        if self.0.is_some() { Sampling::On } else { Sampling::Off }
    }

    /// Whether traces that begin here are kept, so that each request and event begins one.
    pub fn begins(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the spans of this trace are kept. Where they are not, none need be made.
    pub fn keeps(&self, context: SpanContext) -> bool {
        self.0.is_some() && context.is_sampled()
    }

    /// Gives a span to the sink if its trace is kept.
    pub fn record(&self, span: Span) {
        if let Some(sink) = self.0.as_ref().filter(|_| span.context.is_sampled()) {
            sink.take(span);
        }
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}
