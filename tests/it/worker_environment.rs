//! What surrounds a worker's code: when it may make code of texts, the time zone and the language it sees, threads that compute for it.

use std::time::Duration;

use aerostack_tests::{TestProject, TestServer, TestWorker, WorkerSetup, get, test, wait_until_idle};
use libtest_mimic::Trial;
use serde_json::json;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("code is made of texts while modules load, and neither in handlers nor later", async || {
        let source = "const add = new Function('a', 'b', 'return a + b'); const three = (0, eval)('1 + 2'); await null;
            const awaited = new (async () => {}).constructor('return 4'); const attempts = [];
            const attempt = (when) => { try { attempts.push([when, new Function('return 2')()]); } \
              catch (error) { attempts.push([when, `${error.name}: ${error.message}`]); } };
            export default { async fetch() { attempt('handler'); await new Promise((go) => setTimeout(go, 1)); attempt('later');
              return Response.json([add(1, 1), three, await awaited(), attempts]); } };";
        let worker = TestWorker::start(source).await;
        let refused = "EvalError: Code generation from strings disallowed for this context";
        assert_eq!(
            worker.get("/").await.json(),
            json!([2, 3, 4, [["handler", refused], ["later", refused]]])
        );
    }));

    trials.push(test("workers see UTC and American English, whatever the machine is set to", async || {
        const SHOWS: &str = "const date = new Date(Date.UTC(2026, 6, 1, 12));
            export default { async fetch(request, env) { return Response.json([date.toLocaleString(), date.toString(), date.getTimezoneOffset(), \
              new Intl.DateTimeFormat().resolvedOptions().timeZone, new Intl.DateTimeFormat().resolvedOptions().locale, \
              new Intl.NumberFormat().resolvedOptions().locale, (1234.5).toLocaleString(), ['z', '\\u00e4', 'a'].sort(new Intl.Collator().compare), \
              'I'.toLocaleLowerCase(), await env.DB.prepare(\"SELECT datetime('2026-07-01 12:00:00', 'localtime') AS t\").first('t')]); } };";
        let project = TestProject::new(&[("aerostack.toml", "name = \"shows\"\n"), ("src/index.ts", SHOWS)]);
        let elsewhere = [("TZ", "America/New_York"), ("LC_ALL", "tr_TR.UTF-8"), ("LANG", "de_DE.UTF-8"), ("LANGUAGE", "de")];
        for command in ["dev", "serve"] {
            let served = project.start_in(&elsewhere, &[command, "--port", "0"]);
            assert_eq!(
                get(served.address, "/").await.json(),
                json!([
                    "7/1/2026, 12:00:00 PM",
                    "Wed Jul 01 2026 12:00:00 GMT+0000 (Coordinated Universal Time)",
                    0,
                    "UTC",
                    "en-US",
                    "en-US",
                    "1,234.5",
                    ["a", "\u{e4}", "z"],
                    "i",
                    "2026-07-01 12:00:00"
                ]),
                "{command}"
            );
        }
    }));

    trials.push(test("what an invocation knows of its caller can be set", async || {
        let source = "export default { async fetch(request, env, ctx) { const before = { ...ctx.props }; ctx.props = { user: 1 }; \
              const set = ctx.props.user; ctx.props = null; \
              return Response.json([before, set, ctx.props, Object.prototype.toString.call(ctx)]); } };";
        let worker = TestWorker::start(source).await;
        assert_eq!(worker.get("/").await.json(), json!([{}, 1, null, "[object ExecutionContext]"]));
        assert_eq!(worker.get("/").await.json()[0], json!({}), "the next invocation has its own");
    }));

    trials.push(test("derivations that a request leaves behind are not begun, and the next request is served", async || {
        // Each takes tens of milliseconds; together they would keep the workbench busy for a minute.
        let source = "export default { async fetch(request) {
              const key = await crypto.subtle.importKey('raw', new Uint8Array(16), 'PBKDF2', false, ['deriveBits']);
              const derive = () => crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-512', salt: new Uint8Array(16), iterations: 100000 }, key, 256);
              if (request.url.endsWith('/many')) { for (let i = 0; i < 1000; i++) derive().catch(() => {}); return new Response('left'); }
              return new Response(String((await derive()).byteLength)); } };";
        let setup = WorkerSetup::of(source).limits(|limits| limits.cpu = Duration::from_secs(30));
        let server = TestServer::of(setup, aerostack_server::ClientLimits::default()).await;
        assert_eq!(get(server.address, "/many").await.text(), "left");
        let next = tokio::time::timeout(Duration::from_secs(20), get(server.address, "/one")).await;
        assert_eq!(next.expect("nothing stands in line before it").text(), "32");
        wait_until_idle(&server).await;
    }));
}
