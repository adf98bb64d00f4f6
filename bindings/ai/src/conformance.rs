//! What every driver must do, as tests that any driver's test binary can run.
//!
//! A suite gets a driver and the names of two of its models. They may be as small as models get: nothing here asks that an answer makes
//! sense, only that it is one.

mod embeddings;
mod formats;
mod streams;

use std::future::Future;
use std::sync::Arc;

use aerostack_bindings::{ErrorKind, Result};
use futures_util::StreamExt;
use libtest_mimic::{Failed, Trial};

use crate::{
    AiDriver, EmbeddingsRequest, GenerationEvent, InferenceCode, KIND, Message, Prompt, Role, Sampling, Task,
    TextGeneration,
};

/// A driver, and what it can be asked.
#[derive(Clone)]
pub struct Subject {
    /// The driver.
    pub driver: Arc<dyn AiDriver>,
    /// A model that generates text.
    pub text_model: String,
    /// A model that makes embeddings.
    pub embeddings_model: String,
}

/// Every test of the suite, named `<driver>::<sentence>`. `subject` is called in each of them.
pub fn trials(driver: &'static str, subject: &Arc<dyn Fn() -> Subject + Send + Sync>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: &'static str, test: fn(&Subject) -> Result<(), Failed>| {
        let subject = Arc::clone(subject);
        trials.push(Trial::test(format!("{driver}::{name}"), move || test(&subject())));
    };
    add("it_tells_what_it_is_and_what_its_models_do", it_tells_what_it_is_and_what_its_models_do);
    add("an_unknown_model_is_5007", an_unknown_model_is_5007);
    add("a_model_of_another_task_is_5007", a_model_of_another_task_is_5007);
    add("without_temperature_an_answer_comes_again", streams::without_temperature_an_answer_comes_again);
    add("a_seed_makes_an_answer_come_again", streams::a_seed_makes_an_answer_come_again);
    add("the_pieces_of_a_stream_are_the_whole_answer", streams::the_pieces_of_a_stream_are_the_whole_answer);
    add("an_answer_ends_at_max_tokens", streams::an_answer_ends_at_max_tokens);
    add("usage_counts_the_tokens_of_prompt_and_answer", streams::usage_counts_the_tokens_of_prompt_and_answer);
    add(
        "a_raw_prompt_has_no_more_tokens_than_a_conversation",
        streams::a_raw_prompt_has_no_more_tokens_than_a_conversation,
    );
    add("a_dropped_stream_makes_room_for_others", streams::a_dropped_stream_makes_room_for_others);
    add("answers_made_at_once_do_not_mix", streams::answers_made_at_once_do_not_mix);
    add("a_prompt_that_is_too_long_is_refused", streams::a_prompt_that_is_too_long_is_refused);
    add(
        "json_mode_gives_an_object_or_the_documented_error",
        formats::json_mode_gives_an_object_or_the_documented_error,
    );
    add(
        "an_answer_with_a_schema_conforms_or_fails_as_documented",
        formats::an_answer_with_a_schema_conforms_or_fails_as_documented,
    );
    add("json_mode_without_room_fails_as_documented", formats::json_mode_without_room_fails_as_documented);
    add("tools_are_accepted_and_calls_are_of_known_tools", formats::tools_are_accepted_and_calls_are_of_known_tools);
    add("each_text_has_its_vector_in_order", embeddings::each_text_has_its_vector_in_order);
    add("a_vector_does_not_depend_on_its_neighbours", embeddings::a_vector_does_not_depend_on_its_neighbours);
    add("like_texts_have_like_vectors", embeddings::like_texts_have_like_vectors);
    add("any_text_has_a_vector_of_numbers", embeddings::any_text_has_a_vector_of_numbers);
    trials
}

/// Runs a test on a current-thread runtime, as an isolate would.
fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

/// A question with a short answer that is the same each time.
fn question(text: &str) -> TextGeneration {
    let sampling = Sampling { max_tokens: 8, temperature: 0.0, ..Sampling::default() };
    TextGeneration { sampling, ..TextGeneration::new(Prompt::Messages(vec![Message::new(Role::User, text)])) }
}

/// The events of a stream, up to its end.
async fn events(subject: &Subject, request: TextGeneration) -> Result<Vec<GenerationEvent>> {
    let stream = subject.driver.stream(&subject.text_model, request).await?;
    stream.collect::<Vec<_>>().await.into_iter().collect()
}

fn it_tells_what_it_is_and_what_its_models_do(subject: &Subject) -> Result<(), Failed> {
    let driver = &subject.driver;
    assert_eq!(driver.info().kind, KIND);
    let models = driver.models();
    assert!(models.is_sorted_by(|one, other| one.name < other.name), "each once, in the order of their names");
    for (name, task) in [(&subject.text_model, Task::TextGeneration), (&subject.embeddings_model, Task::TextEmbeddings)]
    {
        assert_eq!(driver.task(name)?, task);
        assert!(models.iter().any(|model| model.name == *name && model.task == task), "{name} is listed");
    }
    Ok(())
}

fn an_unknown_model_is_5007(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let name = "@cf/nobody/nothing-1b";
        let texts = vec!["a".to_owned()];
        let refusals = [
            subject.driver.task(name).err(),
            subject.driver.generate(name, question("a")).await.err(),
            subject.driver.stream(name, question("a")).await.err(),
            subject.driver.embed(name, EmbeddingsRequest { texts, pooling: None }).await.err(),
        ];
        for error in refusals {
            let error = error.ok_or("an unknown model is answered for")?;
            assert_eq!(error.to_string(), "5007: No such model @cf/nobody/nothing-1b or task");
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert_eq!(InferenceCode::of(&error), Some(InferenceCode::NoSuchModel));
        }
        Ok(())
    })
}

fn a_model_of_another_task_is_5007(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let texts = vec!["a".to_owned()];
        let error = subject.driver.embed(&subject.text_model, EmbeddingsRequest { texts, pooling: None }).await;
        assert_eq!(error.err().as_ref().and_then(InferenceCode::of), Some(InferenceCode::NoSuchModel));
        let error = subject.driver.generate(&subject.embeddings_model, question("a")).await;
        assert_eq!(error.err().as_ref().and_then(InferenceCode::of), Some(InferenceCode::NoSuchModel));
        Ok(())
    })
}
