//! How fast the driver `candle` is: one line of JSON for `benches/ai/run`.
//!
//! `speed <models folder> generate <model> <prompt tokens, about> <answer tokens>` or `speed <models folder> embed <model> <texts>`

#![expect(clippy::print_stdout, reason = "the figures are this program's data")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use aerostack_ai::drivers::candle::{CandleDriver, CandleOptions, Engine, EngineOptions};
use aerostack_ai::{AiDriver, EmbeddingsRequest, GenerationEvent, Prompt, Sampling, TextGeneration};
use futures_util::StreamExt;
use serde_json::json;

/// What one measurement needs to be over with.
type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, what, model, numbers @ ..] = &arguments[..] else {
        return Err("see the first lines of this file".into());
    };
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse()).collect::<Result<_, _>>()?;
    let options = CandleOptions {
        name: "AI".to_owned(),
        models_folder: PathBuf::from(folder),
        models: BTreeMap::new(),
        context_limit: CandleOptions::CONTEXT_LIMIT,
    };
    let driver = CandleDriver::new(options, Engine::start(EngineOptions::default())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (what.as_str(), &numbers[..]) {
        ("generate", [prompt, answer]) => runtime.block_on(generate(&driver, model, *prompt, *answer)),
        ("embed", [texts]) => runtime.block_on(embed(&driver, model, *texts)),
        _ => Err("see the first lines of this file".into()),
    }
}

async fn generate(driver: &CandleDriver, model: &str, prompt: usize, answer: usize) -> Outcome {
    let request = |words: usize, max_tokens: usize| TextGeneration {
        sampling: Sampling { max_tokens: max_tokens as u32, temperature: 0.0, ..Sampling::default() },
        ..TextGeneration::new(Prompt::Raw(format!("Count{}", " and count".repeat(words / 2))))
    };
    let started = Instant::now();
    driver.generate(model, request(4, 1)).await?;
    let load = started.elapsed();
    let started = Instant::now();
    let mut stream = driver.stream(model, request(prompt, answer)).await?;
    let (mut first, mut usage) = (None, None);
    while let Some(event) = stream.next().await {
        match event? {
            GenerationEvent::Text(_) if first.is_none() => first = Some(started.elapsed()),
            GenerationEvent::Finished { usage: used, .. } => usage = Some(used),
            _ => {}
        }
    }
    let (first, usage) = (first.ok_or("no text")?, usage.ok_or("no end")?);
    let rest = started.elapsed().saturating_sub(first);
    println!(
        "{}",
        json!({
            "load_s": load.as_secs_f64(),
            "prompt_tokens": usage.prompt_tokens,
            "prompt_per_s": f64::from(usage.prompt_tokens) / first.as_secs_f64(),
            "answer_tokens": usage.completion_tokens,
            "answer_per_s": f64::from(usage.completion_tokens.saturating_sub(1)) / rest.as_secs_f64(),
        })
    );
    Ok(())
}

async fn embed(driver: &CandleDriver, model: &str, texts: usize) -> Outcome {
    let request = |count: usize| EmbeddingsRequest {
        texts: (0..count)
            .map(|number| format!("Text number {number}: the quick brown fox jumps over the lazy dog."))
            .collect(),
        pooling: None,
    };
    let started = Instant::now();
    driver.embed(model, request(1)).await?;
    let load = started.elapsed();
    let started = Instant::now();
    driver.embed(model, request(texts)).await?;
    println!(
        "{}",
        json!({"load_s": load.as_secs_f64(), "texts_per_s": texts as f64 / started.elapsed().as_secs_f64()})
    );
    Ok(())
}
