//! What JSON mode promises of an answer (contract section 6.2).

use aerostack_bindings::Result;
use serde_json::Value;

use crate::{InferenceCode, Response, ResponseFormat};

/// The answer as `format` asks for it, or `5024: JSON Mode couldn't be met`.
///
/// A schema that is none fails with `5004`.
pub fn conform(text: String, format: &ResponseFormat) -> Result<Response> {
    if *format == ResponseFormat::Text {
        return Ok(Response::Text(text));
    }
    let value: Value = serde_json::from_str(text.trim())
        .map_err(|error| InferenceCode::JsonMode.error("JSON Mode couldn't be met").with_source(error))?;
    match format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject if value.is_object() => {}
        ResponseFormat::JsonObject => {
            return Err(InferenceCode::JsonMode
                .error("JSON Mode couldn't be met")
                .with_source("the answer is no object"));
        }
        ResponseFormat::JsonSchema(schema) => {
            let validator = validator(schema)?;
            validator.validate(&value).map_err(|error| {
                InferenceCode::JsonMode.error("JSON Mode couldn't be met").with_source(error.to_string())
            })?;
        }
    }
    Ok(Response::Json(value))
}

/// Fails where `schema` is no JSON Schema, before any work is done for it.
pub(crate) fn check_schema(schema: &Value) -> Result<()> {
    validator(schema).map(|_| ())
}

fn validator(schema: &Value) -> Result<jsonschema::Validator> {
    jsonschema::validator_for(schema)
        .map_err(|error| InferenceCode::InvalidData.error(format!("invalid json_schema: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_stays_text() {
        let response = conform("{}".to_owned(), &ResponseFormat::Text).expect("text always conforms");
        assert_eq!(response, Response::Text("{}".to_owned()));
    }

    #[test]
    fn a_json_object_becomes_a_value() {
        let response = conform(" {\"a\": 1}\n".to_owned(), &ResponseFormat::JsonObject).expect("an object");
        assert_eq!(response, Response::Json(json!({"a": 1})));
    }

    #[test]
    fn what_is_no_object_fails_with_the_documented_text() {
        for text in ["[]", "{\"a\"", "", "12", "{} {}"] {
            let error = conform(text.to_owned(), &ResponseFormat::JsonObject).expect_err(text);
            assert_eq!(error.to_string(), "5024: JSON Mode couldn't be met");
        }
    }

    #[test]
    fn an_answer_must_conform_to_its_schema() {
        let schema =
            json!({"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]});
        let format = ResponseFormat::JsonSchema(schema);
        assert_eq!(conform("{\"age\":3}".to_owned(), &format).expect("conforms"), Response::Json(json!({"age": 3})));
        for text in ["{}", "{\"age\":-1}", "{\"age\":\"3\"}"] {
            let error = conform(text.to_owned(), &format).expect_err(text);
            assert_eq!(error.to_string(), "5024: JSON Mode couldn't be met");
        }
    }

    #[test]
    fn a_schema_that_refers_to_nothing_but_itself_comes_to_an_end() {
        let schema = json!({"$ref": "#"});
        if check_schema(&schema).is_ok() {
            let response = conform("{\"a\":1}".to_owned(), &ResponseFormat::JsonSchema(schema));
            assert!(response.is_ok() || response.is_err_and(|error| error.to_string().starts_with("5024")));
        }
    }

    #[test]
    fn a_schema_that_is_none_is_the_callers_fault() {
        let error = check_schema(&json!({"type": "nonsense"})).expect_err("no such type");
        assert_eq!(InferenceCode::of(&error), Some(InferenceCode::InvalidData));
    }
}
