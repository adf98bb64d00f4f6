use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aerostack_isolate::Host;
use aerostack_telemetry::metrics::Metrics;
use aerostack_trace::Tracer;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::admin::{self, ADMIN_PREFIX};
use crate::connection;
use crate::rewind::Rewind;
use crate::routes::{Route, Routes};
use crate::status::Status;
use crate::triggers::{self, Triggers};
use crate::{ClientLimits, Phase, RequestLog, Shared, stopped};

/// What a server is started with.
pub struct ServerOptions {
    /// Where workers are mounted.
    pub routes: Vec<Route>,
    /// What clients may send.
    pub limits: ClientLimits,
    /// Is told of every request.
    pub log: Arc<dyn RequestLog>,
    /// Runs event handlers by hand.
    pub triggers: Arc<dyn Triggers>,
    /// Names besides loopback under which admin routes may be asked.
    pub admin_hosts: Vec<String>,
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
}

/// Connections that are not closed yet, wherever they live.
pub(crate) struct OpenConnections {
    count: AtomicUsize,
    closed: Notify,
    metrics: Arc<Metrics>,
}

pub(crate) struct OpenConnection(Arc<OpenConnections>);

impl OpenConnections {
    fn open(self: &Arc<Self>) -> OpenConnection {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.metrics.connections().opened();
        OpenConnection(self.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.metrics.connections().closed();
        self.0.count.fetch_sub(1, Ordering::Release);
        self.0.closed.notify_waiters();
    }
}

/// Longest first line that is looked at to find the worker; a longer one goes to the worker mounted at the root, where hyper
/// refuses it.
const FIRST_LINE_BYTES: usize = 16 * 1024;

/// The client's way to say HTTP/2 without TLS (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Server {
    /// Serves connections from `listener` until [`Server::shut_down`].
    pub fn start(listener: TcpListener, options: ServerOptions) -> Self {
        let (phase, phase_seen) = watch::channel(Phase::Serving);
        let shared = Arc::new(Shared {
            routes: Routes::new(options.routes),
            limits: options.limits,
            log: options.log,
            admin: admin::router(options.triggers, options.status, phase_seen.clone(), options.admin_hosts),
            metrics: options.metrics.clone(),
            tracer: options.tracer,
            shutdown: phase_seen,
        });
        let open =
            Arc::new(OpenConnections { count: AtomicUsize::new(0), closed: Notify::new(), metrics: options.metrics });
        tokio::spawn(accept(listener, shared.clone(), open.clone()));
        Self { shared, phase, open }
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
    pub fn set_routes(&self, routes: Vec<Route>) {
        self.shared.routes.replace(routes);
    }

    /// Takes no new requests for workers, lets those there are finish, and waits for all of their connections. Until then,
    /// new connections get answers of admin routes, so that whoever asks whether the server is ready hears why not, and a 503 where
    /// they ask for a worker.
    pub async fn shut_down(&self) {
        self.phase.send_replace(Phase::Draining);
        loop {
            let closed = self.open.closed.notified();
            if self.open.count.load(Ordering::Acquire) == 0 {
                break;
            }
            closed.await;
        }
        self.phase.send_replace(Phase::Closed);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, open: Arc<OpenConnections>) {
    let mut phase = shared.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error means the server is gone, which is the same.
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => return,
        };
        match accepted {
            Ok((stream, peer)) if *shared.shutdown.borrow() != Phase::Serving => {
                tokio::spawn(connection::serve_draining(stream, shared.clone(), peer));
            }
            Ok((stream, peer)) => {
                let open = open.open();
                tokio::spawn(hand_over(stream, peer, shared.clone(), open));
            }
            Err(error) => {
                // Out of descriptors, mostly: taking a breath lets connections close.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Reads the first line and gives the connection to where it belongs.
async fn hand_over(mut stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, open: OpenConnection) {
    let _ = stream.set_nodelay(true);
    let mut shutdown = shared.shutdown.clone();
    let first_line = tokio::select! {
        first_line = tokio::time::timeout(shared.limits.header_timeout, read_first_line(&mut stream)) => first_line,
        () = stopped(&mut shutdown) => return,
    };
    let first_line = match first_line {
        Ok(Ok(first_line)) if !first_line.is_empty() => first_line,
        Ok(_) => return,
        Err(_) => {
            let _ = stream
                .write_all(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await;
            return;
        }
    };
    let path = first_path(&first_line);
    if path.starts_with(ADMIN_PREFIX) || triggers::reserved(path, &shared.routes).is_some() {
        connection::serve_admin(Rewind::new(first_line, stream), &shared, peer, open).await;
        return;
    }
    // HTTP/2 names its paths later, each stream its own: any worker's thread can route them.
    let any = || if is_http2(&first_line) { shared.routes.all().first().cloned() } else { None };
    let Some(route) = shared.routes.find(path).or_else(any) else {
        connection::serve_admin(Rewind::new(first_line, stream), &shared, peer, open).await;
        return;
    };
    let Ok(stream) = stream.into_std() else { return };
    let worker = route.worker.clone();
    let shared = shared.clone();
    let home = worker.clone();
    worker.least_busy().run(move |host: &Rc<Host>| match TcpStream::from_std(stream) {
        Ok(stream) => {
            let rewind = Rewind::new(first_line, stream);
            aerostack_isolate::spawn_local(connection::serve(rewind, host.clone(), home, shared, peer, open));
        }
        Err(error) => tracing::warn!(%error, "cannot move a connection to its isolate's thread"),
    });
}

async fn read_first_line(stream: &mut TcpStream) -> std::io::Result<Bytes> {
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        let read = stream.read_buf(&mut buffer).await?;
        let complete = buffer.contains(&b'\n') || buffer.len() >= FIRST_LINE_BYTES;
        if read == 0 || complete {
            return Ok(buffer.freeze());
        }
    }
}

/// The path of the first request; `/` where there is none to be seen, as in the HTTP/2 preface.
fn first_path(first_line: &[u8]) -> &str {
    let line = first_line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let path = std::str::from_utf8(path).unwrap_or("/");
    // Absolute form, as proxies send it.
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => path,
    };
    if path.starts_with('/') { path } else { "/" }
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
            ("OPTIONS * HTTP/1.1\r\n", "/"),
            ("PRI * HTTP/2.0\r\n\r\n", "/"),
            ("\u{0}\u{1}garbage", "/"),
            ("", "/"),
        ] {
            assert_eq!(first_path(line.as_bytes()), path, "{line:?}");
        }
    }
}
