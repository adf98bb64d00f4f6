use serde_json::json;

use super::*;

fn generation(inputs: &Value) -> Result<TextGeneration> {
    match Inputs::parse(Task::TextGeneration, inputs)? {
        Inputs::TextGeneration(request) => Ok(request),
        Inputs::TextEmbeddings(_) => unreachable!("the task decides the inputs"),
    }
}

fn embeddings(inputs: &Value) -> Result<EmbeddingsRequest> {
    match Inputs::parse(Task::TextEmbeddings, inputs)? {
        Inputs::TextEmbeddings(request) => Ok(request),
        Inputs::TextGeneration(_) => unreachable!("the task decides the inputs"),
    }
}

fn refusal(inputs: &Value) -> String {
    generation(inputs).expect_err("the inputs are refused").to_string()
}

#[test]
fn a_prompt_is_one_message_of_the_user_with_the_defaults_of_the_contract() {
    let request = generation(&json!({"prompt": "Hi", "temperature": null})).expect("valid");
    assert_eq!(request, TextGeneration::new(Prompt::Messages(vec![Message::new(Role::User, "Hi")])));
    assert_eq!(request.sampling.max_tokens, 256);
    assert!((request.sampling.temperature - 0.6).abs() < f32::EPSILON);
}

#[test]
fn a_raw_prompt_is_not_a_conversation() {
    let request = generation(&json!({"prompt": "Once", "raw": true, "stream": true})).expect("valid");
    assert_eq!(request.prompt, Prompt::Raw("Once".to_owned()));
    assert!(request.stream);
}

#[test]
fn prompt_and_messages_exclude_each_other() {
    let inputs = json!({"prompt": "a", "messages": [{"role": "user", "content": "b"}]});
    assert_eq!(refusal(&inputs), "1001: prompt and messages are mutually exclusive");
    assert_eq!(refusal(&json!({})), "3003: either prompt or messages is required");
}

#[test]
fn values_outside_their_range_are_named() {
    let with = |name: &str, value: Value| {
        let mut inputs = json!({"prompt": "a"});
        inputs[name] = value;
        inputs
    };
    assert_eq!(refusal(&with("temperature", json!(6))), "5004: temperature: must be a number from 0 to 5");
    assert_eq!(refusal(&with("max_tokens", json!(0))), "5004: max_tokens: must be an integer from 1 to 4294967295");
    assert_eq!(refusal(&with("top_k", json!(1.5))), "5004: top_k: must be an integer from 1 to 4294967295");
    assert_eq!(refusal(&with("stream", json!("yes"))), "5004: stream: must be a boolean");
    assert_eq!(refusal(&with("lora", json!("x"))), "5005: LoRA adapters are not supported");
    assert_eq!(generation(&with("max_tokens", json!(64.0))).expect("whole").sampling.max_tokens, 64);
}

#[test]
fn messages_may_be_in_the_form_of_openai() {
    let request = generation(&json!({"messages": [
        {"role": "developer", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
        {"role": "tool", "content": "2", "tool_call_id": "1", "name": "f"},
    ]}))
    .expect("valid");
    let Prompt::Messages(messages) = request.prompt else { panic!("a conversation") };
    assert_eq!(messages[0], Message::new(Role::System, "Be brief"));
    assert_eq!(messages[1], Message::new(Role::User, "ab"));
    assert_eq!(messages[2].tool_calls, [ToolCall { name: "f".to_owned(), arguments: json!({"x": 1}) }]);
    assert_eq!(messages[3].tool_call_id.as_deref(), Some("1"));
}

#[test]
fn a_message_that_is_wrong_is_named_by_its_place() {
    let messages = json!({"messages": [{"role": "user", "content": "a"}, {"role": "robot", "content": "b"}]});
    assert_eq!(refusal(&messages), "5004: messages/1/role: must be one of system, user, assistant, tool");
    assert_eq!(refusal(&json!({"messages": [{"role": "user"}]})), "5004: messages/0/content: is required");
    assert_eq!(refusal(&json!({"messages": []})), "5004: messages: must be an array with at least one message");
}

#[test]
fn tools_come_in_two_forms() {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let request = generation(&json!({"prompt": "a", "tools": [
        {"name": "old", "description": "d", "parameters": parameters},
        {"type": "function", "function": {"name": "new", "parameters": parameters}},
    ]}))
    .expect("valid");
    assert_eq!(request.tools[0].name, "old");
    assert_eq!(request.tools[0].description.as_deref(), Some("d"));
    assert_eq!(request.tools[1], Tool { name: "new".to_owned(), description: None, parameters });
}

#[test]
fn json_mode_takes_a_schema_bare_or_wrapped_and_no_stream() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    for wrapped in [schema.clone(), json!({"name": "n", "strict": true, "schema": schema})] {
        let format = json!({"type": "json_schema", "json_schema": wrapped});
        let request = generation(&json!({"prompt": "a", "response_format": format})).expect("valid");
        assert_eq!(request.response_format, ResponseFormat::JsonSchema(schema.clone()));
    }
    let streamed = json!({"prompt": "a", "stream": true, "response_format": {"type": "json_object"}});
    assert_eq!(refusal(&streamed), "1001: response_format and stream are mutually exclusive");
}

#[test]
fn one_text_and_several_are_both_embedded() {
    let one = embeddings(&json!({"text": "a"})).expect("valid");
    assert_eq!(one, EmbeddingsRequest { texts: vec!["a".to_owned()], pooling: None });
    let two = embeddings(&json!({"text": ["a", ""], "pooling": "cls"})).expect("valid");
    assert_eq!(two, EmbeddingsRequest { texts: vec!["a".to_owned(), String::new()], pooling: Some(Pooling::Cls) });
    assert_eq!(embeddings(&json!({})).expect_err("no text").to_string(), "3003: text is required");
    assert_eq!(embeddings(&json!({"text": []})).expect_err("no text").to_string(), "5004: text: must not be empty");
    assert_eq!(
        embeddings(&json!({"text": "a", "pooling": "max"})).expect_err("pooling").to_string(),
        "5004: pooling: must be mean or cls"
    );
}
