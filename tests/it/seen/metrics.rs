//! `/_aerostack/metrics`: exact differences over known traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use aerostack_server::ClientLimits;
use aerostack_tests::{Connection, TestProject, TestServer, WorkerSetup, get, send, test};
use libtest_mimic::Trial;

const CONFIG: &str = "name = \"shop\"\n";

const SHOP: &str = "export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === '/rows') { await env.DB.prepare('SELECT 1').all(); await env.DB.prepare('SELECT 2').all(); }
    if (pathname === '/get') await env.CACHE.get('x');
    if (pathname === '/store') await env.STORAGE.put('large', new Blob(['x'.repeat(300_000)]));
    if (pathname === '/load') await (await env.STORAGE.get('large')).text();
    if (pathname === '/break') {
      const { readable, writable } = new FixedLengthStream(10);
      const broken = env.STORAGE.put('broken', readable).catch(() => {});
      await writable.abort(new Error('on purpose'));
      await broken;
    }
    if (pathname === '/bad') await env.DB.prepare('SELECT * FROM absent').all().catch(() => {});
    if (pathname === '/throw') throw new Error('on purpose');
    return new Response(pathname, { status: pathname === '/missing' ? 404 : 200 });
  },
};";

/// A page of metrics: each sample by its name with labels.
struct Page(BTreeMap<String, f64>);

pub(super) fn trials(trials: &mut Vec<Trial>) {
    requests(trials);
    isolates(trials);
    background(trials);
}

fn requests(trials: &mut Vec<Trial>) {
    trials.push(test("a scrape counts known traffic exactly: requests, latencies, binding calls", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SHOP)]);
        let served = project.dev();
        let before = Page::of(served.address).await;
        for (path, times) in [
            ("/rows", 3),
            ("/get", 2),
            ("/bad", 1),
            ("/missing", 4),
            ("/throw", 1),
            ("/store", 2),
            ("/load", 1),
            ("/break", 1),
        ] {
            for _ in 0..times {
                get(served.address, path).await;
            }
        }
        let after = Page::of(served.address).await;
        let grown = after.grown_since(&before, &["aerostack_requests_total", "aerostack_binding_calls_total"]);
        let expected = [
            (r#"aerostack_binding_calls_total{kind="cache",operation="get",outcome="ok"}"#, 2),
            (r#"aerostack_binding_calls_total{kind="database",operation="run",outcome="invalid_input"}"#, 1),
            (r#"aerostack_binding_calls_total{kind="database",operation="run",outcome="ok"}"#, 6),
            (r#"aerostack_binding_calls_total{kind="storage",operation="get",outcome="ok"}"#, 1),
            (r#"aerostack_binding_calls_total{kind="storage",operation="put",outcome="cancelled"}"#, 1),
            (r#"aerostack_binding_calls_total{kind="storage",operation="put",outcome="ok"}"#, 2),
            (r#"aerostack_requests_total{worker="shop",status="2xx"}"#, 10),
            (r#"aerostack_requests_total{worker="shop",status="4xx"}"#, 4),
            (r#"aerostack_requests_total{worker="shop",status="5xx"}"#, 1),
        ];
        for (name, count) in expected {
            assert_eq!(grown.get(name), Some(&count), "{name} in {grown:#?}");
        }
        assert_eq!(grown.len(), expected.len(), "nothing else was counted: {grown:#?}");
        assert_eq!(after.count(r#"aerostack_request_duration_seconds_count{worker="shop"}"#), 15);
        assert_eq!(after.count(r#"aerostack_request_duration_seconds_bucket{le="+Inf",worker="shop"}"#), 15);
        assert!(after.value(r#"aerostack_request_duration_seconds_sum{worker="shop"}"#) > 0.0);
        let calls = r#"aerostack_binding_call_duration_seconds_count{kind="database",operation="run"}"#;
        assert_eq!(after.count(calls), 7);
    }));

    trials.push(test("a scrape is OpenMetrics text: every sample has a type, and none comes twice", async || {
        let server = TestServer::start("export default { fetch: () => new Response('x') }").await;
        get(server.address, "/").await;
        let answer = get(server.address, "/_aerostack/metrics").await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", answer.head);
        let text = answer.text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let mut families = BTreeSet::new();
        let mut samples = BTreeSet::new();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(kind.split(' ').next().expect("a name").to_owned()), "{line} comes twice");
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').expect("a sample has a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(samples.insert(sample.to_owned()), "{line} comes twice");
                let name = sample.split('{').next().expect("a name");
                let family =
                    ["_total", "_bucket", "_sum", "_count", "_info"].iter().find_map(|end| name.strip_suffix(end));
                assert!(families.contains(name) || family.is_some_and(|family| families.contains(family)), "{line}");
            }
        }
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
            assert!(samples.contains(name), "{name} in {samples:?}");
        }
    }));

    trials.push(test("a request is in flight until it is answered, and canceled when its client leaves", async || {
        let source = "export default { async fetch() { console.log('began'); await scheduler.wait(600_000); return new Response('x') } }";
        let server = TestServer::start(source).await;
        let in_flight = r#"aerostack_requests_in_flight{worker="test"}"#;
        assert_eq!(Page::of(server.address).await.count(in_flight), 0);
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        server.worker.log.wait_for("began").await;
        let page = Page::of(server.address).await;
        assert_eq!(page.count(in_flight), 1);
        assert_eq!(page.count("aerostack_connections"), 2, "the held one and that of the scrape");
        drop(connection);
        let page = Page::when(server.address, |page| page.count(in_flight) == 0).await;
        assert_eq!(page.count(r#"aerostack_requests_total{worker="test",status="canceled"}"#), 1);
    }));

    trials.push(test("a request for no worker and a body that is too long are counted", async || {
        let limits = ClientLimits { body_bytes: 10, ..ClientLimits::default() };
        let project = TestProject::new(&[
            (
                "aerostack.toml",
                "name = \"x\"\n[[functions]]\nname = \"shop\"\nmain = \"src/shop.ts\"\nroute = \"/shop/*\"\n",
            ),
            ("src/shop.ts", "export default { fetch: () => new Response('x') }"),
        ]);
        let served = project.dev();
        assert_eq!(get(served.address, "/shop/").await.status, 200);
        assert_eq!(get(served.address, "/elsewhere").await.status, 404);
        let page = Page::of(served.address).await;
        assert_eq!(page.count(r#"aerostack_requests_total{worker="shop",status="2xx"}"#), 1);
        assert_eq!(page.count(r#"aerostack_requests_total{worker="shop",status="4xx"}"#), 0);
        assert_eq!(page.count("aerostack_requests_unrouted_total"), 1);

        let server = TestServer::of(WorkerSetup::of("export default { fetch: () => new Response('x') }"), limits).await;
        assert_eq!(send(server.address, "POST", "/", &[], b"longer than ten").await.status, 413);
        let page = Page::of(server.address).await;
        assert_eq!(page.count(r#"aerostack_limit_breaches_total{worker="",limit="request_body_mb"}"#), 1);
        assert_eq!(page.count(r#"aerostack_requests_total{worker="test",status="4xx"}"#), 1);
    }));
}

fn isolates(trials: &mut Vec<Trial>) {
    trials.push(test(
        "an isolate that is replaced is counted with its reason, a wall time limit without",
        async || {
            let source = "const kept = []; export default { fetch(request) { \
                      if (request.url.endsWith('/loop')) for (;;) {} \
                      if (request.url.endsWith('/eat')) for (;;) kept.push(new Array(10_000).fill(1.5)); \
                      if (request.url.endsWith('/wait')) return scheduler.wait(600_000); \
                      return new Response('x') } }";
            let setup = WorkerSetup::of(source).limits(|limits| {
                limits.cpu = Duration::from_millis(500);
                limits.heap_bytes = 32 * 1024 * 1024;
                limits.wall = Some(Duration::from_secs(2));
            });
            let server = TestServer::of(setup, ClientLimits::default()).await;
            for path in ["/loop", "/loop", "/eat", "/wait"] {
                assert_eq!(get(server.address, path).await.status, 503, "{path}");
            }
            assert_eq!(get(server.address, "/").await.text(), "x");
            let page = Page::of(server.address).await;
            let breaches = |limit: &str| {
                page.count(&format!(r#"aerostack_limit_breaches_total{{worker="test",limit="{limit}"}}"#))
            };
            let replaced = |limit: &str| {
                page.count(&format!(r#"aerostack_isolates_replaced_total{{worker="test",reason="{limit}"}}"#))
            };
            assert_eq!((breaches("cpu_ms"), breaches("memory_mb"), breaches("wall_ms")), (2, 1, 1));
            assert_eq!((replaced("cpu_ms"), replaced("memory_mb"), replaced("array_buffer_mb")), (2, 1, 0));
            assert_eq!(page.count(r#"aerostack_isolates_started_total{worker="test"}"#), 4);
            assert_eq!(page.count(r#"aerostack_isolates{worker="test"}"#), 1);
        },
    ));

    trials.push(test(
        "the heap and the ArrayBuffers that a worker holds are seen, and a scrape waits for no isolate",
        async || {
            let source = "const kept = []; export default { fetch(request) { \
                      if (request.url.endsWith('/loop')) { console.log('looping'); for (;;) {} } \
                      kept.push(new Uint8Array(8 * 1024 * 1024)); for (let i = 0; i < 100_000; i++) kept.push({ i }); \
                      return new Response('x') } }";
            let setup = WorkerSetup::of(source).limits(|limits| limits.cpu = Duration::from_secs(3));
            let server = TestServer::of(setup, ClientLimits::default()).await;
            let (heap, external) = (
                r#"aerostack_isolate_heap_used_bytes{worker="test"}"#,
                r#"aerostack_isolate_external_bytes{worker="test"}"#,
            );
            let before = Page::of(server.address).await;
            assert!(before.value(heap) > 0.0, "told at the start");
            get(server.address, "/").await;
            Page::when(server.address, |page| {
                page.value(external) >= 8.0 * 1024.0 * 1024.0 && page.value(heap) > before.value(heap) + 1_000_000.0
            })
            .await;
            let mut connection = Connection::open(server.address).await;
            connection.write_get("/loop").await;
            server.worker.log.wait_for("looping").await;
            for _ in 0..10 {
                Page::of(server.address).await;
            }
            assert_eq!(server.worker.log.lines().len(), 1, "the loop still runs");
            assert_eq!(connection.answer().await.status, 503);
        },
    ));
}

fn background(trials: &mut Vec<Trial>) {
    trials.push(test("cron runs, batches, messages and what is left in queues are counted", async || {
        let config = "name = \"shop\"\n[triggers]\ncrons = [\"0 0 1 1 *\"]\n\
                      [[queues.consumers]]\nqueue = \"local-queue\"\nmax_batch_timeout = 0\nmax_retries = 1\nretry_delay = 0\n\
                      dead_letter_queue = \"dead\"\n";
        let source = "export default {
          async fetch(request, env) { await env.QUEUE.sendBatch([{ body: 'good' }, { body: 'bad' }]); return new Response('sent') },
          scheduled(event) { if (event.cron === 'fail') throw new Error('on purpose') },
          queue(batch) { for (const message of batch.messages) message.body === 'bad' ? message.retry() : message.ack() },
        };";
        let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", source)]);
        let served = project.dev();
        for (path, status) in [("?cron=1", 200), ("?cron=2", 200), ("?cron=fail", 500)] {
            let answer = get(served.address, &format!("/cdn-cgi/handler/scheduled{path}")).await;
            assert_eq!(answer.status == 200, status == 200, "{path}: {}", answer.text());
        }
        assert_eq!(get(served.address, "/").await.text(), "sent");
        let settled = |outcome: &str| format!(r#"aerostack_queue_messages_total{{queue="local-queue",outcome="{outcome}"}}"#);
        let depth = |queue: &str| format!(r#"aerostack_queue_depth{{queue="{queue}"}}"#);
        // What a batch came to is counted before the queue's file says so.
        let is_through = |page: &Page| {
            page.counted(&settled("dead_lettered")) == Some(1) && page.counted(&depth("local-queue")) == Some(0)
        };
        let page = Page::when(served.address, is_through).await;
        assert_eq!(page.count(&settled("acked")), 1);
        assert_eq!(page.count(&settled("retried")), 1);
        assert_eq!(page.count(r#"aerostack_cron_runs_total{worker="shop",outcome="ok"}"#), 2);
        assert_eq!(page.count(r#"aerostack_cron_runs_total{worker="shop",outcome="failed"}"#), 1);
        assert!(page.count(r#"aerostack_queue_batches_total{queue="local-queue",outcome="ok"}"#) >= 2);
        assert_eq!(page.count("aerostack_queues_readable"), 1);
        assert_eq!(page.count(&depth("dead")), 1);
        assert_eq!(page.count(r#"aerostack_queue_bytes{queue="dead"}"#), "\"bad\"".len() as u64);
        let age = page.value(r#"aerostack_queue_oldest_message_age_seconds{queue="dead"}"#);
        assert!((0.0..600.0).contains(&age), "{age}");
    }));

    trials.push(test("a scrape makes no file in a project whose queues nobody uses", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "export default { fetch: () => new Response('x') }"),
        ]);
        let served = project.dev();
        Page::of(served.address).await;
        assert!(!project.path().join(".aerostack/queue").exists());
    }));
}

impl Page {
    async fn of(address: SocketAddr) -> Self {
        let answer = get(address, "/_aerostack/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().expect("a number")))
        };
        Self(answer.text().lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// Scrapes until the page is as wanted.
    async fn when(address: SocketAddr, wanted: impl Fn(&Self) -> bool) -> Self {
        let scraped = async {
            loop {
                let page = Self::of(address).await;
                if wanted(&page) {
                    return page;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), scraped).await.expect("the page changes in time")
    }

    fn get(&self, sample: &str) -> Option<f64> {
        self.0.get(sample).copied()
    }

    fn value(&self, sample: &str) -> f64 {
        self.get(sample).unwrap_or_else(|| panic!("no {sample} in {:#?}", self.0))
    }

    fn counted(&self, sample: &str) -> Option<u64> {
        self.get(sample).map(|value| value as u64)
    }

    /// A sample that is a whole number.
    fn count(&self, sample: &str) -> u64 {
        self.value(sample) as u64
    }

    /// Samples of these families that are not what they were, and by how much.
    fn grown_since(&self, before: &Self, families: &[&str]) -> BTreeMap<String, u64> {
        let grown = |(name, value): (&String, &f64)| (name.clone(), *value as u64 - before.counted(name).unwrap_or(0));
        let of_families = self.0.iter().filter(|(name, _)| families.iter().any(|family| name.starts_with(family)));
        of_families.map(grown).filter(|(_, growth)| *growth != 0).collect()
    }
}
