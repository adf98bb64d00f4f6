//! The admin routes that supervisors, load balancers and Prometheus read: `health`, `ready`, `metrics`. They are answered on the
//! acceptor's thread and wait for no worker.

use std::sync::Arc;

use aerostack_telemetry::metrics::CONTENT_TYPE;
use async_trait::async_trait;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde::Serialize;
use tokio::sync::watch;

use crate::Phase;

/// What is known of the process beside its workers' answers.
#[async_trait]
pub trait Status: Send + Sync {
    /// Every worker that should be served. Must not wait.
    fn workers(&self) -> Vec<WorkerStatus>;

    /// Everything counted, in the format of [`CONTENT_TYPE`]. May read files, must not wait for a worker.
    async fn metrics(&self) -> String;
}

/// Whether a worker can serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// The worker's name.
    pub name: String,
    /// Why it cannot; `None` when it can.
    #[serde(rename = "reason", skip_serializing_if = "Option::is_none")]
    pub unready: Option<String>,
}

/// The body of `health` and `ready`.
#[derive(Serialize)]
struct Report {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Of `ready` only: those that cannot serve, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    workers: Vec<WorkerStatus>,
}

/// The routes. `phase` is the server's own.
pub(crate) fn router(status: Arc<dyn Status>, phase: watch::Receiver<Phase>) -> Router {
    let counted = status.clone();
    Router::new()
        .route("/_aerostack/health", get(async || report("ok", None, Vec::new())))
        .route(
            "/_aerostack/ready",
            get(move || {
                let response = readiness(*phase.borrow(), status.workers());
                async move { response }
            }),
        )
        .route(
            "/_aerostack/metrics",
            get(move || {
                let status = counted.clone();
                async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], status.metrics().await) }
            }),
        )
}

fn readiness(phase: Phase, mut workers: Vec<WorkerStatus>) -> Response {
    workers.retain(|worker| worker.unready.is_some());
    if phase != Phase::Serving {
        return report("not ready", Some("shutting down"), workers);
    }
    if workers.is_empty() { report("ready", None, workers) } else { report("not ready", None, workers) }
}

/// What is not ready is a 503. Never from a cache: the answer is of this moment.
fn report(status: &'static str, reason: Option<&'static str>, workers: Vec<WorkerStatus>) -> Response {
    let code = if status == "not ready" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let report = Report { status, reason, workers };
    (code, [(header::CACHE_CONTROL, "no-store")], axum::Json(report)).into_response()
}
