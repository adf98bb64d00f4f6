//! `aerostack dev` as a person uses it: what it prints, how it reloads, how it ends.

use std::net::TcpListener;

use aerostack_tests::{Connection, TestProject, get, send, test};
use libtest_mimic::Trial;

const CONFIG: &str = "name = \"shop\"\n";

const USES_THREE: &str =
    "export default { fetch: (request, env) => Response.json([env.DB, env.CACHE, env.VECTORIZE].length) };";

fn answering(text: &str) -> String {
    format!("export default {{\n  fetch(): Response {{\n    return new Response('{text}');\n  }},\n}};\n")
}

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    printing(trials);
    reloading(trials);
    listening(trials);
    starting(trials);
    ending(trials);
}

fn printing(trials: &mut Vec<Trial>) {
    trials.push(test("dev prints a table of bindings and a ready line with URL and time", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", USES_THREE)]);
        let served = project.dev();
        let ready = served.wait_for("ready ");
        assert!(ready.starts_with(&format!("ready http://localhost:{} in ", served.address.port())), "{ready}");
        assert!(ready.ends_with(" ms"), "{ready}");
        let output = served.output();
        assert!(output.starts_with("shop\n"), "{output}");
        let words = |name: &str| -> Vec<String> {
            let line = served.wait_for(&format!("  {name} "));
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words("DB")[..3], ["DB", "database", "sqlite"]);
        assert_eq!(words("CACHE")[..3], ["CACHE", "cache", "sqlite"]);
        assert_eq!(words("VECTORIZE")[..3], ["VECTORIZE", "vectorize", "sqlite"]);
        served.wait_for("  also on env: QUEUE, STORAGE, AI");
        assert_eq!(output.lines().count(), 6, "{output}");
        assert!(words("DB").iter().any(|word| word.starts_with(".aerostack/database/")), "{output}");
        assert!(!output.contains('\u{1b}'), "colours without a terminal: {output}");
    }));

    trials.push(test("dev prints one line a request with status, time and what it cost", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            (
                "src/index.ts",
                "export default { async fetch(request, env) { const path = new URL(request.url).pathname; \
                 if (path === '/two') { await env.DB.prepare('SELECT 1').first(); await env.DB.prepare('SELECT 2').all(); \
                   await env.CACHE.get('x'); } \
                 if (path === '/throws') throw new Error('on purpose'); \
                 return new Response(path, { status: path === '/missing' ? 404 : 200 }) } }",
            ),
        ]);
        let served = project.dev();
        for (path, status, cost) in
            [("/", 200, ""), ("/two?secret=1", 200, " · database 2 · cache 1"), ("/missing", 404, ""), ("/throws", 500, "")]
        {
            assert_eq!(get(served.address, path).await.status, status);
            let shown = path.split('?').next().unwrap_or(path);
            let line = served.wait_for(&format!("GET {shown} {status} "));
            let (time, rest) = line[format!("GET {shown} {status} ").len()..].split_once(" ms").expect("a time");
            assert!(time.parse::<f64>().is_ok(), "{line}");
            assert_eq!(rest, cost, "{line}");
        }
        assert!(!served.output().contains("secret"), "queries are not printed");
        served.wait_for("on purpose");
    }));

    trials.push(test("dev prints what the console is told, objects inspected, with the request", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            (
                "src/index.ts",
                "export default { fetch(request) { console.log('an object', { a: [1, { b: null }], m: new Map([['k', 1n]]) }); \
                 console.warn('%s is %d', 'this', 5); console.error(new TypeError('logged')); return new Response('x') } }",
            ),
        ]);
        let served = project.dev();
        get(served.address, "/path").await;
        let line = served.wait_for("an object");
        assert_eq!(line, "  log GET /path an object { a: [ 1, { b: null } ], m: Map(1) { \"k\" => 1n } }");
        assert_eq!(served.wait_for("this is 5"), "  warn GET /path this is 5");
        assert_eq!(served.wait_for("TypeError: logged"), "  error GET /path TypeError: logged");
        let place = served.wait_for("at Object.fetch (src/index.ts:1:");
        assert!(place.starts_with("    "), "{place}");
    }));

    trials.push(test("dev prints an uncaught error with file, line and a code frame", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "type A = { b?: { c: string } };\n\nexport default {\n  fetch(): Response {\n    const a: A = {};\n    return new Response(a.b!.c);\n  },\n};\n"),
        ]);
        let served = project.dev();
        assert_eq!(get(served.address, "/x").await.status, 500);
        served.wait_for("failed GET /x");
        served.wait_for("--> src/index.ts:6:30");
        served.wait_for("6 |     return new Response(a.b!.c);");
        served.wait_for("^");
        served.wait_for("GET /x 500 ");
    }));

    trials.push(test("control characters in paths and log lines cannot move the terminal's cursor", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "export default { fetch() { console.log('a\\u001b[2Jb'); return new Response('x') } }"),
        ]);
        let served = project.dev();
        send(served.address, "GET", "/%1b[2J", &[], b"").await;
        served.wait_for("GET /%1b[2J 200");
        assert!(!served.output().contains('\u{1b}'), "{:?}", served.output());
    }));

    trials.push(test("dev says when a handler hangs, and which limit a runaway met", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"shop\"\n[limits]\ncpu_ms = 100\n"),
            (
                "src/index.ts",
                "export default { fetch(request) { if (request.url.endsWith('/hang')) return new Promise(() => {}); \
                 if (request.url.endsWith('/loop')) for (;;) {} return new Response('x') } }",
            ),
        ]);
        let served = project.dev();
        assert_eq!(get(served.address, "/hang").await.status, 500);
        served.wait_for("error GET /hang: the handler waits for something that can never happen, and would never generate a response");
        let loop_answer = get(served.address, "/loop").await;
        assert_eq!((loop_answer.status, loop_answer.text().as_str()), (503, "Worker shop exceeded CPU limit 100 ms: raise limits.cpu_ms\n"));
        served.wait_for("error GET /loop: exceeded CPU limit 100 ms: raise limits.cpu_ms");
        assert_eq!(get(served.address, "/").await.text(), "x");
    }));
}

fn reloading(trials: &mut Vec<Trial>) {
    trials.push(test("a save reloads, with one line that names the file and the milliseconds", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("one"))]);
        let served = project.dev();
        assert_eq!(get(served.address, "/").await.text(), "one");
        let before = served.line_count();
        project.write("src/index.ts", &answering("two"));
        let line = served.wait_for_after(before, "reloaded in");
        assert!(line.starts_with("~ src/index.ts -> reloaded in ") && line.ends_with(" ms"), "{line}");
        assert_eq!(get(served.address, "/").await.text(), "two");
        assert_eq!(served.output().matches("reloaded in").count(), 1, "{}", served.output());
    }));

    trials.push(test("saving an imported file or a text import reloads too, also when an editor replaces the file", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "import { word } from './lib/word.ts'; import page from './page.html';\nexport default { fetch: () => new Response(word + page) };"),
            ("src/lib/word.ts", "export const word: string = 'one';"),
            ("src/page.html", "<p>"),
        ]);
        let served = project.dev();
        assert_eq!(get(served.address, "/").await.text(), "one<p>");
        let before = served.line_count();
        project.write("src/lib/word.ts", "export const word: string = 'two';");
        served.wait_for_after(before, "~ src/lib/word.ts -> reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "two<p>");
        let before = served.line_count();
        project.write("src/page.html.tmp", "<b>");
        let from = project.path().join("src/page.html.tmp");
        std::fs::rename(from, project.path().join("src/page.html")).expect("the file can be replaced");
        served.wait_for_after(before, "~ src/page.html -> reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "two<b>");
    }));

    trials.push(test(
        "a syntax error on save is printed with a code frame, the last good version goes on, the next save mends it",
        async || {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("good"))]);
            let served = project.dev();
            let before = served.line_count();
            project.write("src/index.ts", "export default {\n  fetch() {\n    const x = ;\n  }\n}\n");
            served.wait_for_after(before, "--> src/index.ts:3:15");
            served.wait_for_after(before, "3 |     const x = ;");
            let line = served.wait_for_after(before, "still serving the last good version");
            assert_eq!(line, "~ src/index.ts: not reloaded, still serving the last good version");
            assert_eq!(get(served.address, "/").await.text(), "good");
            let before = served.line_count();
            project.write("src/index.ts", &answering("mended"));
            served.wait_for_after(before, "~ src/index.ts -> reloaded in");
            assert_eq!(get(served.address, "/").await.text(), "mended");
        },
    ));

    trials.push(test("a module that throws at load on save is printed and the last good version goes on", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("good"))]);
        let served = project.dev();
        let before = served.line_count();
        project.write("src/index.ts", "const settings: any = undefined;\nexport const port = settings.port;\nexport default { fetch() {} };\n");
        served.wait_for_after(before, "--> src/index.ts:2:30");
        served.wait_for_after(before, "still serving the last good version");
        assert_eq!(get(served.address, "/").await.text(), "good");
        let before = served.line_count();
        project.write("src/index.ts", &answering("mended"));
        served.wait_for_after(before, "~ src/index.ts -> reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "mended");
    }));

    trials.push(test("a missing import on save is printed, and mended by creating the file", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("good"))]);
        let served = project.dev();
        let before = served.line_count();
        project.write(
            "src/index.ts",
            "import { text } from './text.ts';\nexport default { fetch: () => new Response(text) };\n",
        );
        served.wait_for_after(before, "--> src/index.ts:1:");
        served.wait_for_after(before, "still serving the last good version");
        assert_eq!(get(served.address, "/").await.text(), "good");
        let before = served.line_count();
        project.write("src/text.ts", "export const text = 'found';");
        served.wait_for_after(before, "reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "found");
    }));

    trials.push(test("a change of the config or of .dev.vars is taken over", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"shop\"\n[vars]\nWORD = \"one\"\n"),
            ("src/index.ts", "export default { fetch: (request, env) => new Response(env.WORD + env.SECRET) };"),
            (".dev.vars", "SECRET=s1\n"),
        ]);
        let served = project.dev();
        assert_eq!(get(served.address, "/").await.text(), "ones1");
        let before = served.line_count();
        project.write("aerostack.toml", "name = \"shop\"\n[vars]\nWORD = \"two\"\n");
        served.wait_for_after(before, "~ aerostack.toml -> reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "twos1");
        let before = served.line_count();
        project.write(".dev.vars", "SECRET=s2\n");
        served.wait_for_after(before, "~ .dev.vars -> reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "twos2");
        assert!(!served.output().contains("s2"), "secrets are not printed: {}", served.output());
    }));

    trials.push(test("a wrong config on save is printed with its line, and the last good one goes on", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"shop\"\n[vars]\nWORD = \"one\"\n"),
            ("src/index.ts", "export default { fetch: (request, env) => new Response(env.WORD) };"),
        ]);
        let served = project.dev();
        let before = served.line_count();
        project.write("aerostack.toml", "name = \"shop\"\n[vars\nWORD = \"two\"\n");
        served.wait_for_after(before, "aerostack.toml:2:");
        served.wait_for_after(before, "keeping the last good config");
        assert_eq!(get(served.address, "/").await.text(), "one");
        let before = served.line_count();
        project.write("aerostack.toml", "name = \"shop\"\n[vars]\nWORD = \"three\"\n");
        served.wait_for_after(before, "~ aerostack.toml -> reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "three");
    }));

    trials.push(test("a new migration is applied on save", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("migrations/0001_a.sql", "CREATE TABLE a (x);"),
            ("src/index.ts", "export default { async fetch(request, env) { return Response.json(await env.DB.prepare(\"SELECT name FROM sqlite_schema WHERE name IN ('a', 'b') ORDER BY 1\").raw()) } };"),
        ]);
        let served = project.dev();
        served.wait_for("applied migration 0001_a.sql");
        assert_eq!(get(served.address, "/").await.text(), r#"[["a"]]"#);
        project.write("migrations/0002_b.sql", "CREATE TABLE b (x);");
        served.wait_for("applied migration 0002_b.sql");
        served.wait_for("reloaded in");
        assert_eq!(get(served.address, "/").await.text(), r#"[["a"],["b"]]"#);
    }));

    trials.push(test(
        "kept-alive connections see the new version, and a request in flight ends in the old one",
        async || {
            let source = |text: &str| {
                format!(
                    "let open; const gate = new Promise((resolve) => open = resolve); globalThis.open = () => open();\n\
                 export default {{ async fetch(request) {{ \
                   if (request.url.endsWith('/slow')) {{ console.log('slow began'); await scheduler.wait(1500); }} \
                   return new Response('{text}') }} }};"
                )
            };
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &source("old"))]);
            let served = project.dev();
            let mut slow = Connection::open(served.address).await;
            let mut kept = Connection::open(served.address).await;
            assert_eq!(kept.get("/").await.text(), "old");
            slow.write_get("/slow").await;
            served.wait_for("slow began");
            let before = served.line_count();
            project.write("src/index.ts", &source("new"));
            served.wait_for_after(before, "reloaded in");
            assert_eq!(kept.get("/").await.text(), "new");
            assert_eq!(get(served.address, "/").await.text(), "new");
            assert_eq!(slow.answer().await.text(), "old");
            assert_eq!(slow.get("/").await.text(), "new");
        },
    ));

    trials.push(test("a save while the worker is stuck in a loop is served at once", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "export default { fetch() { console.log('looping'); for (;;) {} } };"),
        ]);
        let served = project.dev();
        let mut stuck = Connection::open(served.address).await;
        stuck.write_get("/").await;
        served.wait_for("looping");
        project.write("src/index.ts", &answering("mended"));
        served.wait_for("reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "mended");
    }));

    trials.push(test(
        "a main module that loops forever on save is stopped, and the last good version goes on meanwhile",
        async || {
            let project = TestProject::new(&[
                ("aerostack.toml", "name = \"shop\"\n[limits]\ncpu_ms = 500\n"),
                ("src/index.ts", &answering("good")),
            ]);
            let served = project.dev();
            project.write("src/index.ts", "for (;;) {}\n");
            for _ in 0..5 {
                assert_eq!(get(served.address, "/").await.text(), "good");
            }
            served.wait_for("the main module exceeded CPU limit 500 ms: raise limits.cpu_ms");
            served.wait_for("still serving the last good version");
            assert_eq!(get(served.address, "/").await.text(), "good");
        },
    ));

    trials.push(test("thirty saves in a row leave the last one serving, and no threads behind", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("start"))]);
        let served = project.dev();
        let threads = || std::fs::read_dir(format!("/proc/{}/task", served.id())).expect("the process lives").count();
        let at_start = threads();
        for round in 0..30 {
            let before = served.line_count();
            project.write("src/index.ts", &answering(&format!("round {round}")));
            served.wait_for_after(before, "reloaded in");
            assert_eq!(get(served.address, "/").await.text(), format!("round {round}"));
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while threads() > at_start + 4 {
            assert!(std::time::Instant::now() < deadline, "threads: {at_start} -> {}", threads());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }));
}

fn listening(trials: &mut Vec<Trial>) {
    trials.push(test("a default port that is taken is left for the next free one, and dev says so", async || {
        // If somebody has the port already, that is just as well.
        let _taken = TcpListener::bind("127.0.0.1:8788");
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("hello"))]);
        let served = project.start(&["dev"]);
        let line = served.wait_for("port 8788 is in use, using ");
        assert!(line.ends_with(&format!("using {}", served.address.port())), "{line}");
        assert!(served.address.port() > 8788, "{}", served.address);
        assert_eq!(get(served.address, "/").await.text(), "hello");
    }));

    trials.push(test("a port of the config that is taken is left for the next free one", async || {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("an address").port();
        let config = format!("name = \"shop\"\n[dev]\nport = {port}\n");
        let project = TestProject::new(&[("aerostack.toml", &config), ("src/index.ts", &answering("hello"))]);
        let served = project.start(&["dev"]);
        served.wait_for(&format!("port {port} is in use, using "));
        assert_eq!(get(served.address, "/").await.text(), "hello");
    }));

    trials.push(test("--port is strict: a taken one ends dev with a hint", async || {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("an address").port().to_string();
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("hello"))]);
        let run = project.run(&["dev", "--port", &port]);
        assert!(!run.succeeded && run.stdout.is_empty(), "{run:?}");
        assert!(
            run.stderr.contains(&format!("error: port {port} on 127.0.0.1 is in use by another program")),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains("hint: stop it") && run.stderr.contains("--port"), "{}", run.stderr);
    }));

    trials.push(test("--host decides the address; loopback is the default", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("hello"))]);
        let everywhere = project.dev_with(&["--host", "0.0.0.0"]);
        everywhere.wait_for("ready http://0.0.0.0:");
        assert_eq!(get(everywhere.address, "/").await.text(), "hello");
        drop(everywhere);
        let loopback = project.dev_with(&["--host", "127.0.0.2"]);
        assert_eq!(loopback.address.ip().to_string(), "127.0.0.2");
        assert_eq!(get(loopback.address, "/").await.text(), "hello");
        assert!(tokio::net::TcpStream::connect(("127.0.0.1", loopback.address.port())).await.is_err());
        let wrong = project.run(&["dev", "--host", "not an address"]);
        assert!(!wrong.succeeded && wrong.stderr.contains("--host"), "{wrong:?}");
        let foreign = project.run(&["dev", "--host", "192.0.2.1", "--port", "0"]);
        assert!(!foreign.succeeded && foreign.stderr.contains("cannot listen on 192.0.2.1:0"), "{foreign:?}");
    }));
}

fn starting(trials: &mut Vec<Trial>) {
    trials.push(test("--persist-to keeps the state elsewhere, and nothing lies in the project", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("migrations/0001_a.sql", "CREATE TABLE a (x);"),
            ("src/index.ts", "export default { async fetch(request, env) { await env.DB.exec('INSERT INTO a VALUES (1)'); await env.CACHE.put('k', 'v'); return Response.json(await env.DB.prepare('SELECT count(*) AS n FROM a').first('n')) } };"),
        ]);
        let elsewhere = tempfile::tempdir().expect("a temporary folder can be made");
        let folder = elsewhere.path().join("deep/state").display().to_string();
        for expected in ["1", "2"] {
            let mut served = project.dev_with(&["--persist-to", &folder]);
            assert_eq!(get(served.address, "/").await.text(), expected);
            served.signal("INT");
            assert!(served.wait(), "{}", served.output());
        }
        assert!(!project.path().join(".aerostack").exists());
        assert!(elsewhere.path().join("deep/state/database").is_dir());
    }));

    trials.push(test("--config takes a file or a folder, and paths are those of the config", async || {
        let project = TestProject::new(&[
            ("apps/shop/aerostack.toml", CONFIG),
            ("apps/shop/other.toml", "name = \"other\"\nmain = \"src/other.ts\"\n"),
            ("apps/shop/src/index.ts", &answering("shop")),
            ("apps/shop/src/other.ts", &answering("other")),
        ]);
        for (config, expected) in
            [("apps/shop", "shop"), ("apps/shop/aerostack.toml", "shop"), ("apps/shop/other.toml", "other")]
        {
            let served = project.dev_with(&["--config", config]);
            assert_eq!(get(served.address, "/").await.text(), expected);
        }
        assert!(project.path().join("apps/shop/.aerostack").is_dir());
        assert!(!project.path().join(".aerostack").exists());
    }));

    trials.push(test("a folder without a config is a clear error with a way out", async || {
        let run = TestProject::new(&[]).run(&["dev"]);
        assert!(!run.succeeded && run.stdout.is_empty(), "{run:?}");
        assert!(run.stderr.contains("error: no aerostack.toml in "), "{}", run.stderr);
        assert!(run.stderr.contains("name = \"my-app\""), "{}", run.stderr);
    }));

    trials.push(test("a config that is not there is a clear error", async || {
        let run = TestProject::new(&[("aerostack.toml", CONFIG)]).run(&["dev", "--config", "nowhere.toml"]);
        assert!(!run.succeeded && run.stderr.contains("there is no file nowhere.toml"), "{run:?}");
    }));

    trials.push(test("an empty main module is a clear error that names the file and what belongs there", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", "")]);
        let served = project.dev();
        for text in ["the main module has no default export", "src/index.ts", "export default"] {
            served.wait_for(text);
        }
    }));

    trials.push(test("a missing main module is a clear error that names it", async || {
        let served = TestProject::new(&[("aerostack.toml", CONFIG)]).dev();
        served.wait_for("src/index.ts");
        let served = TestProject::new(&[("aerostack.toml", "name = \"x\"\nmain = \"src/wroker.ts\"\n")]).dev();
        served.wait_for("src/wroker.ts");
        served.wait_for("aerostack.toml:2:");
    }));

    trials.push(test("a syntax error at the start has file, line and a code frame", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "export default {\n  fetch() { return new Response('x' }\n}\n"),
        ]);
        let served = project.dev();
        served.wait_for("--> src/index.ts:2:");
        served.wait_for("2 |   fetch() { return new Response('x' }");
    }));

    trials.push(test(
        "a wrong migration at the start names file and line, leaves the database as it was, and runs once it is right",
        async || {
            let project = TestProject::new(&[
                ("aerostack.toml", CONFIG),
                ("src/index.ts", &answering("hello")),
                ("migrations/0001_good.sql", "CREATE TABLE good (x);\n"),
                ("migrations/0002_bad.sql", "CREATE TABLE half (x);\n\nINSERT INTO absent VALUES (1);\n"),
            ]);
            let served = project.dev();
            served.wait_for("absent");
            served.wait_for("--> migrations/0002_bad.sql:3");
            let tables = "SELECT name FROM sqlite_schema WHERE name IN ('good', 'half')";
            assert_eq!(project.rows(tables), serde_json::json!([{ "name": "good" }]));
            project.write("migrations/0002_bad.sql", "CREATE TABLE half (x);\n");
            served.wait_for("applied migration 0002_bad.sql");
        },
    ));
}

fn ending(trials: &mut Vec<Trial>) {
    for signal in ["INT", "TERM"] {
        trials.push(test(
            &format!("SIG{signal} waits for the request in flight and its waitUntil work, then exits with 0"),
            async move || {
                let project = TestProject::new(&[
                    ("aerostack.toml", CONFIG),
                    (
                        "src/index.ts",
                        "export default { async fetch(request, env, ctx) { \
                     ctx.waitUntil(scheduler.wait(600).then(() => console.log('work is done'))); \
                     console.log('began'); await scheduler.wait(300); return new Response('whole') } }",
                    ),
                ]);
                let mut served = project.dev();
                let mut connection = Connection::open(served.address).await;
                connection.write_get("/").await;
                served.wait_for("began");
                served.signal(signal);
                served.wait_for("draining: 1 still in flight (Ctrl-C again to stop now)");
                assert_eq!(connection.answer().await.text(), "whole");
                assert!(served.wait(), "{}", served.output());
                served.wait_for("work is done");
            },
        ));
    }

    trials.push(test("an idle dev ends at once, open connections or not", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("hello"))]);
        let mut served = project.dev();
        let mut kept = Connection::open(served.address).await;
        let silent = Connection::open(served.address).await;
        assert_eq!(kept.get("/").await.text(), "hello");
        let started = std::time::Instant::now();
        served.signal("INT");
        assert!(served.wait(), "{}", served.output());
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
        assert!(kept.rest().await.is_empty());
        drop(silent);
    }));

    trials.push(test("a second Ctrl-C stops at once and says so", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "export default { async fetch() { console.log('began'); await scheduler.wait(600_000); return new Response('x') } }"),
        ]);
        let mut served = project.dev();
        let mut connection = Connection::open(served.address).await;
        connection.write_get("/").await;
        served.wait_for("began");
        served.signal("INT");
        served.wait_for("draining: 1 still in flight");
        served.signal("INT");
        served.wait_for("stopped before everything was done");
        assert!(served.wait(), "{}", served.output());
    }));

    trials.push(test("a worker stuck in a loop does not keep a second Ctrl-C from ending dev", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "export default { fetch() { console.log('looping'); for (;;) {} } };"),
        ]);
        let mut served = project.dev();
        let mut connection = Connection::open(served.address).await;
        connection.write_get("/").await;
        served.wait_for("looping");
        served.signal("INT");
        served.wait_for("draining: 1 still in flight");
        served.signal("INT");
        assert!(served.wait(), "{}", served.output());
    }));

    trials.push(test("a worker that keeps state in timers does not keep dev from ending", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "setInterval(() => {}, 10); export default { fetch() { setTimeout(() => {}, 600_000); return new Response('x') } };"),
        ]);
        let mut served = project.dev();
        assert_eq!(get(served.address, "/").await.text(), "x");
        let started = std::time::Instant::now();
        served.signal("INT");
        assert!(served.wait(), "{}", served.output());
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    }));
}
