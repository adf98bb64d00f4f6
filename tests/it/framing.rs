//! Where one HTTP/1 message ends and the next begins (RFC 9112, sections 6 to 9): nothing may be read in two ways, and no answer may be
//! lost because its client was still sending.

use aerostack_tests::{Connection, TestServer, exchange, get, send, test, wait_until_idle};
use libtest_mimic::Trial;

/// Says how long the body was.
const LENGTH: &str = "export default { async fetch(request) { \
    const { byteLength } = await request.arrayBuffer(); console.log('read ' + byteLength); return new Response(String(byteLength)) } }";

/// Answers without a look at the body.
const UNREAD: &str = "export default { fetch: () => new Response('unread') }";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    requests(trials);
    answers(trials);
    early_answers(trials);
}

fn requests(trials: &mut Vec<Trial>) {
    trials.push(test("a body whose end can be seen in two ways never reaches a handler, and the client hears why", async || {
        let server = TestServer::start(LENGTH).await;
        for (fields, why) in [
            ("content-length: 5\r\ntransfer-encoding: chunked\r\n", "a content-length and a transfer-encoding"),
            ("content-length: 5\r\ncontent-length: 0\r\n", "more than one content-length"),
            ("content-length: 5, 5\r\n", "invalid content-length"),
            ("transfer-encoding: chunked, identity\r\n", "unknown transfer-encoding"),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "unknown transfer-encoding"),
            ("content-length:\r\n 5\r\n", "invalid"),
        ] {
            let request = format!("POST / HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
            let answer = exchange(server.address, request.as_bytes()).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{fields:?}: {answer}");
            assert!(answer.contains(why) && !answer.contains(" 200 "), "{fields:?}: {answer}");
        }
        assert_eq!(get(server.address, "/").await.text(), "0");
        let lines = server.worker.log.lines();
        assert_eq!(lines.iter().filter(|line| line.contains("read ")).count(), 1, "{lines:?}");
    }));

    trials.push(test(
        "the request behind a body is found, whatever its length and wherever its pieces end",
        async || {
            let server = TestServer::start(LENGTH).await;
            for length in [1, 1000, 16_383, 16_384, 65_537, 131_072, 262_143, 262_145, 400_000] {
                let body = vec![b'b'; length];
                let sized = [
                    format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n").as_bytes(),
                    &body,
                ]
                .concat();
                let mut chunked = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
                for chunk in body.chunks(length / 3 + 1) {
                    chunked.extend([format!("{:X};a=b\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                }
                chunked.extend(b"0\r\ntrailer: t\r\n\r\n");
                let next = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
                let all = [sized.as_slice(), &chunked, next, &chunked, &sized, next].concat();
                for piece in [1009, all.len()] {
                    let mut connection = Connection::open(server.address).await;
                    for piece in all.chunks(piece) {
                        connection.write(piece).await;
                    }
                    for expected in [length, length, 0, length, length, 0] {
                        assert_eq!(
                            connection.answer().await.text(),
                            expected.to_string(),
                            "{length} in pieces of {piece}"
                        );
                    }
                }
            }
            wait_until_idle(&server).await;
        },
    ));

    trials.push(test("HTTP/1.0 keeps the connection for a client that asks for it", async || {
        let server = TestServer::start("export default { fetch: (request) => new Response(request.url) }").await;
        let mut connection = Connection::open(server.address).await;
        for _ in 0..2 {
            connection.write("GET /kept HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n").await;
            let answer = connection.answer().await;
            assert!(answer.head.contains("connection: keep-alive"), "{}", answer.head);
            assert_eq!(answer.text(), "http://localhost/kept");
        }
    }));

    trials.push(test(
        "expect: 100-continue is not granted where nobody reads, nor where the body has come",
        async || {
            let server = TestServer::start(UNREAD).await;
            let mut connection = Connection::open(server.address).await;
            connection
                .write("POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n")
                .await;
            let answer = connection.answer().await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "unread"));
            assert!(answer.head.contains("connection: close"), "{}", answer.head);
            assert!(connection.rest().await.is_empty());

            let server = TestServer::start(LENGTH).await;
            let mut connection = Connection::open(server.address).await;
            connection
                .write("POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody")
                .await;
            let answer = connection.answer().await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "4"));
        },
    ));
}

fn answers(trials: &mut Vec<Trial>) {
    trials.push(test("a handler that says connection: close closes it, after its answer", async || {
        let server = TestServer::start(
            "export default { fetch: () => new Response('last', { headers: { connection: 'close' } }) }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        let answer = connection.get("/").await;
        assert_eq!(answer.text(), "last");
        assert_eq!(answer.head.matches("connection: close").count(), 1, "{}", answer.head);
        assert!(connection.rest().await.is_empty());
    }));

    trials.push(test(
        "a handler may say how long the body is that HEAD and 304 leave out, and nobody waits for it",
        async || {
            let server = TestServer::start(
                "export default { fetch(request) { const status = request.method === 'HEAD' ? 200 : 304; \
               return new Response(null, { status, headers: { 'content-length': '42' } }) } }",
            )
            .await;
            let mut connection = Connection::open(server.address).await;
            for method in ["HEAD", "GET", "HEAD"] {
                connection.write(format!("{method} / HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
                let head = connection.head().await;
                assert_eq!(head.matches("content-length: 42").count(), 1, "{head}");
            }
        },
    ));

    trials.push(test("every answer has one date, the handler's where it sets one", async || {
        let server = TestServer::start(
            "export default { fetch(request) { const { pathname } = new URL(request.url); \
               return new Response('x', { headers: pathname === '/own' ? { date: 'Thu, 01 Jan 1970 00:00:00 GMT' } : {} }) } }",
        )
        .await;
        let own = get(server.address, "/own").await.head;
        assert_eq!((own.matches("date: ").count(), own.contains("date: thu, 01 jan 1970 00:00:00 gmt")), (1, true), "{own}");
        let ours = get(server.address, "/").await.head;
        let date = ours.lines().find_map(|line| line.strip_prefix("date: ")).expect("a date");
        assert!(date.len() == 29 && date.ends_with(" gmt") && !date.contains("1970"), "{ours}");
    }));

    trials.push(test("an answer that is shorter than it said ends the connection, not the next answer", async || {
        let server = TestServer::start(
            "export default { fetch() { const { readable, writable } = new FixedLengthStream(10); \
               const writer = writable.getWriter(); writer.write(new Uint8Array(4)).then(() => writer.abort('no more')); \
               return new Response(readable) } }",
        )
        .await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/").await;
        connection.write_get("/").await;
        let rest = connection.rest().await;
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.matches("HTTP/1.1 ").count() <= 1, "{rest:?}");
    }));
}

fn early_answers(trials: &mut Vec<Trial>) {
    trials.push(test(
        "a client that sends all of a body that nobody reads gets the answer whole, and hears that it is the last",
        async || {
            let server = TestServer::start(UNREAD).await;
            for framing in ["content-length: 4000000", "transfer-encoding: chunked"] {
                let mut connection = Connection::open(server.address).await;
                connection.write(format!("POST / HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n")).await;
                if framing.ends_with("chunked") {
                    connection.write("3d0900\r\n").await;
                }
                for _ in 0..40 {
                    connection.write(vec![b'b'; 100_000]).await;
                }
                let answer = connection.answer().await;
                assert_eq!(answer.text(), "unread");
                assert!(answer.head.contains("connection: close"), "{}", answer.head);
                assert!(connection.rest().await.is_empty());
            }
            wait_until_idle(&server).await;
        },
    ));

    trials.push(test("a client whose head is refused hears why, though it goes on sending", async || {
        let server = TestServer::start(UNREAD).await;
        let mut connection = Connection::open(server.address).await;
        connection.write("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n").await;
        connection.write(vec![b'b'; 1_000_000]).await;
        let answer = connection.answer().await;
        assert_eq!((answer.status, answer.text().trim()), (400, "invalid content-length"));
        assert!(connection.rest().await.is_empty());
    }));

    trials.push(test(
        "what comes back while it is still being sent is not held up, and nothing of it is lost",
        async || {
            let server = TestServer::start("export default { fetch: (request) => new Response(request.body) }").await;
            let mut connection = Connection::open(server.address).await;
            connection.write("POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
            connection.write("3\r\none\r\n").await;
            assert!(connection.head().await.contains("transfer-encoding: chunked"));
            assert_eq!(connection.chunk().await, b"one");
            connection.write("3\r\ntwo\r\n0\r\n\r\n").await;
            assert_eq!(connection.chunk().await, b"two");
            assert_eq!(connection.chunk().await, b"");
            assert_eq!(send(server.address, "POST", "/", &[], b"again").await.text(), "again");
        },
    ));
}
