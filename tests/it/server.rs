use std::net::SocketAddr;
use std::sync::Arc;

use aerostack_isolate::{Failure, WorkerVersion};
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
        let worker = setup.start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let route = Route {
            prefix: String::new(),
            reach: RouteReach::Tree,
            replacement: String::new(),
            worker: worker.worker.clone(),
        };
        let options = ServerOptions {
            routes: vec![route],
            limits,
            log: Arc::new(Silent),
            triggers: Some(Arc::new(NoTriggers)),
            admin_hosts: Vec::new(),
            errors: ErrorDetail::Shown(Redaction::default()),
        };
        Self { address, worker, server: Server::start(listener, options) }
    }
}
