//! `aerostack queue` and `aerostack cron`, with and without a running `aerostack dev`.

use aerostack_tests::{TestProject, get, test};
use libtest_mimic::Trial;
use serde_json::json;

/// Prints what it is given; fails while `env.BROKEN` is set.
const WORKER: &str = "export default {
  fetch: () => new Response('x'),
  async scheduled(event, env) {
    console.log('fired', JSON.stringify([event.cron, event.scheduledTime]));
    await env.DB.exec('CREATE TABLE IF NOT EXISTS fired (cron)');
    if (event.cron === 'fail') throw new Error('on purpose');
  },
  queue(batch, env) {
    for (const { body, attempts } of batch.messages) console.log('got', batch.queue, attempts, JSON.stringify(body));
    if (env.BROKEN) throw new Error('broken on purpose');
  },
};";

/// A worker that sends nothing and consumes nothing.
const SILENT: &str = "export default { fetch: () => new Response('x') };";

fn config(broken: &str) -> String {
    format!(
        "name = \"shop\"
[triggers]
crons = [\"0 9 * * mon\", \"*/5 * * * *\"]
[vars]
BROKEN = \"{broken}\"
[[queues.producers]]
binding = \"QUEUE\"
queue = \"jobs\"
[[queues.producers]]
binding = \"SLOW\"
queue = \"slow-jobs\"
delivery_delay = 600
[[queues.consumers]]
queue = \"jobs\"
max_batch_timeout = 0
max_retries = 1
dead_letter_queue = \"graveyard\"
"
    )
}

pub(super) fn trials(trials: &mut Vec<Trial>) {
    queues(trials);
    dead_letters(trials);
    cron(trials);
}

fn queues(trials: &mut Vec<Trial>) {
    trials.push(test("what is sent from the command line reaches a running dev", async || {
        let project = TestProject::new(&[("aerostack.toml", &config("")), ("src/index.ts", WORKER)]);
        let served = project.dev();
        let run = project.run(&["queue", "send", r#"{"type":"mail","to":["ada"]}"#]);
        assert!(run.succeeded && run.stdout.is_empty(), "{run:?}");
        assert!(run.stderr.ends_with("sent to jobs, which has 1 message now\n"), "{run:?}");
        served.wait_for(r#"log queue jobs got jobs 1 {"type":"mail","to":["ada"]}"#);
        served.wait_for("queue jobs 1/1 acked ");
        assert!(project.run(&["queue", "send", "--text", "not JSON", "--queue", "QUEUE"]).succeeded);
        served.wait_for(r#"got jobs 1 "not JSON""#);
        project.write("body.json", "[1,\n2]");
        assert!(project.run(&["queue", "send", "--file", "body.json", "--queue", "jobs"]).succeeded);
        served.wait_for("got jobs 1 [1,2]");
    }));

    trials.push(test("queue send, list, peek and purge work without a running dev", async || {
        let project = TestProject::new(&[("aerostack.toml", &config("")), ("src/index.ts", SILENT)]);
        for (arguments, said) in [
            (&["queue", "send", "1", "--queue", "jobs"][..], "sent to jobs, which has 1 message now\n"),
            (
                &["queue", "send", "--text", "two", "--delay", "60", "--queue", "QUEUE"],
                "sent to jobs, which has 2 messages now\n",
            ),
            (&["queue", "send", "-3", "--queue", "SLOW"], "sent to slow-jobs, which has 1 message now\n"),
        ] {
            let run = project.run(arguments);
            assert!(run.succeeded && run.stderr == said, "{arguments:?}: {run:?}");
        }
        let list = project.run_json(&["queue", "list", "--json"]);
        let shown: Vec<serde_json::Value> = list
            .as_array()
            .expect("a list")
            .iter()
            .map(|queue| json!([queue["name"], queue["messages"], queue["bytes"], queue["delayed"], queue["leased"]]))
            .collect();
        assert_eq!(
            shown,
            [json!(["graveyard", 0, 0, 0, 0]), json!(["jobs", 2, 4, 1, 0]), json!(["slow-jobs", 1, 2, 1, 0])]
        );
        let table = project.run(&["queue", "list"]);
        let header: Vec<&str> = table.stdout.lines().next().expect("a header").split_whitespace().collect();
        assert_eq!(header, ["queue", "messages", "delayed", "in", "flight", "oldest"]);

        let peeked = project.queued("jobs");
        assert_eq!(peeked.len(), 2);
        let keys: Vec<&String> = peeked[0].as_object().expect("an object").keys().collect();
        assert_eq!(keys.len(), 8, "{keys:?}");
        assert_eq!(
            (&peeked[0]["body"], &peeked[0]["contentType"], &peeked[0]["attempts"]),
            (&json!(1), &json!("json"), &json!(0))
        );
        assert_eq!(
            (&peeked[1]["body"], &peeked[1]["contentType"], &peeked[1]["leased"]),
            (&json!("two"), &json!("text"), &json!(false))
        );
        let delay = peeked[1]["dueAt"].as_u64().expect("a time") - peeked[1]["timestamp"].as_u64().expect("a time");
        assert_eq!(delay, 60_000);
        let table = project.run(&["queue", "peek", "--queue", "jobs", "--limit", "1"]);
        assert!(table.succeeded && table.stdout.lines().count() == 3, "{table:?}");
        assert_eq!(project.queued("SLOW").len(), 1);

        let refused = project.run(&["queue", "purge", "--queue", "jobs"]);
        assert!(!refused.succeeded && refused.stderr.contains("--yes"), "{refused:?}");
        assert_eq!(project.queued("jobs").len(), 2);
        let purged = project.run(&["queue", "purge", "--queue", "jobs", "--yes"]);
        assert!(purged.succeeded && purged.stderr == "deleted 2 messages from jobs\n", "{purged:?}");
        let empty = project.run(&["queue", "peek", "--queue", "jobs"]);
        assert!(empty.succeeded && empty.stdout.is_empty() && empty.stderr == "jobs is empty\n", "{empty:?}");
        assert_eq!(project.queued("slow-jobs").len(), 1);
    }));

    trials.push(test("wrong arguments of the queue commands are errors that say what is right", async || {
        let project = TestProject::new(&[("aerostack.toml", &config("")), ("src/index.ts", SILENT)]);
        for (arguments, texts) in [
            (&["queue", "send", "{not json"][..], &["the body is not JSON; use --text to send plain text"][..]),
            (&["queue", "send"], &["BODY"]),
            (&["queue", "send", "1", "--delay", "86401"], &["message delay 86401 is invalid", "from 0 to 86400"]),
            (&["queue", "send", "1", "--delay", "-1"], &["message delay -1 is invalid"]),
            (&["queue", "send", "1", "--queue", "nothing"], &["nothing"]),
            (
                &["queue", "peek", "--queue", "nothing"],
                &["no queue \"nothing\"; the project has: graveyard, jobs, slow-jobs"],
            ),
            (&["queue", "purge", "--yes", "--queue", "nothing"], &["no queue \"nothing\""]),
            (&["queue", "redrive", "--queue", "nothing"], &["no queue \"nothing\""]),
            (&["queue", "redrive", "--queue", "jobs", "--to", "QUEUE"], &["jobs cannot be moved to itself"]),
        ] {
            let run = project.run(arguments);
            assert!(!run.succeeded && run.stdout.is_empty(), "{arguments:?}: {run:?}");
            for text in texts {
                assert!(run.stderr.contains(text), "{arguments:?}: {}", run.stderr);
            }
        }
        assert_eq!(project.queued("jobs").len(), 0);
    }));
}

fn dead_letters(trials: &mut Vec<Trial>) {
    trials.push(test(
        "what fails for the last time is in the dead-letter queue, and comes back when it is redriven",
        async || {
            let project = TestProject::new(&[("aerostack.toml", &config("yes")), ("src/index.ts", WORKER)]);
            let served = project.dev();
            let run = project.run(&["queue", "send", r#"{"order":7}"#]);
            assert!(run.succeeded, "{run:?}");
            let retried = served.wait_for("1 -> retry 2/2");
            assert!(retried.starts_with("queue jobs 0/1 acked "), "{retried}");
            served.wait_for("1 -> graveyard");
            let moved = served.wait_for("  Moving message \"");
            assert!(
                moved.ends_with("\" on queue \"jobs\" to dead letter queue \"graveyard\" after 2 failed attempts..."),
                "{moved}"
            );
            assert_eq!(project.queued("jobs").len(), 0);
            let dead = project.queued("graveyard");
            assert_eq!(dead.len(), 1);
            assert_eq!(
                (&dead[0]["body"], &dead[0]["attempts"], &dead[0]["deadLetteredFrom"]),
                (&json!({ "order": 7 }), &json!(0), &json!("jobs"))
            );
            assert!(moved.contains(dead[0]["id"].as_str().expect("an id")), "{moved}");

            let before = served.line_count();
            project.write("aerostack.toml", &config(""));
            served.wait_for_after(before, "reloaded in");
            let run = project.run(&["queue", "redrive", "--queue", "graveyard"]);
            assert!(run.succeeded && run.stderr == "moved 1 message from graveyard back to their queues\n", "{run:?}");
            served.wait_for_after(before, r#"got jobs 1 {"order":7}"#);
            served.wait_for_after(before, "queue jobs 1/1 acked ");
            assert_eq!((project.queued("graveyard").len(), project.queued("jobs").len()), (0, 0));
        },
    ));

    trials.push(test("a dead-letter queue may have a consumer, for which attempts count from 1 again", async || {
        let config = format!(
            "{}[[queues.consumers]]\nqueue = \"graveyard\"\nmax_batch_timeout = 0\nmax_retries = 0\n",
            config("yes")
        );
        let project = TestProject::new(&[("aerostack.toml", &config), ("src/index.ts", WORKER)]);
        let served = project.dev();
        assert!(project.run(&["queue", "send", "5"]).succeeded);
        served.wait_for("got graveyard 1 5");
        served.wait_for("queue graveyard 0/1 acked ");
        let dropped = served.wait_for("  Dropped message \"");
        assert!(dropped.ends_with("\" on queue \"graveyard\" after 1 failed attempt!"), "{dropped}");
        assert_eq!((project.queued("graveyard").len(), project.queued("jobs").len()), (0, 0));
    }));

    trials.push(test("redrive moves to another queue that is named", async || {
        let project = TestProject::new(&[("aerostack.toml", &config("")), ("src/index.ts", SILENT)]);
        for body in ["1", "2"] {
            assert!(project.run(&["queue", "send", body]).succeeded);
        }
        let run = project.run(&["queue", "redrive", "--queue", "jobs", "--to", "SLOW"]);
        assert!(run.succeeded && run.stderr == "moved 2 messages from jobs to slow-jobs\n", "{run:?}");
        assert_eq!((project.queued("jobs").len(), project.queued("slow-jobs").len()), (0, 2));
    }));
}

fn cron(trials: &mut Vec<Trial>) {
    trials.push(test("cron trigger runs the handler once, and its exit code says how that went", async || {
        let project = TestProject::new(&[("aerostack.toml", &config("")), ("src/index.ts", WORKER)]);
        let run = project.run(&["cron", "trigger", "--time", "1700000000000"]);
        assert!(run.succeeded && run.stderr.is_empty(), "{run:?}");
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert!(lines[0].starts_with("cron 0 9 * * mon ok ") && lines[0].ends_with(" ms"), "{run:?}");
        assert_eq!(lines[1], r#"  log cron 0 9 * * mon fired ["0 9 * * mon",1700000000000]"#);
        let other = project.run(&["cron", "trigger", "*/5 * * * *"]);
        assert!(other.succeeded && other.stdout.contains(r#"fired ["*/5 * * * *","#), "{other:?}");
        let failed = project.run(&["cron", "trigger", "fail"]);
        assert!(!failed.succeeded && failed.stderr.is_empty(), "{failed:?}");
        for text in ["cron fail failed ", "Error: on purpose", "--> src/index.ts:6:"] {
            assert!(failed.stdout.contains(text), "{}", failed.stdout);
        }
        assert_eq!(project.rows("SELECT count(*) AS n FROM fired"), json!([{ "n": 0 }]));
    }));

    trials.push(test("cron trigger works beside a running dev, and says when there is nothing to run", async || {
        let project = TestProject::new(&[("aerostack.toml", &config("")), ("src/index.ts", WORKER)]);
        let served = project.dev();
        assert!(project.run(&["cron", "trigger"]).succeeded);
        assert_eq!(get(served.address, "/").await.text(), "x");
        let silent = TestProject::new(&[("aerostack.toml", &config("")), ("src/index.ts", SILENT)]);
        let run = silent.run(&["cron", "trigger"]);
        assert!(!run.succeeded && run.stderr.contains("Handler does not export a scheduled() function."), "{run:?}");
        let broken = TestProject::new(&[("aerostack.toml", &config("")), ("src/index.ts", "export default {")]);
        let run = broken.run(&["cron", "trigger"]);
        assert!(!run.succeeded && run.stderr.contains("--> src/index.ts:1:"), "{run:?}");
    }));

    trials.push(test("cron list shows each trigger in words, with its next firing", async || {
        let project = TestProject::new(&[("aerostack.toml", &config("")), ("src/index.ts", SILENT)]);
        let run = project.run(&["cron", "list"]);
        assert!(run.succeeded && run.stderr.is_empty(), "{run:?}");
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert_eq!(lines.len(), 4, "{}", run.stdout);
        assert!(lines[0].starts_with("worker") && lines[0].contains("in words (UTC)"), "{}", lines[0]);
        assert!(
            lines[2].contains("0 9 * * mon") && lines[2].contains("Monday") && lines[2].ends_with(" 09:00"),
            "{}",
            lines[2]
        );
        assert!(lines[3].contains("*/5 * * * *") && lines[3].contains("every 5 minutes"), "{}", lines[3]);
        let none = TestProject::new(&[("aerostack.toml", "name = \"shop\"\n"), ("src/index.ts", SILENT)]);
        let run = none.run(&["cron", "list"]);
        assert!(
            run.succeeded && run.stdout.is_empty() && run.stderr.contains("no cron triggers; add [triggers]"),
            "{run:?}"
        );
    }));

    trials.push(test("digits of weekdays count from Monday, or as in Quartz when the config says so", async || {
        for (mode, expected) in [("", "Monday"), ("weekdays = \"quartz\"\n", "Sunday")] {
            let config = format!("name = \"shop\"\n[triggers]\n{mode}crons = [\"0 9 * * 1\"]\n");
            let project = TestProject::new(&[("aerostack.toml", &config), ("src/index.ts", SILENT)]);
            let run = project.run(&["cron", "list"]);
            assert!(run.stdout.contains(expected), "{mode}: {}", run.stdout);
        }
    }));
}
