//! The limits of a worker: what is stopped says which limit and which key; everything else goes on.

use std::path::PathBuf;
use std::time::Duration;

use aerostack_isolate::Breach;
use aerostack_server::ClientLimits;
use aerostack_tests::{Binary, Connection, TestProject, TestServer, TestWorker, WorkerSetup, get, test};
use libtest_mimic::Trial;

/// `/` counts calls in module state; the other paths break one limit each.
const WORKER: &str = "let calls = 0;
export default {
  async fetch(request, env, ctx) {
    const path = new URL(request.url).pathname;
    if (path === '/cpu') for (;;) {}
    if (path === '/heap') { const kept = []; for (;;) kept.push({ at: kept.length }); }
    if (path === '/buffers') { const kept = []; for (;;) kept.push(new Uint8Array(1 << 20)); }
    if (path === '/wall') await new Promise((done) => setTimeout(done, 600_000));
    if (path === '/wait') { console.log('waiting'); await new Promise((done) => setTimeout(done, 600_000)); }
    if (path === '/stream') return new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('first')); setTimeout(() => c.close(), 600_000) } }));
    if (path === '/database') return Response.json(await env.DB.prepare('SELECT 1 AS one').first());
    return new Response(String(++calls));
  },
};
";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("a WebAssembly memory grows to 128 MiB and no further, and says so to the module", async || {
        let worker = TestWorker::start(
            "export default { fetch() {
                const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
                try { for (;;) memory.grow(16); } catch (error) {
                    return Response.json({ name: error.name, mebibytes: memory.buffer.byteLength / 1048576 });
                }
            } }",
        )
        .await;
        let answer = worker.get("/").await.json();
        assert_eq!(answer["name"], "RangeError");
        let mebibytes = answer["mebibytes"].as_f64().expect("a number");
        assert!((127.0..=128.0).contains(&mebibytes), "{mebibytes}");
    }));

    for (path, status, text) in [
        ("/cpu", 503, "Worker test exceeded CPU limit 100 ms: raise limits.cpu_ms\n"),
        ("/heap", 503, "Worker test exceeded memory limit 48 MB: raise limits.memory_mb\n"),
        ("/wall", 503, "Worker test exceeded wall time limit 300 ms: raise limits.wall_ms\n"),
    ] {
        trials.push(test(
            &format!("the answer to {path} names the limit and the key that raises it"),
            async move || {
                let server = limited(path).await;
                let answer = get(server.address, path).await;
                assert_eq!((answer.status, answer.text().as_str()), (status, text));
                assert_eq!(get(server.address, "/").await.status, 200);
            },
        ));
    }

    trials.push(test("the answer to a browser names the limit too, on a page", async || {
        let server = limited("/cpu").await;
        let headers = [("accept", "text/html")];
        let answer = aerostack_tests::send(server.address, "GET", "/cpu", &headers, b"").await;
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("text/html"), "{}", answer.head);
        assert!(answer.text().contains("exceeded CPU limit 100 ms: raise limits.cpu_ms"), "{}", answer.text());
    }));

    trials.push(test("array buffers over the quota are refused with a text that names the key", async || {
        let server = limited("/buffers").await;
        for _ in 0..3 {
            // V8 either throws a RangeError or, when buffers fill what it counts as the heap, gives up.
            let answer = get(server.address, "/buffers").await;
            let text = answer.text();
            let thrown = answer.status == 500 && text.contains("RangeError: Array buffer allocation failed");
            let stopped = answer.status == 503 && text.contains("exceeded ArrayBuffer limit 16 MB");
            assert!((thrown || stopped) && text.contains("limits.array_buffer_mb"), "{} {text}", answer.status);
            assert_eq!(get(server.address, "/").await.status, 200);
        }
    }));

    trials.push(test("a wall limit ends the request and leaves the isolate and its state", async || {
        let server = limited("/wall").await;
        assert_eq!(get(server.address, "/").await.text(), "1");
        assert_eq!(get(server.address, "/wall").await.status, 503);
        assert_eq!(get(server.address, "/").await.text(), "2");
    }));

    trials.push(test("a stopped isolate is replaced by a new one with fresh module state", async || {
        let server = limited("/cpu").await;
        assert_eq!(get(server.address, "/").await.text(), "1");
        assert_eq!(get(server.address, "/").await.text(), "2");
        assert_eq!(get(server.address, "/cpu").await.status, 503);
        assert_eq!(get(server.address, "/").await.text(), "1");
    }));

    trials.push(test("connections outlive the isolate that was stopped under them, the guilty one too", async || {
        let server = limited("/cpu").await;
        let mut neighbour = Connection::open(server.address).await;
        let mut guilty = Connection::open(server.address).await;
        assert_eq!(neighbour.get("/").await.text(), "1");
        for path in ["/cpu", "/heap", "/cpu"] {
            assert_eq!(guilty.get(path).await.status, 503);
            assert_eq!(neighbour.get("/").await.text(), "1");
            assert_eq!(guilty.get("/").await.text(), "2");
        }
    }));

    trials.push(test("requests in flight in a stopped isolate are told why", async || {
        let server = limited("/cpu").await;
        let mut waiting = Connection::open(server.address).await;
        waiting.write_get("/wait").await;
        server.worker.log.wait_for("waiting").await;
        let mut streaming = Connection::open(server.address).await;
        streaming.write_get("/stream").await;
        streaming.head().await;
        assert_eq!(streaming.chunk().await, b"first");
        assert_eq!(get(server.address, "/cpu").await.status, 503);
        let answer = waiting.answer().await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (503, "Worker test exceeded CPU limit 100 ms: raise limits.cpu_ms\n")
        );
        // What has begun cannot be answered any more: the client sees that the body is cut off.
        assert!(streaming.rest().await.is_empty());
        assert_eq!(waiting.get("/").await.text(), "1");
    }));

    trials.push(test(
        "requests that arrive while an isolate is stuck are answered by it or by its successor",
        async || {
            let server = limited("/cpu").await;
            let mut stuck = Connection::open(server.address).await;
            let mut others = Vec::new();
            for _ in 0..5 {
                others.push(Connection::open(server.address).await);
            }
            stuck.write_get("/cpu").await;
            for other in &mut others {
                other.write_get("/database").await;
            }
            assert_eq!(stuck.answer().await.status, 503);
            for other in &mut others {
                let answer = other.answer().await;
                assert!(
                    answer.status == 200 || answer.text().contains("exceeded CPU limit"),
                    "{} {}",
                    answer.status,
                    answer.text()
                );
                assert_eq!(other.get("/database").await.text(), r#"{"one":1}"#);
            }
        },
    ));

    trials.push(test("of two isolates only the stuck one is replaced", async || {
        let mut setup = WorkerSetup::of(
            "const id = crypto.randomUUID(); export default { fetch(request) { \
             if (request.url.endsWith('/cpu')) for (;;) {} return new Response(id) } }",
        )
        .limits(|limits| limits.cpu = Duration::from_millis(100));
        setup.isolates = 2;
        let server = TestServer::of(setup, ClientLimits::default()).await;
        let mut first = Connection::open(server.address).await;
        let mut second = Connection::open(server.address).await;
        let before = (first.get("/").await.text(), second.get("/").await.text());
        assert_ne!(before.0, before.1);
        first.write_get("/cpu").await;
        assert_eq!(second.get("/").await.text(), before.1);
        assert_eq!(first.answer().await.status, 503);
        assert_ne!(first.get("/").await.text(), before.0);
        assert_eq!(second.get("/").await.text(), before.1);
    }));

    trials.push(test("time spent waiting is not time on the CPU", async || {
        let source = "export default { async fetch() { for (let i = 0; i < 10; i++) await scheduler.wait(20); return new Response('done') } }";
        let setup = WorkerSetup::of(source).limits(|limits| limits.cpu = Duration::from_millis(50));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        assert_eq!(get(server.address, "/").await.text(), "done");
    }));

    trials.push(test(
        "where an isolate cannot be stopped, all who wait for it are told why and another takes over",
        async || {
            let source = "export default {
            async fetch(request) {
                if (request.url.endsWith('/stuck')) return new Response(new Array(5e8).fill(1).length);
                if (request.url.endsWith('/wait')) { console.log('waiting'); await scheduler.wait(600_000); }
                return new Response('answered');
            },
            async scheduled() { console.log('scheduled'); await scheduler.wait(600_000); },
        }";
            let setup = WorkerSetup::of(source).limits(|limits| limits.heap_bytes = 48 * 1024 * 1024);
            let server = TestServer::of(setup, ClientLimits::default()).await;
            let mut idle = Connection::open(server.address).await;
            assert_eq!(idle.get("/").await.text(), "answered");
            let mut waiting = Connection::open(server.address).await;
            waiting.write_get("/wait").await;
            server.worker.log.wait_for("waiting").await;
            let event = async {
                let report = server.worker.scheduled("* * * * *", 0).await;
                assert!(report.begun && report.outcome.is_err(), "{report:?}");
            };
            let stuck = async {
                server.worker.log.wait_for("scheduled").await;
                let answer = get(server.address, "/stuck").await;
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (503, "the worker exceeded memory limit 48 MB: raise limits.memory_mb\n")
                );
            };
            tokio::join!(event, stuck);
            assert_eq!(waiting.answer().await.status, 503);
            assert!(idle.rest().await.is_empty(), "an idle connection is closed");
            assert_eq!(get(server.address, "/").await.text(), "answered");
            assert_eq!(server.worker.breaches.count(Breach::Memory), 1);
        },
    ));

    for path in ["/cpu", "/heap"] {
        trials.push(test(
            &format!("twenty times {path} in a row end neither the process nor leak threads or memory"),
            async move || {
                let project = TestProject::new(&[
                    ("aerostack.toml", "name = \"limited\"\n[limits]\ncpu_ms = 2000\nmemory_mb = 32\n"),
                    ("src/index.ts", &format!("// @ts-nocheck\n{WORKER}")),
                ]);
                if path == "/cpu" {
                    project.write("aerostack.toml", "name = \"limited\"\n[limits]\ncpu_ms = 50\n");
                }
                let served = project.dev();
                assert_eq!(get(served.address, "/database").await.text(), r#"{"one":1}"#);
                let mut after_first = (0, 0);
                for round in 0..20 {
                    let answer = get(served.address, path).await;
                    assert_eq!(answer.status, 503, "round {round}: {}", answer.text());
                    assert_eq!(get(served.address, "/").await.text(), "1", "round {round}");
                    assert_eq!(get(served.address, "/database").await.text(), r#"{"one":1}"#);
                    if round == 0 {
                        after_first = threads_and_resident(&served);
                    }
                }
                let after_all = threads_and_resident(&served);
                assert!(after_all.0 <= after_first.0 + 4, "threads: {} -> {}", after_first.0, after_all.0);
                assert!(after_all.1 <= after_first.1 + 150, "resident MiB: {} -> {}", after_first.1, after_all.1);
            },
        ));
    }
}

/// A server whose limits are low where `path` needs them low.
async fn limited(path: &str) -> TestServer {
    let setup = WorkerSetup::of(WORKER).limits(|limits| {
        // Where memory or waiting is the point, the time on the CPU must not run out first.
        limits.cpu = Duration::from_millis(if path == "/cpu" { 100 } else { 20_000 });
        limits.wall = Some(Duration::from_millis(if path == "/wall" { 300 } else { 60_000 }));
        limits.heap_bytes = 48 * 1024 * 1024;
        limits.array_buffer_bytes = 16 * 1024 * 1024;
    });
    TestServer::of(setup, ClientLimits::default()).await
}

/// Threads and resident MiB of the process.
fn threads_and_resident(served: &Binary) -> (usize, usize) {
    let status = PathBuf::from(format!("/proc/{}/status", served.id()));
    let status = std::fs::read_to_string(status).expect("the process lives");
    let number = |key: &str| -> usize {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the key is there");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    };
    (number("Threads:"), number("VmRSS:") / 1024)
}
