use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aerostack_isolate::{Breach, Caller, Costs, Failure, FetchRequest, Host, RequestBody, Worker, spawn_local};
use aerostack_trace::{Identity, Ids, Span, SpanContext, SpanId, SpanKind, TRACEPARENT};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::acceptor::{OpenConnection, is_http2};
use crate::admin::{ADMIN_PREFIX, Peer};
use crate::body::{BodyFault, GuardedBody, ServerBody, body_too_long};
use crate::error_page::{self, plain};
use crate::open_socket::OpenSocket;
use crate::rewind::Rewind;
use crate::routes::Route;
use crate::triggers::{self, ReservedPath};
use crate::{FinishedRequest, Shared, stopped};

/// Bodies up to this size are read before the handler is called when they are there already, and handed over as bytes.
const SMALL_BODY_BYTES: u64 = 64 * 1024;

/// What one HTTP/2 connection may have open, and how often it may take back what it asked before it is closed ("rapid reset").
const HTTP2_STREAMS: u32 = 100;
const HTTP2_RESET_STREAMS: usize = 100;
/// What is buffered of each answer, and of all request bodies together until a handler reads them.
const HTTP2_SEND_BUFFER_BYTES: usize = 64 * 1024;
const HTTP2_WINDOW_BYTES: u32 = 256 * 1024;

/// Serves a connection on the thread of the isolate it is for.
pub(crate) async fn serve(
    io: Rewind,
    host: Rc<Host>,
    home: Arc<Worker>,
    shared: Arc<Shared>,
    peer: SocketAddr,
    socket: Arc<OpenSocket>,
) {
    let _counted = host.connection();
    // An answer that is written before waits as long. And where its body waits, hyper (1.12) puts the refusal of a broken next request
    // between its head and its body.
    if io.writable().await.is_err() {
        return;
    }
    let speaks_http2 = is_http2(io.first_bytes());
    let peer_address = HeaderValue::try_from(peer.ip().to_string()).expect("an address is a valid header value");
    let mut shutdown = shared.shutdown.clone();
    let limits = shared.limits.clone();
    let connection = Rc::new(Connection {
        host,
        home,
        shared,
        peer: Peer(peer.ip()),
        peer_address,
        socket: socket.clone(),
        ids: Ids::random(),
    });
    let service = service_fn(move |request| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let io = TokioIo::new(io);
    let ends = async {
        tokio::select! {
            () = stopped(&mut shutdown) => {}
            () = socket.idle_for(limits.header_timeout) => {}
        }
    };
    let served = if speaks_http2 {
        let served = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_pending_accept_reset_streams(HTTP2_RESET_STREAMS)
            .max_local_error_reset_streams(HTTP2_RESET_STREAMS)
            .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .keep_alive_interval(limits.header_timeout)
            .serve_connection(io, service);
        see_out(served, http2::Connection::graceful_shutdown, ends, &socket, limits.header_timeout).await
    } else {
        let served = http1::Builder::new()
            // hyper's would set a timer for every request; `OpenSocket::idle_for` needs one for each time that it is over.
            .header_read_timeout(None)
            .max_buf_size(limits.header_bytes)
            .serve_connection(io, service);
        see_out(served, http1::Connection::graceful_shutdown, ends, &socket, limits.header_timeout).await
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended with an error");
    }
}

/// Serves until the connection ends, or `ends` says that it should: then what was asked is still answered.
async fn see_out<C: Future<Output = hyper::Result<()>>>(
    served: C,
    say_goodbye: impl FnOnce(Pin<&mut C>),
    ends: impl Future<Output = ()>,
    socket: &OpenSocket,
    patience: Duration,
) -> hyper::Result<()> {
    let mut served = pin!(served);
    tokio::select! {
        biased;
        ended = served.as_mut() => return ended,
        () = ends => say_goodbye(served.as_mut()),
    }
    if socket.was_asked() {
        return served.await;
    }
    // It may have stopped in the middle of its first words, and would never hear the goodbye.
    tokio::time::timeout(patience, served).await.unwrap_or(Ok(()))
}

/// Serves a connection whose first request is for no worker: admin routes, and paths nothing is mounted at.
pub(crate) async fn serve_admin(io: Rewind, shared: &Arc<Shared>, peer: SocketAddr, open: OpenConnection) {
    let _open = open;
    let mut shutdown = shared.shutdown.clone();
    let routing = shared.clone();
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let shared = routing.clone();
        async move { Ok::<_, Infallible>(answer_from_afar(request, Peer(peer.ip()), &shared).await) }
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shared.limits.header_timeout)
            .max_buf_size(shared.limits.header_bytes)
            // A client that pools connections would send the next request, for a worker, on this one.
            .keep_alive(false)
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(service))
    );
    let served = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        () = stopped(&mut shutdown) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "admin connection ended with an error");
    }
}

/// How long a connection that comes while the server drains may take to ask.
const PATIENCE_WHILE_DRAINING: Duration = Duration::from_secs(2);

/// Serves a connection that came after the shutdown had begun. Nothing waits for it to end.
pub(crate) async fn serve_draining(stream: TcpStream, shared: Arc<Shared>, peer: SocketAddr) {
    let service = tower::service_fn(move |mut request: Request<Incoming>| {
        let admin = shared.admin.clone();
        request.extensions_mut().insert(Peer(peer.ip()));
        async move {
            if request.uri().path().starts_with(ADMIN_PREFIX) {
                return admin.oneshot(request.map(axum::body::Body::new)).await;
            }
            let mut response = Response::new(axum::body::Body::from("the server is shutting down\n"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            Ok(response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE_WHILE_DRAINING)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "connection ended with an error");
    }
}

/// A request on an admin connection: no isolate lives on this thread.
async fn answer_from_afar(mut request: Request<Incoming>, peer: Peer, shared: &Shared) -> Response<axum::body::Body> {
    request.extensions_mut().insert(peer);
    if request.uri().path().starts_with(ADMIN_PREFIX) {
        let Ok(response) = shared.admin.clone().oneshot(request.map(axum::body::Body::new)).await;
        return response;
    }
    if let Some(reserved) = triggers::reserved(request.uri().path(), &shared.routes) {
        let request = triggered(request.map(axum::body::Body::new), reserved);
        let Ok(response) = shared.admin.clone().oneshot(request).await;
        return response;
    }
    let mut response = Response::new(axum::body::Body::from(if shared.routes.find(request.uri().path()).is_some() {
        "a connection that began with an admin request serves admin requests only\n".to_owned()
    } else {
        shared.metrics.request_unrouted();
        shared.nothing_at(request.uri().path()) + "\n"
    }));
    *response.status_mut() = StatusCode::NOT_FOUND;
    // The next request may be for a worker: let it come on a connection of its own.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The request as the trigger routes know it: its path below the mount point, the worker there beside it.
fn triggered(mut request: Request<axum::body::Body>, reserved: ReservedPath) -> Request<axum::body::Body> {
    let target = match request.uri().query() {
        Some(query) => format!("{}?{query}", reserved.inner),
        None => reserved.inner,
    };
    // Host is checked in the header where the URI names none.
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = target.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request.extensions_mut().insert(reserved.worker);
    request
}

/// A connection on an isolate's thread.
struct Connection {
    host: Rc<Host>,
    home: Arc<Worker>,
    shared: Arc<Shared>,
    peer: Peer,
    peer_address: HeaderValue,
    socket: Arc<OpenSocket>,
    ids: Ids,
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<ServerBody> {
        let _answering = self.socket.answering();
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let path = uri.path();
        let (identity, parent) = self.identify(&parts.headers);
        let mut worker = None;
        let reserved = triggers::reserved(path, &self.shared.routes);
        let (response, costs, took) = if path.starts_with(ADMIN_PREFIX) || reserved.is_some() {
            let request = Request::from_parts(parts, axum::body::Body::new(body));
            let request = match reserved {
                Some(reserved) => triggered(request, reserved),
                None => request,
            };
            (self.ask_admin(request).await, Costs::default(), started.elapsed())
        } else if let Some(route) = self.shared.routes.find(path) {
            let in_flight = route.worker.metrics().request_began(self.host.thread_index());
            let (response, costs) = self.ask_worker(&route, identity, parts, body, &method, path).await;
            let took = started.elapsed();
            in_flight.answered(response.status().as_u16(), took);
            if let Some(context) = identity.span.filter(|span| self.shared.tracer.keeps(*span)) {
                let request = RequestSpan { context, parent, identity, method: &method, path, took };
                self.shared.tracer.record(request.span(&route, response.status()));
            }
            worker = Some(route);
            (response, costs, took)
        } else {
            self.shared.metrics.request_unrouted();
            let response = plain(StatusCode::NOT_FOUND, &self.shared.nothing_at(path));
            (response, Costs::default(), started.elapsed())
        };
        self.shared.log.answered(&FinishedRequest {
            method: method.as_str(),
            path,
            status: response.status(),
            took,
            costs: &costs,
            worker: worker.as_ref().map(|route| route.worker.name()),
            identity,
        });
        response
    }

    /// What a request is called in the log and in traces, and the span that it is part of. It belongs to the trace that its client
    /// names; without one it begins a trace only where traces are kept.
    fn identify(&self, headers: &HeaderMap) -> (Identity, Option<SpanId>) {
        let mut named = headers.get_all(TRACEPARENT).iter();
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

    /// `method` and `path` are those of `parts`, which go to the isolate and are not seen again.
    async fn ask_worker(
        &self,
        route: &Route,
        identity: Identity,
        mut parts: Parts,
        body: Incoming,
        method: &Method,
        path: &str,
    ) -> (Response<ServerBody>, Costs) {
        let url = match request_url(&parts, route) {
            Ok(url) => url,
            Err(problem) => return (plain(StatusCode::BAD_REQUEST, problem), Costs::default()),
        };
        let mut fault = None;
        let body = if body.is_end_stream() {
            RequestBody::Empty
        } else {
            let fault = fault.insert(Arc::new(BodyFault::new()));
            match self.read_body(body, fault).await {
                Ok(body) => body,
                Err(refused) => return (refused, Costs::default()),
            }
        };
        // Only a proxy on this machine may say whom it speaks for; anybody else could claim any address.
        if !self.peer.is_near() || !parts.headers.contains_key("cf-connecting-ip") {
            parts.headers.insert("cf-connecting-ip", self.peer_address.clone());
        }
        let accept = parts.headers.get(header::ACCEPT).cloned();
        let request = FetchRequest { parts, url, body, identity };
        let is_home = Arc::ptr_eq(&route.worker, &self.home) && !self.host.is_retired();
        let outcome = if is_home {
            let answered = self.host.fetch(request).await;
            answered.map(|answer| (answer.response.map(ServerBody::Local), answer.costs))
        } else {
            let answered = route.worker.fetch(request).await;
            answered.map(|answer| (answer.response.map(ServerBody::Remote), answer.costs))
        };
        match (outcome, fault.as_ref().and_then(|fault| fault.get())) {
            (Ok(answered), _) => answered,
            (Err(Failure::Exception(_)), Some((status, text))) => (body_refused(*status, text), Costs::default()),
            (Err(failure), _) => {
                let version = if is_home { self.host.version().clone() } else { route.worker.version() };
                let request = Caller { name: format!("{method} {path}"), identity };
                self.shared.log.failed(&request, &failure, &version);
                let page = error_page::answer(&failure, &version, accept.as_ref(), &self.shared.errors);
                (page, Costs::default())
            }
        }
    }

    async fn ask_admin(&self, mut request: Request<axum::body::Body>) -> Response<ServerBody> {
        request.extensions_mut().insert(self.peer);
        let Ok(response) = self.shared.admin.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
        Response::from_parts(head, ServerBody::from(bytes))
    }

    /// Takes a small body that is there already as a whole, so that the handler need not wait for it; others stream.
    async fn read_body(&self, body: Incoming, fault: &Arc<BodyFault>) -> Result<RequestBody, Response<ServerBody>> {
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

fn body_refused(status: StatusCode, text: &str) -> Response<ServerBody> {
    let mut response = plain(status, text);
    // The rest of the body is not read: the connection cannot be used again.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn concatenate(mut chunks: VecDeque<Bytes>) -> Bytes {
    if chunks.len() <= 1 {
        return chunks.pop_front().unwrap_or_default();
    }
    let mut whole = BytesMut::new();
    for chunk in chunks {
        whole.extend_from_slice(&chunk);
    }
    whole.freeze()
}

/// The URL the handler sees: the host the client named, the path without the route's prefix, normalised as the URL standard
/// says.
fn request_url(parts: &Parts, route: &Route) -> Result<String, &'static str> {
    // RFC 9112, section 3.2: what stands between client and server may have believed the other one.
    if parts.headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err("the request has more than one Host header");
    }
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => match parts.headers.get(header::HOST) {
            Some(host) => host.to_str().map_err(|_| "invalid Host header")?,
            None if parts.version < Version::HTTP_11 => "localhost",
            None => return Err("the request has no Host header"),
        },
    };
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let path = route.inner_path(path);
    let path = if path.starts_with('/') { path } else { "/".into() };
    let mut url = String::with_capacity(7 + host.len() + path.len());
    url.push_str("http://");
    url.push_str(host);
    url.push_str(&path);
    let is_plain = is_plain_host(host)
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'=' | b'&' | b'?'));
    if is_plain {
        return Ok(url);
    }
    match aerostack_modules::Url::parse(&url) {
        Ok(parsed) if parsed.username().is_empty() && parsed.password().is_none() => Ok(parsed.into()),
        _ => Err("invalid Host header or path"),
    }
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

/// Runs HTTP/2 streams on the connection's own thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        spawn_local(stream);
    }
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
