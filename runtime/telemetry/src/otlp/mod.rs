//! Spans to a collector, over OTLP/HTTP (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! An exporter of its own, in a few hundred lines. The crates opentelemetry, opentelemetry_sdk and opentelemetry-otlp would bring a
//! span model and a context of theirs beside the invocation's, protobuf types of every signal, and a second HTTP client; what is
//! needed is one POST, in protobuf (the standard's default) or JSON.

mod exporter;
mod json;
mod protobuf;
mod settings;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aerostack_trace::SpanKind;

pub use exporter::{Exporter, StartError};
pub use settings::{OtlpSettings, SettingsError};

/// `STATUS_CODE_ERROR`
const FAILED: i32 = 2;

fn kind_number(kind: SpanKind) -> i32 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Consumer => 5,
    }
}

/// Since 1970. The number fits until the year 2554.
fn nanoseconds(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos()).unwrap_or(u64::MAX)
}
