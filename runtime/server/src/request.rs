//! A request on an isolate's thread, from its head to the head of its answer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aerostack_http1::Refusal;
use aerostack_isolate::{
    Answer, Breach, CLIENT_ADDRESS, Caller, Costs, Failure, FetchRequest, Fetching, Host, IncomingRequest, RequestBody,
    Response, ResponseBody, Worker,
};
use aerostack_telemetry::metrics::RequestInFlight;
use aerostack_trace::{Identity, Ids, Span, SpanContext, SpanId, SpanKind, TRACEPARENT};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::admin::{ADMIN_PREFIX, Peer};
use crate::body::{BodyFault, ClientBody, GuardedBody, body_too_long};
use crate::error_page::{self, plain};
use crate::location::{Location, with_path};
use crate::open_socket::OpenSocket;
use crate::proxies::TrustedProxies;
use crate::routes::Route;
use crate::triggers::{self, triggered};
use crate::{FinishedRequest, Shared};

/// Bodies up to this size are read before the handler is called when they are there already, and handed over as bytes. A stream, which
/// comes in pieces and through the event loop, costs twice as much for 100 KiB, and not more from half a megabyte on: then new memory
/// for the whole costs as much.
const SMALL_BODY_BYTES: u64 = 256 * 1024;

static TRACEPARENT_NAME: HeaderName = HeaderName::from_static(TRACEPARENT);

/// A connection on an isolate's thread, as its requests see it.
pub(crate) struct Connection {
    pub(crate) host: Rc<Host>,
    pub(crate) home: Arc<Worker>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: Peer,
    pub(crate) peer_address: HeaderValue,
    /// The trusted proxies, where the peer is one.
    pub(crate) trusting: Option<Arc<TrustedProxies>>,
    /// Whether the peer may say its client's address in a header of that name.
    pub(crate) may_name_the_client: bool,
    /// The last host that the URL standard leaves as it is: a client names the same one again and again.
    pub(crate) plain_host: RefCell<Option<Box<str>>>,
    pub(crate) socket: Arc<OpenSocket>,
    pub(crate) ids: Ids,
}

/// An answer that is there already, as most are when their handler has run to its first wait, or one on its way.
pub(crate) enum Reply {
    Now(Option<Response>),
    Later(Pin<Box<dyn Future<Output = Response>>>),
}

impl Reply {
    fn later(answer: impl Future<Output = Response> + 'static) -> Self {
        Self::Later(Box::pin(answer))
    }

    /// The answer to a `HEAD`: hyper would send the body of an HTTP/2 answer all the same, which breaks its stream.
    pub(crate) fn without_body(self) -> Self {
        match self {
            Self::Now(response) => Self::Now(response.map(head_of)),
            Self::Later(response) => Self::later(async move { head_of(response.await) }),
        }
    }
}

/// An answer whose body is left out, and how long it would be.
fn head_of(mut response: Response) -> Response {
    let length = response.body().size_hint().exact().filter(|length| *length > 0);
    *response.body_mut() = ResponseBody::Empty;
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

/// What is kept of a request until it is answered.
struct Asked {
    started: Instant,
    method: Method,
    uri: Uri,
    accept: Option<HeaderValue>,
    identity: Identity,
    parent: Option<SpanId>,
    routed: Option<Routed>,
}

/// The worker that a request is for.
struct Routed {
    route: Arc<Route>,
    in_flight: RequestInFlight,
}

/// Where the handler of a request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On this thread.
    Here,
    /// On a thread of another worker, or of a version that was loaded after the connection came.
    Elsewhere,
}

impl Connection {
    pub(crate) fn answer(self: &Rc<Self>, mut parts: Box<Parts>, body: ClientBody) -> Reply {
        let mut asked = self.ask(&parts);
        let (location, client) = match self.locate(&parts) {
            Ok(located) => located,
            Err(refusal) => {
                self.shared.metrics.request_unrouted();
                return self.at_once(asked, last(plain(refusal.status, refusal.text)));
            }
        };
        let path = location.path();
        let reserved = triggers::reserved(&path, &self.shared.routes);
        if path.starts_with(ADMIN_PREFIX) || reserved.is_some() {
            if parts.uri.path() != path {
                parts.uri = with_path(&parts.uri, &path);
            }
            let request = Request::from_parts(*parts, axum::body::Body::new(body));
            let request = match reserved {
                Some(reserved) => triggered(request, reserved),
                None => request,
            };
            let connection = self.clone();
            return Reply::later(async move {
                let response = connection.ask_admin(request).await;
                connection.answered(&mut asked, response, &Costs::default())
            });
        }
        let Some(route) = self.shared.routes.find(&path) else {
            self.shared.metrics.request_unrouted();
            let (status, text) = self.shared.unanswered(&path);
            let response = plain(status, &text);
            return self.at_once(asked, response);
        };
        let in_flight = route.worker.metrics().request_began(self.host.thread_index());
        drop(path);
        let url = location.seen_at(&route);
        asked.routed = Some(Routed { route: route.clone(), in_flight });
        // Anybody could claim any address: what a trusted proxy has seen counts first, then what one says.
        if client.is_some() || !self.may_name_the_client {
            parts.headers.remove(CLIENT_ADDRESS);
        }
        let client_address = Some(client.map_or_else(|| self.peer_address.clone(), address_value));
        let identity = asked.identity;
        let connection = self.clone();
        let body = match body {
            ClientBody::Arrived(bytes) if bytes.len() as u64 <= self.shared.limits.body_bytes => {
                RequestBody::Full(bytes)
            }
            body if body.is_end_stream() => RequestBody::Empty,
            body => {
                return Reply::later(async move {
                    let fault = Arc::new(BodyFault::new());
                    let body = match connection.read_body(body, &fault).await {
                        Ok(body) => body,
                        Err(refused) => return connection.answered(&mut asked, refused, &Costs::default()),
                    };
                    let incoming = Box::new(IncomingRequest { parts, url, body, client_address });
                    let request = FetchRequest { incoming, identity };
                    let (outcome, place) = connection.fetch(&route, request).await;
                    connection.conclude(&mut asked, &route, outcome, place, fault.get())
                });
            }
        };
        let incoming = Box::new(IncomingRequest { parts, url, body, client_address });
        let request = FetchRequest { incoming, identity };
        let request = match self.place_of(&route) {
            Place::Elsewhere => request,
            Place::Here => match self.host.fetch_now(request) {
                Fetching::Answered(outcome) => {
                    let response = self.conclude(&mut asked, &route, outcome, Place::Here, None);
                    return Reply::Now(Some(response));
                }
                Fetching::Began(call) => {
                    return Reply::later(async move {
                        let outcome = call.answer().await;
                        connection.conclude(&mut asked, &route, outcome, Place::Here, None)
                    });
                }
                Fetching::NotBegun(request) => request,
            },
        };
        Reply::later(async move {
            let (outcome, place) = connection.fetch(&route, request).await;
            connection.conclude(&mut asked, &route, outcome, place, None)
        })
    }

    fn ask(&self, parts: &Parts) -> Asked {
        let (identity, parent) = self.identify(&parts.headers);
        Asked {
            started: Instant::now(),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            accept: parts.headers.get(header::ACCEPT).cloned(),
            identity,
            parent,
            routed: None,
        }
    }

    fn at_once(&self, mut asked: Asked, response: Response) -> Reply {
        Reply::Now(Some(self.answered(&mut asked, response, &Costs::default())))
    }

    /// Writes down how a request was answered.
    fn answered(&self, asked: &mut Asked, response: Response, costs: &Costs) -> Response {
        let Asked { started, method, uri, identity, parent, routed, .. } = asked;
        let (identity, parent) = (*identity, *parent);
        let took = started.elapsed();
        let route = routed.take().map(|Routed { route, in_flight }| {
            in_flight.answered(response.status().as_u16(), took);
            route
        });
        if let Some(route) = &route
            && let Some(context) = identity.span.filter(|span| self.shared.tracer.keeps(*span))
        {
            let request = RequestSpan { context, parent, identity, method, path: uri.path(), took };
            self.shared.tracer.record(request.span(route, response.status()));
        }
        self.shared.log.answered(&FinishedRequest {
            method: method.as_str(),
            path: uri.path(),
            status: response.status(),
            took,
            costs,
            worker: route.as_ref().map(|route| route.worker.name()),
            identity,
        });
        response
    }

    /// What a request is called in the log and in traces, and the span that it is part of. It belongs to the trace that its client
    /// names; without one it begins a trace only where traces are kept.
    fn identify(&self, headers: &HeaderMap) -> (Identity, Option<SpanId>) {
        let mut named = headers.get_all(&TRACEPARENT_NAME).iter();
        let parent = match (named.next(), named.next()) {
            (Some(only), None) => SpanContext::parse(only.as_bytes()),
            _ => None,
        };
        let tracer = &self.shared.tracer;
        let span = match parent {
            Some(parent) => Some(parent.child(&self.ids)),
            None => tracer.begins().then(|| SpanContext::root(&self.ids, tracer.sampling())),
        };
        (Identity { request: self.ids.request(), span }, parent.map(|parent| parent.span))
    }

    fn place_of(&self, route: &Route) -> Place {
        let is_home = Arc::ptr_eq(&route.worker, &self.home) && !self.host.is_retired();
        if is_home { Place::Here } else { Place::Elsewhere }
    }

    /// Calls the handler and waits for its answer.
    async fn fetch(&self, route: &Route, request: FetchRequest) -> (Result<Answer, Failure>, Place) {
        let unbegun = match self.place_of(route) {
            Place::Elsewhere => request,
            Place::Here => match self.host.fetch(request).await {
                Ok(outcome) => return (outcome, Place::Here),
                // The version was replaced while the request waited in line.
                Err(unbegun) => unbegun,
            },
        };
        (route.worker.fetch(unbegun).await.map(Answer::from), Place::Elsewhere)
    }

    /// The answer of a handler, or a page that says why there is none. `fault` is what the client did wrong with its body.
    fn conclude(
        &self,
        asked: &mut Asked,
        route: &Route,
        outcome: Result<Answer, Failure>,
        place: Place,
        fault: Option<&(StatusCode, String)>,
    ) -> Response {
        match (outcome, fault) {
            (Ok(Answer { response, costs }), _) => self.answered(asked, response, &costs),
            (Err(Failure::Exception(_)), Some((status, text))) => {
                self.answered(asked, body_refused(*status, text), &Costs::default())
            }
            (Err(failure), _) => {
                let version = match place {
                    Place::Here => self.host.version().clone(),
                    Place::Elsewhere => route.worker.version(),
                };
                let name = format!("{} {}", asked.method, asked.uri.path());
                self.shared.log.failed(&Caller { name, identity: asked.identity }, &failure, &version);
                let page = error_page::answer(&failure, &version, asked.accept.as_ref(), &self.shared.errors);
                self.answered(asked, page, &Costs::default())
            }
        }
    }

    /// Where a request goes, and the address of its client where a trusted proxy says that it speaks for one.
    fn locate(&self, parts: &Parts) -> Result<(Location, Option<IpAddr>), Refusal> {
        let forwarded = match &self.trusting {
            Some(proxies) => Some(proxies.read(&parts.headers)?),
            None => None,
        };
        let location = Location::of(parts, forwarded.as_ref(), |host| self.is_plain(host))?;
        Ok((location, forwarded.and_then(|forwarded| forwarded.client)))
    }

    fn is_plain(&self, host: &str) -> bool {
        let mut last = self.plain_host.borrow_mut();
        if last.as_deref() == Some(host) {
            return true;
        }
        let is_plain = is_plain_host(host);
        if is_plain {
            *last = Some(host.into());
        }
        is_plain
    }

    async fn ask_admin(&self, mut request: Request<axum::body::Body>) -> Response {
        request.extensions_mut().insert(self.peer);
        let Ok(response) = self.shared.admin.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
        Box::new(http::Response::from_parts(head, bytes.into()))
    }

    /// Takes a small body that is there already as a whole, so that the handler need not wait for it; others stream.
    async fn read_body(&self, body: ClientBody, fault: &Arc<BodyFault>) -> Result<RequestBody, Response> {
        let limits = &self.shared.limits;
        let announced = body.size_hint().exact();
        if announced.is_some_and(|length| length > limits.body_bytes) {
            self.shared.breaches.note(Breach::RequestBody);
            return Err(body_refused(StatusCode::PAYLOAD_TOO_LARGE, &body_too_long(limits.body_bytes)));
        }
        let mut body = GuardedBody::new(body, &self.shared, fault.clone());
        let mut arrived = VecDeque::new();
        if announced.is_some_and(|length| length <= SMALL_BODY_BYTES) {
            loop {
                if body.is_end_stream() {
                    return Ok(RequestBody::Full(concatenate(arrived)));
                }
                // hyper reads the body only once somebody asked for it: ask, let the connection have a turn, look again.
                let frame = tokio::select! {
                    biased;
                    frame = body.frame() => frame,
                    () = tokio::task::yield_now() => break,
                };
                match frame {
                    None => return Ok(RequestBody::Full(concatenate(arrived))),
                    Some(Ok(frame)) => arrived.extend(frame.into_data().ok()),
                    Some(Err(error)) => {
                        let status = fault.get().map_or(StatusCode::BAD_REQUEST, |(status, _)| *status);
                        return Err(body_refused(status, &error.to_string()));
                    }
                }
            }
        }
        Ok(RequestBody::Streaming { arrived, rest: body.boxed_unsync() })
    }
}

/// A request that is answered and whose trace is kept.
struct RequestSpan<'a> {
    context: SpanContext,
    parent: Option<SpanId>,
    identity: Identity,
    method: &'a Method,
    path: &'a str,
    took: Duration,
}

impl RequestSpan<'_> {
    fn span(self, route: &Route, status: StatusCode) -> Span {
        let pattern = route.pattern();
        Span {
            context: self.context,
            parent: self.parent,
            name: format!("{} {pattern}", self.method),
            kind: SpanKind::Server,
            started: SystemTime::now() - self.took,
            took: self.took,
            attributes: vec![
                ("http.request.method", self.method.as_str().into()),
                ("http.route", pattern.into()),
                ("url.path", self.path.into()),
                ("http.response.status_code", i64::from(status.as_u16()).into()),
                ("aerostack.worker", route.worker.name().into()),
                ("aerostack.request_id", self.identity.request.to_string().into()),
            ],
            failure: status.is_server_error().then(|| format!("status {}", status.as_u16())),
        }
    }
}

/// An address as a header has it.
pub(crate) fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).expect("an address is a valid header value")
}

fn body_refused(status: StatusCode, text: &str) -> Response {
    // The rest of the body is not read: the connection cannot be used again.
    last(plain(status, text))
}

/// An answer behind which nothing is read.
fn last(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn concatenate(mut chunks: VecDeque<Bytes>) -> Bytes {
    if chunks.len() <= 1 {
        return chunks.pop_front().unwrap_or_default();
    }
    let mut whole = Vec::with_capacity(chunks.iter().map(Bytes::len).sum());
    for chunk in chunks {
        whole.extend_from_slice(&chunk);
    }
    whole.into()
}

/// Whether the URL standard leaves a host and its port as they are, as far as a look can tell.
fn is_plain_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    // Zeros in front and the scheme's own port are left out, and a number beyond all ports is none.
    let is_plain_port = |port: &str| !port.starts_with(['0', '+']) && port != "80" && port.parse::<u16>().is_ok();
    // What ends in a number is an address, in one of many ways to write it: `0x7f.1` is 127.0.0.1.
    let is_plain_name = |name: &str| {
        let ends_as_name =
            name.rsplit('.').next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_lowercase()));
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        ends_as_name && name.bytes().all(is_plain) && !name.contains("xn--")
    };
    port.is_none_or(is_plain_port) && (is_plain_name(name) || name.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::is_plain_host;

    #[test]
    fn a_host_that_is_taken_as_it_is_is_what_the_url_standard_makes_of_it() {
        for host in ["localhost", "localhost:8788", "127.0.0.1:8788", "a-b.example", "10.0.0.1", "a..b", "1.example:1"]
        {
            assert!(is_plain_host(host), "{host}");
            let url = format!("http://{host}/");
            assert_eq!(aerostack_modules::Url::parse(&url).map(String::from), Ok(url));
        }
    }

    #[test]
    fn what_the_url_standard_changes_or_refuses_is_left_to_it() {
        for host in [
            "",
            ":",
            "a:",
            "a:80",
            "a:080",
            "a:65536",
            "a:b",
            "a:1:2",
            "a:+1",
            "A",
            "a/b",
            "u@a",
            "0x7f.1",
            "1",
            "127.1",
            "127.0.0.01",
            "256.0.0.1",
            "a.1",
            "a.0x1",
            "a.",
            "xn--a",
            "[::1]",
            "a b",
            "é",
        ] {
            assert!(!is_plain_host(host), "{host}");
        }
    }
}
