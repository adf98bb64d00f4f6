//! Bodies on their way to a client: what a stream may give, how one that fails is answered and logged, and how bodies are encoded.

use aerostack_server::ClientLimits;
use aerostack_tests::{Connection, TestServer, WorkerSetup, get, send, test, wait_until_idle};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use libtest_mimic::Trial;

use crate::http::http2_client;

/// `GET /case` answers with the body of that name.
const CASES: &str = include_str!("../workers/bodies/cases.ts");
/// Compressed and redirecting answers for the worker in `PROXY`.
const ORIGIN: &str = include_str!("../workers/bodies/origin.ts");
/// Passes on what it fetches from `env.ORIGIN`.
const PROXY: &str = include_str!("../workers/bodies/proxy.ts");

/// What `origin.ts` compresses.
const TEXT_BYTES: usize = 20_000;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    chunks(trials);
    failures(trials);
    over_http2(trials);
    lengths(trials);
    uploads(trials);
    codings(trials);
}

fn chunks(trials: &mut Vec<Trial>) {
    trials.push(test("chunks of a streamed answer may be text and any buffer", async || {
        let server = TestServer::start(CASES).await;
        for (case, body) in [
            ("texts", "aé"),
            ("buffer", "ab"),
            ("view", "b"),
            ("wide", "aa"),
            ("empty-chunks", "z"),
            ("generator-of-texts", "xy"),
            ("generator-of-bytes", "xy"),
            ("iterable", "ab"),
            ("transform", "text"),
            ("nothing", ""),
        ] {
            let answer = get(server.address, &format!("/{case}")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, body), "{case}");
        }
        wait_until_idle(&server).await;
    }));

    trials.push(test("a fetch sends streams of text and of any buffer", async || {
        let origin = TestServer::start(ORIGIN).await;
        let setup = WorkerSetup::of(PROXY).variable("ORIGIN", format!("http://{}", origin.address));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        assert_eq!(get(server.address, "/uploads").await.json(), serde_json::json!(["texté", "ab", "xy"]));
    }));
}

fn failures(trials: &mut Vec<Trial>) {
    for case in [
        "start-throws",
        "pull-throws",
        "pull-throws-later",
        "errored",
        "generator-throws",
        "bytes-throw",
        "transform-throws",
    ] {
        trials.push(test(
            &format!("a body that fails before its first byte is an error page: {case}"),
            async move || {
                let server = TestServer::start(CASES).await;
                let mut connection = Connection::open(server.address).await;
                connection.write_get(&format!("/{case}")).await;
                let answer = connection.answer().await;
                assert_eq!(answer.status, 500, "{}", answer.text());
                assert!(answer.text().contains("Error: boom"), "{}", answer.text());
                // The connection is as good as before.
                assert_eq!(connection.get("/texts").await.text(), "aé");
                wait_until_idle(&server).await;
                assert!(
                    !server.worker.log.lines().join("\n").contains("broke off"),
                    "{:#?}",
                    server.worker.log.lines()
                );
            },
        ));
    }

    trials.push(test("what is neither text nor bytes is an error page that says so", async || {
        let server = TestServer::start(CASES).await;
        for case in ["number", "null", "object"] {
            let answer = get(server.address, &format!("/{case}")).await;
            assert_eq!(answer.status, 500, "{case}");
            assert!(
                answer.text().contains("TypeError: This ReadableStream did not return bytes."),
                "{}",
                answer.text()
            );
        }
    }));

    trials.push(test(
        "a body that fails after its first byte breaks the connection off and is logged as that",
        async || {
            let server = TestServer::start(CASES).await;
            for (case, logged) in [
                ("fails-midway", "the response broke off: Uncaught Error: boom"),
                (
                    "number-midway",
                    "the response broke off: Uncaught TypeError: This ReadableStream did not return bytes.",
                ),
                ("fails-slowly", "the response broke off: Uncaught Error: boom"),
            ] {
                let mut connection = Connection::open(server.address).await;
                connection.write_get(&format!("/{case}")).await;
                let rest = connection.rest().await;
                let rest = String::from_utf8_lossy(&rest);
                assert!(rest.starts_with("HTTP/1.1 200 ") && !rest.ends_with("0\r\n\r\n"), "{case}: {rest}");
                server.worker.log.wait_for(&format!("[GET /{case}]: {logged}")).await;
            }
            wait_until_idle(&server).await;
        },
    ));

    trials.push(test("the head of an answer does not wait for long for a body that says nothing", async || {
        let server = TestServer::start(CASES).await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/silent").await;
        assert!(connection.head().await.starts_with("http/1.1 200 "));
        assert_eq!(get(server.address, "/speak").await.text(), "spoken");
        assert_eq!(connection.chunk().await, b"at last");
    }));

    trials.push(test("a client that leaves while the first byte is waited for cancels the stream", async || {
        let server = TestServer::start(CASES).await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/cancelled").await;
        server.worker.log.wait_for("pulled").await;
        drop(connection);
        server.worker.log.wait_for("cancelled").await;
        wait_until_idle(&server).await;
    }));

    trials.push(test("a body that somebody reads already is an error page", async || {
        let server = TestServer::start(CASES).await;
        for case in ["locked", "locked-stream", "read"] {
            assert_eq!(get(server.address, &format!("/{case}")).await.status, 500, "{case}");
        }
    }));
}

fn over_http2(trials: &mut Vec<Trial>) {
    trials.push(test("an HTTP/2 answer to HEAD has no body and says how long it would be", async || {
        let server = TestServer::start(CASES).await;
        let mut client = http2_client(server.address).await;
        for (case, length) in [("blob", Some("3")), ("looked-at", Some("3")), ("texts", None), ("gzip-stream", None)] {
            let request = ::http::Request::head(format!("http://h2.example/{case}"));
            let request = request.body(Full::new(Bytes::new())).expect("a valid request");
            let answer = client.send_request(request).await.expect("an answer");
            let said = answer.headers().get("content-length").map(|value| value.to_str().expect("a number").to_owned());
            assert_eq!((answer.status().as_u16(), said.as_deref()), (200, length), "{case}");
            assert!(answer.into_body().collect().await.expect("it ends well").to_bytes().is_empty(), "{case}");
        }
        wait_until_idle(&server).await;
    }));

    trials.push(test("an HTTP/2 answer that fails after its first byte has its head and is reset", async || {
        let server = TestServer::start(CASES).await;
        let mut client = http2_client(server.address).await;
        for case in ["fails-midway", "number-midway", "fails-slowly"] {
            let request = ::http::Request::get(format!("http://h2.example/{case}"));
            let request = request.body(Full::new(Bytes::new())).expect("a valid request");
            let answer = client.send_request(request).await.expect("a head");
            assert_eq!(answer.status().as_u16(), 200, "{case}");
            assert!(answer.into_body().collect().await.is_err(), "{case}");
        }
        // The connection is as good as before.
        let request = ::http::Request::get("http://h2.example/texts").body(Full::new(Bytes::new()));
        let answer = client.send_request(request.expect("a valid request")).await.expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "aé".as_bytes());
        wait_until_idle(&server).await;
    }));
}

fn lengths(trials: &mut Vec<Trial>) {
    trials.push(test("a body of a known length is announced with it, whatever a header says", async || {
        let server = TestServer::start(CASES).await;
        for (case, length) in [
            ("blob", 3),
            ("blob-stream", 3),
            ("form", 3),
            ("tee", 3),
            ("clone", 3),
            ("body-of-another", 3),
            ("wrong-length", 5),
            ("looked-at", 3),
        ] {
            let answer = get(server.address, &format!("/{case}")).await;
            assert!(answer.head.contains(&format!("\ncontent-length: {length}")), "{case}: {}", answer.head);
            assert_eq!(answer.body.len(), length, "{case}");
        }
        for path in ["/echo", "/echo-tee", "/echo-request", "/echo-clone"] {
            let body = vec![b'x'; 600_000];
            let answer = send(server.address, "POST", path, &[], &body).await;
            assert!(answer.head.contains("\ncontent-length: 600000"), "{path}: {}", answer.head);
            assert!(answer.body == body, "{path}");
        }
        wait_until_idle(&server).await;
    }));
}

fn uploads(trials: &mut Vec<Trial>) {
    trials.push(test("an upload is read with the reader's own memory, whole or as it arrives", async || {
        let server = TestServer::start(CASES).await;
        for length in [1, 999, 1000, 600_000] {
            let answer = send(server.address, "POST", "/byob", &[], &vec![3; length]).await;
            assert_eq!(answer.json(), serde_json::json!([length, 3 * length]));
        }
        let mut connection = Connection::open(server.address).await;
        connection.write("POST /byob HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for chunk in ["1\r\na\r\n", "5\r\nbcdef\r\n", "0\r\n\r\n"] {
            connection.write(chunk).await;
        }
        assert_eq!(connection.answer().await.json(), serde_json::json!([6, 97 + 98 + 99 + 100 + 101 + 102]));
        wait_until_idle(&server).await;
    }));
}

fn codings(trials: &mut Vec<Trial>) {
    trials.push(test("a body is encoded as its response says, unless it is already", async || {
        let server = TestServer::start(CASES).await;
        let text = "hello ".repeat(20_000);
        for (case, coding) in [
            ("gzip", "gzip"),
            ("gzip-stream", "gzip"),
            ("gzip-blob", "gzip"),
            ("gzip-wrong-length", "gzip"),
            ("gzip-upper", "gzip"),
            ("br", "br"),
            ("br-stream", "br"),
            ("manual", "gzip"),
            ("manual-stream", "gzip"),
            ("manual-copy", "gzip"),
            ("manual-clone", "gzip"),
        ] {
            let answer = get(server.address, &format!("/{case}")).await;
            assert!(answer.head.contains(&format!("\ncontent-encoding: {coding}")), "{case}: {}", answer.head);
            assert!(decoded(&server, coding, &answer.body).await == text, "{case}: {} bytes", answer.body.len());
            let head = send(server.address, "HEAD", &format!("/{case}"), &[], b"").await;
            assert_eq!((head.status, head.body.len()), (200, 0), "{case}");
        }
        // Of other codings the body is what the handler made of it.
        for case in ["deflate", "two-codings"] {
            assert!(get(server.address, &format!("/{case}")).await.text() == text, "{case}");
        }
        let answer = get(server.address, "/gzip-empty").await;
        assert_eq!(decoded(&server, "gzip", &answer.body).await, "");
        for case in ["gzip-null", "gzip-304"] {
            assert_eq!(get(server.address, &format!("/{case}")).await.body.len(), 0, "{case}");
        }
        wait_until_idle(&server).await;
    }));

    trials.push(test("what is encoded leaves when the stream pauses", async || {
        let server = TestServer::start(CASES).await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/gzip-pauses").await;
        assert!(connection.head().await.contains("content-encoding: gzip"));
        assert!(!connection.chunk().await.is_empty());
        assert_eq!(get(server.address, "/speak").await.text(), "spoken");
        while !connection.chunk().await.is_empty() {}
    }));

    for way in ["as-is", "copy", "headers", "text", "clone", "transform"] {
        trials.push(test(
            &format!("a compressed answer of another server is passed on whole: {way}"),
            async move || {
                let origin = TestServer::start(ORIGIN).await;
                let setup = WorkerSetup::of(PROXY).variable("ORIGIN", format!("http://{}", origin.address));
                let server = TestServer::of(setup, ClientLimits::default()).await;
                for coding in ["gzip", "br", "deflate", "plain"] {
                    // What the worker itself announces and does not send.
                    if coding == "deflate" && way == "text" {
                        continue;
                    }
                    for accept in ["gzip, deflate, br", "identity"] {
                        let path = format!("/{way}?path=/{coding}");
                        let answer = send(server.address, "GET", &path, &[("accept-encoding", accept)], b"").await;
                        assert_eq!(answer.status, 200, "{path} {accept}: {}", answer.text());
                        let body = match coding {
                            "plain" => answer.text(),
                            coding => {
                                let said = format!("\ncontent-encoding: {coding}");
                                assert!(answer.head.contains(&said), "{path} {accept}: {}", answer.head);
                                decoded(&origin, coding, &answer.body).await
                            }
                        };
                        assert_eq!(body.len(), TEXT_BYTES, "{path} {accept}");
                    }
                }
            },
        ));
    }

    trials.push(test("an encoded answer that is passed on keeps its bytes and its length", async || {
        let origin = TestServer::start(ORIGIN).await;
        let setup = WorkerSetup::of(PROXY).variable("ORIGIN", format!("http://{}", origin.address));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        let direct = get(origin.address, "/gzip").await;
        for way in ["as-is", "copy", "headers"] {
            let passed = get(server.address, &format!("/{way}?path=/gzip")).await;
            assert!(passed.head.contains(&format!("\ncontent-length: {}", direct.body.len())), "{}", passed.head);
            assert!(passed.body == direct.body, "{way}");
        }
        // Of a part nothing can be decoded, and nothing is.
        let part = get(server.address, "/as-is?path=/part").await;
        assert_eq!((part.status, part.body.as_slice()), (206, &direct.body[..50]));
    }));

    trials.push(test("broken compressed data of another server is an error, and no end", async || {
        let origin = TestServer::start(ORIGIN).await;
        let setup = WorkerSetup::of(PROXY).variable("ORIGIN", format!("http://{}", origin.address));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        for path in ["/no-gzip", "/cut-gzip"] {
            let answer = get(server.address, &format!("/read?path={path}")).await;
            assert!(answer.text().starts_with("TypeError: "), "{path}: {}", answer.text());
        }
        let answer = get(server.address, "/decoded?path=/no-gzip").await;
        assert_eq!(answer.status, 500, "{}", answer.text());
    }));

    trials.push(test("a redirect without a Location is an answer with its body", async || {
        let origin = TestServer::start(ORIGIN).await;
        let setup = WorkerSetup::of(PROXY).variable("ORIGIN", format!("http://{}", origin.address));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        for status in [301, 302, 303, 307, 308] {
            let answer = get(server.address, &format!("/describe?path=/status/{status}")).await.json();
            assert_eq!(answer, serde_json::json!([status, "body", false, null]), "{status}");
            let answer = get(server.address, &format!("/as-is?path=/status/{status}")).await;
            assert_eq!((answer.status, answer.text().as_str()), (status, "body"));
        }
    }));
}

/// What a client that knows the coding makes of a body: another worker unpacks it.
async fn decoded(server: &TestServer, coding: &str, body: &[u8]) -> String {
    let answer = send(server.address, "POST", &format!("/unpack/{coding}"), &[], body).await;
    assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
    answer.text()
}
