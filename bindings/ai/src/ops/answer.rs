//! What crosses to JavaScript: answers in the shapes of contract sections 6.3 and 6.4, and failures in those of 6.2.

use aerostack_bindings::{Error, ErrorKind, Result};
use deno_core::{ResourceId, ToV8, v8};
use deno_error::JsErrorBox;
use serde::Serialize;
use serde_json::{Value, json};

use super::unexpected;
use crate::{Embeddings, Generation, InferenceCode, ModelInfo, ModelState, Pooling, Response, Task, ToolCall, Usage};

/// JSON text, the id of a stream's resource, or for a failure `[name, message, number, HTTP status, description]`; the number is 0
/// where Workers AI has none for it.
pub(super) enum Answer {
    Whole(String),
    Stream(ResourceId),
    Failed(Error),
}

#[derive(Serialize)]
struct GenerationShape {
    response: Response,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    usage: Usage,
}

#[derive(Serialize)]
struct EmbeddingsShape<'a> {
    shape: [usize; 2],
    data: Vec<&'a [f32]>,
    pooling: Pooling,
}

pub(super) fn generation_json(generation: Generation) -> Result<String> {
    let Generation { response, tool_calls, usage, .. } = generation;
    serde_json::to_string(&GenerationShape { response, tool_calls, usage }).map_err(unexpected)
}

pub(super) fn embeddings_json(embeddings: &Embeddings) -> Result<String> {
    let data: Vec<&[f32]> = embeddings.vectors().collect();
    let shape = [data.len(), embeddings.dimensions];
    serde_json::to_string(&EmbeddingsShape { shape, data, pooling: embeddings.pooling }).map_err(unexpected)
}

pub(super) fn models_json(models: Vec<ModelInfo>) -> Result<String> {
    let models: Vec<Value> = models.into_iter().map(model_shape).collect();
    serde_json::to_string(&models).map_err(unexpected)
}

fn model_shape(model: ModelInfo) -> Value {
    let (state, remedy) = match model.state {
        ModelState::Loaded => ("loaded", None),
        ModelState::Present => ("present", None),
        ModelState::Missing(remedy) => ("missing", Some(remedy)),
    };
    let (task, task_description) = match model.task {
        Task::TextGeneration => ("Text Generation", "text out of a prompt or a conversation"),
        Task::TextEmbeddings => ("Text Embeddings", "vectors out of texts"),
    };
    json!({
        "id": model.name,
        // 1 is what Cloudflare says of its own models.
        "source": 1,
        "name": model.name,
        "description": remedy.unwrap_or_default(),
        "task": { "id": task.to_lowercase().replace(' ', "-"), "name": task, "description": task_description },
        "tags": [],
        "properties": [
            { "property_id": "state", "value": state },
            { "property_id": "location", "value": model.location },
        ],
    })
}

/// Of what Workers AI has no number for.
fn http_status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::ConditionFailed => 400,
        ErrorKind::RateLimited => 429,
        ErrorKind::Timeout => 408,
        ErrorKind::Unavailable => 503,
        _ => 500,
    }
}

impl<'a> ToV8<'a> for Answer {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        let error = match self {
            Self::Whole(json) => return string(scope, &json),
            Self::Stream(id) => return Ok(v8::Integer::new_from_unsigned(scope, id).into()),
            Self::Failed(error) => error,
        };
        let code = InferenceCode::of(&error);
        let (name, number, status) = match code {
            Some(code) => (code.name(), code.number(), code.http_status()),
            None => ("InferenceUpstreamError", 0, http_status(error.kind())),
        };
        let description = code.and_then(|_| error.message().split_once(": ")).map_or(error.message(), |(_, text)| text);
        let elements = [
            string(scope, name)?,
            string(scope, error.message())?,
            v8::Integer::new(scope, number.into()).into(),
            v8::Integer::new(scope, status.into()).into(),
            string(scope, description)?,
        ];
        Ok(v8::Array::new_with_elements(scope, &elements).into())
    }
}

fn string<'a>(scope: &mut v8::PinScope<'a, '_>, text: &str) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
    match v8::String::new_from_utf8(scope, text.as_bytes(), v8::NewStringType::Normal) {
        Some(text) => Ok(text.into()),
        None => Err(JsErrorBox::range_error("the answer is too long for a string")),
    }
}
