//! The driver `candle`, over the two small models that `scripts/fetch-test-models` gets: the suite, and what is special to it. What
//! the models compute is compared with what the libraries that others use compute (`tests/reference`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use aerostack_ai::conformance::{Subject, trials as suite};
use aerostack_ai::drivers::candle::{CandleDriver, CandleOptions, Engine, EngineOptions, LoadProgress};
use aerostack_ai::{
    AiDriver, EmbeddingsRequest, InferenceCode, Message, ModelState, Pooling, Prompt, Response, Role, Sampling, Task,
    TextGeneration,
};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

const TEXT_MODEL: &str = "smollm2-135m-instruct";
const EMBEDDINGS_MODEL: &str = "all-minilm-l6-v2";

/// Closer than this (in natural logarithms of probabilities) two tokens are as likely as each other. Both libraries round what goes into
/// a product to 8 bits, each in its own order, which moves such a difference by up to 0.4 from what 32 bits give
/// (`tests/reference/compare_exact.py`).
const NEAR_TIE: f32 = 0.4;

/// What the engine told of loading.
static LOADED: Mutex<Vec<LoadProgress>> = Mutex::new(Vec::new());

/// One engine for all tests, as a process has one.
static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| {
    let progress = Arc::new(|told: &LoadProgress| LOADED.lock().expect("no panic").push(told.clone()));
    Engine::start(EngineOptions { progress, ..EngineOptions::default() }).expect("started")
});

pub(crate) fn trials() -> Vec<Trial> {
    let subject: Arc<dyn Fn() -> Subject + Send + Sync> = Arc::new(|| Subject {
        driver: Arc::new(driver(BTreeMap::new())),
        text_model: TEXT_MODEL.to_owned(),
        embeddings_model: EMBEDDINGS_MODEL.to_owned(),
    });
    let mut tests = suite("candle", &subject);
    let mut add = |name: &str, test: fn() -> Result<(), Failed>| {
        tests.push(Trial::test(format!("candle::{name}"), test));
    };
    add("embeddings_are_those_of_sentence_transformers", embeddings_are_those_of_sentence_transformers);
    add("the_likeliest_tokens_are_those_of_llama_cpp", the_likeliest_tokens_are_those_of_llama_cpp);
    add("a_model_is_loaded_once_and_its_loading_is_told", a_model_is_loaded_once_and_its_loading_is_told);
    add("json_is_made_under_constraint", json_is_made_under_constraint);
    add("a_configured_path_takes_a_name_over", a_configured_path_takes_a_name_over);
    let missing = [
        models_folder().join(EMBEDDINGS_MODEL).join("model.safetensors"),
        models_folder().join(TEXT_MODEL).join("SmolLM2-135M-Instruct.Q4_1.gguf"),
    ];
    if let Some(missing) = missing.iter().find(|path| !path.is_file()) {
        let required =
            std::env::var("AEROSTACK_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name == "models"));
        assert!(!required, "AEROSTACK_REQUIRE names models, and {} is not there", missing.display());
        eprintln!("ignored: {} is not there; scripts/fetch-test-models gets it", missing.display());
        tests = tests.into_iter().map(|test| test.with_ignored_flag(true)).collect();
    }
    // These need no model.
    tests.push(Trial::test("candle::a_model_that_is_missing_is_said_with_the_command_that_gets_it", missing_model));
    tests
}

fn models_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("AEROSTACK_TEST_MODELS") {
        return PathBuf::from(folder);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    cache.unwrap_or_default().join("aerostack/models")
}

fn driver(models: BTreeMap<String, PathBuf>) -> CandleDriver {
    let context_limit = CandleOptions::CONTEXT_LIMIT;
    let options = CandleOptions { name: "AI".to_owned(), models_folder: models_folder(), models, context_limit };
    CandleDriver::new(options, Arc::clone(&ENGINE))
}

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

fn reference(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).expect("it is part of the repository")).expect("JSON")
}

fn embeddings_are_those_of_sentence_transformers() -> Result<(), Failed> {
    let expected = reference("embeddings.json");
    let texts: Vec<String> = serde_json::from_value(reference("sentences.json"))?;
    let texts: Vec<String> =
        texts.iter().map(|text| text.replace("REPEAT", &"Over and over again. ".repeat(120))).collect();
    let vectors: Vec<Vec<f32>> = serde_json::from_value(expected["vectors"].clone())?;
    let tokens: Vec<u32> = serde_json::from_value(expected["tokens"].clone())?;
    let answer = block_on(
        driver(BTreeMap::new()).embed(EMBEDDINGS_MODEL, EmbeddingsRequest { texts: texts.clone(), pooling: None }),
    )?;
    assert_eq!((answer.dimensions, answer.pooling), (384, Pooling::Mean));
    assert_eq!(answer.usage.prompt_tokens, tokens.iter().sum::<u32>());
    for ((vector, expected), text) in answer.vectors().zip(&vectors).zip(&texts) {
        let dot: f64 = vector.iter().zip(expected).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let length: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
        assert!((length.sqrt() - 1.0).abs() < 1e-5, "the vectors have length 1");
        assert!(1.0 - dot < 1e-4, "{text:?}: the cosine is {dot}");
    }
    Ok(())
}

fn the_likeliest_tokens_are_those_of_llama_cpp() -> Result<(), Failed> {
    let (mut whole, mut compared) = (0, 0);
    for case in reference("generation.json").as_array().ok_or("no cases")? {
        let messages = case["messages"].as_array().ok_or("no messages")?.iter().map(|message| {
            let role = serde_json::from_value(message["role"].clone()).expect("a role");
            Message::new(role, message["content"].as_str().unwrap_or_default())
        });
        let sampling = Sampling { max_tokens: 32, temperature: 0.0, ..Sampling::default() };
        let request = TextGeneration { sampling, ..TextGeneration::new(Prompt::Messages(messages.collect())) };
        let answer = block_on(driver(BTreeMap::new()).generate(TEXT_MODEL, request))?;
        assert_eq!(
            answer.usage.prompt_tokens as usize,
            case["prompt_tokens"].as_array().map_or(0, Vec::len),
            "{}",
            case["prompt"]
        );
        // From where two tokens were as likely as each other, the two answers may be different ones.
        let margins: Vec<f32> = serde_json::from_value(case["margins"].clone())?;
        let certain = margins.iter().position(|margin| *margin < NEAR_TIE).unwrap_or(margins.len());
        let pieces: Vec<String> = serde_json::from_value(case["pieces"].clone())?;
        let Response::Text(text) = &answer.response else { return Err("the answer is no text".into()) };
        assert!(text.starts_with(&pieces[..certain].concat()), "{text:?} after {}", case["prompt"]);
        if certain == margins.len() {
            assert_eq!(*text, pieces.concat());
            assert_eq!(answer.usage.completion_tokens as usize, pieces.len());
            whole += 1;
        }
        compared += certain;
    }
    assert!(whole > 0 && compared >= 48, "{whole} whole answers and {compared} tokens are too few to mean anything");
    Ok(())
}

fn a_model_is_loaded_once_and_its_loading_is_told() -> Result<(), Failed> {
    let ask = || EmbeddingsRequest { texts: vec!["a".to_owned()], pooling: None };
    block_on(async {
        let (one, other) = (driver(BTreeMap::new()), driver(BTreeMap::new()));
        let (first, second) = tokio::join!(one.embed(EMBEDDINGS_MODEL, ask()), other.embed(EMBEDDINGS_MODEL, ask()));
        assert_eq!(first?, second?);
        let state = one.models().into_iter().find(|model| model.name == EMBEDDINGS_MODEL).map(|model| model.state);
        assert_eq!(state, Some(ModelState::Loaded));
        let told = LOADED.lock().expect("no panic");
        let told: Vec<_> = told.iter().filter(|told| told.path.ends_with(EMBEDDINGS_MODEL)).collect();
        let whole = told.iter().filter(|told| told.read == told.total).count();
        assert_eq!((told.len(), whole), (2, 1), "its beginning and its end, once: {told:?}");
        Ok(())
    })
}

fn json_is_made_under_constraint() -> Result<(), Failed> {
    // A model this small makes no such JSON by itself; two hundred tokens are enough where it cannot help it.
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "name": {"enum": ["Rome", "Paris"]},
            "population": {"type": "integer"},
            "capital": {"type": "boolean"},
        },
        "required": ["name", "population", "capital"],
    });
    let request = TextGeneration {
        response_format: aerostack_ai::ResponseFormat::JsonSchema(schema),
        sampling: Sampling { temperature: 1.0, seed: Some(3), max_tokens: 200, ..Sampling::default() },
        ..TextGeneration::new(Prompt::Messages(vec![Message::new(Role::User, "Tell me about a city.")]))
    };
    let answer = block_on(driver(BTreeMap::new()).generate(TEXT_MODEL, request))?;
    let Response::Json(value) = answer.response else { return Err("the answer is text".into()) };
    assert!(value["population"].is_number() && value["capital"].is_boolean(), "{value}");
    Ok(())
}

fn a_configured_path_takes_a_name_over() -> Result<(), Failed> {
    let models = BTreeMap::from([
        ("@cf/baai/bge-base-en-v1.5".to_owned(), models_folder().join(EMBEDDINGS_MODEL)),
        ("mine".to_owned(), models_folder().join(TEXT_MODEL).join("SmolLM2-135M-Instruct.Q4_1.gguf")),
        ("nowhere".to_owned(), models_folder().join("nowhere.gguf")),
    ]);
    let driver = driver(models);
    assert_eq!(driver.task("mine")?, Task::TextGeneration);
    let texts = vec!["a".to_owned()];
    let answer = block_on(driver.embed("@cf/baai/bge-base-en-v1.5", EmbeddingsRequest { texts, pooling: None }))?;
    assert_eq!(answer.dimensions, 384);
    let error = driver.task("nowhere").err().ok_or("there is no such file")?.to_string();
    assert!(
        error.starts_with("5007: No such model nowhere or task: there is no GGUF file and no embedding model at "),
        "{error}"
    );
    assert!(error.ends_with("nowhere.gguf, which [ai.models.\"nowhere\"] names"), "{error}");
    Ok(())
}

fn missing_model() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let options = CandleOptions {
        name: "AI".to_owned(),
        models_folder: folder.path().to_owned(),
        models: BTreeMap::new(),
        context_limit: CandleOptions::CONTEXT_LIMIT,
    };
    let driver = CandleDriver::new(options, Arc::clone(&ENGINE));
    let name = "@cf/baai/bge-base-en-v1.5";
    assert_eq!(driver.task(name)?, Task::TextEmbeddings);
    let error = block_on(driver.embed(name, EmbeddingsRequest { texts: vec!["a".to_owned()], pooling: None }))
        .err()
        .ok_or("it answered")?;
    let path = folder.path().join("baai/bge-base-en-v1.5");
    assert_eq!(
        error.to_string(),
        format!(
            "5007: No such model {name} or task: its files are not in {}; get them with `aerostack models pull {name}`",
            path.display()
        )
    );
    assert_eq!(InferenceCode::of(&error), Some(InferenceCode::NoSuchModel));
    assert!(matches!(
        driver.models().into_iter().find(|model| model.name == name).map(|model| model.state),
        Some(ModelState::Missing(_))
    ));
    Ok(())
}
