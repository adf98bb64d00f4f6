//! The server over HTTP: connections, streams, disconnects, `waitUntil`, shutdown, error pages, admin routes.

use std::net::SocketAddr;
use std::time::Duration;

use aerostack_server::{ClientLimits, Route, RouteReach};
use aerostack_tests::{Connection, TestServer, WorkerSetup, exchange, get, send, test};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::net::TcpStream;

const PATH: &str = "export default { fetch: (request) => new Response(new URL(request.url).pathname) }";

/// `GET /wait` waits for `GET /go`. The timer stands for anything that could still wake the handler: where nothing can, it is
/// told at once that it hangs.
const GATE: &str = "let open; const gate = new Promise((resolve) => { open = resolve; setTimeout(resolve, 60_000) }); \
     export default { async fetch(request, env, ctx) { \
       const path = new URL(request.url).pathname; \
       if (path === '/go') { open(); return new Response('gone') } \
       if (path === '/wait') { console.log('waiting'); await gate; return new Response('waited') } \
       if (path === '/later') { ctx.waitUntil(gate.then(() => console.log('later is done'))); return new Response('first') } \
       return new Response(path) } }";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    connections(trials);
    requests(trials);
    routes(trials);
    responses(trials);
    streams(trials);
    disconnects(trials);
    wait_until(trials);
    shutdown(trials);
    error_pages(trials);
    admin(trials);
    isolates(trials);
}

fn connections(trials: &mut Vec<Trial>) {
    trials.push(test("a connection is kept alive over several requests", async || {
        let server = TestServer::start(PATH).await;
        let mut connection = Connection::open(server.address).await;
        for path in ["/one", "/two", "/three"] {
            assert_eq!(connection.get(path).await.text(), path);
        }
    }));

    trials.push(test("pipelined requests are answered in their order", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { \
               const path = new URL(request.url).pathname; \
               if (path === '/slow') await new Promise((done) => setTimeout(done, 20)); \
               return new Response(path) } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        connection.write(["/slow", "/two", "/three"].map(request).concat()).await;
        for path in ["/slow", "/two", "/three"] {
            assert_eq!(connection.answer().await.text(), path);
        }
    }));

    trials.push(test("a request that arrives byte by byte is answered", async || {
        let server = TestServer::start(PATH).await;
        let mut connection = Connection::open(server.address).await;
        for byte in b"GET /slowly HTTP/1.1\r\nhost: localhost\r\n\r\n" {
            connection.write([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(connection.answer().await.text(), "/slowly");
    }));

    trials.push(test("HTTP/1.0 is answered with and without a Host, and the connection is closed", async || {
        let server = TestServer::start("export default { fetch: (request) => new Response(request.url) }").await;
        let answer = exchange(server.address, b"GET /old HTTP/1.0\r\n\r\n").await;
        assert!(String::from_utf8_lossy(&answer).ends_with("\r\n\r\nhttp://localhost/old"), "{answer:?}");
        let answer = exchange(server.address, b"GET /old HTTP/1.0\r\nhost: a.example\r\n\r\n").await;
        assert!(String::from_utf8_lossy(&answer).ends_with("\r\n\r\nhttp://a.example/old"), "{answer:?}");
    }));

    trials.push(test("a streamed answer to HTTP/1.0 is not chunked", async || {
        let server = TestServer::start(
            "export default { fetch: () => new Response(new ReadableStream({ start(c) { \
               c.enqueue(new TextEncoder().encode('streamed')); c.close() } })) }",
        )
        .await;
        let answer = exchange(server.address, b"GET / HTTP/1.0\r\n\r\n").await;
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.ends_with("\r\n\r\nstreamed") && !answer.contains("chunked"), "{answer}");
    }));

    trials.push(test("an absolute request target names the host", async || {
        let server = TestServer::start("export default { fetch: (request) => new Response(request.url) }").await;
        let request = b"GET http://b.example:81/p?q HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
        let answer = exchange(server.address, request).await;
        assert!(String::from_utf8_lossy(&answer).ends_with("http://b.example:81/p?q"), "{answer:?}");
    }));

    trials.push(test("expect: 100-continue is granted when the body is read", async || {
        let server =
            TestServer::start("export default { fetch: async (request) => new Response(await request.text()) }").await;
        let mut connection = Connection::open(server.address).await;
        connection
            .write("POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
            .await;
        assert!(connection.head().await.starts_with("http/1.1 100 "));
        connection.write("body").await;
        assert_eq!(connection.answer().await.text(), "body");
    }));

    trials.push(test("HTTP/2 with prior knowledge: requests share a connection and bodies go both ways", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { \
               return Response.json({ url: request.url, method: request.method, body: await request.text(), x: request.headers.get('x') }) } }",
        )
        .await;
        let mut client = http2_client(server.address).await;
        let mut answers = Vec::new();
        for number in 0..20 {
            let request = http::Request::post(format!("http://h2.example/{number}"))
                .header("x", number)
                .body(Full::new(Bytes::from("b".repeat(number * 10_000))))
                .expect("a valid request");
            answers.push(client.send_request(request));
        }
        for (number, answer) in answers.into_iter().enumerate() {
            let answer = answer.await.expect("an answer");
            assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
            let body = answer.into_body().collect().await.expect("the body arrives").to_bytes();
            let seen: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(seen["url"], json!(format!("http://h2.example/{number}")));
            assert_eq!((&seen["method"], &seen["x"]), (&json!("POST"), &json!(number.to_string())));
            assert_eq!(seen["body"].as_str().map(str::len), Some(number * 10_000));
        }
    }));

    trials.push(test(
        "HTTP/2 requests run at the same time on one connection, and a reset aborts only its own",
        async || {
            let server = TestServer::start(
                "let open; const gate = new Promise((resolve) => { open = resolve; setTimeout(resolve, 60_000) }); \
             export default { async fetch(request) { \
               const path = new URL(request.url).pathname; \
               if (path === '/go') { open(); return new Response('gone') } \
               request.signal.addEventListener('abort', () => console.log('aborted ' + path)); \
               console.log('began ' + path); \
               await gate; return new Response(path) } }",
            )
            .await;
            let mut client = http2_client(server.address).await;
            let request = |path: &str| {
                http::Request::get(format!("http://localhost{path}"))
                    .body(Full::new(Bytes::new()))
                    .expect("a valid request")
            };
            let left = tokio::spawn(client.send_request(request("/left")));
            let kept = tokio::spawn(client.send_request(request("/kept")));
            server.worker.log.wait_for("began /left").await;
            server.worker.log.wait_for("began /kept").await;
            left.abort();
            server.worker.log.wait_for("aborted /left").await;
            let gone = client.send_request(request("/go")).await.expect("an answer");
            assert_eq!(gone.status().as_u16(), 200);
            let kept = kept.await.expect("the task ends").expect("an answer");
            assert_eq!(kept.into_body().collect().await.expect("a body").to_bytes(), "/kept");
            assert!(!server.worker.log.lines().iter().any(|line| line.contains("aborted /kept")));
        },
    ));
}

fn routes(trials: &mut Vec<Trial>) {
    trials.push(test(
        "HTTP/2 reaches a worker that is not mounted at the root, and learns of paths where none is",
        async || {
            let server = TestServer::start(PATH).await;
            server.server.set_routes(
                vec![Route {
                    prefix: "/only".to_owned(),
                    reach: RouteReach::Tree,
                    replacement: String::new(),
                    worker: server.worker.worker.clone(),
                }],
                Vec::new(),
            );
            let mut client = http2_client(server.address).await;
            for (path, status) in [("/only/here", 200), ("/elsewhere", 404), ("/_aerostack/health", 200)] {
                let request = http::Request::get(format!("http://localhost{path}")).body(Full::new(Bytes::new()));
                let answer = client.send_request(request.expect("a valid request")).await.expect("an answer");
                assert_eq!(answer.status().as_u16(), status, "{path}");
            }
        },
    ));

    trials.push(test("a path where nothing is mounted is a 404 that says what is", async || {
        let server = TestServer::start(PATH).await;
        server.server.set_routes(
            vec![Route {
                prefix: "/only".to_owned(),
                reach: RouteReach::Tree,
                replacement: String::new(),
                worker: server.worker.worker.clone(),
            }],
            Vec::new(),
        );
        let answer = get(server.address, "/elsewhere").await;
        assert_eq!(answer.status, 404);
        assert!(answer.text().contains("/elsewhere") && answer.text().contains("/only"), "{}", answer.text());
        assert_eq!(get(server.address, "/only/here?x").await.text(), "/here");
        // On a connection of the worker the answer is the same.
        let mut connection = Connection::open(server.address).await;
        assert_eq!(connection.get("/only").await.text(), "/");
        assert_eq!(connection.get("/elsewhere").await.text(), answer.text());
        assert_eq!(connection.get("/onlyish").await.status, 404);
    }));
}

fn requests(trials: &mut Vec<Trial>) {
    const SHOW: &str = "export default { async fetch(request) { return Response.json({ \
        url: request.url, method: request.method, headers: [...request.headers], body: await request.text() }) } }";

    trials.push(test("the handler sees URL, method, headers and the client's address", async || {
        let server = TestServer::start(SHOW).await;
        let seen = send(server.address, "PATCH", "/a%20b/?q=1&r=%C3%A9", &[("X-Some", "Value")], b"hello").await.json();
        assert_eq!(seen["url"], json!(format!("http://{}/a%20b/?q=1&r=%C3%A9", server.address)));
        assert_eq!((&seen["method"], &seen["body"]), (&json!("PATCH"), &json!("hello")));
        let headers = seen["headers"].as_array().expect("a list");
        for header in [
            json!(["x-some", "Value"]),
            json!(["cf-connecting-ip", "127.0.0.1"]),
            json!(["host", server.address.to_string()]),
            json!(["content-length", "5"]),
        ] {
            assert!(headers.contains(&header), "{header} is not in {headers:?}");
        }
    }));

    trials.push(test("every method but CONNECT reaches the handler, made-up ones too", async || {
        let server = TestServer::start(SHOW).await;
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "REPORT"] {
            assert_eq!(send(server.address, method, "/", &[], b"").await.json()["method"], json!(method));
        }
    }));

    trials.push(test("a header sent twice is joined, cookies by semicolons", async || {
        let server = TestServer::start(
            "export default { fetch: (r) => Response.json([r.headers.get('x'), r.headers.get('cookie'), \
               Object.fromEntries(r.headers)['x'], r.headers.get('absent')]) }",
        )
        .await;
        let headers = [("x", "a"), ("X", "b"), ("cookie", "c=1"), ("cookie", "d=2")];
        let seen = send(server.address, "GET", "/", &headers, b"").await.json();
        assert_eq!(seen, json!(["a, b", "c=1; d=2", "a, b", null]));
    }));

    trials.push(test("header values beyond ASCII keep their bytes", async || {
        let server = TestServer::start(
            "export default { fetch: (r) => new Response(null, { headers: { y: r.headers.get('x') } }) }",
        )
        .await;
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nx: caf\xe9\r\nconnection: close\r\n\r\n";
        let answer = exchange(server.address, request).await;
        assert!(answer.windows(8).any(|window| window == b"y: caf\xe9\r"), "{:?}", String::from_utf8_lossy(&answer));
    }));

    trials.push(test("an incoming request's headers cannot be changed, a copy's can", async || {
        let server = TestServer::start(
            "export default { fetch(request) { \
               let error = 'none'; try { request.headers.set('x', 'y') } catch (e) { error = e.name } \
               const copy = new Request(request); copy.headers.set('x', 'y'); \
               return Response.json([error, copy.headers.get('x'), request.headers.get('x')]) } }",
        )
        .await;
        assert_eq!(get(server.address, "/").await.json(), json!(["TypeError", "y", null]));
    }));

    trials.push(test(
        "a request kept past its end can still be asked for what was read, and fails clearly for the rest",
        async || {
            let server = TestServer::start(
                "let kept; export default { fetch(request) { \
               if (kept === undefined) { kept = request; return new Response(request.url) } \
               let header; try { header = kept.headers.get('host') } catch (error) { header = error.name } \
               return Response.json([kept.url === request.url, kept.method, header]) } }",
            )
            .await;
            get(server.address, "/").await;
            let seen = get(server.address, "/").await;
            assert_eq!(seen.status, 200, "{}", seen.text());
            assert_eq!(seen.json()[0], json!(true));
            assert_eq!(seen.json()[1], json!("GET"));
        },
    ));

    trials.push(test("a megabyte comes back as it was sent, streamed and buffered, sized and chunked", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { \
               if (request.url.endsWith('/stream')) return new Response(request.body); \
               if (request.url.endsWith('/through')) return new Response(request.body.pipeThrough(new TransformStream())); \
               if (request.url.endsWith('/clone')) { const c = request.clone(); await c.arrayBuffer(); return new Response(request.body) } \
               return new Response(await request.arrayBuffer()) } }",
        )
        .await;
        let body: Vec<u8> = (0..1_000_003_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for path in ["/stream", "/through", "/clone", "/buffer"] {
            let answer = send(server.address, "POST", path, &[], &body).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.body == body, "{path}: the bytes differ, {} came back", answer.body.len());
            let mut chunked = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
            for chunk in body.chunks(10_007) {
                chunked.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                chunked.extend(chunk);
                chunked.extend(b"\r\n");
            }
            chunked.extend(b"0\r\n\r\n");
            let mut connection = Connection::open(server.address).await;
            connection.write(&chunked).await;
            assert!(connection.answer().await.body == body, "{path}: the bytes differ");
            assert_eq!(connection.get("/buffer").await.text(), "", "{path}: the connection can be used again");
        }
    }));

    trials.push(test("an upload is handed to the handler piece by piece, as it arrives", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { \
               for await (const piece of request.body) console.log('piece ' + new TextDecoder().decode(piece)); \
               return new Response('end') } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write("POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for piece in ["one", "two", "six"] {
            connection.write(format!("3\r\n{piece}\r\n")).await;
            server.worker.log.wait_for(&format!("piece {piece}")).await;
        }
        connection.write("0\r\n\r\n").await;
        assert_eq!(connection.answer().await.text(), "end");
    }));
}

fn responses(trials: &mut Vec<Trial>) {
    trials.push(test("HEAD has the headers of GET and no body", async || {
        let server =
            TestServer::start("export default { fetch: (request) => new Response('hello ' + request.method) }").await;
        let mut connection = Connection::open(server.address).await;
        connection.write("HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let head = connection.head().await;
        assert!(head.starts_with("http/1.1 200") && head.contains("content-length: 10"), "{head}");
        assert_eq!(connection.get("/").await.text(), "hello GET");
    }));

    trials.push(test("HEAD of a stream ends it and leaks nothing", async || {
        let server = TestServer::start(
            "export default { fetch: () => new Response(new ReadableStream({ \
               pull(c) { c.enqueue(new Uint8Array(1000)) }, cancel() { console.log('cancelled') } })) }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write("HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(connection.head().await.starts_with("http/1.1 200"));
        server.worker.log.wait_for("cancelled").await;
        wait_until_idle(&server).await;
    }));

    trials.push(test("two cookies are two headers", async || {
        let server = TestServer::start(
            "export default { fetch() { const headers = new Headers([['x', 'a'], ['x', 'b']]); \
               headers.append('set-cookie', 'a=1; Path=/'); headers.append('set-cookie', 'b=2'); \
               return new Response('x', { headers }) } }",
        )
        .await;
        let head = get(server.address, "/").await.head;
        assert!(head.contains("set-cookie: a=1; path=/\n"), "{head}");
        assert!(head.contains("set-cookie: b=2"), "{head}");
        assert!(head.contains("x: a, b") || head.contains("x: a\nx: b"), "{head}");
    }));

    trials.push(test("bodies of every kind arrive byte for byte", async || {
        let server = TestServer::start(
            "const bytes = Uint8Array.from({ length: 256 }, (_, i) => i); const big = new Uint8Array(200_000).fill(7); \
             export default { fetch(request) { switch (new URL(request.url).pathname) { \
               case '/null': return new Response(null); \
               case '/empty': return new Response(''); \
               case '/unicode': return new Response('\\u0000☃\\ud83d\\ude00'); \
               case '/lone': return new Response('a\\ud800b'); \
               case '/bytes': return new Response(bytes); \
               case '/buffer': return new Response(bytes.buffer); \
               case '/view': return new Response(bytes.subarray(16, 32)); \
               case '/data-view': return new Response(new DataView(bytes.buffer, 1, 3)); \
               case '/wide': return new Response(new Uint16Array([0x0201, 0x0403])); \
               case '/big': return new Response(big); \
               case '/blob': return new Response(new Blob(['a', bytes.subarray(0, 2)], { type: 'x/y' })); \
               case '/params': return new Response(new URLSearchParams({ a: '1 2' })); \
               case '/json': return Response.json({ a: [1, null] }); \
               case '/latin': return new Response('caf\\u00e9'); \
               case '/clone': { const r = new Response(bytes); r.clone(); return r; } \
               case '/long': return new Response('ab☃'.repeat(100_000)); \
             } } }",
        )
        .await;
        let all: Vec<u8> = (0..=255).collect();
        let long = "ab☃".repeat(100_000);
        let big = vec![7; 200_000];
        for (path, body, kind) in [
            ("/null", b"".as_slice(), None),
            ("/empty", b"", Some("text/plain;charset=utf-8")),
            ("/unicode", "\0☃😀".as_bytes(), Some("text/plain;charset=utf-8")),
            ("/lone", "a\u{fffd}b".as_bytes(), Some("text/plain;charset=utf-8")),
            ("/bytes", &all, None),
            ("/buffer", &all, None),
            ("/view", &all[16..32], None),
            ("/data-view", &[1, 2, 3], None),
            ("/wide", &[1, 2, 3, 4], None),
            ("/big", &big, None),
            ("/blob", &[b'a', 0, 1], Some("x/y")),
            ("/params", b"a=1+2", Some("application/x-www-form-urlencoded;charset=utf-8")),
            ("/json", br#"{"a":[1,null]}"#, Some("application/json")),
            ("/latin", "café".as_bytes(), Some("text/plain;charset=utf-8")),
            ("/clone", &all, None),
            ("/long", long.as_bytes(), Some("text/plain;charset=utf-8")),
        ] {
            // Twice: buffers that live in the module must not have been taken away by the first answer.
            for _ in 0..2 {
                let answer = get(server.address, path).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                assert!(answer.body == body, "{path}: {:?}", answer.text());
                let sent = answer.head.lines().find_map(|line| line.strip_prefix("content-type: "));
                assert_eq!(sent, kind, "{path}");
                if path != "/clone" && path != "/blob" {
                    assert!(
                        answer.head.contains(&format!("content-length: {}", body.len())),
                        "{path}: {}",
                        answer.head
                    );
                }
            }
        }
    }));

    trials.push(test("statuses without a body have none and the connection goes on", async || {
        let server = TestServer::start(
            "export default { fetch(request) { const status = Number(new URL(request.url).pathname.slice(1)); \
               return new Response(status === 404 ? 'no' : null, { status, statusText: 'Whatever' }) } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        for status in [204, 205, 304] {
            connection.write_get(&format!("/{status}")).await;
            let head = connection.head().await;
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
            assert!(!head.contains("transfer-encoding"), "{head}");
        }
        assert_eq!(connection.get("/404").await.text(), "no");
        for status in [200, 201, 299, 301, 418, 500, 599] {
            let answer = connection.get(&format!("/{status}")).await;
            assert_eq!((answer.status, answer.body.len()), (status, 0));
        }
    }));

    trials.push(test("a Response changed after it was made is sent as it became", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { switch (new URL(request.url).pathname) { \
               case '/set': { const r = new Response('x'); r.headers.set('y', 'z'); return r } \
               case '/type': { const r = new Response('x'); r.headers.delete('content-type'); return r } \
               case '/json': { const r = Response.json(1); r.headers.append('y', 'z'); return r } \
               case '/again': return new Response(new Response('x', { status: 201 }).body, { headers: { y: 'z' } }); \
               case '/clone': { const r = new Response('x', { headers: { y: 'z' } }); const c = r.clone(); await r.text(); return c } \
             } } }",
        )
        .await;
        for path in ["/set", "/json", "/again", "/clone"] {
            let answer = get(server.address, path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert!(answer.head.contains("y: z"), "{path}: {}", answer.head);
            assert_eq!(answer.text(), if path == "/json" { "1" } else { "x" });
        }
        assert!(!get(server.address, "/type").await.head.contains("content-type"));
    }));

    trials.push(test("a redirect is passed on to the client", async || {
        let server =
            TestServer::start("export default { fetch: () => Response.redirect('https://a.example/b', 307) }").await;
        let answer = get(server.address, "/").await;
        assert_eq!(answer.status, 307);
        assert!(answer.head.contains("location: https://a.example/b"), "{}", answer.head);
    }));

    trials.push(test("connection headers set by a handler cannot break the framing", async || {
        let server = TestServer::start(
            "export default { fetch(request) { const h = new URL(request.url).searchParams; \
               return new Response('hello', { headers: [...h] }) } }",
        )
        .await;
        for query in ["?content-length=3", "?content-length=99", "?transfer-encoding=chunked", "?connection=keep-alive"]
        {
            let mut connection = Connection::open(server.address).await;
            connection.write_get(&format!("/{query}")).await;
            let head = connection.head().await;
            let sizes = head.matches("content-length:").count() + head.matches("transfer-encoding:").count();
            assert!(sizes <= 1, "{query}: {head}");
        }
        assert_eq!(get(server.address, "/").await.text(), "hello");
    }));
}

fn streams(trials: &mut Vec<Trial>) {
    trials.push(test("a streamed answer arrives chunk by chunk, before its end", async || {
        let server = TestServer::start(
            "let open; const gate = new Promise((resolve) => { open = resolve; setTimeout(resolve, 60_000) }); const encoder = new TextEncoder(); \
             export default { fetch(request, env, ctx) { \
               if (request.url.endsWith('/go')) { open(); return new Response('gone') } \
               const { readable, writable } = new TransformStream(); \
               ctx.waitUntil((async () => { const writer = writable.getWriter(); \
                 await writer.write(encoder.encode('one')); await gate; \
                 await writer.write(encoder.encode('two')); await writer.close() })()); \
               return new Response(readable, { headers: { 'content-type': 'text/event-stream' } }) } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        let head = connection.head().await;
        assert!(head.contains("transfer-encoding: chunked") && head.contains("text/event-stream"), "{head}");
        assert_eq!(connection.chunk().await, b"one");
        assert_eq!(get(server.address, "/go").await.text(), "gone");
        assert_eq!(connection.chunk().await, b"two");
        assert_eq!(connection.chunk().await, b"");
        wait_until_idle(&server).await;
    }));

    trials.push(test("a producer is not run ahead of a client that does not read", async || {
        let server = TestServer::start(
            "let pulls = 0; export default { fetch(request) { \
               if (request.url.endsWith('/pulls')) return Response.json(pulls); \
               return new Response(new ReadableStream({ pull(c) { pulls++; c.enqueue(new Uint8Array(65536)) } })) } }",
        )
        .await;
        let mut connection = Connection::open_narrow(server.address).await;
        connection.write_get("/").await;
        connection.head().await;
        connection.chunk().await;
        // The count stands still once every buffer on the way is full; an unbounded producer never does.
        let mut unchanged = 0;
        let mut last = 0;
        while unchanged < 20 {
            let pulls = get(server.address, "/pulls").await.json().as_u64().expect("a number");
            assert!(pulls * 65536 < 32 * 1024 * 1024, "{pulls} chunks were made for a client that reads none");
            unchanged = if pulls == last { unchanged + 1 } else { 0 };
            last = pulls;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..200 {
            assert!(!connection.chunk().await.is_empty());
        }
        let pulls = get(server.address, "/pulls").await.json().as_u64().expect("a number");
        assert!(pulls > last, "the producer goes on once the client reads");
    }));

    trials.push(test("an uploading client is not read ahead of a handler that does not", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { if (request.method === 'GET') return new Response('next'); \
               const reader = request.body.getReader(); await reader.read(); console.log('read one'); \
               while (!request.signal.aborted) await scheduler.wait(20); console.log('left') } }",
        )
        .await;
        let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
        let upload = async {
            use tokio::io::AsyncWriteExt as _;
            let head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 90000000\r\n\r\n";
            stream.write_all(head).await.expect("the connection is open");
            let piece = vec![0; 64 * 1024];
            let mut sent = 0;
            // A write that cannot go on within this time will not go on at all: nobody reads.
            while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(500), stream.write_all(&piece)).await {
                sent += piece.len();
            }
            sent
        };
        let sent = upload.await;
        assert!(sent < 40_000_000, "{sent} bytes were taken by a handler that read one chunk");
        server.worker.log.wait_for("read one").await;
        drop(stream);
        assert_eq!(get(server.address, "/").await.text(), "next");
    }));

    trials.push(test("a stream that fails midway cuts the connection and is logged", async || {
        let server = TestServer::start(
            "let n = 0; export default { fetch(request) { if (request.url.endsWith('/next')) return new Response('next'); \
               return new Response(new ReadableStream({ \
               pull(c) { if (n++ < 2) c.enqueue(new TextEncoder().encode('part')); else throw new Error('midway') } })) } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        let rest = connection.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the client must see that the body is not whole");
        server.worker.log.wait_for("Error: midway").await;
        assert_eq!(get(server.address, "/next").await.text(), "next");
        wait_until_idle(&server).await;
    }));

    trials.push(test("a stream that is never fed is not cut as long as somebody could feed it", async || {
        let server = TestServer::start(
            "let controller; export default { fetch(request) { \
               if (request.url.endsWith('/feed')) { controller.enqueue(new TextEncoder().encode('fed')); controller.close(); return new Response('ok') } \
               return new Response(new ReadableStream({ start(c) { controller = c; c.enqueue(new TextEncoder().encode('first')) } })) } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        connection.head().await;
        assert_eq!(connection.chunk().await, b"first");
        assert_eq!(get(server.address, "/feed").await.text(), "ok");
        assert_eq!(connection.chunk().await, b"fed");
        assert_eq!(connection.chunk().await, b"");
    }));
}

fn disconnects(trials: &mut Vec<Trial>) {
    trials.push(test("a client that leaves mid-stream cancels the stream and fires request.signal", async || {
        let server = TestServer::start(
            "export default { fetch(request) { if (request.url.endsWith('/next')) return new Response('next'); \
               request.signal.addEventListener('abort', () => console.log('aborted ' + request.signal.aborted)); \
               return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(65536)) }, \
                 cancel() { console.log('cancelled') } })) } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        connection.head().await;
        connection.chunk().await;
        drop(connection);
        server.worker.log.wait_for("cancelled").await;
        server.worker.log.wait_for("aborted true").await;
        wait_until_idle(&server).await;
        assert_eq!(get(server.address, "/next").await.text(), "next");
    }));

    trials.push(test("a client that leaves before the answer fires request.signal", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { if (request.url.endsWith('/next')) return new Response('next'); \
               console.log('began'); \
               await new Promise((done) => { const t = setInterval(() => {}, 1000); \
                 request.signal.addEventListener('abort', () => { clearInterval(t); console.log('aborted: ' + request.signal.reason); done() }) }); \
               return new Response('too late') } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        server.worker.log.wait_for("began").await;
        drop(connection);
        server.worker.log.wait_for("aborted: AbortError").await;
        wait_until_idle(&server).await;
        assert_eq!(get(server.address, "/next").await.text(), "next");
    }));

    trials.push(test("a client that leaves ends an outbound wait that was tied to the signal", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { if (request.url.endsWith('/next')) return new Response('next'); \
               console.log('began'); \
               try { await scheduler.wait(600_000, { signal: request.signal }) } catch (error) { console.log('ended ' + error.name) } \
               return new Response('x') } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        server.worker.log.wait_for("began").await;
        drop(connection);
        server.worker.log.wait_for("ended AbortError").await;
        wait_until_idle(&server).await;
    }));

    trials.push(test("a signal does not fire for a request that was answered in full", async || {
        let server = TestServer::start(
            "let signal; export default { fetch(request) { \
               if (request.url.endsWith('/state')) return Response.json(signal.aborted); \
               signal = request.signal; return new Response('x') } }",
        )
        .await;
        assert_eq!(get(server.address, "/").await.text(), "x");
        wait_until_idle(&server).await;
        assert_eq!(get(server.address, "/state").await.text(), "false");
    }));

    trials.push(test("waitUntil work goes on after its client left", async || {
        let server = TestServer::start(
            "let open; const gate = new Promise((resolve) => { open = resolve; setTimeout(resolve, 60_000) }); \
             export default { async fetch(request, env, ctx) { \
               if (request.url.endsWith('/go')) { open(); return new Response('gone') } \
               ctx.waitUntil(gate.then(() => console.log('work is done'))); console.log('began'); \
               await gate; return new Response('x') } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        server.worker.log.wait_for("began").await;
        drop(connection);
        assert_eq!(get(server.address, "/go").await.text(), "gone");
        server.worker.log.wait_for("work is done").await;
        wait_until_idle(&server).await;
    }));
}

fn wait_until(trials: &mut Vec<Trial>) {
    trials.push(test("waitUntil: the answer leaves first, the work goes on", async || {
        let server = TestServer::start(GATE).await;
        assert_eq!(get(server.address, "/later").await.text(), "first");
        assert!(server.server.in_flight() >= 1, "the work counts as in flight");
        assert!(server.worker.log.lines().is_empty(), "{:?}", server.worker.log.lines());
        assert_eq!(get(server.address, "/go").await.text(), "gone");
        server.worker.log.wait_for("later is done").await;
        wait_until_idle(&server).await;
    }));

    trials.push(test("waitUntil takes anything, and a rejection is logged with its request", async || {
        let server = TestServer::start(
            "export default { fetch(request, env, ctx) { \
               ctx.waitUntil(); ctx.waitUntil(5); ctx.waitUntil(null); ctx.waitUntil(Promise.resolve()); \
               ctx.waitUntil(Promise.reject(new Error('too bad'))); \
               return new Response(String(ctx.waitUntil(1))) } }",
        )
        .await;
        assert_eq!(get(server.address, "/wait").await.text(), "undefined");
        server.worker.log.wait_for("Uncaught (in promise) Error: too bad").await;
        let lines = server.worker.log.lines();
        assert_eq!(lines, ["uncaught [GET /wait]: Uncaught (in promise) Error: too bad"]);
        wait_until_idle(&server).await;
    }));

    trials.push(test("waitUntil may be called again from work it waits for, after the answer", async || {
        let server = TestServer::start(
            "export default { fetch(request, env, ctx) { \
               ctx.waitUntil((async () => { await scheduler.wait(1); \
                 ctx.waitUntil((async () => { await scheduler.wait(1); console.log('inner') })()) })()); \
               return new Response('x') } }",
        )
        .await;
        assert_eq!(get(server.address, "/").await.text(), "x");
        server.worker.log.wait_for("inner").await;
        wait_until_idle(&server).await;
    }));

    trials.push(test("waitUntil work that can never settle is forgotten", async || {
        let server = TestServer::start(
            "export default { fetch(request, env, ctx) { ctx.waitUntil(new Promise(() => {})); return new Response('x') } }",
        )
        .await;
        assert_eq!(get(server.address, "/").await.text(), "x");
        wait_until_idle(&server).await;
    }));

    trials.push(test("waitUntil works for a handler that throws", async || {
        let server = TestServer::start(
            "export default { fetch(request, env, ctx) { \
               ctx.waitUntil(scheduler.wait(1).then(() => console.log('still done'))); throw new Error('x') } }",
        )
        .await;
        assert_eq!(get(server.address, "/").await.status, 500);
        server.worker.log.wait_for("still done").await;
        wait_until_idle(&server).await;
    }));

    trials.push(test("ctx has waitUntil and passThroughOnException, and neither works without its object", async || {
        let server = TestServer::start(
            "export default { fetch(request, env, ctx) { \
               const { waitUntil, passThroughOnException } = ctx; const seen = []; \
               for (const call of [() => waitUntil(Promise.resolve()), () => passThroughOnException(), () => waitUntil.call({}, 1)]) { \
                 try { call(); seen.push('no error') } catch (error) { seen.push(error.name + ': ' + error.message) } } \
               seen.push(ctx.passThroughOnException()); \
               return Response.json(seen) } }",
        )
        .await;
        let illegal = "TypeError: Illegal invocation: function called with incorrect `this` reference. See \
                       https://developers.cloudflare.com/workers/observability/errors/#illegal-invocation-errors for details.";
        assert_eq!(get(server.address, "/").await.json(), json!([illegal, illegal, illegal, null]));
    }));
}

fn shutdown(trials: &mut Vec<Trial>) {
    trials.push(test(
        "shutdown waits for the request in flight, then closes its connection, and takes no new one",
        async || {
            let server = TestServer::start(GATE).await;
            let mut connection = Connection::open(server.address).await;
            connection.write_get("/wait").await;
            server.worker.log.wait_for("waiting").await;
            let mut idle = Connection::open(server.address).await;
            assert_eq!(idle.get("/idle").await.text(), "/idle");
            let shut_down = server.server.shut_down();
            tokio::pin!(shut_down);
            // An idle connection is closed at once; the one in use is not.
            tokio::select! {
                () = &mut shut_down => panic!("shutdown did not wait for the request in flight"),
                rest = idle.rest() => assert!(rest.is_empty()),
            }
            let refused = get(server.address, "/new").await;
            assert_eq!((refused.status, refused.text().as_str()), (503, "the server is shutting down\n"));
            assert_eq!(server.server.in_flight(), 1);
            assert_eq!(server.worker.get("/go").await.text(), "gone");
            let (answer, ()) = tokio::join!(connection.answer(), &mut shut_down);
            assert_eq!(answer.text(), "waited");
            assert!(connection.rest().await.is_empty());
            let closed = async { while TcpStream::connect(server.address).await.is_ok() {} };
            tokio::time::timeout(Duration::from_secs(10), closed).await.expect("nobody listens any more");
        },
    ));

    trials.push(test("shutdown waits for waitUntil work", async || {
        let server = TestServer::start(GATE).await;
        assert_eq!(get(server.address, "/later").await.text(), "first");
        server.server.shut_down().await;
        let drain = server.worker.worker.drain();
        tokio::pin!(drain);
        let early = tokio::time::timeout(Duration::from_millis(50), &mut drain).await;
        assert!(early.is_err(), "the drain did not wait for waitUntil");
        assert_eq!(server.worker.get("/go").await.text(), "gone");
        tokio::time::timeout(Duration::from_secs(10), drain).await.expect("the drain ends");
        assert!(server.worker.log.lines().iter().any(|line| line.contains("later is done")));
    }));

    trials.push(test("shutdown lets a streamed answer end", async || {
        let server = TestServer::start(
            "let controller; export default { fetch(request) { \
               if (request.url.endsWith('/end')) { controller.enqueue(new TextEncoder().encode('end')); controller.close(); return new Response('ok') } \
               return new Response(new ReadableStream({ start(c) { controller = c; c.enqueue(new TextEncoder().encode('start')) } })) } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        connection.head().await;
        assert_eq!(connection.chunk().await, b"start");
        let shut_down = server.server.shut_down();
        tokio::pin!(shut_down);
        let early = tokio::time::timeout(Duration::from_millis(50), &mut shut_down).await;
        assert!(early.is_err(), "shutdown did not wait for the stream");
        server.worker.get("/end").await;
        let (chunk, ()) = tokio::join!(connection.chunk(), shut_down);
        assert_eq!(chunk, b"end");
        assert_eq!(connection.chunk().await, b"");
    }));
}

fn error_pages(trials: &mut Vec<Trial>) {
    const THROWS: &str = "interface Env {\n  A: string\n}\n\nfunction inner(value: string): never {\n  throw new TypeError(`bad <b>${value}</b>`, { cause: new Error('the root') });\n}\n\nexport default {\n  async fetch(request: Request, env: Env): Promise<Response> {\n    inner('value');\n  },\n};\n";

    trials.push(test(
        "a browser gets an error page with the source line and a stack through the source map",
        async || {
            let server = TestServer::start(THROWS).await;
            let headers = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
            let page = send(server.address, "GET", "/", &headers, b"").await;
            assert_eq!(page.status, 500);
            assert!(page.head.contains("content-type: text/html; charset=utf-8"), "{}", page.head);
            let text = page.text();
            for part in [
                "<!doctype html>",
                "src/index.ts:6:9",
                "src/index.ts:11:5",
                "Caused by: Error: the root",
                "bad &lt;b&gt;value",
            ] {
                assert!(text.contains(part), "{part:?} is not in {text}");
            }
            assert!(!text.contains("<b>") && !text.contains("ext:"), "{text}");
        },
    ));

    trials.push(test("everybody else gets the same as plain text", async || {
        let server = TestServer::start(THROWS).await;
        for headers in [&[][..], &[("accept", "*/*")], &[("accept", "application/json")]] {
            let answer = send(server.address, "GET", "/", headers, b"").await;
            assert_eq!(answer.status, 500);
            assert!(answer.head.contains("content-type: text/plain"), "{}", answer.head);
            let text = answer.text();
            assert!(
                text.starts_with("Uncaught TypeError: bad <b>value</b>\n    at inner (src/index.ts:6:9)\n"),
                "{text}"
            );
            assert!(
                text.contains("at Object.fetch (src/index.ts:11:5)") || text.contains("(src/index.ts:11:5)"),
                "{text}"
            );
        }
    }));

    trials.push(test("an error in an imported file names that file", async || {
        let setup = WorkerSetup::of("import { fail } from './lib/fail.ts';\nexport default { fetch() { return fail() } }")
            .file("src/lib/fail.ts", "\n\nexport function fail(): Response {\n  const nothing: any = undefined;\n  return nothing.property;\n}\n");
        let server = TestServer::of(setup, ClientLimits::default()).await;
        let text = get(server.address, "/").await.text();
        assert!(text.contains("at fail (src/lib/fail.ts:5:18)"), "{text}");
        assert!(text.contains("src/index.ts:2:"), "{text}");
    }));
}

const HEALTHY: &str = r#"{"status":"ok"}"#;

fn admin(trials: &mut Vec<Trial>) {
    trials.push(test("admin health answers while the worker is stuck in a loop", async || {
        let source = "export default { fetch(request) { if (request.url.endsWith('/next')) return new Response('next'); \
                      console.log('looping'); for (;;) {} } }";
        let setup = WorkerSetup::of(source).limits(|limits| limits.cpu = Duration::from_secs(3));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        server.worker.log.wait_for("looping").await;
        for _ in 0..5 {
            let health = get(server.address, "/_aerostack/health").await;
            assert_eq!((health.status, health.text().as_str()), (200, HEALTHY));
        }
        let busy = server.worker.log.lines();
        assert_eq!(busy.len(), 1, "the loop still runs: {busy:?}");
        let stopped = connection.answer().await;
        assert_eq!(stopped.status, 503);
        assert_eq!(get(server.address, "/next").await.text(), "next");
    }));

    trials.push(test("admin routes refuse a foreign Host and a foreign Origin", async || {
        let server = TestServer::start(PATH).await;
        for (host, origin, status) in [
            ("localhost", None, 200),
            ("127.0.0.1:8788", Some("http://localhost:3000"), 200),
            ("evil.example", None, 403),
            ("localhost.evil.example", None, 403),
            ("localhost", Some("http://evil.example"), 403),
            ("localhost", Some("null"), 403),
            ("localhost", Some("https://localhost.evil.example"), 403),
        ] {
            let origin = origin.map_or(String::new(), |origin| format!("origin: {origin}\r\n"));
            let request =
                format!("GET /_aerostack/health HTTP/1.1\r\nhost: {host}\r\n{origin}connection: close\r\n\r\n");
            let answer = exchange(server.address, request.as_bytes()).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host} {origin} {answer}");
        }
    }));

    trials.push(test("admin routes never reach a worker, on its connections neither", async || {
        let server = TestServer::start("export default { fetch: () => new Response('worker') }").await;
        let mut connection = Connection::open(server.address).await;
        assert_eq!(connection.get("/").await.text(), "worker");
        assert_eq!(connection.get("/_aerostack/health").await.text(), HEALTHY);
        assert_eq!(connection.get("/_aerostack/nothing").await.status, 404);
        assert_eq!(connection.get("/").await.text(), "worker");
        assert_eq!(get(server.address, "/_aerostack/nothing").await.status, 404);
        assert_eq!(get(server.address, "/_aerostackish").await.text(), "worker");
    }));

    trials.push(test(
        "a connection that began with an admin request ends with it, so that no worker's request follows",
        async || {
            let server = TestServer::start(PATH).await;
            let mut connection = Connection::open(server.address).await;
            let health = connection.get("/_aerostack/health").await;
            assert_eq!(health.text(), HEALTHY);
            assert!(health.head.contains("connection: close"), "{}", health.head);
            assert!(connection.rest().await.is_empty());
        },
    ));
}

fn isolates(trials: &mut Vec<Trial>) {
    trials.push(test("requests interleave in one isolate", async || {
        let server = TestServer::start(GATE).await;
        let mut first = Connection::open(server.address).await;
        first.write_get("/wait").await;
        server.worker.log.wait_for("waiting").await;
        let mut second = Connection::open(server.address).await;
        assert_eq!(second.get("/other").await.text(), "/other");
        assert_eq!(second.get("/go").await.text(), "gone");
        assert_eq!(first.answer().await.text(), "waited");
    }));

    trials.push(test("log lines carry the request they belong to, across awaits", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { \
               const path = new URL(request.url).pathname; \
               await scheduler.wait(path === '/a' ? 10 : 5); console.log('from ' + path); \
               await Promise.resolve(); queueMicrotask(() => console.warn('micro ' + path)); \
               return new Response(path) } }",
        )
        .await;
        let (a, b) = tokio::join!(get(server.address, "/a"), get(server.address, "/b"));
        assert_eq!((a.text(), b.text()), ("/a".to_owned(), "/b".to_owned()));
        let mut lines = server.worker.log.lines();
        lines.sort();
        assert_eq!(
            lines,
            ["info [GET /a]: from /a", "info [GET /b]: from /b", "warn [GET /a]: micro /a", "warn [GET /b]: micro /b"]
        );
    }));

    trials.push(test("two isolates share the connections evenly", async || {
        let mut setup =
            WorkerSetup::of("const id = crypto.randomUUID(); export default { fetch: () => new Response(id) }");
        setup.isolates = 2;
        let server = TestServer::of(setup, ClientLimits::default()).await;
        let mut connections = Vec::new();
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6 {
            let mut connection = Connection::open(server.address).await;
            *seen.entry(connection.get("/").await.text()).or_insert(0) += 1;
            connections.push(connection);
        }
        assert_eq!(seen.into_values().collect::<Vec<_>>(), [3, 3]);
    }));

    trials.push(test("two hundred requests at once are all answered", async || {
        let server = TestServer::start(
            "export default { async fetch(request) { await scheduler.wait(5); return new Response(new URL(request.url).pathname) } }",
        )
        .await;
        let mut requests = tokio::task::JoinSet::new();
        for number in 0..200 {
            let address = server.address;
            requests.spawn(async move {
                let path = format!("/{number}");
                assert_eq!(get(address, &path).await.text(), path);
            });
        }
        while let Some(outcome) = requests.join_next().await {
            outcome.expect("every request is answered");
        }
        wait_until_idle(&server).await;
    }));
}

pub(crate) async fn http2_client(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("the server speaks HTTP/2");
    tokio::spawn(connection);
    client
}

/// Waits until no invocation is left: nothing was leaked.
async fn wait_until_idle(server: &TestServer) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while server.server.in_flight() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "{} invocations are left", server.server.in_flight());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
