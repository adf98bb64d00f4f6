//! Driver `candle`: models that lie on this machine, run by this process on the processor.
//!
//! A text model is one GGUF file; an embedding model is a folder in the layout of sentence-transformers. Both are what the public
//! hubs carry. A model is loaded at its first use, once a process, and stays.

mod chat_template;
mod compute;
mod decoder;
mod embedder;
mod embedding;
mod encoder;
mod engine;
mod generation;
mod gguf;
mod json;
mod matrix;
mod model;
mod sampler;
mod text;
mod tokenizer;
mod tool_calls;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use aerostack_bindings::{BindingInfo, BindingState, Error, ErrorKind, Result};
use async_trait::async_trait;
use futures_util::stream;
use tokio::sync::{mpsc, oneshot};

use self::embedding::Embedding;
pub use self::engine::{Engine, EngineOptions, LoadProgress};
use self::generation::Generation;
use self::model::Files;
use crate::catalogue::{self, CatalogueModel};
use crate::{
    AiDriver, Embeddings, EmbeddingsRequest, GenerationStream, InferenceCode, KIND, ModelInfo, ModelState, Task,
    TextGeneration,
};

/// Loads the model at a path as the engine does, and forgets it: for the fuzzer, which has no engine.
#[doc(hidden)]
pub fn load_and_forget(path: &std::path::Path) -> candle_core::Result<()> {
    let Some(files) = Files::find(path, None) else { candle_core::bail!("there is no model at {}", path.display()) };
    model::Model::load(&files, &|_, _| {}).map(drop)
}

/// Which models a [`CandleDriver`] answers for.
#[derive(Debug, Clone)]
pub struct CandleOptions {
    /// The name of the binding on `env`.
    pub name: String,
    /// Where the models of the catalogue lie, each in its own folder.
    pub models_folder: PathBuf,
    /// Further models by name, or other files for those of the catalogue: a GGUF file, or a folder with one or with an embedding
    /// model.
    pub models: BTreeMap<String, PathBuf>,
    /// The most tokens of prompt and answer. A token of context takes memory: 256 KiB in a model of 8 thousand million weights.
    pub context_limit: usize,
}

impl CandleOptions {
    /// So many tokens of context where nobody says otherwise.
    pub const CONTEXT_LIMIT: usize = 8192;
}

/// Models that lie on this machine.
pub struct CandleDriver {
    options: CandleOptions,
    engine: Arc<Engine>,
}

/// A name resolved.
struct Found {
    path: PathBuf,
    row: Option<&'static CatalogueModel>,
}

impl CandleDriver {
    /// A driver that computes on `engine`. Loads nothing.
    pub fn new(options: CandleOptions, engine: Arc<Engine>) -> Self {
        Self { options, engine }
    }

    fn find(&self, model: &str) -> Result<Found> {
        let row = catalogue::find(model);
        if let Some(path) = self.options.models.get(model) {
            return Ok(Found { path: path.clone(), row: None });
        }
        match row {
            Some(row) => Ok(Found { path: self.options.models_folder.join(row.folder()), row: Some(row) }),
            None => Err(InferenceCode::no_such_model(model)),
        }
    }

    /// The files of a model that does `task`.
    fn files(&self, model: &str, task: Task) -> Result<Files> {
        let found = self.find(model)?;
        let files = found.files().ok_or_else(|| found.missing(model))?;
        if files.task() == task { Ok(files) } else { Err(InferenceCode::no_such_model(model)) }
    }

    fn describe(&self, name: &str) -> Option<ModelInfo> {
        let found = self.find(name).ok()?;
        let files = found.files();
        let task = files.as_ref().map(Files::task).or(found.row.map(|row| row.task)).or(Some(Task::TextGeneration))?;
        let state = match &files {
            None => ModelState::Missing(found.remedy(name)),
            Some(files) if self.engine.has(files) => ModelState::Loaded,
            Some(_) => ModelState::Present,
        };
        Some(ModelInfo { name: name.to_owned(), task, location: found.path.display().to_string(), state })
    }
}

impl Found {
    fn files(&self) -> Option<Files> {
        Files::find(&self.path, self.row)
    }

    fn missing(&self, model: &str) -> Error {
        InferenceCode::NoSuchModel.error(format!("No such model {model} or task: {}", self.remedy(model)))
    }

    fn remedy(&self, model: &str) -> String {
        let path = self.path.display();
        match self.row {
            Some(_) => format!("its files are not in {path}; get them with `aerostack models pull {model}`"),
            None => {
                format!("there is no GGUF file and no embedding model at {path}, which [ai.models.\"{model}\"] names")
            }
        }
    }
}

#[async_trait]
impl AiDriver for CandleDriver {
    fn info(&self) -> BindingInfo {
        BindingInfo {
            name: self.options.name.clone(),
            kind: KIND,
            driver: "candle",
            summary: self.options.models_folder.display().to_string(),
            state: BindingState::Lazy,
        }
    }

    fn models(&self) -> Vec<ModelInfo> {
        let mut names: Vec<&str> = catalogue::MODELS.iter().map(|row| row.name).collect();
        names.extend(self.options.models.keys().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| self.describe(name)).collect()
    }

    fn task(&self, model: &str) -> Result<Task> {
        let found = self.find(model)?;
        match (found.row, found.files()) {
            (_, Some(files)) => Ok(files.task()),
            (Some(row), None) => Ok(row.task),
            (None, None) => Err(found.missing(model)),
        }
    }

    async fn stream(&self, model: &str, request: TextGeneration) -> Result<GenerationStream> {
        let files = self.files(model, Task::TextGeneration)?;
        let place = self.engine.admit()?;
        let loaded = self.engine.model(&files).await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let generation = Generation::new(loaded, model.to_owned(), request, self.options.context_limit, sender);
        self.engine.submit(generation, place)?;
        Ok(Box::pin(stream::unfold(receiver, |mut receiver| async move {
            let event = receiver.recv().await?;
            Some((event, receiver))
        })))
    }

    async fn embed(&self, model: &str, request: EmbeddingsRequest) -> Result<Embeddings> {
        let files = self.files(model, Task::TextEmbeddings)?;
        let pooling = request.pooling.or(self.find(model)?.row.and_then(|row| row.pooling));
        let place = self.engine.admit()?;
        let loaded = self.engine.model(&files).await?;
        let (sender, receiver) = oneshot::channel();
        let request = EmbeddingsRequest { pooling, ..request };
        self.engine.submit(Embedding::new(loaded, model.to_owned(), request, sender), place)?;
        receiver.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unexpected, "the inference thread has ended")))
    }
}
