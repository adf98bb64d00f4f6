//! One request for vectors in the making.

use std::sync::Arc;

use aerostack_bindings::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::embedder::{Embedder, Tokens};
use super::engine::{Job, Step};
use super::model::Model;
use crate::{Embeddings, EmbeddingsRequest, InferenceCode, Pooling, Usage};

/// Turns texts into vectors, one batch a step.
pub(super) struct Embedding {
    model: Arc<Model>,
    name: String,
    texts: Option<Vec<String>>,
    pooling: Option<Pooling>,
    batches: Vec<Vec<Tokens>>,
    values: Vec<f32>,
    tokens: usize,
    answer: Option<oneshot::Sender<Result<Embeddings>>>,
}

impl Embedding {
    /// The vectors of `model`, known as `name`, for a request.
    pub(super) fn new(
        model: Arc<Model>,
        name: String,
        request: EmbeddingsRequest,
        answer: oneshot::Sender<Result<Embeddings>>,
    ) -> Self {
        let EmbeddingsRequest { texts, pooling } = request;
        let answer = Some(answer);
        Self { model, name, texts: Some(texts), pooling, batches: Vec::new(), values: Vec::new(), tokens: 0, answer }
    }

    fn advance(&mut self) -> Result<Step> {
        let model = Arc::clone(&self.model);
        let Model::Embeddings(embedder) = &*model else { return Err(InferenceCode::no_such_model(&self.name)) };
        if let Some(texts) = self.texts.take() {
            self.values = vec![0.0; texts.len() * embedder.dimensions()];
            self.batches = embedder.batches(texts).map_err(|error| self.failed(error))?;
            self.tokens = self.batches.iter().flatten().map(Tokens::len).sum();
        } else if let Some(batch) = self.batches.pop() {
            embedder.embed(&batch, self.pooling(embedder), &mut self.values).map_err(|error| self.failed(error))?;
        }
        if !self.batches.is_empty() {
            return Ok(Step::Again);
        }
        let embeddings = Embeddings {
            dimensions: embedder.dimensions(),
            values: std::mem::take(&mut self.values),
            pooling: self.pooling(embedder),
            usage: Usage::new(self.tokens as u32, 0),
        };
        self.answer(Ok(embeddings));
        Ok(Step::Done)
    }

    fn pooling(&self, embedder: &Embedder) -> Pooling {
        self.pooling.unwrap_or(embedder.pooling())
    }

    fn answer(&mut self, answer: Result<Embeddings>) {
        if let Some(sender) = self.answer.take() {
            // Who asked may have gone.
            _ = sender.send(answer);
        }
    }

    fn failed(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::new(ErrorKind::Unexpected, format!("{} failed", self.name)).with_source(error)
    }
}

impl Job for Embedding {
    fn step(&mut self) -> Step {
        if self.answer.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return Step::Done;
        }
        self.advance().unwrap_or_else(|error| {
            self.answer(Err(error));
            Step::Done
        })
    }

    fn panicked(&mut self) {
        let error = Error::new(ErrorKind::Unexpected, format!("{} failed: the inference panicked", self.name));
        self.answer(Err(error));
    }
}
