//! JSON mode and tools.

use aerostack_bindings::Result;
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::{Subject, block_on, question};
use crate::{FinishReason, Generation, InferenceCode, Response, ResponseFormat, Sampling, TextGeneration, Tool};

/// The JSON of an answer, or `None` where it failed as documented.
fn json_of(answer: Result<Generation>) -> Result<Option<Value>, Failed> {
    match answer {
        Ok(Generation { response: Response::Json(value), .. }) => Ok(Some(value)),
        Ok(Generation { response: Response::Text(text), .. }) => Err(format!("{text:?} is text").into()),
        Err(error) => {
            assert_eq!(error.to_string(), "5024: JSON Mode couldn't be met");
            assert_eq!(InferenceCode::of(&error), Some(InferenceCode::JsonMode));
            Ok(None)
        }
    }
}

fn formatted(text: &str, format: ResponseFormat, max_tokens: u32, temperature: f32) -> TextGeneration {
    let sampling = Sampling { max_tokens, temperature, seed: Some(1), ..Sampling::default() };
    TextGeneration { sampling, response_format: format, ..question(text) }
}

pub(super) fn json_mode_gives_an_object_or_the_documented_error(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        for temperature in [0.0, 1.0] {
            let request = formatted("Describe a cat as JSON.", ResponseFormat::JsonObject, 64, temperature);
            if let Some(value) = json_of(subject.driver.generate(&subject.text_model, request).await)? {
                assert!(value.is_object(), "{value}");
            }
        }
        Ok(())
    })
}

pub(super) fn an_answer_with_a_schema_conforms_or_fails_as_documented(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let schema = json!({
            "type": "object",
            "properties": {"kind": {"enum": ["cat", "dog"]}, "legs": {"type": "integer"}, "tame": {"type": "boolean"}},
            "required": ["kind", "legs", "tame"],
            "additionalProperties": false,
        });
        for temperature in [0.0, 1.5] {
            let format = ResponseFormat::JsonSchema(schema.clone());
            let request = formatted("What is an animal that barks?", format, 96, temperature);
            if let Some(value) = json_of(subject.driver.generate(&subject.text_model, request).await)? {
                assert!(value["kind"] == "cat" || value["kind"] == "dog", "{value}");
                assert!(value["legs"].is_i64() || value["legs"].is_u64() || value["legs"].is_f64(), "{value}");
                assert!(value["tame"].is_boolean(), "{value}");
                assert_eq!(value.as_object().map(serde_json::Map::len), Some(3), "{value}");
            }
        }
        Ok(())
    })
}

pub(super) fn json_mode_without_room_fails_as_documented(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let schema =
            json!({"type": "object", "properties": {"a": {"type": "string", "minLength": 50}}, "required": ["a"]});
        let request = formatted("Say something.", ResponseFormat::JsonSchema(schema), 2, 0.0);
        let answer = json_of(subject.driver.generate(&subject.text_model, request).await)?;
        assert_eq!(answer, None, "two tokens are not enough for it");
        Ok(())
    })
}

pub(super) fn tools_are_accepted_and_calls_are_of_known_tools(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let tool =
            Tool { name: "weather".to_owned(), description: Some("The weather in a city".to_owned()), parameters };
        let sampling = Sampling { max_tokens: 48, temperature: 0.0, ..Sampling::default() };
        let request = TextGeneration { tools: vec![tool], sampling, ..question("What is the weather in Rome?") };
        let answer = subject.driver.generate(&subject.text_model, request).await?;
        for call in &answer.tool_calls {
            assert_eq!(call.name, "weather");
            assert!(call.arguments.is_object());
        }
        assert_eq!(answer.tool_calls.is_empty(), answer.reason != FinishReason::ToolCalls);
        Ok(())
    })
}
