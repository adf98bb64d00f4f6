//! The recipes of `examples/`, served by the binary over HTTP: what the Aerostack contract's section 4.1 says of each.

mod background_jobs;
mod cron;
mod rest_api;
mod webhooks;
mod webhooks_verified;

use std::path::{Path, PathBuf};

use aerostack_tests::{TestProject, test};
use libtest_mimic::Trial;

/// Examples that are the recipes of the docs, character for character.
const SEEDED: [&str; 6] = ["rest-api", "background-jobs", "cron", "webhooks", "rag", "data-ai-insights"];

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    rest_api::trials(trials);
    background_jobs::trials(trials);
    cron::trials(trials);
    webhooks::trials(trials);
    webhooks_verified::trials(trials);
    for name in SEEDED {
        let seed = root().join(format!("../shared/seed/recipes/{name}.ts"));
        let title = format!("examples/{name} is the seed recipe byte for byte");
        if seed.is_file() {
            trials.push(test(&title, async move || {
                let read = |path: &Path| std::fs::read(path).expect("the file can be read");
                let example = root().join(format!("examples/{name}/src/index.ts"));
                assert!(read(&seed) == read(&example), "the bytes differ");
            }));
        } else {
            let title = format!("{title} (ignored: there is no ../shared/seed/recipes beside the checkout)");
            trials.push(test(&title, async || {}).with_ignored_flag(true));
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A copy of an example without state.
fn example(name: &str) -> TestProject {
    TestProject::copy_of(&root().join("examples").join(name))
}

/// Replaces a part of a project's config, which must be there.
fn change_config(project: &TestProject, part: &str, by: &str) {
    let config = std::fs::read_to_string(project.path().join("aerostack.toml")).expect("the example has a config");
    assert!(config.contains(part), "{config}");
    project.write("aerostack.toml", &config.replace(part, by));
}
