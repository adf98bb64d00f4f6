//! Text, as a stream and in one piece.

use aerostack_bindings::Result;
use futures_util::StreamExt;
use futures_util::future::join_all;
use libtest_mimic::Failed;

use super::{Subject, block_on, events, question};
use crate::{FinishReason, Generation, GenerationEvent, InferenceCode, Prompt, Response, Sampling, TextGeneration};

/// More words than any small model reads at once.
const TOO_MANY: usize = 200_000;

/// More streams than any driver has room for at once.
const MANY: usize = 300;

fn text(generation: &Generation) -> &str {
    match &generation.response {
        Response::Text(text) => text,
        Response::Json(_) => "",
    }
}

pub(super) fn without_temperature_an_answer_comes_again(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let first = subject.driver.generate(&subject.text_model, question("What is a cat?")).await?;
        let second = subject.driver.generate(&subject.text_model, question("What is a cat?")).await?;
        assert!(!text(&first).is_empty());
        assert_eq!(first, second);
        Ok(())
    })
}

pub(super) fn a_seed_makes_an_answer_come_again(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let ask = |seed| {
            let sampling = Sampling { temperature: 2.0, seed: Some(seed), max_tokens: 12, ..Sampling::default() };
            subject.driver.generate(&subject.text_model, TextGeneration { sampling, ..question("Tell me a story") })
        };
        let (first, same, other) = (ask(1).await?, ask(1).await?, ask(2).await?);
        assert_eq!(first.response, same.response);
        assert_ne!(first.response, other.response);
        Ok(())
    })
}

pub(super) fn the_pieces_of_a_stream_are_the_whole_answer(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let whole = subject.driver.generate(&subject.text_model, question("Greet me in Japanese.")).await?;
        let request = TextGeneration { stream: true, ..question("Greet me in Japanese.") };
        let mut pieces = events(subject, request).await?;
        let last = pieces.pop().ok_or("there is no event")?;
        assert_eq!(last, GenerationEvent::Finished { reason: whole.reason, usage: whole.usage });
        let mut together = String::new();
        for piece in pieces {
            let GenerationEvent::Text(piece) = piece else { return Err(format!("{piece:?} before the end").into()) };
            assert!(!piece.is_empty());
            together.push_str(&piece);
        }
        assert_eq!(together, text(&whole));
        Ok(())
    })
}

pub(super) fn an_answer_ends_at_max_tokens(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let sampling = Sampling { max_tokens: 3, temperature: 0.0, ..Sampling::default() };
        let request = TextGeneration { sampling, ..question("Tell me a long story about a king and a queen.") };
        let answer = subject.driver.generate(&subject.text_model, request).await?;
        assert_eq!(answer.reason, FinishReason::Length);
        assert_eq!(answer.usage.completion_tokens, 3);
        Ok(())
    })
}

pub(super) fn usage_counts_the_tokens_of_prompt_and_answer(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let short = subject.driver.generate(&subject.text_model, question("Hi")).await?.usage;
        let long =
            subject.driver.generate(&subject.text_model, question("Hi, what a wonderful day it is today")).await?.usage;
        assert!(long.prompt_tokens > short.prompt_tokens && short.prompt_tokens > 0);
        for usage in [short, long] {
            assert!((1..=8).contains(&usage.completion_tokens));
            assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
        }
        Ok(())
    })
}

pub(super) fn a_raw_prompt_has_no_more_tokens_than_a_conversation(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let text = "Once upon a time";
        let raw = TextGeneration { prompt: Prompt::Raw(text.to_owned()), ..question("") };
        let raw = subject.driver.generate(&subject.text_model, raw).await?;
        let asked = subject.driver.generate(&subject.text_model, question(text)).await?;
        assert!(raw.usage.prompt_tokens <= asked.usage.prompt_tokens);
        Ok(())
    })
}

pub(super) fn a_dropped_stream_makes_room_for_others(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let sampling = Sampling { max_tokens: 100_000, temperature: 0.0, ..Sampling::default() };
        let endless = || TextGeneration { sampling, stream: true, ..question("Count to a million.") };
        for number in 0..MANY {
            match subject.driver.stream(&subject.text_model, endless()).await {
                Ok(mut stream) => {
                    // Every hundredth is under way when it is dropped.
                    if number % 100 == 0 {
                        stream.next().await.ok_or("there is no event")??;
                    }
                }
                // Those dropped before may not be noticed yet.
                Err(error) if InferenceCode::of(&error) == Some(InferenceCode::OutOfCapacity) => {}
                Err(error) => return Err(error.into()),
            }
        }
        loop {
            match subject.driver.generate(&subject.text_model, question("Hi")).await {
                Ok(answer) => {
                    assert!(answer.usage.completion_tokens > 0);
                    return Ok(());
                }
                Err(error) if InferenceCode::of(&error) == Some(InferenceCode::OutOfCapacity) => {
                    tokio::task::yield_now().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    })
}

pub(super) fn answers_made_at_once_do_not_mix(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let questions = ["What is a dog?", "Name a colour.", "How old is the sun?"];
        let ask = |text| subject.driver.generate(&subject.text_model, question(text));
        let at_once: Vec<_> = join_all(questions.map(ask)).await.into_iter().collect::<Result<_>>()?;
        for (text, together) in questions.iter().zip(at_once) {
            assert_eq!(ask(text).await?, together, "{text}");
        }
        Ok(())
    })
}

pub(super) fn a_prompt_that_is_too_long_is_refused(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let request = question(&"word ".repeat(TOO_MANY));
        let error = subject.driver.generate(&subject.text_model, request).await.err().ok_or("it was read")?;
        assert_eq!(InferenceCode::of(&error), Some(InferenceCode::RequestTooLarge), "{error}");
        Ok(())
    })
}
