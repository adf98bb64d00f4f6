use std::sync::Arc;
use std::time::Duration;

use aerostack_trace::{Span, SpanSink};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::settings::{OtlpSettings, Protocol};
use super::{json, protobuf};
use crate::metrics::{SpanLoss, SpanMetrics};

/// Sends spans to a collector from a thread of its own. Whoever records a span never waits: one that finds the queue full is
/// dropped and counted.
pub struct Exporter {
    inbox: mpsc::Sender<Message>,
    metrics: Arc<SpanMetrics>,
}

/// Why no exporter can be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// TLS has no provider.
    #[error("TLS cannot be set up for the export of spans")]
    Tls(#[source] rustls::Error),
    /// No thread or no runtime for it.
    #[error("the thread that exports spans cannot be started")]
    Thread(#[source] std::io::Error),
}

enum Message {
    Span(Box<Span>),
    /// Everything before it is to be sent now.
    Flush(oneshot::Sender<()>),
}

/// So much of an answer is read: an error's text is for the log.
const LONGEST_ANSWER: usize = 64 * 1024;

impl Exporter {
    /// Starts the thread. It ends when the exporter is dropped.
    pub fn start(
        settings: OtlpSettings,
        version: &'static str,
        metrics: Arc<SpanMetrics>,
    ) -> Result<Arc<Self>, StartError> {
        let (sender, inbox) = mpsc::channel(settings.queue);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(settings.timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(StartError::Tls)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let counted = metrics.clone();
        std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || {
                let client = Client::builder(TokioExecutor::new()).build(connector);
                runtime.block_on(Export { settings, version, client, metrics: counted, works: true }.run(inbox));
            })
            .map_err(StartError::Thread)?;
        Ok(Arc::new(Self { inbox: sender, metrics }))
    }

    /// Waits until the spans recorded so far are sent, or given up, but not longer than `patience`.
    pub async fn flush(&self, patience: Duration) {
        let (done, flushed) = oneshot::channel();
        let sent = async {
            if self.inbox.send(Message::Flush(done)).await.is_ok() {
                // An error means the thread is gone: there is nothing left to send.
                let _ = flushed.await;
            }
        };
        if timeout(patience, sent).await.is_err() {
            tracing::warn!("the last spans could not be exported within {} s", patience.as_secs());
        }
    }
}

impl SpanSink for Exporter {
    fn take(&self, span: Span) {
        if self.inbox.try_send(Message::Span(Box::new(span))).is_err() {
            self.metrics.lost(SpanLoss::QueueFull, 1);
        }
    }
}

/// The thread's own side.
struct Export {
    settings: OtlpSettings,
    version: &'static str,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    metrics: Arc<SpanMetrics>,
    /// Whether the last request succeeded, so that a change is told once.
    works: bool,
}

impl Export {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut open = true;
        while open {
            let mut batch = Vec::new();
            let mut flushed = None;
            open = match inbox.recv().await {
                None => return,
                Some(Message::Span(span)) => {
                    batch.push(*span);
                    self.gather(&mut inbox, &mut batch, &mut flushed).await
                }
                Some(Message::Flush(done)) => {
                    flushed = Some(done);
                    true
                }
            };
            if !batch.is_empty() {
                self.send(batch).await;
            }
            if let Some(done) = flushed {
                // Whoever asked may have lost patience.
                let _ = done.send(());
            }
        }
    }

    /// Waits for more spans to leave with the first. False when there will be no more.
    async fn gather(
        &self,
        inbox: &mut mpsc::Receiver<Message>,
        batch: &mut Vec<Span>,
        flushed: &mut Option<oneshot::Sender<()>>,
    ) -> bool {
        let deadline = Instant::now() + self.settings.delay;
        while batch.len() < self.settings.batch {
            match timeout_at(deadline, inbox.recv()).await {
                Ok(Some(Message::Span(span))) => batch.push(*span),
                Ok(Some(Message::Flush(done))) => {
                    *flushed = Some(done);
                    return true;
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
        true
    }

    /// Sends a batch once. One that does not arrive is lost: spans are worth less than the memory of a collector's outage.
    async fn send(&mut self, batch: Vec<Span>) {
        let count = batch.len();
        let resource = &self.settings.resource;
        let body = match self.settings.protocol {
            Protocol::Protobuf => protobuf::request(&batch, resource, self.version),
            Protocol::Json => json::request(&batch, resource, self.version).to_string().into_bytes(),
        };
        let outcome = match timeout(self.settings.timeout, self.post(body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} ms", self.settings.timeout.as_millis())),
        };
        let endpoint = self.settings.shown_endpoint();
        match outcome {
            Ok(()) => {
                self.metrics.exported(count);
                if !self.works {
                    tracing::warn!(endpoint, "spans are exported again");
                }
                self.works = true;
            }
            Err(problem) => {
                self.metrics.lost(SpanLoss::ExportFailed, count);
                if self.works {
                    tracing::warn!(endpoint, problem, "spans cannot be exported and are dropped until they can");
                }
                self.works = false;
            }
        }
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), String> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.settings.endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, header::HeaderValue::from_static("aerostack"));
        headers.extend(self.settings.headers.clone());
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(self.settings.protocol.content_type()));
        let response = self.client.request(request).await.map_err(|error| with_causes(&error))?;
        let status = response.status();
        // Read to its end, so that the connection can be used again.
        let answer = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        if status == StatusCode::OK {
            return Ok(());
        }
        let text = answer.map_or_else(
            |error| error.to_string(),
            |answer| String::from_utf8_lossy(&answer.to_bytes()).chars().take(200).collect(),
        );
        Err(format!("{status}: {text}"))
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use aerostack_trace::{Ids, Sampling, SpanContext, SpanKind};

    use super::*;

    #[test]
    fn spans_that_find_the_queue_full_are_dropped_and_counted_and_nobody_waits() {
        // Takes connections into its backlog and never answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", silent.local_addr().expect("a bound listener has an address"));
        let variable = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
            "OTEL_BSP_MAX_QUEUE_SIZE" => Some("1".to_owned()),
            _ => None,
        };
        let settings = OtlpSettings::read(variable, "1").expect("valid").expect("an endpoint is named");
        let metrics = Arc::new(SpanMetrics::default());
        let exporter = Exporter::start(settings, "1", metrics.clone()).expect("it starts");
        let ids = Ids::random();
        for _ in 0..10 {
            exporter.take(Span {
                context: SpanContext::root(&ids, Sampling::On),
                parent: None,
                name: "x".to_owned(),
                kind: SpanKind::Internal,
                started: SystemTime::now(),
                took: Duration::ZERO,
                attributes: Vec::new(),
                failure: None,
            });
        }
        // One may be on its way and one waits.
        let full = metrics.losses().find(|(reason, _)| *reason == "queue_full").map(|(_, count)| count);
        assert!(full.is_some_and(|count| (8..=9).contains(&count)), "{full:?}");
    }
}
