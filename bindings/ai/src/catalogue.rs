//! The names this build knows, and the public files that stand for them.
//!
//! A text model is the 4-bit GGUF file of the model that production runs under that name: the answers are of the same kind, not the
//! same to the letter. What production runs and no driver here can run (mixtures of experts, vision, speech) is not in the table.

use crate::{Pooling, Task};

/// One model and where its files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueModel {
    /// The name `env.AI.run` takes.
    pub name: &'static str,
    /// What it does.
    pub task: Task,
    /// The repository on the hub.
    pub repository: &'static str,
    /// The files of the repository that are needed, the greatest first.
    pub files: &'static [&'static str],
    /// What the files take together, in millions of bytes, rounded.
    pub megabytes: u32,
    /// How production pools under this name, where that is not the model's own way.
    pub pooling: Option<Pooling>,
    /// The chat template, for files that were made before templates were put into them.
    pub template: Option<&'static str>,
}

impl CatalogueModel {
    /// The folder of the model inside the models folder, for example `baai/bge-base-en-v1.5`.
    pub fn folder(&self) -> &'static str {
        let name = self.name;
        name.strip_prefix("@cf/").or_else(|| name.strip_prefix("@hf/")).unwrap_or(name)
    }
}

/// The model of this name.
pub fn find(name: &str) -> Option<&'static CatalogueModel> {
    MODELS.iter().find(|model| model.name == name)
}

const SAFETENSORS: &[&str] = &[
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
];

const PYTORCH: &[&str] = &[
    "pytorch_model.bin",
    "config.json",
    "tokenizer.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
];

const LLAMA_2_TEMPLATE: &str = "{% if messages[0].role == 'system' %}{% set system = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}\
    {% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{% for message in messages %}{% if message.role == 'user' %}\
    {{ bos_token + '[INST] ' + (system if loop.first else '') + message.content + ' [/INST]' }}{% else %}\
    {{ ' ' + message.content + ' ' + eos_token }}{% endif %}{% endfor %}";

const MISTRAL_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}\
    {{ raise_exception('there is no system message') }}{% elif message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}\
    {% else %}{{ message.content + eos_token }}{% endif %}{% endfor %}";

const ZEPHYR_TEMPLATE: &str = "{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}{% endfor %}\
    {{ '<|assistant|>\\n' }}";

const fn text(
    name: &'static str,
    repository: &'static str,
    files: &'static [&'static str],
    megabytes: u32,
    template: Option<&'static str>,
) -> CatalogueModel {
    CatalogueModel { name, task: Task::TextGeneration, repository, files, megabytes, pooling: None, template }
}

const fn embeddings(
    name: &'static str,
    repository: &'static str,
    files: &'static [&'static str],
    megabytes: u32,
    pooling: Option<Pooling>,
) -> CatalogueModel {
    CatalogueModel { name, task: Task::TextEmbeddings, repository, files, megabytes, pooling, template: None }
}

const LLAMA_3: (&str, &[&str], u32) =
    ("bartowski/Meta-Llama-3-8B-Instruct-GGUF", &["Meta-Llama-3-8B-Instruct-Q4_K_M.gguf"], 4921);
const LLAMA_3_1: (&str, &[&str], u32) =
    ("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", &["Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"], 4921);
const LLAMA_2: (&str, &[&str], u32) = ("TheBloke/Llama-2-7B-Chat-GGUF", &["llama-2-7b-chat.Q4_K_M.gguf"], 4081);

/// Every model of the table.
pub const MODELS: &[CatalogueModel] = &[
    // Embeddings. Production pools the English ones by their mean unless it is told otherwise; the models themselves say `cls`.
    embeddings("@cf/baai/bge-small-en-v1.5", "BAAI/bge-small-en-v1.5", SAFETENSORS, 134, Some(Pooling::Mean)),
    embeddings("@cf/baai/bge-base-en-v1.5", "BAAI/bge-base-en-v1.5", SAFETENSORS, 439, Some(Pooling::Mean)),
    embeddings("@cf/baai/bge-large-en-v1.5", "BAAI/bge-large-en-v1.5", SAFETENSORS, 1341, Some(Pooling::Mean)),
    embeddings("@cf/baai/bge-m3", "BAAI/bge-m3", PYTORCH, 2288, None),
    embeddings("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2", SAFETENSORS, 92, None),
    // Llama
    text("@cf/meta/llama-3.1-8b-instruct", LLAMA_3_1.0, LLAMA_3_1.1, LLAMA_3_1.2, None),
    text("@cf/meta/llama-3.1-8b-instruct-awq", LLAMA_3_1.0, LLAMA_3_1.1, LLAMA_3_1.2, None),
    text("@cf/meta/llama-3.1-8b-instruct-fast", LLAMA_3_1.0, LLAMA_3_1.1, LLAMA_3_1.2, None),
    text("@cf/meta/llama-3.1-8b-instruct-fp8", LLAMA_3_1.0, LLAMA_3_1.1, LLAMA_3_1.2, None),
    text("@cf/meta/llama-3-8b-instruct", LLAMA_3.0, LLAMA_3.1, LLAMA_3.2, None),
    text("@cf/meta/llama-3-8b-instruct-awq", LLAMA_3.0, LLAMA_3.1, LLAMA_3.2, None),
    text(
        "@cf/meta/llama-3.2-1b-instruct",
        "bartowski/Llama-3.2-1B-Instruct-GGUF",
        &["Llama-3.2-1B-Instruct-Q4_K_M.gguf"],
        808,
        None,
    ),
    text(
        "@cf/meta/llama-3.2-3b-instruct",
        "bartowski/Llama-3.2-3B-Instruct-GGUF",
        &["Llama-3.2-3B-Instruct-Q4_K_M.gguf"],
        2019,
        None,
    ),
    text(
        "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
        "bartowski/Llama-3.3-70B-Instruct-GGUF",
        &["Llama-3.3-70B-Instruct-Q4_K_M.gguf"],
        42520,
        None,
    ),
    text("@cf/meta/llama-2-7b-chat-fp16", LLAMA_2.0, LLAMA_2.1, LLAMA_2.2, Some(LLAMA_2_TEMPLATE)),
    text("@cf/meta/llama-2-7b-chat-int8", LLAMA_2.0, LLAMA_2.1, LLAMA_2.2, Some(LLAMA_2_TEMPLATE)),
    text(
        "@cf/tinyllama/tinyllama-1.1b-chat-v1.0",
        "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
        &["tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf"],
        669,
        Some(ZEPHYR_TEMPLATE),
    ),
    // Mistral
    text(
        "@cf/mistral/mistral-7b-instruct-v0.1",
        "TheBloke/Mistral-7B-Instruct-v0.1-GGUF",
        &["mistral-7b-instruct-v0.1.Q4_K_M.gguf"],
        4368,
        Some(MISTRAL_TEMPLATE),
    ),
    text(
        "@hf/mistral/mistral-7b-instruct-v0.2",
        "TheBloke/Mistral-7B-Instruct-v0.2-GGUF",
        &["mistral-7b-instruct-v0.2.Q4_K_M.gguf"],
        4368,
        Some(MISTRAL_TEMPLATE),
    ),
    // Qwen
    text("@cf/qwen/qwen1.5-0.5b-chat", "Qwen/Qwen1.5-0.5B-Chat-GGUF", &["qwen1_5-0_5b-chat-q4_k_m.gguf"], 407, None),
    text("@cf/qwen/qwen1.5-1.8b-chat", "Qwen/Qwen1.5-1.8B-Chat-GGUF", &["qwen1_5-1_8b-chat-q4_k_m.gguf"], 1218, None),
    text(
        "@cf/qwen/qwen2.5-coder-32b-instruct",
        "bartowski/Qwen2.5-Coder-32B-Instruct-GGUF",
        &["Qwen2.5-Coder-32B-Instruct-Q4_K_M.gguf"],
        19851,
        None,
    ),
    text(
        "@cf/deepseek-ai/deepseek-r1-distill-qwen-32b",
        "bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF",
        &["DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf"],
        19851,
        None,
    ),
    // Gemma
    text(
        "@cf/google/gemma-3-12b-it",
        "bartowski/google_gemma-3-12b-it-GGUF",
        &["google_gemma-3-12b-it-Q4_K_M.gguf"],
        7301,
        None,
    ),
    // Small enough for any machine.
    text(
        "smollm2-135m-instruct",
        "bartowski/SmolLM2-135M-Instruct-GGUF",
        &["SmolLM2-135M-Instruct-Q4_K_M.gguf"],
        105,
        None,
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::{Component, Path};

    use super::*;

    #[test]
    fn every_name_is_there_once_and_is_found() {
        let names: HashSet<_> = MODELS.iter().map(|model| model.name).collect();
        assert_eq!(names.len(), MODELS.len());
        assert!(MODELS.iter().all(|model| find(model.name) == Some(model)));
        assert_eq!(find("@cf/baai/bge-base-en-v1"), None);
    }

    #[test]
    fn no_folder_and_no_file_leaves_the_models_folder() {
        for model in MODELS {
            for path in model.files.iter().chain([&model.folder()]) {
                assert!(Path::new(path).components().all(|part| matches!(part, Component::Normal(_))), "{path}");
            }
        }
    }

    #[test]
    fn the_models_of_the_recipes_are_known() {
        assert_eq!(find("@cf/baai/bge-base-en-v1.5").map(|model| model.task), Some(Task::TextEmbeddings));
        for name in ["@cf/meta/llama-3.1-8b-instruct", "@cf/meta/llama-3-8b-instruct"] {
            assert_eq!(find(name).map(|model| model.task), Some(Task::TextGeneration));
        }
        assert_eq!(find("@cf/baai/bge-base-en-v1.5").map(CatalogueModel::folder), Some("baai/bge-base-en-v1.5"));
    }
}
