//! HTTP in, worker responses out.
//!
//! One acceptor reads the first line of each new connection and hands the connection to the isolate thread of the worker it
//! is for; hyper runs there, and a request reaches its handler without a hop between threads. Requests on that connection
//! for another worker, or for a later version of it, hop. Admin routes are served by axum on the acceptor's runtime, so that
//! they answer while a worker is stuck.

mod acceptor;
mod admin;
mod body;
mod connection;
mod error_page;
mod rewind;
mod routes;
mod status;
mod triggers;

pub use acceptor::{Server, ServerOptions};
pub use routes::{Route, RouteReach};
pub use status::{Status, WorkerStatus};
pub use triggers::{
    QueueResult, QueueTrigger, RetriedMessage, ScheduledResult, ScheduledTrigger, TriggerRefused, TriggeredMessage,
    Triggers,
};

use std::sync::Arc;
use std::time::Duration;

use aerostack_isolate::{Caller, Costs, Failure, WorkerVersion};
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
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            body_bytes: 100 * 1024 * 1024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            header_bytes: 128 * 1024,
        }
    }
}

/// What a connection needs to know of the server; shared by all of them.
struct Shared {
    routes: routes::Routes,
    limits: ClientLimits,
    log: Arc<dyn RequestLog>,
    admin: axum::Router,
    shutdown: tokio::sync::watch::Receiver<Phase>,
    metrics: Arc<Metrics>,
    tracer: Tracer,
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

/// Waits until the server shuts down.
async fn stopped(shutdown: &mut tokio::sync::watch::Receiver<Phase>) {
    // An error means the server is gone, which is the same.
    let _ = shutdown.wait_for(|phase| *phase != Phase::Serving).await;
}
