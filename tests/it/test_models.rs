use std::path::PathBuf;

use libtest_mimic::Trial;

/// The two small real models that `scripts/fetch-test-models` gets.
pub struct TestModels {
    /// A folder with a sentence-transformers model, 384 dimensions.
    pub embeddings: PathBuf,
    /// A GGUF file.
    pub text: PathBuf,
}

impl TestModels {
    /// Where they are, whether or not they are there.
    pub fn find() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("AEROSTACK_TEST_MODELS").unwrap_or_else(|| {
            let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
            cache.unwrap_or_default().join("aerostack").join("models")
        });
        Self {
            embeddings: folder.join("all-minilm-l6-v2"),
            text: folder.join("smollm2-135m-instruct").join("SmolLM2-135M-Instruct.Q4_1.gguf"),
        }
    }

    /// The section of a config that gives them the names of the recipes' models.
    pub fn config(&self) -> String {
        let (embeddings, text) = (self.embeddings.display(), self.text.display());
        format!(
            "\n[ai.models.\"@cf/baai/bge-base-en-v1.5\"]\npath = \"{embeddings}\"\n\
             \n[ai.models.\"@cf/meta/llama-3.1-8b-instruct\"]\npath = \"{text}\"\n"
        )
    }

    /// Tests that need them: ignored where they are not there, unless `AEROSTACK_REQUIRE` names `models`; then they fail.
    pub fn needed_by(&self, trials: Vec<Trial>) -> Vec<Trial> {
        let missing =
            [self.embeddings.join("model.safetensors"), self.text.clone()].into_iter().find(|path| !path.is_file());
        let is_required =
            std::env::var("AEROSTACK_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "models"));
        match missing {
            Some(missing) if !is_required => {
                eprintln!("ignored: {} is not there; scripts/fetch-test-models gets it", missing.display());
                trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect()
            }
            _ => trials,
        }
    }
}
