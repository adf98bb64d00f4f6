//! Recipe R5, `examples/rag`, with real models: contract section 4.1.

use std::path::Path;

use aerostack_tests::{Binary, TestModels, TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::{Value, json};

const DOCUMENTS: [(&str, &str, &str); 3] = [
    (
        "Bread",
        "To bake bread, mix flour, water, salt and yeast. Knead the dough for ten minutes, let it rise for an hour, and bake \
         the loaf in a hot oven until the crust is brown.",
        "How do I bake a loaf of bread?",
    ),
    (
        "Volcanoes",
        "A volcano erupts when molten rock, called magma, rises from deep below the surface of the earth. Lava and ash come out \
         of the crater.",
        "Why does a volcano erupt?",
    ),
    (
        "Chess",
        "In chess each player begins with sixteen pieces. The game is won by checkmate: the king is attacked and cannot escape.",
        "How is a game of chess won?",
    ),
];

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    let models = TestModels::find();
    let recipe = vec![
        test("recipe rag: a question finds the document that answers it first, and a model answers", async || {
            let (_project, served) = rag();
            let mut ids = Vec::new();
            for (title, content, _) in DOCUMENTS {
                let answer = post(&served, "/ingest", json!({ "title": title, "content": content })).await;
                assert_eq!(answer["chunks"], json!(1), "{answer}");
                ids.push(answer["docId"].as_str().expect("an id").to_owned());
            }
            for ((title, _, question), id) in DOCUMENTS.into_iter().zip(&ids) {
                let answer = post(&served, "/query", json!({ "question": question })).await;
                let sources = answer["sources"].as_array().expect("sources");
                assert_eq!(sources.len(), 3, "{answer}");
                assert_eq!((&sources[0]["title"], &sources[0]["docId"]), (&json!(title), &json!(id)), "{question}");
                let scores: Vec<f64> = sources.iter().filter_map(|source| source["score"].as_f64()).collect();
                assert!(scores.len() == 3 && scores.is_sorted_by(|one, next| one >= next), "{scores:?}");
                let text = answer["answer"].as_str().expect("an answer");
                assert!(text.chars().any(char::is_alphabetic), "{text:?} is no answer");
            }
        }),
        test("recipe rag: a long document has a piece for every 450 characters", async || {
            let (_project, served) = rag();
            let answer =
                post(&served, "/ingest", json!({ "title": "Long", "content": "Ten chars ".repeat(100) })).await;
            assert_eq!(answer["chunks"], json!(3), "{answer}");
            let answer = post(&served, "/query", json!({ "question": "ten chars?" })).await;
            assert_eq!(answer["sources"].as_array().map(Vec::len), Some(3), "{answer}");
        }),
    ];
    trials.extend(models.needed_by(recipe));

    trials.push(test("recipe rag: without the models the error names the command that gets them", async || {
        let project = project("\n[ai]\nmodels_dir = \"models\"\n");
        let served = project.dev();
        assert_eq!(get(served.address, "/anything").await.json(), json!({ "error": "Not found" }));
        let body = json!({ "title": "t", "content": "c" }).to_string();
        let answer = send(served.address, "POST", "/ingest", &[], body.as_bytes()).await;
        assert_eq!(answer.status, 500);
        served.wait_for("5007: No such model @cf/baai/bge-base-en-v1.5 or task: its files are not in ");
        served.wait_for("get them with `aerostack models pull @cf/baai/bge-base-en-v1.5`");
    }));
}

fn rag() -> (TestProject, Binary) {
    let project = project(&TestModels::find().config());
    let served = project.dev();
    (project, served)
}

/// The example, with more in its config.
fn project(config: &str) -> TestProject {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/rag");
    let project = TestProject::copy_of(&example);
    project.append("aerostack.toml", config);
    project
}

async fn post(served: &Binary, path: &str, body: Value) -> Value {
    let answer = send(served.address, "POST", path, &[], body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), served.output());
    answer.json()
}
