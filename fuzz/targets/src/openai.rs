use aerostack_ai::drivers::openai::{embeddings_of, events_of, events_of_stream};
use aerostack_ai::{EmbeddingsRequest, GenerationEvent};
use aerostack_bindings::Result;
use serde_json::Value;

/// What a service answers, as a stream of events and as JSON, behind a byte that says how it is cut and how many vectors were asked
/// for: it says the same wherever it is cut, its text is what another reading of the protocol finds, an answer ends once, with its
/// reason or an error, and vectors are whole.
pub(crate) fn target(data: &[u8]) {
    let Some((first, answer)) = data.split_first() else { return };
    stream(answer, usize::from(*first) + 1);
    if let Ok(answer) = serde_json::from_slice::<Value>(answer) {
        if let Ok(events) = events_of(&answer) {
            assert_ends_once(&events);
        }
        vectors(&answer, usize::from(first % 4) + 1);
    }
}

fn stream(answer: &[u8], size: usize) {
    let said = |size: usize| events_of_stream(answer.chunks(size.max(1)));
    let whole = said(answer.len());
    for size in [1, size] {
        assert_eq!(format!("{:?}", said(size)), format!("{whole:?}"), "cut into pieces of {size}");
    }
    let Ok(events) = whole.into_iter().collect::<Result<Vec<_>>>() else { return };
    assert_ends_once(&events);
    let text: String = events
        .iter()
        .filter_map(|event| match event {
            GenerationEvent::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let expected: String =
        data_of(answer).into_iter().take_while(|data| data != "[DONE]").map(|data| text_of(&data)).collect();
    assert_eq!(text, expected);
}

fn assert_ends_once(events: &[GenerationEvent]) {
    let Some((GenerationEvent::Finished { .. }, before)) = events.split_last() else {
        panic!("an answer that ended has not: {events:?}");
    };
    for event in before {
        match event {
            GenerationEvent::Text(text) => assert!(!text.is_empty(), "a piece of text is never empty"),
            GenerationEvent::ToolCall(call) => assert!(call.arguments.is_object(), "{call:?}"),
            GenerationEvent::Finished { .. } => panic!("an answer has ended twice: {events:?}"),
        }
    }
}

/// The data of all events, as the standard has it (HTML, section 9.2.6); only that an end of the stream ends an event too.
fn data_of(stream: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stream).replace("\r\n", "\n").replace('\r', "\n") + "\n\n";
    let (mut events, mut data) = (Vec::new(), Vec::new());
    for line in text.split('\n') {
        if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value));
        } else if line.is_empty() && !data.is_empty() {
            events.push(std::mem::take(&mut data).join("\n"));
        }
    }
    events
}

fn text_of(data: &str) -> String {
    let chunk: Value = serde_json::from_str(data).expect("what is no JSON ends the stream with an error");
    let text = |pointer| chunk.pointer(pointer).and_then(Value::as_str);
    text("/choices/0/delta/content").or(text("/choices/0/text")).unwrap_or_default().to_owned()
}

fn vectors(answer: &Value, count: usize) {
    let request = EmbeddingsRequest { texts: vec!["a".to_owned(); count], pooling: None };
    if let Ok(embeddings) = embeddings_of(answer, &request) {
        assert!(embeddings.dimensions > 0);
        assert_eq!(embeddings.values.len(), embeddings.dimensions * count);
        assert!(embeddings.values.iter().all(|value| value.is_finite()), "a number of JSON is finite");
    }
}
