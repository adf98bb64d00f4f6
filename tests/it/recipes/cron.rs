//! R3: `examples/cron`.

use aerostack_tests::{TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::json;

use super::example;

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("the cron recipe answers its health check, whatever is asked", async || {
        let served = example("cron").dev();
        for (method, path) in [("GET", "/"), ("GET", "/health?x=1"), ("POST", "/")] {
            let answer = send(served.address, method, path, &[], b"").await;
            assert_eq!((answer.status, answer.json()), (200, json!({ "status": "ok", "next": "runs every hour" })));
        }
    }));

    trials.push(test("the start table says when the cron recipe fires, in words and as a time", async || {
        let served = example("cron").dev();
        let line = served.wait_for("0 * * * *");
        assert!(line.contains("cron") && line.contains("every hour") && line.contains("next 20"), "{line}");
    }));

    trials.push(test("the cron recipe cleans sessions, keeps the day's figures and sends a digest", async || {
        let project = example("cron");
        let served = project.dev();
        fill(&project);
        let answer = get(served.address, "/cdn-cgi/handler/scheduled").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        let ran = served.wait_for("cron 0 * * * * ok ");
        assert!(ran.ends_with(" ms, by hand"), "{ran}");
        served.wait_for("  log cron 0 * * * * Cleaned 2 expired sessions");
        assert_eq!(project.rows("SELECT user_id FROM sessions"), json!([{ "user_id": 3 }]));

        let stats = json!({ "total_users": 3, "new_today": 2, "active_now": 1 });
        assert_eq!(project.run_json(&["cache", "get", "stats:daily"]), stats);
        let keys = project.run_json(&["cache", "list", "--json"]);
        let key = &keys["keys"][0];
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
        let left = key["expiration"].as_u64().expect("an expiration") - now;
        assert!(key["name"] == "stats:daily" && (7000..=7200).contains(&left), "{keys}, {left}");

        let queued = project.queued("QUEUE");
        assert_eq!(queued.len(), 1);
        let body = &queued[0]["body"];
        assert_eq!((&body["type"], &body["stats"]), (&json!("daily-digest"), &stats));
        assert!(body["timestamp"].as_u64().is_some_and(|time| time / 1000 <= now), "{body}");
        served.wait_for("queue local-queue has no consumer: messages stay in it");

        // Another hour: nothing to clean, one more message, and the note is not repeated.
        assert_eq!(get(served.address, "/cdn-cgi/handler/scheduled").await.text(), "ok");
        served.wait_for("Cleaned 0 expired sessions");
        assert_eq!(project.queued("QUEUE").len(), 2);
        assert_eq!(served.output().matches("has no consumer").count(), 1, "{}", served.output());
    }));

    trials.push(test("the cron recipe runs from the command line, without a server", async || {
        let project = example("cron");
        assert!(project.run(&["db", "migrate", "apply"]).succeeded);
        fill(&project);
        let run = project.run(&["cron", "trigger"]);
        assert!(run.succeeded && run.stderr.is_empty(), "{run:?}");
        assert!(run.stdout.contains("cron 0 * * * * ok "), "{run:?}");
        assert!(run.stdout.contains("\n  log cron 0 * * * * Cleaned 2 expired sessions\n"), "{run:?}");
        assert_eq!(project.run_json(&["cache", "get", "stats:daily"])["total_users"], 3);
        assert_eq!(project.queued("QUEUE").len(), 1);
    }));

    trials.push(test("the cron recipe fails aloud when its tables are missing, and goes on serving", async || {
        let project = example("cron");
        std::fs::remove_dir_all(project.path().join("migrations")).expect("the migrations can be removed");
        let served = project.dev();
        let answer = get(served.address, "/cdn-cgi/handler/scheduled").await;
        assert_eq!((answer.status, answer.text().as_str()), (500, "exception"));
        served.wait_for("cron 0 * * * * failed ");
        served.wait_for("no such table: sessions");
        served.wait_for("--> src/index.ts:");
        assert_eq!(get(served.address, "/").await.status, 200);
        assert_eq!(project.queued("QUEUE").len(), 0);
    }));
}

/// Two expired sessions and a living one; three users, two of them new, one of them active.
fn fill(project: &TestProject) {
    let sql = "INSERT INTO sessions (user_id, expires_at) VALUES (1, datetime('now', '-1 day')), (2, datetime('now', '-1 minute')), (3, datetime('now', '+1 day'));
        INSERT INTO users (name, created_at, last_active) VALUES
          ('old', datetime('now', '-9 days'), datetime('now', '-2 hours')),
          ('new', datetime('now', '-2 hours'), datetime('now', '-2 hours')),
          ('here', datetime('now'), datetime('now'));";
    let run = project.run(&["db", "execute", "--command", sql]);
    assert!(run.succeeded, "{run:?}");
}
