//! Objects over HTTP: request bodies that become objects, and objects that become response bodies, piece by piece.

use std::time::{Duration, Instant};

use aerostack_server::ClientLimits;
use aerostack_tests::{Connection, TestServer, WorkerSetup, exchange, get, send, test};
use libtest_mimic::Trial;

/// `PUT` stores the body, `GET` sends it, each as one line of a worker would.
const BUCKET: &str = "export default { async fetch(request, env) { \
       const key = new URL(request.url).pathname; \
       if (request.method === 'PUT') { \
         try { const { size, etag } = await env.STORAGE.put(key, request.body); return Response.json({ size, etag }) } \
         catch (error) { return Response.json({ error: `${error.name}: ${error.message}` }, { status: 400 }) } } \
       const object = await env.STORAGE.get(key, { range: request.headers, onlyIf: request.headers }); \
       if (object === null) return new Response(null, { status: 404 }); \
       const headers = new Headers({ etag: object.httpEtag }); \
       return 'body' in object ? new Response(object.body, { headers }) : new Response(null, { status: 304, headers }) } }";

/// More than any buffer between the client and the disk holds.
const LARGE: usize = 20 * 1024 * 1024;

/// Keeps the bodies of large objects; `/read` reads one that an earlier request asked for.
const KEEPS: &str = "const kept = []; export default { async fetch(request, env, context) { \
       const { pathname } = new URL(request.url); \
       if (request.method === 'PUT') { await env.STORAGE.put('large', request.body); return new Response('stored') } \
       if (pathname === '/read') { \
         try { return new Response(`${(await kept[0].arrayBuffer()).byteLength} bytes`) } \
         catch (error) { return new Response(`${error.name}: ${error.message}`) } } \
       const object = await env.STORAGE.get('large'); kept.push(object); \
       if (pathname === '/later') context.waitUntil(scheduler.wait(50).then(() => object.arrayBuffer()).then( \
         (read) => console.log(`read ${read.byteLength} later`), (error) => console.log(error.message))); \
       return new Response('kept') } }";

/// How many files of objects this process has open.
fn open_objects() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("descriptors are listed");
    let files = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.ok()?.path()).ok());
    files.filter(|file| file.components().any(|part| part.as_os_str() == "objects")).count()
}

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("a body that nobody has read gives its file back when its request is over", async || {
        let server = TestServer::start(KEEPS).await;
        send(server.address, "PUT", "/", &[], &pattern(100_000)).await;
        let before = open_objects();
        for _ in 0..100 {
            assert_eq!(get(server.address, "/").await.text(), "kept");
        }
        // Trials beside this one have objects open, too.
        let deadline = Instant::now() + Duration::from_secs(10);
        while open_objects() > before + 50 {
            assert!(Instant::now() < deadline, "{} files are open, {before} were before", open_objects());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let refused = "TypeError: Can't read the body of an object after the request that asked for it has ended.";
        assert_eq!(get(server.address, "/read").await.text(), refused);
        assert_eq!(get(server.address, "/later").await.text(), "kept");
        server.worker.log.wait_for("read 100000 later").await;
    }));

    trials.push(test(
        "a large body is stored and sent with its length, and is never whole in the isolate",
        async || {
            // A heap and buffers smaller than the object.
            let setup = WorkerSetup::of(BUCKET).limits(|limits| limits.array_buffer_bytes = LARGE / 2);
            let server = TestServer::of(setup, ClientLimits::default()).await;
            let body = pattern(LARGE);
            let stored = send(server.address, "PUT", "/large", &[], &body).await;
            assert_eq!((stored.status, &stored.json()["size"]), (200, &serde_json::json!(LARGE)), "{}", stored.text());
            let answer = get(server.address, "/large").await;
            assert!(answer.head.contains(&format!("\ncontent-length: {LARGE}")), "{}", answer.head);
            assert!(answer.body == body, "the same bytes");
            let part = send(server.address, "GET", "/large", &[("range", "bytes=1000000-1000009")], b"").await;
            assert!(part.head.contains("\ncontent-length: 10"), "{}", part.head);
            assert_eq!(part.body, &body[1_000_000..1_000_010]);
        },
    ));

    trials.push(test("a small body is stored and sent", async || {
        let server = TestServer::start(BUCKET).await;
        assert_eq!(get(server.address, "/small").await.status, 404);
        let stored = send(server.address, "PUT", "/small", &[], b"hello").await.json();
        assert_eq!(stored, serde_json::json!({ "size": 5, "etag": "5d41402abc4b2a76b9719d911017c592" }));
        let answer = get(server.address, "/small").await;
        assert_eq!((answer.text().as_str(), answer.head.contains("\ncontent-length: 5")), ("hello", true));
        let etag = "\"5d41402abc4b2a76b9719d911017c592\"";
        let answer = send(server.address, "GET", "/small", &[("if-none-match", etag)], b"").await;
        assert_eq!(answer.status, 304);
    }));

    trials.push(test("a body whose length the client does not announce cannot be stored as it is", async || {
        let server = TestServer::start(BUCKET).await;
        let mut connection = Connection::open(server.address).await;
        connection.write("PUT /chunked HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
        // More than is waited for before the handler begins, or the length would be known after all.
        for _ in 0..4 {
            connection.write(format!("{:x}\r\n", 100_000)).await;
            connection.write(pattern(100_000)).await;
            connection.write("\r\n").await;
        }
        connection.write("0\r\n\r\n").await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, 400);
        assert!(
            answer.text().contains("TypeError: Provided readable stream must have a known length"),
            "{}",
            answer.text()
        );
    }));

    trials.push(test("a client that breaks off stores nothing", async || {
        let server = TestServer::start(BUCKET).await;
        send(server.address, "PUT", "/key", &[], b"old").await;
        let mut connection = Connection::open(server.address).await;
        connection.write("PUT /key HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n").await;
        connection.write(pattern(500_000)).await;
        drop(connection);
        assert_eq!(get(server.address, "/key").await.text(), "old");
    }));

    trials.push(test("a response of a FixedLengthStream has its length", async || {
        let server = TestServer::start(
            "export default { fetch() { \
               const { readable, writable } = new FixedLengthStream(8); \
               const writer = writable.getWriter(); \
               (async () => { await writer.write(new TextEncoder().encode('streamed')); await writer.close() })(); \
               return new Response(readable) } }",
        )
        .await;
        let answer = exchange(server.address, b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.contains("\r\ncontent-length: 8\r\n") && answer.ends_with("\r\n\r\nstreamed"), "{answer}");
    }));
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|position| ((position * 31 + position / 251) % 251) as u8).collect()
}
