//! `ExportTraceServiceRequest` in protobuf: the messages of opentelemetry-proto 1.x, as far as a span here has
//! something to say.

use aerostack_trace::{Attribute, Span};
use prost::Message as _;

use super::{FAILED, kind_number, nanoseconds};

#[derive(Clone, PartialEq, prost::Message)]
struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<ProtoSpan>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InstrumentationScope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProtoSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

pub(super) fn request(spans: &[Span], resource: &[(String, String)], version: &str) -> Vec<u8> {
    let attributes = resource.iter().map(|(key, value)| attribute(key, &value.as_str().into())).collect();
    let scope = InstrumentationScope { name: "aerostack".to_owned(), version: version.to_owned() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: spans.iter().map(span).collect() }];
    let resource_spans = vec![ResourceSpans { resource: Some(Resource { attributes }), scope_spans }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn span(span: &Span) -> ProtoSpan {
    ProtoSpan {
        trace_id: span.context.trace.to_bytes().to_vec(),
        span_id: span.context.span.to_bytes().to_vec(),
        parent_span_id: span.parent.map_or_else(Vec::new, |parent| parent.to_bytes().to_vec()),
        name: span.name.clone(),
        kind: kind_number(span.kind),
        start_time_unix_nano: nanoseconds(span.started),
        end_time_unix_nano: nanoseconds(span.started + span.took),
        attributes: span.attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        status: span.failure.as_ref().map(|failure| Status { message: failure.clone(), code: FAILED }),
    }
}

fn attribute(key: &str, value: &Attribute) -> KeyValue {
    let value = match value {
        Attribute::Text(text) => Value::Text(text.clone()),
        Attribute::Number(number) => Value::Number(*number),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aerostack_trace::{Ids, SpanContext, SpanKind};

    use super::*;

    #[test]
    fn a_request_is_written_byte_for_byte_as_the_schema_says() {
        let ids = Ids::random();
        let context = SpanContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("valid");
        let span = Span {
            context,
            parent: Some(context.child(&ids).span),
            name: "GET".to_owned(),
            kind: SpanKind::Server,
            started: UNIX_EPOCH + Duration::from_secs(1),
            took: Duration::from_nanos(5),
            attributes: vec![("n", 500.into())],
            failure: Some("x".to_owned()),
        };
        let parent = span.parent.expect("set above").to_bytes();
        let encoded = request(&[span], &[("service.name".to_owned(), "shop".to_owned())], "1");

        let field = |number: u8, content: &[u8]| {
            let length = u8::try_from(content.len()).expect("short");
            assert!(length < 128, "one byte of length");
            [&[number << 3 | 2, length], content].concat()
        };
        let attribute = |key: &str, value: &[u8]| [field(1, key.as_bytes()), field(2, value)].concat();
        let resource = field(1, &attribute("service.name", &field(1, b"shop")));
        let scope = [field(1, b"aerostack"), field(2, b"1")].concat();
        let span = [
            field(1, &0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()),
            field(2, &0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()),
            field(4, &parent),
            field(5, b"GET"),
            vec![6 << 3, 2],
            [&[7 << 3 | 1][..], &1_000_000_000_u64.to_le_bytes()].concat(),
            [&[8 << 3 | 1][..], &1_000_000_005_u64.to_le_bytes()].concat(),
            field(9, &attribute("n", &[3 << 3, 0xf4, 0x03])),
            field(15, &[field(2, b"x"), vec![3 << 3, 2]].concat()),
        ]
        .concat();
        let spans = [field(1, &scope), field(2, &span)].concat();
        let resource_spans = [field(1, &resource), field(2, &spans)].concat();
        let expected = field(1, &resource_spans);
        assert_eq!(encoded, expected);
    }
}
