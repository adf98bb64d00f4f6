//! From the object a worker passed to `env.AI.run` to a typed request, with the errors of contract section 6.2.

use aerostack_bindings::Result;
use serde_json::{Map, Value};

use crate::json_mode::check_schema;
use crate::{
    EmbeddingsRequest, InferenceCode, Message, Pooling, Prompt, ResponseFormat, Role, Sampling, Task, TextGeneration,
    Tool, ToolCall,
};

/// What a worker asks of a model. A member that is `null` is as one that is not there.
#[derive(Debug, Clone, PartialEq)]
pub enum Inputs {
    /// For [`Task::TextGeneration`].
    TextGeneration(TextGeneration),
    /// For [`Task::TextEmbeddings`].
    TextEmbeddings(EmbeddingsRequest),
}

impl Inputs {
    /// Reads the inputs of a model that does `task`.
    ///
    /// Fails with `1001` where inputs exclude each other, `3003` where one is missing, `5004` where one has a wrong type or is
    /// outside its range, `5005` for `lora`.
    pub fn parse(task: Task, inputs: &Value) -> Result<Self> {
        let Value::Object(inputs) = inputs else {
            return Err(InferenceCode::InvalidData.error("the inputs must be an object"));
        };
        match task {
            Task::TextGeneration => text_generation(inputs).map(Self::TextGeneration),
            Task::TextEmbeddings => text_embeddings(inputs).map(Self::TextEmbeddings),
        }
    }
}

fn text_generation(inputs: &Map<String, Value>) -> Result<TextGeneration> {
    if member(inputs, "lora").is_some() {
        return Err(InferenceCode::LoraUnsupported.error("LoRA adapters are not supported"));
    }
    if member(inputs, "functions").is_some() {
        return Err(InferenceCode::InvalidData.error("functions: not supported, use tools"));
    }
    let request = TextGeneration {
        prompt: prompt(inputs)?,
        sampling: sampling(inputs)?,
        tools: tools(inputs)?,
        response_format: response_format(inputs)?,
        stream: boolean(inputs, "stream")?.unwrap_or(false),
    };
    if request.response_format != ResponseFormat::Text && request.stream {
        return Err(InferenceCode::InvalidInput.error("response_format and stream are mutually exclusive"));
    }
    Ok(request)
}

fn prompt(inputs: &Map<String, Value>) -> Result<Prompt> {
    let raw = boolean(inputs, "raw")?.unwrap_or(false);
    match (member(inputs, "prompt"), member(inputs, "messages")) {
        (Some(_), Some(_)) => Err(InferenceCode::InvalidInput.error("prompt and messages are mutually exclusive")),
        (None, None) => Err(InferenceCode::IncompleteRequest.error("either prompt or messages is required")),
        (Some(Value::String(prompt)), None) if prompt.is_empty() => {
            Err(InferenceCode::InvalidData.error("prompt: must not be empty"))
        }
        (Some(Value::String(prompt)), None) if raw => Ok(Prompt::Raw(prompt.clone())),
        (Some(Value::String(prompt)), None) => Ok(Prompt::Messages(vec![Message::new(Role::User, prompt)])),
        (Some(_), None) => Err(InferenceCode::InvalidData.error("prompt: must be a string")),
        (None, Some(_)) if raw => Err(InferenceCode::InvalidInput.error("messages and raw are mutually exclusive")),
        (None, Some(Value::Array(messages))) if !messages.is_empty() => {
            let messages = messages.iter().enumerate().map(|(index, message)| self::message(index, message));
            Ok(Prompt::Messages(messages.collect::<Result<_>>()?))
        }
        (None, Some(_)) => {
            Err(InferenceCode::InvalidData.error("messages: must be an array with at least one message"))
        }
    }
}

fn message(index: usize, message: &Value) -> Result<Message> {
    let wrong = |what: &str| InferenceCode::InvalidData.error(format!("messages/{index}{what}"));
    let Value::Object(message) = message else { return Err(wrong(": must be an object")) };
    let role = match member(message, "role").and_then(Value::as_str) {
        // What OpenAI calls the system's message since 2024.
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => return Err(wrong("/role: must be one of system, user, assistant, tool")),
    };
    let tool_calls = match member(message, "tool_calls") {
        None => Vec::new(),
        Some(Value::Array(calls)) => calls
            .iter()
            .map(|call| tool_call(call).ok_or_else(|| wrong("/tool_calls: must be calls with name and arguments")))
            .collect::<Result<_>>()?,
        Some(_) => return Err(wrong("/tool_calls: must be an array")),
    };
    let content = match member(message, "content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            text_parts(parts).ok_or_else(|| wrong("/content: only parts of type text are supported"))?
        }
        None if role == Role::Assistant && !tool_calls.is_empty() => String::new(),
        None => return Err(wrong("/content: is required")),
        Some(_) => return Err(wrong("/content: must be a string")),
    };
    let text = |name: &str| member(message, name).and_then(Value::as_str).map(str::to_owned);
    Ok(Message { role, content, name: text("name"), tool_call_id: text("tool_call_id"), tool_calls })
}

/// The text of OpenAI's parts of a message, or `None` where one is no text.
fn text_parts(parts: &[Value]) -> Option<String> {
    parts.iter().map(|part| if part["type"] == "text" { part["text"].as_str() } else { None }).collect()
}

/// A call in either form: `{name, arguments}`, or OpenAI's `{function: {name, arguments: "<json>"}}`.
fn tool_call(call: &Value) -> Option<ToolCall> {
    let call = call.get("function").unwrap_or(call);
    let arguments = match call.get("arguments") {
        Some(Value::String(text)) => serde_json::from_str(text).ok()?,
        Some(arguments) => arguments.clone(),
        None => Value::Object(Map::new()),
    };
    Some(ToolCall { name: call.get("name")?.as_str()?.to_owned(), arguments })
}

fn tools(inputs: &Map<String, Value>) -> Result<Vec<Tool>> {
    let tools = match member(inputs, "tools") {
        None => return Ok(Vec::new()),
        Some(Value::Array(tools)) => tools,
        Some(_) => return Err(InferenceCode::InvalidData.error("tools: must be an array")),
    };
    let tools = tools.iter().enumerate().map(|(index, tool)| {
        let tool = tool.get("function").unwrap_or(tool);
        let name = tool.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let Some(name) = name else {
            return Err(InferenceCode::InvalidData.error(format!("tools/{index}/name: must be a string")));
        };
        let parameters = match tool.get("parameters") {
            None | Some(Value::Null) => serde_json::json!({"type": "object", "properties": {}}),
            Some(parameters @ Value::Object(_)) => parameters.clone(),
            Some(_) => {
                return Err(InferenceCode::InvalidData.error(format!("tools/{index}/parameters: must be an object")));
            }
        };
        let description = tool.get("description").and_then(Value::as_str).map(str::to_owned);
        Ok(Tool { name: name.to_owned(), description, parameters })
    });
    tools.collect()
}

fn response_format(inputs: &Map<String, Value>) -> Result<ResponseFormat> {
    let Some(format) = member(inputs, "response_format") else { return Ok(ResponseFormat::Text) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => {
            let schema = format.get("json_schema").filter(|schema| !schema.is_null());
            let Some(schema) = schema else {
                return Err(InferenceCode::IncompleteRequest.error("response_format/json_schema: is required"));
            };
            // OpenAI wraps the schema: {name, strict, schema}.
            let schema = match schema.get("schema") {
                Some(inner) if schema.get("name").is_some_and(Value::is_string) && inner.is_object() => inner,
                _ => schema,
            };
            check_schema(schema)?;
            Ok(ResponseFormat::JsonSchema(schema.clone()))
        }
        _ => {
            Err(InferenceCode::InvalidData.error("response_format/type: must be one of text, json_object, json_schema"))
        }
    }
}

fn sampling(inputs: &Map<String, Value>) -> Result<Sampling> {
    let defaults = Sampling::default();
    let max_tokens = match member(inputs, "max_completion_tokens") {
        Some(_) => integer(inputs, "max_completion_tokens", 1, u64::from(u32::MAX))?,
        None => integer(inputs, "max_tokens", 1, u64::from(u32::MAX))?,
    };
    Ok(Sampling {
        max_tokens: max_tokens.map_or(defaults.max_tokens, |tokens| tokens as u32),
        temperature: number(inputs, "temperature", 0.0, 5.0)?.unwrap_or(defaults.temperature),
        top_p: number(inputs, "top_p", 0.0, 2.0)?,
        top_k: integer(inputs, "top_k", 1, u64::from(u32::MAX))?.map(|tokens| tokens as u32),
        seed: integer(inputs, "seed", 0, 1 << 53)?,
        repetition_penalty: number(inputs, "repetition_penalty", 0.0, 2.0)?,
        frequency_penalty: number(inputs, "frequency_penalty", -2.0, 2.0)?,
        presence_penalty: number(inputs, "presence_penalty", -2.0, 2.0)?,
    })
}

fn text_embeddings(inputs: &Map<String, Value>) -> Result<EmbeddingsRequest> {
    let texts = match member(inputs, "text") {
        None => return Err(InferenceCode::IncompleteRequest.error("text is required")),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(texts)) => texts
            .iter()
            .map(|text| text.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| InferenceCode::InvalidData.error("text: must be a string or an array of strings"))?,
        Some(_) => return Err(InferenceCode::InvalidData.error("text: must be a string or an array of strings")),
    };
    if texts.is_empty() {
        return Err(InferenceCode::InvalidData.error("text: must not be empty"));
    }
    let pooling = match member(inputs, "pooling").map(Value::as_str) {
        None => None,
        Some(Some("mean")) => Some(Pooling::Mean),
        Some(Some("cls")) => Some(Pooling::Cls),
        Some(_) => return Err(InferenceCode::InvalidData.error("pooling: must be mean or cls")),
    };
    Ok(EmbeddingsRequest { texts, pooling })
}

fn member<'a>(inputs: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    inputs.get(name).filter(|value| !value.is_null())
}

fn boolean(inputs: &Map<String, Value>, name: &str) -> Result<Option<bool>> {
    member(inputs, name)
        .map(|value| {
            value.as_bool().ok_or_else(|| InferenceCode::InvalidData.error(format!("{name}: must be a boolean")))
        })
        .transpose()
}

fn number(inputs: &Map<String, Value>, name: &str, least: f64, most: f64) -> Result<Option<f32>> {
    let Some(value) = member(inputs, name) else { return Ok(None) };
    match value.as_f64() {
        Some(value) if (least..=most).contains(&value) => Ok(Some(value as f32)),
        _ => Err(InferenceCode::InvalidData.error(format!("{name}: must be a number from {least} to {most}"))),
    }
}

fn integer(inputs: &Map<String, Value>, name: &str, least: u64, most: u64) -> Result<Option<u64>> {
    let Some(value) = member(inputs, name) else { return Ok(None) };
    // A number of JavaScript may arrive as 64.0.
    let whole = value.as_f64().filter(|value| value.fract() == 0.0 && (least as f64..=most as f64).contains(value));
    match whole {
        Some(value) => Ok(Some(value as u64)),
        None => Err(InferenceCode::InvalidData.error(format!("{name}: must be an integer from {least} to {most}"))),
    }
}

#[cfg(test)]
mod tests;
