//! `/_aerostack/health` and `/_aerostack/ready`.

use std::time::Duration;

use aerostack_server::ClientLimits;
use aerostack_tests::{Binary, Connection, TestProject, TestServer, WorkerSetup, get, send, test};
use libtest_mimic::Trial;
use serde_json::{Value, json};

const CONFIG: &str = "name = \"shop\"\n";
const HELLO: &str = "export default { fetch: () => new Response('hello') };";
const BROKEN: &str = "export default { fetch( => };";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("health and ready are JSON, for GET only, and never from a cache", async || {
        let server = TestServer::start(HELLO).await;
        for (path, body) in [("health", r#"{"status":"ok"}"#), ("ready", r#"{"status":"ready"}"#)] {
            let path = format!("/_aerostack/{path}");
            let answer = get(server.address, &path).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, body));
            assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
            assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
            assert_eq!(send(server.address, "POST", &path, &[], b"").await.status, 405);
        }
    }));

    trials.push(test("health and ready answer while the worker is stuck in a loop", async || {
        let source = "export default { fetch() { console.log('looping'); for (;;) {} } }";
        let setup = WorkerSetup::of(source).limits(|limits| limits.cpu = Duration::from_secs(3));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        server.worker.log.wait_for("looping").await;
        assert_eq!(get(server.address, "/_aerostack/health").await.status, 200);
        assert_eq!(ready(server.address).await, (200, json!({ "status": "ready" })));
        assert_eq!(server.worker.log.lines().len(), 1, "the loop still runs");
        assert_eq!(connection.answer().await.status, 503);
    }));

    trials.push(test("a worker whose isolate could not be replaced is not ready, and ready says why", async || {
        // Lets the first isolate begin and no other one.
        let origin = TestServer::start(
            "let asked = 0; export default { fetch: () => new Response('', { status: asked++ === 0 ? 200 : 500 }) }",
        )
        .await;
        let source = format!(
            "const allowed = await fetch('http://{}/'); if (!allowed.ok) throw new Error('refused to start'); \
             export default {{ fetch() {{ for (;;) {{}} }} }}",
            origin.address
        );
        let setup = WorkerSetup::of(&source).limits(|limits| limits.cpu = Duration::from_millis(50));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        assert_eq!(ready(server.address).await.0, 200);
        assert_eq!(get(server.address, "/").await.status, 503);
        let (status, report) = wait_for_ready(server.address, |status, report| {
            status == 503 && report.to_string().contains("refused to start")
        })
        .await;
        assert_eq!(
            (status, &report["status"], &report["workers"][0]["name"]),
            (503, &json!("not ready"), &json!("test"))
        );
        let reason = report["workers"][0]["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("exceeded CPU limit 50 ms: raise limits.cpu_ms"), "{reason}");
        assert_eq!(get(server.address, "/_aerostack/health").await.status, 200);
    }));

    trials.push(test(
        "a reload that fails leaves the worker ready, because its last good version goes on",
        async || {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", HELLO)]);
            let served = project.dev();
            project.write("src/index.ts", BROKEN);
            served.wait_for("not reloaded, still serving the last good version");
            assert_eq!(ready(served.address).await, (200, json!({ "status": "ready" })));
            assert_eq!(get(served.address, "/").await.text(), "hello");
        },
    ));

    trials.push(test("a worker that was added and does not load is named until it does", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", HELLO)]);
        let served = project.dev();
        project.write("src/more.ts", BROKEN);
        project
            .append("aerostack.toml", "[[functions]]\nname = \"more\"\nmain = \"src/more.ts\"\nroute = \"/more/*\"\n");
        served.wait_for("~ aerostack.toml: not reloaded");
        let (_, report) = wait_for_ready(served.address, |status, _| status == 503).await;
        let reason = "no version of it could be loaded: the log says why";
        assert_eq!(report, json!({ "status": "not ready", "workers": [{ "name": "more", "reason": reason }] }));
        assert_eq!(get(served.address, "/").await.text(), "hello", "the others are served");
        project.write("src/more.ts", HELLO);
        wait_for_ready(served.address, |status, _| status == 200).await;
        assert_eq!(get(served.address, "/more/").await.text(), "hello");
    }));

    trials.push(test("while the process drains it is alive, not ready, and takes no new requests", async || {
        let (_project, mut served, mut held) = draining().await;
        let (status, report) = ready(served.address).await;
        assert_eq!((status, report), (503, json!({ "status": "not ready", "reason": "shutting down" })));
        assert_eq!(get(served.address, "/_aerostack/health").await.status, 200);
        let refused = get(served.address, "/open").await;
        assert_eq!((refused.status, refused.text().as_str()), (503, "the server is shutting down\n"));
        assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
        served.signal("INT");
        assert!(served.wait(), "{}", served.output());
        assert!(held.rest().await.is_empty(), "the second Ctrl-C ended it");
    }));
}

/// A process that was told to stop and has a request in flight.
async fn draining() -> (TestProject, Binary, Connection) {
    let source = "export default { async fetch() { console.log('began'); await scheduler.wait(600_000); \
                  return new Response('held') } };";
    let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", source)]);
    let served = project.dev();
    let mut held = Connection::open(served.address).await;
    held.write_get("/").await;
    served.wait_for("began");
    served.signal("TERM");
    served.wait_for("draining: 1 still in flight");
    (project, served, held)
}

async fn ready(address: std::net::SocketAddr) -> (u16, Value) {
    let answer = get(address, "/_aerostack/ready").await;
    (answer.status, answer.json())
}

/// Asks until the answer is as wanted.
async fn wait_for_ready(address: std::net::SocketAddr, wanted: impl Fn(u16, &Value) -> bool) -> (u16, Value) {
    let asked = async {
        loop {
            let (status, report) = ready(address).await;
            if wanted(status, &report) {
                return (status, report);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.expect("the answer changes in time")
}
