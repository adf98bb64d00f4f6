//! Models that turn texts into vectors: a folder in the layout of sentence-transformers.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Result, bail};
use candle_nn::VarBuilder;
use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use super::compute::vectors::add;
use super::encoder::{Encoder, EncoderConfig, Text};
use crate::Pooling;

/// So many texts go through the model at once at most.
const MAX_BATCH: usize = 32;

/// So many tokens go through the model at once at most, unless one text has more.
const MAX_BATCH_TOKENS: usize = 4096;

/// A model and what surrounds it.
pub(super) struct Embedder {
    encoder: Encoder,
    tokenizer: Tokenizer,
    pooling: Pooling,
    normalises: bool,
    dimensions: usize,
}

/// The tokens of a text, and its place among the texts of a request.
pub(super) struct Tokens {
    place: usize,
    ids: Vec<u32>,
    types: Vec<u32>,
}

impl Tokens {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

#[derive(Deserialize)]
struct ModuleEntry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
struct Lengths {
    max_seq_length: Option<usize>,
}

#[derive(Deserialize)]
struct PoolingModes {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
}

impl Embedder {
    /// Reads a folder: `config.json`, `tokenizer.json`, the weights, and where they are there `modules.json`,
    /// `sentence_bert_config.json` and the pooling's `config.json`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let config: EncoderConfig = parse("config.json", &read(&folder.join("config.json"))?)?;
        let encoder = Encoder::read(&config, &Self::weights(folder)?)?;
        let (pooling, normalises) = modules(folder)?;
        let lengths: Lengths = optional(folder, "sentence_bert_config.json")?.unwrap_or_default();
        let longest = lengths.max_seq_length.map_or(encoder.longest(), |length| length.min(encoder.longest()));
        let tokenizer = tokenizer(&folder.join("tokenizer.json"), longest)?;
        Ok(Self { encoder, tokenizer, pooling, normalises, dimensions: config.hidden_size })
    }

    fn weights(folder: &Path) -> Result<VarBuilder<'static>> {
        let safetensors = folder.join("model.safetensors");
        if safetensors.exists() {
            // SAFETY: the file is mapped for as long as the weights are read into memory below. Who changes it meanwhile gets wrong
            // numbers, as with any program that reads a file that changes.
            return unsafe { VarBuilder::from_mmaped_safetensors(&[safetensors], DType::F32, &Device::Cpu) };
        }
        VarBuilder::from_pth(folder.join("pytorch_model.bin"), DType::F32, &Device::Cpu)
    }

    /// The length of a vector.
    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How the model pools where a request does not say.
    pub(super) fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// The texts in batches.
    pub(super) fn batches(&self, texts: Vec<String>) -> Result<Vec<Vec<Tokens>>> {
        let encodings = self.tokenizer.encode_batch(texts, true).map_err(wrapped)?;
        let mut batches: Vec<Vec<Tokens>> = Vec::new();
        let mut tokens = 0;
        for (place, encoding) in encodings.into_iter().enumerate() {
            let text = Tokens { place, ids: encoding.get_ids().to_vec(), types: encoding.get_type_ids().to_vec() };
            tokens += text.len();
            match batches.last_mut() {
                Some(batch) if batch.len() < MAX_BATCH && tokens <= MAX_BATCH_TOKENS => batch.push(text),
                _ => {
                    tokens = text.len();
                    batches.push(vec![text]);
                }
            }
        }
        Ok(batches)
    }

    /// Writes the vectors of a batch to their places in `values`, which has room for those of all texts.
    pub(super) fn embed(&self, batch: &[Tokens], pooling: Pooling, values: &mut [f32]) -> Result<()> {
        let size = self.dimensions;
        let texts: Vec<Text<'_>> = batch.iter().map(|text| Text { ids: &text.ids, types: &text.types }).collect();
        let hidden = self.encoder.forward(&texts)?;
        let mut rest = &hidden[..];
        for text in batch {
            let (tokens, others) = rest.split_at(text.len() * size);
            rest = others;
            let tokens = match pooling {
                Pooling::Cls => tokens.get(..size).unwrap_or_default(),
                Pooling::Mean => tokens,
            };
            let vector = &mut values[text.place * size..][..size];
            vector.fill(0.0);
            tokens.chunks_exact(size).for_each(|token| add(vector, token));
            let factor = if self.normalises {
                1.0 / vector.iter().map(|number| number * number).sum::<f32>().sqrt().max(1e-12)
            } else {
                size as f32 / tokens.len().max(1) as f32
            };
            for number in vector {
                *number *= factor;
            }
        }
        Ok(())
    }
}

/// How the model pools, and whether its vectors have length 1.
fn modules(folder: &Path) -> Result<(Pooling, bool)> {
    let Some(modules) = optional::<Vec<ModuleEntry>>(folder, "modules.json")? else {
        return Ok((Pooling::Mean, false));
    };
    let mut pooling = Pooling::Mean;
    let mut normalises = false;
    for module in modules {
        match module.kind.rsplit('.').next() {
            Some("Transformer") => {}
            Some("Pooling") => {
                let config = Path::new(&module.path).join("config.json");
                let modes: PoolingModes = parse("the pooling's config.json", &read(&folder.join(&config))?)?;
                pooling = match modes {
                    PoolingModes { pooling_mode_cls_token: true, pooling_mode_mean_tokens: false } => Pooling::Cls,
                    PoolingModes { pooling_mode_cls_token: false, pooling_mode_mean_tokens: true } => Pooling::Mean,
                    _ => bail!("{} pools in a way that is not supported; mean and cls are", config.display()),
                };
            }
            Some("Normalize") => normalises = true,
            _ => bail!("modules.json has a module {}, which is not supported", module.kind),
        }
    }
    Ok((pooling, normalises))
}

fn tokenizer(path: &Path, longest: usize) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_file(path).map_err(wrapped)?;
    // The file may ask for padding to a fixed length; here a batch decides ([`Embedder::embed`]).
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: longest, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(wrapped)?;
    Ok(tokenizer)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .map_err(|error| candle_core::Error::msg(format!("cannot read {}: {error}", path.display())))
}

fn parse<T: for<'de> Deserialize<'de>>(name: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| candle_core::Error::msg(format!("{name} is not as expected: {error}")))
}

fn optional<T: for<'de> Deserialize<'de>>(folder: &Path, name: &str) -> Result<Option<T>> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(None);
    }
    parse(name, &read(&path)?).map(Some)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn wrapped(error: tokenizers::Error) -> candle_core::Error {
    candle_core::Error::Msg(format!("the tokenizer failed: {error}"))
}
