//! The driver `openai`, against a double of the protocol on this machine: the suite, and what is special to it.

mod double;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aerostack_ai::conformance::{Subject, trials as suite};
use aerostack_ai::drivers::openai::{OpenAiDriver, OpenAiModel, OpenAiOptions, Patience};
use aerostack_ai::{
    AiDriver, EmbeddingsRequest, FinishReason, GenerationEvent, InferenceCode, Message, Prompt, Role, Task,
    TextGeneration,
};
use aerostack_bindings::{Error, ErrorKind, Result};
use futures_util::StreamExt;
use libtest_mimic::{Failed, Trial};
use serde_json::json;

use self::double::Double;

const KEY: &str = "sk-very-secret";

static DOUBLE: LazyLock<Double> = LazyLock::new(Double::start);

pub(crate) fn trials() -> Vec<Trial> {
    let subject: Arc<dyn Fn() -> Subject + Send + Sync> = Arc::new(|| Subject {
        driver: Arc::new(driver(&DOUBLE, &["text"])),
        text_model: "text".to_owned(),
        embeddings_model: "embed".to_owned(),
    });
    let mut tests = suite("openai", &subject);
    let mut add = |name: &str, test: fn() -> Result<(), Failed>| {
        tests.push(Trial::test(format!("openai::{name}"), test));
    };
    add("the_key_and_the_model_are_those_of_the_config", the_key_and_the_model_are_those_of_the_config);
    add("a_busy_service_is_asked_again", a_busy_service_is_asked_again);
    add("a_service_that_refuses_is_said_with_a_number", a_service_that_refuses_is_said_with_a_number);
    add("the_key_is_in_no_error", the_key_is_in_no_error);
    add("a_model_that_wants_other_members_gets_them", a_model_that_wants_other_members_gets_them);
    add("a_stream_that_breaks_is_an_error", a_stream_that_breaks_is_an_error);
    add("what_is_too_slow_is_a_timeout", what_is_too_slow_is_a_timeout);
    add("nobody_there_is_unavailable", nobody_there_is_unavailable);
    add("dropping_closes_the_connection", dropping_closes_the_connection);
    add("a_piece_is_given_out_as_soon_as_it_is_there", a_piece_is_given_out_as_soon_as_it_is_there);
    tests
}

fn driver(double: &Double, models: &[&str]) -> OpenAiDriver {
    driver_at(&format!("http://{}/v1", double.address), models, Duration::from_mins(1))
}

/// A driver of text models under the names that the double knows them by, and of one for embeddings.
fn driver_at(url: &str, models: &[&str], patience: Duration) -> OpenAiDriver {
    let model = |name: &str, task| {
        (name.to_owned(), OpenAiModel { url: url.to_owned(), model: name.to_owned(), key: Some(KEY.to_owned()), task })
    };
    let mut models: BTreeMap<_, _> = models.iter().map(|name| model(name, Task::TextGeneration)).collect();
    models.extend([model("embed", Task::TextEmbeddings)]);
    let patience = Patience {
        connect: patience,
        answer: patience,
        piece: patience,
        attempts: 3,
        first_pause: Duration::from_millis(1),
    };
    OpenAiDriver::new(OpenAiOptions { name: "AI".to_owned(), models, patience }).expect("the address is one")
}

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

fn question(stream: bool) -> TextGeneration {
    TextGeneration { stream, ..TextGeneration::new(Prompt::Messages(vec![Message::new(Role::User, "What is it?")])) }
}

/// All events of a stream up to its end or its error.
async fn events(driver: &OpenAiDriver, model: &str) -> (Vec<GenerationEvent>, Option<Error>) {
    let mut events = Vec::new();
    let mut stream = match driver.stream(model, question(true)).await {
        Ok(stream) => stream,
        Err(error) => return (events, Some(error)),
    };
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}

async fn refused(model: &str) -> Result<Error, Failed> {
    let driver = driver(&DOUBLE, &[model]);
    Ok(driver.generate(model, question(false)).await.err().ok_or("it answered")?)
}

fn the_key_and_the_model_are_those_of_the_config() -> Result<(), Failed> {
    block_on(async {
        let double = Double::start();
        let model = OpenAiModel {
            url: format!("http://{}", double.address),
            model: "upstream".to_owned(),
            key: Some(KEY.to_owned()),
            task: Task::TextGeneration,
        };
        let models = BTreeMap::from([("@cf/meta/llama-3.1-8b-instruct".to_owned(), model)]);
        let driver = OpenAiDriver::new(OpenAiOptions { name: "AI".to_owned(), models, patience: Patience::default() })?;
        let answer = driver.generate("@cf/meta/llama-3.1-8b-instruct", question(false)).await?;
        assert_eq!(answer.reason, FinishReason::Stop);
        let asked = double.requests("upstream");
        assert_eq!(asked.len(), 1);
        assert_eq!(
            (&asked[0]["path"], &asked[0]["authorization"]),
            (&json!("/v1/chat/completions"), &json!("Bearer sk-very-secret"))
        );
        let raw = TextGeneration::new(Prompt::Raw("Once".to_owned()));
        driver.generate("@cf/meta/llama-3.1-8b-instruct", raw).await?;
        assert_eq!(double.requests("upstream")[1]["path"], json!("/v1/completions"));
        Ok(())
    })
}

fn a_busy_service_is_asked_again() -> Result<(), Failed> {
    block_on(async {
        let double = Double::start();
        for (model, times) in [("busy-once", 2), ("down-once", 2)] {
            driver(&double, &[model]).generate(model, question(false)).await?;
            assert_eq!(double.requests(model).len(), times, "{model}");
        }
        for (model, times) in [("busy", 3), ("down", 3), ("patient", 1), ("spent", 1), ("no-key", 1), ("unknown", 1)] {
            assert!(driver(&double, &[model]).generate(model, question(false)).await.is_err());
            assert_eq!(double.requests(model).len(), times, "{model}");
        }
        Ok(())
    })
}

fn a_service_that_refuses_is_said_with_a_number() -> Result<(), Failed> {
    block_on(async {
        for (model, code, text) in [
            ("busy", InferenceCode::OutOfCapacity, "3040: 127.0.0.1 takes no more requests now: slow down"),
            ("spent", InferenceCode::AccountLimited, "3036: the allowance at 127.0.0.1 is used up: you have no money"),
            (
                "unknown",
                InferenceCode::NoSuchModel,
                "5007: No such model unknown or task at 127.0.0.1: there is no such model",
            ),
        ] {
            let error = refused(model).await?;
            assert_eq!(error.to_string(), text);
            assert_eq!(InferenceCode::of(&error), Some(code));
        }
        let down = refused("down").await?;
        assert_eq!(
            (down.kind(), down.to_string().as_str()),
            (ErrorKind::Unavailable, "127.0.0.1 failed (500): it broke")
        );
        let odd = refused("not-json").await?;
        assert_eq!(odd.to_string(), "127.0.0.1 answered with something else than JSON");
        Ok(())
    })
}

fn the_key_is_in_no_error() -> Result<(), Failed> {
    block_on(async {
        let error = refused("no-key").await?;
        assert_eq!(error.to_string(), "127.0.0.1 does not accept the key of the model no-key (401): see its `api_key`");
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        let told = refused("tells-the-key").await?;
        assert_eq!(told.to_string(), "5004: 127.0.0.1 refused the request: what is ***?");
        assert!(!format!("{error:?} {told:?}").contains(KEY));
        Ok(())
    })
}

fn a_model_that_wants_other_members_gets_them() -> Result<(), Failed> {
    block_on(async {
        let double = Double::start();
        driver(&double, &["modern"]).generate("modern", question(false)).await?;
        let asked = double.requests("modern");
        assert_eq!(asked.len(), 3);
        assert_eq!(asked[2]["max_completion_tokens"], json!(256));
        assert!(asked[2].get("max_tokens").is_none() && asked[2].get("temperature").is_none());
        // What the caller asked for is not left out.
        let mut hot = question(false);
        hot.sampling.temperature = 1.5;
        let error = driver(&double, &["modern"]).generate("modern", hot).await.err().ok_or("it answered")?;
        assert_eq!(error.to_string(), "5004: 127.0.0.1 refused the request: only the default");
        Ok(())
    })
}

fn a_stream_that_breaks_is_an_error() -> Result<(), Failed> {
    block_on(async {
        for (model, text) in [
            ("cut", "the answer of 127.0.0.1 was cut off"),
            ("ends-early", "the answer of the service ended before it was finished"),
            ("fails-midway", "the service failed: out of memory"),
        ] {
            let (events, error) = events(&driver(&DOUBLE, &[model]), model).await;
            assert_eq!(events, [GenerationEvent::Text("one".to_owned())], "{model}");
            assert_eq!(error.ok_or("it ended well")?.to_string(), text);
        }
        Ok(())
    })
}

fn what_is_too_slow_is_a_timeout() -> Result<(), Failed> {
    block_on(async {
        let url = format!("http://{}/v1", DOUBLE.address);
        let driver = driver_at(&url, &["silent", "slow"], Duration::from_millis(50));
        for model in ["silent", "slow"] {
            let (_, error) = events(&driver, model).await;
            let error = error.ok_or("it ended well")?;
            assert_eq!(InferenceCode::of(&error), Some(InferenceCode::Timeout), "{model}");
            assert_eq!(error.to_string(), "3007: 127.0.0.1 gave no answer in 0.05 s");
        }
        Ok(())
    })
}

fn nobody_there_is_unavailable() -> Result<(), Failed> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let closed = listener.local_addr()?;
    drop(listener);
    block_on(async {
        let driver = driver_at(&format!("http://{closed}/v1"), &["text"], Duration::from_mins(1));
        let error = driver.generate("text", question(false)).await.err().ok_or("it answered")?;
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unavailable, "127.0.0.1 cannot be reached"));
        Ok(())
    })
}

fn dropping_closes_the_connection() -> Result<(), Failed> {
    block_on(async {
        let double = Double::start();
        let driver = driver(&double, &["slow", "silent"]);
        let mut stream = driver.stream("slow", question(true)).await?;
        stream.next().await.ok_or("there is no event")??;
        let mut waiting = Box::pin(driver.generate("silent", question(false)));
        while double.requests("silent").is_empty() {
            tokio::select! {
                _ = &mut waiting => return Err("it answered".into()),
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
        }
        assert_eq!(double.connections(), 2);
        drop((stream, waiting));
        let texts = vec!["a".to_owned()];
        driver.embed("embed", EmbeddingsRequest { texts, pooling: None }).await?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while double.connections() > 0 {
            assert!(tokio::time::Instant::now() < deadline, "{} connections stay open", double.connections());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    })
}

fn a_piece_is_given_out_as_soon_as_it_is_there() -> Result<(), Failed> {
    block_on(async {
        let driver = driver(&DOUBLE, &["slow"]);
        let mut stream = driver.stream("slow", question(true)).await?;
        let first = stream.next().await.ok_or("there is no event")??;
        assert_eq!(first, GenerationEvent::Text("one".to_owned()));
        Ok(())
    })
}
