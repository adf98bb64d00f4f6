//! Where a request goes: its target, its Host, what a proxy says of it, and the worker that all of this leads to (RFC 9110, section 7;
//! RFC 9112, section 3; RFC 9113, section 8.3.1). Nobody but the client's own words decides, and no two readers may differ.

use std::net::SocketAddr;

use aerostack_tests::{Connection, TestProject, TestServer, WorkerSetup, exchange, get, send, test};
use libtest_mimic::Trial;
use serde_json::json;

const URL: &str = "export default { fetch: (request) => new Response(request.url) }";

/// Says whose request it was, and how it came.
const SEEN: &str = "export default { fetch: (request) => \
    Response.json([request.url, request.headers.get('cf-connecting-ip')]) }";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    targets(trials);
    normal_forms(trials);
    chunk_lines(trials);
    proxies(trials);
}

/// The answer to a head whose last lines are added here.
async fn answer(address: SocketAddr, head: &str) -> String {
    let request = format!("{head}\r\nconnection: close\r\n\r\n");
    String::from_utf8_lossy(&exchange(address, request.as_bytes()).await).into_owned()
}

fn targets(trials: &mut Vec<Trial>) {
    trials.push(test("a Host that is no authority is refused, and never becomes a part of the URL", async || {
        let server = TestServer::start(URL).await;
        for host in [
            "shop.test/admin/delete?",
            "a/b",
            "a?x",
            "a#x",
            "a\\x",
            "a\tb",
            "a b",
            "u@a",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+1",
            "[::1",
            "[::1]x",
            "[]",
            "",
            ":80",
            "a%2",
            "a%2fb",
            "a%00",
            "<a>",
            "a|b",
            "a, b",
            "http://a",
            "b\u{fc}cher.test",
            "::1",
            "[fe80::1%25eth0]",
        ] {
            let got = answer(server.address, &format!("GET /public HTTP/1.1\r\nhost: {host}")).await;
            assert!(got.starts_with("HTTP/1.1 400 "), "{host:?}: {got}");
        }
        for (host, seen) in [
            ("shop.test", "shop.test"),
            ("Shop.Test:8080", "shop.test:8080"),
            ("shop.test:80", "shop.test"),
            ("a,b", "a,b"),
            ("a_b.test", "a_b.test"),
            ("[::1]:8080", "[::1]:8080"),
            ("xn--bcher-kva.test", "xn--bcher-kva.test"),
            ("%61.test", "a.test"),
        ] {
            let got = answer(server.address, &format!("GET /public HTTP/1.1\r\nhost: {host}")).await;
            assert!(
                got.starts_with("HTTP/1.1 200 ") && got.ends_with(&format!("\r\n\r\nhttp://{seen}/public")),
                "{host}: {got}"
            );
        }
        // What is behind a request that is none is not read.
        let got =
            exchange(server.address, b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\nGET /behind HTTP/1.1\r\nhost: a\r\n\r\n")
                .await;
        assert_eq!(String::from_utf8_lossy(&got).matches("HTTP/1.1 ").count(), 1, "{}", String::from_utf8_lossy(&got));
        for hosts in ["host: a\r\nhost: a", "host: a\r\nhost: b", "x: y"] {
            for target in ["/", "http://a/"] {
                let got = answer(server.address, &format!("GET {target} HTTP/1.1\r\n{hosts}")).await;
                assert!(got.starts_with("HTTP/1.1 400 "), "{target} {hosts:?}: {got}");
            }
        }
    }));

    trials.push(test("over HTTP/2 an :authority that is none reaches no handler", async || {
        let server = TestServer::start(URL).await;
        for (authority, is_taken) in [
            ("shop.test:8080", true),
            ("shop.test/admin?", false),
            ("a?x", false),
            ("u@a", false),
            ("a:b", false),
            ("a\\b", false),
            ("", false),
        ] {
            let got = http2_answer(server.address, authority).await;
            let text = String::from_utf8_lossy(&got);
            assert_eq!(text == "http://shop.test:8080/public", is_taken, "{authority}: {text}");
            assert!(is_taken || !text.starts_with("http"), "{authority}: {text}");
        }
    }));

    trials.push(test("a target is a path, a URL, or * of OPTIONS, and nothing else", async || {
        let server = TestServer::start(URL).await;
        for request in [
            "GET x",
            "GET a.test:80",
            "GET ?x",
            "GET #x",
            "GET /a#b",
            "GET *",
            "GET **",
            "GET http:/a",
            "GET http://",
            "GET http:///a",
            "GET http://u@a/",
            "GET http://u:p@a/",
            "GET http://a:b/",
            "GET ftp://a/",
            "GET file:///etc",
            "GET javascript://a/",
            "OPTIONS x",
            "OPTIONS *x",
            "CONNECT /",
            "CONNECT a",
            "CONNECT a:",
            "CONNECT http://a:80/",
            "CONNECT u@a:80",
        ] {
            let got = answer(server.address, &format!("{request} HTTP/1.1\r\nhost: a.test")).await;
            assert!(got.starts_with("HTTP/1.1 400 "), "{request}: {got}");
        }
        for (request, url) in [
            ("GET /", "http://a.test/"),
            ("GET //b.test/c", "http://a.test//b.test/c"),
            ("GET /:80", "http://a.test/:80"),
            ("GET http://b.test:81/c?d", "http://b.test:81/c?d"),
            ("GET HTTP://b.test", "http://b.test/"),
            ("GET http://b.test?d", "http://b.test/?d"),
            ("OPTIONS *", "http://a.test/"),
            ("OPTIONS http://b.test", "http://b.test/"),
            ("GET /go/http://x.test/_aerostack/health", "http://a.test/go/http://x.test/_aerostack/health"),
            ("GET /go?to=http://x.test/_aerostack/health", "http://a.test/go?to=http://x.test/_aerostack/health"),
        ] {
            let got = answer(server.address, &format!("{request} HTTP/1.1\r\nhost: a.test")).await;
            assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with(&format!("\r\n\r\n{url}")), "{request}: {got}");
        }
        let got = answer(server.address, "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443").await;
        assert!(got.starts_with("HTTP/1.1 501 "), "{got}");
        let got = answer(server.address, "GET https://a.test/ HTTP/1.1\r\nhost: a.test").await;
        assert!(got.starts_with("HTTP/1.1 421 "), "{got}");
    }));
}

fn normal_forms(trials: &mut Vec<Trial>) {
    trials.push(test("the worker that answers is the one of the path that its handler sees", async || {
        let main = "export default { fetch: (request) => new Response('main ' + new URL(request.url).pathname) }";
        let neighbour =
            "export default { fetch: (request) => new Response('neighbour ' + new URL(request.url).pathname) }";
        let server = TestServer::beside(WorkerSetup::of(main), WorkerSetup::of(neighbour)).await;
        for (target, seen) in [
            ("/neighbour/a", "neighbour /a"),
            ("/neighbour", "neighbour /"),
            ("/neighbour?x", "neighbour /"),
            ("/neighbours", "main /neighbours"),
            ("/neighbour/../secret", "main /secret"),
            ("/neighbour/%2e%2e/secret", "main /secret"),
            ("/neighbour/.%2E/secret", "main /secret"),
            ("/neighbour/..\\secret", "main /secret"),
            ("/neighbour/x/..", "neighbour /"),
            ("/neighbour/../../neighbour/b", "neighbour /b"),
            ("/x/../neighbour/a", "neighbour /a"),
            ("/./neighbour/a", "neighbour /a"),
            ("/x/%2e%2e/neighbour/%2e/a", "neighbour /a"),
            ("/%6e%65ighbour/a%2fb", "neighbour /a%2fb"),
            ("/neighbour%2fa", "main /neighbour%2fa"),
            ("//neighbour/a", "main //neighbour/a"),
            ("/Neighbour/a", "main /Neighbour/a"),
            ("http://b.test/neighbour/../secret", "main /secret"),
        ] {
            assert_eq!(get(server.address, target).await.text(), seen, "{target}");
            // The same on a connection of the other worker's.
            for first in ["/", "/neighbour/"] {
                let mut connection = Connection::open(server.address).await;
                connection.get(first).await;
                assert_eq!(connection.get(target).await.text(), seen, "{first} {target}");
            }
        }
    }));

    trials.push(test("a path that is reserved in its normal form reaches no worker", async || {
        let server = TestServer::start(URL).await;
        for (target, status) in [
            ("/x/../_aerostack/health", 200),
            ("/%5faerostack/h%65alth", 200),
            ("/_aerostack/./health?x", 200),
            ("/_aerostack/nothing", 404),
            ("/x/%2e%2e/cdn-cgi/handler/nothing", 404),
            ("/cdn%2dcgi/x", 404),
        ] {
            let first = send(server.address, "GET", target, &[("host-is", "its own")], b"").await;
            let mut connection = Connection::open(server.address).await;
            connection.get("/").await;
            let later = connection.get(target).await;
            for answer in [first, later] {
                assert_eq!(answer.status, status, "{target}: {}", answer.text());
                assert!(!answer.text().starts_with("http"), "{target}: {}", answer.text());
            }
        }
        for target in ["/_aerostack/../x", "/_aerostack/%2e%2e/x", "/_aerostack%2fhealth", "/cdn-cgi/../x"] {
            let answer = get(server.address, target).await;
            assert!(answer.status == 200 && answer.text().starts_with("http://"), "{target}: {}", answer.text());
        }
    }));

    trials.push(test("a route is found by a path that has to be escaped", async || {
        let server = TestServer::start(URL).await;
        let route = |prefix: &str| aerostack_server::Route {
            prefix: prefix.to_owned(),
            reach: aerostack_server::RouteReach::Tree,
            replacement: String::new(),
            worker: server.worker.worker.clone(),
        };
        server.server.set_routes(vec![route("/caf\u{e9} x")], Vec::new());
        let host = server.address;
        assert_eq!(get(server.address, "/caf%C3%A9%20x/y").await.text(), format!("http://{host}/y"));
        assert_eq!(get(server.address, "/cafe%20x/y").await.status, 404);
    }));
}

fn chunk_lines(trials: &mut Vec<Trial>) {
    trials.push(test("chunk lines and trailers that the grammar does not have are refused", async || {
        let server =
            TestServer::start("export default { fetch: async (request) => new Response(await request.text()) }").await;
        for body in [
            "3 5\r\nabc\r\n0\r\n\r\n",
            "3 x\r\nabc\r\n0\r\n\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            "3;a=\0\r\nabc\r\n0\r\n\r\n",
            "3;\"a\"\r\nabc\r\n0\r\n\r\n",
            "3;a=\"b\r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc\r\n0\r\nno colon\r\n\r\n",
            "3\r\nabc\r\n0\r\nx : y\r\n\r\n",
            "3\r\nabc\r\n0\r\nx: y\r\n folded\r\n\r\n",
            "3\r\nabc\r\n0\r\nx: \0\r\n\r\n",
            "3\r\nabc\r\n0\r\nx: y\n\r\n",
        ] {
            let request = format!(
                "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n{body}GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"
            );
            let got = exchange(server.address, request.as_bytes()).await;
            let got = String::from_utf8_lossy(&got);
            assert!(got.starts_with("HTTP/1.1 400 ") && got.matches("HTTP/1.1 ").count() == 1, "{body:?}: {got}");
        }
        let taken = "3;a;b=c ; d = \"e;\\\"\"\r\nabc\r\n0;last\r\nx: y\r\nEmpty:\r\n\r\n";
        let got = answer(server.address, &format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{taken}GET / HTTP/1.1\r\nhost: a")).await;
        assert!(got.contains("\r\n\r\nabcHTTP/1.1 200 "), "{got}");
    }));
}

fn proxies(trials: &mut Vec<Trial>) {
    const PROXIED: &str =
        "x-forwarded-for: 198.51.100.7, 203.0.113.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop.test";

    trials.push(test("a trusted proxy says who asks, how, and for which host", async || {
        let server = TestServer::behind(&["127.0.0.0/8"], SEEN).await;
        for (headers, seen) in [
            (PROXIED, json!(["https://shop.test/x", "203.0.113.9"])),
            ("x-forwarded-proto: https", json!(["https://inner/x", "127.0.0.1"])),
            ("x-forwarded-host: shop.test:444", json!(["http://shop.test:444/x", "127.0.0.1"])),
            (
                "x-forwarded-for: 203.0.113.9, 127.0.0.2\r\nx-forwarded-proto: https, http",
                json!(["https://inner/x", "203.0.113.9"]),
            ),
            (
                "forwarded: for=\"[2001:db8::1]:4711\";proto=https;host=shop.test",
                json!(["https://shop.test/x", "2001:db8::1"]),
            ),
            ("cf-connecting-ip: 203.0.113.9", json!(["http://inner/x", "203.0.113.9"])),
            // The proxy passes on what its client says.
            ("cf-connecting-ip: 1.1.1.1\r\nx-forwarded-for: 203.0.113.9", json!(["http://inner/x", "203.0.113.9"])),
            (
                "forwarded: for=1.1.1.1;host=evil.test\r\nx-forwarded-for: 203.0.113.9",
                json!(["http://inner/x", "203.0.113.9"]),
            ),
        ] {
            let got = answer(server.address, &format!("GET /x HTTP/1.1\r\nhost: inner\r\n{headers}")).await;
            assert!(got.ends_with(&seen.to_string()), "{headers}: {got}");
        }
        for headers in [
            "x-forwarded-host: evil.test/admin?",
            "x-forwarded-proto: gopher",
            "forwarded: for=\"1.1.1.1, for=203.0.113.9",
        ] {
            let got = answer(server.address, &format!("GET /x HTTP/1.1\r\nhost: inner\r\n{headers}")).await;
            assert!(got.starts_with("HTTP/1.1 400 "), "{headers}: {got}");
        }
        let got = answer(server.address, "GET https://shop.test/x HTTP/1.1\r\nhost: shop.test").await;
        assert!(got.ends_with(&json!(["https://shop.test/x", "127.0.0.1"]).to_string()), "{got}");
    }));

    trials.push(test("nobody else does, whatever a client writes", async || {
        for server in [TestServer::start(SEEN).await, TestServer::behind(&["10.0.0.0/8", "::1/128"], SEEN).await] {
            for headers in [PROXIED, "forwarded: for=203.0.113.9;proto=https;host=shop.test", "x-forwarded-host: a/b"] {
                let got = answer(server.address, &format!("GET /x HTTP/1.1\r\nhost: inner\r\n{headers}")).await;
                assert!(got.ends_with(&json!(["http://inner/x", "127.0.0.1"]).to_string()), "{headers}: {got}");
            }
        }
        let listed = TestServer::behind(&["10.0.0.0/8"], SEEN).await;
        let got = answer(listed.address, "GET /x HTTP/1.1\r\nhost: inner\r\ncf-connecting-ip: 203.0.113.9").await;
        assert!(got.ends_with("\"127.0.0.1\"]"), "{got}");
    }));

    trials.push(test("what a proxy passed on is not of this machine, however it says so", async || {
        let server = TestServer::behind(&["127.0.0.1/32"], URL).await;
        let ask = async |headers: &str| {
            answer(server.address, &format!("GET /_aerostack/health HTTP/1.1\r\nhost: localhost{headers}")).await
        };
        let got = ask("").await;
        assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
        for header in [
            "Via: 1.1 proxy",
            "X-Forwarded-Host: localhost",
            "X-Forwarded-Proto: http",
            "X-Forwarded-Port: 80",
            "True-Client-IP: 127.0.0.1",
            "X-Client-IP: 127.0.0.1",
            "X-Forwarded-For: 127.0.0.1",
            "Forwarded: for=127.0.0.1",
            "X-Original-Forwarded-For: 127.0.0.1",
        ] {
            let got = ask(&format!("\r\n{header}")).await;
            assert!(got.starts_with("HTTP/1.1 403 "), "{header}: {got}");
        }
    }));

    trials.push(test("the config says which proxies are trusted, and dev takes a change at once", async || {
        let config = |proxies: &str| format!("name = \"shop\"\n[server]\ntrusted_proxies = [{proxies}]\n");
        let project = TestProject::new(&[("aerostack.toml", config("\"127.0.0.1\"").as_str()), ("src/index.ts", SEEN)]);
        let head = format!("GET /x HTTP/1.1\r\nhost: inner\r\n{PROXIED}");
        let served = project.start(&["serve", "--port", "0"]);
        assert!(answer(served.address, &head).await.ends_with("[\"https://shop.test/x\",\"203.0.113.9\"]"));
        let served = project.dev();
        assert!(answer(served.address, &head).await.ends_with("[\"https://shop.test/x\",\"203.0.113.9\"]"));
        project.write("aerostack.toml", &config("\"10.0.0.0/8\""));
        served.wait_for("reloaded in");
        assert!(answer(served.address, &head).await.ends_with("[\"http://inner/x\",\"127.0.0.1\"]"));
    }));
}

/// What comes back on stream 1 for `GET /public` with an `:authority`: its data, nothing where the stream is reset.
async fn http2_answer(address: SocketAddr, authority: &str) -> Vec<u8> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    const END_STREAM: u8 = 1;
    // RFC 7541: `:method GET` and `:scheme http` of the static table, then `:path` and `:authority` as literals.
    let literal = |name: u8, value: &str| [&[name, value.len() as u8], value.as_bytes()].concat();
    let block = [&[0x82, 0x86][..], &literal(0x04, "/public"), &literal(0x01, authority)].concat();
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let mut connection = Connection::open(address).await;
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    connection.write(frame(4, 0, 0, b"")).await;
    connection.write(frame(HEADERS, 0x05, 1, &block)).await;
    let mut data = Vec::new();
    loop {
        let (kind, flags, payload) = connection.frame().await;
        match kind {
            DATA => data.extend(payload),
            RST_STREAM | GOAWAY => return Vec::new(),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return data;
        }
    }
}
