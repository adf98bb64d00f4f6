//! HTTP in, worker responses out.
//!
//! One acceptor reads the first line of each new connection and hands the connection to the isolate thread of the worker it
//! is for; HTTP is spoken there (HTTP/1 in `http1`, HTTP/2 by hyper), and a request reaches its handler without a hop between threads.
//! Requests on that connection for another worker, or for a later version of it, hop. Admin routes are served by axum on the acceptor's runtime, so that
//! they answer while a worker is stuck.

mod acceptor;
mod admin;
mod body;
mod connection;
mod corked;
mod error_page;
mod http1;
mod http2;
mod lifecycle;
mod location;
mod open_socket;
mod proxies;
mod request;
mod routes;
mod sending;
mod socket;
mod status;
mod triggers;
mod wire;

pub use acceptor::{Server, ServerOptions, refuse_all};
pub use proxies::TrustedProxies;
pub use routes::{BrokenMount, Route, RouteReach};
pub use status::{Status, WorkerStatus};
pub use triggers::{
    QueueResult, QueueTrigger, RetriedMessage, ScheduledResult, ScheduledTrigger, TriggerRefused, TriggeredMessage,
    Triggers,
};

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aerostack_isolate::{Breaches, Caller, Costs, Failure, WorkerVersion};
use aerostack_telemetry::Redaction;
use aerostack_telemetry::metrics::Metrics;
use aerostack_trace::{Identity, Tracer};
use http::StatusCode;

/// Is told of every request.
pub trait RequestLog: Send + Sync {
    /// The head of the answer is on its way.
    fn answered(&self, request: &FinishedRequest<'_>);

    /// A handler failed; `answered` follows with the status the client got.
    fn failed(&self, request: &Caller, failure: &Failure, version: &WorkerVersion);
}

/// One line of the request log.
#[derive(Debug)]
pub struct FinishedRequest<'a> {
    /// The method, as the client sent it.
    pub method: &'a str,
    /// The path, as the client sent it.
    pub path: &'a str,
    /// The status the client got.
    pub status: StatusCode,
    /// From the request's arrival to the head of the answer.
    pub took: Duration,
    /// Binding calls made for it.
    pub costs: &'a Costs,
    /// The worker it was for; `None` for the server's own routes and where none is mounted.
    pub worker: Option<&'a str>,
    /// Its names in the log and in traces.
    pub identity: Identity,
}

/// Limits on what clients may send.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Longest request body, bytes (`limits.request_body_mb`).
    pub body_bytes: u64,
    /// Longest time from a connection, or the last answer on it, to the end of the next request's headers.
    pub header_timeout: Duration,
    /// Longest pause between two pieces of a request body.
    pub body_timeout: Duration,
    /// Longest head of a request, bytes.
    pub header_bytes: usize,
    /// Longest time in which a client takes nothing of what is sent to it.
    pub send_timeout: Duration,
    /// Connections at once (`limits.connections`).
    pub connections: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            body_bytes: 100 * 1024 * 1024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            header_bytes: 128 * 1024,
            send_timeout: Duration::from_secs(30),
            connections: 16_384,
        }
    }
}

/// What a client learns of a handler that failed. The log has all of it either way.
#[derive(Clone)]
pub enum ErrorDetail {
    /// The message, the stack, and for browsers the lines around the one that threw: the client is the developer. Secrets are hidden
    /// all the same, because pages are photographed and shared.
    Shown(Redaction),
    /// The status, and the limit that was exceeded where one was: the client is anybody.
    Hidden,
}

/// What a connection needs to know of the server; shared by all of them.
struct Shared {
    routes: routes::Routes,
    limits: ClientLimits,
    log: Arc<dyn RequestLog>,
    admin: axum::Router,
    breaches: Arc<Breaches>,
    errors: ErrorDetail,
    shutdown: tokio::sync::watch::Receiver<Phase>,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    proxies: RwLock<Arc<TrustedProxies>>,
}

/// How far a server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It takes requests.
    Serving,
    /// It ends what it has begun and takes no more.
    Draining,
    /// It takes no connections.
    Closed,
}

impl Shared {
    fn trusted_proxies(&self) -> Arc<TrustedProxies> {
        self.proxies.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What to tell a client that asks for a path no worker answers for, and with which status.
    fn unanswered(&self, path: &str) -> (StatusCode, String) {
        match &self.errors {
            ErrorDetail::Shown(redaction) => match self.routes.broken_at(path) {
                Some(reason) => (StatusCode::INTERNAL_SERVER_ERROR, redaction.redacted(&reason).into_owned()),
                None => (StatusCode::NOT_FOUND, self.routes.nothing_at(path)),
            },
            ErrorDetail::Hidden => (StatusCode::NOT_FOUND, "Not Found".to_owned()),
        }
    }
}

/// Waits until the server shuts down.
async fn stopped(shutdown: &mut tokio::sync::watch::Receiver<Phase>) {
    // An error means the server is gone, which is the same.
    let _ = shutdown.wait_for(|phase| *phase != Phase::Serving).await;
}
