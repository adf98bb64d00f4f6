use aerostack_trace::{Ids, SpanContext};

/// A `traceparent`: it is read where another reading of the specification takes it too, as what stands in it; it is written back
/// the same, and a child is another span of the same trace.
pub(crate) fn target(data: &[u8]) {
    let context = SpanContext::parse(data);
    assert_eq!(context.is_some(), is_valid(data));
    let Some(context) = context else { return };
    let text = context.to_string();
    assert_eq!(text.as_bytes()[3..52], data[3..52], "the ids are those that were sent");
    assert_eq!(context.is_sampled(), b"13579bdf".contains(&data[54]));
    assert_eq!(SpanContext::parse(text.as_bytes()), Some(context));
    let child = context.child(&Ids::random());
    assert_eq!((child.trace, child.is_sampled()), (context.trace, context.is_sampled()));
    assert_ne!(child.span, context.span);
    assert_eq!(SpanContext::parse(child.to_string().as_bytes()), Some(child));
}

/// W3C Trace Context, section 3.2, field by field.
fn is_valid(header: &[u8]) -> bool {
    let fields: Vec<&[u8]> = header.split(|byte| *byte == b'-').collect();
    let [version, trace, span, flags, later @ ..] = &fields[..] else { return false };
    let is_hex =
        |field: &[u8], length| field.len() == length && field.iter().all(|byte| b"0123456789abcdef".contains(byte));
    let is_zero = |field: &[u8]| field.iter().all(|byte| *byte == b'0');
    is_hex(version, 2)
        && is_hex(trace, 32)
        && is_hex(span, 16)
        && is_hex(flags, 2)
        && *version != b"ff"
        && !is_zero(trace)
        && !is_zero(span)
        && (later.is_empty() || *version != b"00")
}
