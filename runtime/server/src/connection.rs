use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aerostack_http1::Refusal;
use aerostack_isolate::{ConnectionPermit, Host, Worker, spawn_local};
use aerostack_trace::Ids;
use axum::body::Body;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1 as hyper_http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::acceptor::{HTTP2_PREFACE, OpenConnection, is_http2};
use crate::admin::{ADMIN_PREFIX, Peer};
use crate::corked::Corked;
use crate::http1::{self, Signals};
use crate::http2::Requests;
use crate::lifecycle::{HEAD_WHILE_LEAVING, Patience, State};
use crate::location::{Location, with_path};
use crate::open_socket::OpenSocket;
use crate::request::{Connection, address_value};
use crate::triggers::{self, triggered};
use crate::wire::{self, Wire};
use crate::{Phase, Shared, stopped};

/// What one HTTP/2 connection may have open, and how often it may take back what it asked before it is closed ("rapid reset").
const HTTP2_STREAMS: u32 = 100;
const HTTP2_RESET_STREAMS: usize = 100;
/// What is buffered of each answer, and of all request bodies together until a handler reads them.
const HTTP2_SEND_BUFFER_BYTES: usize = 64 * 1024;
const HTTP2_WINDOW_BYTES: u32 = 256 * 1024;

/// The isolate's thread that a connection lives on.
pub(crate) struct Home {
    pub(crate) host: Rc<Host>,
    pub(crate) worker: Arc<Worker>,
    /// The thread does not end before it is dropped.
    pub(crate) permit: ConnectionPermit,
}

/// What a connection learns from outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// The server takes no more requests.
    Leaving,
    /// The client was waited for long enough.
    Overdue,
}

/// Serves a connection on the thread of the isolate it is for.
pub(crate) async fn serve(wire: Wire, home: Home, shared: Arc<Shared>, peer: SocketAddr, socket: Arc<OpenSocket>) {
    let Home { host, worker, permit: _permit } = home;
    // An answer that is written before waits as long.
    if wire.writable().await.is_err() {
        return;
    }
    let speaks_http2 = is_http2(wire.first_bytes());
    let proxies = shared.trusted_proxies();
    let limits = shared.limits.clone();
    let patience = if speaks_http2 { Patience::over_http2(&limits) } else { Patience::over_http1(&limits) };
    let watch = Watch { socket: socket.clone(), patience, shutdown: shared.shutdown.clone() };
    let Wire { reading, writing } = wire;
    let outbound = Corked::new(writing, host.clone(), socket.clone());
    let requests = Rc::new(Connection {
        host,
        home: worker,
        shared,
        peer: Peer(peer.ip()),
        peer_address: address_value(peer.ip()),
        may_name_the_client: proxies.may_name_the_client(peer.ip()),
        trusting: proxies.trusts(peer.ip()).then_some(proxies),
        plain_host: RefCell::default(),
        socket: socket.clone(),
        ids: Ids::random(),
    });
    let served = if speaks_http2 {
        socket.lifecycle.enter(State::Waiting);
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
        let mut said_goodbye = false;
        let tell = |served: Pin<&mut http2::Connection<_, _, _>>, _| {
            if std::mem::replace(&mut said_goodbye, true) {
                return Told::GivenUp;
            }
            served.graceful_shutdown();
            Told::Heard
        };
        watch.attend(served, tell).await.map_err(io::Error::other)
    } else {
        socket.lifecycle.enter(State::Reading);
        let signals = Signals::default();
        let served = http1::serve(reading, outbound, &requests, &signals);
        let tell = |_: Pin<&mut _>, news| {
            signals.leaving.set(signals.leaving.get().or_else(|| Some(Instant::now())));
            signals.overdue.set(news == News::Overdue);
            Told::Heard
        };
        watch.attend(served, tell).await
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended with an error");
    }
}

/// What becomes of a connection that was told something.
enum Told {
    /// It acts on it.
    Heard,
    /// It was told before, and has not.
    GivenUp,
}

/// Looks after a connection from outside of what serves it.
struct Watch {
    socket: Arc<OpenSocket>,
    patience: Patience,
    shutdown: watch::Receiver<Phase>,
}

impl Watch {
    /// Serves until the connection ends, or is given up. `tell` passes on what it should know.
    async fn attend<C: Future<Output = Result<(), E>>, E>(
        self,
        served: C,
        mut tell: impl FnMut(Pin<&mut C>, News) -> Told,
    ) -> Result<(), E> {
        let mut served = pin!(served);
        let mut leaving = None;
        loop {
            // In a task of its own: what the end depends on, timers and the whole server, is not looked at for each
            // request.
            let mut news = spawn_local(next_news(self.socket.clone(), self.patience, self.shutdown.clone(), leaving));
            let news = tokio::select! {
                biased;
                ended = served.as_mut() => {
                    news.abort();
                    return ended;
                }
                news = &mut news => news,
            };
            // A task that nobody aborts ends when its thread does, and this with it.
            let Ok(news) = news else { return Ok(()) };
            // What is overdue may have come just now.
            if news == News::Overdue && !self.socket.lifecycle.is_overdue(self.patience, leaving) {
                continue;
            }
            leaving.get_or_insert_with(Instant::now);
            if let Told::GivenUp = tell(served.as_mut(), news) {
                return Ok(());
            }
        }
    }
}

async fn next_news(
    socket: Arc<OpenSocket>,
    patience: Patience,
    mut shutdown: watch::Receiver<Phase>,
    leaving: Option<Instant>,
) -> News {
    tokio::select! {
        () = stopped(&mut shutdown), if leaving.is_none() => News::Leaving,
        () = socket.lifecycle.overdue(patience, leaving) => News::Overdue,
    }
}

/// How long a client may go on sending after its last answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves a connection whose first request is for no worker: admin routes, and paths nothing is mounted at.
pub(crate) async fn serve_admin(wire: Wire, shared: &Arc<Shared>, peer: SocketAddr, open: OpenConnection) {
    let _open = open;
    let routing = shared.clone();
    let was_asked = Arc::new(AtomicBool::new(false));
    let asked = was_asked.clone();
    let service = tower::service_fn(move |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let shared = routing.clone();
        async move { Ok::<_, Infallible>(answer_from_afar(request, Peer(peer.ip()), &shared).await) }
    });
    let served = hyper_http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.header_timeout)
        .max_buf_size(shared.limits.header_bytes)
        // A client that pools connections would send the next request, for a worker, on this one.
        .keep_alive(false)
        .serve_connection(TokioIo::new(wire.joined()), TowerToHyperService::new(service))
        .without_shutdown();
    let mut shutdown = shared.shutdown.clone();
    let half_a_head = async {
        stopped(&mut shutdown).await;
        tokio::time::sleep(HEAD_WHILE_LEAVING).await;
        if was_asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        served = served => see_out(served.map(|parts| parts.io), peer).await,
        () = half_a_head => {}
    }
}

/// How long a connection that comes while the server drains may take to ask.
pub(crate) const PATIENCE_WHILE_DRAINING: Duration = Duration::from_secs(2);

/// Serves a connection that came after the shutdown had begun.
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
    let service = TowerToHyperService::new(service);
    let mut first_bytes = [0; HTTP2_PREFACE.len()];
    let peeked = tokio::time::timeout(PATIENCE_WHILE_DRAINING, stream.peek(&mut first_bytes)).await;
    if let Ok(Ok(length)) = peeked
        && is_http2(&first_bytes[..length])
    {
        let mut served =
            pin!(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
        served.as_mut().graceful_shutdown();
        if tokio::time::timeout(PATIENCE_WHILE_DRAINING, served).await.is_err() {
            tracing::debug!(%peer, "a client did not leave a server that drains");
        }
        return;
    }
    let served = hyper_http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE_WHILE_DRAINING)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown();
    see_out(served.await.map(|parts| parts.io), peer).await;
}

/// Ends a connection that hyper has served.
async fn see_out(served: hyper::Result<TokioIo<impl AsyncRead + AsyncWrite + Unpin>>, peer: SocketAddr) {
    let stream = match served {
        Ok(stream) => stream.into_inner(),
        Err(error) => {
            tracing::debug!(%peer, %error, "connection ended with an error");
            return;
        }
    };
    // A client that has left, or goes on sending, has had its chance.
    let _ = tokio::time::timeout(FAREWELL, wire::see_out(stream)).await;
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
    let (status, text) = if shared.routes.find(path).is_some() {
        (StatusCode::NOT_FOUND, "a connection that began with an admin request serves admin requests only".to_owned())
    } else {
        shared.metrics.request_unrouted();
        shared.unanswered(path)
    };
    let mut response = Response::new(Body::from(text + "\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
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
