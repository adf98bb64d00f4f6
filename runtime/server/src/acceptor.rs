use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aerostack_isolate::{Breach, Breaches, Host, Mourner};
use aerostack_telemetry::metrics::Metrics;
use aerostack_trace::Tracer;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, ADMIN_PREFIX};
use crate::connection::{self, Home};
use crate::error_page::RETRY_AFTER_SECONDS;
use crate::lifecycle::{Arrived, Lifecycle, Patience, State};
use crate::location::routed_path;
use crate::open_socket::{HttpVersion, OpenSocket};
use crate::proxies::TrustedProxies;
use crate::routes::{BrokenMount, Route, Routes};
use crate::socket;
use crate::status::Status;
use crate::triggers::{self, Triggers};
use crate::wire::{self, Wire};
use crate::{ClientLimits, ErrorDetail, Phase, RequestLog, Shared, stopped};

/// What a server is started with.
pub struct ServerOptions {
    /// Where workers are mounted.
    pub routes: Vec<Route>,
    /// Where workers would be mounted if they could be loaded.
    pub broken: Vec<BrokenMount>,
    /// What clients may send.
    pub limits: ClientLimits,
    /// Is told of every request.
    pub log: Arc<dyn RequestLog>,
    /// Runs event handlers by hand. Without it the trigger routes answer 404; no worker sees them either way.
    pub triggers: Option<Arc<dyn Triggers>>,
    /// Names under which admin and trigger routes may be asked from other machines. Without any, only this machine may ask.
    pub admin_hosts: Vec<String>,
    /// Whose word about the client counts.
    pub trusted_proxies: TrustedProxies,
    /// Where breaches of `limits` are counted.
    pub breaches: Arc<Breaches>,
    /// What a client learns of a handler that failed.
    pub errors: ErrorDetail,
    /// What is known of the process beside its answers: whether it is ready, and its metrics.
    pub status: Arc<dyn Status>,
    /// Where connections and requests are counted.
    pub metrics: Arc<Metrics>,
    /// Where the spans of requests go.
    pub tracer: Tracer,
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    open: Arc<OpenConnections>,
    handing_over: Arc<Notify>,
    /// Ends when the server takes no connections any more.
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// Connections that are not closed yet, wherever they live.
pub(crate) struct OpenConnections {
    count: AtomicUsize,
    closed: Notify,
    metrics: Arc<Metrics>,
}

pub(crate) struct OpenConnection(Arc<OpenConnections>);

impl OpenConnections {
    /// Counts another one, if there may be as many as `limit`. Only the acceptor calls it.
    fn open(self: &Arc<Self>, limit: usize) -> Option<OpenConnection> {
        if self.count.load(Ordering::Acquire) >= limit {
            return None;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.metrics.connections().opened();
        Some(OpenConnection(self.clone()))
    }

    /// Waits until none is left.
    async fn all_closed(&self) {
        loop {
            let closed = self.closed.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            closed.await;
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.metrics.connections().closed();
        self.0.count.fetch_sub(1, Ordering::Release);
        self.0.closed.notify_waiters();
    }
}

/// Longest first line that is looked at to find the worker; a longer one goes to the worker mounted at the root, where it is refused.
const FIRST_LINE_BYTES: usize = 16 * 1024;

/// Connections past the limit that are answered at the same time, and for how long each may take.
const REFUSED_AT_ONCE: usize = 64;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections that are answered at the same time while the server drains; more are closed.
const DRAINING_AT_ONCE: u32 = 1024;

/// The client's way to say HTTP/2 without TLS (RFC 9113, section 3.4).
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Server {
    /// Serves connections from `listener` until [`Server::shut_down`].
    pub fn start(listener: TcpListener, options: ServerOptions) -> Self {
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let shared = Arc::new(Shared {
            routes: Routes::new(options.routes, options.broken),
            limits: options.limits,
            log: options.log,
            admin: admin::router(options.triggers, options.status, phase_seen.clone(), options.admin_hosts),
            breaches: options.breaches,
            errors: options.errors,
            metrics: options.metrics.clone(),
            tracer: options.tracer,
            proxies: RwLock::new(Arc::new(options.trusted_proxies)),
            shutdown: phase_seen,
        });
        let open =
            Arc::new(OpenConnections { count: AtomicUsize::new(0), closed: Notify::new(), metrics: options.metrics });
        let handing_over = Arc::new(Notify::new());
        let accepting = accept(listener, shared.clone(), open.clone(), handing_over.clone());
        let acceptor = Mutex::new(Some(tokio::spawn(accepting)));
        Self { shared, phase, open, handing_over, acceptor }
    }

    /// Requests whose answers are not finished, `waitUntil` work included.
    pub fn in_flight(&self) -> usize {
        let in_flight = |route: &Arc<Route>| {
            let threads = route.worker.threads();
            threads.iter().map(|thread| thread.load().invocations.load(Ordering::Acquire)).sum::<usize>()
        };
        self.shared.routes.all().iter().map(in_flight).sum()
    }

    /// Mounts other workers from now on. Requests in flight end where they are.
    pub fn set_routes(&self, routes: Vec<Route>, broken: Vec<BrokenMount>) {
        self.shared.routes.replace(routes, broken);
    }

    /// Believes other proxies from now on, on connections that come from now on.
    pub fn set_trusted_proxies(&self, proxies: TrustedProxies) {
        *self.shared.proxies.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(proxies);
    }

    /// Accepts no connection from now on: those that come wait for whoever has the listener next.
    pub fn hand_over_listener(&self) {
        self.handing_over.notify_one();
    }

    /// Takes no new requests for workers, lets those there are finish, and waits for all of their connections. Until then,
    /// new connections get answers of admin routes, so that whoever asks whether the server is ready hears why not, and a 503 where
    /// they ask for a worker.
    pub async fn shut_down(&self) {
        self.phase.send_replace(Phase::Draining);
        self.open.all_closed().await;
        self.phase.send_replace(Phase::Closed);
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(acceptor) = acceptor
            && let Err(error) = acceptor.await
        {
            tracing::error!(%error, "the acceptor failed");
        }
        // It may have taken one just before it heard of the shutdown.
        self.open.all_closed().await;
    }
}

/// Answers every connection of `listener` with `text` and a status of 500, whatever it asks, for as long as the future is polled. For a
/// process that has nothing to serve yet and wants to say why.
pub async fn refuse_all(listener: &TcpListener, text: &str) -> Infallible {
    let text: Arc<str> = text.into();
    let refusing = Arc::new(Semaphore::new(REFUSED_AT_ONCE));
    loop {
        // It is never closed.
        let Ok(permit) = refusing.clone().acquire_owned().await else { return std::future::pending().await };
        match listener.accept().await {
            Ok((stream, _)) => {
                let text = text.clone();
                tokio::spawn(async move {
                    refuse(stream, Refusal::Broken, &text).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    /// There are too many; it may come again.
    Overloaded,
    /// There is nothing to serve.
    Broken,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, open: Arc<OpenConnections>, handing_over: Arc<Notify>) {
    let mut phase = shared.shutdown.clone();
    let refusing = Arc::new(Semaphore::new(REFUSED_AT_ONCE));
    let draining = Arc::new(Semaphore::new(DRAINING_AT_ONCE as usize));
    let mut is_full = false;
    loop {
        let accepted = tokio::select! {
            // A client that comes once the listener is handed over must not be told that the server drains.
            biased;
            // Clients that came and were not accepted wait for the next to have the listener.
            () = handing_over.notified() => return,
            // An error means the server is gone, which is the same.
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) if *shared.shutdown.borrow() != Phase::Serving => {
                answer_while_draining(stream, peer, &shared, &draining);
            }
            Ok((stream, peer)) => {
                if let Some(open) = open.open(shared.limits.connections) {
                    is_full = false;
                    tokio::spawn(hand_over(stream, peer, shared.clone(), open));
                    continue;
                }
                shared.breaches.note(Breach::Connections);
                // Once for each time that it happens.
                if !std::mem::replace(&mut is_full, true) {
                    tracing::warn!("{}", too_many_connections(shared.limits.connections));
                }
                // Past the few that are told why, connections are just closed.
                if let Ok(permit) = refusing.clone().try_acquire_owned() {
                    let text = too_many_connections(shared.limits.connections);
                    tokio::spawn(async move {
                        refuse(stream, Refusal::Overloaded, &text).await;
                        drop(permit);
                    });
                }
            }
            Err(error) => {
                // Out of descriptors, mostly: taking a breath lets connections close.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Clients that came before the end are answered.
    for _ in 0..DRAINING_AT_ONCE {
        let Ok(Ok((stream, peer))) = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await else {
            break;
        };
        answer_while_draining(stream, peer, &shared, &draining);
    }
    drop(listener);
    // The process may end as soon as this does.
    let all = draining.acquire_many(DRAINING_AT_ONCE);
    if tokio::time::timeout(connection::PATIENCE_WHILE_DRAINING, all).await.is_err() {
        tracing::debug!("clients that came while the server drained were still being answered");
    }
}

/// Answers a connection that came after the shutdown had begun, unless too many of them are being answered.
fn answer_while_draining(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, at_once: &Arc<Semaphore>) {
    let Ok(permit) = at_once.clone().try_acquire_owned() else { return };
    let shared = shared.clone();
    tokio::spawn(async move {
        connection::serve_draining(stream, shared, peer).await;
        drop(permit);
    });
}

fn too_many_connections(limit: usize) -> String {
    format!("the server is overloaded: {limit} connections are open: raise limits.connections")
}

/// Answers without looking at the request.
async fn refuse(mut stream: TcpStream, refusal: Refusal, text: &str) {
    let length = text.len() + 1;
    let status = match refusal {
        Refusal::Overloaded => format!("503 Service Unavailable\r\nretry-after: {RETRY_AFTER_SECONDS}"),
        Refusal::Broken => "500 Internal Server Error".to_owned(),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}\n"
    );
    let answered = async {
        stream.write_all(answer.as_bytes()).await?;
        wire::see_out(stream).await
    };
    // A client that has left, or goes on sending, has had its chance.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, answered).await;
}

/// Reads the first line and gives the connection to where it belongs.
async fn hand_over(mut stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, open: OpenConnection) {
    socket::prepare(&stream);
    let lifecycle = Lifecycle::accepted();
    let first_line = match read_first_line(&mut stream, &shared, &lifecycle).await {
        FirstLine::Arrived(first_line) => first_line,
        FirstLine::Closed => return,
        FirstLine::TooSlow => {
            let answered = async {
                stream
                    .write_all(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await?;
                wire::see_out(stream).await
            };
            // A client that has left, or goes on sending, has had its chance.
            let _ = tokio::time::timeout(REFUSAL_TIMEOUT, answered).await;
            return;
        }
    };
    let path = first_path(&first_line);
    if path.starts_with(ADMIN_PREFIX) || triggers::reserved(&path, &shared.routes).is_some() {
        connection::serve_admin(Wire::new(first_line, stream, shared.limits.send_timeout), &shared, peer, open).await;
        return;
    }
    // HTTP/2 names its paths later, each stream its own: any worker's thread can route them.
    let any = || if is_http2(&first_line) { shared.routes.all().first().cloned() } else { None };
    let Some(route) = shared.routes.find(&path).or_else(any) else {
        connection::serve_admin(Wire::new(first_line, stream, shared.limits.send_timeout), &shared, peer, open).await;
        return;
    };
    let worker = route.worker.clone();
    let shared = shared.clone();
    lifecycle.enter(State::Moving);
    // From here on the connection belongs to the thread: it does not end before the connection has.
    let Some((thread, permit)) = worker.admit().await else {
        refuse(stream, Refusal::Overloaded, "the worker was shut down").await;
        return;
    };
    let version = if is_http2(&first_line) { HttpVersion::Two } else { HttpVersion::One };
    let socket = OpenSocket::new(&stream, version, lifecycle, open);
    let mourner: Arc<dyn Mourner> = socket.clone();
    let mourning = thread.load().mourn(&mourner);
    let Ok(stream) = stream.into_std() else { return };
    let is_taken = thread.run(move |host: &Rc<Host>| match TcpStream::from_std(stream) {
        Ok(stream) => {
            let wire = Wire::new(first_line, stream, shared.limits.send_timeout).mourned(mourning);
            let home = Home { host: host.clone(), worker, permit };
            aerostack_isolate::spawn_local(connection::serve(wire, home, shared, peer, socket));
        }
        Err(error) => tracing::warn!(%error, "cannot move a connection to its isolate's thread"),
    });
    if !is_taken {
        tracing::error!("a connection was closed: its isolate's thread has failed");
    }
}

/// What came of waiting for the first line of a connection.
enum FirstLine {
    Arrived(Bytes),
    /// A part of it arrived, and then not the rest in time.
    TooSlow,
    /// The client said nothing and left, or nothing in time.
    Closed,
}

async fn read_first_line(stream: &mut TcpStream, shared: &Shared, lifecycle: &Lifecycle) -> FirstLine {
    let patience = Patience::over_http1(&shared.limits);
    let mut shutdown = shared.shutdown.clone();
    let mut leaving = None;
    let mut buffer = BytesMut::new();
    loop {
        let read = tokio::select! {
            biased;
            read = read_some(stream, &mut buffer) => read,
            () = stopped(&mut shutdown), if leaving.is_none() => {
                leaving = Some(Instant::now());
                continue;
            }
            () = lifecycle.overdue(patience, leaving) => {
                return if buffer.is_empty() { FirstLine::Closed } else { FirstLine::TooSlow };
            }
        };
        let is_complete = buffer.contains(&b'\n') || buffer.len() >= FIRST_LINE_BYTES;
        match read {
            Err(_) => return FirstLine::Closed,
            Ok(0) if buffer.is_empty() => return FirstLine::Closed,
            Ok(read) if read == 0 || is_complete => return FirstLine::Arrived(buffer.freeze()),
            Ok(_) => lifecycle.wait_for_head(Arrived::Something),
        }
    }
}

async fn read_some(stream: &mut TcpStream, buffer: &mut BytesMut) -> std::io::Result<usize> {
    // A connection that says nothing yet costs no buffer.
    stream.readable().await?;
    buffer.reserve(4096);
    stream.read_buf(buffer).await
}

/// The path of the first request, as it is routed; `/` where there is none to be seen, as in the HTTP/2 preface.
fn first_path(first_line: &[u8]) -> Cow<'_, str> {
    let line = first_line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    routed_path(std::str::from_utf8(target).unwrap_or("/"))
}

pub(crate) fn is_http2(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(&HTTP2_PREFACE[..14])
}

#[cfg(test)]
mod tests {
    use super::first_path;

    #[test]
    fn the_path_is_read_from_origin_form_absolute_form_and_nothing_else() {
        for (line, path) in [
            ("GET /api/items?limit=5 HTTP/1.1\r\n", "/api/items"),
            ("GET http://localhost:8788/api HTTP/1.1\r\n", "/api"),
            ("GET http://localhost:8788 HTTP/1.1\r\n", "/"),
            ("GET /go/http://x.test/_aerostack/health HTTP/1.1\r\n", "/go/http://x.test/_aerostack/health"),
            ("GET /_aerostack/../x HTTP/1.1\r\n", "/x"),
            ("OPTIONS * HTTP/1.1\r\n", "/"),
            ("PRI * HTTP/2.0\r\n\r\n", "/"),
            ("\u{0}\u{1}garbage", "/"),
            ("", "/"),
        ] {
            assert_eq!(first_path(line.as_bytes()), path, "{line:?}");
        }
    }
}
