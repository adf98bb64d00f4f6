//! `ExportTraceServiceRequest` in the JSON mapping of OTLP: ids as hexadecimal digits, 64-bit numbers as strings.

use aerostack_trace::{Attribute, Span};
use serde_json::{Value, json};

use super::{FAILED, kind_number, nanoseconds};

pub(super) fn request(spans: &[Span], resource: &[(String, String)], version: &str) -> Value {
    let attributes: Vec<Value> = resource.iter().map(|(key, value)| attribute(key, &value.as_str().into())).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes },
            "scopeSpans": [{
                "scope": { "name": "aerostack", "version": version },
                "spans": spans.iter().map(span).collect::<Vec<_>>(),
            }],
        }],
    })
}

fn span(span: &Span) -> Value {
    let mut encoded = json!({
        "traceId": span.context.trace.to_string(),
        "spanId": span.context.span.to_string(),
        "name": span.name,
        "kind": kind_number(span.kind),
        "startTimeUnixNano": nanoseconds(span.started).to_string(),
        "endTimeUnixNano": nanoseconds(span.started + span.took).to_string(),
        "attributes": span.attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        encoded["parentSpanId"] = parent.to_string().into();
    }
    if let Some(failure) = &span.failure {
        encoded["status"] = json!({ "code": FAILED, "message": failure });
    }
    encoded
}

fn attribute(key: &str, value: &Attribute) -> Value {
    let value = match value {
        Attribute::Text(text) => json!({ "stringValue": text }),
        Attribute::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": key, "value": value })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use aerostack_trace::{Ids, SpanContext, SpanKind};

    use super::*;

    #[test]
    fn a_span_is_written_as_the_json_mapping_says() {
        let ids = Ids::random();
        let parent = SpanContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("valid");
        let context = parent.child(&ids);
        let span = Span {
            context,
            parent: Some(parent.span),
            name: "GET".to_owned(),
            kind: SpanKind::Server,
            started: UNIX_EPOCH + Duration::from_secs(1),
            took: Duration::from_nanos(5),
            attributes: vec![("http.response.status_code", 500.into()), ("url.path", "/x".into())],
            failure: Some("it threw".to_owned()),
        };
        let resource = [("service.name".to_owned(), "shop".to_owned())];
        assert_eq!(
            request(&[span], &resource, "1"),
            json!({ "resourceSpans": [{
                "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] },
                "scopeSpans": [{
                    "scope": { "name": "aerostack", "version": "1" },
                    "spans": [{
                        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                        "spanId": context.span.to_string(),
                        "name": "GET",
                        "kind": 2,
                        "startTimeUnixNano": "1000000000",
                        "endTimeUnixNano": "1000000005",
                        "attributes": [
                            { "key": "http.response.status_code", "value": { "intValue": "500" } },
                            { "key": "url.path", "value": { "stringValue": "/x" } },
                        ],
                        "parentSpanId": "00f067aa0ba902b7",
                        "status": { "code": 2, "message": "it threw" },
                    }],
                }],
            }] })
        );
    }
}
