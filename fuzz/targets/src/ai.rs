use aerostack_ai::{InferenceCode, Inputs, Prompt, Response, ResponseFormat, Task, conform};
use serde_json::Value;

use crate::parted;

/// What a worker asks of a model as JSON, and a model's answer behind a zero: inputs are read within their bounds or refused with a
/// number of Workers AI's, and an answer is given only where it is what `response_format` promises.
pub(crate) fn target(data: &[u8]) {
    let (text, answer) = parted(data);
    let Ok(inputs) = serde_json::from_str::<Value>(&text) else { return };
    for task in [Task::TextGeneration, Task::TextEmbeddings] {
        match Inputs::parse(task, &inputs) {
            Ok(Inputs::TextGeneration(request)) => {
                match &request.prompt {
                    Prompt::Raw(prompt) => assert!(!prompt.is_empty()),
                    Prompt::Messages(messages) => assert!(!messages.is_empty()),
                }
                let sampling = &request.sampling;
                assert!(sampling.max_tokens >= 1 && (0.0..=5.0).contains(&sampling.temperature), "{sampling:?}");
                assert!(sampling.top_p.is_none_or(|top_p| (0.0..=2.0).contains(&top_p)), "{sampling:?}");
                assert!(sampling.top_k != Some(0), "{sampling:?}");
                assert!(!request.stream || request.response_format == ResponseFormat::Text);
                assert!(request.tools.iter().all(|tool| !tool.name.is_empty() && tool.parameters.is_object()));
                conforms(&String::from_utf8_lossy(answer), &request.response_format);
            }
            Ok(Inputs::TextEmbeddings(request)) => assert!(!request.texts.is_empty()),
            Err(error) => assert!(InferenceCode::of(&error).is_some(), "{error}"),
        }
    }
}

fn conforms(answer: &str, format: &ResponseFormat) {
    match conform(answer.to_owned(), format) {
        Ok(Response::Text(text)) => assert!(text == answer && *format == ResponseFormat::Text),
        Ok(Response::Json(value)) => {
            assert_ne!(*format, ResponseFormat::Text);
            assert!(value.is_object() || *format != ResponseFormat::JsonObject);
            let again = conform(value.to_string(), format).expect("what conforms does so again");
            assert_eq!(again, Response::Json(value));
        }
        Err(error) => assert_eq!(InferenceCode::of(&error), Some(InferenceCode::JsonMode), "{error}"),
    }
}
