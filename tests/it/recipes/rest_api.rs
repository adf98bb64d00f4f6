//! R1: `examples/rest-api`.

use aerostack_tests::{Binary, HttpAnswer, TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::json;

use super::example;

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("the REST recipe answers a preflight with its CORS headers and no body", async || {
        let (_project, served) = rest_api();
        for path in ["/", "/api/items", "/anything/else"] {
            let answer = send(served.address, "OPTIONS", path, &[], b"").await;
            assert_eq!((answer.status, answer.text().as_str()), (200, ""));
            assert!(answer.head.contains("access-control-allow-origin: *"), "{}", answer.head);
            assert!(answer.head.contains("access-control-allow-methods: get, post, put, delete"), "{}", answer.head);
            assert!(
                answer.head.contains("access-control-allow-headers: content-type, authorization"),
                "{}",
                answer.head
            );
        }
    }));

    trials.push(test("the REST recipe applies its migration at the first start and lists nothing yet", async || {
        let (_project, served) = rest_api();
        served.wait_for("applied migration 0001_create_items.sql");
        let list = get(served.address, "/api/items").await;
        assert_eq!((list.status, list.json()), (200, json!([])));
        assert_cors_json(&list);
    }));

    trials.push(test("the REST recipe creates, reads, lists and deletes items", async || {
        let (_project, served) = rest_api();
        let created = post(&served, r#"{"name":"first","description":"d"}"#).await;
        assert_eq!(created.status, 201);
        assert_cors_json(&created);
        let row = created.json();
        assert_eq!((&row["id"], &row["name"], &row["description"]), (&json!(1), &json!("first"), &json!("d")));
        assert!(row["created_at"].as_str().is_some_and(|text| text.len() == 19), "{row}");

        let read = get(served.address, "/api/items/1").await;
        assert_eq!((read.status, read.json()), (200, row.clone()));
        assert_cors_json(&read);
        let second = post(&served, r#"{"name":"Zoë \u0000 ☃"}"#).await;
        assert_eq!((second.status, &second.json()["description"]), (201, &json!("")));
        assert_eq!(second.json()["name"], json!("Zoë \u{0} ☃"));
        let list = get(served.address, "/api/items").await.json();
        assert_eq!(list.as_array().map(Vec::len), Some(2));
        assert!(list.as_array().is_some_and(|rows| rows.contains(&row)));

        for _ in 0..2 {
            let deleted = send(served.address, "DELETE", "/api/items/1", &[], b"").await;
            assert_eq!((deleted.status, deleted.json()), (200, json!({ "deleted": true })));
            assert_cors_json(&deleted);
        }
        let gone = get(served.address, "/api/items/1").await;
        assert_eq!((gone.status, gone.json()), (404, json!({ "error": "Not found" })));
        assert_cors_json(&gone);
    }));

    trials.push(test("the REST recipe refuses an item without a name", async || {
        let (_project, served) = rest_api();
        for body in [r#"{"description":"d"}"#, r#"{"name":""}"#, "{}"] {
            let refused = post(&served, body).await;
            assert_eq!((refused.status, refused.json()), (400, json!({ "error": "name is required" })), "{body}");
            assert_cors_json(&refused);
        }
        assert_eq!(get(served.address, "/api/items").await.json(), json!([]));
    }));

    trials.push(test("the REST recipe answers malformed JSON with 500 and logs why", async || {
        let (_project, served) = rest_api();
        let failed = post(&served, "{not json").await;
        assert_eq!((failed.status, failed.json()), (500, json!({ "error": "Internal server error" })));
        assert_cors_json(&failed);
        let logged = served.wait_for("Request failed:");
        assert!(logged.contains("error") && logged.contains("POST /api/items"), "{logged}");
        assert!(logged.contains("SyntaxError"), "{logged}");
        assert_eq!(post(&served, "").await.status, 500);
        assert_eq!(get(served.address, "/api/items").await.status, 200);
    }));

    trials.push(test("the REST recipe answers 404 for every other path and method", async || {
        let (_project, served) = rest_api();
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/api/items/"),
            ("GET", "/api/items/abc"),
            ("GET", "/api/items/1x"),
            ("GET", "/api/items/-1"),
            ("GET", "/api/items/1/2"),
            ("GET", "/api/items/999999999999999999999999"),
            ("PUT", "/api/items/1"),
            ("PUT", "/api/items"),
            ("PATCH", "/api/items/1"),
            ("DELETE", "/api/items"),
            ("DELETE", "/api/items/abc"),
        ] {
            let answer = send(served.address, method, path, &[], b"").await;
            assert_eq!((answer.status, answer.json()), (404, json!({ "error": "Not found" })), "{method} {path}");
            assert_cors_json(&answer);
        }
    }));

    trials.push(test("the REST recipe answers 500 and logs when its table is missing", async || {
        let project = example("rest-api");
        std::fs::remove_dir_all(project.path().join("migrations")).expect("the migrations can be removed");
        let served = project.dev();
        let failed = get(served.address, "/api/items").await;
        assert_eq!((failed.status, failed.json()), (500, json!({ "error": "Internal server error" })));
        assert_cors_json(&failed);
        let logged = served.wait_for("Request failed:");
        assert!(logged.contains("no such table: items"), "{logged}");
    }));

    trials.push(test("the REST recipe lists at most fifty items", async || {
        let (_project, served) = rest_api();
        for number in 0..55 {
            assert_eq!(post(&served, &format!(r#"{{"name":"item {number}"}}"#)).await.status, 201);
        }
        let list = get(served.address, "/api/items").await.json();
        assert_eq!(list.as_array().map(Vec::len), Some(50));
    }));

    trials.push(test(
        "items outlive a restart after Ctrl-C and after kill -9, and migrations are not applied twice",
        async || {
            let project = example("rest-api");
            let mut expected = Vec::new();
            for (round, signal) in ["INT", "KILL", "TERM"].into_iter().enumerate() {
                let mut served = project.dev();
                assert_eq!(served.output().contains("applied migration"), round == 0, "{}", served.output());
                let list = get(served.address, "/api/items").await.json();
                assert_eq!(list.as_array().map(Vec::len), Some(expected.len()));
                for row in &expected {
                    assert!(list.as_array().is_some_and(|rows| rows.contains(row)), "{row} is not in {list}");
                }
                let created = post(&served, &format!(r#"{{"name":"round {round}"}}"#)).await;
                assert_eq!(created.status, 201);
                expected.push(created.json());
                served.signal(signal);
                assert_eq!(served.wait(), signal != "KILL", "{}", served.output());
            }
        },
    ));
}

fn rest_api() -> (TestProject, Binary) {
    let project = example("rest-api");
    let served = project.dev();
    (project, served)
}

async fn post(served: &Binary, body: &str) -> HttpAnswer {
    let headers = [("content-type", "application/json")];
    send(served.address, "POST", "/api/items", &headers, body.as_bytes()).await
}

fn assert_cors_json(answer: &HttpAnswer) {
    assert!(answer.head.contains("access-control-allow-origin: *"), "{}", answer.head);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
}
