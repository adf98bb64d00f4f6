use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aerostack_http1::Refusal;
use aerostack_isolate::{Host, LocalTask, Worker, spawn_local};
use aerostack_trace::Ids;
use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1 as hyper_http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::acceptor::{OpenConnection, is_http2};
use crate::admin::{ADMIN_PREFIX, Peer};
use crate::corked::Corked;
use crate::http1;
use crate::location::{Location, with_path};
use crate::open_socket::OpenSocket;
use crate::request::{Connection, Requests, address_value};
use crate::triggers::{self, triggered};
use crate::wire::Wire;
use crate::{Shared, stopped};

/// What one HTTP/2 connection may have open, and how often it may take back what it asked before it is closed ("rapid reset").
const HTTP2_STREAMS: u32 = 100;
const HTTP2_RESET_STREAMS: usize = 100;
/// What is buffered of each answer, and of all request bodies together until a handler reads them.
const HTTP2_SEND_BUFFER_BYTES: usize = 64 * 1024;
const HTTP2_WINDOW_BYTES: u32 = 256 * 1024;

/// Serves a connection on the thread of the isolate it is for.
pub(crate) async fn serve(
    wire: Wire,
    host: Rc<Host>,
    home: Arc<Worker>,
    shared: Arc<Shared>,
    peer: SocketAddr,
    socket: Arc<OpenSocket>,
) {
    let _counted = host.connection();
    // An answer that is written before waits as long.
    if wire.writable().await.is_err() {
        return;
    }
    let speaks_http2 = is_http2(wire.first_bytes());
    let proxies = shared.trusted_proxies();
    let mut shutdown = shared.shutdown.clone();
    let limits = shared.limits.clone();
    let Wire { reading, writing } = wire;
    let outbound = Corked::new(writing, host.clone(), socket.clone());
    let requests = Rc::new(Connection {
        host,
        home,
        shared,
        peer: Peer(peer.ip()),
        peer_address: address_value(peer.ip()),
        may_name_the_client: proxies.may_name_the_client(peer.ip()),
        trusting: proxies.trusts(peer.ip()).then_some(proxies),
        plain_host: RefCell::default(),
        socket: socket.clone(),
        ids: Ids::random(),
    });
    // In a task of its own: what the end depends on, timers and the whole server, is not looked at for each request.
    let watched = socket.clone();
    let mut ending = spawn_local(async move {
        tokio::select! {
            () = stopped(&mut shutdown) => {}
            () = watched.idle_for(limits.header_timeout) => {}
        }
    });
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
            .serve_connection(TokioIo::new(tokio::io::join(reading, outbound)), Requests(requests));
        let goodbye = http2::Connection::graceful_shutdown;
        see_out(served, goodbye, &mut ending, &socket, limits.header_timeout).await.map_err(io::Error::other)
    } else {
        let is_leaving = Cell::new(false);
        let served = http1::serve(reading, outbound, &requests, &is_leaving);
        see_out(served, |_| is_leaving.set(true), &mut ending, &socket, limits.header_timeout).await
    };
    ending.abort();
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended with an error");
    }
}

/// Serves until the connection ends, or `ending` is over because it should: then what was asked is still answered.
async fn see_out<C: Future<Output = Result<(), E>>, E>(
    served: C,
    say_goodbye: impl FnOnce(Pin<&mut C>),
    ending: &mut LocalTask<()>,
    socket: &OpenSocket,
    patience: Duration,
) -> Result<(), E> {
    let mut served = pin!(served);
    tokio::select! {
        biased;
        ended = served.as_mut() => return ended,
        _ = ending => say_goodbye(served.as_mut()),
    }
    if socket.was_asked() {
        return served.await;
    }
    // It may have stopped in the middle of its first words, and would never hear the goodbye.
    tokio::time::timeout(patience, served).await.unwrap_or(Ok(()))
}

/// Serves a connection whose first request is for no worker: admin routes, and paths nothing is mounted at.
pub(crate) async fn serve_admin(wire: Wire, shared: &Arc<Shared>, peer: SocketAddr, open: OpenConnection) {
    let _open = open;
    let mut shutdown = shared.shutdown.clone();
    let routing = shared.clone();
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let shared = routing.clone();
        async move { Ok::<_, Infallible>(answer_from_afar(request, Peer(peer.ip()), &shared).await) }
    });
    let mut served = pin!(
        hyper_http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shared.limits.header_timeout)
            .max_buf_size(shared.limits.header_bytes)
            // A client that pools connections would send the next request, for a worker, on this one.
            .keep_alive(false)
            .serve_connection(TokioIo::new(wire.joined()), TowerToHyperService::new(service))
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
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let shared = shared.clone();
        async move {
            let request = match located(request, Peer(peer.ip()), &shared) {
                Ok(request) => request,
                Err(refusal) => return Ok(refused(refusal)),
            };
            if request.uri().path().starts_with(ADMIN_PREFIX) {
                return shared.admin.clone().oneshot(request).await;
            }
            let mut response = Response::new(Body::from("the server is shutting down\n"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            Ok(response)
        }
    });
    let served = hyper_http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE_WHILE_DRAINING)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "connection ended with an error");
    }
}

/// A request on an admin connection: no isolate lives on this thread.
async fn answer_from_afar(request: Request<Incoming>, peer: Peer, shared: &Shared) -> Response<Body> {
    let request = match located(request, peer, shared) {
        Ok(request) => request,
        Err(refusal) => {
            shared.metrics.request_unrouted();
            return refused(refusal);
        }
    };
    let path = request.uri().path();
    if path.starts_with(ADMIN_PREFIX) {
        let Ok(response) = shared.admin.clone().oneshot(request).await;
        return response;
    }
    if let Some(reserved) = triggers::reserved(path, &shared.routes) {
        let Ok(response) = shared.admin.clone().oneshot(triggered(request, reserved)).await;
        return response;
    }
    let mut response = Response::new(Body::from(if shared.routes.find(path).is_some() {
        "a connection that began with an admin request serves admin requests only\n".to_owned()
    } else {
        shared.metrics.request_unrouted();
        shared.nothing_at(path) + "\n"
    }));
    *response.status_mut() = StatusCode::NOT_FOUND;
    // The next request may be for a worker: let it come on a connection of its own.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A request that hyper has read, with the path that is routed in place of the one that came.
fn located(request: Request<Incoming>, peer: Peer, shared: &Shared) -> Result<Request<Body>, Refusal> {
    let (mut parts, body) = request.into_parts();
    let proxies = shared.trusted_proxies();
    let forwarded = if proxies.trusts(peer.0) { Some(proxies.read(&parts.headers)?) } else { None };
    let path = Location::of(&parts, forwarded.as_ref(), |_| false)?.path().into_owned();
    parts.uri = with_path(&parts.uri, &path);
    parts.extensions.insert(peer);
    Ok(Request::from_parts(parts, Body::new(body)))
}

fn refused(refusal: Refusal) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{}\n", refusal.text)));
    *response.status_mut() = refusal.status;
    response
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
