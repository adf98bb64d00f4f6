use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aerostack_isolate::{Breaches, Caller, Failure, Worker, WorkerVersion};
use aerostack_server::{
    ClientLimits, ErrorDetail, FinishedRequest, QueueResult, QueueTrigger, RequestLog, Route, RouteReach,
    ScheduledResult, ScheduledTrigger, Server, ServerOptions, Status, TriggerRefused, Triggers, TrustedProxies,
    WorkerStatus,
};
use aerostack_telemetry::Redaction;
use aerostack_telemetry::metrics::{Metrics, Queues};
use aerostack_trace::Tracer;
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

/// The status of a server with one worker and no queues.
struct OneWorker {
    worker: Arc<Worker>,
    metrics: Arc<Metrics>,
}

#[async_trait]
impl Status for OneWorker {
    fn workers(&self) -> Vec<WorkerStatus> {
        let unready = self.worker.unready().map(|reason| reason.to_string());
        vec![WorkerStatus { name: self.worker.name().to_owned(), unready }]
    }

    async fn metrics(&self) -> String {
        self.worker.ask_for_memory();
        self.metrics.text(Queues::Known(Vec::new()))
    }
}

impl RequestLog for Silent {
    fn answered(&self, _request: &FinishedRequest<'_>) {}
    fn failed(&self, _request: &Caller, _failure: &Failure, _version: &WorkerVersion) {}
}

impl TestServer {
    /// Serves a worker of one TypeScript file.
    pub async fn start(source: &str) -> Self {
        Self::of(WorkerSetup::of(source), ClientLimits::default()).await
    }

    /// Serves a worker.
    pub async fn of(setup: WorkerSetup, limits: ClientLimits) -> Self {
        let metrics = setup.metrics.clone();
        Self::serve(setup.start().await, None, limits, TrustedProxies::default(), metrics).await
    }

    /// Serves a worker, and another one at `/neighbour`.
    pub async fn beside(setup: WorkerSetup, neighbour: WorkerSetup) -> Self {
        let metrics = setup.metrics.clone();
        let neighbour = neighbour.start().await;
        let (limits, proxies) = (ClientLimits::default(), TrustedProxies::default());
        Self::serve(setup.start().await, Some(neighbour), limits, proxies, metrics).await
    }

    /// Serves a worker of one TypeScript file behind proxies: addresses and ranges.
    pub async fn behind(proxies: &[&str], source: &str) -> Self {
        let setup = WorkerSetup::of(source);
        let metrics = setup.metrics.clone();
        let proxies = proxies.iter().map(|range| range.parse().expect("a range of addresses")).collect();
        let proxies = TrustedProxies::listed(proxies);
        Self::serve(setup.start().await, None, ClientLimits::default(), proxies, metrics).await
    }

    async fn serve(
        worker: TestWorker,
        neighbour: Option<TestWorker>,
        limits: ClientLimits,
        trusted_proxies: TrustedProxies,
        metrics: Arc<Metrics>,
    ) -> Self {
        let breaches = Arc::new(Breaches::default());
        let counted = breaches.clone();
        metrics.count_server_breaches_by(Box::new(move || counted.counts()));
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
            broken: Vec::new(),
            routes,
            limits,
            log: Arc::new(Silent),
            triggers: Some(Arc::new(NoTriggers)),
            admin_hosts: Vec::new(),
            trusted_proxies,
            breaches: breaches.clone(),
            errors: ErrorDetail::Shown(Redaction::default()),
            status: Arc::new(OneWorker { worker: worker.worker.clone(), metrics: metrics.clone() }),
            metrics,
            tracer: Tracer::off(),
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
