//! The transformer behind the embedding models: BERT, and XLM-RoBERTa, which differs in how it counts positions.

use candle_core::{DType, Device, Module, Result, Tensor, bail};
use candle_nn::ops::softmax_last_dim;
use candle_nn::{Embedding, LayerNorm, Linear, VarBuilder, embedding, layer_norm, linear};
use serde::Deserialize;

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
    words: Embedding,
    positions: Embedding,
    types: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
    heads: usize,
    activation: Activation,
    first_position: usize,
    longest: usize,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
}

#[derive(Clone, Copy)]
enum Activation {
    Gelu,
    GeluByTanh,
    Relu,
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
        let activation = match config.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluByTanh,
            "relu" => Activation::Relu,
            other => bail!("the activation {other} is not supported"),
        };
        let weights = if weights.contains_tensor("embeddings.word_embeddings.weight") {
            weights.clone()
        } else {
            weights.pp(prefix)
        };
        let size = config.hidden_size;
        let norm = |weights: VarBuilder<'_>| layer_norm(size, config.layer_norm_eps, weights);
        let tables = weights.pp("embeddings");
        let layers = (0..config.num_hidden_layers).map(|index| {
            let weights = weights.pp("encoder.layer").pp(index);
            let attention = weights.pp("attention");
            Ok(Layer {
                query: linear(size, size, attention.pp("self.query"))?,
                key: linear(size, size, attention.pp("self.key"))?,
                value: linear(size, size, attention.pp("self.value"))?,
                attended: linear(size, size, attention.pp("output.dense"))?,
                attention_norm: norm(attention.pp("output.LayerNorm"))?,
                up: linear(size, config.intermediate_size, weights.pp("intermediate.dense"))?,
                down: linear(config.intermediate_size, size, weights.pp("output.dense"))?,
                norm: norm(weights.pp("output.LayerNorm"))?,
            })
        });
        Ok(Self {
            words: embedding(config.vocab_size, size, tables.pp("word_embeddings"))?,
            positions: embedding(config.max_position_embeddings, size, tables.pp("position_embeddings"))?,
            types: embedding(config.type_vocab_size, size, tables.pp("token_type_embeddings"))?,
            norm: norm(tables.pp("LayerNorm"))?,
            layers: layers.collect::<Result<_>>()?,
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

    /// One vector for each token: `(texts, tokens)` in and `(texts, tokens, size)` out. `present` is 1 for a token and 0 for what fills
    /// a row up, which has to come behind the tokens.
    pub(super) fn forward(&self, ids: &Tensor, types: &Tensor, present: &Tensor) -> Result<Tensor> {
        let (texts, tokens) = ids.dims2()?;
        let first = self.first_position as u32;
        let positions = Tensor::arange(first, first + tokens as u32, &Device::Cpu)?;
        let x = (self.words.forward(ids)? + self.types.forward(types)?)?
            .broadcast_add(&self.positions.forward(&positions)?)?;
        let mut x = self.norm.forward(&x)?;
        // Nothing to add where a token is, and as good as minus infinity where none is.
        let mask = ((present.to_dtype(DType::F32)? - 1.0)? * 1e30)?.reshape((texts, 1, 1, tokens))?;
        for layer in &self.layers {
            let attended = self.attention(layer, &x, &mask)?;
            x = layer.attention_norm.forward(&(layer.attended.forward(&attended)? + x)?)?;
            let fed = layer.up.forward(&x)?;
            let fed = match self.activation {
                Activation::Gelu => fed.gelu_erf()?,
                Activation::GeluByTanh => fed.gelu()?,
                Activation::Relu => fed.relu()?,
            };
            x = layer.norm.forward(&(layer.down.forward(&fed)? + x)?)?;
        }
        Ok(x)
    }

    fn attention(&self, layer: &Layer, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (texts, tokens, size) = x.dims3()?;
        let split =
            |x: Tensor| x.reshape((texts, tokens, self.heads, size / self.heads))?.transpose(1, 2)?.contiguous();
        let query = split(layer.query.forward(x)?)?;
        let key = split(layer.key.forward(x)?)?;
        let value = split(layer.value.forward(x)?)?;
        let scale = 1.0 / ((size / self.heads) as f64).sqrt();
        let scores = (query.matmul(&key.t()?)? * scale)?.broadcast_add(mask)?;
        softmax_last_dim(&scores)?.matmul(&value)?.transpose(1, 2)?.reshape((texts, tokens, size))
    }
}
