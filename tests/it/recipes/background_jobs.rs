//! R2: `examples/background-jobs`.

use aerostack_tests::{Binary, HttpAnswer, TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::json;

use super::{change_config, example};

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("the jobs recipe takes POST only, on any path", async || {
        let (_project, served) = jobs(0);
        for (method, path) in [("GET", "/"), ("GET", "/any/path"), ("PUT", "/"), ("DELETE", "/jobs/1")] {
            let refused = send(served.address, method, path, &[], b"").await;
            assert_eq!((refused.status, refused.json()), (405, json!({ "error": "POST only" })), "{method} {path}");
        }
    }));

    trials.push(test("the jobs recipe refuses a job without a type", async || {
        let (project, served) = jobs(0);
        for body in [r#"{"payload":{}}"#, "{}", r#"{"type":""}"#] {
            let refused = post(&served, body).await;
            assert_eq!((refused.status, refused.json()), (400, json!({ "error": "type is required" })), "{body}");
        }
        assert_eq!(project.rows("SELECT * FROM jobs"), json!([]));
    }));

    trials.push(test("the jobs recipe answers 202 before the job is done, and has it on the disk by then", async || {
        let (project, served) = jobs(60);
        let accepted = post(&served, r#"{"type":"generate-report","payload":{"month":5}}"#).await;
        assert_eq!((accepted.status, accepted.json()), (202, json!({ "jobId": 1, "status": "queued" })));
        let row = json!([{ "id": 1, "type": "generate-report", "payload": r#"{"month":5}"#, "status": "queued", "error": null, "completed_at": null }]);
        assert_eq!(project.rows("SELECT id, type, payload, status, error, completed_at FROM jobs"), row);
        let queued = project.queued("QUEUE");
        assert_eq!(queued.len(), 1);
        let body = &queued[0]["body"];
        assert_eq!((&body["type"], &body["payload"], &body["jobId"]), (&json!("generate-report"), &json!({ "month": 5 }), &json!(1)));
        assert!(body["createdAt"].as_u64().is_some_and(|time| time > 1_700_000_000_000), "{body}");
        assert_eq!((&queued[0]["attempts"], &queued[0]["contentType"]), (&json!(0), &json!("json")));
    }));

    trials.push(test("the jobs recipe completes jobs of every type it knows, several in a batch", async || {
        let (project, served) = jobs(1);
        for kind in ["generate-report", "send-notification", "process-upload"] {
            assert_eq!(post(&served, &format!(r#"{{"type":"{kind}","payload":{{}}}}"#)).await.status, 202);
        }
        served.wait_for("queue local-queue ");
        project.wait_for_rows("SELECT count(*) AS n FROM jobs WHERE status = 'completed'", &json!([{ "n": 3 }]));
        let rows = project.rows("SELECT status, error, length(completed_at) AS length FROM jobs");
        let row = json!({ "status": "completed", "error": null, "length": 19 });
        assert_eq!(rows, json!([row, row, row]));
        assert_eq!(project.queued("QUEUE"), Vec::<serde_json::Value>::new());
        assert!(!served.output().contains("failed"), "{}", served.output());
    }));

    trials.push(test(
        "the jobs recipe fails an unknown type, and delivers it again until its retries are used up",
        async || {
            let (project, served) = jobs(0);
            assert_eq!(post(&served, r#"{"type":"dance","payload":{}}"#).await.status, 202);
            for attempt in ["0/1 acked", "1 -> retry 2/4", "1 -> retry 3/4", "1 -> retry 4/4", "1 dropped"] {
                let line = served.wait_for(attempt);
                assert!(line.starts_with("queue local-queue 0/1 acked "), "{line}");
            }
            let dropped = served.wait_for("after 4 failed attempts!");
            assert!(
                dropped.starts_with("  Dropped message \"") && dropped.contains("on queue \"local-queue\""),
                "{dropped}"
            );
            let output = served.output();
            assert_eq!(
                output.matches("  error queue local-queue Job 1 failed: Error: Unknown job type: dance").count(),
                4,
                "{output}"
            );
            let row = json!([{ "status": "failed", "error": "Error: Unknown job type: dance", "completed_at": null }]);
            assert_eq!(project.rows("SELECT status, error, completed_at FROM jobs"), row);
            assert_eq!(project.queued("QUEUE"), Vec::<serde_json::Value>::new());
        },
    ));

    trials.push(test("the jobs recipe answers 500 to a job without a payload, and to what is no JSON", async || {
        let (project, served) = jobs(0);
        assert_eq!(post(&served, r#"{"type":"generate-report"}"#).await.status, 500);
        served.wait_for("D1_TYPE_ERROR: Type 'undefined' not supported for value 'undefined'");
        assert_eq!(post(&served, "{not json").await.status, 500);
        served.wait_for("SyntaxError");
        assert_eq!(project.rows("SELECT * FROM jobs"), json!([]));
        assert_eq!(get(served.address, "/").await.status, 405);
    }));

    trials.push(test("the jobs recipe loses no job over kill -9, and does them after the restart", async || {
        let (project, mut served) = jobs(60);
        for number in 0..5 {
            let body = format!(r#"{{"type":"send-notification","payload":{{"number":{number}}}}}"#);
            assert_eq!(post(&served, &body).await.status, 202);
        }
        served.signal("KILL");
        served.wait();
        assert_eq!(project.queued("QUEUE").len(), 5);
        change_config(&project, "max_batch_timeout = 60", "max_batch_timeout = 0");
        let served = project.dev();
        served.wait_for("queue local-queue 5/5 acked ");
        project.wait_for_rows("SELECT count(*) AS n FROM jobs WHERE status = 'completed'", &json!([{ "n": 5 }]));
    }));
}

/// The recipe, with batches that wait so many seconds to become full.
fn jobs(max_batch_timeout: u32) -> (TestProject, Binary) {
    let project = example("background-jobs");
    change_config(&project, "max_batch_timeout = 1", &format!("max_batch_timeout = {max_batch_timeout}"));
    let served = project.dev();
    (project, served)
}

async fn post(served: &Binary, body: &str) -> HttpAnswer {
    send(served.address, "POST", "/", &[("content-type", "application/json")], body.as_bytes()).await
}
