//! The routes that run a handler by hand (Cloudflare contract, section 7).

use aerostack_tests::{Binary, HttpAnswer, TestProject, exchange, get, send, test};
use libtest_mimic::Trial;
use serde_json::json;

const WORKER: &str = "export default {
  fetch: () => new Response('from the worker'),
  async scheduled(event) {
    console.log('fired', JSON.stringify([event.cron, event.scheduledTime]));
    if (event.cron === 'give up') event.noRetry();
    if (event.cron === 'fail') throw new Error('on purpose');
  },
  async queue(batch) {
    for (const message of batch.messages) {
      console.log('got', batch.queue, JSON.stringify([message.body, message.attempts, message.timestamp.getTime(), message.id.length]));
      if (message.body === 'ack') message.ack();
      if (message.body === 'retry') message.retry();
      if (message.body === 'later') message.retry({ delaySeconds: 5 });
    }
    if (batch.messages[0].body === 'fail') throw new Error('on purpose');
  },
};";

const CONFIG: &str = "name = \"shop\"\n[triggers]\ncrons = [\"*/7 3 * * *\", \"0 9 * * mon\"]\n";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    scheduled(trials);
    queue(trials);
    access(trials);
    several_workers(trials);
}

fn scheduled(trials: &mut Vec<Trial>) {
    for (path, text) in [
        ("/cdn-cgi/handler/scheduled", "ok"),
        ("/cdn-cgi/local/scheduled", "ok"),
        ("/cdn-cgi/mf/scheduled", "ok"),
        ("/__scheduled", "Ran scheduled event"),
    ] {
        trials.push(test(&format!("{path} runs the handler with the first trigger, now"), async move || {
            let (_project, served) = shop();
            let before = now_ms();
            let answer = get(served.address, path).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, text));
            let line = served.wait_for("log cron */7 3 * * * fired ");
            let fired: serde_json::Value =
                serde_json::from_str(line.split("fired ").nth(1).expect("JSON")).expect("JSON");
            assert_eq!(fired[0], "*/7 3 * * *");
            assert!((before..=now_ms()).contains(&fired[1].as_u64().expect("a time")), "{line}");
            let ran = served.wait_for("cron */7 3 * * * ok ");
            assert!(ran.ends_with(" ms, by hand"), "{ran}");
        }));

        trials.push(test(&format!("{path} takes ?cron= and ?time="), async move || {
            let (_project, served) = shop();
            let answer = get(served.address, &format!("{path}?cron=*+*+*+*+*&time=1700000000000")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, text));
            served.wait_for(r#"log cron * * * * * fired ["* * * * *",1700000000000]"#);
            let answer = get(served.address, &format!("{path}?time=0&cron=not%20an%20expression")).await;
            assert_eq!(answer.status, 200, "the handler sees whatever is asked for, as in wrangler");
            served.wait_for(r#"log cron not an expression fired ["not an expression",0]"#);
            for wrong in ["?time=soon", "?time=-1", "?time=1.5"] {
                assert_eq!(get(served.address, &format!("{path}{wrong}")).await.status, 400, "{wrong}");
            }
        }));
    }

    trials.push(test("a handler that fails by hand is answered with 500 and told on the terminal", async || {
        let (_project, served) = shop();
        let answer = get(served.address, "/cdn-cgi/handler/scheduled?cron=fail").await;
        assert_eq!((answer.status, answer.text().as_str()), (500, "exception"));
        served.wait_for("cron fail failed ");
        served.wait_for("--> src/index.ts:6:");
        served.wait_for("Error: on purpose");
        let answer = get(served.address, "/__scheduled?cron=fail").await;
        assert_eq!((answer.status, answer.text().as_str()), (500, "The scheduled event failed"));
    }));

    trials.push(test("?format=json answers with the outcome and whether noRetry was called", async || {
        let (_project, served) = shop();
        for (cron, status, outcome, no_retry) in
            [("x", 200, "ok", false), ("give+up", 200, "ok", true), ("fail", 500, "exception", false)]
        {
            let answer = get(served.address, &format!("/cdn-cgi/handler/scheduled?format=json&cron={cron}")).await;
            assert_eq!((answer.status, answer.json()), (status, json!({ "outcome": outcome, "noRetry": no_retry })));
            assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        }
    }));

    trials.push(test("the handler runs without any trigger in the config, too", async || {
        let project = TestProject::new(&[("aerostack.toml", "name = \"shop\"\n"), ("src/index.ts", WORKER)]);
        let served = project.dev();
        assert_eq!(get(served.address, "/cdn-cgi/handler/scheduled?time=1").await.text(), "ok");
        served.wait_for(r#"fired ["",1]"#);
    }));

    trials.push(test("a worker without a scheduled handler has none to run", async || {
        let source = "export default { fetch: () => new Response('from the worker') };";
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", source)]);
        let served = project.dev();
        served.wait_for("warning: shop has cron triggers and exports no `scheduled` handler: they do not fire");
        let answer = get(served.address, "/cdn-cgi/handler/scheduled").await;
        assert_eq!((answer.status, answer.text().as_str()), (400, "Handler does not export a scheduled() function.\n"));
    }));
}

fn queue(trials: &mut Vec<Trial>) {
    trials.push(test(
        "POST /cdn-cgi/handler/queue runs the handler with the messages and answers what it decided",
        async || {
            let (_project, served) = shop();
            let ids: Vec<String> = (0..4).map(|number| format!("{number:032x}")).collect();
            let messages: Vec<serde_json::Value> = ["ack", "retry", "later", "neither"]
                .iter()
                .zip(&ids)
                .map(|(body, id)| json!({ "body": body, "id": id, "attempts": 3, "timestamp": 5 }))
                .collect();
            let answer = post(&served, "/cdn-cgi/handler/queue", &json!({ "messages": messages })).await;
            let expected = json!({
                "outcome": "ok",
                "explicitAcks": [ids[0]],
                "retryMessages": [{ "msgId": ids[1] }, { "msgId": ids[2], "delaySeconds": 5 }],
            });
            assert_eq!((answer.status, answer.json()), (200, expected));
            served.wait_for(r#"log queue local-queue got local-queue ["later",3,5,32]"#);
        },
    ));

    trials.push(test("POST /cdn-cgi/handler/queue needs only bodies, and takes the queue's name", async || {
        let (_project, served) = shop();
        let before = now_ms();
        let message = json!({ "messages": [{ "body": { "any": ["JSON", null] } }] });
        let answer = post(&served, "/cdn-cgi/handler/queue?queue=other", &message).await;
        assert_eq!(answer.json(), json!({ "outcome": "ok", "explicitAcks": [], "retryMessages": [] }));
        let line = served.wait_for("got other ");
        let got: serde_json::Value =
            serde_json::from_str(line.split("got other ").nth(1).expect("JSON")).expect("JSON");
        assert_eq!((&got[0], &got[1], &got[3]), (&json!({ "any": ["JSON", null] }), &json!(1), &json!(32)));
        assert!((before..=now_ms()).contains(&got[2].as_u64().expect("a time")), "{line}");
        let named = json!({ "queue": "named in the body", "messages": [{ "body": 1 }] });
        assert_eq!(post(&served, "/cdn-cgi/handler/queue", &named).await.status, 200);
        served.wait_for("got named in the body [1,1,");
    }));

    trials.push(test("POST /cdn-cgi/handler/queue says when the handler fails, and what it had decided", async || {
        let (_project, served) = shop();
        let messages = json!({ "messages": [{ "body": "fail" }, { "body": "ack", "id": "f".repeat(32) }] });
        let answer = post(&served, "/cdn-cgi/handler/queue", &messages).await;
        let expected = json!({ "outcome": "exception", "explicitAcks": ["f".repeat(32)], "retryMessages": [] });
        assert_eq!((answer.status, answer.json()), (200, expected));
        served.wait_for("Error: on purpose");
    }));

    trials.push(test("POST /cdn-cgi/handler/queue refuses what is no batch, and says why", async || {
        let (_project, served) = shop();
        let shape = r#"the body must be JSON of the form { "queue"?: string, "messages": [{ "body": any, "id"?, "timestamp"?, "attempts"? }] }: "#;
        for wrong in ["", "{not json", "[]", "{}", r#"{"messages":5}"#, r#"{"messages":[{}]}"#, r#"{"messages":[{"body":1,"delay":2}]}"#, r#"{"messages":[],"other":1}"#] {
            let answer = send(served.address, "POST", "/cdn-cgi/handler/queue", &[], wrong.as_bytes()).await;
            assert!(answer.status == 400 && answer.text().starts_with(shape), "{wrong}: {}", answer.text());
        }
        for count in [0, 101] {
            let messages: Vec<serde_json::Value> = (0..count).map(|body| json!({ "body": body })).collect();
            let answer = post(&served, "/cdn-cgi/handler/queue", &json!({ "messages": messages })).await;
            assert_eq!((answer.status, answer.text().as_str()), (400, "a batch has 1 to 100 messages\n"));
        }
        let answer = post(&served, "/cdn-cgi/handler/queue", &json!({ "messages": [{ "body": 1, "id": "short" }] })).await;
        assert_eq!((answer.status, answer.text().as_str()), (400, "messages[0].id is \"short\", not 32 hexadecimal digits\n"));
        assert_eq!(get(served.address, "/cdn-cgi/handler/queue").await.status, 405);
        assert!(!served.output().contains(" got "), "{}", served.output());
    }));
}

fn access(trials: &mut Vec<Trial>) {
    trials.push(test("the trigger routes answer local hosts and origins only", async || {
        let (_project, served) = shop();
        for path in ["/cdn-cgi/handler/scheduled", "/__scheduled", "/cdn-cgi/handler/queue", "/cdn-cgi/any"] {
            for host in ["evil.example", "localhost.evil.example", "10.0.0.1:8788"] {
                let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
                let answer = String::from_utf8_lossy(&exchange(served.address, request.as_bytes()).await).into_owned();
                assert!(
                    answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("Invalid Host header\n"),
                    "{path} {host}: {answer}"
                );
            }
            for origin in ["https://evil.example", "null", "http://localhost.evil.example:8788"] {
                let answer = send(served.address, "GET", path, &[("origin", origin)], b"").await;
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (403, "Invalid Origin header\n"),
                    "{path} {origin}"
                );
            }
        }
        let local =
            send(served.address, "GET", "/cdn-cgi/handler/scheduled", &[("origin", "http://localhost:5173")], b"")
                .await;
        assert_eq!(local.text(), "ok");
        let host = "GET /cdn-cgi/handler/scheduled HTTP/1.1\r\nhost: localhost:8788\r\nconnection: close\r\n\r\n";
        assert!(exchange(served.address, host.as_bytes()).await.ends_with(b"ok"));
    }));

    trials.push(test(
        "no worker sees a path that Cloudflare reserves, and its neighbours stay the worker's",
        async || {
            let (_project, served) = shop();
            assert_eq!(get(served.address, "/cdn-cgi/other").await.status, 404);
            for path in ["/", "/cdn-cgi", "/__scheduled/below", "/x/__scheduled.html", "/x/cdn-cgi/handler/scheduled"] {
                assert_eq!(get(served.address, path).await.text(), "from the worker", "{path}");
            }
        },
    ));
}

fn several_workers(trials: &mut Vec<Trial>) {
    trials.push(test("below a mount point the trigger routes are those of the worker there", async || {
        let (_project, served) = mounted();
        for (path, text, line) in [
            ("/first/cdn-cgi/handler/scheduled", "ok", "first fired 1 * * * *"),
            ("/second/cdn-cgi/handler/scheduled", "ok", "second fired 2 * * * *"),
            ("/second/__scheduled?cron=x", "Ran scheduled event", "second fired x"),
        ] {
            assert_eq!(get(served.address, path).await.text(), text, "{path}");
            served.wait_for(line);
        }
        let answer = post(&served, "/second/cdn-cgi/handler/queue", &json!({ "messages": [{ "body": 1 }] })).await;
        assert_eq!(answer.status, 200);
        served.wait_for("second got 1");
        let missing = post(&served, "/first/cdn-cgi/handler/queue", &json!({ "messages": [{ "body": 1 }] })).await;
        assert_eq!((missing.status, missing.text().as_str()), (400, "Handler does not export a queue() function.\n"));
    }));

    trials.push(test("at the root the worker is named, or is the only one with such a handler", async || {
        let (_project, served) = mounted();
        let ambiguous = get(served.address, "/cdn-cgi/handler/scheduled").await;
        assert_eq!((ambiguous.status, ambiguous.text().as_str()), (400, "say which with ?worker=: first, second\n"));
        assert_eq!(get(served.address, "/cdn-cgi/handler/scheduled?worker=second").await.text(), "ok");
        served.wait_for("second fired 2 * * * *");
        assert_eq!(get(served.address, "/__scheduled?worker=first&cron=x").await.text(), "Ran scheduled event");
        served.wait_for("first fired x");
        let nobody = get(served.address, "/cdn-cgi/handler/scheduled?worker=nobody").await;
        assert_eq!((nobody.status, nobody.text().as_str()), (400, "there is no worker \"nobody\"\n"));
        assert_eq!(post(&served, "/cdn-cgi/handler/queue", &json!({ "messages": [{ "body": 5 }] })).await.status, 200);
        served.wait_for("second got 5");
    }));
}

fn shop() -> (TestProject, Binary) {
    let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", WORKER)]);
    let served = project.dev();
    (project, served)
}

/// Two projects side by side; both have `scheduled`, only the second has `queue`.
fn mounted() -> (TestProject, Binary) {
    let mut config = "name = \"demo\"\n".to_owned();
    let project = TestProject::new(&[]);
    for (name, minute) in [("first", 1), ("second", 2)] {
        config += &format!("[[functions]]\nname = \"{name}\"\nroute = \"/{name}/*\"\nproject = \"{name}\"\n");
        project.write(
            &format!("{name}/aerostack.toml"),
            &format!("name = \"{name}\"\n[triggers]\ncrons = [\"{minute} * * * *\"]\n"),
        );
        let queue =
            if name == "second" { ", queue: (batch) => console.log('second got', batch.messages[0].body)" } else { "" };
        let source = format!(
            "export default {{ fetch: () => new Response('{name}'), scheduled: (event) => console.log('{name} fired', event.cron){queue} }};"
        );
        project.write(&format!("{name}/src/index.ts"), &source);
    }
    project.write("aerostack.toml", &config);
    let served = project.dev();
    (project, served)
}

async fn post(served: &Binary, path: &str, body: &serde_json::Value) -> HttpAnswer {
    send(served.address, "POST", path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis();
    u64::try_from(now).expect("a time before the year 500 million")
}
