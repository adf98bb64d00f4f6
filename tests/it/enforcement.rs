//! The limits that count what one request, or one isolate, does: each breach names its key and is counted, and the rest goes on.

use std::time::Duration;

use aerostack_isolate::{Breach, Limits};
use aerostack_server::ClientLimits;
use aerostack_tests::{Connection, HttpAnswer, TestProject, TestServer, WorkerSetup, get, test, wait_until_idle};
use libtest_mimic::Trial;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    requests_at_once(trials);
    subrequests(trials);
    answers(trials);
    logs(trials);
    work_after_the_answer(trials);
    time_on_the_cpu(trials);
    queues(trials);

    trials.push(test("the start table shows the limits that a worker changes", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"limited\"\n[limits]\ncpu_ms = 50\nwall_ms = 0\nresponse_body_mb = 5\n"),
            ("src/index.ts", "export default { fetch: () => new Response('x') }"),
        ]);
        let served = project.dev();
        let expected = "limits: cpu 50 ms, wall none, response body 5 MB\n";
        assert!(served.output().contains(expected), "{}", served.output());
    }));
}

/// `/wait` never answers; anything else does at once.
const WAITS: &str = "export default { async fetch(request) {
    if (!request.url.endsWith('/wait')) return new Response('answered');
    console.log('waiting');
    await new Promise((done) => setTimeout(done, 600_000));
} }";

fn requests_at_once(trials: &mut Vec<Trial>) {
    trials.push(test("of three requests where one works and one waits, one is refused at once with 503", async || {
        let server = limited(WAITS, |limits| (limits.concurrent_requests, limits.queued_requests) = (1, 1)).await;
        let mut working = Connection::open(server.address).await;
        working.write_get("/wait").await;
        server.worker.log.wait_for("waiting").await;
        let mut one = Connection::open(server.address).await;
        let mut other = Connection::open(server.address).await;
        one.write_get("/").await;
        other.write_get("/").await;
        // Whichever came first waits.
        let (refused, mut queued) = tokio::select! {
            refused = one.answer() => (refused, other),
            refused = other.answer() => (refused, one),
        };
        assert_overloaded(&refused, 1, 1);
        assert_eq!(server.worker.breaches.count(Breach::Requests), 1);
        // The client of the one that works leaves: there is room for the one that waits.
        drop(working);
        assert_eq!(queued.answer().await.text(), "answered");
        assert_eq!(queued.get("/").await.text(), "answered");
        wait_until_idle(&server).await;
    }));

    trials.push(test("without a queue every request beyond the limit is refused, on its own connection", async || {
        let server = limited(WAITS, |limits| (limits.concurrent_requests, limits.queued_requests) = (2, 0)).await;
        let mut working = [Connection::open(server.address).await, Connection::open(server.address).await];
        for (number, connection) in working.iter_mut().enumerate() {
            connection.write_get("/wait").await;
            server.worker.log.wait_for_count("waiting", number + 1).await;
        }
        let mut refused = Connection::open(server.address).await;
        for _ in 0..3 {
            assert_overloaded(&refused.get("/").await, 2, 0);
        }
        drop(working);
        wait_until_idle(&server).await;
        assert_eq!(refused.get("/").await.text(), "answered");
        assert_eq!(server.worker.breaches.count(Breach::Requests), 3);
    }));

    trials.push(test("a client that leaves the line makes room in it", async || {
        let server = limited(WAITS, |limits| (limits.concurrent_requests, limits.queued_requests) = (1, 1)).await;
        let mut working = Connection::open(server.address).await;
        working.write_get("/wait").await;
        server.worker.log.wait_for("waiting").await;
        let mut leaving = Connection::open(server.address).await;
        leaving.write_get("/").await;
        drop(leaving);
        let mut next = Connection::open(server.address).await;
        next.write_get("/").await;
        // The line may still be full when this one asks; then it asks again.
        let answer = loop {
            tokio::select! {
                answer = next.answer() => {
                    assert_eq!(answer.status, 503);
                    next.write_get("/").await;
                }
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    drop(working);
                    break next.answer().await;
                }
            }
        };
        assert_eq!(answer.text(), "answered");
    }));

    trials.push(test("requests that wait in line for too long are told so", async || {
        let source = "export default { async fetch() {
            return new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array(1)); setTimeout(() => c.close(), 600_000) } })) } }";
        let server = limited(source, |limits| {
            limits.concurrent_requests = 1;
            limits.wall = Some(Duration::from_millis(200));
        })
        .await;
        // The wall limit ends with the answer; the stream goes on and holds the only place.
        let mut streaming = Connection::open(server.address).await;
        streaming.write_get("/").await;
        streaming.head().await;
        let answer = get(server.address, "/").await;
        let text = "Worker test exceeded wall time limit 200 ms: raise limits.wall_ms\n";
        assert_eq!((answer.status, answer.text().as_str()), (503, text));
    }));

    trials.push(test("a hundred requests through a place for two are all answered", async || {
        let source = "let most = 0, now = 0; export default { async fetch() {
            most = Math.max(most, ++now); await scheduler.wait(1); now--; return new Response(String(most)) } }";
        let server = limited(source, |limits| limits.concurrent_requests = 2).await;
        let mut connections = Vec::new();
        for _ in 0..100 {
            let mut connection = Connection::open(server.address).await;
            connection.write_get("/").await;
            connections.push(connection);
        }
        for connection in &mut connections {
            let answer = connection.answer().await;
            assert_eq!(answer.status, 200);
            assert!(["1", "2"].contains(&answer.text().as_str()), "{} at once", answer.text());
        }
        wait_until_idle(&server).await;
    }));
}

fn assert_overloaded(answer: &HttpAnswer, concurrent: usize, queued: usize) {
    let text = format!(
        "Worker test is overloaded: {concurrent} requests are at work and {queued} wait: raise limits.concurrent_requests or limits.queued_requests\n"
    );
    assert_eq!((answer.status, answer.text()), (503, text));
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
}

fn subrequests(trials: &mut Vec<Trial>) {
    for (what, call) in [
        ("database", "env.DB.prepare('SELECT 1').first()"),
        ("cache", "env.CACHE.get('key')"),
        ("queue", "env.QUEUE.send('message')"),
        ("storage", "env.STORAGE.head('key')"),
        (
            "storage: bodies of requests",
            "env.STORAGE.put('key', new Request('http://x', { method: 'POST', body: 'x' }).body)",
        ),
        ("storage: blobs", "env.STORAGE.put('key', new Blob(['x'.repeat(200_000)]))"),
        ("vectorize", "env.VECTORIZE.query([1, 2, 3])"),
        ("AI", "env.AI.run('scripted', { prompt: 'x' })"),
        ("fetch", "(await fetch(env.ORIGIN)).text()"),
    ] {
        trials.push(test(&format!("{what} calls beyond the limit throw, in this request and not in the next"), async move || {
            let origin = TestServer::start("export default { fetch: () => new Response('origin') }").await;
            let source = format!(
                "export default {{ async fetch(request, env) {{
                    // Whatever the call comes to, only its count matters here.
                    const call = async () => {{ try {{ await {call} }} catch (error) {{ if (/subrequests/.test(error)) throw error }} }};
                    for (let made = 0;; made++) {{
                        try {{ await call() }} catch (error) {{ return Response.json({{ made, is: error instanceof Error, message: error.message }}) }}
                    }}
                }} }}"
            );
            let setup = WorkerSetup::of(&source).limits(|limits| limits.invocation.subrequests = 5);
            let setup = setup.variable("ORIGIN", format!("http://{}/", origin.address));
            let server = TestServer::of(setup, ClientLimits::default()).await;
            for round in 1..=2 {
                let answer = get(server.address, "/").await.json();
                assert_eq!((&answer["made"], &answer["is"]), (&5.into(), &true.into()), "{answer}");
                let message = answer["message"].as_str().expect("a text");
                let text = "Too many subrequests. One request may make 5 fetch and binding calls: raise limits.subrequests";
                assert!(message.contains(text), "{message}");
                assert_eq!(server.worker.breaches.count(Breach::Subrequests), round);
            }
        }));
    }

    trials.push(test("calls of different bindings count together, and a redirect counts as another fetch", async || {
        let origin = TestServer::start(
            "export default { fetch: (request) => request.url.endsWith('/moved') ? Response.redirect(new URL('/', request.url)) : new Response('origin') }",
        )
        .await;
        let source = "export default { async fetch(request, env) {
            await env.CACHE.get('key');
            await (await fetch(env.ORIGIN + 'moved')).text();
            try { await env.DB.prepare('SELECT 1').first(); return new Response('no limit') } catch (error) { return new Response(error.message) }
        } }";
        let setup = WorkerSetup::of(source).limits(|limits| limits.invocation.subrequests = 3);
        let setup = setup.variable("ORIGIN", format!("http://{}/", origin.address));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        let answer = get(server.address, "/").await;
        assert!(answer.text().contains("Too many subrequests."), "{}", answer.text());
    }));

    trials.push(test("too many subrequests that nobody catches are a 500 that names the key", async || {
        let source = "export default { async fetch(request, env) { for (;;) await env.CACHE.get('key') } }";
        let server = limited(source, |limits| limits.invocation.subrequests = 2).await;
        let answer = get(server.address, "/").await;
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("raise limits.subrequests"), "{}", answer.text());
    }));
}

fn answers(trials: &mut Vec<Trial>) {
    let exceeded = "Worker test exceeded response body limit 1 MB: raise limits.response_body_mb\n";
    for (what, body) in [
        ("a text", "'x'.repeat(1048577)"),
        ("bytes", "new Uint8Array(1048577)"),
        (
            "a stream of known length",
            "new Blob([new Uint8Array(1048577)]).stream().pipeThrough(new FixedLengthStream(1048577))",
        ),
    ] {
        trials.push(test(&format!("{what} longer than the limit is a 500 that names the key"), async move || {
            let source = format!(
                "export default {{ fetch(request) {{ return new Response(request.url.endsWith('/next') ? 'next' : {body}) }} }}"
            );
            let server = limited(&source, |limits| limits.invocation.response_body_bytes = Some(1 << 20)).await;
            let mut connection = Connection::open(server.address).await;
            let answer = connection.get("/").await;
            assert_eq!((answer.status, answer.text().as_str()), (500, exceeded));
            assert_eq!(connection.get("/next").await.text(), "next");
            assert_eq!(server.worker.breaches.count(Breach::ResponseBody), 1);
            wait_until_idle(&server).await;
        }));
    }

    trials.push(test("a body of exactly the limit is sent", async || {
        let source = "export default { fetch: () => new Response(new Uint8Array(1048576)) }";
        let server = limited(source, |limits| limits.invocation.response_body_bytes = Some(1 << 20)).await;
        assert_eq!(get(server.address, "/").await.body.len(), 1 << 20);
    }));

    trials.push(test("an endless stream is cut at the limit, with a line in the log, and its source is cancelled", async || {
        let source = "export default { fetch(request) {
            if (request.url.endsWith('/next')) return new Response('next');
            const chunk = new Uint8Array(65536);
            return new Response(new ReadableStream({ pull(c) { c.enqueue(chunk) }, cancel() { console.log('cancelled') } }));
        } }";
        let server = limited(source, |limits| limits.invocation.response_body_bytes = Some(1 << 20)).await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/endless").await;
        assert!(connection.head().await.starts_with("http/1.1 200"));
        let body = connection.rest().await;
        assert!(!body.ends_with(b"0\r\n\r\n"), "the client must see that the body is cut off");
        assert!(body.len() <= (1 << 20) + 4096, "{} bytes", body.len());
        let line = "limit [GET /endless]: response cut: exceeded response body limit 1 MB: raise limits.response_body_mb";
        server.worker.log.wait_for(line).await;
        server.worker.log.wait_for("cancelled").await;
        assert_eq!(get(server.address, "/next").await.text(), "next");
        wait_until_idle(&server).await;
    }));
}

fn logs(trials: &mut Vec<Trial>) {
    trials.push(test("a log is cut at its limit with one line that says so, for each request by itself", async || {
        let source = "export default { fetch() { for (let i = 0; i < 1000; i++) console.log('line ' + 'x'.repeat(95)); return new Response('x') } }";
        let server = limited(source, |limits| limits.invocation.log_bytes = 1024).await;
        for request in 1..=2 {
            assert_eq!(get(server.address, "/").await.status, 200);
            let lines = server.worker.log.lines();
            let cut = "limit [GET /]: more than 1 KB were logged, the rest is left out: raise limits.log_kb";
            assert_eq!(lines.iter().filter(|line| line.as_str() == cut).count(), request, "{lines:?}");
            assert_eq!(lines.len(), request * 11, "ten lines of 100 bytes, and the one that says so");
        }
        assert_eq!(server.worker.breaches.count(Breach::Log), 2);
    }));

    trials.push(test("errors that nobody catches count as log, too", async || {
        let source = "export default { async fetch() {
            for (let i = 0; i < 1000; i++) Promise.reject(new Error('nobody looks'));
            await scheduler.wait(1); return new Response('x') } }";
        let server = limited(source, |limits| limits.invocation.log_bytes = 2048).await;
        assert_eq!(get(server.address, "/").await.status, 200);
        server.worker.log.wait_for("raise limits.log_kb").await;
        let lines = server.worker.log.lines();
        assert!(lines.len() < 50, "{} lines", lines.len());
    }));
}

fn work_after_the_answer(trials: &mut Vec<Trial>) {
    trials.push(test("waitUntil work that never ends is given up after its limit, with a line in the log", async || {
        let source = "export default { fetch(request, env, ctx) {
            ctx.waitUntil(new Promise((done) => setTimeout(done, 600_000))); return new Response('answered') } }";
        let server = limited(source, |limits| limits.wait_until = Duration::from_millis(100)).await;
        assert_eq!(get(server.address, "/work").await.text(), "answered");
        let line = "limit [GET /work]: waitUntil() work was still going on 100 ms after the answer, nothing waits for it any more: raise limits.wait_until_ms";
        server.worker.log.wait_for(line).await;
        wait_until_idle(&server).await;
        assert_eq!(server.worker.breaches.count(Breach::WaitUntil), 1);
    }));

    trials.push(test("waitUntil work within its limit comes to its end unnoticed", async || {
        let source = "export default { fetch(request, env, ctx) {
            ctx.waitUntil(scheduler.wait(5).then(() => console.log('done'))); return new Response('answered') } }";
        let server = limited(source, |_| {}).await;
        assert_eq!(get(server.address, "/").await.text(), "answered");
        server.worker.log.wait_for("done").await;
        wait_until_idle(&server).await;
        assert_eq!(server.worker.breaches.count(Breach::WaitUntil), 0);
    }));
}

fn time_on_the_cpu(trials: &mut Vec<Trial>) {
    /// `/burn` takes 30 ms on the CPU, `/wait` waits until `/release`.
    const SOURCE: &str = "let calls = 0, release; const released = new Promise((done) => release = done);
        const burn = () => { const until = Date.now() + 30; while (Date.now() < until); };
        export default { async fetch(request, env, ctx) {
            calls++;
            const path = new URL(request.url).pathname;
            if (path === '/burn') burn();
            if (path === '/wait') { console.log('waiting'); await Promise.race([released, scheduler.wait(600_000)]); }
            if (path === '/release') release();
            if (path === '/interval') setInterval(burn, 1);
            if (path === '/chain') { const next = async () => { for (;;) { burn(); await scheduler.wait(1) } }; next(); }
            return new Response('call ' + calls);
        } }";

    trials.push(test("a request that only waits is not charged with what its neighbours do", async || {
        let server = limited(SOURCE, |limits| limits.cpu = Duration::from_millis(400)).await;
        let mut waiting = Connection::open(server.address).await;
        waiting.write_get("/wait").await;
        server.worker.log.wait_for("waiting").await;
        for call in 2..42 {
            assert_eq!(get(server.address, "/burn").await.text(), format!("call {call}"));
        }
        assert_eq!(get(server.address, "/release").await.text(), "call 42");
        assert_eq!(waiting.answer().await.text(), "call 42");
        assert_eq!(server.worker.breaches.count(Breach::Cpu), 0);
    }));

    for path in ["/interval", "/chain"] {
        trials.push(test(
            &format!("what {path} leaves behind after its answer is stopped at the CPU limit"),
            async move || {
                let server = limited(SOURCE, |limits| limits.cpu = Duration::from_millis(200)).await;
                assert_eq!(get(server.address, path).await.text(), "call 1");
                let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
                while server.worker.breaches.count(Breach::Cpu) == 0 {
                    assert!(tokio::time::Instant::now() < deadline, "it goes on for ever");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                // A new isolate.
                assert_eq!(get(server.address, "/").await.text(), "call 1");
            },
        ));
    }
}

fn queues(trials: &mut Vec<Trial>) {
    trials.push(test("a send to a queue that is full throws and names the key, and works once there is room", async || {
        let source = "export default { async fetch(request, env) {
            try { for (;;) await env.QUEUE.send('x'.repeat(100_000)) } catch (error) { return new Response(String(error)) } } }";
        let mut setup = WorkerSetup::of(source);
        setup.backlog_bytes = 1 << 20;
        let server = TestServer::of(setup, ClientLimits::default()).await;
        let text = "Error: Queue send failed: the backlog of local-queue exceeds 1 MB: let its consumer catch up, or raise limits.queue_backlog_mb";
        assert_eq!(get(server.address, "/").await.text(), text);
        let full = server.worker.queues.backlog("local-queue").await.expect("a backlog");
        assert!(full.bytes < (1 << 20) + 200_000, "{} bytes", full.bytes);
        server.worker.queues.purge("local-queue").await.expect("purged");
        assert_eq!(get(server.address, "/").await.text(), text);
        assert_eq!(server.worker.queues.backlog("local-queue").await.expect("a backlog").messages, full.messages);
        assert_eq!(server.worker.breaches.count(Breach::QueueBacklog), 2);
    }));
}

async fn limited(source: &str, change: impl FnOnce(&mut Limits)) -> TestServer {
    TestServer::of(WorkerSetup::of(source).limits(change), ClientLimits::default()).await
}
