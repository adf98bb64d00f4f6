//! Recipe R6, `examples/data-ai-insights`, with a real model: contract section 4.1.

use std::path::Path;

use aerostack_tests::{Binary, TestModels, TestProject, get, test};
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    let recipe = vec![
        test("recipe insights: they are computed once, and then come from the cache", async || {
            let project = project();
            orders(&project, &[(6000.5, "-1 day"), (4000.0, "-6 days"), (90_000.0, "-8 days")]);
            let served = project.dev();
            let first = insights(&served).await;
            assert_eq!((&first["orderCount"], &first["totalRevenue"]), (&json!(2), &json!(10_000.5)), "{first}");
            assert!(first["analysis"].as_str().is_some_and(|text| text.chars().any(char::is_alphabetic)), "{first}");
            orders(&project, &[(1.0, "-1 hour")]);
            assert_eq!(insights(&served).await, first, "the second answer is the first, generatedAt included");
            let missing = get(served.address, "/api/other").await;
            assert_eq!((missing.status, missing.json()), (404, json!({ "error": "Not found" })));
            drop(served);
            assert_eq!(alerts(&project), [json!({ "type": "revenue-alert", "revenue": 10_000.5, "period": "7d" })]);
        }),
        test("recipe insights: up to 10000 nobody is alerted", async || {
            let project = project();
            orders(&project, &[(6000.0, "-1 day"), (4000.0, "-6 days")]);
            let served = project.dev();
            assert_eq!(insights(&served).await["totalRevenue"], json!(10_000));
            drop(served);
            assert_eq!(alerts(&project), [] as [Value; 0]);
        }),
    ];
    trials.extend(TestModels::find().needed_by(recipe));
}

fn project() -> TestProject {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data-ai-insights");
    let project = TestProject::copy_of(&example);
    project.append("aerostack.toml", &TestModels::find().config());
    run(&project, &["db", "migrate", "apply"]);
    run(&project, &["db", "execute", "--command", "INSERT INTO users (name) VALUES ('Ada')"]);
    project
}

fn orders(project: &TestProject, orders: &[(f64, &str)]) {
    for (total, age) in orders {
        let sql =
            format!("INSERT INTO orders (user_id, total, created_at) VALUES (1, {total}, datetime('now', '{age}'))");
        run(project, &["db", "execute", "--command", &sql]);
    }
}

async fn insights(served: &Binary) -> Value {
    let answer = get(served.address, "/api/insights").await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), served.output());
    answer.json()
}

/// The bodies of the messages that wait.
fn alerts(project: &TestProject) -> Vec<Value> {
    let peeked: Value = serde_json::from_str(&run(project, &["queue", "peek", "--json"])).expect("JSON");
    peeked.as_array().expect("a list").iter().map(|message| message["body"].clone()).collect()
}

fn run(project: &TestProject, arguments: &[&str]) -> String {
    let run = project.run(arguments);
    assert!(run.succeeded, "{arguments:?}: {}", run.stderr);
    run.stdout
}
