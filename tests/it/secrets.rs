//! Values of secrets stand in no output, whatever goes wrong. Each test looks through all that the binary said.

use aerostack_tests::{Binary, TestProject, get, send, test};
use libtest_mimic::Trial;

const FROM_FILE: &str = "sk-file-8d1f0c3b5a";
const FROM_ENVIRONMENT: &str = "sk-env-77aa90b1c2";
const NAMED: &str = "sk-named-41cc5e6f70";
const MODEL_KEY: &str = "sk-model-2b4e9d8c61";
const PEM: &str =
    "-----BEGIN TEST KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\nEFAASCBKcwggSjAgEAAoIBAQ\n-----END TEST KEY-----";
const ALL: [&str; 6] =
    [FROM_FILE, FROM_ENVIRONMENT, NAMED, MODEL_KEY, "MIIEvQIBADANBgkqhkiG9w0BAQ", "EFAASCBKcwggSjAgEAAoIBAQ"];

const WORKER: &str = "export default { async fetch(request, env, ctx) { \
       const all = [env.FILE, env.REFERENCED, env.NAMED, env.PEM]; \
       const path = new URL(request.url).pathname; \
       if (path === '/reveals') return Response.json(all); \
       if (path === '/logs') { for (const value of all) { console.log(value); console.error('Bearer ' + value); \
         console.log({ value, list: [value], map: new Map([['k', value]]) }); console.log(JSON.stringify({ value })); \
         console.log('%s and %o', value, value); console.warn(new Error(value)); } return new Response('logged'); } \
       if (path === '/throws') throw new Error('with ' + all.join(' and '), { cause: new TypeError(env.FILE) }); \
       if (path === '/rejects') { Promise.reject(new Error(all.join())); ctx.waitUntil(Promise.reject(env.NAMED)); \
         setTimeout(() => { throw new RangeError(env.PEM) }); return new Response('rejected'); } \
       if (path === '/database') return Response.json(await env.DB.prepare('SELECT ' + JSON.stringify(env.FILE) + ' FROM missing').all()); \
       if (path === '/cache') return new Response(await env.CACHE.get(env.FILE.repeat(100))); \
       if (path === '/queue') { await env.QUEUE.send({ all }); return new Response('sent'); } \
       if (path === '/fetch') { await fetch('http://' + env.NAMED + '.invalid/' + env.FILE); } \
       if (path === '/model') return Response.json(await env.AI.run('remote', { prompt: env.FILE })); \
       return new Response(path); \
     }, \
     queue(batch) { throw new Error(JSON.stringify(batch.messages[0].body)); }, \
     scheduled(event, env) { console.log(env.FILE); throw new Error(env.NAMED); } };";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("no secret stands in the log, whoever prints it, in dev and in serve", async || {
        for command in ["dev", "serve"] {
            let project = project();
            let served = start(&project, command);
            let revealed = get(served.address, "/reveals").await.text();
            assert!(revealed.contains(FROM_FILE) && revealed.contains(FROM_ENVIRONMENT) && revealed.contains(NAMED));
            for path in ["/logs", "/throws", "/rejects", "/database", "/cache", "/queue", "/fetch", "/model"] {
                get(served.address, path).await;
                served.wait_for(&format!("GET {path} "));
            }
            send(served.address, "GET", &format!("/{FROM_FILE}"), &[("authorization", FROM_FILE)], b"").await;
            served.wait_for("GET /*** 200");
            get(served.address, "/cdn-cgi/handler/scheduled").await;
            for expected in [
                "log GET /logs ***",
                "Bearer ***",
                "value: \"***\"",
                "{\"value\":\"***\"}",
                "*** and ",
                "Error: with *** and prefix-***-suffix and ***",
            ] {
                served.wait_for(expected);
            }
            // The queue's consumer gives up after its retries.
            served.wait_for("queue shop-queue");
            reveals_nothing(command, &served.output());
        }
    }));

    trials.push(test("no secret stands on an error page", async || {
        let project = project();
        let served = start(&project, "dev");
        for path in ["/throws", "/database", "/cache", "/fetch", "/model"] {
            for accept in ["text/html", "*/*"] {
                let answer = send(served.address, "GET", path, &[("accept", accept)], b"").await;
                assert_eq!(answer.status, 500, "{path}: {}", answer.text());
                reveals_nothing(path, &answer.text());
            }
        }
        let page = send(served.address, "GET", "/throws", &[("accept", "text/html")], b"").await.text();
        assert!(page.contains("Error: with *** and prefix-***-suffix and *** and ***"), "{page}");
    }));

    trials.push(test("a secret that a reload brings is hidden, and the one before it stays so", async || {
        let project = project();
        let served = start(&project, "dev");
        let lines = served.line_count();
        project.write(".dev.vars", &dev_vars("sk-second-99887766"));
        served.wait_for_after(lines, "reloaded in");
        get(served.address, "/logs").await;
        served.wait_for("log GET /logs ***");
        get(served.address, &format!("/{FROM_FILE}")).await;
        served.wait_for("GET /*** 200");
        assert!(!served.output().contains("sk-second-99887766"), "{}", served.output());
        reveals_nothing("after the reload", &served.output());
    }));

    trials.push(test("no secret stands in the errors of a config or of a start, nor in --help", async || {
        let project = project();
        // The key and the reference are in the lines that the error shows.
        project.append("aerostack.toml", "[limits]\ncpu_ms = \"$REFERENCED\"\n[outbound]\nallow = \"$FILE\"\n");
        for arguments in [&["check"][..], &["serve", "--port", "0"], &["db", "migrate", "list"], &["serve", "--help"]] {
            let run = project.run_in(&variables(), arguments);
            reveals_nothing(&format!("{arguments:?}"), &format!("{}{}", run.stdout, run.stderr));
        }
        let broken = project.dev_in(&variables(), &[]);
        reveals_nothing("dev", &format!("{}{}", broken.output(), get(broken.address, "/").await.text()));
        drop(broken);
        project.write("src/index.ts", "throw new Error('broken');");
        project.write("aerostack.toml", &CONFIG.replace("FROM_ENV", "ABSENT"));
        let run = project.run_in(&variables(), &["check"]);
        assert!(run.stderr.contains("the variable \"ABSENT\" is not set"), "{}", run.stderr);
        reveals_nothing("an absent variable", &run.stderr);
    }));

    trials.push(test("the values of one worker's secrets are hidden from the lines of all", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"demo\"\n[[functions]]\nname = \"a\"\nroute = \"/a/*\"\nproject = \"a\"\n[[functions]]\nname = \"b\"\nroute = \"/b/*\"\nproject = \"b\"\n"),
            ("a/aerostack.toml", "name = \"a\"\n"),
            ("a/.dev.vars", "KEY=sk-of-a-0123456789\n"),
            ("a/src/index.ts", "export default { fetch: (request, env) => new Response(env.KEY) }"),
            ("b/aerostack.toml", "name = \"b\"\n"),
            ("b/src/index.ts", "export default { async fetch(request, env) { console.log('got', await request.text(), env.KEY); return new Response('x') } }"),
        ]);
        let served = project.dev();
        let key = get(served.address, "/a/").await.text();
        assert_eq!(key, "sk-of-a-0123456789");
        send(served.address, "POST", "/b/", &[], key.as_bytes()).await;
        served.wait_for("got *** undefined");
        assert!(!served.output().contains(&key), "{}", served.output());
    }));
}

const CONFIG: &str = "name = \"shop\"\n\
     [vars]\nREFERENCED = \"prefix-${FROM_ENV}-suffix\"\n\
     [secrets]\nNAMED = \"a key that the environment has\"\n\
     [ai.models.remote]\ndriver = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\napi_key = \"sk-model-2b4e9d8c61\"\n\
     [[queues.producers]]\nbinding = \"QUEUE\"\nqueue = \"shop-queue\"\n\
     [[queues.consumers]]\nqueue = \"shop-queue\"\nmax_retries = 0\nmax_batch_timeout = 0\n\
     [triggers]\ncrons = [\"0 0 1 1 *\"]\n";

fn dev_vars(file: &str) -> String {
    format!("FILE={file}\nPEM=\"{PEM}\"\nBASE_URL=http://localhost:8788\nSHORT=abc\n")
}

fn project() -> TestProject {
    TestProject::new(&[("aerostack.toml", CONFIG), (".dev.vars", &dev_vars(FROM_FILE)), ("src/index.ts", WORKER)])
}

fn variables() -> [(&'static str, &'static str); 2] {
    [("FROM_ENV", FROM_ENVIRONMENT), ("NAMED", NAMED)]
}

fn start(project: &TestProject, command: &str) -> Binary {
    let triggers: &[&str] = if command == "serve" { &["--trigger-routes"] } else { &[] };
    project.start_in(&variables(), &[&[command, "--port", "0"], triggers].concat())
}

fn reveals_nothing(what: &str, output: &str) {
    for secret in ALL {
        assert!(!output.contains(secret), "{what} reveals {secret}:\n{output}");
    }
}
