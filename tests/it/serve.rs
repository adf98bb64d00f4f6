//! `aerostack serve`: what differs from `dev`.

use aerostack_tests::{Binary, Connection, TestProject, exchange, get, send, test};
use libtest_mimic::Trial;

const CONFIG: &str = "name = \"shop\"\n";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    starting(trials);
    errors(trials);
    values(trials);
    routes(trials);
    ending(trials);
}

/// Starts `aerostack serve` on a free port.
fn serve(project: &TestProject, arguments: &[&str]) -> Binary {
    project.start(&[&["serve", "--port", "0"], arguments].concat())
}

fn starting(trials: &mut Vec<Trial>) {
    trials.push(test("serve runs as many isolates as it is told, one a core by default", async || {
        let source = "const id = crypto.randomUUID(); export default { fetch: () => new Response(id) }";
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", source)]);
        let cores = std::thread::available_parallelism().expect("a count of cores").get();
        for (arguments, isolates) in [(&["--isolates", "3"][..], 3), (&["--isolates", "1"], 1), (&[], cores)] {
            let served = serve(&project, arguments);
            let mut connections = Vec::new();
            let mut ids = std::collections::BTreeSet::new();
            // Each new connection goes to the isolate with the fewest.
            for _ in 0..isolates * 2 {
                let mut connection = Connection::open(served.address).await;
                ids.insert(connection.get("/").await.text());
                connections.push(connection);
            }
            assert_eq!(ids.len(), isolates, "{arguments:?}");
        }
        let none = project.run(&["serve", "--isolates", "0"]);
        assert!(!none.succeeded && none.stderr.contains("--isolates"), "{}", none.stderr);
    }));

    trials.push(test("serve takes the port it is told or none, and listens on loopback", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"shop\"\n[dev]\nport = 1\nip = \"0.0.0.0\"\n"),
            ("src/index.ts", "export default { fetch: () => new Response('x') }"),
        ]);
        let served = serve(&project, &[]);
        served.wait_for("ready http://localhost:");
        let taken = project.run(&["serve", "--port", &served.address.port().to_string()]);
        assert!(!taken.succeeded, "{}", taken.stderr);
        assert!(taken.stderr.contains("is in use by another program"), "{}", taken.stderr);
    }));

    trials.push(test("serve refuses to start over a migration that is not applied, and names the command", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("migrations/0001_a.sql", "CREATE TABLE a (x)"),
            ("migrations/0002_b.sql", "CREATE TABLE b (x)"),
            ("src/index.ts", "export default { async fetch(request, env) { return Response.json(await env.DB.prepare('SELECT * FROM b').all()) } }"),
        ]);
        let refused = project.run(&["serve", "--port", "0"]);
        assert!(!refused.succeeded);
        assert!(
            refused.stderr.contains(
                "database DB (local-db): migration 0001_a.sql and 1 more in migrations are pending\n\
                 hint: run `aerostack db migrate apply`; serve never applies migrations itself"
            ),
            "{}",
            refused.stderr
        );
        assert!(!project.path().join(".aerostack/database").exists(), "a refused start leaves no database behind");
        assert!(project.run(&["db", "migrate", "apply"]).succeeded);
        let served = serve(&project, &[]);
        assert_eq!(get(served.address, "/").await.status, 200);
    }));

    trials.push(test("serve keeps running what it has loaded when files change", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "export default { fetch: () => new Response('one') }"),
        ]);
        let served = serve(&project, &[]);
        project.write("src/index.ts", "export default { fetch: () => new Response('two') }");
        assert_eq!(get(served.address, "/").await.text(), "one");
        let again = serve(&project, &[]);
        assert_eq!(get(again.address, "/").await.text(), "two");
        assert_eq!(get(served.address, "/").await.text(), "one");
    }));

    trials.push(test(
        "in serve a consumer waits five seconds for a batch to fill, several batches at a time",
        async || {
            let project = TestProject::new(&[
                ("aerostack.toml", CONFIG),
                ("src/index.ts", "export default { fetch: () => new Response('x'), queue() {} }"),
            ]);
            let served = serve(&project, &["--isolates", "2"]);
            served.wait_for("up to 10 messages, 5 s, 3 retries");
            let dev = project.dev();
            dev.wait_for("up to 10 messages, 1 s, 3 retries");
        },
    ));
}

fn errors(trials: &mut Vec<Trial>) {
    trials.push(test("serve tells clients of a failure that it was one, and the log what it was", async || {
        let source = "export default { async fetch(request) { \
                        if (request.url.endsWith('/hang')) return new Promise(() => {}); \
                        if (request.url.endsWith('/loop')) for (;;) {} \
                        if (request.url.endsWith('/nothing')) return undefined; \
                        throw new Error('a detail of ours') } }";
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"shop\"\n[limits]\ncpu_ms = 100\n"),
            ("src/index.ts", source),
        ]);
        let served = serve(&project, &[]);
        for accept in ["*/*", "text/html,application/xhtml+xml", "application/json"] {
            for path in ["/throws", "/nothing"] {
                let answer = send(served.address, "GET", path, &[("accept", accept)], b"").await;
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (500, "Internal Server Error\n"),
                    "{path} {accept}"
                );
                assert!(answer.head.contains("content-type: text/plain; charset=utf-8"), "{}", answer.head);
            }
        }
        served.wait_for("Error: a detail of ours");
        served.wait_for("--> src/index.ts:1:");
        served.wait_for("GET /throws 500 ");
        let hung = get(served.address, "/hang").await;
        assert!(hung.status == 500 && !hung.text().contains("index.ts"), "{}", hung.text());
        let looped = get(served.address, "/loop").await;
        assert_eq!(
            (looped.status, looped.text().as_str()),
            (503, "Worker shop exceeded CPU limit 100 ms: raise limits.cpu_ms\n")
        );
    }));

    trials.push(test("serve does not say where workers are mounted", async || {
        let project = TestProject::new(&[
            (
                "aerostack.toml",
                "name = \"shop\"\n[[functions]]\nname = \"hidden\"\npath = \"hidden.ts\"\nroute = \"/hidden/*\"\n",
            ),
            ("hidden.ts", "export default { fetch: () => new Response('x') }"),
        ]);
        let served = serve(&project, &[]);
        let answer = get(served.address, "/elsewhere").await;
        assert_eq!((answer.status, answer.text().as_str()), (404, "Not Found\n"));
    }));

    trials.push(test("with --quiet serve prints failures, and no line for what was answered", async || {
        let source = "export default { fetch(request) { if (request.url.endsWith('/throws')) throw new Error('on purpose'); \
                      return new Response('x') } }";
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", source)]);
        let served = serve(&project, &["--quiet"]);
        assert_eq!(get(served.address, "/answered").await.status, 200);
        assert_eq!(get(served.address, "/throws").await.status, 500);
        served.wait_for("failed GET /throws");
        assert!(!served.output().contains("/answered"), "{}", served.output());
        assert!(!served.output().contains("GET /throws 500"), "{}", served.output());
    }));
}

fn values(trials: &mut Vec<Trial>) {
    const SHOWS: &str = "export default { fetch: (request, env) => Response.json([env.A, env.B, env.C]) }";

    trials.push(test("in serve the environment beats the file of variables, which --env-file chooses", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"shop\"\n[vars]\nC = \"$B\"\n"),
            (".dev.vars", "A=dev a\nB=dev b\n"),
            ("live.vars", "A=live a\nB=live b\n"),
            ("src/index.ts", SHOWS),
        ]);
        let served = serve(&project, &[]);
        assert_eq!(get(served.address, "/").await.text(), r#"["dev a","dev b","dev b"]"#);
        let served = serve(&project, &["--env-file", "live.vars"]);
        assert_eq!(get(served.address, "/").await.text(), r#"["live a","live b","live b"]"#);
        let served = project.start_in(&[("B", "set b")], &["serve", "--port", "0", "--env-file", "live.vars"]);
        assert_eq!(get(served.address, "/").await.text(), r#"["live a","set b","set b"]"#);
        // In dev what was just typed into the file counts.
        let dev = project.start_in(&[("B", "set b")], &["dev", "--port", "0"]);
        assert_eq!(get(dev.address, "/").await.text(), r#"["dev a","dev b","dev b"]"#);
        let missing = project.run(&["serve", "--port", "0", "--env-file", "nowhere.vars"]);
        assert!(!missing.succeeded && missing.stderr.contains("there is no file "), "{}", missing.stderr);
    }));
}

fn routes(trials: &mut Vec<Trial>) {
    const SOURCE: &str =
        "export default { fetch: () => new Response('worker'), scheduled: () => console.log('fired') }";

    trials.push(test("in serve event handlers are run by hand only where a flag says so", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SOURCE)]);
        let served = serve(&project, &[]);
        for path in ["/cdn-cgi/handler/scheduled", "/__scheduled"] {
            assert_eq!(get(served.address, path).await.status, 404, "{path}");
        }
        assert_eq!(get(served.address, "/_aerostack/health").await.status, 200);
        let served = serve(&project, &["--trigger-routes"]);
        assert_eq!(get(served.address, "/cdn-cgi/handler/scheduled").await.text(), "ok");
        served.wait_for("fired");
    }));

    trials.push(test("admin routes are for this machine, or for a host that --admin-host names", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SOURCE)]);
        let served = serve(&project, &["--admin-host", "ops.internal"]);
        for (headers, status) in [
            ("host: localhost", "200"),
            ("host: ops.internal:8788", "200"),
            ("host: shop.example", "403"),
            // What a proxy on this machine passes on is not of this machine.
            ("host: localhost\r\nx-forwarded-for: 203.0.113.9", "403"),
            ("host: ops.internal\r\nx-forwarded-for: 203.0.113.9", "200"),
        ] {
            let request = format!("GET /_aerostack/health HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
            let answer = String::from_utf8_lossy(&exchange(served.address, request.as_bytes()).await).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {answer}");
        }
    }));
}

fn ending(trials: &mut Vec<Trial>) {
    const READS: &str =
        "export default { async fetch(request) { console.log('begun'); return new Response(await request.text()) } }";
    const BEGINNING: &str = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nab";

    trials.push(test("on SIGTERM serve counts begun requests, lets them end, and ends well", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", READS)]);
        let mut served = serve(&project, &[]);
        let mut begun = Connection::open(served.address).await;
        begun.write(BEGINNING).await;
        served.wait_for("begun");
        served.signal("TERM");
        served.wait_for("draining: 1 still in flight");
        begun.write("cd").await;
        assert_eq!(begun.answer().await.text(), "abcd");
        assert!(served.wait(), "{}", served.output());
        assert!(!served.output().contains("stopped before"), "{}", served.output());
    }));

    trials.push(test("a second signal ends serve at once", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", READS)]);
        let mut served = serve(&project, &[]);
        let mut begun = Connection::open(served.address).await;
        begun.write(BEGINNING).await;
        served.wait_for("begun");
        served.signal("INT");
        served.wait_for("draining: 1 still in flight");
        served.signal("TERM");
        served.wait_for("stopped before everything was done");
        served.wait();
    }));
}
