//! One answer in the making.

use std::sync::Arc;

use aerostack_bindings::{Error, ErrorKind, Result};
use tokio::sync::mpsc::UnboundedSender;

use super::chat_template::TemplateError;
use super::decoder::Context;
use super::engine::{Job, Step};
use super::json::{JsonState, Shapes};
use super::model::{Model, TextModel};
use super::sampler::Sampler;
use super::text::TextDecoder;
use super::tool_calls::{Said, ToolCallReader};
use crate::{FinishReason, GenerationEvent, InferenceCode, Prompt, ResponseFormat, TextGeneration, Usage};

/// So many tokens of a prompt are looked at in one step, so that other work gets its turn.
const PROMPT_STEP: usize = 256;

/// Generates text, one step at a time.
pub(super) struct Generation {
    model: Arc<Model>,
    name: String,
    request: TextGeneration,
    events: UnboundedSender<Result<GenerationEvent>>,
    /// The most tokens of prompt and answer.
    context_limit: usize,
    state: Option<State>,
}

struct State {
    prompt: Vec<u32>,
    /// How much of the prompt the context has seen.
    seen: usize,
    answered: u32,
    context: Context,
    sampler: Sampler,
    text: TextDecoder,
    json: Option<JsonState>,
    tools: ToolCallReader,
    called: bool,
    /// Chosen and not yet seen by the context.
    next: Option<u32>,
}

impl Generation {
    /// An answer of `model`, known as `name`, to a request.
    pub(super) fn new(
        model: Arc<Model>,
        name: String,
        request: TextGeneration,
        context_limit: usize,
        events: UnboundedSender<Result<GenerationEvent>>,
    ) -> Self {
        Self { model, name, request, events, context_limit, state: None }
    }

    fn advance(&mut self) -> Result<Step> {
        let model = Arc::clone(&self.model);
        let Model::Text(model) = &*model else { return Err(InferenceCode::no_such_model(&self.name)) };
        match self.state.take() {
            None => {
                self.state = Some(self.begin(model)?);
                Ok(Step::Again)
            }
            Some(mut state) => {
                let step = self.go_on(model, &mut state)?;
                self.state = Some(state);
                Ok(step)
            }
        }
    }

    fn begin(&self, model: &TextModel) -> Result<State> {
        let prompt = self.prompt(model)?;
        let limit = self.context_limit.min(model.decoder.context_length());
        if prompt.is_empty() {
            return Err(InferenceCode::InvalidData.error("the prompt has no tokens"));
        }
        if prompt.len() >= limit {
            return Err(InferenceCode::RequestTooLarge.error(format!(
                "the prompt has {} tokens, and {} reads {limit} with its answer",
                prompt.len(),
                self.name
            )));
        }
        // With tools the answer may also be a call; then it is checked when it is whole.
        let json = match &self.request.response_format {
            _ if !self.request.tools.is_empty() => None,
            ResponseFormat::Text => None,
            ResponseFormat::JsonObject => Some(Shapes::object()),
            ResponseFormat::JsonSchema(schema) => Some(Shapes::of_schema(schema)),
        };
        Ok(State {
            sampler: Sampler::new(self.request.sampling, &prompt),
            prompt,
            seen: 0,
            answered: 0,
            context: model.decoder.context(),
            text: TextDecoder::default(),
            json: json.map(|shapes| JsonState::new(Arc::new(shapes))),
            tools: ToolCallReader::new(&self.request.tools),
            called: false,
            next: None,
        })
    }

    fn prompt(&self, model: &TextModel) -> Result<Vec<u32>> {
        let (text, guard) = match &self.request.prompt {
            Prompt::Raw(text) => (text.clone(), None),
            Prompt::Messages(messages) => {
                let Some(template) = &model.template else {
                    let text = format!("{} has no chat template; give it a prompt with raw: true", self.name);
                    return Err(InferenceCode::InvalidInput.error(text));
                };
                let rendered = template.render(messages, &self.request.tools, model.tokenizer.marks());
                let rendered = rendered.map_err(|error| match error {
                    TemplateError::Refused(_) => InferenceCode::InvalidData.error(error.to_string()),
                    TemplateError::Invalid(_) => self.failed(error),
                })?;
                (rendered.text, rendered.guard)
            }
        };
        model.tokenizer.encode(&text, guard).map_err(|error| self.failed(error))
    }

    fn go_on(&self, model: &TextModel, state: &mut State) -> Result<Step> {
        let mut logits = if state.seen < state.prompt.len() {
            let part = &state.prompt[state.seen..state.prompt.len().min(state.seen + PROMPT_STEP)];
            state.seen += part.len();
            let logits = model.decoder.forward(part, &mut state.context).map_err(|error| self.failed(error))?;
            if state.seen < state.prompt.len() {
                return Ok(Step::Again);
            }
            logits
        } else {
            let Some(token) = state.next.take() else { return Ok(Step::Done) };
            model.decoder.forward(&[token], &mut state.context).map_err(|error| self.failed(error))?
        };
        // Some files have rows behind the last token of the vocabulary.
        logits.truncate(model.tokenizer.len());
        let json = state.json.as_ref();
        let chosen = state.sampler.next(&mut logits, |token| match json {
            None => true,
            Some(json) if model.tokenizer.is_end(token) => json.may_end(),
            Some(json) => json.allows(model.tokenizer.shown(token)),
        });
        let Some(token) = chosen else {
            return Err(match json {
                Some(_) => InferenceCode::JsonMode.error("JSON Mode couldn't be met"),
                None => Error::new(ErrorKind::Unexpected, format!("{} computed no scores", self.name)),
            });
        };
        state.answered += 1;
        if model.tokenizer.is_end(token) {
            return Ok(self.finish(state, FinishReason::Stop));
        }
        let bytes = model.tokenizer.shown(token);
        let piece = state.text.push(bytes);
        self.say(state, |tools| tools.push(&piece));
        if let Some(json) = &mut state.json {
            json.take(bytes);
            if json.is_over() {
                return Ok(self.finish(state, FinishReason::Stop));
            }
        }
        let limit = self.context_limit.min(model.decoder.context_length());
        if state.answered >= self.request.sampling.max_tokens || state.prompt.len() + state.answered as usize >= limit {
            return Ok(self.finish(state, FinishReason::Length));
        }
        state.next = Some(token);
        Ok(Step::Again)
    }

    fn finish(&self, state: &mut State, reason: FinishReason) -> Step {
        let rest = state.text.finish();
        self.say(state, |tools| tools.push(&rest));
        self.say(state, ToolCallReader::finish);
        let reason = if state.called { FinishReason::ToolCalls } else { reason };
        self.send(Ok(GenerationEvent::Finished {
            reason,
            usage: Usage::new(state.prompt.len() as u32, state.answered),
        }));
        Step::Done
    }

    fn say(&self, state: &mut State, read: impl FnOnce(&mut ToolCallReader) -> Said) {
        let said = read(&mut state.tools);
        if !said.text.is_empty() {
            self.send(Ok(GenerationEvent::Text(said.text)));
        }
        for call in said.calls {
            state.called = true;
            self.send(Ok(GenerationEvent::ToolCall(call)));
        }
    }

    fn send(&self, event: Result<GenerationEvent>) {
        // Nobody listens any more: the next step ends the work.
        _ = self.events.send(event);
    }

    fn failed(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::new(ErrorKind::Unexpected, format!("{} failed", self.name)).with_source(error)
    }
}

impl Job for Generation {
    fn step(&mut self) -> Step {
        if self.events.is_closed() {
            return Step::Done;
        }
        self.advance().unwrap_or_else(|error| {
            self.send(Err(error));
            Step::Done
        })
    }

    fn panicked(&mut self) {
        self.send(Err(Error::new(ErrorKind::Unexpected, format!("{} failed: the inference panicked", self.name))));
    }
}
