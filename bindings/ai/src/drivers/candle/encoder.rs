//! The transformer behind the embedding models: BERT, and XLM-RoBERTa, which differs in how it counts positions.

use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use serde::Deserialize;

use super::compute::attention::KeysAndValues;
use super::compute::dense::{Dense, ROWS};
use super::compute::threads::{Places, pieces, rows};
use super::compute::vectors::{add, gelu, gelu_by_tanh, layer_norm, relu};

/// What `config.json` says of an encoder.
#[derive(Debug, Deserialize)]
pub(super) struct EncoderConfig {
    model_type: String,
    pub(super) hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    #[serde(default)]
    pub(super) pad_token_id: u32,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

/// An encoder and its weights.
pub(super) struct Encoder {
    words: Vec<f32>,
    positions: Vec<f32>,
    types: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    size: usize,
    heads: usize,
    activation: fn(&mut [f32]),
    first_position: usize,
    longest: usize,
}

/// The tokens of a text.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) ids: &'a [u32],
    /// As many as there are ids.
    pub(super) types: &'a [u32],
}

struct Layer {
    query: Dense,
    key: Dense,
    value: Dense,
    attended: Dense,
    attention_norm: Norm,
    up: Dense,
    down: Dense,
    norm: Norm,
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Encoder {
    /// Reads the weights, which some files keep below the name of the model's type.
    pub(super) fn read(config: &EncoderConfig, weights: &VarBuilder<'_>) -> Result<Self> {
        let (prefix, first_position) = match config.model_type.as_str() {
            "bert" => ("bert", 0),
            // Positions are counted from behind the number of the padding token.
            "xlm-roberta" => ("roberta", config.pad_token_id as usize + 1),
            other => bail!("models of the type {other} are not supported; bert and xlm-roberta are"),
        };
        if config.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            bail!("models with positions other than absolute ones are not supported");
        }
        if config.num_attention_heads == 0 || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            bail!("{} numbers cannot be shared by {} heads", config.hidden_size, config.num_attention_heads);
        }
        if config.hidden_size == 0 || config.intermediate_size == 0 {
            bail!("rows of {} and {} numbers are too short", config.hidden_size, config.intermediate_size);
        }
        let activation: fn(&mut [f32]) = match config.hidden_act.as_str() {
            "gelu" => gelu,
            "gelu_new" | "gelu_pytorch_tanh" => gelu_by_tanh,
            "relu" => relu,
            other => bail!("the activation {other} is not supported"),
        };
        let weights = if weights.contains_tensor("embeddings.word_embeddings.weight") {
            weights.clone()
        } else {
            weights.pp(prefix)
        };
        let size = config.hidden_size;
        let norm = |weights: VarBuilder<'_>| {
            let (weight, bias) = (vector(&weights, "weight", size)?, vector(&weights, "bias", size)?);
            Ok::<_, candle_core::Error>(Norm { weight, bias, epsilon: config.layer_norm_eps as f32 })
        };
        let tables = weights.pp("embeddings");
        let table = |name: &str, rows: usize| table(&tables.pp(name), rows, size);
        let layers = (0..config.num_hidden_layers).map(|index| {
            let weights = weights.pp("encoder.layer").pp(index);
            let attention = weights.pp("attention");
            Ok(Layer {
                query: dense(&attention.pp("self.query"), size, size)?,
                key: dense(&attention.pp("self.key"), size, size)?,
                value: dense(&attention.pp("self.value"), size, size)?,
                attended: dense(&attention.pp("output.dense"), size, size)?,
                attention_norm: norm(attention.pp("output.LayerNorm"))?,
                up: dense(&weights.pp("intermediate.dense"), size, config.intermediate_size)?,
                down: dense(&weights.pp("output.dense"), config.intermediate_size, size)?,
                norm: norm(weights.pp("output.LayerNorm"))?,
            })
        });
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            types: table("token_type_embeddings", config.type_vocab_size)?,
            norm: norm(tables.pp("LayerNorm"))?,
            layers: layers.collect::<Result<_>>()?,
            size,
            heads: config.num_attention_heads,
            activation,
            first_position,
            longest: config.max_position_embeddings.saturating_sub(first_position),
        })
    }

    /// How many tokens of a text the encoder can read.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// One vector for each token of the texts, one text after the other.
    pub(super) fn forward(&self, texts: &[Text<'_>]) -> Result<Vec<f32>> {
        let mut x = self.embed(texts)?;
        self.norm.apply(&mut x);
        let size = self.size;
        for layer in &self.layers {
            let attended = layer.attended.forward(&self.attention(layer, &x, texts));
            rows(&mut x, size, |first, rows| add(rows, &attended[first * size..]));
            layer.attention_norm.apply(&mut x);
            let mut fed = layer.up.forward(&x);
            rows(&mut fed, layer.up.outputs(), |_, rows| (self.activation)(rows));
            let fed = layer.down.forward(&fed);
            rows(&mut x, size, |first, rows| add(rows, &fed[first * size..]));
            layer.norm.apply(&mut x);
        }
        Ok(x)
    }

    /// What the tables say of each token.
    fn embed(&self, texts: &[Text<'_>]) -> Result<Vec<f32>> {
        let size = self.size;
        let mut x = Vec::new();
        for text in texts {
            for ((id, kind), position) in text.ids.iter().zip(text.types).zip(self.first_position..) {
                let start = x.len();
                x.extend_from_slice(row(&self.words, size, *id as usize)?);
                add(&mut x[start..], row(&self.types, size, *kind as usize)?);
                add(&mut x[start..], row(&self.positions, size, position)?);
            }
        }
        Ok(x)
    }

    /// Each token looks at all tokens of its text.
    fn attention(&self, layer: &Layer, x: &[f32], texts: &[Text<'_>]) -> Vec<f32> {
        let (size, head_size) = (self.size, self.size / self.heads);
        let scale = 1.0 / (head_size as f32).sqrt();
        let (mut query, key, value) = (layer.query.forward(x), layer.key.forward(x), layer.value.forward(x));
        let places = Places::of(&mut query);
        let mut first = 0;
        let texts: Vec<_> = texts
            .iter()
            .map(|text| {
                let tokens = first..first + text.ids.len();
                first = tokens.end;
                tokens
            })
            .collect();
        pieces(texts.len() * self.heads, |piece| {
            let (tokens, head) = (texts[piece / self.heads].clone(), piece % self.heads);
            let place = |token: usize| token * size + head * head_size..token * size + (head + 1) * head_size;
            let mut known = KeysAndValues::new(head_size, tokens.len());
            for token in tokens.clone() {
                known.append(&key[place(token)], &value[place(token)]);
            }
            for first in tokens.clone().step_by(ROWS) {
                let tokens = first..tokens.end.min(first + ROWS);
                // SAFETY: no other piece has these tokens of this head, and here one is used after the other.
                let query = |token: usize| unsafe { places.at(place(token)) };
                let mut queries: Vec<f32> =
                    tokens.clone().flat_map(|token| query(token).iter().map(|number| number * scale)).collect();
                known.attend(&mut queries, &vec![0..known.length(); tokens.len()]);
                for (token, attended) in tokens.zip(queries.chunks_exact(head_size)) {
                    query(token).copy_from_slice(attended);
                }
            }
        });
        query
    }
}

impl Norm {
    fn apply(&self, x: &mut [f32]) {
        rows(x, self.weight.len(), |_, rows| layer_norm(rows, &self.weight, &self.bias, self.epsilon));
    }
}

/// A row of a table.
fn row(table: &[f32], size: usize, row: usize) -> Result<&[f32]> {
    match table.chunks_exact(size).nth(row) {
        Some(row) => Ok(row),
        None => bail!("there is no row {row} in a table of {}", table.len() / size),
    }
}

fn vector(weights: &VarBuilder<'_>, name: &str, length: usize) -> Result<Vec<f32>> {
    weights.get(length, name)?.to_vec1()
}

fn table(weights: &VarBuilder<'_>, rows: usize, size: usize) -> Result<Vec<f32>> {
    weights.get((rows, size), "weight")?.flatten_all()?.to_vec1()
}

fn dense(weights: &VarBuilder<'_>, inputs: usize, outputs: usize) -> Result<Dense> {
    Ok(Dense::new(&table(weights, outputs, inputs)?, vector(weights, "bias", outputs)?))
}
