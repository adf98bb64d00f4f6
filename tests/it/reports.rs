//! What people read when a worker prints or fails.

use aerostack_isolate::{ErrorReport, Failure};
use aerostack_modules::FrameStyle;
use aerostack_tests::{TestProject, TestWorker, get, test};
use bytes::Bytes;
use libtest_mimic::Trial;

const PRINTED: &str = include_str!("../workers/reports/printed.ts");
const FAILING: &str = include_str!("../workers/reports/failing.ts");
const CONFIG: &str = "name = \"shop\"\n";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    printed(trials);
    thrown(trials);
    hints(trials);
    drivers(trials);
    handlers(trials);
}

fn printed(trials: &mut Vec<Trial>) {
    trials.push(test(
        "what a worker prints is printed as it is, errors whole and without frames of ours",
        async || {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", PRINTED)]);
            let served = project.dev();
            get(served.address, "/").await;
            served.wait_for("the last line");
            let log = served.output();
            for line in [
                "log GET / at the desk (ext:204)",
                "log GET /     at list (ext:core/01_core.js:1:1)",
                "        at second (node:fs:1)",
                "    third",
                "{ stack: \"at x (ext:y)\" }",
                "  status: 418",
                "[cause]: Error: inner",
                "Error: one",
                "Error: two",
                "code: \"E_REFUSED\"",
                "at fails (src/index.ts:6:10)",
                "at Object.fetch (src/index.ts:19:17)",
            ] {
                assert!(log.contains(line), "{line:?} is missing in {log}");
            }
            let after_trace = log.lines().skip_while(|line| !line.contains("Trace: traced")).nth(2).unwrap_or_default();
            assert!(after_trace.contains("the last line"), "a frame, and no empty line: {log}");
            assert_eq!(log.matches('{').count(), log.matches('}').count(), "{log}");
            assert_eq!(log.matches("ext:").count(), 3, "only what the worker prints itself: {log}");
            let folder = project.path().display().to_string();
            assert!(!log.contains(&format!("({folder}")) && !log.contains("(file:"), "{log}");
        },
    ));
    trials.push(test("an uncaught error in a log for programs has its stack without frames of ours", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", FAILING)]);
        let served = project.dev_with(&["--log-format", "json"]);
        get(served.address, "/misspelled").await;
        let line = served.wait_for("Cannot read properties of undefined");
        let entry: serde_json::Value = serde_json::from_str(&line).expect("an object a line");
        let stack = entry["stack"].as_str().expect("a stack");
        assert!(stack.contains("at /misspelled (src/index.ts:26:") && !stack.contains("ext:"), "{stack}");
    }));
    trials.push(test("error.stack shows the worker's own frames alone, with paths below the project", async || {
        let worker = TestWorker::start(FAILING).await;
        let stack = worker.get("/stack").await.text();
        let frames: Vec<&str> = stack.lines().collect();
        assert_eq!(frames[0], "Error: x");
        assert_eq!(frames.len(), 3, "the handler and its caller, nothing of the runtime: {stack}");
        assert!(frames[1..].iter().all(|frame| frame.contains("(src/index.ts:")), "{stack}");
        let stack = worker.get("/stack-of-a-binding").await.text();
        assert!(stack.contains("src/index.ts:") && !stack.contains("ext:"), "{stack}");
    }));
}

/// How the failure of a request reads.
async fn failure_of(worker: &TestWorker, path: &str) -> (ErrorReport, String) {
    let request = http::Request::get(path).body(Bytes::new()).expect("valid");
    match worker.try_send(request).await {
        Err(Failure::Exception(error)) => {
            let report = ErrorReport::new(&error, &worker.worker.version());
            let frame = report.code_frame(FrameStyle::Plain).unwrap_or_default();
            (report, frame)
        }
        other => panic!("{path} does not throw: {other:?}"),
    }
}

fn thrown(trials: &mut Vec<Trial>) {
    trials.push(test("a value that is no Error is shown with its contents and the line that threw it", async || {
        let worker = TestWorker::start(FAILING).await;
        let (report, frame) = failure_of(&worker, "/object-thrown").await;
        assert_eq!(report.message, "Uncaught { code: 7, nested: { list: [ 1, 2 ] } }");
        assert!(frame.contains("--> src/index.ts:19:5") && frame.contains("throw { code: 7"), "{frame}");
        let (report, frame) = failure_of(&worker, "/text-thrown").await;
        assert_eq!(report.message, "Uncaught \"only text\"");
        assert!(frame.contains("--> src/index.ts:22:5"), "{frame}");
        // A promise that is rejected with one has no line; the file is told, and how to get one.
        let (report, frame) = failure_of(&worker, "/object-rejected").await;
        assert_eq!(report.message, "Uncaught { code: 8 }");
        assert!(frame.contains("--> src/index.ts") && frame.contains("hint: throw an Error"), "{frame}");
    }));
    trials.push(test("an AggregateError is shown with every inner error", async || {
        let worker = TestWorker::start(FAILING).await;
        let (report, _) = failure_of(&worker, "/any").await;
        let text = report.stack_text();
        assert!(text.starts_with("Uncaught AggregateError: All promises were rejected"), "{text}");
        assert!(text.contains("\nInner error 1 of 2: Error: one\n    at "), "{text}");
        assert!(text.contains("\nInner error 2 of 2: RangeError: two\n    at "), "{text}");
    }));
    trials.push(test("a handler that returns no Response is told what it returned, with its file", async || {
        let worker = TestWorker::start(FAILING).await;
        for (path, got) in
            [("/nothing", "undefined"), ("/text", "a string"), ("/object", "an object"), ("/list", "an array")]
        {
            let (report, frame) = failure_of(&worker, path).await;
            assert_eq!(report.message, format!("Uncaught TypeError: fetch must return a Response, got {got}"));
            assert!(frame.contains("--> src/index.ts") && frame.contains("= hint: "), "{frame}");
        }
    }));
}

fn hints(trials: &mut Vec<Trial>) {
    trials.push(test("a missing binding or name comes with a hint", async || {
        let worker = TestWorker::start(FAILING).await;
        for (path, hint) in [
            ("/misspelled", "`env` has no `DBB`: did you mean `DB`?"),
            ("/unbound", "`env` has no `SESSIONS`, it has "),
            ("/browser", "a worker keeps values in a KV namespace, such as `env.CACHE`"),
            ("/global", "`CACHE` is on `env`, the second parameter of the handlers: `env.CACHE`"),
        ] {
            let (report, frame) = failure_of(&worker, path).await;
            assert!(report.hint().is_some_and(|found| found.starts_with(hint)), "{path}: {:?}", report.hint());
            assert!(frame.contains("= hint: "), "{frame}");
        }
    }));
}

fn drivers(trials: &mut Vec<Trial>) {
    trials.push(test("an unexpected failure of a driver is logged once, with its causes", async || {
        const WORKER: &str = "export default { async fetch(request, env) {
            return new Response(await env.CACHE.get('k').then(() => 'there', () => 'refused')); } };";
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", WORKER),
            (".aerostack/cache/local-kv.sqlite/file", "a folder where a file should be"),
        ]);
        let served = project.dev();
        assert_eq!(get(served.address, "/").await.text(), "refused");
        served.wait_for("GET / 200");
        let log = served.output();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("binding call failed")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains("cannot open the cache file"), "{log}");
        assert!(lines[0].contains("unable to open database file"), "the cause, which the worker does not see: {log}");
    }));
    trials.push(test("an option that a driver does not have is refused, with its line", async || {
        let config = "name = \"shop\"\n[[kv_namespaces]]\nbinding = \"CACHE\"\nid = \"k\"\noptions = { typo = 1 }\n";
        let worker = "export default { fetch: () => new Response('ok') };";
        let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", worker)]);
        let run = project.run(&["serve", "--port", "0"]);
        assert!(!run.succeeded, "{run:?}");
        assert!(run.stderr.contains("cache CACHE: the driver \"sqlite\" has no option \"typo\""), "{run:?}");
        assert!(run.stderr.contains("aerostack.toml:5:"), "{run:?}");
    }));
}

fn handlers(trials: &mut Vec<Trial>) {
    trials.push(test("handlers that nothing calls are noted once, with what to do", async || {
        let worker = "export default { fetch: () => new Response('ok'), scheduled() {}, ques() {} };";
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", worker)]);
        let served = project.dev();
        served.wait_for("shop exports `scheduled`, and no cron trigger calls it: add `[triggers] crons = [");
        served.wait_for("shop exports `ques`, which no event calls: did you mean `queue`?");
        project.append("src/index.ts", "\n// changed");
        served.wait_for("reloaded in");
        assert_eq!(served.output().matches("exports `").count(), 2, "{}", served.output());
    }));
    trials.push(test("two functions and nothing else start without a warning", async || {
        let config = "name = \"shop\"\n[[functions]]\nname = \"one\"\npath = \"one.ts\"\nroute = \"/one/*\"\n\
                      [[functions]]\nname = \"two\"\npath = \"two.ts\"\nroute = \"/two/*\"\n";
        let worker = "export default { fetch: () => new Response('ok') };";
        let project = TestProject::new(&[("aerostack.toml", config), ("one.ts", worker), ("two.ts", worker)]);
        let served = project.dev();
        assert_eq!(get(served.address, "/two/").await.text(), "ok");
        assert!(!served.output().contains("warning"), "{}", served.output());
    }));
    trials.push(test("a service binding that is asked for is said to be missing", async || {
        let config = "name = \"shop\"\n[[services]]\nbinding = \"AUTH\"\nservice = \"one\"\n\
                      [[functions]]\nname = \"one\"\npath = \"one.ts\"\nroute = \"/one/*\"\n";
        let worker = "export default { fetch: () => new Response('ok') };";
        let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", worker), ("one.ts", worker)]);
        project.dev().wait_for("service bindings are not supported yet: env.AUTH is missing");
    }));
    trials.push(test("out of memory is logged once", async || {
        let config = "name = \"shop\"\n[limits]\nmemory_mb = 48\n";
        let worker = "export default { fetch() { const all = []; for (;;) all.push({ n: String(all.length) }); } };";
        let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", worker)]);
        let served = project.dev();
        assert_eq!(get(served.address, "/").await.status, 503);
        served.wait_for("GET / 503");
        assert_eq!(served.output().matches("exceeded memory limit").count(), 1, "{}", served.output());
    }));
    trials.push(test("a configured model that is missing is told of at the start and by `models`", async || {
        let config = "name = \"shop\"\n[ai]\nmodels_dir = \"models\"\n\
                      [ai.models.\"@cf/baai/bge-base-en-v1.5\"]\npath = \"mine/bge\"\n";
        let worker = "export default { fetch: () => new Response('ok') };";
        let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", worker)]);
        let served = project.dev();
        served.wait_for("the model \"@cf/baai/bge-base-en-v1.5\" is missing: nothing is at mine/bge");
        drop(served);
        let models = project.run_json(&["models", "list", "--json"]);
        let model = models.as_array().into_iter().flatten().find(|model| model["name"] == "@cf/baai/bge-base-en-v1.5");
        let model = model.expect("it is listed");
        assert_eq!((&model["state"], &model["megabytes"]), (&"missing".into(), &serde_json::Value::Null), "{model}");
        assert!(model["location"].as_str().is_some_and(|location| location.ends_with("mine/bge")), "{model}");
        let listed = project.run(&["models", "list"]).stdout;
        let line = listed.lines().find(|line| line.contains("bge-base-en-v1.5")).expect("a line");
        assert!(line.contains("missing: ") && line.ends_with("mine/bge") && !line.contains("MB"), "{line}");
        let place = project.run(&["models", "where", "@cf/baai/bge-base-en-v1.5"]);
        assert!(!place.succeeded && place.stdout.trim().ends_with("mine/bge"), "{place:?}");
    }));
}
