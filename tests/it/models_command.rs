//! `aerostack models` through the binary, against a double of a hub on this machine.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use aerostack_tests::{TestModels, TestProject, get, test};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A row of the built-in table whose files are those of the test model for embeddings.
const MODEL: &str = "all-minilm-l6-v2";
const REPOSITORY: &str = "sentence-transformers/all-MiniLM-L6-v2";
const FILES: [&str; 6] = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
];

const CONFIG: &str = "name = \"words\"\n[ai]\nbinding = \"AI\"\nmodels_dir = \"models\"\n";
const WORKER: &str = "export default {
  async fetch(request, env) {
    try {
      const { shape } = await env.AI.run(new URL(request.url).searchParams.get('model'), { text: 'hello' });
      return Response.json(shape);
    } catch (error) {
      return new Response(error.message, { status: 500 });
    }
  },
};";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    let models = TestModels::find();
    let real = models.embeddings.clone();
    let added = models.embeddings.clone();
    trials.extend(models.needed_by(vec![
        test("a model that was pulled is found by a worker, and no more once it is removed", async move || {
            let project = project();
            let hub = hub(&real);
            let served = project.dev();
            let before = get(served.address, &format!("/?model={MODEL}")).await;
            let pull = format!("aerostack models pull {MODEL}");
            assert!(before.status == 500 && before.text().contains(&pull), "{}", before.text());

            let run = project.run_in(&[("HF_ENDPOINT", &hub)], &["models", "pull", MODEL]);
            assert!(run.succeeded, "{run:?}");
            assert_eq!(Path::new(run.stdout.trim()), project.path().join("models").join(MODEL));
            assert!(run.stderr.contains(&format!("{MODEL}: model.safetensors ")), "{run:?}");
            assert_eq!(state_of(&project, MODEL), json!("present"));
            let location = project.run(&["models", "where", MODEL]);
            assert!(location.succeeded && location.stdout.contains(MODEL), "{location:?}");
            let answer = get(served.address, &format!("/?model={MODEL}")).await;
            assert_eq!((answer.status, answer.text()), (200, "[1,384]".to_owned()));
            drop(served);

            let run = project.run(&["models", "remove", MODEL]);
            assert!(run.succeeded && !project.path().join("models").join(MODEL).exists(), "{run:?}");
            assert_eq!(state_of(&project, MODEL), json!("missing"));
            assert!(!project.run(&["models", "where", MODEL]).succeeded);
            assert!(!project.run(&["models", "remove", MODEL]).succeeded, "there is nothing to remove any more");
        }),
        test("a folder of yours gets a name, and loses it without losing its files", async move || {
            let project = project();
            let folder = added.to_str().expect("a path of this machine is UTF-8");
            let run = project.run(&["models", "add", "mine", folder]);
            assert!(run.succeeded && run.stderr.contains(&format!("registered mine for {folder}")), "{run:?}");
            let served = project.dev();
            let answer = get(served.address, "/?model=mine").await;
            assert_eq!((answer.status, answer.text()), (200, "[1,384]".to_owned()));
            drop(served);
            let run = project.run(&["models", "remove", "mine"]);
            assert!(run.succeeded && run.stderr.contains("its files stay"), "{run:?}");
            assert!(added.join("model.safetensors").is_file());
            assert!(!project.run(&["models", "where", "mine"]).succeeded);
        }),
    ]));

    trials.push(test("a model that a hub does not have, or that nobody knows, is an error that says so", async || {
        let project = project();
        let nothing = project.path().join("nothing");
        std::fs::create_dir(&nothing).expect("a folder can be made");
        let run = project.run_in(&[("HF_ENDPOINT", &hub(&nothing))], &["models", "pull", MODEL]);
        assert!(!run.succeeded && run.stderr.contains(&format!("cannot get {MODEL}")), "{run:?}");
        assert!(run.stderr.contains("404"), "{run:?}");
        let run = project.run(&["models", "pull", "@cf/nobody/knows"]);
        assert!(!run.succeeded && run.stderr.contains("run `aerostack models list` to see it"), "{run:?}");
        let run = project.run(&["models", "add", "mine", "nothing"]);
        assert!(!run.succeeded && run.stderr.contains("is not a GGUF file"), "{run:?}");
    }));
}

fn project() -> TestProject {
    TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", WORKER)])
}

fn state_of(project: &TestProject, name: &str) -> Value {
    let models = project.run_json(&["models", "list", "--json"]);
    let model = models.as_array().into_iter().flatten().find(|model| model["name"] == name);
    model.unwrap_or_else(|| panic!("{name} is not in {models}"))["state"].clone()
}

/// A hub that has the files of a folder under the names of [`MODEL`]'s repository. Returns its address.
fn hub(folder: &Path) -> String {
    let files: HashMap<String, Vec<u8>> = FILES
        .iter()
        .filter_map(|file| Some((format!("/{REPOSITORY}/resolve/main/{file}"), std::fs::read(folder.join(file)).ok()?)))
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let files = Arc::new(files);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let files = Arc::clone(&files);
            std::thread::spawn(move || _ = answer(stream, &files));
        }
    });
    address
}

/// Answers the requests of one connection.
fn answer(stream: TcpStream, files: &HashMap<String, Vec<u8>>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next() {
        let line = line?;
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        lines.by_ref().map_while(Result::ok).find(String::is_empty);
        let Some(content) = files.get(path) else {
            writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let (size, sum) = (content.len(), Sha256::digest(content));
        write!(writer, "HTTP/1.1 200 OK\r\nETag: \"{sum:x}\"\r\nContent-Length: {size}\r\n\r\n")?;
        if method != "HEAD" {
            writer.write_all(content)?;
        }
    }
    Ok(())
}
