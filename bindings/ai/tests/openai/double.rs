//! A service that speaks the protocol of OpenAI, on this machine. What it answers is computed from what it is asked; models with other
//! names misbehave in one way each.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

type Pieces = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send>>;
type Answer = Response<StreamBody<Pieces>>;

/// More words than this are too long a prompt.
const CONTEXT: usize = 8192;

pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    requests: Mutex<Vec<Value>>,
    connections: AtomicUsize,
}

/// Counts a connection as long as it is open.
struct Open(Arc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Double {
    pub(crate) fn start() -> Self {
        let state = Arc::new(State::default());
        let served = Arc::clone(&state);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                sender.send(listener.local_addr().expect("bound")).expect("somebody waits for it");
                loop {
                    let Ok((connection, _)) = listener.accept().await else { continue };
                    served.connections.fetch_add(1, Ordering::SeqCst);
                    let open = Open(Arc::clone(&served));
                    tokio::spawn(async move {
                        let service = service_fn(|request| answer(request, Arc::clone(&open.0)));
                        // A client that leaves is what some of the tests are about.
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(connection), service)
                            .await;
                    });
                }
            });
        });
        Self { address: receiver.recv().expect("it listens"), state }
    }

    /// The bodies of the requests for a model, each with its `path` and `authorization`.
    pub(crate) fn requests(&self, model: &str) -> Vec<Value> {
        let requests = self.state.requests.lock().expect("no panic");
        requests.iter().filter(|request| request["model"] == model).cloned().collect()
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let bytes = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let model = asked["model"].as_str().unwrap_or_default().to_owned();
    let before = {
        let mut requests = state.requests.lock().expect("no panic");
        let before = requests.iter().filter(|request| request["model"] == model.as_str()).count();
        let mut noted = asked.clone();
        noted["path"] = path.as_str().into();
        noted["authorization"] = authorization.clone().into();
        requests.push(noted);
        before
    };
    let refusal = |status: u16, message: &str, code: &str, parameter: Option<&str>| {
        let error = json!({ "error": { "message": message, "type": "t", "code": code, "param": parameter } });
        whole(status, &error)
    };
    Ok(match model.as_str() {
        "busy-once" | "busy" if model == "busy" || before == 0 => {
            let mut answer = refusal(429, "slow down", "rate_limit_exceeded", None);
            answer.headers_mut().insert("retry-after", http::HeaderValue::from_static("0"));
            answer
        }
        "patient" => {
            let mut answer = refusal(429, "come back tomorrow", "rate_limit_exceeded", None);
            answer.headers_mut().insert("retry-after", http::HeaderValue::from_static("86400"));
            answer
        }
        "down-once" if before == 0 => refusal(503, "overloaded", "overloaded", None),
        "down" => refusal(500, "it broke", "server_error", None),
        "spent" => refusal(429, "you have no money", "insufficient_quota", None),
        "no-key" => refusal(401, "Incorrect API key provided: sk-very-secret", "invalid_api_key", None),
        "tells-the-key" => refusal(400, "what is sk-very-secret?", "invalid_request_error", None),
        "unknown" => refusal(404, "there is no such model", "model_not_found", None),
        "modern" if asked.get("max_tokens").is_some() => {
            refusal(400, "use max_completion_tokens", "unsupported_parameter", Some("max_tokens"))
        }
        "modern" if asked.get("temperature").is_some() => {
            refusal(400, "only the default", "unsupported_value", Some("temperature"))
        }
        "silent" => std::future::pending().await,
        "not-json" => respond(200, "application/json", vec![Ok("<html>".into())], false),
        "slow" => respond(200, "text/event-stream", vec![Ok(delta("one"))], true),
        "cut" => {
            let first = stream::iter([Ok(Frame::data(Bytes::from(delta("one"))))]);
            let cut = stream::once(async {
                // Lets the server send what it has.
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            });
            reply(200, "text/event-stream", Box::pin(first.chain(cut)))
        }
        "ends-early" => respond(200, "text/event-stream", vec![Ok(delta("one"))], false),
        "fails-midway" => {
            let error = "data: {\"error\":{\"message\":\"out of memory\"}}\n\n".to_owned();
            respond(200, "text/event-stream", vec![Ok(delta("one")), Ok(error)], false)
        }
        _ if path.ends_with("/embeddings") => embeddings(&asked),
        _ => generation(&asked),
    })
}

fn delta(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] }))
}

fn whole(status: u16, body: &Value) -> Answer {
    respond(status, "application/json", vec![Ok(body.to_string())], false)
}

/// `stays_open`: nothing more comes, and no end.
fn respond(status: u16, kind: &str, pieces: Vec<Result<String, std::io::Error>>, stays_open: bool) -> Answer {
    let pieces = stream::iter(pieces.into_iter().map(|piece| piece.map(|text| Frame::data(Bytes::from(text)))));
    let pieces: Pieces = if stays_open { Box::pin(pieces.chain(stream::pending())) } else { Box::pin(pieces) };
    reply(status, kind, pieces)
}

fn reply(status: u16, kind: &str, pieces: Pieces) -> Answer {
    let mut answer = Response::new(StreamBody::new(pieces));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer.headers_mut().insert("content-type", kind.parse().expect("a header"));
    answer
}

fn embeddings(asked: &Value) -> Answer {
    let texts: Vec<&str> =
        asked["input"].as_array().map(|texts| texts.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    // Words of one meaning are one word, and each word is a direction.
    let vector = |text: &str| {
        let mut vector = vec![0.01; 64];
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2) {
            let word = match word.to_lowercase().as_str() {
                "kitten" => "cat".to_owned(),
                "couch" => "sofa".to_owned(),
                "napping" => "sleeps".to_owned(),
                word => word.to_owned(),
            };
            vector[hash(&word) as usize % 64] += 1.0;
        }
        vector
    };
    let tokens: usize = texts.iter().map(|text| text.split_whitespace().count() + 1).sum();
    // In another order than they were asked for, as the protocol allows.
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .rev()
        .map(|(index, text)| json!({ "object": "embedding", "index": index, "embedding": vector(text) }))
        .collect();
    whole(200, &json!({ "data": data, "usage": { "prompt_tokens": tokens, "total_tokens": tokens } }))
}

fn generation(asked: &Value) -> Answer {
    let prompt = match &asked["messages"] {
        Value::Array(messages) => {
            let contents: Vec<&str> = messages.iter().filter_map(|message| message["content"].as_str()).collect();
            format!("<user> {} <assistant>", contents.join(" "))
        }
        _ => asked["prompt"].as_str().unwrap_or_default().to_owned(),
    };
    let prompt_tokens = prompt.split_whitespace().count();
    if prompt_tokens > CONTEXT {
        let error =
            json!({ "message": "too long", "type": "t", "code": "context_length_exceeded", "param": "messages" });
        return whole(400, &json!({ "error": error }));
    }
    let most = asked["max_tokens"].as_u64().or(asked["max_completion_tokens"].as_u64()).unwrap_or(16) as usize;
    let is_hot = asked["temperature"].as_f64().is_some_and(|temperature| temperature > 0.0);
    let seed = hash(&(prompt.as_str(), if is_hot { asked["seed"].as_u64() } else { None }));
    let calls_a_tool = asked["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    let (length, word): (usize, Box<dyn Fn(usize) -> String + Send>) = match asked["response_format"]["type"].as_str() {
        _ if calls_a_tool => (0, Box::new(|_| String::new())),
        Some(kind) => {
            let text =
                if kind == "json_object" { r#"{"cat":"purrs"}"# } else { r#"{"kind":"dog","legs":4,"tame":true}"# };
            let pieces: Vec<String> =
                text.as_bytes().chunks(4).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
            (pieces.len(), Box::new(move |place| pieces[place].clone()))
        }
        None if prompt.contains("million") => (usize::MAX, Box::new(|place| format!("{place} "))),
        None => (20, Box::new(move |place| format!("wörd{} ", hash(&(seed, place)) % 1000))),
    };
    let told = length.min(most);
    let reason = if calls_a_tool {
        "tool_calls"
    } else if told < length {
        "length"
    } else {
        "stop"
    };
    let call = json!([{
        "index": 0, "id": "call_a", "type": "function",
        "function": { "name": asked["tools"][0]["function"]["name"], "arguments": "{\"city\":\"Rome\"}" },
    }]);
    let completion_tokens = told.max(1);
    let usage = json!({ "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens });
    if asked["stream"] == true {
        let pieces = stream::iter(0..told).map(move |place| delta(&word(place)));
        let mut last = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] });
        if calls_a_tool {
            last["choices"][0]["delta"]["tool_calls"] = call;
        }
        let end = format!("data: {last}\r\n\r\ndata: {}\n\ndata: [DONE]\n\n", json!({ "choices": [], "usage": usage }));
        // Cut where no service would cut, in the middle of an event and of a character.
        let cut = |text: String| {
            let bytes = Bytes::from(text);
            let middle = bytes.len() / 2;
            stream::iter([Ok(Frame::data(bytes.slice(..middle))), Ok(Frame::data(bytes.slice(middle..)))])
        };
        let pieces = stream::once(async { ": hello\n\n".to_owned() }).chain(pieces).chain(stream::once(async { end }));
        return reply(200, "text/event-stream; charset=utf-8", Box::pin(pieces.flat_map(cut)));
    }
    let text: String = (0..told).map(word).collect();
    let choice = if asked["messages"].is_array() {
        let mut message = json!({ "role": "assistant", "content": text });
        if calls_a_tool {
            message = json!({ "role": "assistant", "content": null, "tool_calls": call });
        }
        json!({ "index": 0, "message": message, "finish_reason": reason })
    } else {
        json!({ "index": 0, "text": text, "finish_reason": reason })
    };
    whole(200, &json!({ "choices": [choice], "usage": usage }))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
