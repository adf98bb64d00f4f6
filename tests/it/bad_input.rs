//! Input that is wrong, handlers that are wrong: each gets its clear error, and the next request works.

use std::time::Duration;

use aerostack_isolate::LoadError;
use aerostack_server::ClientLimits;
use aerostack_tests::{Connection, TestServer, WorkerSetup, exchange, get, send, test, wait_until_idle};
use libtest_mimic::Trial;

/// Reads the body where there is one, so that a broken body is noticed.
const ECHO: &str =
    "export default { async fetch(request) { return new Response('got ' + (await request.text()).length) } }";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    malformed_http(trials);
    bodies(trials);
    slow_clients(trials);
    wrong_handlers(trials);
    runaway_handlers(trials);
    runaway_modules(trials);
}

fn malformed_http(trials: &mut Vec<Trial>) {
    let cases: &[(&str, &[u8])] = &[
        ("garbage", b"this is not http at all\r\n\r\n"),
        ("NUL bytes", b"\0\0\0\0\0\0\0\0\r\n\r\n"),
        ("a NUL byte in the path", b"GET /a\0b HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        ("a NUL byte in a header", b"GET / HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n"),
        ("a version that does not exist", b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n"),
        ("no version", b"GET /\r\nhost: localhost\r\n\r\n"),
        ("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("a header without a colon", b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n"),
        ("a header name with a space", b"GET / HTTP/1.1\r\nhost: localhost\r\nbad name: x\r\n\r\n"),
        ("no Host", b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"),
        ("a Host that is no host", b"GET / HTTP/1.1\r\nhost: a b/c?d\r\nconnection: close\r\n\r\n"),
        ("a Host with a user name", b"GET / HTTP/1.1\r\nhost: user:password@localhost\r\nconnection: close\r\n\r\n"),
        ("two different Hosts", b"GET / HTTP/1.1\r\nhost: a.example\r\nhost: b.example\r\nconnection: close\r\n\r\n"),
        ("a content-length that is no number", b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: abc\r\n\r\n"),
        ("a negative content-length", b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n"),
        (
            "two content-lengths that disagree",
            b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        ),
        ("an unknown transfer coding", b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\nabcd"),
    ];
    for (what, request) in cases {
        trials.push(test(&format!("{what} is answered with 400 and closes the connection"), async move || {
            let server = TestServer::start(ECHO).await;
            let answer = exchange(server.address, request).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
            assert_alive(&server).await;
        }));
    }

    trials.push(test("a head larger than the limit is refused with 431", async || {
        let server = TestServer::start(ECHO).await;
        let mut request = b"GET / HTTP/1.1\r\nhost: localhost\r\n".to_vec();
        for number in 0..2000 {
            request.extend(format!("x-{number}: {}\r\n", "a".repeat(1000)).into_bytes());
        }
        request.extend(b"\r\n");
        let answer = exchange(server.address, &request).await;
        let answer = String::from_utf8_lossy(&answer);
        // The rest of the head may still be on its way when the server closes; then the kernel may drop the answer.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
        assert_alive(&server).await;
    }));

    trials.push(test("a head just over the limit is answered with 431", async || {
        let limits = ClientLimits { header_bytes: 16 * 1024, ..ClientLimits::default() };
        let server = TestServer::of(WorkerSetup::of(ECHO), limits).await;
        let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "a".repeat(17 * 1024));
        let answer = exchange(server.address, request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
        assert_alive(&server).await;
    }));

    trials.push(test("more headers than the server takes are refused with 431", async || {
        let server = TestServer::start(ECHO).await;
        let mut request = "GET / HTTP/1.1\r\nhost: localhost\r\n".to_owned();
        request.extend((0..5000).map(|number| format!("x{number}: a\r\n")));
        request.push_str("\r\n");
        let answer = exchange(server.address, request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
        assert_alive(&server).await;
    }));

    trials.push(test("a head without an end never grows past the limit", async || {
        let server = TestServer::start(ECHO).await;
        let endless = vec![b'a'; 4 * 1024 * 1024];
        let answer = exchange(server.address, &endless).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
        assert_alive(&server).await;
    }));

    trials.push(test("bytes that are no UTF-8 in a path reach the handler escaped, or are refused", async || {
        let source = "export default { fetch: (request) => new Response(new URL(request.url).pathname) }";
        let server = TestServer::start(source).await;
        let answer =
            exchange(server.address, b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.ends_with("/%FF%FE") || answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
        let escaped = get(server.address, "/%ff%fe%00%2e%2e").await;
        assert_eq!((escaped.status, escaped.text().as_str()), (200, "/%ff%fe%00%2e%2e"));
        let utf8 =
            exchange(server.address, "GET /☃ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".as_bytes())
                .await;
        let utf8 = String::from_utf8_lossy(&utf8);
        assert!(utf8.ends_with("/%E2%98%83") || utf8.starts_with("HTTP/1.1 400 "), "{utf8:?}");
    }));

    trials.push(test("a long path reaches the handler, one past all reason is refused with 414", async || {
        let source = "export default { fetch: (request) => new Response(String(request.url.length)) }";
        let server = TestServer::start(source).await;
        let path = format!("/{}", "a".repeat(40_000));
        let long = get(server.address, &path).await;
        let expected = format!("http://{}{path}", server.address).len();
        assert_eq!((long.status, long.text()), (200, expected.to_string()));
        let endless = get(server.address, &format!("/{}", "a".repeat(100_000))).await;
        assert_eq!(endless.status, 414);
        assert_alive_with(&server, "/").await;
    }));

    trials.push(test("a path that is dots, slashes and escapes cannot leave its place", async || {
        let source = "export default { fetch: (request) => new Response(request.url) }";
        let server = TestServer::start(source).await;
        for (path, seen) in [
            ("/a/../b", "/b"),
            ("//evil.example/a", "//evil.example/a"),
            ("/a/%2e%2e/b", "/b"),
            ("/?c='d'", "/?c=%27d%27"),
        ] {
            let answer = get(server.address, path).await;
            assert_eq!(answer.text(), format!("http://{}{seen}", server.address), "{path}");
        }
    }));
}

fn bodies(trials: &mut Vec<Trial>) {
    trials.push(test("a chunk size that is no number is answered with 400 and closes the connection", async || {
        let server = TestServer::start(ECHO).await;
        let request = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n";
        let answer = exchange(server.address, request).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
        assert_alive(&server).await;
    }));

    for (what, request) in [
        ("half a body", "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nabc"),
        ("half a large body", "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nabc"),
        ("half a chunked body", "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        ("half a chunk", "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nff\r\nabc"),
    ] {
        trials.push(test(&format!("{what} and then the end of the connection leaves the worker unharmed"), async move || {
            let server = TestServer::start(
                "export default { async fetch(request) { \
                   if (request.method === 'GET') return new Response('got 0'); \
                   try { await request.text(); console.log('whole') } catch (error) { console.log('broken: ' + error) } \
                   return new Response('late') } }",
            )
            .await;
            let mut connection = Connection::open(server.address).await;
            connection.write(request).await;
            connection.end().await;
            // An answer, if there is one, says that the body was broken; usually the connection just closes.
            let answer = connection.rest().await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(!answer.contains("200 OK") || answer.contains("late"), "{answer}");
            assert!(!server.worker.log.lines().iter().any(|line| line.contains("whole")), "{:?}", server.worker.log.lines());
            assert_alive(&server).await;
            wait_until_idle(&server).await;
        }));
    }

    for (what, request) in [
        ("half a body", "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nabc"),
        ("half a chunked body", "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    ] {
        trials.push(test(&format!("{what} and then silence is given up after the body timeout"), async move || {
            let limits = ClientLimits { body_timeout: Duration::from_millis(100), ..ClientLimits::default() };
            let server = TestServer::of(WorkerSetup::of(ECHO), limits).await;
            let mut connection = Connection::open(server.address).await;
            connection.write(request).await;
            let answer = connection.rest().await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
            assert!(answer.contains("nothing of the request body arrived for 0.1 s"), "{answer:?}");
            assert_alive(&server).await;
            wait_until_idle(&server).await;
        }));
    }

    trials.push(test("a body announced over the limit is refused with 413 that names the key", async || {
        let server = small_bodies().await;
        let answer = send(server.address, "POST", "/", &[("content-length", "1048577")], b"").await;
        assert_too_long(answer.status, &answer.text());
        assert_alive(&server).await;
    }));

    trials.push(test("a whole body over the limit is refused with 413 before it is read", async || {
        let server = small_bodies().await;
        let mut connection = Connection::open(server.address).await;
        connection.write("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n").await;
        let answer = connection.answer().await;
        assert_too_long(answer.status, &answer.text());
        assert!(connection.rest().await.is_empty());
        assert_alive(&server).await;
    }));

    trials.push(test("a chunked body over the limit is refused with 413", async || {
        let server = small_bodies().await;
        let mut connection = Connection::open(server.address).await;
        connection.write("POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = format!("{:x}\r\n{}\r\n", 600 * 1024, "a".repeat(600 * 1024));
        connection.write(&chunk).await;
        connection.write(&chunk).await;
        let answer = connection.answer().await;
        assert_too_long(answer.status, &answer.text());
        assert_alive(&server).await;
        wait_until_idle(&server).await;
    }));

    trials.push(test("a body of exactly the limit is taken", async || {
        let server = small_bodies().await;
        let answer = send(server.address, "POST", "/", &[], &vec![b'a'; 1024 * 1024]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "got 1048576"));
    }));

    trials.push(test("a handler that never reads the body answers, whatever follows on the connection", async || {
        let server = TestServer::start("export default { fetch: () => new Response('unread') }").await;
        let mut connection = Connection::open(server.address).await;
        connection.write("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello").await;
        assert_eq!(connection.answer().await.text(), "unread");
        assert_eq!(connection.get("/").await.text(), "unread");
    }));
}

fn slow_clients(trials: &mut Vec<Trial>) {
    for (what, bytes) in [
        ("a connection that says nothing", ""),
        ("half a first line", "GET / HT"),
        ("half a head", "GET / HTTP/1.1\r\nhost: local"),
    ] {
        trials.push(test(&format!("{what} is closed after the header timeout"), async move || {
            let limits = ClientLimits { header_timeout: Duration::from_millis(100), ..ClientLimits::default() };
            let server = TestServer::of(WorkerSetup::of(ECHO), limits).await;
            let mut connection = Connection::open(server.address).await;
            connection.write(bytes).await;
            let answer = connection.rest().await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
            assert_alive(&server).await;
        }));
    }

    trials.push(test("an idle kept-alive connection is closed after the header timeout", async || {
        let limits = ClientLimits { header_timeout: Duration::from_millis(100), ..ClientLimits::default() };
        let server = TestServer::of(WorkerSetup::of(ECHO), limits).await;
        let mut connection = Connection::open(server.address).await;
        assert_eq!(connection.get("/").await.text(), "got 0");
        assert!(connection.rest().await.is_empty());
        assert_alive(&server).await;
    }));

    trials.push(test("a head that trickles in byte by byte is closed after the header timeout", async || {
        let limits = ClientLimits { header_timeout: Duration::from_millis(200), ..ClientLimits::default() };
        let server = TestServer::of(WorkerSetup::of(ECHO), limits).await;
        let mut stream = tokio::net::TcpStream::connect(server.address).await.expect("the server listens");
        let trickle = async {
            use tokio::io::AsyncWriteExt as _;
            let _ = stream.write_all(b"GET / HTTP/1.1\r\n").await;
            // Writing into a closed connection fails at the second attempt at the latest.
            while stream.write_all(b"x: a\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), trickle).await.expect("the server closes the connection");
        assert_alive(&server).await;
    }));
}

fn wrong_handlers(trials: &mut Vec<Trial>) {
    let cases = [
        ("returns nothing", "return", "Uncaught TypeError: fetch must return a Response, got undefined\nhint: "),
        (
            "returns a promise of nothing",
            "return Promise.resolve()",
            "fetch must return a Response, got undefined\nhint: ",
        ),
        ("returns null", "return null", "fetch must return a Response, got null\nhint: "),
        ("returns a string", "return 'hello'", "got a string\nhint: wrap it: `new Response(text)`"),
        (
            "returns an object that looks like a Response",
            "return { status: 200, body: 'x' }",
            "got an object\nhint: wrap it",
        ),
        ("returns Response.error()", "return Response.error()", "must not be an error response"),
        ("throws an Error", "throw new RangeError('too far')", "Uncaught RangeError: too far\n    at "),
        ("throws a string", "throw 'just text'", "just text"),
        ("throws a number", "throw 42", "42"),
        ("throws null", "throw null", "null"),
        ("throws undefined", "throw undefined", "undefined"),
        ("throws an object", "throw { code: 7 }", "Uncaught { code: 7 }"),
        ("throws a symbol", "throw Symbol('odd')", "Symbol(odd)"),
        ("rejects", "return Promise.reject(new Error('later'))", "Uncaught Error: later\n    at "),
        ("rejects with a string", "return Promise.reject('later')", "later"),
        ("rejects with null", "return Promise.reject(null)", "null"),
        (
            "throws an error with a hostile stack",
            "const e = new Error('x'); Object.defineProperty(e, 'stack', { get() { throw 1 } }); throw e",
            "",
        ),
        (
            "throws an error with a hostile message",
            "throw { get message() { throw new Error('no') }, get name() { throw 2 }, toString() { throw 3 } }",
            "",
        ),
        (
            "throws a proxy",
            "throw new Proxy({}, { get() { throw 4 }, getPrototypeOf() { throw 5 }, ownKeys() { throw 6 } })",
            "",
        ),
        ("throws an error whose cause is itself", "const e = new Error('round'); e.cause = e; throw e", "round"),
        ("returns a thenable that throws", "return { then() { throw new Error('thenable') } }", "thenable"),
        (
            "recurses without end",
            "return (function f() { return f() + 1 })()",
            "Uncaught RangeError: Maximum call stack size exceeded",
        ),
        (
            "recurses without end through JSON",
            "const o = { toJSON() { return JSON.stringify(o) } }; return Response.json(o)",
            "Uncaught RangeError: Maximum call stack size exceeded",
        ),
        (
            "recurses without end through a getter",
            "const o = { get x() { return this.x } }; return o.x",
            "Uncaught RangeError: Maximum call stack size exceeded",
        ),
        (
            "recurses without end through a pattern",
            "return new Response(String(/(?:a|b)*c/.test('ab'.repeat(5e6))))",
            "",
        ),
        (
            "answers with a used body",
            "const r = new Response(new Blob(['x']).stream()); await r.text(); return r",
            "Body has already been used",
        ),
        (
            "answers the same Response again",
            "globalThis.kept ??= new Response('once'); if (request.url.endsWith('/warm')) return kept.clone(); await kept.text(); return kept",
            "Body has already been used",
        ),
        ("reads the body twice", "await request.text(); await request.text(); return new Response('x')", ""),
    ];
    for (what, body, expected) in cases {
        trials.push(test(&format!("a handler that {what} is answered with a clear 500"), async move || {
            let is_async = body.contains("await");
            let source = format!(
                "export default {{ {} fetch(request: Request) {{\n  if (request.url.endsWith('/next')) return new Response('next');\n  {body}\n}} }}",
                if is_async { "async" } else { "" }
            );
            let server = TestServer::start(&source).await;
            let answer = get(server.address, "/").await;
            let expected_status = if expected.is_empty() { answer.status } else { 500 };
            assert_eq!(answer.status, expected_status, "{}", answer.text());
            assert!(answer.status == 500 || answer.status == 200, "{} {}", answer.status, answer.text());
            assert!(answer.text().contains(expected), "{}", answer.text());
            assert!(answer.head.contains("content-type: text/plain"), "{}", answer.head);
            assert!(!answer.text().contains("ext:"), "the runtime's own frames show: {}", answer.text());
            assert_eq!(get(server.address, "/next").await.text(), "next");
        }));
    }

    for (what, body) in [
        ("never settles", "return new Promise(() => {})"),
        ("awaits what never settles", "await new Promise(() => {}); return new Response('x')"),
        ("returns a thenable that never calls back", "return { then() {} }"),
    ] {
        trials.push(test(&format!("a handler that {what} is told that it would never generate a response"), async move || {
            let source = format!(
                "export default {{ async fetch(request) {{ if (request.url.endsWith('/next')) return new Response('next'); {body} }} }}"
            );
            let server = TestServer::start(&source).await;
            let answer = get(server.address, "/").await;
            let text = "The Workers runtime canceled this request because it detected that your Worker's code had hung and \
                        would never generate a response. Refer to: \
                        https://developers.cloudflare.com/workers/observability/errors/\n";
            assert_eq!((answer.status, answer.text().as_str()), (500, text));
            assert_eq!(get(server.address, "/next").await.text(), "next");
            wait_until_idle(&server).await;
        }));
    }

    trials.push(test("a module without a fetch handler answers with a clear 500", async || {
        let server = TestServer::start("export default { scheduled() {} }").await;
        let answer = get(server.address, "/").await;
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("Handler does not export a fetch() function."), "{}", answer.text());
    }));

    trials.push(test("an unhandled rejection is logged and fails no request", async || {
        let source =
            "export default { fetch() { Promise.reject(new Error('nobody looks')); return new Response('fine') } }";
        let server = TestServer::start(source).await;
        assert_eq!(get(server.address, "/").await.text(), "fine");
        server.worker.log.wait_for("Uncaught (in promise) Error: nobody looks").await;
        assert_eq!(get(server.address, "/").await.text(), "fine");
    }));

    trials.push(test("an unhandled rejection with no error is logged and fails no request", async || {
        let source = "export default { fetch() { Promise.reject(null); Promise.reject('bare text'); return new Response('fine') } }";
        let server = TestServer::start(source).await;
        assert_eq!(get(server.address, "/").await.text(), "fine");
        server.worker.log.wait_for("bare text").await;
        assert_eq!(get(server.address, "/").await.text(), "fine");
    }));

    trials.push(test("an error thrown in a timer is logged and fails no request", async || {
        let source = "export default { fetch() { setTimeout(() => { throw new Error('from a timer') }, 1); return new Response('fine') } }";
        let server = TestServer::start(source).await;
        assert_eq!(get(server.address, "/").await.text(), "fine");
        server.worker.log.wait_for("Uncaught Error: from a timer").await;
        assert_eq!(get(server.address, "/").await.text(), "fine");
    }));

    trials.push(test("an error thrown in a microtask is logged and fails no request", async || {
        let source = "export default { fetch() { queueMicrotask(() => { throw new Error('from a microtask') }); return new Response('fine') } }";
        let server = TestServer::start(source).await;
        assert_eq!(get(server.address, "/").await.text(), "fine");
        server.worker.log.wait_for("Uncaught Error: from a microtask").await;
        assert_eq!(get(server.address, "/").await.text(), "fine");
    }));

    trials.push(test("an invalid response header or status is a clear error", async || {
        let source = "export default { fetch(request) { \
             const kind = new URL(request.url).pathname; \
             if (kind === '/header') return new Response('x', { headers: { 'bad name': 'x' } }); \
             if (kind === '/value') return new Response('x', { headers: { name: 'a\\nb' } }); \
             if (kind === '/status') return new Response('x', { status: 99 }); \
             if (kind === '/null-body') return new Response('x', { status: 204 }); \
             return new Response('fine') } }";
        let server = TestServer::start(source).await;
        for (path, error) in
            [("/header", "TypeError"), ("/value", "TypeError"), ("/status", "RangeError"), ("/null-body", "TypeError")]
        {
            let answer = get(server.address, path).await;
            assert_eq!(answer.status, 500, "{path}: {}", answer.text());
            assert!(answer.text().contains(error), "{path}: {}", answer.text());
        }
        assert_eq!(get(server.address, "/").await.text(), "fine");
    }));
}

fn runaway_handlers(trials: &mut Vec<Trial>) {
    let cpu = "Worker test exceeded CPU limit 100 ms: raise limits.cpu_ms";
    let memory = "Worker test exceeded memory limit 48 MB: raise limits.memory_mb";
    let cases = [
        ("loops forever", "for (;;) {}", cpu),
        ("loops forever behind a catch", "for (;;) { try { for (;;) {} } catch {} finally { for (;;) {} } }", cpu),
        ("loops forever after an await", "await 0; for (;;) {}", cpu),
        ("loops forever in a timer", "await new Promise(() => setTimeout(() => { for (;;) {} }, 1))", cpu),
        ("loops forever in microtasks", "for (;;) await null", cpu),
        ("loops forever in a getter of its answer", "return { get then() { for (;;) {} } }", cpu),
        (
            "loops forever in a stream",
            "return new Response(await new Response(new ReadableStream({ pull(c) { for (;;) {} } })).text())",
            cpu,
        ),
        (
            "matches a pattern of catastrophic backtracking",
            "return new Response(/^(a+)+$/.test('a'.repeat(40) + 'b') ? 'y' : 'n')",
            cpu,
        ),
        ("sorts with a comparison that never ends", "[1, 2, 3].sort(() => { for (;;) {} })", cpu),
        ("is stopped inside the console", "for (;;) console.log('x'.repeat(20_000_000))", cpu),
        ("fills an array without end", "const a = []; for (;;) a.push({ a: a.length })", memory),
        ("fills a typed list of numbers without end", "const a = []; for (;;) a.push(a.length + 0.5)", memory),
        (
            "builds strings without end",
            "const a = []; for (let i = 0;; i++) a.push(('x' + i).repeat(1000).split(''))",
            memory,
        ),
        ("fills a Map without end", "const m = new Map(); for (let i = 0;; i++) m.set('k' + i, { i })", memory),
        ("makes closures without end", "let f = () => 0; for (;;) { const g = f; f = () => g }", memory),
    ];
    for (what, body, expected) in cases {
        trials.push(test(&format!("a handler that {what} is stopped, told which limit, and replaced"), async move || {
            let source = format!(
                "let calls = 0; export default {{ async fetch(request) {{ calls++; if (request.url.endsWith('/next')) return new Response('call ' + calls); {body} }} }}"
            );
            let setup = WorkerSetup::of(&source).limits(|limits| {
                // Where the memory is the point, the time must not run out first.
                limits.cpu = Duration::from_millis(if expected.contains("CPU") { 100 } else { 20_000 });
                limits.heap_bytes = 48 * 1024 * 1024;
            });
            let server = TestServer::of(setup, ClientLimits::default()).await;
            assert_eq!(get(server.address, "/next").await.text(), "call 1");
            let answer = get(server.address, "/").await;
            assert_eq!((answer.status, answer.text().trim_end()), (503, expected));
            // A new isolate: nothing of the old one's state is left.
            assert_eq!(get(server.address, "/next").await.text(), "call 1");
            wait_until_idle(&server).await;
        }));
    }

    trials.push(test("a handler that fills array buffers without end is told which limit", async || {
        let source = "export default { fetch(request) { if (request.url.endsWith('/next')) return new Response('next'); \
                      if (request.url.endsWith('/huge')) new ArrayBuffer(1e15); \
                      const a = []; for (;;) a.push(new ArrayBuffer(1 << 20)) } }";
        let setup = WorkerSetup::of(source).limits(|limits| limits.array_buffer_bytes = 16 * 1024 * 1024);
        let server = TestServer::of(setup, ClientLimits::default()).await;
        for path in ["/", "/huge", "/"] {
            let answer = get(server.address, path).await;
            assert!(answer.status == 500 || answer.status == 503, "{}", answer.text());
            assert!(answer.text().contains("limits.array_buffer_mb"), "{}", answer.text());
            assert_eq!(get(server.address, "/next").await.text(), "next");
        }
    }));

    trials.push(test("a handler that concatenates a string without end gets a RangeError or is stopped", async || {
        let source = "export default { fetch(request) { if (request.url.endsWith('/next')) return new Response('next'); \
                      let s = 'x'; for (;;) s += s } }";
        let server = TestServer::start(source).await;
        let answer = get(server.address, "/").await;
        assert!(answer.text().contains("RangeError: Invalid string length") || answer.status == 503, "{}", answer.text());
        assert_eq!(get(server.address, "/next").await.text(), "next");
    }));

    trials.push(test("a loop begun by waitUntil after the answer is stopped and the worker goes on", async || {
        let source = "let calls = 0; export default { fetch(request, env, ctx) { calls++; \
                      if (request.url.endsWith('/loop')) ctx.waitUntil(new Promise(() => setTimeout(() => { for (;;) {} }, 1))); \
                      return new Response('call ' + calls) } }";
        let setup = WorkerSetup::of(source).limits(|limits| limits.cpu = Duration::from_millis(100));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        assert_eq!(get(server.address, "/loop").await.text(), "call 1");
        // The request may meet the old isolate, the gap, or the new one: only the new one says `call 1` again.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while get(server.address, "/").await.text() != "call 1" {
            assert!(tokio::time::Instant::now() < deadline, "the isolate is not replaced");
        }
    }));
}

fn runaway_modules(trials: &mut Vec<Trial>) {
    trials.push(test("a main module that loops forever is a load error that names the limit", async || {
        let setup = WorkerSetup::of("for (;;) {}").limits(|limits| limits.cpu = Duration::from_millis(100));
        let error = load_error(setup).await;
        assert_eq!(error.to_string(), "the main module exceeded CPU limit 100 ms: raise limits.cpu_ms");
    }));

    trials.push(test(
        "a main module that loops forever in microtasks is a load error that names the limit",
        async || {
            let source = "for (;;) await null; export default { fetch() {} }";
            let setup = WorkerSetup::of(source).limits(|limits| limits.cpu = Duration::from_millis(100));
            let error = load_error(setup).await;
            assert_eq!(error.to_string(), "the main module exceeded CPU limit 100 ms: raise limits.cpu_ms");
        },
    ));

    trials.push(test("a main module that allocates without end is a load error that names the limit", async || {
        let source = "const a: unknown[] = []; for (;;) a.push({ a: a.length }); export default { fetch() {} }";
        let setup = WorkerSetup::of(source).limits(|limits| limits.heap_bytes = 48 * 1024 * 1024);
        let error = load_error(setup).await;
        assert_eq!(error.to_string(), "the main module exceeded memory limit 48 MB: raise limits.memory_mb");
    }));

    trials.push(test("a main module that cannot be stopped is a load error that names the limit", async || {
        let source = "new Array(5e8).fill(1); export default { fetch() {} }";
        let setup = WorkerSetup::of(source).limits(|limits| limits.heap_bytes = 48 * 1024 * 1024);
        let error = load_error(setup).await;
        assert_eq!(error.to_string(), "the main module exceeded memory limit 48 MB: raise limits.memory_mb");
    }));

    trials.push(test("a main module that waits for what never comes is a load error", async || {
        let error = load_error(WorkerSetup::of("await new Promise(() => {}); export default { fetch() {} }")).await;
        assert!(error.to_string().contains("Top-level await"), "{error}");
    }));

    for (what, source, expected) in [
        ("throws", "throw new Error('at load')", "Uncaught Error: at load"),
        ("throws a string", "throw 'at load'", "at load"),
        ("throws null", "throw null", "null"),
        ("recurses without end", "(function f() { f() })()", "Maximum call stack size exceeded"),
        ("is empty", "", "the main module has no default export"),
        ("exports a number", "export default 5", "the default export is a number, not an object with handlers"),
        ("exports null", "export default null", "the main module has no default export"),
    ] {
        trials.push(test(&format!("a main module that {what} is a load error that says so"), async move || {
            let error = load_error(WorkerSetup::of(source)).await;
            assert!(error.to_string().contains(expected), "{error}");
        }));
    }
}

async fn load_error(setup: WorkerSetup) -> LoadError {
    match setup.try_start().await {
        Ok(_) => panic!("the worker loads"),
        Err(error) => error,
    }
}

async fn small_bodies() -> TestServer {
    let limits = ClientLimits { body_bytes: 1024 * 1024, ..ClientLimits::default() };
    TestServer::of(WorkerSetup::of(ECHO), limits).await
}

fn assert_too_long(status: u16, text: &str) {
    assert_eq!((status, text), (413, "request body exceeds 1 MB: raise limits.request_body_mb\n"));
}

/// The next request, on a connection of its own, works.
async fn assert_alive(server: &TestServer) {
    let answer = get(server.address, "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "got 0"));
}

async fn assert_alive_with(server: &TestServer, path: &str) {
    assert_eq!(get(server.address, path).await.status, 200);
}
