//! Running event handlers by hand: the routes that `wrangler dev` has for crons (Cloudflare contract, section 7), and one of the
//! same shape for queues.
//!
//! They exist below each worker's mount point and at the root. At the root of a project without a worker there, or with
//! `?worker=`, the worker is chosen by name, or because it is the only one with such a handler.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Query};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{Request, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::location::with_path;
use crate::routes::Routes;

/// Runs event handlers for the trigger routes.
#[async_trait]
pub trait Triggers: Send + Sync {
    /// Runs `scheduled` of the worker. Without a `cron`, the worker's first one; without a `time`, now.
    async fn scheduled(&self, trigger: ScheduledTrigger) -> Result<ScheduledResult, TriggerRefused>;

    /// Runs `queue` of the worker with the messages, past any queue.
    async fn queue(&self, trigger: QueueTrigger) -> Result<QueueResult, TriggerRefused>;
}

/// A request to run `scheduled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledTrigger {
    /// The worker that was asked for, by name or by where it is mounted.
    pub worker: Option<String>,
    /// What the handler sees as `cron`.
    pub cron: Option<String>,
    /// What the handler sees as `scheduledTime`, milliseconds since the UNIX epoch.
    pub time_ms: Option<u64>,
}

/// How a triggered `scheduled` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledResult {
    /// Whether the handler and its `waitUntil` work came to an end.
    pub succeeded: bool,
    /// Whether `noRetry()` was called.
    pub no_retry: bool,
}

/// A request to run `queue`.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueTrigger {
    /// The worker that was asked for, by name or by where it is mounted.
    pub worker: Option<String>,
    /// What the handler sees as `batch.queue`; without it, the queue that the worker consumes.
    pub queue: Option<String>,
    /// 1 to 100 messages.
    pub messages: Vec<TriggeredMessage>,
}

/// A message of a [`QueueTrigger`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggeredMessage {
    /// 32 hexadecimal digits; random without.
    pub id: Option<String>,
    /// When it was sent, milliseconds since the UNIX epoch; now without.
    pub timestamp: Option<u64>,
    /// 1 without.
    pub attempts: Option<u32>,
    /// Any JSON.
    pub body: serde_json::Value,
}

/// How a triggered `queue` ended, in the shape of workerd's `FetcherQueueResult`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueResult {
    /// `ok` or `exception`.
    pub outcome: &'static str,
    /// Messages that were acked, `ackAll` included.
    pub explicit_acks: Vec<String>,
    /// Messages to be delivered again, `retryAll` included.
    pub retry_messages: Vec<RetriedMessage>,
}

/// A message of [`QueueResult::retry_messages`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetriedMessage {
    /// The message.
    pub msg_id: String,
    /// The delay the handler asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<u64>,
}

/// Why a trigger ran nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerRefused(pub String);

/// The worker at whose mount point a trigger route was asked for.
#[derive(Debug, Clone)]
pub(crate) struct MountedWorker(pub(crate) Option<String>);

/// A path that no worker sees: the trigger route below the mount point it was asked at.
pub(crate) struct ReservedPath {
    pub(crate) worker: MountedWorker,
    pub(crate) inner: String,
}

/// Everything Cloudflare reserves is reserved here, so that a worker that works here works there.
const RESERVED_TREE: &str = "/cdn-cgi/";
const RESERVED_PATH: &str = "/__scheduled";

/// Whether `path`, in its normal form, is a trigger route, and whose. Called for every request.
pub(crate) fn reserved(path: &str, routes: &Routes) -> Option<ReservedPath> {
    if !path.contains(RESERVED_TREE) && !path.ends_with(RESERVED_PATH) {
        return None;
    }
    let is_reserved = |path: &str| path == RESERVED_PATH || path.starts_with(RESERVED_TREE);
    let route = routes.find(path);
    let below_mount = route.as_ref().and_then(|route| path.strip_prefix(route.prefix.as_str()));
    match (route.as_ref(), below_mount) {
        (Some(route), Some(inner)) if is_reserved(inner) => {
            Some(ReservedPath { worker: MountedWorker(Some(route.worker.name().to_owned())), inner: inner.to_owned() })
        }
        _ if is_reserved(path) => Some(ReservedPath { worker: MountedWorker(None), inner: path.to_owned() }),
        _ => None,
    }
}

pub(crate) fn router(triggers: Arc<dyn Triggers>) -> Router {
    Router::new()
        .route("/cdn-cgi/handler/scheduled", get(scheduled))
        .route("/cdn-cgi/local/scheduled", get(scheduled))
        .route("/cdn-cgi/mf/scheduled", get(scheduled))
        .route("/cdn-cgi/handler/queue", post(queue))
        .route("/__scheduled", get(scheduled_event))
        .layer(Extension(triggers))
}

#[derive(Deserialize)]
struct ScheduledQuery {
    cron: Option<String>,
    time: Option<u64>,
    format: Option<String>,
    worker: Option<String>,
}

impl ScheduledQuery {
    fn trigger(&self, mounted: MountedWorker) -> ScheduledTrigger {
        let worker = self.worker.clone().or(mounted.0);
        ScheduledTrigger { worker, cron: self.cron.clone(), time_ms: self.time }
    }
}

async fn scheduled(
    Extension(triggers): Extension<Arc<dyn Triggers>>,
    Extension(mounted): Extension<MountedWorker>,
    Query(query): Query<ScheduledQuery>,
) -> Response {
    let result = match triggers.scheduled(query.trigger(mounted)).await {
        Ok(result) => result,
        Err(refused) => return refused.into_response(),
    };
    let (status, outcome) =
        if result.succeeded { (StatusCode::OK, "ok") } else { (StatusCode::INTERNAL_SERVER_ERROR, "exception") };
    if query.format.as_deref() == Some("json") {
        let body = serde_json::json!({ "outcome": outcome, "noRetry": result.no_retry });
        return (status, axum::Json(body)).into_response();
    }
    (status, outcome).into_response()
}

async fn scheduled_event(
    Extension(triggers): Extension<Arc<dyn Triggers>>,
    Extension(mounted): Extension<MountedWorker>,
    Query(query): Query<ScheduledQuery>,
) -> Response {
    match triggers.scheduled(query.trigger(mounted)).await {
        Ok(result) if result.succeeded => "Ran scheduled event".into_response(),
        Ok(_) => (StatusCode::INTERNAL_SERVER_ERROR, "The scheduled event failed").into_response(),
        Err(refused) => refused.into_response(),
    }
}

#[derive(Deserialize)]
struct QueueQuery {
    queue: Option<String>,
    worker: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueBody {
    queue: Option<String>,
    messages: Vec<TriggeredMessage>,
}

async fn queue(
    Extension(triggers): Extension<Arc<dyn Triggers>>,
    Extension(mounted): Extension<MountedWorker>,
    Query(query): Query<QueueQuery>,
    body: Bytes,
) -> Response {
    let body: QueueBody = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => {
            let shape = r#"{ "queue"?: string, "messages": [{ "body": any, "id"?, "timestamp"?, "attempts"? }] }"#;
            return TriggerRefused(format!("the body must be JSON of the form {shape}: {error}")).into_response();
        }
    };
    let worker = query.worker.or(mounted.0);
    match triggers.queue(QueueTrigger { worker, queue: query.queue.or(body.queue), messages: body.messages }).await {
        Ok(result) => axum::Json(result).into_response(),
        Err(refused) => refused.into_response(),
    }
}

impl IntoResponse for TriggerRefused {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.0 + "\n").into_response()
    }
}

/// The request as the trigger routes know it: its path below the mount point, the worker there beside it.
pub(crate) fn triggered(mut request: Request<axum::body::Body>, reserved: ReservedPath) -> Request<axum::body::Body> {
    *request.uri_mut() = with_path(request.uri(), &reserved.inner);
    request.extensions_mut().insert(reserved.worker);
    request
}
