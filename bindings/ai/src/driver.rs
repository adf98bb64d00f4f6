//! What answers for an `AI` binding, and the values that cross.

use std::pin::Pin;

use aerostack_bindings::{BindingInfo, Error, ErrorKind, Result};
use async_trait::async_trait;
use futures_core::Stream;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json_mode::conform;

/// A service that runs models. Knows neither V8 nor TOML.
///
/// A failure that Workers AI has a number for leaves a driver as made by [`InferenceCode::error`](crate::InferenceCode::error),
/// so that its message begins with that number; anything else is an [`Error`] of the kind that fits.
///
/// Dropping a future or a stream cancels the work behind it: the driver stops at the next token at the latest. Futures are polled
/// on an isolate's own thread, so a driver computes elsewhere.
#[async_trait]
pub trait AiDriver: Send + Sync {
    /// What the start table shows of this driver. Opens nothing.
    fn info(&self) -> BindingInfo;

    /// The models this driver answers for, in the order of their names, whether or not their files are there.
    fn models(&self) -> Vec<ModelInfo>;

    /// What `model` does. `5007: No such model X or task` where this driver does not know it; loads nothing.
    fn task(&self, model: &str) -> Result<Task>;

    /// Generates text, piece by piece: any number of [`GenerationEvent::Text`] and [`GenerationEvent::ToolCall`], then one
    /// [`GenerationEvent::Finished`], then the end; or an error, then the end.
    ///
    /// Resolves once the request is accepted; what is wrong with the request or the model may also come as the first item.
    async fn stream(&self, model: &str, request: TextGeneration) -> Result<GenerationStream>;

    /// Generates text in one piece. In JSON mode the response is what the format asks for, or the call fails with
    /// `JSON Mode couldn't be met`.
    async fn generate(&self, model: &str, request: TextGeneration) -> Result<Generation> {
        let format = request.response_format.clone();
        let mut stream = self.stream(model, request).await?;
        let mut text = String::new();
        let mut tool_calls = Vec::new();
        while let Some(event) = stream.next().await {
            match event? {
                GenerationEvent::Text(piece) => text.push_str(&piece),
                GenerationEvent::ToolCall(call) => tool_calls.push(call),
                GenerationEvent::Finished { reason, usage } => {
                    let response = if tool_calls.is_empty() { conform(text, &format)? } else { Response::Text(text) };
                    return Ok(Generation { response, tool_calls, reason, usage });
                }
            }
        }
        Err(Error::new(ErrorKind::Unexpected, format!("the answer of {model} ended before it was finished")))
    }

    /// Turns texts into vectors, one each, in the same order. A text longer than the model reads is cut.
    async fn embed(&self, model: &str, request: EmbeddingsRequest) -> Result<Embeddings>;
}

/// The events of one generation. Dropping it cancels the generation.
pub type GenerationStream = Pin<Box<dyn Stream<Item = Result<GenerationEvent>> + Send>>;

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Task {
    /// `{prompt}` or `{messages}` in, text out.
    #[serde(rename = "Text Generation")]
    TextGeneration,
    /// `{text}` in, vectors out.
    #[serde(rename = "Text Embeddings")]
    TextEmbeddings,
}

/// One model a driver answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The name `env.AI.run` takes, for example `@cf/baai/bge-base-en-v1.5`.
    pub name: String,
    /// What it does.
    pub task: Task,
    /// Where it is or would be: a path or an address. Never holds a secret.
    pub location: String,
    /// Whether it can answer.
    pub state: ModelState,
}

/// Whether a model can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelState {
    /// In memory.
    Loaded,
    /// Loaded at its first use.
    Present,
    /// Its files are not there; the text says how to get them.
    Missing(String),
}

/// A request for text (contract section 6.3).
#[derive(Debug, Clone, PartialEq)]
pub struct TextGeneration {
    /// What to answer.
    pub prompt: Prompt,
    /// How tokens are chosen, and how many.
    pub sampling: Sampling,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// What the answer has to look like.
    pub response_format: ResponseFormat,
    /// Whether the caller reads the answer while it is made. Drivers may serve both alike.
    pub stream: bool,
}

impl TextGeneration {
    /// A request with every option at its default.
    pub fn new(prompt: Prompt) -> Self {
        Self {
            prompt,
            sampling: Sampling::default(),
            tools: Vec::new(),
            response_format: ResponseFormat::Text,
            stream: false,
        }
    }
}

/// What a model is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A text that goes on where it ends; it is not put into the model's chat template (`raw: true`).
    Raw(String),
    /// A conversation, oldest message first. A plain `prompt` is one message of the user.
    Messages(Vec<Message>),
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What they say.
    pub content: String,
    /// The name of the tool that answers, or of the participant.
    pub name: Option<String>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
    /// The calls that the assistant made in this message.
    pub tool_calls: Vec<ToolCall>,
}

impl Message {
    /// A message of text only.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), ..Self::default() }
    }
}

/// Who speaks in a [`Message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the stage.
    System,
    /// Asks.
    #[default]
    User,
    /// The model.
    Assistant,
    /// The result of a call the model asked for.
    Tool,
}

/// How tokens are chosen, and how many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The most tokens of an answer; at least 1. Default 256.
    pub max_tokens: u32,
    /// How much chance there is, 0 to 5; at 0 the likeliest token is taken always. Default 0.6.
    pub temperature: f32,
    /// Only the likeliest tokens that together have this probability are considered.
    pub top_p: Option<f32>,
    /// Only so many of the likeliest tokens are considered.
    pub top_k: Option<u32>,
    /// Makes the choice repeatable.
    pub seed: Option<u64>,
    /// Above 1 the tokens of prompt and answer become less likely to come again.
    pub repetition_penalty: Option<f32>,
    /// Taken off the score of a token for each time it stands in the answer.
    pub frequency_penalty: Option<f32>,
    /// Taken off the score of a token that stands in the answer.
    pub presence_penalty: Option<f32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            temperature: 0.6,
            top_p: None,
            top_k: None,
            seed: None,
            repetition_penalty: None,
            frequency_penalty: None,
            presence_penalty: None,
        }
    }
}

/// A function the model may ask to be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// The JSON Schema of its arguments.
    pub parameters: Value,
}

/// What an answer has to look like.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that conforms to this JSON Schema.
    JsonSchema(Value),
}

/// One event of a generation.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerationEvent {
    /// The next piece of the answer: whole characters, never empty.
    Text(String),
    /// The model asks for a call.
    ToolCall(ToolCall),
    /// The last event.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
}

/// A call the model asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The name of the tool.
    pub name: String,
    /// Its arguments, an object.
    pub arguments: Value,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model said that it was done.
    Stop,
    /// `max_tokens`, or the model's context is full.
    Length,
    /// The model waits for the results of tools.
    ToolCalls,
}

/// Tokens, as the model's own tokenizer counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Usage {
    /// Of the prompt, with what the chat template puts around it.
    pub prompt_tokens: u32,
    /// Of the answer, the token that ends it included.
    pub completion_tokens: u32,
    /// Both.
    pub total_tokens: u32,
}

impl Usage {
    /// The usage of a prompt and an answer.
    pub fn new(prompt_tokens: u32, completion_tokens: u32) -> Self {
        Self { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
    }
}

/// A whole answer (contract section 6.3).
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The answer.
    pub response: Response,
    /// The calls the model asks for.
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
}

/// The answer itself: text, or a value in JSON mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// [`ResponseFormat::Text`]
    Text(String),
    /// The other formats.
    Json(Value),
}

/// A request for vectors (contract section 6.4).
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingsRequest {
    /// The texts; at least one.
    pub texts: Vec<String>,
    /// How the vectors of a text's tokens become one; the model's own way where it is not given.
    pub pooling: Option<Pooling>,
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    Cls,
}

/// Vectors, one a text. The contract's shape is `[count, dimensions]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// The length of each vector.
    pub dimensions: usize,
    /// The vectors, one after the other.
    pub values: Vec<f32>,
    /// How they were pooled.
    pub pooling: Pooling,
    /// What it took; an embedding has no completion.
    pub usage: Usage,
}

impl Embeddings {
    /// The vectors, each [`Embeddings::dimensions`] long, in the order of the texts.
    pub fn vectors(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimensions.max(1))
    }
}
