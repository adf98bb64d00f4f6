//! The ops behind js/platform/fetch_spans.ts: outbound requests carry the trace of the handler that makes them, and are spans of it
//! where spans are kept.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use aerostack_trace::{Attribute, Span, SpanContext, SpanId, SpanKind, Tracer};
use deno_core::{OpState, op2, url::Url};

use crate::{InvocationId, Invocations};

/// Requests that are under way and whose spans are kept. One an isolate.
#[derive(Default)]
pub(crate) struct OpenFetches(HashMap<SpanContext, OpenFetch>);

struct OpenFetch {
    parent: SpanId,
    started: SystemTime,
    clock: Instant,
}

/// The header values that a request made by this invocation carries: `traceparent`, and on a second line `tracestate` where the
/// invocation's own request brought one. Empty where there is no such invocation.
#[op2]
#[string]
pub(crate) fn op_fetch_span_begin(state: &mut OpState, #[number] invocation: u64) -> String {
    let Some(id) = InvocationId::from_number(invocation) else { return String::new() };
    let invocations = state.borrow::<Rc<Invocations>>().clone();
    let tracer = state.borrow::<Tracer>();
    let Some((parent, span)) = invocations.child_span(id, tracer) else { return String::new() };
    if tracer.keeps(span) {
        let open = OpenFetch { parent: parent.span, started: SystemTime::now(), clock: Instant::now() };
        state.borrow_mut::<OpenFetches>().0.insert(span, open);
    }
    match invocations.tracestate(id) {
        Some(tracestate) => format!("{span}\n{tracestate}"),
        None => span.to_string(),
    }
}

/// The request that carried these headers has its answer's head, or has failed.
#[op2(fast)]
pub(crate) fn op_fetch_span_end(
    state: &mut OpState,
    #[string] headers: &str,
    #[string] method: &str,
    #[string] url: &str,
    #[smi] status: u32,
    #[string] failure: &str,
) {
    let traceparent = headers.split('\n').next().unwrap_or_default();
    let Some(context) = SpanContext::parse(traceparent.as_bytes()) else { return };
    let Some(open) = state.borrow_mut::<OpenFetches>().0.remove(&context) else { return };
    let mut attributes: Vec<(&'static str, Attribute)> = vec![("http.request.method", method.into())];
    if let Ok(mut url) = Url::parse(url) {
        // Neither who asks nor what is asked for in the query: either may be a secret.
        url.set_query(None);
        url.set_fragment(None);
        let stripped = url.set_username("").and_then(|()| url.set_password(None));
        attributes.extend(url.host_str().map(|host| ("server.address", host.into())));
        attributes.extend(url.port_or_known_default().map(|port| ("server.port", i64::from(port).into())));
        if stripped.is_ok() {
            attributes.push(("url.full", url.to_string().into()));
        }
    }
    if status != 0 {
        attributes.push(("http.response.status_code", i64::from(status).into()));
    }
    let failure = match (failure, status) {
        ("", 400..) => Some(format!("status {status}")),
        ("", _) => None,
        (failure, _) => Some(failure.to_owned()),
    };
    state.borrow::<Tracer>().record(Span {
        context,
        parent: Some(open.parent),
        name: method.to_owned(),
        kind: SpanKind::Client,
        started: open.started,
        took: open.clock.elapsed(),
        attributes,
        failure,
    });
}
