//! What is answered, from the words of the protocol.

use aerostack_bindings::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::{Embeddings, EmbeddingsRequest, FinishReason, GenerationEvent, Pooling, ToolCall, Usage};

/// The events of an answer that came in one piece.
pub fn events_of(answer: &Value) -> Result<Vec<GenerationEvent>> {
    let choice = &answer["choices"][0];
    let mut reply = StreamedReply::default();
    // The same members as in a stream, under other names.
    let delta = choice.get("message").unwrap_or(&Value::Null);
    let mut events = Vec::new();
    reply.take(choice, delta, &mut events);
    reply.take_usage(answer);
    if reply.reason.is_none() {
        return Err(unfinished());
    }
    events.extend(reply.finish()?);
    Ok(events)
}

/// A streamed answer as far as it has come.
#[derive(Default)]
pub(super) struct StreamedReply {
    calls: Vec<PartialCall>,
    reason: Option<FinishReason>,
    usage: Usage,
}

/// A call whose arguments still arrive, as a text.
#[derive(Default)]
struct PartialCall {
    index: u64,
    name: String,
    arguments: String,
}

impl StreamedReply {
    /// Takes the data of one event.
    pub(super) fn push(&mut self, data: &str) -> Result<Vec<GenerationEvent>> {
        let chunk: Value = serde_json::from_str(data).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the service sent an event that is no JSON").with_source(error)
        })?;
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            let said = error["message"].as_str().or(error.as_str()).unwrap_or("it did not say why");
            return Err(Error::new(ErrorKind::Unavailable, format!("the service failed: {said}")));
        }
        let mut events = Vec::new();
        let choice = &chunk["choices"][0];
        self.take(choice, &choice["delta"], &mut events);
        self.take_usage(&chunk);
        Ok(events)
    }

    /// The last events of an answer that is over; an error where it was not finished.
    pub(super) fn finish(&mut self) -> Result<Vec<GenerationEvent>> {
        let reason = self.reason.take().ok_or_else(unfinished)?;
        let calls = std::mem::take(&mut self.calls);
        // Not all services give calls a reason of their own.
        let reason = if calls.is_empty() { reason } else { FinishReason::ToolCalls };
        let mut events = calls.into_iter().map(PartialCall::whole).collect::<Result<Vec<_>>>()?;
        events.push(GenerationEvent::Finished { reason, usage: self.usage });
        Ok(events)
    }

    fn take(&mut self, choice: &Value, delta: &Value, events: &mut Vec<GenerationEvent>) {
        // `text` is what a raw prompt is answered with.
        let text = delta["content"].as_str().or(choice["text"].as_str()).unwrap_or_default();
        if !text.is_empty() {
            events.push(GenerationEvent::Text(text.to_owned()));
        }
        let calls = delta["tool_calls"].as_array().into_iter().flatten();
        for (place, call) in calls.enumerate() {
            let index = call["index"].as_u64().unwrap_or(place as u64);
            let known = self.calls.iter().position(|known| known.index == index);
            let at = known.unwrap_or_else(|| {
                self.calls.push(PartialCall { index, ..PartialCall::default() });
                self.calls.len() - 1
            });
            let (known, function) = (&mut self.calls[at], &call["function"]);
            known.name.push_str(function["name"].as_str().unwrap_or_default());
            match &function["arguments"] {
                Value::String(piece) => known.arguments.push_str(piece),
                Value::Object(whole) => known.arguments = json!(whole).to_string(),
                _ => {}
            }
        }
        match choice["finish_reason"].as_str() {
            None | Some("") => {}
            Some("length") => self.reason = Some(FinishReason::Length),
            Some("tool_calls" | "function_call") => self.reason = Some(FinishReason::ToolCalls),
            Some(_) => self.reason = Some(FinishReason::Stop),
        }
    }

    /// A service that counts no tokens leaves them at 0.
    fn take_usage(&mut self, answer: &Value) {
        let Some(usage) = answer.get("usage").filter(|usage| usage.is_object()) else { return };
        let count = |name: &str| usage[name].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        self.usage = Usage::new(count("prompt_tokens"), count("completion_tokens"));
    }
}

impl PartialCall {
    fn whole(self) -> Result<GenerationEvent> {
        let Self { name, arguments, .. } = self;
        let text = if arguments.trim().is_empty() { "{}" } else { arguments.as_str() };
        if let Ok(arguments @ Value::Object(_)) = serde_json::from_str(text) {
            return Ok(GenerationEvent::ToolCall(ToolCall { name, arguments }));
        }
        let text = format!("the model asked for a call of {name:?} with arguments that are no JSON object");
        Err(Error::new(ErrorKind::Unexpected, text))
    }
}

/// The vectors of an answer, in the order of the texts. How they were pooled is the service's choice.
pub fn embeddings_of(answer: &Value, request: &EmbeddingsRequest) -> Result<Embeddings> {
    let wrong = |what: &str| Error::new(ErrorKind::Unavailable, format!("the service answered with {what}"));
    let data = answer["data"].as_array().ok_or_else(|| wrong("no vectors"))?;
    let mut vectors: Vec<Option<&Vec<Value>>> = vec![None; request.texts.len()];
    for (place, item) in data.iter().enumerate() {
        let index = item["index"].as_u64().map_or(place, |index| index as usize);
        let vector = item["embedding"].as_array().ok_or_else(|| wrong("vectors that are no lists"))?;
        *vectors.get_mut(index).ok_or_else(|| wrong("too many vectors"))? = Some(vector);
    }
    let dimensions = vectors.first().copied().flatten().map_or(0, Vec::len);
    // Not with the capacity for all: the first vector may be far longer than the others.
    let mut values = Vec::new();
    for vector in vectors {
        let vector = vector.ok_or_else(|| wrong("too few vectors"))?;
        if vector.len() != dimensions || dimensions == 0 {
            return Err(wrong("vectors of different lengths"));
        }
        for value in vector {
            let value = value.as_f64().map(|value| value as f32).filter(|value| value.is_finite());
            values.push(value.ok_or_else(|| wrong("vectors that are no numbers"))?);
        }
    }
    let tokens = answer["usage"]["prompt_tokens"].as_u64().and_then(|tokens| u32::try_from(tokens).ok());
    let pooling = request.pooling.unwrap_or(Pooling::Mean);
    Ok(Embeddings { dimensions, values, pooling, usage: Usage::new(tokens.unwrap_or(0), 0) })
}

fn unfinished() -> Error {
    Error::new(ErrorKind::Unavailable, "the answer of the service ended before it was finished")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_put_together_from_its_pieces() {
        let mut reply = StreamedReply::default();
        let chunks = [
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"one","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"name":"two"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":3}}"#,
        ];
        for chunk in chunks {
            assert_eq!(reply.push(chunk).expect("a chunk"), []);
        }
        let call = |name: &str, arguments| GenerationEvent::ToolCall(ToolCall { name: name.into(), arguments });
        let end = GenerationEvent::Finished { reason: FinishReason::ToolCalls, usage: Usage::new(4, 3) };
        assert_eq!(
            reply.finish().expect("it is finished"),
            [call("one", json!({ "a": 1 })), call("two", json!({})), end],
        );
    }

    #[test]
    fn an_answer_without_a_reason_is_not_finished() {
        let mut reply = StreamedReply::default();
        reply.push(r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#).expect("a chunk");
        assert!(reply.finish().is_err());
        assert!(events_of(&json!({ "choices": [] })).is_err());
    }

    #[test]
    fn vectors_are_put_in_the_order_of_their_texts() {
        let request = EmbeddingsRequest { texts: vec!["a".into(), "b".into()], pooling: None };
        let answer = json!({ "data": [{ "index": 1, "embedding": [3, 4] }, { "index": 0, "embedding": [1, 2] }] });
        assert_eq!(embeddings_of(&answer, &request).expect("vectors").values, [1.0, 2.0, 3.0, 4.0]);
        for wrong in [
            json!({}),
            json!({ "data": [{ "index": 0, "embedding": [1] }] }),
            json!({ "data": [{ "index": 0, "embedding": [1] }, { "index": 1, "embedding": [1, 2] }] }),
            json!({ "data": [{ "index": 7, "embedding": [1] }] }),
            json!({ "data": [{ "embedding": ["x"] }, { "embedding": ["y"] }] }),
            json!({ "data": [{ "embedding": [1] }, { "embedding": [1e300] }] }),
        ] {
            assert!(embeddings_of(&wrong, &request).is_err(), "{wrong}");
        }
    }
}
