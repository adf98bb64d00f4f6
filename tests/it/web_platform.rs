//! The parts of the web platform that show outside of a worker: what it logs, what it is sent, what it answers. The rest is
//! tested from inside, in `tests/workers/web` and `tests/workers/fetch`.

use aerostack_tests::{TestServer, TestWorker, WorkerSetup, send, test};
use bytes::Bytes;
use libtest_mimic::Trial;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    console(trials);
    uncaught(trials);
    requests(trials);
    responses(trials);
    variables(trials);
}

/// The log lines of a worker whose handler runs `body` for `GET /path`.
async fn logged(body: &str) -> Vec<String> {
    let source =
        format!("export default {{ async fetch(request, env, ctx) {{ {body}; return new Response('ok'); }} }};");
    let worker = TestWorker::start(&source).await;
    assert_eq!(worker.get("/path").await.text(), "ok");
    worker.log.lines()
}

fn console(trials: &mut Vec<Trial>) {
    for (what, body, expected) in [
        (
            "texts and numbers",
            "console.log('a', 1, -0, 2n, true, null, undefined)",
            "info [GET /path]: a 1 -0 2n true null undefined",
        ),
        (
            "an object",
            "console.log({ a: [1, 'x'], b: { c: { d: {} } } })",
            "info [GET /path]: { a: [ 1, \"x\" ], b: { c: { d: {} } } }",
        ),
        (
            "format directives",
            "console.log('%s is %d%% of %o', 'this', 5, { a: 1 })",
            "info [GET /path]: this is 5% of { a: 1 }",
        ),
        (
            "maps and sets",
            "console.log(new Map([['a', 1]]), new Set([1]))",
            "info [GET /path]: Map(1) { \"a\" => 1 } Set(1) { 1 }",
        ),
        (
            "a class instance",
            "class Point { x = 1; #hidden = 2; } console.log(new Point())",
            "info [GET /path]: Point { x: 1 }",
        ),
        ("a circle", "const a = {}; a.self = a; console.log(a)", "info [GET /path]: <ref *1> { self: [Circular *1] }"),
        ("debug", "console.debug('d')", "debug [GET /path]: d"),
        ("info", "console.info('i')", "info [GET /path]: i"),
        ("warn", "console.warn('w')", "warn [GET /path]: w"),
        ("error", "console.error('e')", "error [GET /path]: e"),
        (
            "assert",
            "console.assert(true, 'no'); console.assert(false, 'yes')",
            "error [GET /path]: Assertion failed: yes",
        ),
        ("count", "console.count('c')", "info [GET /path]: c: 1"),
        ("a group", "console.group('g'); console.log('inner'); console.groupEnd()", "info [GET /path]: g"),
        ("a URL", "console.log(new URL('http://x/a'))", "href: \"http://x/a\""),
        ("headers", "console.log(new Headers({ a: 'b' }))", "info [GET /path]: Headers { a: \"b\" }"),
        ("a promise", "console.log(Promise.resolve(5))", "info [GET /path]: Promise { 5 }"),
        ("bytes", "console.log(new Uint8Array([1, 2]))", "info [GET /path]: Uint8Array(2) [ 1, 2 ]"),
    ] {
        trials.push(test(&format!("console shows {what}"), async move || {
            let lines = logged(body).await;
            assert!(lines.iter().any(|line| line.contains(expected)), "no {expected:?} in {lines:#?}");
        }));
    }
    trials.push(test("console shows an error with its mapped stack and its cause", async || {
        let source = "interface A {}\n\nexport default {\n  fetch(): Response {\n    console.error(new RangeError('shown', { cause: new Error('why') }));\n    return new Response('ok');\n  },\n};\n";
        let worker = TestWorker::start(source).await;
        worker.get("/").await;
        let text = worker.log.lines().join("\n");
        for part in ["RangeError: shown", "src/index.ts:5:19", "Error: why"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }));
    trials.push(test("a table is drawn", async || {
        let text = logged("console.table([{ a: 1, b: 'x' }])").await.join("\n");
        for part in ["(idx)", "a", "b", "1", "\"x\""] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }));
    trials.push(test("console lines belong to their request across awaits, and to none outside of one", async || {
        let source = "console.log('at load');
            const tick = () => new Promise((resolve) => setTimeout(resolve, 1));
            export default { async fetch(request) {
              const path = new URL(request.url).pathname;
              await tick(); console.log('one ' + path); await null; await tick();
              await Promise.all([tick().then(() => console.log('two ' + path))]);
              queueMicrotask(() => console.log('three ' + path));
              return new Response('ok');
            } };";
        let worker = TestWorker::start(source).await;
        let (a, b) = tokio::join!(worker.get("/a"), worker.get("/b"));
        assert_eq!((a.status, b.status), (200, 200));
        let lines = worker.log.lines();
        assert!(lines.contains(&"info: at load".to_owned()), "{lines:#?}");
        for path in ["/a", "/b"] {
            for step in ["one", "two", "three"] {
                let expected = format!("info [GET {path}]: {step} {path}");
                assert!(lines.contains(&expected), "no {expected:?} in {lines:#?}");
            }
        }
    }));
    trials.push(test("console survives what cannot be shown", async || {
        let body = "console.log({ get a() { throw new Error('getter'); } }, new Proxy({}, { get() { throw new Error('proxy'); } }));
            console.log({ toString() { throw new Error('text'); } }); console.log('%s', Symbol('s')); console.log()";
        assert!(logged(body).await.len() >= 3);
    }));
}

fn uncaught(trials: &mut Vec<Trial>) {
    for (what, body, expected) in [
        (
            "a rejection nobody handles",
            "Promise.reject(new RangeError('lost'))",
            "Uncaught (in promise) RangeError: lost",
        ),
        ("a rejection with a text", "Promise.reject('just text')", "Uncaught (in promise) \"just text\""),
        (
            "an error in a timer",
            "setTimeout(() => { throw new RangeError('timer'); }, 0)",
            "Uncaught RangeError: timer",
        ),
        (
            "an error in a microtask",
            "queueMicrotask(() => { throw new RangeError('micro'); })",
            "Uncaught RangeError: micro",
        ),
        ("an error given to reportError", "reportError(new RangeError('reported'))", "Uncaught RangeError: reported"),
        (
            "an error in an event listener",
            "const t = new EventTarget(); t.addEventListener('x', () => { throw new RangeError('listener'); }); t.dispatchEvent(new Event('x'))",
            "Uncaught RangeError: listener",
        ),
        ("a rejected waitUntil", "ctx.waitUntil(Promise.reject(new RangeError('after')))", "RangeError: after"),
    ] {
        trials.push(test(
            &format!("{what} is logged once, and neither this answer nor the next suffers"),
            async move || {
                let source = format!(
                    "export default {{ async fetch(request, env, ctx) {{ {body}; return new Response('ok'); }} }};"
                );
                let worker = TestWorker::start(&source).await;
                assert_eq!(worker.get("/path").await.text(), "ok");
                worker.log.wait_for(expected).await;
                let lines = worker.log.lines();
                assert_eq!(lines.iter().filter(|line| line.starts_with("uncaught")).count(), 1, "{lines:#?}");
                assert_eq!(worker.get("/path").await.text(), "ok");
            },
        ));
    }
    trials.push(test("an error listener that throws is logged too, and ends nothing", async || {
        let source = "addEventListener('error', () => { throw new Error('second'); });
            export default { fetch() { reportError(new Error('first')); return new Response('ok'); } };";
        let worker = TestWorker::start(source).await;
        assert_eq!(worker.get("/").await.text(), "ok");
        worker.log.wait_for("Uncaught Error: first").await;
        worker.log.wait_for("Uncaught Error: second").await;
        assert_eq!(worker.get("/").await.text(), "ok");
    }));
    trials.push(test("a prevented error or rejection event is not logged", async || {
        let source = "addEventListener('error', (event) => { event.preventDefault(); console.log('error event'); });
            addEventListener('unhandledrejection', (event) => { event.preventDefault(); console.log('rejection event'); });
            export default { fetch() { reportError(new Error('x')); Promise.reject(new Error('y')); return new Response('ok'); } };";
        let worker = TestWorker::start(source).await;
        worker.get("/").await;
        worker.log.wait_for("rejection event").await;
        let lines = worker.log.lines();
        assert!(lines.iter().any(|line| line.contains("error event")), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.starts_with("uncaught")), "{lines:#?}");
    }));
}

fn requests(trials: &mut Vec<Trial>) {
    trials.push(test("an incoming request has method, URL, headers and body", async || {
        let source = "export default { async fetch(request: Request) {
            return Response.json([request.method, request.url, request.headers.get('x-a'), [...request.headers.keys()].includes('x-a'),
              request.redirect, await request.text(), request.bodyUsed, request instanceof Request]);
          } };";
        let request = http::Request::put("/a%20b?c=%C3%A4").header("x-a", "1").header("X-A", "2");
        let answer = TestWorker::start(source).await.send(request.body(Bytes::from("text")).expect("valid")).await;
        let expected = r#"["PUT","http://localhost/a%20b?c=%C3%A4","1, 2",true,"manual","text",true,true]"#;
        assert_eq!(answer.text(), expected);
    }));
    trials.push(test("headers of an incoming request are immutable, those of a copy are not", async || {
        let source = "export default { fetch(request: Request) {
            let error; try { request.headers.set('a', 'b'); } catch (thrown) { error = thrown; }
            const copy = new Request(request); copy.headers.set('a', 'b');
            const headers = new Headers(request.headers); headers.set('c', 'd');
            return Response.json([error instanceof TypeError, copy.headers.get('a'), headers.get('c'), copy.url === request.url]);
          } };";
        assert_eq!(TestWorker::start(source).await.get("/").await.text(), r#"[true,"b","d",true]"#);
    }));
    trials.push(test("a multipart form arrives with its fields and files", async || {
        let source = "export default { async fetch(request: Request) {
            const form = await request.formData(); const file = form.get('f') as File;
            return Response.json([form.get('a'), form.getAll('b'), file.name, file.type, file.size, await file.text()]);
          } };";
        let body = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nä 1\r\n--X\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n1\r\n\
                    --X\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n\r\n--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"t.csv\"\r\n\
                    Content-Type: text/csv\r\n\r\na;b\r\n1;2\r\n--X--\r\n";
        let server = TestServer::start(source).await;
        let headers = [("content-type", "multipart/form-data; boundary=X")];
        let answer = send(server.address, "POST", "/", &headers, body.as_bytes()).await;
        assert_eq!(answer.text(), r#"["ä 1",["1",""],"t.csv","text/csv",8,"a;b\r\n1;2"]"#);
    }));
    trials.push(test("a request can be cloned and its body read twice", async || {
        let source = "export default { async fetch(request: Request) {
            const clone = request.clone(); const [a, b] = await Promise.all([request.text(), clone.json()]);
            let again; try { await request.text(); } catch (error) { again = (error as Error).name; }
            return Response.json([a, b, again]);
          } };";
        let answer = TestWorker::start(source).await.post("/", "{\"x\":1}").await;
        assert_eq!(answer.text(), r#"["{\"x\":1}",{"x":1},"TypeError"]"#);
    }));
    trials.push(test("a request without a body has a null body and reads as nothing", async || {
        let source = "export default { async fetch(request: Request) { return Response.json([request.body, await request.text()]); } };";
        assert_eq!(TestWorker::start(source).await.get("/").await.text(), r#"[null,""]"#);
    }));
    trials.push(test("a body can be streamed from the request into the answer", async || {
        let source = "export default { fetch(request: Request) {
            const upper = new TransformStream({ transform: (chunk, c) => c.enqueue(chunk.toUpperCase()) });
            const body = request.body!.pipeThrough(new TextDecoderStream()).pipeThrough(upper).pipeThrough(new TextEncoderStream());
            return new Response(body, { headers: { 'x-streamed': 'yes' } });
          } };";
        let answer = TestWorker::start(source).await.post("/", &"some text ".repeat(10_000)).await;
        assert_eq!((answer.header("x-streamed"), answer.text()), (Some("yes"), "SOME TEXT ".repeat(10_000)));
    }));
    trials.push(test("a request passed on with other headers keeps method and body", async || {
        let source = "export default { async fetch(request: Request) {
            const other = new Request('http://other/' + new URL(request.url).pathname.slice(1), request);
            other.headers.set('x-b', '2');
            return Response.json([other.method, other.url, other.headers.get('x-b'), await other.text()]);
          } };";
        let answer = TestWorker::start(source).await.post("/a", "body").await;
        assert_eq!(answer.text(), r#"["POST","http://other/a","2","body"]"#);
    }));
}

fn responses(trials: &mut Vec<Trial>) {
    for (what, expression, status, content_type, body) in [
        ("a text", "new Response('ä')", 200, Some("text/plain;charset=UTF-8"), "ä"),
        ("JSON", "Response.json({ a: 1 }, { status: 201 })", 201, Some("application/json"), "{\"a\":1}"),
        ("nothing", "new Response(null, { status: 204 })", 204, None, ""),
        ("bytes", "new Response(new Uint8Array([65, 66]).subarray(1))", 200, None, "B"),
        ("a buffer", "new Response(new Uint8Array([65, 66]).buffer)", 200, None, "AB"),
        ("a blob", "new Response(new Blob(['b'], { type: 'text/css' }))", 200, Some("text/css"), "b"),
        (
            "a form",
            "new Response(new URLSearchParams({ a: 'b c' }))",
            200,
            Some("application/x-www-form-urlencoded;charset=UTF-8"),
            "a=b+c",
        ),
        ("a stream", "new Response(new Blob(['streamed']).stream())", 200, None, "streamed"),
        ("a clone", "new Response('cloned').clone()", 200, Some("text/plain;charset=UTF-8"), "cloned"),
        (
            "its own type",
            "new Response('<p>', { headers: { 'content-type': 'text/html' } })",
            200,
            Some("text/html"),
            "<p>",
        ),
        ("a redirect", "Response.redirect('http://x/', 308)", 308, None, ""),
        ("a subclass", "new (class extends Response {})('sub')", 200, Some("text/plain;charset=UTF-8"), "sub"),
        (
            "a promise of a promise",
            "Promise.resolve(Promise.resolve(new Response('late')))",
            200,
            Some("text/plain;charset=UTF-8"),
            "late",
        ),
        (
            "a thenable",
            "({ then: (resolve) => resolve(new Response('then')) })",
            200,
            Some("text/plain;charset=UTF-8"),
            "then",
        ),
    ] {
        trials.push(test(&format!("a handler may answer with {what}"), async move || {
            let source = format!("export default {{ fetch: () => {expression} }};");
            let answer = TestWorker::start(&source).await.get("/").await;
            assert_eq!(
                (answer.status, answer.header("content-type"), answer.text().as_str()),
                (status, content_type, body)
            );
        }));
    }
    trials.push(test("headers leave in their order, cookies apart, and text of Latin-1 whole", async || {
        let source = "export default { fetch() {
            const headers = new Headers({ 'x-b': '1', 'x-a': '2', 'x-latin': 'caf\\u00e9' });
            headers.append('set-cookie', 'a=1'); headers.append('set-cookie', 'b=2; Path=/');
            return new Response('x', { headers });
          } };";
        let answer = TestWorker::start(source).await.get("/").await;
        let cookies: Vec<&str> =
            answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect();
        assert_eq!(cookies, ["a=1", "b=2; Path=/"]);
        assert_eq!((answer.header("x-a"), answer.header("x-b")), (Some("2"), Some("1")));
        assert_eq!(answer.header("x-latin"), Some("caf\u{fffd}"));
    }));
    trials.push(test("the same response cannot be answered with twice", async || {
        let source = "const kept = new Response('kept');\nexport default { fetch: () => kept };";
        let worker = TestWorker::start(source).await;
        assert_eq!(worker.get("/").await.text(), "kept");
        let second = worker.try_send(http::Request::get("/").body(Bytes::new()).expect("valid")).await;
        assert!(format!("{second:?}").contains("Body has already been used"), "{second:?}");
    }));
}

fn variables(trials: &mut Vec<Trial>) {
    trials.push(test("variables are on env as the values they are", async || {
        let setup = WorkerSetup::of(
            "export default { fetch: (_, env) => Response.json([env.TEXT, env.NUMBER, env.LIST, Object.keys(env)]) };",
        )
        .variable("TEXT", "ä\"\n")
        .variable("NUMBER", 5)
        .variable("LIST", serde_json::json!({ "a": [1, null] }));
        let answer = setup.start().await.get("/").await.text();
        assert_eq!(
            answer,
            r#"["ä\"\n",5,{"a":[1,null]},["TEXT","NUMBER","LIST","DB","CACHE","QUEUE","OLD_QUEUE","STORAGE","VECTORIZE","AI"]]"#
        );
    }));
}
