//! What a person at the terminal reads about consumers and triggers.

use aerostack_tests::{Binary, TestProject, get, send, test};
use libtest_mimic::Trial;

/// Sends the messages that a request has as JSON; retries what says so.
const WORKER: &str = "export default {
  async fetch(request, env) {
    const bodies = await request.json();
    await env.QUEUE.sendBatch(bodies.map((body) => ({ body })));
    return new Response('sent');
  },
  async queue(batch) {
    for (const message of batch.messages) {
      if (message.body === 'retry') { console.log('not yet', { attempts: message.attempts }); message.retry(); }
      if (message.body === 'throw') throw new Error('on purpose');
      if (message.body === 'slow') { console.log('slowly'); await scheduler.wait(1300); console.log('done'); }
    }
  },
};";

const CONFIG: &str = "name = \"shop\"
[[queues.producers]]
binding = \"QUEUE\"
queue = \"jobs\"
[[queues.consumers]]
queue = \"jobs\"
max_batch_timeout = 0
max_retries = 1
";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test(
        "a batch is one line, what its handler printed is below it, and then each message that failed",
        async || {
            let (_project, served) = shop(CONFIG, WORKER);
            send_all(&served, r#"["a","b","c","d","retry","e","f","g","h","i"]"#).await;
            let first = served.wait_for("queue jobs 9/10 acked ");
            assert!(first.ends_with(" ms, 1 -> retry 2/2"), "{first}");
            let second = served.wait_for("queue jobs 0/1 acked ");
            assert!(second.ends_with(" ms, 1 dropped"), "{second}");
            served.wait_for("after 2 failed attempts!");
            let output = served.output();
            let lines: Vec<&str> = output.lines().skip_while(|line| *line != first).collect();
            assert_eq!(lines[1], "  log queue jobs not yet { attempts: 1 }");
            assert!(
                lines[2].starts_with("  Retrying message \"") && lines[2].ends_with("\" on queue \"jobs\"..."),
                "{}",
                lines[2]
            );
            let lines: Vec<&str> = lines.into_iter().skip_while(|line| *line != second).collect();
            assert_eq!(lines[1], "  log queue jobs not yet { attempts: 2 }");
            assert!(lines[2].starts_with("  Dropped message \""), "{}", lines[2]);
        },
    ));

    trials.push(test("a batch whose handler throws shows the error with its place, below its line", async || {
        let (_project, served) = shop(CONFIG, WORKER);
        send_all(&served, r#"["throw"]"#).await;
        served.wait_for("1 dropped");
        let output = served.output();
        let lines: Vec<&str> = output.lines().skip_while(|line| !line.starts_with("queue jobs 0/1 acked ")).collect();
        let below: Vec<&&str> = lines[1..].iter().take_while(|line| line.starts_with("  ")).collect();
        for text in ["Error: on purpose", "--> src/index.ts:10:", "Retrying message"] {
            assert!(below.iter().any(|line| line.contains(text)), "no {text:?} in {below:#?}");
        }
    }));

    trials.push(test("what a slow handler prints is not held back for long", async || {
        let (_project, served) = shop(CONFIG, WORKER);
        send_all(&served, r#"["slow"]"#).await;
        served.wait_for("queue jobs 1/1 acked ");
        let output = served.output();
        let place = |text: &str| output.lines().position(|line| line.contains(text)).expect("the line is there");
        let (slowly, done, acked) =
            (place("log queue jobs slowly"), place("log queue jobs done"), place("queue jobs 1/1 acked"));
        assert!(slowly < done && done < acked, "{output}");
    }));

    trials.push(test("the start table says who consumes what, how, and what becomes of the rest", async || {
        let config = format!("{CONFIG}dead_letter_queue = \"graveyard\"\nmax_batch_size = 25\n");
        let (_project, served) = shop(&config, WORKER);
        let line = served.wait_for(" consumer ");
        for text in ["jobs", "up to 25 messages, 0 s, 1 retry", "then graveyard"] {
            assert!(line.contains(text), "{line}");
        }
    }));

    trials.push(test("a worker that exports queue consumes its own queue without a line of config", async || {
        let (project, served) = shop("name = \"shop\"\n", WORKER);
        let line = served.wait_for(" consumer ");
        assert!(line.contains("local-queue") && line.contains("up to 10 messages, 1 s, 3 retries"), "{line}");
        send_all(&served, r#"["a","b"]"#).await;
        served.wait_for("queue local-queue 2/2 acked ");
        assert_eq!(project.queued("QUEUE").len(), 0);
    }));

    trials.push(test("whoever sends to a queue without a consumer is told once, also over a reload", async || {
        let source = |text: &str| format!("export default {{ async fetch(request, env) {{ await env.QUEUE.send(1); return new Response('{text}') }} }};");
        let (project, served) = shop("name = \"shop\"\n", &source("one"));
        for _ in 0..3 {
            assert_eq!(get(served.address, "/").await.text(), "one");
        }
        let note = "note: queue local-queue has no consumer: messages stay in it. Export a `queue` handler, or look with `aerostack queue peek --queue local-queue`";
        assert_eq!(served.wait_for("has no consumer"), note);
        project.write("src/index.ts", &source("two"));
        served.wait_for("reloaded in");
        assert_eq!(get(served.address, "/").await.text(), "two");
        assert_eq!(project.queued("QUEUE").len(), 4);
        assert_eq!(served.output().matches("has no consumer").count(), 1, "{}", served.output());
    }));

    trials.push(test("a consumer without a handler is a warning, and the messages stay", async || {
        let source =
            "export default { async fetch(request, env) { await env.QUEUE.send(1); return new Response('sent') } };";
        let (project, served) = shop(CONFIG, source);
        served.wait_for(
            "warning: shop is the consumer of queue jobs and exports no `queue` handler: messages stay in it",
        );
        assert_eq!(get(served.address, "/").await.text(), "sent");
        assert_eq!(project.queued("jobs").len(), 1);
        project.write("src/index.ts", WORKER);
        served.wait_for("queue jobs 1/1 acked ");
    }));

    trials.push(test("two workers that export queue and share one are told to say who consumes it", async || {
        let worker = "export default { fetch: () => new Response('x'), queue() {} };";
        let config = "name = \"demo\"\nmain = \"src/index.ts\"\n[[functions]]\nname = \"other\"\nroute = \"/other/*\"\npath = \"src/index.ts\"\n";
        let (_project, served) = shop(config, worker);
        let warning = served.wait_for("say in [[queues.consumers]] who does");
        assert!(warning.starts_with("warning: ") && warning.contains("local-queue"), "{warning}");
    }));

    for (cron, text) in [("61 * * * *", "61"), ("* * * *", "* * * *"), ("@daily", "@daily")] {
        trials.push(test(
            &format!("a wrong cron expression is an error of the config, with its line: {cron}"),
            async move || {
                let config = format!("name = \"shop\"\n\n[triggers]\ncrons = [\n  \"0 * * * *\",\n  \"{cron}\",\n]\n");
                let project = TestProject::new(&[("aerostack.toml", &config), ("src/index.ts", WORKER)]);
                let run = project.run(&["check"]);
                assert!(!run.succeeded && run.stdout.is_empty(), "{run:?}");
                assert!(run.stderr.contains("aerostack.toml:6:") && run.stderr.contains(text), "{}", run.stderr);
            },
        ));
    }
}

fn shop(config: &str, worker: &str) -> (TestProject, Binary) {
    let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", worker)]);
    let served = project.dev();
    (project, served)
}

async fn send_all(served: &Binary, bodies: &str) {
    assert_eq!(send(served.address, "POST", "/", &[], bodies.as_bytes()).await.text(), "sent");
}
