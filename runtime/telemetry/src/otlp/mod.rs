//! Spans to a collector, over OTLP/HTTP (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! An exporter of its own, in a few hundred lines. The crates opentelemetry, opentelemetry_sdk and opentelemetry-otlp would bring a
//! span model and a context of theirs beside the invocation's, protobuf types of every signal, and a second HTTP client; what is
//! needed is one POST of JSON (`http/json`, which every collector takes at the same address as protobuf).

mod encode;
mod exporter;
mod settings;

pub use exporter::{Exporter, StartError};
pub use settings::{OtlpSettings, SettingsError};
