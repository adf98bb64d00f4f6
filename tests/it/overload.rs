//! More than the server can take, over real sockets: what is too much is refused at once, and what is within the limits goes on.

mod http2;

use std::net::SocketAddr;
use std::time::Duration;

use aerostack_isolate::Breach;
use aerostack_server::ClientLimits;
use aerostack_tests::{Connection, TestProject, TestServer, WorkerSetup, exchange, get, test, wait_until_idle};
use libtest_mimic::Trial;

/// `/endless` streams for ever and counts what it was asked for; `/large` answers with 32 MiB at once; `/wait` never answers.
const WORKER: &str = "let pulled = 0;
export default { async fetch(request) {
    const path = new URL(request.url).pathname;
    if (path === '/endless') return new Response(new ReadableStream({ pull(c) { pulled++; c.enqueue(new Uint8Array(65536)) } }));
    if (path === '/large') return new Response(new Uint8Array(32 << 20));
    if (path === '/pulled') return new Response(String(pulled));
    if (path === '/wait') { console.log('waiting'); await new Promise((done) => setTimeout(done, 600_000)); }
    return new Response('answered');
} }";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    connections(trials);
    slow_readers(trials);
    floods(trials);
    http2::trials(trials);
}

fn connections(trials: &mut Vec<Trial>) {
    trials.push(test("a connection too many is answered with 503 and Retry-After, and the others go on", async || {
        let server = limited(|limits| limits.connections = 3).await;
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut connection = Connection::open(server.address).await;
            assert_eq!(connection.get("/").await.text(), "answered");
            open.push(connection);
        }
        let answer = exchange(server.address, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        let text = "the server is overloaded: 3 connections are open: raise limits.connections\n";
        assert!(answer.ends_with(text), "{answer}");
        assert_eq!(server.breaches.count(Breach::Connections), 1);
        for connection in &mut open {
            assert_eq!(connection.get("/").await.text(), "answered");
        }
        drop(open.pop());
        wait_for_answer(server.address).await;
    }));

    trials.push(test(
        "three hundred connections too many are each refused or closed, and those that were there go on",
        async || {
            let server = limited(|limits| limits.connections = 1).await;
            let mut there = Connection::open(server.address).await;
            assert_eq!(there.get("/").await.text(), "answered");
            let mut refused = Vec::new();
            for _ in 0..300 {
                refused.push(Connection::open(server.address).await);
            }
            assert_eq!(there.get("/").await.text(), "answered");
            for connection in &mut refused {
                let answer = connection.rest().await;
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
            }
            assert_eq!(server.breaches.count(Breach::Connections), 300);
            assert_eq!(there.get("/").await.text(), "answered");
        },
    ));

    trials.push(test("five hundred idle connections cost little memory, and the next one is served", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"idle\"\n"),
            ("src/index.ts", "export default { fetch: () => new Response('answered') }"),
        ]);
        let served = project.dev();
        assert_eq!(get(served.address, "/").await.text(), "answered");
        let before = resident_kib(served.id());
        let mut idle = Vec::new();
        for number in 0..500 {
            let mut connection = Connection::open(served.address).await;
            // Half of them have asked once and are kept alive, the others say nothing.
            if number % 2 == 0 {
                assert_eq!(connection.get("/").await.text(), "answered");
            }
            idle.push(connection);
        }
        assert_eq!(get(served.address, "/").await.text(), "answered");
        let each = resident_kib(served.id()).saturating_sub(before) / 500;
        assert!(each < 64, "{each} KiB a connection");
    }));

    trials.push(test("half-open connections are closed after the header timeout, and make room", async || {
        let server =
            limited(|limits| (limits.connections, limits.header_timeout) = (5, Duration::from_millis(100))).await;
        let mut half_open = Vec::new();
        for bytes in ["", "GET", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: x", "PRI * HTTP/2.0\r\n"] {
            let mut connection = Connection::open(server.address).await;
            connection.write(bytes).await;
            half_open.push((connection, bytes));
        }
        for (connection, bytes) in &mut half_open {
            let answer = connection.rest().await;
            // Over HTTP/2 the server introduces itself.
            let answer = String::from_utf8_lossy(if bytes.starts_with("PRI") { b"" } else { &answer });
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
        }
        wait_for_answer(server.address).await;
    }));
}

fn slow_readers(trials: &mut Vec<Trial>) {
    for path in ["/endless", "/large"] {
        trials.push(test(
            &format!("a client that takes nothing of {path} is given up, and little is produced for it"),
            async move || {
                let server = limited(|limits| {
                    (limits.connections, limits.send_timeout) = (1, Duration::from_millis(200));
                })
                .await;
                let mut connection = Connection::open_narrow(server.address).await;
                connection.write_get(path).await;
                connection.head().await;
                // There is room for another connection once the server has given up.
                let pulled: u64 = answer_once_there_is_room(server.address, "/pulled").await.parse().expect("a number");
                assert!(pulled < 200, "{pulled} chunks of 64 KiB for a client that reads nothing");
                wait_until_idle(&server).await;
                // What the system had taken is not kept for the client: it finds the connection broken.
                let arrived = connection.rest().await.len();
                assert!(arrived < 64 << 10, "{arrived} bytes");
            },
        ));
    }

    trials.push(test("ten clients that take nothing do not keep others from their answers", async || {
        let server = limited(|_| {}).await;
        let mut stuck = Vec::new();
        for _ in 0..10 {
            let mut connection = Connection::open_narrow(server.address).await;
            connection.write_get("/endless").await;
            connection.head().await;
            stuck.push(connection);
        }
        for _ in 0..20 {
            assert_eq!(get(server.address, "/").await.text(), "answered");
        }
        let pulled: u64 = get(server.address, "/pulled").await.text().parse().expect("a number");
        assert!(pulled < 2000, "{pulled} chunks of 64 KiB for clients that read nothing");
    }));
}

fn floods(trials: &mut Vec<Trial>) {
    trials.push(test("five thousand pipelined requests are all answered, and another client in between", async || {
        let server = limited(|_| {}).await;
        let mut flood = Connection::open(server.address).await;
        let mut other = Connection::open(server.address).await;
        let requests = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(500);
        for _ in 0..10 {
            flood.write(&requests).await;
            assert_eq!(other.get("/").await.text(), "answered");
            for _ in 0..500 {
                assert_eq!(flood.answer().await.text(), "answered");
            }
        }
    }));

    trials.push(test("a client that pipelines and reads no answer is not read any further", async || {
        let server = limited(|limits| limits.send_timeout = Duration::from_millis(200)).await;
        let mut flood = Connection::open_narrow(server.address).await;
        let requests = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
        // Sooner or later nothing more is taken, and then the connection is closed.
        let mut taken = 0;
        while flood.try_write(&requests).await {
            taken += 1;
            assert!(taken < 5000, "{taken} thousand requests were taken, and no answer was read");
        }
        wait_until_idle(&server).await;
        assert_eq!(get(server.address, "/").await.text(), "answered");
    }));

    trials.push(test("fifty heads of endless headers cost bounded memory and end with 431", async || {
        let server = limited(|_| {}).await;
        let mut floods = Vec::new();
        for _ in 0..50 {
            let mut flood = Connection::open(server.address).await;
            flood.write("GET / HTTP/1.1\r\n").await;
            floods.push(flood);
        }
        let header = format!("x: {}\r\n", "a".repeat(8192));
        for flood in &mut floods {
            let mut taken = 0;
            while taken < 64 && flood.try_write(&header).await {
                taken += 1;
            }
            let answer = flood.rest().await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
        assert_eq!(get(server.address, "/").await.text(), "answered");
    }));
}

async fn limited(change: impl FnOnce(&mut ClientLimits)) -> TestServer {
    let mut limits = ClientLimits::default();
    change(&mut limits);
    TestServer::of(WorkerSetup::of(WORKER), limits).await
}

/// Asks until a connection is taken.
async fn wait_for_answer(address: SocketAddr) {
    answer_once_there_is_room(address, "/").await;
}

/// The body of the first answer that is no refusal.
async fn answer_once_there_is_room(address: SocketAddr, path: &str) -> String {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = exchange(address, request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        if answer.starts_with("HTTP/1.1 200 ") {
            let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
            return body.to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "no room is made: {answer}");
    }
}

/// Resident memory of a process, KiB.
fn resident_kib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the key is there");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
