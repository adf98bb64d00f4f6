use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aerostack_isolate::{Breaches, Failure, WorkerVersion};
use aerostack_server::{
    ClientLimits, ErrorDetail, FinishedRequest, QueueResult, QueueTrigger, RequestLog, Route, RouteReach,
    ScheduledResult, ScheduledTrigger, Server, ServerOptions, TriggerRefused, Triggers,
};
use aerostack_telemetry::Redaction;
use async_trait::async_trait;
use tokio::net::TcpListener;

use crate::worker::{TestWorker, WorkerSetup};

/// A [`TestWorker`] behind HTTP on a free port.
pub struct TestServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The worker.
    pub worker: TestWorker,
    /// The other worker, if there is one.
    pub neighbour: Option<TestWorker>,
    /// How often clients met the server's limits.
    pub breaches: Arc<Breaches>,
    /// The server.
    pub server: Server,
}

struct Silent;

/// Of servers whose event handlers nobody runs by hand.
struct NoTriggers;

#[async_trait]
impl Triggers for NoTriggers {
    async fn scheduled(&self, _trigger: ScheduledTrigger) -> Result<ScheduledResult, TriggerRefused> {
        Err(TriggerRefused("this server has no triggers".to_owned()))
    }

    async fn queue(&self, _trigger: QueueTrigger) -> Result<QueueResult, TriggerRefused> {
        Err(TriggerRefused("this server has no triggers".to_owned()))
    }
}

impl RequestLog for Silent {
    fn answered(&self, _request: &FinishedRequest<'_>) {}
    fn failed(&self, _request: &str, _failure: &Failure, _version: &WorkerVersion) {}
}

impl TestServer {
    /// Serves a worker of one TypeScript file.
    pub async fn start(source: &str) -> Self {
        Self::of(WorkerSetup::of(source), ClientLimits::default()).await
    }

    /// Serves a worker.
    pub async fn of(setup: WorkerSetup, limits: ClientLimits) -> Self {
        Self::serve(setup.start().await, None, limits).await
    }

    /// Serves a worker, and another one at `/neighbour`.
    pub async fn beside(setup: WorkerSetup, neighbour: WorkerSetup) -> Self {
        Self::serve(setup.start().await, Some(neighbour.start().await), ClientLimits::default()).await
    }

    async fn serve(worker: TestWorker, neighbour: Option<TestWorker>, limits: ClientLimits) -> Self {
        let breaches = Arc::new(Breaches::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let route = |prefix: &str, worker: &TestWorker| Route {
            prefix: prefix.to_owned(),
            reach: RouteReach::Tree,
            replacement: String::new(),
            worker: worker.worker.clone(),
        };
        let mut routes = vec![route("", &worker)];
        routes.extend(neighbour.as_ref().map(|neighbour| route("/neighbour", neighbour)));
        let options = ServerOptions {
            routes,
            limits,
            log: Arc::new(Silent),
            triggers: Some(Arc::new(NoTriggers)),
            admin_hosts: Vec::new(),
            breaches: breaches.clone(),
            errors: ErrorDetail::Shown(Redaction::default()),
        };
        Self { address, worker, neighbour, breaches, server: Server::start(listener, options) }
    }
}

/// Waits until no invocation is left: nothing was leaked.
pub async fn wait_until_idle(server: &TestServer) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while server.server.in_flight() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "{} invocations are left", server.server.in_flight());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
