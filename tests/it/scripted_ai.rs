use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aerostack_ai::{
    AiDriver, Embeddings, EmbeddingsRequest, FinishReason, GenerationEvent, GenerationStream, InferenceCode, KIND,
    ModelInfo, ModelState, Pooling, Prompt, Task, TextGeneration, ToolCall, Usage,
};
use aerostack_bindings::{BindingInfo, BindingState, Error, ErrorKind, Result};
use async_trait::async_trait;
use futures_core::Stream;
use serde_json::json;

/// What a [`ScriptedAi`] does under each name. All generate text but `EMBED`.
pub mod models {
    /// Answers with the last message, word by word.
    pub const ECHO: &str = "@cf/test/echo";
    /// Asks for a call of the first tool.
    pub const TOOLS: &str = "@cf/test/tools";
    /// One piece after the other, for ever.
    pub const ENDLESS: &str = "@cf/test/endless";
    /// One piece, and then nothing any more.
    pub const SLOW: &str = "@cf/test/slow";
    /// Accepts the request and never says anything.
    pub const SILENT: &str = "@cf/test/silent";
    /// One piece, and then a failure.
    pub const BROKEN: &str = "@cf/test/broken";
    /// Fails as its first event.
    pub const FULL: &str = "@cf/test/full";
    /// Embeds a text as its length, its first byte and 0.1.
    pub const EMBED: &str = "@cf/test/embed";
}

const TEXT_MODELS: [&str; 7] =
    [models::BROKEN, models::ECHO, models::ENDLESS, models::FULL, models::SILENT, models::SLOW, models::TOOLS];

/// An AI driver whose answers are known beforehand, and that counts what is going on in it.
#[derive(Default)]
pub struct ScriptedAi {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    running: AtomicUsize,
    events: AtomicUsize,
}

/// One inference. Dropping it is what a driver takes for a cancellation.
struct Running {
    counts: Arc<Counts>,
    script: Script,
    place: usize,
}

enum Script {
    /// These, then the end.
    Events(Vec<Result<GenerationEvent>>),
    /// These, then nothing.
    Stuck(Vec<GenerationEvent>),
    Endless,
}

impl ScriptedAi {
    /// Inferences begun so far.
    pub fn begun(&self) -> usize {
        self.counts.begun.load(Ordering::SeqCst)
    }

    /// Inferences going on.
    pub fn running(&self) -> usize {
        self.counts.running.load(Ordering::SeqCst)
    }

    /// Events of streams that were asked for so far.
    pub fn events(&self) -> usize {
        self.counts.events.load(Ordering::SeqCst)
    }

    /// Waits until so many inferences go on, at most ten seconds.
    pub async fn wait_for_running(&self, running: usize) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while self.running() != running {
            assert!(tokio::time::Instant::now() < deadline, "{} inferences go on, not {running}", self.running());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn run(&self, script: Script) -> Running {
        self.counts.begun.fetch_add(1, Ordering::SeqCst);
        self.counts.running.fetch_add(1, Ordering::SeqCst);
        Running { counts: self.counts.clone(), script, place: 0 }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.counts.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stream for Running {
    type Item = Result<GenerationEvent>;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let place = self.place;
        self.place += 1;
        let next = match &mut self.script {
            Script::Events(events) if events.is_empty() => None,
            Script::Events(events) => Some(events.remove(0)),
            Script::Stuck(events) if events.is_empty() => return Poll::Pending,
            Script::Stuck(events) => Some(Ok(events.remove(0))),
            Script::Endless => Some(Ok(GenerationEvent::Text(format!("{place} ")))),
        };
        self.counts.events.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(next)
    }
}

#[async_trait]
impl AiDriver for ScriptedAi {
    fn info(&self) -> BindingInfo {
        BindingInfo {
            name: "AI".into(),
            kind: KIND,
            driver: "scripted",
            summary: String::new(),
            state: BindingState::Ready,
        }
    }

    fn models(&self) -> Vec<ModelInfo> {
        let info = |name: &str, task| ModelInfo {
            name: name.into(),
            task,
            location: "script".into(),
            state: if name == models::SLOW { ModelState::Missing("get it".into()) } else { ModelState::Present },
        };
        let mut models: Vec<_> = TEXT_MODELS.iter().map(|name| info(name, Task::TextGeneration)).collect();
        models.push(info(models::EMBED, Task::TextEmbeddings));
        models.sort_by(|one, other| one.name.cmp(&other.name));
        models
    }

    fn task(&self, model: &str) -> Result<Task> {
        match model {
            models::EMBED => Ok(Task::TextEmbeddings),
            _ if TEXT_MODELS.contains(&model) => Ok(Task::TextGeneration),
            _ => Err(InferenceCode::no_such_model(model)),
        }
    }

    async fn stream(&self, model: &str, request: TextGeneration) -> Result<GenerationStream> {
        let text = |text: &str| GenerationEvent::Text(text.into());
        let script = match model {
            models::ENDLESS => Script::Endless,
            models::SLOW => Script::Stuck(vec![text("one")]),
            models::SILENT => Script::Stuck(Vec::new()),
            models::BROKEN => {
                Script::Events(vec![Ok(text("one")), Err(Error::new(ErrorKind::Unavailable, "the model broke"))])
            }
            models::FULL => {
                let full = InferenceCode::OutOfCapacity.error("Capacity temporarily exceeded, please try again.");
                Script::Events(vec![Err(full)])
            }
            models::TOOLS => {
                let name = request.tools.first().map_or_else(|| "none".into(), |tool| tool.name.clone());
                let call = ToolCall { name, arguments: json!({ "city": "Wien" }) };
                let end = GenerationEvent::Finished { reason: FinishReason::ToolCalls, usage: Usage::new(1, 1) };
                Script::Events(vec![Ok(GenerationEvent::ToolCall(call)), Ok(end)])
            }
            _ => {
                let prompt = last_text(&request.prompt);
                let words: Vec<&str> = prompt.split_inclusive(' ').collect();
                let usage = Usage::new(words.len() as u32, words.len() as u32 + 1);
                let mut events: Vec<_> = words.into_iter().map(|word| Ok(text(word))).collect();
                events.push(Ok(GenerationEvent::Finished { reason: FinishReason::Stop, usage }));
                Script::Events(events)
            }
        };
        Ok(Box::pin(self.run(script)))
    }

    async fn embed(&self, _model: &str, request: EmbeddingsRequest) -> Result<Embeddings> {
        let vector = |text: &String| [text.len() as f32, f32::from(text.as_bytes()[0]), 0.1];
        Ok(Embeddings {
            dimensions: 3,
            values: request.texts.iter().flat_map(vector).collect(),
            pooling: request.pooling.unwrap_or(Pooling::Mean),
            usage: Usage::default(),
        })
    }
}

fn last_text(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Raw(text) => text.clone(),
        Prompt::Messages(messages) => messages.last().map(|message| message.content.clone()).unwrap_or_default(),
    }
}
