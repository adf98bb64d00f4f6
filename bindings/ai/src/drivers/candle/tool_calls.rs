//! The calls inside an answer, in the forms that Hermes, Qwen and Llama 3 write them.

use serde_json::Value;

use crate::{Tool, ToolCall};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// What an answer with tools says, piece by piece.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// Text for the reader.
    pub(super) text: String,
    /// Calls.
    pub(super) calls: Vec<ToolCall>,
}

/// Finds the calls in an answer while it is made. Text is held back as long as it may become a call.
#[derive(Debug)]
pub(super) struct ToolCallReader {
    names: Vec<String>,
    held: String,
    /// Whether text was given out already: a bare call stands at the beginning only.
    begun: bool,
}

impl ToolCallReader {
    /// A reader for an answer that may call `tools`.
    pub(super) fn new(tools: &[Tool]) -> Self {
        Self { names: tools.iter().map(|tool| tool.name.clone()).collect(), held: String::new(), begun: false }
    }

    /// Takes the next piece of the answer.
    pub(super) fn push(&mut self, piece: &str) -> Said {
        self.held.push_str(piece);
        let mut said = Said::default();
        loop {
            if self.names.is_empty() {
                self.release(self.held.len(), &mut said);
                return said;
            }
            let start = self.held.trim_start();
            if !self.begun && (start.is_empty() || start.starts_with(['{', '['])) {
                return said;
            }
            let Some(at) = self.held.find(OPEN) else {
                self.release(self.held.len() - begun_tag(&self.held), &mut said);
                return said;
            };
            self.release(at, &mut said);
            let Some(length) = self.held.find(CLOSE) else { return said };
            let tagged: String = self.held.drain(..length + CLOSE.len()).collect();
            match self.calls(&tagged[OPEN.len()..length]) {
                Some(calls) => said.calls.extend(calls),
                None => said.text.push_str(&tagged),
            }
        }
    }

    /// Takes the end of the answer.
    pub(super) fn finish(&mut self) -> Said {
        let held = std::mem::take(&mut self.held);
        let inner = held.trim();
        // The closing tag may be the very token that ended the answer.
        let inner = inner.strip_prefix(OPEN).unwrap_or(inner);
        match self.calls(inner) {
            Some(calls) => Said { text: String::new(), calls },
            None => Said { text: held, calls: Vec::new() },
        }
    }

    fn release(&mut self, length: usize, said: &mut Said) {
        let text: String = self.held.drain(..length).collect();
        // Line breaks between calls are no text.
        if self.begun || !text.trim().is_empty() {
            self.begun = true;
            said.text.push_str(&text);
        }
    }

    /// The calls a text is, if it is nothing else: one, a list of them, or several with `;` or line breaks between.
    fn calls(&self, text: &str) -> Option<Vec<ToolCall>> {
        let mut calls = Vec::new();
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut rest = text;
        loop {
            match values.next() {
                None => break,
                Some(Ok(Value::Array(list))) => {
                    calls.extend(list.iter().map(|value| self.call(value)).collect::<Option<Vec<_>>>()?);
                }
                Some(Ok(value)) => calls.push(self.call(&value)?),
                Some(Err(_)) => return None,
            }
            rest = rest[values.byte_offset()..].trim_start_matches([';', ' ', '\n', '\r', '\t']);
            values = serde_json::Deserializer::from_str(rest).into_iter();
        }
        (!calls.is_empty()).then_some(calls)
    }

    fn call(&self, value: &Value) -> Option<ToolCall> {
        let value = value.get("function").filter(|function| function.is_object()).unwrap_or(value);
        let name = value.get("name")?.as_str()?;
        if !self.names.iter().any(|known| known == name) {
            return None;
        }
        let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
            None => Value::Object(serde_json::Map::new()),
            Some(Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_object)?,
            Some(arguments @ Value::Object(_)) => arguments.clone(),
            Some(_) => return None,
        };
        Some(ToolCall { name: name.to_owned(), arguments })
    }
}

/// How many bytes at the end of a text may be the beginning of the tag.
fn begun_tag(text: &str) -> usize {
    (1..OPEN.len()).rev().find(|length| text.ends_with(&OPEN[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reader() -> ToolCallReader {
        let tool = |name: &str| Tool { name: name.to_owned(), description: None, parameters: json!({}) };
        ToolCallReader::new(&[tool("weather"), tool("time")])
    }

    /// The answer read one character at a time and at once must come to the same.
    fn read(answer: &str) -> (String, Vec<ToolCall>) {
        let mut outcomes = [1, answer.len().max(1)].into_iter().map(|size| {
            let mut reader = reader();
            let (mut text, mut calls) = (String::new(), Vec::new());
            let characters: Vec<char> = answer.chars().collect();
            let pieces: Vec<Said> =
                characters.chunks(size).map(|piece| reader.push(&piece.iter().collect::<String>())).collect();
            for said in pieces.into_iter().chain([reader.finish()]) {
                text.push_str(&said.text);
                calls.extend(said.calls);
            }
            (text, calls)
        });
        let (first, second) = (outcomes.next().expect("one"), outcomes.next().expect("two"));
        assert_eq!(first, second);
        first
    }

    fn weather(city: &str) -> ToolCall {
        ToolCall { name: "weather".to_owned(), arguments: json!({"city": city}) }
    }

    #[test]
    fn hermes_and_qwen_put_calls_between_tags() {
        let (text, calls) = read(
            "Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>\n<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>",
        );
        assert_eq!(text.trim(), "Let me see.");
        assert_eq!(calls, [weather("Rome"), ToolCall { name: "time".to_owned(), arguments: json!({}) }]);
    }

    #[test]
    fn llama_3_writes_bare_json_with_parameters() {
        let (text, calls) = read("{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}");
        assert_eq!((text.as_str(), calls), ("", vec![weather("Rome")]));
        let (text, calls) = read(
            "{\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\"}}; {\"name\": \"weather\", \"parameters\": {\"city\": \"Bonn\"}}",
        );
        assert_eq!((text.as_str(), calls), ("", vec![weather("Rome"), weather("Bonn")]));
    }

    #[test]
    fn a_list_of_calls_and_arguments_in_a_string_are_understood() {
        let (text, calls) = read("[{\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": \\\"Rome\\\"}\"}]");
        assert_eq!((text.as_str(), calls), ("", vec![weather("Rome")]));
    }

    #[test]
    fn what_is_no_call_of_a_known_tool_stays_text() {
        for answer in [
            "{\"a\": 1}",
            "Just <b>text</b> with a < sign",
            "<tool_call>{\"name\":\"unknown\",\"arguments\":{}}</tool_call>",
            "<tool_call>nonsense",
            "[1, 2]",
            "a <tool",
        ] {
            assert_eq!(read(answer), (answer.to_owned(), vec![]), "{answer}");
        }
    }

    #[test]
    fn a_call_whose_closing_tag_never_came_is_a_call() {
        let (text, calls) = read("<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n");
        assert_eq!((text.as_str(), calls), ("", vec![weather("Rome")]));
    }
}
