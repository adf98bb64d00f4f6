//! Spans as a collector gets them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aerostack_tests::{Binary, TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::Value;

const CONFIG: &str = "name = \"shop\"\n[triggers]\ncrons = [\"0 0 1 1 *\"]\n\
                      [[queues.consumers]]\nqueue = \"local-queue\"\nmax_batch_timeout = 0\nmax_retries = 0\n";

const SHOP: &str = "export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === '/work') {
      await env.DB.prepare('SELECT 1').all();
      await env.CACHE.put('k', 'v');
      await env.DB.prepare('SELECT * FROM absent').all().catch(() => {});
      await (await fetch(searchParams.get('origin') + '/origin?token=hidden')).text();
      await fetch('http://127.0.0.1:1/').catch(() => {});
    }
    if (pathname === '/send') await env.QUEUE.send('x');
    if (pathname === '/throw') throw new Error('on purpose');
    return new Response(pathname);
  },
  async scheduled(event, env) { await env.CACHE.get('k'); if (event.cron === 'fail') throw new Error('no time') },
  async queue(batch, env) { await env.CACHE.get('k'); },
};";

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Stands in for a collector.
struct Collector {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Received>>>,
    /// What it answers.
    status: Arc<Mutex<&'static str>>,
}

struct Received {
    head: String,
    /// JSON; null for anything else.
    body: Value,
    bytes: Vec<u8>,
}

/// A span as it was received.
#[derive(Debug)]
struct Span(Value);

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test(
        "a request, its binding calls and its fetches are spans of the trace that was given",
        async || {
            let (collector, _project, served) = exported(&[]);
            let path = format!("/work?origin=http://{}", served.address);
            let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
            let headers = [("traceparent", traceparent.as_str())];
            assert_eq!(send(served.address, "GET", &path, &headers, b"").await.status, 200);
            // The origin is the worker itself: its request is a span of the same trace, below the fetch.
            let spans =
                collector.spans_when(|spans| spans.iter().filter(|span| span.name() == "GET /*").count() == 2).await;
            assert!(spans.iter().all(|span| span.text("traceId") == TRACE), "{spans:#?}");
            let find = |name: &str, path: &str| {
                let is_it =
                    |span: &&Span| span.name() == name && (path.is_empty() || span.attribute("url.path") == path);
                spans.iter().find(is_it).unwrap_or_else(|| panic!("no {name} {path} in {spans:#?}"))
            };
            let request = find("GET /*", "/work");
            assert_eq!((request.parent(), request.kind()), ("00f067aa0ba902b7", 2));
            assert_eq!(request.attribute("http.response.status_code"), "200");
            assert_eq!((request.attribute("aerostack.worker"), request.attribute("http.route")), ("shop", "/*"));
            assert!(!request.failed());
            let below: BTreeMap<String, usize> =
                spans.iter().filter(|span| span.parent() == request.id()).fold(BTreeMap::new(), |mut counts, span| {
                    *counts.entry(span.name().to_owned()).or_default() += 1;
                    counts
                });
            let expected = [("GET", 2), ("cache put", 1), ("database run", 2)];
            assert_eq!(below, expected.map(|(name, count)| (name.to_owned(), count)).into());
            let failed: Vec<&str> =
                spans.iter().filter(|span| span.name() == "database run" && span.failed()).map(Span::error).collect();
            assert_eq!(failed, ["invalid_input"]);
            let fetches: Vec<&Span> = spans.iter().filter(|span| span.name() == "GET").collect();
            let (worked, refused): (Vec<&Span>, Vec<&Span>) = fetches.into_iter().partition(|span| !span.failed());
            assert_eq!((worked.len(), refused.len()), (1, 1));
            assert_eq!(
                worked[0].attribute("url.full"),
                format!("http://{}/origin", served.address),
                "without the query"
            );
            assert_eq!((worked[0].kind(), worked[0].attribute("http.response.status_code")), (3, "200"));
            assert_eq!(refused[0].attribute("server.port"), "1");
            assert_eq!(find("GET /*", "/origin").parent(), worked[0].id());
            for span in &spans {
                assert!(span.text("startTimeUnixNano") <= span.text("endTimeUnixNano"), "{span:?}");
            }
        },
    ));

    trials.push(test(
        "a request without a trace begins one; one whose client does not sample is not exported",
        async || {
            let (collector, _project, served) = exported(&[]);
            let unsampled = format!("00-{TRACE}-00f067aa0ba902b7-00");
            send(served.address, "GET", "/", &[("traceparent", unsampled.as_str())], b"").await;
            get(served.address, "/throw").await;
            let spans = collector.spans_when(|spans| !spans.is_empty()).await;
            assert_eq!(spans.len(), 1, "{spans:#?}");
            assert_eq!((spans[0].attribute("url.path"), spans[0].parent()), ("/throw", ""));
            assert!(spans[0].failed() && spans[0].error() == "status 500", "{spans:#?}");
        },
    ));

    trials.push(test("cron runs and batches are traces of their own, with what they call below", async || {
        let (collector, _project, served) = exported(&[]);
        get(served.address, "/cdn-cgi/handler/scheduled?cron=fail").await;
        get(served.address, "/send").await;
        let spans = collector
            .spans_when(|spans| {
                ["scheduled", "process local-queue"].iter().all(|name| spans.iter().any(|span| span.name() == *name))
            })
            .await;
        for (name, kind, attribute, value, failure) in [
            ("scheduled", 1, "faas.cron", "fail", Some("no time")),
            ("process local-queue", 5, "messaging.batch.message_count", "1", None),
        ] {
            let event = spans.iter().find(|span| span.name() == name).expect(name);
            assert_eq!((event.parent(), event.kind(), event.attribute(attribute)), ("", kind, value), "{event:?}");
            assert_eq!(event.failed(), failure.is_some());
            assert!(event.error().contains(failure.unwrap_or_default()), "{event:?}");
            let call = spans.iter().find(|span| span.parent() == event.id()).unwrap_or_else(|| panic!("{spans:#?}"));
            assert_eq!((call.name(), call.text("traceId")), ("cache get", event.text("traceId")));
        }
    }));

    trials.push(test(
        "the standard variables say what the spans are of and with which headers they are sent",
        async || {
            let variables = [
                ("OTEL_SERVICE_NAME", "the-shop"),
                ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20secret"),
            ];
            let (collector, _project, served) = exported(&variables);
            served.wait_for(&format!("traces go to http://{}/v1/traces", collector.address));
            get(served.address, "/").await;
            collector.spans_when(|spans| !spans.is_empty()).await;
            let requests = collector.requests();
            let head = requests[0].head.to_lowercase();
            assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
            assert!(
                head.contains("x-key: a secret\r\n") && head.contains("content-type: application/json\r\n"),
                "{head}"
            );
            let resource = requests[0].body["resourceSpans"][0]["resource"]["attributes"].to_string();
            assert!(resource.contains("the-shop") && resource.contains("deployment.environment.name"), "{resource}");
            assert!(!served.output().contains("secret"), "{}", served.output());
        },
    ));

    trials.push(test("spans are sent as protobuf where the standard variables ask for it", async || {
        let (collector, _project, served) = exported(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]);
        let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        send(served.address, "GET", "/", &[("traceparent", traceparent.as_str())], b"").await;
        collector.wait_for_requests(1).await;
        let requests = collector.requests();
        let head = requests[0].head.to_lowercase();
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        let holds = |part: &[u8]| requests[0].bytes.windows(part.len()).any(|window| window == part);
        let trace = u128::from_str_radix(TRACE, 16).expect("hexadecimal digits").to_be_bytes();
        assert!(holds(&trace) && holds(b"GET /*") && holds(b"service.name"), "{:?}", requests[0].bytes);
    }));

    trials.push(test("the last spans are sent before the process ends", async || {
        let (collector, _project, mut served) = exported(&[("OTEL_BSP_SCHEDULE_DELAY", "600000")]);
        get(served.address, "/").await;
        served.signal("TERM");
        assert!(served.wait(), "{}", served.output());
        assert_eq!(collector.spans().len(), 1);
    }));

    trials.push(test(
        "a collector that is away costs no request, is told once, and again when it is back",
        async || {
            let (collector, _project, served) = exported(&[]);
            collector.answer_with("503 Service Unavailable");
            for _ in 0..3 {
                let seen = collector.requests().len();
                assert_eq!(get(served.address, "/").await.status, 200);
                collector.wait_for_requests(seen + 1).await;
            }
            served.wait_for("spans cannot be exported and are dropped until they can");
            collector.answer_with("200 OK");
            get(served.address, "/").await;
            served.wait_for("spans are exported again");
            assert_eq!(served.output().matches("spans cannot be exported").count(), 1, "{}", served.output());
            let page = get(served.address, "/_aerostack/metrics").await.text();
            let dropped =
                page.lines().find(|line| line.starts_with("aerostack_spans_dropped_total{reason=\"export_failed\"}"));
            assert!(dropped.is_some_and(|line| line.ends_with(" 3")), "{dropped:?}");
        },
    ));

    trials.push(test("a wrong variable is an error at the start that names it", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SHOP)]);
        let run = project.run_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")], &["dev", "--port", "0"]);
        assert!(
            !run.succeeded && run.stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT is \"localhost:4318/v1/traces\""),
            "{run:?}"
        );
    }));
}

/// The project, exporting to a collector at once.
fn exported(variables: &[(&str, &str)]) -> (Collector, TestProject, Binary) {
    let collector = Collector::start();
    let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SHOP)]);
    let endpoint = format!("http://{}", collector.address);
    let mut environment = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        // The tests read it; that it says the same as protobuf is tested where both are written.
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
    ];
    environment.extend(variables);
    let served = project.dev_in(&environment, &[]);
    (collector, project, served)
}

impl Collector {
    /// On a thread of its own: a test that waits for the binary must not keep it from answering. The thread ends with the tests.
    fn start() -> Self {
        let (requests, status) = (Arc::default(), Arc::new(Mutex::new("200 OK")));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let collector = Self { address, requests: Arc::clone(&requests), status: Arc::clone(&status) };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (requests, status) = (Arc::clone(&requests), Arc::clone(&status));
                std::thread::spawn(move || take(stream, &requests, &status));
            }
        });
        collector
    }

    fn answer_with(&self, status: &'static str) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, Vec<Received>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.requests();
        let spans =
            requests.iter().filter_map(|request| request.body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array());
        spans.flatten().cloned().map(Span).collect()
    }

    async fn spans_when(&self, complete: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        self.until(|| Some(self.spans()).filter(|spans| complete(spans))).await
    }

    async fn wait_for_requests(&self, count: usize) {
        self.until(|| (self.requests().len() >= count).then_some(())).await;
    }

    async fn until<T>(&self, look: impl Fn() -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = look() {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), found).await;
        found.unwrap_or_else(|_| panic!("the collector got {:#?}", self.spans()))
    }
}

/// Answers requests on one connection until it closes.
fn take(mut stream: TcpStream, requests: &Mutex<Vec<Received>>, status: &Mutex<&'static str>) {
    let mut arrived = Vec::new();
    loop {
        let head_end = arrived.windows(4).position(|window| window == b"\r\n\r\n");
        let complete = head_end.and_then(|end| {
            let head = String::from_utf8_lossy(&arrived[..end + 2]).into_owned();
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1)?.split('\r').next()?.parse::<usize>().ok()?;
            let body = arrived.get(end + 4..end + 4 + length)?;
            Some((head, body.to_vec(), end + 4 + length))
        });
        let Some((head, bytes, used)) = complete else {
            let mut chunk = [0; 4096];
            if let Ok(read @ 1..) = stream.read(&mut chunk) {
                arrived.extend_from_slice(&chunk[..read]);
                continue;
            }
            return;
        };
        arrived.drain(..used);
        requests.lock().unwrap_or_else(PoisonError::into_inner).push(Received {
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            head,
            bytes,
        });
        let status = *status.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

impl Span {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.text("name")
    }

    fn id(&self) -> &str {
        self.text("spanId")
    }

    /// Empty for a root.
    fn parent(&self) -> &str {
        self.text("parentSpanId")
    }

    fn kind(&self) -> u64 {
        self.0["kind"].as_u64().unwrap_or_default()
    }

    /// As text; empty where there is none.
    fn attribute(&self, key: &str) -> &str {
        let attributes = self.0["attributes"].as_array().into_iter().flatten();
        let value =
            attributes.into_iter().find(|attribute| attribute["key"] == key).map(|attribute| &attribute["value"]);
        value.and_then(|value| value["stringValue"].as_str().or(value["intValue"].as_str())).unwrap_or_default()
    }

    fn failed(&self) -> bool {
        self.0["status"]["code"] == 2
    }

    fn error(&self) -> &str {
        self.0["status"]["message"].as_str().unwrap_or_default()
    }
}
