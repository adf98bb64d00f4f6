//! R4: `examples/webhooks`.

use aerostack_tests::{Binary, HttpAnswer, TestProject, send, test};
use libtest_mimic::Trial;
use serde_json::json;

use super::example;

const STRIPE: (&str, &str) = ("stripe-signature", "any");
const GITHUB: (&str, &str) = ("x-hub-signature-256", "any");

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test(
        "the webhooks recipe answers other methods, missing signatures and unknown paths in text",
        async || {
            let (_project, served) = webhooks();
            for method in ["GET", "PUT", "DELETE"] {
                let refused = send(served.address, method, "/webhooks/stripe", &[STRIPE], b"").await;
                assert_eq!((refused.status, refused.text().as_str()), (405, "Method not allowed"), "{method}");
            }
            for path in ["/webhooks/stripe", "/webhooks/github"] {
                let refused = post(&served, path, &[], "{}").await;
                assert_eq!((refused.status, refused.text().as_str()), (401, "Missing signature"), "{path}");
            }
            for path in ["/", "/webhooks", "/webhooks/paypal", "/webhooks/stripe/"] {
                let unknown = post(&served, path, &[STRIPE, GITHUB], "{}").await;
                assert_eq!((unknown.status, unknown.text().as_str()), (404, "Unknown webhook endpoint"), "{path}");
            }
        },
    ));

    trials.push(test("the webhooks recipe takes an event of Stripe once", async || {
        let (project, served) = webhooks();
        let event = r#"{"id":"evt_1","type":"charge.succeeded","data":{"amount":5}}"#;
        let first = post(&served, "/webhooks/stripe", &[STRIPE], event).await;
        assert_eq!((first.status, first.json()), (200, json!({ "received": true })));
        for _ in 0..2 {
            let again = post(&served, "/webhooks/stripe", &[STRIPE], event).await;
            assert_eq!((again.status, again.json()), (200, json!({ "received": true, "deduplicated": true })));
        }
        let row = json!([{ "source": "stripe", "event_id": "evt_1", "type": "charge.succeeded", "payload": event }]);
        assert_eq!(project.rows("SELECT source, event_id, type, payload FROM webhook_events"), row);
        let queued = project.queued("QUEUE");
        assert_eq!(queued.len(), 1);
        let sent: serde_json::Value = serde_json::from_str(event).expect("JSON");
        assert_eq!(queued[0]["body"], json!({ "source": "stripe", "event": sent }));

        assert_eq!(project.run(&["cache", "get", "webhook:stripe:evt_1"]).stdout, "1");
        let keys = project.run_json(&["cache", "list", "--json"]);
        let key = &keys["keys"][0];
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
        let left = key["expiration"].as_u64().expect("an expiration") - now;
        assert!((86_300..=86_400).contains(&left), "{keys}, {left}");

        let other = post(&served, "/webhooks/stripe", &[STRIPE], r#"{"id":"evt_2","type":"t"}"#).await;
        assert_eq!(other.json(), json!({ "received": true }));
        assert_eq!(project.rows("SELECT count(*) AS n FROM webhook_events"), json!([{ "n": 2 }]));
    }));

    trials.push(test("the webhooks recipe still knows an event after a restart", async || {
        let (project, mut served) = webhooks();
        let event = r#"{"id":"evt_1","type":"charge.succeeded"}"#;
        assert_eq!(post(&served, "/webhooks/stripe", &[STRIPE], event).await.json(), json!({ "received": true }));
        served.signal("KILL");
        served.wait();
        let served = project.dev();
        let again = post(&served, "/webhooks/stripe", &[STRIPE], event).await;
        assert_eq!(again.json(), json!({ "received": true, "deduplicated": true }));
        assert_eq!(project.queued("QUEUE").len(), 1);
    }));

    trials.push(test("the webhooks recipe queues events of GitHub with their type", async || {
        let (project, served) = webhooks();
        let headers = [GITHUB, ("x-github-event", "push")];
        for headers in [&headers[..], &headers[..1]] {
            let taken = post(&served, "/webhooks/github", headers, r#"{"ref":"main"}"#).await;
            assert_eq!((taken.status, taken.json()), (200, json!({ "received": true })));
        }
        let bodies: Vec<serde_json::Value> =
            project.queued("QUEUE").into_iter().map(|mut message| message["body"].take()).collect();
        let body = |kind: &str| json!({ "source": "github", "eventType": kind, "event": { "ref": "main" } });
        assert_eq!(bodies, [body("push"), body("unknown")]);
        served.wait_for("queue local-queue has no consumer");
    }));

    trials.push(test("the webhooks recipe answers 500 to what is no JSON, and says which line threw", async || {
        let (project, served) = webhooks();
        for (path, header) in [("/webhooks/stripe", STRIPE), ("/webhooks/github", GITHUB)] {
            let before = served.line_count();
            assert_eq!(post(&served, path, &[header], "{not json").await.status, 500);
            served.wait_for_after(before, "SyntaxError");
            served.wait_for_after(before, "--> src/index.ts:");
        }
        assert_eq!(project.queued("QUEUE").len(), 0);
    }));
}

fn webhooks() -> (TestProject, Binary) {
    let project = example("webhooks");
    let served = project.dev();
    (project, served)
}

async fn post(served: &Binary, path: &str, headers: &[(&str, &str)], body: &str) -> HttpAnswer {
    send(served.address, "POST", path, headers, body.as_bytes()).await
}
