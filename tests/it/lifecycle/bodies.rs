//! Bodies of requests: each is read, thrown away, or ends with its connection, and nothing outlives its client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aerostack_server::ClientLimits;
use aerostack_tests::{Binary, Connection, TestProject, TestServer, WorkerSetup, get, test, wait_until_idle};
use libtest_mimic::Trial;

/// `POST /<way>` does this with the body of its request.
const SOURCE: &str = include_str!("../../workers/server/bodies.ts");

/// Ways that leave the body, or some of it, unread.
const WAYS: [&str; 12] = [
    "untouched",
    "looked-at",
    "one-chunk",
    "released",
    "cancelled",
    "locked",
    "tee",
    "clone",
    "new-request",
    "piped",
    "later",
    "throws",
];

/// How long what a client has left may be kept.
const KEPT: Duration = Duration::from_secs(5);

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test(
        "whatever a handler does with a body, nothing of a client that left in its middle is kept",
        async || {
            let project = TestProject::new(&[("aerostack.toml", "name = \"bodies\"\n"), ("src/index.ts", SOURCE)]);
            let served = project.dev();
            assert_eq!(get(served.address, "/").await.text(), "next");
            let before = descriptors(&served);
            for way in WAYS.into_iter().chain(["waits"]) {
                for framing in ["content-length: 50000000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n2faf080\r\n"] {
                    for _ in 0..20 {
                        let mut client = Connection::open(served.address).await;
                        client.write(format!("POST /{way} HTTP/1.1\r\nhost: localhost\r\n{framing}")).await;
                        client.try_write(vec![b'x'; 100_000]).await;
                    }
                    let left = Instant::now();
                    // It came after them, so that they have been taken.
                    assert_eq!(get(served.address, "/").await.text(), "next", "{way}");
                    loop {
                        let (kept, counted) = (descriptors(&served), counted(&served).await);
                        // The one that asks counts, too.
                        if kept <= before + 4 && counted <= 3 {
                            break;
                        }
                        let kept = kept.saturating_sub(before);
                        assert!(
                            left.elapsed() < KEPT,
                            "{way}, {framing:?}: {kept} descriptors kept, {counted} counted"
                        );
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        },
    ));

    trials.push(test("connections are counted for as long as they are open, and no longer", async || {
        let limits = ClientLimits { connections: 2, ..ClientLimits::default() };
        let server = TestServer::of(WorkerSetup::of(SOURCE), limits).await;
        for way in WAYS {
            for _ in 0..2 {
                let mut client = Connection::open(server.address).await;
                client
                    .write(format!("POST /{way} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50000000\r\n\r\n"))
                    .await;
                client.try_write(vec![b'x'; 100_000]).await;
            }
            let left = Instant::now();
            while get(server.address, "/").await.status != 200 {
                assert!(left.elapsed() < KEPT, "{way}: no room is made");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        wait_until_idle(&server).await;
    }));

    trials.push(test("a body that nobody reads is thrown away, or ends the connection with the answer", async || {
        let server = TestServer::start(SOURCE).await;
        for way in WAYS {
            for length in [1_000, 64_000, 250_000, 2_000_000] {
                let is_kept = unread(server.address, way, length).await;
                assert!(is_kept || length > 64_000, "{way}: {length} bytes end the connection");
                assert!(!is_kept || length < 1_000_000, "{way}: {length} bytes are worth waiting for");
            }
        }
        wait_until_idle(&server).await;
    }));

    trials.push(test(
        "a client that asks for the end has it with the answer, whatever was read of its body",
        async || {
            let server = TestServer::start(SOURCE).await;
            for way in WAYS {
                for body in
                    ["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
                {
                    let began = Instant::now();
                    let mut client = Connection::open(server.address).await;
                    client
                        .write(format!("POST /{way} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{body}"))
                        .await;
                    let answer = client.rest().await;
                    assert!(answer.starts_with(b"HTTP/1.1 "), "{way}: {:?}", String::from_utf8_lossy(&answer));
                    assert!(began.elapsed() < Duration::from_secs(2), "{way}: {:?}", began.elapsed());
                }
            }
        },
    ));

    trials.push(test("a body cannot be read once the answer has left, and says so as Workers do", async || {
        let server = TestServer::start(SOURCE).await;
        let mut client = Connection::open(server.address).await;
        for way in ["read-later", "open-later"] {
            client.write(format!("POST /{way} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n")).await;
            assert_eq!(client.answer().await.text(), "early");
            client.write(vec![b'b'; 200_000]).await;
            let said = format!("{way}: TypeError: Can't read from request stream after response has been sent.");
            server.worker.log.wait_for(&said).await;
            assert_eq!(client.get("/").await.text(), "next");
        }
        wait_until_idle(&server).await;
    }));

    trials.push(test(
        "a client that expects 100-continue hears it before an answer that is made of its body",
        async || {
            let server = TestServer::start("export default { fetch: (request) => new Response(request.body) }").await;
            let mut client = Connection::open(server.address).await;
            client
                .write("POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
                .await;
            assert!(client.head().await.starts_with("http/1.1 100 "));
            client.write("body").await;
            assert_eq!(client.answer().await.text(), "body");
            assert_eq!(client.get("/").await.status, 200);
        },
    ));
}

/// Sends a body that nobody reads, and a request behind it. Whether that was answered; else the connection was closed.
async fn unread(address: SocketAddr, way: &str, length: usize) -> bool {
    let mut client = Connection::open(address).await;
    client.write(format!("POST /{way} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")).await;
    for piece in vec![b'x'; length].chunks(50_000) {
        if !client.try_write(piece).await {
            break;
        }
    }
    let began = Instant::now();
    let answer = client.answer().await;
    assert_eq!(answer.status, if way == "throws" { 500 } else { 200 }, "{way} {length}");
    let is_last = answer.head.contains("connection: close");
    let is_open = client.try_write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let next = if is_last || !is_open { None } else { client.try_answer().await };
    assert!(began.elapsed() < Duration::from_secs(2), "{way} {length}: {:?}", began.elapsed());
    match &next {
        Some(next) => assert_eq!(next.text(), "next", "{way} {length}"),
        None => assert!(client.rest().await.is_empty(), "{way} {length}"),
    }
    next.is_some()
}

/// The connections that the server counts.
async fn counted(served: &Binary) -> usize {
    let metrics = get(served.address, "/_aerostack/metrics").await.text();
    let open = metrics.lines().find_map(|line| line.strip_prefix("aerostack_connections "));
    open.and_then(|open| open.parse().ok()).expect("the gauge")
}

fn descriptors(served: &Binary) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", served.id())).expect("the process lives").count()
}
