//! Workers beside each other, and pages of other sites beside the admin routes.

use aerostack_tests::{Connection, TestProject, exchange, get, test};
use libtest_mimic::Trial;
use serde_json::json;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    workers(trials);
    foreign_pages(trials);
}

fn workers(trials: &mut Vec<Trial>) {
    trials.push(test("a worker sees no binding, variable, entry or object of another", async || {
        const LEAVES: &str = "globalThis.left = new SharedArrayBuffer(8); Object.prototype.left = 'left'; Array.prototype.map = () => 'left'; \
             export default { async fetch(request, env) { \
               await env.CACHE.put('key', 'of a'); await env.STORAGE.put('key', 'of a'); \
               await env.DB.exec('CREATE TABLE of_a (x)'); await env.VECTORIZE.upsert([{ id: 'a', values: [1, 0] }]); \
               await env.QUEUE.send('of a'); return Response.json(Object.keys(env).sort()); } };";
        const LOOKS: &str = "export default { async fetch(request, env) { \
               return Response.json({ env: Object.keys(env).sort(), left: typeof globalThis.left, polluted: ({}).left ?? null, \
                 map: [1].map((x) => x + 1), cache: await env.CACHE.get('key'), object: await env.STORAGE.get('key'), \
                 table: await env.DB.prepare(\"SELECT count(*) AS c FROM sqlite_master WHERE name = 'of_a'\").first('c'), \
                 vectors: (await env.VECTORIZE.getByIds(['a'])).length, secret: env.SECRET_OF_A ?? null }); } };";
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"demo\"\n[[functions]]\nname = \"a\"\nroute = \"/a/*\"\nproject = \"a\"\n[[functions]]\nname = \"b\"\nroute = \"/b/*\"\nproject = \"b\"\n"),
            ("a/aerostack.toml", "name = \"a\"\n[vars]\nOF_A = \"x\"\n"),
            ("a/.dev.vars", "SECRET_OF_A=abcdefgh\n"),
            ("a/src/index.ts", LEAVES),
            ("b/aerostack.toml", "name = \"b\"\n[vars]\nOF_B = \"x\"\n"),
            ("b/src/index.ts", LOOKS),
        ]);
        let served = project.start_in(&[("SECRET_OF_A", "abcdefgh"), ("AWS_SECRET_ACCESS_KEY", "abcdefgh")], &["dev", "--port", "0"]);
        let left = get(served.address, "/a/").await;
        assert!(left.text().contains("SECRET_OF_A"), "{}", left.text());
        let seen = get(served.address, "/b/").await.json();
        let names = json!(["AI", "CACHE", "DB", "OF_B", "QUEUE", "STORAGE", "VECTORIZE"]);
        assert_eq!(
            seen,
            json!({ "env": names, "left": "undefined", "polluted": null, "map": [2], "cache": null, "object": null, "table": 0,
                "vectors": 0, "secret": null })
        );
    }));

    trials.push(test("nothing of the process environment is on env or anywhere else in a worker", async || {
        const WALKS: &str = "export default { fetch(request, env) { const seen = new Set(), found = []; \
             const walk = (value, path, depth) => { \
               if (typeof value === 'string') { if (value.includes('canary')) found.push(path); return; } \
               if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value) || depth > 14) return; \
               seen.add(value); \
               for (const key of Reflect.ownKeys(value)) { const here = path + '.' + String(key); \
                 if (String(key).includes('canary')) found.push(here); \
                 const descriptor = Object.getOwnPropertyDescriptor(value, key); \
                 for (const part of ['value', 'get', 'set']) walk(descriptor[part], here, depth + 1); } \
               walk(Object.getPrototypeOf(value), path + '.__proto__', depth + 1); }; \
             walk(globalThis, 'globalThis', 0); walk(env, 'env', 0); walk(request, 'request', 0); walk(new Error('x'), 'error', 0); \
             walk(import.meta, 'import.meta', 0); \
             return Response.json({ seen: seen.size, found, meta: Object.keys(import.meta) }); } };";
        let project = TestProject::new(&[("aerostack.toml", "name = \"walks\"\n"), ("src/index.ts", WALKS)]);
        let served = project.start_in(&[("A_VARIABLE", "canary-value"), ("canary_name", "x")], &["serve", "--port", "0"]);
        let walked = get(served.address, "/").await.json();
        assert!(walked["seen"].as_u64().is_some_and(|seen| seen > 1000), "{walked}");
        assert_eq!(walked["found"], json!([]), "{walked}");
    }));
}

fn foreign_pages(trials: &mut Vec<Trial>) {
    /// Heads that a page of another site, or a name of another site that resolves to loopback, makes a browser send.
    const FOREIGN: [&str; 13] = [
        "GET PATH HTTP/1.1\r\nhost: evil.example",
        "GET PATH HTTP/1.1\r\nhost: evil.example:8788",
        "GET PATH HTTP/1.1\r\nhost: 127.0.0.1.evil.example",
        "GET PATH HTTP/1.1\r\nhost: localhost\r\nhost: evil.example",
        "GET http://evil.examplePATH HTTP/1.1\r\nhost: localhost",
        "GET http://localhostPATH HTTP/1.1\r\nhost: evil.example",
        "GET PATH HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example",
        "GET PATH HTTP/1.1\r\nhost: localhost\r\norigin: null",
        "GET PATH HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\nsec-fetch-dest: image",
        "POST PATH HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\ncontent-type: text/plain\r\ncontent-length: 0",
        "OPTIONS PATH HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\naccess-control-request-method: POST",
        "GET PATH HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 203.0.113.9",
        "GET PATH HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 proxy",
    ];
    const PATHS: [&str; 4] =
        ["/_aerostack/health", "/cdn-cgi/handler/scheduled", "/__scheduled", "/cdn-cgi/handler/queue"];
    const SOURCE: &str = "export default { fetch: () => new Response('worker'), scheduled: () => console.log('fired'), queue: () => console.log('taken') }";

    trials.push(test("a page of another site runs no handler and reads no admin route", async || {
        let project = TestProject::new(&[("aerostack.toml", "name = \"shop\"\n"), ("src/index.ts", SOURCE)]);
        for arguments in [&["dev", "--port", "0"][..], &["serve", "--port", "0", "--trigger-routes"]] {
            let served = project.start(arguments);
            for path in PATHS {
                for head in FOREIGN {
                    let request = format!("{}\r\nconnection: close\r\n\r\n", head.replace("PATH", path));
                    let answer = exchange(served.address, request.as_bytes()).await;
                    let answer = String::from_utf8_lossy(&answer).into_owned();
                    // Two Hosts are no request at all.
                    let status = if head.matches("host: ").count() == 2 { 400 } else { 403 };
                    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
                    assert!(!answer.to_ascii_lowercase().contains("access-control-allow"), "{request}{answer}");
                    // The same on a connection that began with a request for the worker.
                    let mut connection = Connection::open(served.address).await;
                    assert_eq!(connection.get("/").await.text(), "worker");
                    connection.write(&request).await;
                    assert_eq!(connection.answer().await.status, status, "{request}");
                }
            }
            assert!(!served.output().contains("fired") && !served.output().contains("taken"), "{}", served.output());
            assert_eq!(get(served.address, "/cdn-cgi/handler/scheduled").await.text(), "ok");
            served.wait_for("fired");
        }
    }));

    trials.push(test("a proxy on this machine says whom it speaks for", async || {
        let source = "export default { fetch: (request) => new Response(request.headers.get('cf-connecting-ip')) }";
        let project = TestProject::new(&[("aerostack.toml", "name = \"shop\"\n"), ("src/index.ts", source)]);
        let served = project.start(&["serve", "--port", "0"]);
        assert_eq!(get(served.address, "/").await.text(), "127.0.0.1");
        // A proxy on this machine is believed.
        let proxied =
            "GET / HTTP/1.1\r\nhost: shop.example\r\ncf-connecting-ip: 203.0.113.9\r\nconnection: close\r\n\r\n";
        assert!(exchange(served.address, proxied.as_bytes()).await.ends_with(b"203.0.113.9"));
    }));
}
