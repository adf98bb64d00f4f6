//! The life of a connection (ARCHITECTURE.md): what becomes of it, of its requests and of their bodies when its worker
//! is replaced, its server drains, or its client leaves or dawdles.

mod attack;
mod bodies;
mod clients;

use std::time::{Duration, Instant};

use aerostack_server::ClientLimits;
use aerostack_tests::{
    Connection, TestProject, TestServer, WorkerSetup, blocking_test, get, long_blocking_test, test, wait_until_idle,
};
use libtest_mimic::Trial;

use self::clients::{Load, Server};

const CONFIG: &str = "name = \"load\"\n";

const SOURCE: &str = include_str!("../workers/server/load.ts");

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    reloads(trials);
    draining(trials);
    hand_over(trials);
    heads(trials);
    bodies::trials(trials);
    attack::trials(trials);
}

fn version(number: usize) -> String {
    let source = SOURCE.replace("const VERSION = 0;", &format!("const VERSION = {number};"));
    assert!(number == 0 || source != SOURCE, "the worker says which version it is");
    source
}

/// Where clients run: beside the thread of the test.
fn clients_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn reloads(trials: &mut Vec<Trial>) {
    trials.push(blocking_test("thirty reloads under the load of every kind of client drop no request", || {
        reload_under_load(30, 1);
    }));
    let name = "a thousand reloads under the load of every kind of client drop no request";
    trials.push(long_blocking_test(name, || reload_under_load(1000, 2)));
}

fn reload_under_load(reloads: usize, clients_of_each_kind: usize) {
    let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SOURCE)]);
    let served = project.dev();
    let runtime = clients_runtime();
    let load = Load::on(served.address, Server::GoesOn);
    let clients = load.start(&runtime, clients_of_each_kind);
    let began = Instant::now();
    for number in 1..=reloads {
        let (lines, before) = (served.line_count(), load.answers());
        project.write("src/index.ts", &version(number));
        served.wait_for_after(lines, "-> reloaded in ");
        let answer = runtime.block_on(get(served.address, "/version"));
        assert_eq!((answer.status, answer.text()), (200, number.to_string()));
        // Each version works under the load, too.
        wait_until("the clients are answered", || load.answers() >= before + 20);
    }
    let took = began.elapsed().as_secs_f64();
    load.end(&runtime, clients);
    eprintln!("{reloads} reloads in {took:.1} s: {} answers, none lost", load.answers());
}

fn draining(trials: &mut Vec<Trial>) {
    let name = "SIGTERM under the load of every kind of client drops no request that was taken";
    trials.push(blocking_test(name, || drain_under_load(4)));
    let name = "a hundred times SIGTERM under the load of every kind of client drops no request that was taken";
    trials.push(long_blocking_test(name, || drain_under_load(100)));

    trials.push(test(
        "a connection is served to its end though the server began to drain before it asked",
        async || {
            let server = TestServer::start(SOURCE).await;
            let mut silent = Connection::open(server.address).await;
            let mut half_a_line = Connection::open(server.address).await;
            half_a_line.write("GET /a").await;
            let mut half_a_head = Connection::open(server.address).await;
            half_a_head.write("GET /b HTTP/1.1\r\nhost: loc").await;
            let mut kept = Connection::open(server.address).await;
            assert_eq!(kept.get("/kept").await.text(), "/kept");
            let mut half_the_next = Connection::open(server.address).await;
            assert_eq!(half_the_next.get("/first").await.text(), "/first");
            half_the_next.write("GET /second HT").await;
            let mut pipelined = Connection::open(server.address).await;
            pipelined.write("GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20)).await;
            assert_eq!(pipelined.answer().await.text(), "/slow");
            let shut_down = server.server.shut_down();
            let clients = async {
                // What was sent before the client could know of the end is answered, and only the last answer is said
                // to be it.
                loop {
                    kept.write_get("/late").await;
                    let answer = kept.answer().await;
                    assert_eq!(answer.text(), "/late");
                    // It may have been made before its connection heard of the end.
                    if answer.head.contains("connection: close") {
                        break;
                    }
                }
                half_a_line.write(" HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
                assert_eq!(half_a_line.answer().await.text(), "/a");
                half_a_head.write("alhost\r\n\r\n").await;
                assert_eq!(half_a_head.answer().await.text(), "/b");
                half_the_next.write("TP/1.1\r\nhost: localhost\r\n\r\n").await;
                assert_eq!(half_the_next.answer().await.text(), "/second");
                for place in 2..=20 {
                    let answer = pipelined.answer().await;
                    assert_eq!(answer.text(), "/slow");
                    assert_eq!(answer.head.contains("connection: close"), place == 20, "{place}: {}", answer.head);
                }
                assert!(silent.rest().await.is_empty());
            };
            tokio::join!(shut_down, clients);
        },
    ));

    trials.push(test("a client that stays half-way does not hold a server that drains for long", async || {
        let server = TestServer::start(SOURCE).await;
        let mut stuck = Vec::new();
        let unread = |length: usize| {
            let body = "x".repeat(length / 2);
            format!("POST /a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
        };
        for begin in [
            // Waiting, reading in the acceptor and on the isolate's thread, over HTTP/2 before and behind the first frame.
            "",
            "GET /",
            "GET / HTTP/1.1\r\nho",
            "GET /first HTTP/1.1\r\nhost: localhost\r\n\r\nGET /",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            // Draining and lingering: half of a body that nobody reads has come.
            &unread(200_000),
            &unread(2_000_000),
        ] {
            let mut connection = Connection::open(server.address).await;
            connection.write(begin).await;
            if begin.starts_with("POST") || begin.contains("first") {
                assert_eq!(connection.answer().await.status, 200);
            }
            stuck.push(connection);
        }
        let began = Instant::now();
        server.server.shut_down().await;
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        for connection in &mut stuck {
            connection.rest().await;
        }
    }));

    trials.push(test("a request whose answer was handed on is over when it has left", async || {
        let origin = TestServer::start("export default { fetch: () => new Response('ok') }").await;
        let server = TestServer::start(
            "export default { async fetch(request, env) { \
               const url = new URL(request.url), to = url.searchParams.get('to'); \
               if (url.pathname === '/as-is') return fetch(to); \
               if (url.pathname === '/copy') { const r = await fetch(to); return new Response(r.body, r) } \
               if (url.pathname === '/stored') { \
                 await env.STORAGE.put('k', 'ok'); return new Response((await env.STORAGE.get('k')).body) } \
               if (url.pathname === '/model') { \
                 return new Response(await env.AI.run('@cf/test/echo', { prompt: 'x', stream: true })) } \
               return new Response(request.body) } }",
        )
        .await;
        for path in ["/as-is", "/copy", "/stored"] {
            let answer = get(server.address, &format!("{path}?to=http://{}/", origin.address)).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{path}");
            wait_until_idle(&server).await;
        }
        assert_eq!(get(server.address, "/model").await.status, 200);
        wait_until_idle(&server).await;
    }));
}

/// `serve` is told to end while clients of every kind ask, as often.
fn drain_under_load(rounds: usize) {
    let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SOURCE)]);
    let mut answers = 0;
    for round in 0..rounds {
        let mut served = project.start(&["serve", "--port", "0", "--isolates", "2"]);
        let runtime = clients_runtime();
        let load = Load::on(served.address, Server::Drains);
        let clients = load.start(&runtime, 2);
        wait_until("the clients are answered", || load.answers() > 200);
        let began = Instant::now();
        served.signal("TERM");
        assert!(served.wait(), "round {round}: {}", served.output());
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "round {round}: draining took {took:?}: {}", served.output());
        load.end(&runtime, clients);
        answers += load.answers();
    }
    eprintln!("{rounds} times SIGTERM: {answers} answers, none lost");
}

fn hand_over(trials: &mut Vec<Trial>) {
    trials.push(test(
        "a thread to which a connection is on its way does not end before it has come and gone",
        async || {
            let worker = WorkerSetup::of(SOURCE).start().await;
            let (thread, permit) = worker.worker.admit().await.expect("a thread");
            worker.replace(WorkerSetup::of(SOURCE)).await;
            let (next, _permit) = worker.worker.admit().await.expect("a thread");
            assert!(!std::sync::Arc::ptr_eq(&thread, &next), "new connections go to the new version");
            for _ in 0..100 {
                let (sender, received) = tokio::sync::oneshot::channel();
                assert!(thread.run(move |_| sender.send(()).expect("the test waits")), "the thread takes what comes");
                received.await.expect("the thread still runs what it is given");
            }
            drop(permit);
            let ended = async {
                while thread.admit().is_some() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the thread ends");
        },
    ));

    trials.push(test(
        "a request that waits in line when its version is replaced is answered by the next",
        async || {
            let queued = |source: &str| WorkerSetup::of(source).limits(|limits| limits.concurrent_requests = 1);
            let server = TestServer::of(
                queued(
                    "export default { async fetch() { \
                   console.log('begun'); await scheduler.wait(300); return new Response('old') } }",
                ),
                ClientLimits::default(),
            )
            .await;
            let mut clients = Vec::new();
            for _ in 0..5 {
                let mut client = Connection::open(server.address).await;
                client.write_get("/").await;
                clients.push(client);
            }
            server.worker.log.wait_for("begun").await;
            server.worker.replace(queued("export default { fetch: () => new Response('new') }")).await;
            for client in &mut clients {
                let answer = client.answer().await;
                assert!(answer.status == 200 && ["old", "new"].contains(&answer.text().as_str()), "{answer:?}");
            }
        },
    ));

    trials.push(test(
        "an answer that comes over another thread says its length, and is cut where that thread is",
        async || {
            let sized = "export default { async fetch(request) { \
               const { readable, writable } = new FixedLengthStream(10); const writer = writable.getWriter(); \
               writer.write(new Uint8Array(10)).then(() => writer.close()); return new Response(readable) } }";
            let server = TestServer::start(sized).await;
            let mut connection = Connection::open(server.address).await;
            let here = connection.get("/").await;
            server.worker.replace(WorkerSetup::of(sized)).await;
            let elsewhere = connection.get("/").await;
            for answer in [here, elsewhere] {
                assert!(answer.head.contains("content-length: 10\n") && answer.body.len() == 10, "{answer:?}");
            }
        },
    ));
}

fn heads(trials: &mut Vec<Trial>) {
    for (what, begin) in [
        ("its first line", &[][..]),
        ("its first head", &["GET / HTTP/1.1\r\nx: "][..]),
        ("a later head", &["GET /first HTTP/1.1\r\nhost: localhost\r\n\r\n"]),
    ] {
        trials.push(test(
            &format!("a client that trickles {what} has as long for it as one that is silent"),
            async move || {
                let timeout = Duration::from_secs(1);
                let limits = ClientLimits { header_timeout: timeout, ..ClientLimits::default() };
                let server = TestServer::of(WorkerSetup::of(SOURCE), limits).await;
                let mut began = Instant::now();
                let mut connection = Connection::open(server.address).await;
                for bytes in begin {
                    connection.write(bytes).await;
                    if bytes.ends_with("\r\n\r\n") {
                        assert_eq!(connection.answer().await.text(), "/first");
                        began = Instant::now();
                    }
                }
                let answered = loop {
                    let sent = connection.try_write("a").await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    if !sent || connection.has_arrived().await {
                        break began.elapsed();
                    }
                };
                let rest = connection.rest().await;
                let rest = String::from_utf8_lossy(&rest);
                assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408 "), "{rest}");
                assert!(answered > timeout.mul_f64(0.9) && answered < timeout.mul_f64(1.9), "{answered:?}");
            },
        ));
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < deadline, "never so: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
