//! The tests under `tests/workers`, written in TypeScript against the public Workers surface: each is one trial here, in a
//! worker of its own with fresh bindings.
//!
//! A folder with an `origin.ts` gets that worker served over HTTP beside each test, at the URL in `env.ORIGIN`; at
//! `env.CLOSED` nobody listens.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerostack_server::ClientLimits;
use aerostack_tests::{TestServer, WorkerSetup, test};
use libtest_mimic::Trial;

const MAIN: &str = "import \"./SUITE\";\nimport { answer } from \"./testing.ts\";\nexport default { fetch: answer };\n";

/// One `*.test.ts` file and what it needs beside it.
struct Suite {
    /// The path below `tests/workers`, for example `database/values.test.ts`.
    path: String,
    text: String,
    /// The names of its tests, as they stand in the file.
    names: Vec<String>,
    testing: String,
    origin: Option<String>,
}

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("workers");
    let mut files = Vec::new();
    find_suites(&root, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no *.test.ts below {}", root.display());
    let testing = read(&root.join("testing.ts"));
    for file in files {
        let path = file.strip_prefix(&root).expect("found below it").display().to_string();
        let text = read(&file);
        let names = names(&text);
        assert!(!names.is_empty(), "{path} has no line that begins with test(\"");
        let origin = file.with_file_name("origin.ts");
        let origin = origin.is_file().then(|| read(&origin));
        let suite = Arc::new(Suite { path, text, names, testing: testing.clone(), origin });
        for name in &suite.names {
            let (suite, name) = (suite.clone(), name.clone());
            let shown = format!("{}: {name}", suite.path.trim_end_matches(".test.ts"));
            trials.push(test(&shown, async move || suite.run(&name).await));
        }
    }
}

impl Suite {
    async fn run(&self, name: &str) {
        let mut setup = WorkerSetup::of(&MAIN.replace("SUITE", &self.path))
            .file(&format!("src/{}", self.path), &self.text)
            .file("src/testing.ts", &self.testing);
        let origin = match &self.origin {
            None => None,
            Some(source) => Some(TestServer::of(WorkerSetup::of(source), ClientLimits::default()).await),
        };
        if let Some(origin) = &origin {
            setup = setup.variable("ORIGIN", format!("http://{}", origin.address));
            setup = setup.variable("CLOSED", format!("http://{}/", closed_address()));
        }
        let worker = setup.start().await;
        let answer = worker.get(&format!("/?test={}", percent_encode(name))).await.json();
        let known: Vec<&str> =
            answer["known"].as_array().expect("a list").iter().filter_map(|known| known.as_str()).collect();
        // A test that this file's list misses would never run.
        assert_eq!(known, self.names, "the tests that {} declares", self.path);
        if let Some(error) = answer["error"].as_str() {
            panic!("{error}\nlog: {:#?}", worker.log.lines());
        }
    }
}

/// An address that was free a moment ago.
fn closed_address() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}

fn find_suites(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("tests/workers can be read") {
        let path = entry.expect("tests/workers can be read").path();
        if path.is_dir() {
            find_suites(&path, files);
        } else if path.to_string_lossy().ends_with(".test.ts") {
            files.push(path);
        }
    }
}

fn names(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| Some(line.strip_prefix("test(\"")?.split_once("\", ")?.0.to_owned())).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        let _ = write!(encoded, "%{byte:02X}");
    }
    encoded
}
