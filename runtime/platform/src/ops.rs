//! The ops behind `js/platform`. Each names its invocation by number; one that is over answers with an error.
#![expect(clippy::needless_pass_by_value, reason = "op2 prescribes the types in which arguments cross")]

use std::borrow::Cow;
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use aerostack_bindings::{Calls, Error, Held, Memory};
use bytes::Bytes;
use deno_core::error::{JsError, ResourceError};
use deno_core::{BufView, JsBuffer, OpState, Resource, ResourceId, ToV8, op2, v8};
use deno_error::JsErrorBox;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::body::RequestBodyResource;
use crate::coding::{CodingError, Encoder, Format};
use crate::encoded::{self, BytesResource};
use crate::fetched::FetchedBody;
use crate::invocations::IncomingRequest;
use crate::spending::LogRoom;
use crate::thrown::describe_thrown;
use crate::{
    Caller, ConsoleLevel, Failure, InvocationId, Invocations, RequestBody, Response, ResponseBody, Settled, WorkerLog,
};

/// Up to this size a response body is copied out of V8; above, the buffer itself travels to the socket.
const COPY_BYTES: usize = 64 * 1024;

/// Longest head of a response, as in production (Cloudflare contract, section 10).
const MAX_RESPONSE_HEADER_BYTES: usize = 128 * 1024;

static TEXT: HeaderValue = HeaderValue::from_static("text/plain;charset=UTF-8");
static JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Debug, thiserror::Error, deno_error::JsError)]
pub(crate) enum InvocationError {
    #[class(type)]
    #[error("the request is over: it can no longer be read")]
    Over,
    #[class(range)]
    #[error("the message is longer than V8's longest string")]
    TooLong,
    #[class(type)]
    #[error("the body is no text")]
    NoText,
    #[class(range)]
    #[error("invalid status {0}")]
    Status(u32),
    #[class(type)]
    #[error("invalid response header: {0}")]
    Header(String),
    #[class(type)]
    #[error("the response headers have {0} bytes, more than the limit of {MAX_RESPONSE_HEADER_BYTES}")]
    HeadersTooLong(usize),
    #[class(inherit)]
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[class(inherit)]
    #[error(transparent)]
    Coding(#[from] CodingError),
}

#[op2]
#[string]
pub(crate) fn op_invocation_url(state: &mut OpState, #[number] invocation: u64) -> Result<String, InvocationError> {
    read(state, invocation, |request| request.url.clone())
}

#[op2]
pub(crate) fn op_invocation_header<'s>(
    state: &mut OpState,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
    #[string] name: Cow<'_, str>,
) -> Result<v8::Local<'s, v8::Value>, InvocationError> {
    let joined = read(state, invocation, |request| {
        let mut values = request.header(&name);
        let first = values.next()?;
        // Cookies are joined as RFC 9113 section 8.2.3 says, everything else as the fetch standard does.
        let separator: &[u8] = if name.eq_ignore_ascii_case("cookie") { b"; " } else { b", " };
        let mut joined = Cow::Borrowed(first.as_bytes());
        for value in values {
            let joined = joined.to_mut();
            joined.extend_from_slice(separator);
            joined.extend_from_slice(value.as_bytes());
        }
        Some(joined.into_owned())
    })?;
    Ok(match joined {
        Some(value) => latin1(scope, &value).into(),
        None => v8::null(scope).into(),
    })
}

#[op2]
pub(crate) fn op_invocation_headers<'s>(
    state: &mut OpState,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
) -> Result<v8::Local<'s, v8::Array>, InvocationError> {
    let invocations = state.borrow::<Rc<Invocations>>().clone();
    let id = InvocationId::from_number(invocation).ok_or(InvocationError::Over)?;
    let flat = invocations
        .with_request(id, |request| {
            let mut flat = Vec::with_capacity(request.parts.headers.len() * 2 + 2);
            for (name, value) in request.headers() {
                flat.push(latin1(scope, name.as_bytes()).into());
                flat.push(latin1(scope, value.as_bytes()).into());
            }
            flat
        })
        .ok_or(InvocationError::Over)?;
    Ok(v8::Array::new_with_elements(scope, &flat))
}

/// The body: bytes when it has arrived whole, the id of a resource to read it from, or why it can no longer be read.
#[op2]
pub(crate) fn op_invocation_body<'s>(
    state: &mut OpState,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
) -> Result<v8::Local<'s, v8::Value>, InvocationError> {
    let body = read(state, invocation, |request| match &mut request.body {
        RequestBody::Over(reason) => RequestBody::Over(reason),
        body => std::mem::replace(body, RequestBody::Empty),
    })?;
    match body {
        RequestBody::Empty => Ok(bytes_to_v8(scope, Bytes::new())),
        RequestBody::Full(bytes) => Ok(bytes_to_v8(scope, bytes)),
        RequestBody::Over(reason) => Ok(latin1(scope, reason.as_bytes()).into()),
        RequestBody::Streaming { arrived, rest } => {
            let body = Rc::new(RequestBodyResource::new(arrived, rest));
            with_invocations(state, invocation, |invocations, id| invocations.opened_body(id, body.clone()));
            let resource = state.resource_table.add_rc(body);
            Ok(v8::Integer::new_from_unsigned(scope, resource).into())
        }
    }
}

/// The next bytes of a body that is still arriving; `null` at its end.
#[op2]
pub(crate) async fn op_invocation_body_chunk(
    state: Rc<RefCell<OpState>>,
    #[smi] resource: ResourceId,
) -> Result<BodyChunk, JsErrorBox> {
    let resource = state.borrow().resource_table.get::<RequestBodyResource>(resource).map_err(JsErrorBox::from_err)?;
    resource.chunk().await.map(BodyChunk)
}

/// Bytes of a body, none at its end.
pub(crate) struct BodyChunk(Bytes);

impl<'a> ToV8<'a> for BodyChunk {
    type Error = Infallible;

    fn to_v8(self, scope: &mut v8::PinScope<'a, '_>) -> Result<v8::Local<'a, v8::Value>, Infallible> {
        if self.0.is_empty() { Ok(v8::null(scope).into()) } else { Ok(bytes_to_v8(scope, self.0)) }
    }
}

#[op2(fast)]
pub(crate) fn op_invocation_respond_empty(
    state: &mut OpState,
    #[number] invocation: u64,
    #[smi] status: u32,
    #[string(onebyte)] headers: Cow<[u8]>,
) -> Result<(), InvocationError> {
    respond(state, invocation, status, &headers, ResponseBody::Empty)
}

#[op2(fast)]
pub(crate) fn op_invocation_respond_text(
    state: &mut OpState,
    #[number] invocation: u64,
    #[smi] status: u32,
    #[string(onebyte)] headers: Cow<[u8]>,
    #[string] body: String,
) -> Result<(), InvocationError> {
    respond(state, invocation, status, &headers, ResponseBody::Full(Some(BufView::from(Bytes::from(body)))))
}

/// The same for a text that is worth being counted until its client has taken it.
#[op2(fast)]
pub(crate) fn op_invocation_respond_long_text<'s>(
    state: &mut OpState,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
    #[smi] status: u32,
    #[string(onebyte)] headers: Cow<[u8]>,
    body: v8::Local<'s, v8::Value>,
) -> Result<(), InvocationError> {
    let Ok(body) = v8::Local::<v8::String>::try_from(body) else { return Err(InvocationError::NoText) };
    let memory = state.borrow::<Calls>().memory().clone();
    // Before it is copied: a character is at least a byte.
    let counted = memory.hold(body.length()).and_then(|mut held| {
        let text = body.to_rust_string_lossy(scope);
        held.grow_to(text.len())?;
        Ok(CountedText { text, _held: held })
    });
    match counted {
        Ok(text) => {
            let body = BufView::from(Bytes::from_owner(text));
            respond(state, invocation, status, &headers, ResponseBody::Full(Some(body)))
        }
        Err(error) => exceeded(state, invocation, &error),
    }
}

/// A text on its way to its client.
struct CountedText {
    text: String,
    _held: Held,
}

impl AsRef<[u8]> for CountedText {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// There is no memory left for the answer.
fn exceeded(state: &OpState, invocation: u64, error: &Error) -> Result<(), InvocationError> {
    let id = InvocationId::from_number(invocation).ok_or(InvocationError::Over)?;
    let reason = format!("cannot hold its answer: {}", error.message());
    state.borrow::<Rc<Invocations>>().settle(id, Err(Failure::Exceeded(reason.into())));
    Ok(())
}

#[op2]
pub(crate) fn op_invocation_respond_bytes(
    state: &mut OpState,
    #[number] invocation: u64,
    #[smi] status: u32,
    #[string(onebyte)] headers: Cow<[u8]>,
    #[buffer] body: JsBuffer,
) -> Result<(), InvocationError> {
    let body =
        if body.len() <= COPY_BYTES { BufView::from(Bytes::copy_from_slice(&body)) } else { BufView::from(body) };
    respond(state, invocation, status, &headers, ResponseBody::Full(Some(body)))
}

/// As [`op_invocation_respond_bytes`], where the response says that its body is encoded.
#[op2]
pub(crate) fn op_invocation_respond_encoded(
    state: &mut OpState,
    #[number] invocation: u64,
    #[smi] status: u32,
    #[string(onebyte)] headers: Cow<[u8]>,
    #[buffer] body: JsBuffer,
    #[smi] coding: u32,
) -> Result<(), InvocationError> {
    let Some(format) = format_of(coding) else {
        return respond(state, invocation, status, &headers, ResponseBody::Full(Some(BufView::from(body))));
    };
    if body.len() > COPY_BYTES {
        let plain = Rc::new(BytesResource::new(BufView::from(body)));
        return match encoded::encoded(plain, format, &memory_of(state)) {
            Ok(resource) => respond_stream(state, invocation, status, &headers, resource),
            Err(error) => exceeded(state, invocation, &error),
        };
    }
    let mut encoder = Encoder::new(format);
    let mut bytes = encoder.write(&body)?;
    bytes.extend(encoder.finish()?);
    respond(state, invocation, status, &headers, ResponseBody::Full(Some(BufView::from(bytes))))
}

/// Answers with what a resource gives. `coding` is how the response says that its body is encoded: what has come encoded in the same
/// way goes out as it came, all else is encoded here.
#[op2(fast)]
pub(crate) fn op_invocation_respond_stream(
    state: &mut OpState,
    #[number] invocation: u64,
    #[smi] status: u32,
    #[string(onebyte)] headers: Cow<[u8]>,
    #[smi] resource: ResourceId,
    #[smi] coding: u32,
) -> Result<(), InvocationError> {
    let resource = state.resource_table.take_any(resource)?;
    let resource = match format_of(coding) {
        None => resource,
        Some(format) => match resource.downcast_rc::<FetchedBody>() {
            Some(fetched) if fetched.coding() == Some(format) => {
                fetched.leave_encoded();
                resource
            }
            Some(_) | None => match encoded::encoded(resource, format, &memory_of(state)) {
                Ok(resource) => resource,
                Err(error) => return exceeded(state, invocation, &error),
            },
        },
    };
    respond_stream(state, invocation, status, &headers, resource)
}

fn memory_of(state: &OpState) -> Memory {
    state.borrow::<Calls>().memory().clone()
}

fn respond_stream(
    state: &OpState,
    invocation: u64,
    status: u32,
    headers: &[u8],
    resource: Rc<dyn Resource>,
) -> Result<(), InvocationError> {
    let id = InvocationId::from_number(invocation).ok_or(InvocationError::Over)?;
    let invocations = state.borrow::<Rc<Invocations>>().clone();
    let announced = resource.size_hint().0;
    let body = ResponseBody::stream(resource, invocations.clone(), id, log_of(state, invocation));
    if let Err(reason) = invocations.check_response_bytes(announced) {
        invocations.settle(id, Err(Failure::Exceeded(reason.into())));
        return Ok(());
    }
    respond(state, invocation, status, headers, body)
}

/// As `js/platform/handlers.ts` numbers them.
fn format_of(coding: u32) -> Option<Format> {
    match coding {
        1 => Some(Format::Gzip),
        2 => Some(Format::Brotli),
        _ => None,
    }
}

/// The stream that is the body of an answer failed. Before anything of the answer has left, the answer is that failure.
#[op2(fast)]
pub(crate) fn op_invocation_body_failed<'s>(
    state: Rc<RefCell<OpState>>,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
    error: v8::Local<'s, v8::Value>,
) {
    // The conversion reads `error.stack`, which may run user code: no borrow of the state is held here.
    let error = Arc::new(*describe_thrown(scope, error));
    let state = state.borrow();
    let Some(id) = InvocationId::from_number(invocation) else { return };
    let Some(error) = state.borrow::<Rc<Invocations>>().body_failed(id, error) else { return };
    let log = log_of(&state, invocation);
    let length = error.exception_message.len() + error.stack.as_ref().map_or(0, String::len);
    if has_log_room(&state, invocation, length, &*log) {
        let exception_message = format!("the response broke off: {}", error.exception_message);
        log.uncaught(caller(&state, invocation).as_ref(), &JsError { exception_message, ..JsError::clone(&error) });
    }
}

/// How many bytes a resource will give, or -1 where that is not known.
#[op2(fast)]
#[number]
pub(crate) fn op_resource_length(state: &mut OpState, #[smi] resource: ResourceId) -> i64 {
    let Ok(resource) = state.resource_table.get_any(resource) else { return -1 };
    match resource.size_hint() {
        (least, Some(most)) if least == most => i64::try_from(most).unwrap_or(-1),
        _ => -1,
    }
}

/// The handler threw, rejected, or returned something that is no answer.
#[op2(fast)]
pub(crate) fn op_invocation_failed<'s>(
    state: Rc<RefCell<OpState>>,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
    error: v8::Local<'s, v8::Value>,
) {
    // The conversion reads `error.stack`, which may run user code: no borrow of the state is held here.
    let error = describe_thrown(scope, error);
    let (invocations, log) = {
        let state = state.borrow();
        (state.borrow::<Rc<Invocations>>().clone(), log_of(&state, invocation))
    };
    let Some(id) = InvocationId::from_number(invocation) else { return };
    let error = Arc::new(*error);
    if !invocations.fail(id, Failure::Exception(error.clone())) {
        log.uncaught(invocations.caller(id).as_ref(), &error);
    }
}

/// The promise of a `waitUntil` rejected. A request has its answer, so the error is only logged; an event fails with it.
#[op2(fast)]
pub(crate) fn op_invocation_wait_until_failed<'s>(
    state: Rc<RefCell<OpState>>,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
    error: v8::Local<'s, v8::Value>,
) {
    let invocations = state.borrow().borrow::<Rc<Invocations>>().clone();
    let failed_event = InvocationId::from_number(invocation).is_some_and(|id| {
        invocations.is_event(id) && {
            let failure = Failure::Exception(Arc::new(*describe_thrown(scope, error)));
            invocations.event_work_failed(id, failure)
        }
    });
    if !failed_event {
        report_uncaught(&state, scope, invocation, error, true);
    }
}

#[op2(fast)]
pub(crate) fn op_invocation_wait_until_begin(state: &mut OpState, #[number] invocation: u64) {
    with_invocations(state, invocation, Invocations::wait_until_began);
}

#[op2(fast)]
pub(crate) fn op_invocation_wait_until_end(state: &mut OpState, #[number] invocation: u64) {
    with_invocations(state, invocation, Invocations::wait_until_ended);
}

#[op2(fast)]
pub(crate) fn op_invocation_watch_cancel(state: &mut OpState, #[number] invocation: u64) {
    with_invocations(state, invocation, Invocations::watch_cancel);
}

#[op2(fast)]
pub(crate) fn op_invocation_pass_through(state: &mut OpState, #[number] invocation: u64) {
    with_invocations(state, invocation, Invocations::pass_through);
}

#[op2(fast)]
pub(crate) fn op_console_print<'s>(
    state: &mut OpState,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
    #[smi] level: u32,
    message: v8::Local<'s, v8::Value>,
) {
    let Ok(message) = v8::Local::<v8::String>::try_from(message) else { return };
    let log = log_of(state, invocation);
    // A line that is longer than all of them may be is left out before it is copied.
    if message.length() > state.borrow::<Rc<Invocations>>().log_limit() {
        has_log_room(state, invocation, message.length(), &*log);
        return;
    }
    let message = message.to_rust_string_lossy(scope);
    let message = message.strip_suffix('\n').unwrap_or(&message);
    if has_log_room(state, invocation, message.len(), &*log) {
        log.console(caller(state, invocation).as_ref(), ConsoleLevel::from_number(level), message);
    }
}

/// Stands in for deno_core's op of this name, which the platform's `reportError` describes an error with: long texts are cut.
#[op2(reentrant)]
pub(crate) fn op_destructure_error<'s>(scope: &mut v8::PinScope<'s, '_>, error: v8::Local<'s, v8::Value>) -> JsError {
    *describe_thrown(scope, error)
}

/// Stands in for deno_core's op of this name, which ends the event loop: an error that a timer or an event listener threw, and
/// that no `error` listener prevented, is logged, and the isolate goes on.
#[op2(fast, reentrant)]
pub(crate) fn op_dispatch_exception<'s>(
    state: Rc<RefCell<OpState>>,
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    promise: bool,
) {
    let invocation = InvocationId::running(scope).map_or(0, InvocationId::number);
    report_uncaught(&state, scope, invocation, exception, promise);
}

#[op2(fast)]
pub(crate) fn op_report_uncaught<'s>(
    state: Rc<RefCell<OpState>>,
    scope: &mut v8::PinScope<'s, '_>,
    #[number] invocation: u64,
    error: v8::Local<'s, v8::Value>,
    is_rejection: bool,
) {
    report_uncaught(&state, scope, invocation, error, is_rejection);
}

fn report_uncaught<'s>(
    state: &RefCell<OpState>,
    scope: &mut v8::PinScope<'s, '_>,
    invocation: u64,
    error: v8::Local<'s, v8::Value>,
    is_rejection: bool,
) {
    let mut error = describe_thrown(scope, error);
    if is_rejection && let Some(rest) = error.exception_message.strip_prefix("Uncaught ") {
        error.exception_message = format!("Uncaught (in promise) {rest}");
    }
    let (log, caller) = {
        let state = state.borrow();
        let log = log_of(&state, invocation);
        let length = error.exception_message.len() + error.stack.as_ref().map_or(0, String::len);
        if !has_log_room(&state, invocation, length, &*log) {
            return;
        }
        (log, caller(&state, invocation))
    };
    log.uncaught(caller.as_ref(), &error);
}

/// Whether a line of so many bytes may be logged; the first that may not is replaced by one that says so.
fn has_log_room(state: &OpState, invocation: u64, bytes: usize, log: &dyn WorkerLog) -> bool {
    let invocations = state.borrow::<Rc<Invocations>>();
    match invocations.log_room(invocation, bytes) {
        LogRoom::Whole => true,
        LogRoom::Ended => {
            log.limit_met(caller(state, invocation).as_ref(), &invocations.log_ended());
            false
        }
        LogRoom::None => false,
    }
}

fn read<T>(
    state: &OpState,
    invocation: u64,
    read: impl FnOnce(&mut IncomingRequest) -> T,
) -> Result<T, InvocationError> {
    let id = InvocationId::from_number(invocation).ok_or(InvocationError::Over)?;
    state.borrow::<Rc<Invocations>>().with_request(id, read).ok_or(InvocationError::Over)
}

/// Where lines written for an invocation go.
fn log_of(state: &OpState, invocation: u64) -> Arc<dyn WorkerLog> {
    let own = InvocationId::from_number(invocation).and_then(|id| state.borrow::<Rc<Invocations>>().log(id));
    own.unwrap_or_else(|| state.borrow::<Arc<dyn WorkerLog>>().clone())
}

/// What an invocation that is not over is called in the log.
fn caller(state: &OpState, invocation: u64) -> Option<Caller> {
    state.borrow::<Rc<Invocations>>().caller(InvocationId::from_number(invocation)?)
}

fn with_invocations(state: &OpState, invocation: u64, change: impl FnOnce(&Invocations, InvocationId)) {
    if let Some(id) = InvocationId::from_number(invocation) {
        change(state.borrow::<Rc<Invocations>>(), id);
    }
}

/// `headers` is `name\nvalue\n` repeated, Latin-1: the fetch standard keeps line feeds out of both.
fn respond(
    state: &OpState,
    invocation: u64,
    status: u32,
    headers: &[u8],
    body: ResponseBody,
) -> Result<(), InvocationError> {
    // A status below those does not end an answer.
    let final_status = u16::try_from(status).ok().filter(|status| *status >= 200);
    let status_code = final_status.and_then(|status| StatusCode::from_u16(status).ok());
    let status_code = status_code.ok_or(InvocationError::Status(status))?;
    if headers.len() > MAX_RESPONSE_HEADER_BYTES {
        return Err(InvocationError::HeadersTooLong(headers.len()));
    }
    let mut response: Response = Box::new(http::Response::new(body));
    *response.status_mut() = status_code;
    parse_headers(headers, response.headers_mut())?;
    let id = InvocationId::from_number(invocation).ok_or(InvocationError::Over)?;
    let invocations = state.borrow::<Rc<Invocations>>().clone();
    let length = match response.body() {
        ResponseBody::Full(Some(body)) => body.len() as u64,
        ResponseBody::Full(None) | ResponseBody::Empty | ResponseBody::Stream(_) | ResponseBody::Remote(_) => 0,
    };
    let outcome = match invocations.check_response_bytes(length) {
        Ok(()) => Ok(Settled::Response(response)),
        Err(reason) => Err(Failure::Exceeded(reason.into())),
    };
    invocations.settle(id, outcome);
    Ok(())
}

fn parse_headers(headers: &[u8], into: &mut HeaderMap) -> Result<(), InvocationError> {
    let mut lines = headers.split(|byte| *byte == b'\n');
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        let invalid = || InvocationError::Header(String::from_utf8_lossy(name).into_owned());
        let name = HeaderName::from_bytes(name).map_err(|_| invalid())?;
        let value = match value {
            // Of nearly every answer: no memory is allocated for them.
            b"text/plain;charset=UTF-8" => TEXT.clone(),
            b"application/json" => JSON.clone(),
            other => HeaderValue::from_bytes(other).map_err(|_| invalid())?,
        };
        into.append(name, value);
    }
    Ok(())
}

fn latin1<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: &[u8]) -> v8::Local<'s, v8::String> {
    v8::String::new_from_one_byte(scope, bytes, v8::NewStringType::Normal)
        .expect("headers are shorter than V8's string limit")
}

pub(crate) fn bytes_to_v8<'s>(scope: &mut v8::PinScope<'s, '_>, bytes: Bytes) -> v8::Local<'s, v8::Value> {
    let length = bytes.len();
    let store = v8::ArrayBuffer::new_backing_store_from_bytes(Vec::from(bytes).into_boxed_slice()).make_shared();
    let buffer = v8::ArrayBuffer::with_backing_store(scope, &store);
    v8::Uint8Array::new(scope, buffer, 0, length).expect("the view covers its own buffer").into()
}
