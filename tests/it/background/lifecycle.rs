//! Batches in flight over a reload, over Ctrl-C, and over a second Ctrl-C.

use aerostack_tests::{Binary, TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::json;

const CONFIG: &str = "name = \"shop\"
[[queues.consumers]]
queue = \"local-queue\"
max_batch_timeout = 0
";

/// `queue` waits until somebody puts `open` into the cache.
const GATED: &str = "export default {
  async fetch(request, env) { await env.QUEUE.send('job'); return new Response('VERSION'); },
  async queue(batch, env) {
    console.log('began in VERSION');
    while (await env.CACHE.get('open') === null) await scheduler.wait(5);
    console.log('ended in VERSION');
  },
};";

/// Writes down the numbers that it is given.
const COUNTING: &str = "export default {
  async fetch(request, env) {
    const from = Number(new URL(request.url).searchParams.get('from'));
    await env.QUEUE.sendBatch(Array.from({ length: 100 }, (_, number) => ({ body: from + number })));
    return new Response('sent');
  },
  async queue(batch, env) {
    const insert = env.DB.prepare('INSERT INTO seen (number, version) VALUES (?, ?)');
    await env.DB.batch(batch.messages.map((message) => insert.bind(message.body, VERSION)));
  },
};";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    for signal in ["INT", "TERM"] {
        trials.push(test(&format!("SIG{signal} lets a batch in flight end and settles it"), async move || {
            let (project, mut served) = gated();
            assert_eq!(get(served.address, "/").await.text(), "one");
            served.wait_for("began in one");
            served.signal(signal);
            wait_until_closed(&served).await;
            assert!(project.run(&["cache", "put", "open", "yes"]).succeeded);
            assert!(served.wait(), "{}", served.output());
            served.wait_for("ended in one");
            served.wait_for("queue local-queue 1/1 acked ");
            assert_eq!(project.queued("QUEUE").len(), 0);
        }));
    }

    trials.push(test("a second Ctrl-C gives the messages in flight back at once", async || {
        let (project, mut served) = gated();
        get(served.address, "/").await;
        served.wait_for("began in one");
        served.signal("INT");
        wait_until_closed(&served).await;
        served.signal("INT");
        assert!(served.wait(), "{}", served.output());
        served.wait_for("stopped before everything was done");
        let queued = project.queued("QUEUE");
        assert_eq!(queued.len(), 1);
        assert_eq!((&queued[0]["leased"], &queued[0]["attempts"]), (&json!(false), &json!(1)));
        // The next start has it at once, far sooner than a lease would run out.
        assert!(project.run(&["cache", "put", "open", "yes"]).succeeded);
        project.dev().wait_for("queue local-queue 1/1 acked ");
    }));

    trials.push(test(
        "a batch in flight over a reload ends in its version, the next one is the new version's",
        async || {
            let (project, served) = gated();
            get(served.address, "/").await;
            served.wait_for("began in one");
            project.write("src/index.ts", &GATED.replace("VERSION", "two"));
            served.wait_for("reloaded in");
            assert_eq!(get(served.address, "/").await.text(), "two");
            assert!(project.run(&["cache", "put", "open", "yes"]).succeeded);
            served.wait_for("ended in one");
            served.wait_for("began in two");
            served.wait_for("ended in two");
            let output = served.output();
            assert!(!output.contains("retry") && !output.contains("error"), "{output}");
        },
    ));

    trials.push(test("reloads under load lose no message and deliver none twice", async || {
        let config = format!("{CONFIG}max_concurrency = 3\n");
        let version = |version: usize| COUNTING.replace("VERSION", &version.to_string());
        let project = TestProject::new(&[
            ("aerostack.toml", &config),
            ("migrations/0001_seen.sql", "CREATE TABLE seen (number INTEGER, version INTEGER);"),
            ("src/index.ts", &version(0)),
        ]);
        let served = project.dev();
        for round in 0..10 {
            for batch in 0..3 {
                let from = (round * 3 + batch) * 100;
                assert_eq!(send(served.address, "POST", &format!("/?from={from}"), &[], b"").await.text(), "sent");
            }
            let before = served.line_count();
            project.write("src/index.ts", &version(round + 1));
            served.wait_for_after(before, "reloaded in");
        }
        project.wait_for_rows("SELECT count(*) AS n FROM seen", &json!([{ "n": 3000 }]));
        assert_eq!(project.queued("QUEUE").len(), 0);
        let distinct = project.rows(
            "SELECT count(DISTINCT number) AS numbers, count(*) AS n, count(DISTINCT version) > 1 AS several FROM seen",
        );
        assert_eq!(distinct, json!([{ "numbers": 3000, "n": 3000, "several": 1 }]));
        assert!(!served.output().contains("retry"), "{}", served.output());
    }));

    trials.push(test("a consumer that the config names no more stops, and goes on when it is back", async || {
        let source = "export default { async fetch(request, env) { await env.QUEUE.send(1); return new Response('sent') }, queue() {} };";
        let config = "name = \"shop\"\n[[queues.producers]]\nbinding = \"QUEUE\"\nqueue = \"jobs\"\n\
             [[queues.consumers]]\nqueue = \"jobs\"\nmax_batch_timeout = 0\n";
        let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", source)]);
        let served = project.dev();
        get(served.address, "/").await;
        served.wait_for("queue jobs 1/1 acked ");
        let elsewhere = config.replace("[[queues.consumers]]\nqueue = \"jobs\"", "[[queues.consumers]]\ntype = \"http_pull\"\nqueue = \"jobs\"");
        let before = served.line_count();
        project.write("aerostack.toml", &elsewhere);
        served.wait_for_after(before, "reloaded in");
        get(served.address, "/").await;
        served.wait_for_after(before, "queue jobs has no consumer");
        assert_eq!(project.queued("jobs").len(), 1);
        let before = served.line_count();
        project.write("aerostack.toml", config);
        served.wait_for_after(before, "queue jobs 1/1 acked ");
    }));
}

fn gated() -> (TestProject, Binary) {
    let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &GATED.replace("VERSION", "one"))]);
    let served = project.dev();
    (project, served)
}

/// Waits until nobody listens any more: the process has begun to end.
async fn wait_until_closed(served: &Binary) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while tokio::net::TcpStream::connect(served.address).await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "still listening; the output was:\n{}", served.output());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
