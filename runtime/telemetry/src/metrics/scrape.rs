use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::breaches::Breaches;
use super::histogram::HistogramSnapshot;
use super::process::{ProcessSnapshot, seconds_since_epoch};
use super::worker::WorkerMetrics;

/// What [`Metrics::text`] is written in: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A queue as it was when the scrape asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Its name: in the config, and `name@mount` in a mounted project.
    pub queue: String,
    /// Messages: due, delayed and leased.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How long ago the oldest was sent.
    pub oldest: Option<Duration>,
}

/// What the process's queues hold, as far as could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queues {
    /// These are all.
    Known(Vec<QueueDepth>),
    /// They could not be read in time: their metrics are absent from the text, and `aerostack_queues_readable` is 0.
    Unreadable,
}

impl Metrics {
    /// Everything that is counted, as OpenMetrics text. Waits for nobody.
    pub fn text(self: &Arc<Self>, queues: Queues) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { metrics: self.clone(), queues }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes any text");
        text
    }
}

#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    queues: Queues,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        let workers: Vec<Arc<WorkerMetrics>> = self.metrics.workers().values().cloned().collect();
        write_workers(&mut page, &workers, &self.metrics.server_breaches)?;
        write_calls(&mut page, &self.metrics)?;
        write_events(&mut page, &self.metrics)?;
        write_queues(&mut page, &self.queues)?;
        write_process(&mut page, &self.metrics)
    }
}

/// Writes families: a head, then a line or more for each set of labels.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, values, |line, value| {
            line.encode_counter::<NoLabelSet, _, f64>(value, None)
        })
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method alone is not general over the encoder's lifetime"
        )]
        self.family(name, help, MetricType::Gauge, values, |line, value| line.encode_gauge(value))
    }

    fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, HistogramSnapshot)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, values, |line, value| {
            line.encode_histogram::<NoLabelSet>(value.sum_seconds(), value.count(), &value.buckets(), None)
        })
    }

    fn family<L: EncodeLabelSet, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = (L, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            write(&mut family.encode_family(&labels)?, &value)?;
        }
        Ok(())
    }

    fn gauge<V: EncodeGaugeValue>(&mut self, name: &str, help: &str, value: &V) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(value)
    }

    fn counter<V: EncodeCounterValue>(&mut self, name: &str, help: &str, value: &V) -> fmt::Result {
        let mut line = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        line.encode_counter::<NoLabelSet, _, f64>(value, None)
    }
}

fn write_workers(page: &mut Page<'_>, workers: &[Arc<WorkerMetrics>], server: &Breaches) -> fmt::Result {
    page.counters(
        "aerostack_requests",
        "Requests that ended, by the hundred of their status; canceled where the client left before there was an answer",
        workers.iter().flat_map(|worker| {
            worker.requests().map(|(status, count)| ([("worker", worker.name()), ("status", status)], count))
        }),
    )?;
    page.histograms(
        "aerostack_request_duration_seconds",
        "From a request's arrival to the head of its answer",
        workers.iter().map(|worker| ([("worker", worker.name())], worker.latency())),
    )?;
    page.gauges(
        "aerostack_requests_in_flight",
        "Requests whose answer has not begun",
        workers.iter().map(|worker| ([("worker", worker.name())], worker.requests_in_flight())),
    )?;
    page.counters(
        "aerostack_isolates_started",
        "Isolates that were loaded, at a start, at a reload and in place of a stopped one",
        workers.iter().map(|worker| ([("worker", worker.name())], worker.isolates_started_count())),
    )?;
    page.counters(
        "aerostack_isolates_replaced",
        "Isolates that were stopped at a limit and replaced",
        workers.iter().flat_map(|worker| {
            worker.isolates_replaced().map(|(limit, count)| ([("worker", worker.name()), ("reason", limit)], count))
        }),
    )?;
    page.counters(
        "aerostack_limit_breaches",
        "Limits that were broken, by their key in [limits]",
        workers
            .iter()
            .flat_map(|worker| worker.limit_breaches().into_iter().map(|count| (worker.name(), count)))
            // No worker: those of the server itself, which clients meet before they reach one.
            .chain(server.counts().into_iter().map(|count| ("", count)))
            .map(|(worker, (limit, count))| ([("worker", worker), ("limit", limit)], count)),
    )?;
    let running: Vec<_> = workers.iter().map(|worker| (worker.name(), worker.isolates_running())).collect();
    page.gauges(
        "aerostack_isolates",
        "Isolates that run, those of a replaced version until their work is done",
        running.iter().map(|(worker, (count, _))| ([("worker", *worker)], *count)),
    )?;
    page.gauges(
        "aerostack_isolate_heap_used_bytes",
        "JavaScript objects of a worker's isolates, as they last told",
        running.iter().map(|(worker, (_, memory))| ([("worker", *worker)], memory.heap_used)),
    )?;
    page.gauges(
        "aerostack_isolate_heap_committed_bytes",
        "What V8 took from the system for the heaps of a worker's isolates, as they last told",
        running.iter().map(|(worker, (_, memory))| ([("worker", *worker)], memory.heap_committed)),
    )?;
    page.gauges(
        "aerostack_isolate_external_bytes",
        "What JavaScript objects hold outside the heap, ArrayBuffers above all, as isolates last told",
        running.iter().map(|(worker, (_, memory))| ([("worker", *worker)], memory.external)),
    )
}

fn write_calls(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    page.counters(
        "aerostack_binding_calls",
        "Calls of bindings that ended; the outcome is ok or the kind of the error",
        metrics.calls.counts().into_iter().map(|([kind, operation, outcome], count)| {
            ([("kind", kind), ("operation", operation), ("outcome", outcome)], count)
        }),
    )?;
    page.histograms(
        "aerostack_binding_call_duration_seconds",
        "How long calls of bindings took",
        metrics
            .calls
            .latencies()
            .into_iter()
            .map(|([kind, operation], latency)| ([("kind", kind), ("operation", operation)], latency)),
    )
}

fn write_events(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    let tallied = |tally: &super::Tally| -> Vec<((Arc<str>, &'static str), u64)> {
        tally.lock().iter().map(|(labels, count)| (labels.clone(), *count)).collect()
    };
    page.counters(
        "aerostack_cron_runs",
        "Runs of scheduled handlers that ended",
        tallied(&metrics.cron_runs)
            .iter()
            .map(|((worker, outcome), count)| ([("worker", &**worker), ("outcome", outcome)], *count)),
    )?;
    page.counters(
        "aerostack_queue_batches",
        "Batches that queue handlers were given and whose messages are settled",
        tallied(&metrics.batches)
            .iter()
            .map(|((queue, outcome), count)| ([("queue", &**queue), ("outcome", outcome)], *count)),
    )?;
    page.counters(
        "aerostack_queue_messages",
        "What became of messages that queue handlers were given",
        tallied(&metrics.messages)
            .iter()
            .map(|((queue, outcome), count)| ([("queue", &**queue), ("outcome", outcome)], *count)),
    )
}

fn write_queues(page: &mut Page<'_>, queues: &Queues) -> fmt::Result {
    let readable: u64 = match queues {
        Queues::Known(_) => 1,
        Queues::Unreadable => 0,
    };
    page.gauge("aerostack_queues_readable", "Whether the queues could be read for this page", &readable)?;
    let Queues::Known(queues) = queues else { return Ok(()) };
    page.gauges(
        "aerostack_queue_depth",
        "Messages in a queue: due, delayed and leased",
        queues.iter().map(|queue| ([("queue", queue.queue.as_str())], queue.messages)),
    )?;
    page.gauges(
        "aerostack_queue_bytes",
        "Bytes of the bodies of the messages in a queue",
        queues.iter().map(|queue| ([("queue", queue.queue.as_str())], queue.bytes)),
    )?;
    page.gauges(
        "aerostack_queue_oldest_message_age_seconds",
        "How long ago the oldest message of a queue was sent; 0 for an empty one",
        queues.iter().map(|queue| ([("queue", queue.queue.as_str())], queue.oldest.unwrap_or_default().as_secs_f64())),
    )
}

fn write_process(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    page.counter("aerostack_spans_exported", "Spans that the collector took", &metrics.spans.exported_count())?;
    page.counters(
        "aerostack_spans_dropped",
        "Spans that the collector did not get",
        metrics.spans.losses().map(|(reason, count)| ([("reason", reason)], count)),
    )?;
    let unrouted = metrics.unrouted.load(Ordering::Relaxed);
    page.counter("aerostack_requests_unrouted", "Requests for paths where no worker is mounted", &unrouted)?;
    page.gauge("aerostack_connections", "Connections of clients that are open", &metrics.connections.open())?;
    page.counter("aerostack_connections_accepted", "Connections of clients that came", &metrics.connections.total())?;
    let mut info = page.0.encode_descriptor("aerostack_build", "The program", None, MetricType::Info)?;
    info.encode_info(&[("version", metrics.version)])?;

    let process = ProcessSnapshot::take();
    let started = seconds_since_epoch(metrics.started);
    page.gauge("process_start_time_seconds", "When the process began, seconds since the UNIX epoch", &started)?;
    if let Some(bytes) = process.resident_bytes {
        page.gauge("process_resident_memory_bytes", "Memory of the process that is in RAM", &bytes)?;
    }
    if let Some(bytes) = process.virtual_bytes {
        page.gauge("process_virtual_memory_bytes", "Memory that the process has addresses for", &bytes)?;
    }
    if let Some(count) = process.open_descriptors {
        page.gauge("process_open_fds", "File descriptors that are open", &count)?;
    }
    if let Some(count) = process.threads {
        page.gauge("process_threads", "Threads of the process", &count)?;
    }
    if let Some(cpu) = process.cpu {
        page.counter("process_cpu_seconds", "Time on the CPU, user and system", &cpu.as_secs_f64())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{CallCounter, EventOutcome, MessageOutcome};
    use super::*;

    #[test]
    fn everything_counted_is_on_the_page_under_its_labels() {
        let metrics = Metrics::new("1.2.3");
        metrics.worker("shop").request_began(0).answered(404, Duration::from_millis(3));
        CallCounter::new(metrics.calls().clone()).finished("cache", "get", "ok", Duration::from_micros(80));
        metrics.cron_ran(&"shop".into(), EventOutcome::Failed);
        metrics.messages_settled(&"jobs".into(), MessageOutcome::DeadLettered, 3);
        metrics.connections().opened();
        let depth = QueueDepth { queue: "jobs".into(), messages: 2, bytes: 9, oldest: Some(Duration::from_secs(5)) };
        let text = metrics.text(Queues::Known(vec![depth]));
        for line in [
            "aerostack_requests_total{worker=\"shop\",status=\"4xx\"} 1",
            "aerostack_request_duration_seconds_bucket{le=\"0.0025\",worker=\"shop\"} 0",
            "aerostack_request_duration_seconds_bucket{le=\"0.005\",worker=\"shop\"} 1",
            "aerostack_request_duration_seconds_bucket{le=\"+Inf\",worker=\"shop\"} 1",
            "aerostack_request_duration_seconds_count{worker=\"shop\"} 1",
            "aerostack_binding_calls_total{kind=\"cache\",operation=\"get\",outcome=\"ok\"} 1",
            "aerostack_cron_runs_total{worker=\"shop\",outcome=\"failed\"} 1",
            "aerostack_queue_messages_total{queue=\"jobs\",outcome=\"dead_lettered\"} 3",
            "aerostack_queue_depth{queue=\"jobs\"} 2",
            "aerostack_queue_oldest_message_age_seconds{queue=\"jobs\"} 5.0",
            "aerostack_connections 1",
            "aerostack_build_info{version=\"1.2.3\"} 1",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn queues_that_cannot_be_read_are_absent_and_not_zero() {
        let text = Metrics::new("1").text(Queues::Unreadable);
        assert!(text.contains("aerostack_queues_readable 0\n"), "{text}");
        assert!(!text.contains("aerostack_queue_depth"), "{text}");
    }
}
