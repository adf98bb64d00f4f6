//! `--log-format json`: one object a line.

use aerostack_tests::{Binary, TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::{Value, json};

const CONFIG: &str = "name = \"shop\"\n[triggers]\ncrons = [\"0 0 1 1 *\"]\n\
                      [[queues.consumers]]\nqueue = \"local-queue\"\nmax_batch_timeout = 0\nmax_retries = 0\n";

const SHOP: &str = "export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    console.log('two\\nlines', { a: 1 });
    console.warn('careful');
    if (pathname === '/throw') throw new TypeError('on purpose');
    if (pathname === '/hang') return new Promise(() => {});
    if (pathname === '/send') await env.QUEUE.send('x');
    if (pathname === '/uncaught') setTimeout(() => { throw new Error('later') });
    return new Response(await env.DB.prepare('SELECT 1 AS one').first('one'));
  },
  scheduled(event) { console.log('on schedule'); if (event.cron === 'fail') throw new Error('no time') },
  queue(batch) { console.log('got', batch.messages.length); throw new Error('no message') },
};";

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("every line of a JSON log is one object with time, level and message", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SHOP)]);
        let mut served = project.dev_with(&["--log-format", "json"]);
        for path in ["/", "/throw", "/hang", "/send", "/uncaught"] {
            get(served.address, path).await;
        }
        get(served.address, "/cdn-cgi/handler/scheduled?cron=fail").await;
        served.wait_for("\"queue local-queue 0/1 acked\"");
        served.wait_for("later");
        project.write("src/index.ts", "export default { fetch( => };");
        served.wait_for("not reloaded, still serving the last good version");
        project.write("src/index.ts", SHOP);
        served.wait_for("reloaded in");
        served.signal("TERM");
        assert!(served.wait(), "{}", served.output());
        for line in served.output().lines() {
            let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let time = entry["time"].as_str().expect("a time");
            assert!(time.len() == "2026-01-01T00:00:00.000Z".len() && time.ends_with('Z'), "{line}");
            let level = entry["level"].as_str().expect("a level");
            assert!(["debug", "info", "warn", "error"].contains(&level), "{line}");
            assert!(entry["message"].is_string(), "{line}");
            assert!(!line.contains('\u{1b}'), "{line}");
        }
    }));

    trials.push(test(
        "a request, its console and its error share one request id, and carry the trace that was given",
        async || {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SHOP)]);
            let served = project.dev_in(&[("AEROSTACK_LOG_FORMAT", "json")], &[]);
            send(served.address, "GET", "/throw", &[("traceparent", TRACEPARENT)], b"").await;
            served.wait_for("GET /throw 500");
            let about = |text: &str| {
                let entries = entries(&served);
                entries
                    .into_iter()
                    .find(|entry| entry["message"].as_str().is_some_and(|message| message.contains(text)))
                    .expect(text)
            };
            let (answered, console, failed) = (about("GET /throw 500"), about("careful"), about("on purpose"));
            for entry in [&answered, &console, &failed] {
                assert_eq!(entry["worker"], "shop", "{entry}");
                assert_eq!(entry["request_id"], answered["request_id"], "{entry}");
                assert_eq!(entry["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "{entry}");
                assert_eq!(entry["span_id"], answered["span_id"], "{entry}");
            }
            assert_ne!(answered["span_id"], "00f067aa0ba902b7", "its own span, not its client's");
            assert_eq!(
                (&answered["method"], &answered["path"], &answered["status"]),
                (&json!("GET"), &json!("/throw"), &json!(500))
            );
            assert!(answered["duration_ms"].is_number(), "{answered}");
            assert_eq!(
                (&console["level"], &console["source"], &console["request"]),
                (&json!("warn"), &json!("console"), &json!("GET /throw"))
            );
            assert_eq!(about("two")["message"], "two\nlines { a: 1 }");
            assert_eq!(failed["level"], "error");
            assert!(failed["stack"].as_str().is_some_and(|stack| stack.contains("src/index.ts:6:")), "{failed}");
        },
    ));

    trials.push(test("a request without a trace has none in its lines, and no two requests share an id", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SHOP)]);
        let served = project.dev_with(&["--log-format", "json"]);
        for trace in ["", "garbage", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            send(served.address, "GET", "/", &[("traceparent", trace)], b"").await;
        }
        served.wait_for("loaded shop");
        let answered = |entries: Vec<Value>| -> Vec<Value> {
            entries.into_iter().filter(|entry| entry["message"] == "GET / 200").collect()
        };
        let mut lines = answered(entries(&served));
        while lines.len() < 3 {
            lines = answered(entries(&served));
        }
        for line in &lines {
            assert!(line.get("trace_id").is_none(), "{line}");
            assert_eq!(line["binding_calls"], json!({ "database": 1 }));
        }
        assert_ne!(lines[0]["request_id"], lines[1]["request_id"]);
        assert_ne!(lines[1]["request_id"], lines[2]["request_id"]);
    }));

    trials.push(test(
        "cron runs and batches are entries with their outcome, and name what their handler said",
        async || {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SHOP)]);
            let served = project.dev_with(&["--log-format", "json"]);
            get(served.address, "/cdn-cgi/handler/scheduled?cron=*").await;
            get(served.address, "/send").await;
            served.wait_for("\"queue local-queue 0/1 acked\"");
            served.wait_for("no message");
            let entry = |message: &str| {
                entries(&served)
                    .into_iter()
                    .find(|entry| entry["message"] == message)
                    .unwrap_or_else(|| panic!("{message}"))
            };
            let cron = entry("cron * ok");
            assert_eq!(
                (&cron["worker"], &cron["cause"], &cron["outcome"]),
                (&json!("shop"), &json!("by_hand"), &json!("ok"))
            );
            assert_eq!(entry("on schedule")["request"], "cron *");
            let batch = entry("queue local-queue 0/1 acked");
            assert_eq!((&batch["level"], &batch["dropped"], &batch["acked"]), (&json!("error"), &json!(1), &json!(0)));
            assert!(batch["messages"][0].as_str().is_some_and(|line| line.starts_with("Dropped message ")), "{batch}");
            assert!(entry("got 1")["request_id"].is_string());
        },
    ));

    trials.push(test("a log format that does not exist is an error that names it", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SHOP)]);
        let run = project.run(&["dev", "--port", "0", "--log-format", "xml"]);
        assert!(!run.succeeded && run.stderr.contains("the log format is \"xml\", not text or json"), "{run:?}");
    }));
}

fn entries(served: &Binary) -> Vec<Value> {
    served.output().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
