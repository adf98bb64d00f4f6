//! What is asked, in the words of the protocol.

use serde_json::{Map, Value, json};

use super::client::Refusal;
use crate::{Message, Prompt, ResponseFormat, Role, Sampling, TextGeneration, Tool};

pub(super) fn of_generation(model: &str, request: &TextGeneration) -> Value {
    let TextGeneration { prompt, sampling, tools, response_format, stream } = request;
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    match prompt {
        Prompt::Raw(text) => body.insert("prompt".into(), text.as_str().into()),
        Prompt::Messages(messages) => body.insert("messages".into(), of_messages(messages)),
    };
    let Sampling { max_tokens, temperature, top_p, top_k, seed, .. } = sampling;
    let Sampling { repetition_penalty, frequency_penalty, presence_penalty, .. } = sampling;
    body.insert("max_tokens".into(), (*max_tokens).into());
    let mut number = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    number("temperature", Some(shortest(*temperature)));
    number("top_p", top_p.map(shortest));
    number("top_k", top_k.map(Value::from));
    number("seed", seed.map(Value::from));
    number("repetition_penalty", repetition_penalty.map(shortest));
    number("frequency_penalty", frequency_penalty.map(shortest));
    number("presence_penalty", presence_penalty.map(shortest));
    if !tools.is_empty() {
        body.insert("tools".into(), tools.iter().map(of_tool).collect());
    }
    match response_format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => body.insert("response_format".into(), json!({ "type": "json_object" })),
        ResponseFormat::JsonSchema(schema) => body.insert(
            "response_format".into(),
            json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } }),
        ),
    };
    if *stream {
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), json!({ "include_usage": true }));
    }
    Value::Object(body)
}

pub(super) fn of_embeddings(model: &str, texts: &[String]) -> Value {
    json!({ "model": model, "input": texts, "encoding_format": "float" })
}

/// Changes a body that was refused for one member, where the caller did not ask for that member. False where nothing can be done.
pub(super) fn without(body: &mut Value, refusal: &Refusal) -> bool {
    let Some(body) = body.as_object_mut() else { return false };
    match refusal.parameter.as_deref() {
        // What OpenAI's models since o1 call it.
        Some("max_tokens") => match body.remove("max_tokens") {
            Some(most) => body.insert("max_completion_tokens".into(), most).is_none(),
            None => false,
        },
        // The default is this runtime's; such models have one of their own.
        Some("temperature") if body.get("temperature") == Some(&shortest(Sampling::default().temperature)) => {
            body.remove("temperature").is_some()
        }
        Some("stream_options") => body.remove("stream_options").is_some(),
        _ => false,
    }
}

/// A number as somebody wrote it, not with the digits that a float32 has as a float64.
fn shortest(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

fn of_tool(tool: &Tool) -> Value {
    let Tool { name, description, parameters } = tool;
    let mut function = json!({ "name": name, "parameters": parameters });
    if let Some(description) = description {
        function["description"] = description.as_str().into();
    }
    json!({ "type": "function", "function": function })
}

/// The protocol wants an id with each call and with each result. Calls are answered in their order, so what has none gets one.
fn of_messages(messages: &[Message]) -> Value {
    let mut calls = 0;
    let mut open: Vec<String> = Vec::new();
    let mut list = Vec::with_capacity(messages.len());
    for (place, message) in messages.iter().enumerate() {
        let Message { role, content, name, tool_call_id, tool_calls } = message;
        let mut shaped = json!({ "role": role, "content": content });
        if let Some(name) = name {
            shaped["name"] = name.as_str().into();
        }
        if !tool_calls.is_empty() {
            let results = messages[place + 1..].iter().take_while(|message| message.role == Role::Tool);
            let mut given = results.map(|result| result.tool_call_id.clone());
            open.clear();
            let calls = tool_calls.iter().map(|call| {
                calls += 1;
                let id = given.next().flatten().unwrap_or_else(|| format!("call_{calls}"));
                open.push(id.clone());
                let arguments = call.arguments.to_string();
                json!({ "id": id, "type": "function", "function": { "name": call.name, "arguments": arguments } })
            });
            shaped["tool_calls"] = calls.collect();
            open.reverse();
        }
        if *role == Role::Tool {
            let next = open.pop();
            shaped["tool_call_id"] = tool_call_id.clone().or(next).unwrap_or_else(|| "call_1".to_owned()).into();
        }
        list.push(shaped);
    }
    Value::Array(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ToolCall;

    #[test]
    fn a_request_has_what_was_asked_for_and_no_more() {
        let mut request = TextGeneration::new(Prompt::Messages(vec![Message::new(Role::User, "hi")]));
        assert_eq!(
            of_generation("m", &request),
            json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 256, "temperature": 0.6 }),
        );
        request.sampling = Sampling { top_p: Some(0.9), top_k: Some(4), seed: Some(u64::MAX), ..request.sampling };
        request.stream = true;
        request.response_format = ResponseFormat::JsonSchema(json!({ "type": "object" }));
        request.tools =
            vec![Tool { name: "t".into(), description: Some("d".into()), parameters: json!({ "type": "object" }) }];
        let body = of_generation("m", &request);
        assert_eq!((&body["top_p"], &body["top_k"], &body["seed"]), (&json!(0.9), &json!(4), &json!(u64::MAX)));
        assert_eq!((&body["stream"], &body["stream_options"]["include_usage"]), (&json!(true), &json!(true)));
        assert_eq!(body["response_format"]["json_schema"]["schema"], json!({ "type": "object" }));
        assert_eq!(
            body["tools"][0]["function"],
            json!({ "name": "t", "parameters": { "type": "object" }, "description": "d" })
        );
        let raw = of_generation("m", &TextGeneration::new(Prompt::Raw("once".into())));
        assert_eq!((&raw["prompt"], &raw["messages"]), (&json!("once"), &Value::Null));
    }

    #[test]
    fn calls_and_their_results_have_the_same_ids() {
        let call = |name: &str| ToolCall { name: name.into(), arguments: json!({ "a": 1 }) };
        let result =
            |id: Option<&str>| Message { tool_call_id: id.map(str::to_owned), ..Message::new(Role::Tool, "result") };
        let messages = [
            Message { tool_calls: vec![call("one"), call("two")], ..Message::new(Role::Assistant, "") },
            result(Some("given")),
            result(None),
        ];
        let body = of_messages(&messages);
        let ids = [&body[0]["tool_calls"][0]["id"], &body[0]["tool_calls"][1]["id"]];
        assert_eq!(ids, [&json!("given"), &json!("call_2")]);
        assert_eq!([&body[1]["tool_call_id"], &body[2]["tool_call_id"]], ids);
        assert_eq!(body[0]["tool_calls"][0]["function"]["arguments"], json!("{\"a\":1}"));
    }
}
