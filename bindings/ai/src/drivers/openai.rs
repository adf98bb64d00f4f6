//! Driver `openai`: models that a service runs, over the protocol of OpenAI. OpenAI itself, and what speaks as it does: Ollama, vLLM,
//! llama.cpp, Groq, OpenRouter, Gemini, Azure.
//!
//! Every request has a connection of its own, made on the runtime of the isolate that asks. Dropping the future or the stream closes
//! it, which is how a service learns that nobody waits any more.

mod body;
mod client;
mod reply;
mod sse;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aerostack_bindings::{BindingInfo, BindingState, Error, ErrorKind, Result};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use url::Url;

use self::client::{Client, Reply};
use self::reply::StreamedReply;
#[doc(hidden)]
pub use self::reply::{embeddings_of, events_of};
use self::sse::{Lines, Parser};
use crate::{
    AiDriver, Embeddings, EmbeddingsRequest, GenerationEvent, GenerationStream, InferenceCode, KIND, ModelInfo,
    ModelState, Prompt, Task, TextGeneration,
};

/// Where OpenAI itself answers.
pub const DEFAULT_URL: &str = "https://api.openai.com/v1";

/// Which models an [`OpenAiDriver`] answers for, and how patient it is.
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// The name of the binding on `env`.
    pub name: String,
    /// Models by the name that `env.AI.run` takes.
    pub models: BTreeMap<String, OpenAiModel>,
    /// How patient it is.
    pub patience: Patience,
}

/// One model and the service that runs it.
#[derive(Clone)]
pub struct OpenAiModel {
    /// The base address of the service, for example `https://api.openai.com/v1`. Where it has no path, `/v1` is added.
    pub url: String,
    /// Its name at the service.
    pub model: String,
    /// What the service knows the caller by.
    pub key: Option<String>,
    /// What it does.
    pub task: Task,
}

/// How long to wait for a service, and how often to ask.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the beginning of an answer: all of the work where it is not streamed.
    pub answer: Duration,
    /// For the next piece of an answer that has begun.
    pub piece: Duration,
    /// So often a request is sent, where the service is too busy or cannot be reached.
    pub attempts: u32,
    /// Before the second attempt; twice as long before each further one. What the service asks for in `Retry-After` goes before.
    pub first_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_mins(5),
            piece: Duration::from_mins(2),
            attempts: 4,
            first_pause: Duration::from_millis(500),
        }
    }
}

impl std::fmt::Debug for OpenAiModel {
    /// Without the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, model, key, task } = self;
        let key = key.as_ref().map(|_| "***");
        let mut shown = formatter.debug_struct("OpenAiModel");
        shown.field("url", url).field("model", model).field("key", &key).field("task", task).finish()
    }
}

/// Models that services run.
pub struct OpenAiDriver {
    name: String,
    models: BTreeMap<String, Service>,
    client: Client,
}

/// A model with its address understood.
struct Service {
    base: Url,
    model: String,
    key: Option<String>,
    task: Task,
}

impl OpenAiDriver {
    /// A driver for these models. Connects to nothing; fails where an address is none.
    pub fn new(options: OpenAiOptions) -> Result<Self> {
        let mut models = BTreeMap::new();
        for (name, OpenAiModel { url, model, key, task }) in options.models {
            let base = base_of(&url).ok_or_else(|| {
                // Not the address itself: a password may stand in it.
                let text =
                    format!("the url of the model {name:?} is no address of a service: https://host/path is one");
                Error::new(ErrorKind::ConfigInvalid, text)
            })?;
            models.insert(name, Service { base, model, key, task });
        }
        Ok(Self { name: options.name, models, client: Client::new(options.patience)? })
    }

    fn service(&self, model: &str, task: Task) -> Result<&Service> {
        let service = self.models.get(model).filter(|service| service.task == task);
        service.ok_or_else(|| InferenceCode::no_such_model(model))
    }

    async fn send(&self, service: &Service, path: &str, body: &mut Value) -> Result<Reply> {
        let address = service.address(path);
        loop {
            match self.client.post(&address, service.key.as_deref(), body).await? {
                Ok(reply) => return Ok(reply),
                // Some models of a service want a member under another name, or not at all.
                Err(refusal) if body::without(body, &refusal) => {}
                Err(refusal) => return Err(refusal.error(service.host(), &service.model)),
            }
        }
    }
}

impl Service {
    fn address(&self, path: &str) -> Url {
        let mut address = self.base.clone();
        address.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        address
    }

    fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }
}

fn base_of(url: &str) -> Option<Url> {
    let mut base = Url::parse(url).ok()?;
    if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
        return None;
    }
    if base.path().trim_matches('/').is_empty() {
        base.set_path("/v1");
    }
    Some(base)
}

#[async_trait]
impl AiDriver for OpenAiDriver {
    fn info(&self) -> BindingInfo {
        let mut hosts: Vec<&str> = self.models.values().map(Service::host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        BindingInfo {
            name: self.name.clone(),
            kind: KIND,
            driver: "openai",
            summary: hosts.join(", "),
            state: BindingState::Lazy,
        }
    }

    fn models(&self) -> Vec<ModelInfo> {
        let models = self.models.iter().map(|(name, service)| ModelInfo {
            name: name.clone(),
            task: service.task,
            location: service.host().to_owned(),
            state: ModelState::Present,
        });
        models.collect()
    }

    fn task(&self, model: &str) -> Result<Task> {
        self.models.get(model).map(|service| service.task).ok_or_else(|| InferenceCode::no_such_model(model))
    }

    async fn stream(&self, model: &str, request: TextGeneration) -> Result<GenerationStream> {
        let service = self.service(model, Task::TextGeneration)?;
        let mut body = body::of_generation(&service.model, &request);
        let path = if matches!(request.prompt, Prompt::Raw(_)) { "completions" } else { "chat/completions" };
        let reply = self.send(service, path, &mut body).await?;
        if !reply.is_event_stream() {
            let events = events_of(&reply.json().await?)?;
            return Ok(Box::pin(stream::iter(events.into_iter().map(Ok))));
        }
        let lines = Lines::new(reply);
        let events =
            stream::unfold((lines, StreamedReply::default(), false), |(mut lines, mut reply, over)| async move {
                if over {
                    return None;
                }
                let (events, over) = match next_events(&mut lines, &mut reply).await {
                    Ok((events, over)) => (events.into_iter().map(Ok).collect(), over),
                    Err(error) => (vec![Err(error)], true),
                };
                Some((stream::iter(events), (lines, reply, over)))
            });
        Ok(Box::pin(events.flatten()))
    }

    async fn embed(&self, model: &str, request: EmbeddingsRequest) -> Result<Embeddings> {
        let service = self.service(model, Task::TextEmbeddings)?;
        let mut body = body::of_embeddings(&service.model, &request.texts);
        let reply = self.send(service, "embeddings", &mut body).await?;
        embeddings_of(&reply.json().await?, &request)
    }
}

/// What the next line of data says, and whether it was the last.
async fn next_events(lines: &mut Lines, reply: &mut StreamedReply) -> Result<(Vec<GenerationEvent>, bool)> {
    said(lines.next_data().await?.as_deref(), reply)
}

fn said(data: Option<&str>, reply: &mut StreamedReply) -> Result<(Vec<GenerationEvent>, bool)> {
    match data {
        None | Some("[DONE]") => Ok((reply.finish()?, true)),
        Some(data) => Ok((reply.push(data)?, false)),
    }
}

/// What [`AiDriver::stream`] gives for an answer that arrives in these pieces: for the fuzzer, which has no service.
#[doc(hidden)]
pub fn events_of_stream<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<GenerationEvent>> {
    let (mut parser, mut ready, mut reply) = (Parser::default(), VecDeque::new(), StreamedReply::default());
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(error) = parser.push(piece, &mut ready) {
            return vec![Err(error)];
        }
    }
    parser.end(&mut ready);
    for data in ready.into_iter().map(Some).chain([None]) {
        match said(data.as_deref(), &mut reply) {
            Ok((more, over)) => {
                events.extend(more.into_iter().map(Ok));
                if over {
                    break;
                }
            }
            Err(error) => {
                events.push(Err(error));
                break;
            }
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_is_that_of_the_protocol() {
        let address = |url| base_of(url).map(|url| url.to_string());
        assert_eq!(address("http://localhost:11434").as_deref(), Some("http://localhost:11434/v1"));
        assert_eq!(address("https://host/openai/v1/").as_deref(), Some("https://host/openai/v1/"));
        for wrong in ["", "localhost:80", "ftp://host/", "/v1", "http://"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_that_is_shown_has_the_key() {
        let model = OpenAiModel {
            url: "https://u:p@host/v1".to_owned(),
            model: "m".to_owned(),
            key: Some("sk-secret".to_owned()),
            task: Task::TextGeneration,
        };
        assert!(!format!("{model:?}").contains("sk-secret"));
        let options = OpenAiOptions {
            name: "AI".to_owned(),
            models: [("m".to_owned(), model)].into(),
            patience: Patience::default(),
        };
        let driver = OpenAiDriver::new(options).expect("the address is one");
        assert_eq!(driver.info().summary, "host");
        assert_eq!(driver.models()[0].location, "host");
    }
}
