//! The transformer that generates text, over the quantised weights of a GGUF file.
//!
//! One decoder serves the families that differ in details only ([`Family`]). Its weights are shared by every generation; what a
//! generation has of its own is its [`Context`].

use std::io::Cursor;
use std::sync::Arc;

use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{D, DType, Device, Result, Tensor, bail};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::kv_cache::KvCache;
use candle_nn::ops::{rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::{rope, rope_i};

use super::gguf::Metadata;
use super::matrix::Matrix;

/// So many positions a context makes room for at a time.
const CONTEXT_STEP: usize = 512;

/// Every so many layers of Gemma 3 see the whole context; the others see a window.
const GEMMA_FULL_LAYER: usize = 6;

/// The base of the windowed layers' rotation, where a file does not say.
const GEMMA_LOCAL_BASE: f32 = 10_000.0;

/// Where the families differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Llama, Mistral, TinyLlama, SmolLM.
    Llama,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3.
    Qwen3,
    /// Gemma 3.
    Gemma3,
}

impl Family {
    fn named(name: &str) -> Result<Self> {
        match name {
            "llama" => Ok(Self::Llama),
            "qwen2" => Ok(Self::Qwen2),
            "qwen3" => Ok(Self::Qwen3),
            "gemma3" => Ok(Self::Gemma3),
            _ => bail!("models of the architecture {name} are not supported; llama, qwen2, qwen3 and gemma3 are"),
        }
    }
}

/// The weights of a model.
pub(super) struct Decoder {
    family: Family,
    embeddings: QMatMul,
    layers: Vec<Layer>,
    norm: Norm,
    output: Matrix,
    heads: usize,
    kv_heads: usize,
    head_size: usize,
    embedding_size: usize,
    context_length: usize,
}

/// What one generation has seen.
pub(super) struct Context {
    caches: Vec<KvCache>,
    length: usize,
}

struct Layer {
    attention_norm: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Matrix,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    after_attention: Option<Norm>,
    feed_norm: Norm,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    after_feed: Option<Norm>,
    /// Radians a position turns each pair of a head.
    frequencies: Vec<f32>,
    /// Only so many positions back are seen.
    window: Option<usize>,
}

struct Linear {
    weight: Matrix,
    bias: Option<Tensor>,
}

struct Norm {
    weight: Tensor,
    epsilon: f32,
}

impl Decoder {
    /// Reads the weights. `bytes` is the whole file, `content` its beginning; `progress` is told how many bytes of weights are read.
    pub(super) fn read(content: &Content, bytes: &[u8], progress: &dyn Fn(u64)) -> Result<Self> {
        let metadata = Metadata(&content.metadata);
        let Some(name) = metadata.text("general.architecture") else { bail!("the file has no general.architecture") };
        let family = Family::named(name)?;
        let key = |key: &str| format!("{name}.{key}");
        if metadata.integer(&key("expert_count")).unwrap_or(0) > 0 {
            bail!("models of several experts are not supported");
        }
        let embedding_size = metadata.required(&key("embedding_length"))?;
        let heads = metadata.required(&key("attention.head_count"))?;
        let kv_heads = metadata.integer(&key("attention.head_count_kv")).unwrap_or(heads);
        if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
            bail!("the file has {heads} heads and {kv_heads} heads of keys");
        }
        let head_size = metadata.integer(&key("attention.key_length")).unwrap_or(embedding_size / heads);
        if metadata.integer(&key("rope.dimension_count")).is_some_and(|size| size != head_size) {
            bail!("models that turn a part of each head are not supported");
        }
        let epsilon = metadata.float(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5);
        let weights = Weights { content, bytes, progress, epsilon };
        let base = metadata.float(&key("rope.freq_base")).unwrap_or(10_000.0);
        let linear_scale = match metadata.text(&key("rope.scaling.type")) {
            Some("linear") => metadata.float(&key("rope.scaling.factor")).unwrap_or(1.0),
            None | Some("none") => 1.0,
            Some(other) => bail!("the stretching of the context by {other} is not supported"),
        };
        // Llama 3.1 and later stretch each frequency on its own.
        let factors = weights.plain("rope_freqs.weight")?.map(|factors| factors.to_vec1::<f32>()).transpose()?;
        let frequencies = frequencies(head_size, base, linear_scale, factors.as_deref());
        let window = metadata.integer(&key("attention.sliding_window"));
        let local_base = metadata.float(&key("rope.local_freq_base")).unwrap_or(GEMMA_LOCAL_BASE);
        let mut layers = Vec::new();
        for index in 0..metadata.required(&key("block_count"))? {
            let windowed = family == Family::Gemma3 && (index + 1) % GEMMA_FULL_LAYER != 0;
            let at = |part: &str| format!("blk.{index}.{part}");
            layers.push(Layer {
                attention_norm: weights.norm(&at("attn_norm"))?,
                query: weights.linear(&at("attn_q"))?,
                key: weights.linear(&at("attn_k"))?,
                value: weights.linear(&at("attn_v"))?,
                output: weights.matrix(&at("attn_output.weight"))?,
                query_norm: weights.optional_norm(&at("attn_q_norm"))?,
                key_norm: weights.optional_norm(&at("attn_k_norm"))?,
                after_attention: weights.optional_norm(&at("post_attention_norm"))?,
                feed_norm: weights.norm(&at("ffn_norm"))?,
                gate: weights.matrix(&at("ffn_gate.weight"))?,
                up: weights.matrix(&at("ffn_up.weight"))?,
                down: weights.matrix(&at("ffn_down.weight"))?,
                after_feed: weights.optional_norm(&at("post_ffw_norm"))?,
                frequencies: if windowed {
                    self::frequencies(head_size, local_base, 1.0, None)
                } else {
                    frequencies.clone()
                },
                window: if windowed { window } else { None },
            });
        }
        let table = Arc::new(weights.tensor("token_embd.weight")?);
        // Small models use the same matrix at both ends.
        let output = if content.tensor_infos.contains_key("output.weight") {
            weights.matrix("output.weight")?
        } else {
            Matrix::table(Arc::clone(&table))?
        };
        let embeddings = QMatMul::from_arc(table)?;
        let norm = weights.norm("output_norm")?;
        let context_length = metadata.required(&key("context_length"))?;
        Ok(Self {
            family,
            embeddings,
            layers,
            norm,
            output,
            heads,
            kv_heads,
            head_size,
            embedding_size,
            context_length,
        })
    }

    /// How many tokens the model can look at.
    pub(super) fn context_length(&self) -> usize {
        self.context_length
    }

    /// A context that has seen nothing.
    pub(super) fn context(&self) -> Context {
        let caches = self.layers.iter().map(|_| KvCache::new(1, CONTEXT_STEP)).collect();
        Context { caches, length: 0 }
    }

    /// Shows the next tokens, at least one, to a context and returns one score for each token of the vocabulary to come after
    /// them.
    pub(super) fn forward(&self, tokens: &[u32], context: &mut Context) -> Result<Vec<f32>> {
        let count = tokens.len();
        let mut x =
            self.embeddings.embedding(&Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?)?.to_dtype(DType::F32)?;
        if self.family == Family::Gemma3 {
            x = (x * (self.embedding_size as f64).sqrt())?;
        }
        let mut turns: Option<(&[f32], Turns)> = None;
        for (layer, cache) in self.layers.iter().zip(&mut context.caches) {
            let turn = match turns.take() {
                Some((frequencies, turn)) if *frequencies == layer.frequencies[..] => turn,
                _ => Turns::new(&layer.frequencies, context.length, count)?,
            };
            x = self.layer(layer, &x, &turn, cache, context.length)?;
            turns = Some((&layer.frequencies, turn));
        }
        context.length += count;
        let last = x.narrow(1, count - 1, 1)?.contiguous()?;
        self.output.forward(&self.norm.forward(&last)?)?.flatten_all()?.to_vec1()
    }

    fn layer(&self, layer: &Layer, x: &Tensor, turns: &Turns, cache: &mut KvCache, seen: usize) -> Result<Tensor> {
        let attended = self.attention(layer, &layer.attention_norm.forward(x)?, turns, cache, seen)?;
        let x = (x + layer.after_attention.as_ref().map_or(Ok(attended.clone()), |norm| norm.forward(&attended))?)?;
        let fed = layer.feed_norm.forward(&x)?;
        let gate = layer.gate.forward(&fed)?;
        let gate = if self.family == Family::Gemma3 { gate.gelu()? } else { gate.silu()? };
        let fed = layer.down.forward(&(gate * layer.up.forward(&fed)?)?)?;
        x + layer.after_feed.as_ref().map_or(Ok(fed.clone()), |norm| norm.forward(&fed))?
    }

    fn attention(&self, layer: &Layer, x: &Tensor, turns: &Turns, cache: &mut KvCache, seen: usize) -> Result<Tensor> {
        let count = x.dim(1)?;
        let split = |x: Tensor, heads: usize, norm: Option<&Norm>| {
            let x = x.reshape((1, count, heads, self.head_size))?;
            norm.map_or(Ok(x.clone()), |norm| norm.forward(&x))
        };
        let query = split(layer.query.forward(x)?, self.heads, layer.query_norm.as_ref())?;
        let key = split(layer.key.forward(x)?, self.kv_heads, layer.key_norm.as_ref())?;
        let value = split(layer.value.forward(x)?, self.kv_heads, None)?;
        let query = self.turn(&query, turns)?;
        let key = self.turn(&key, turns)?;
        let (key, value) = cache.append(&key, &value)?;
        let attended = self.attend(&query, &key, &value, seen, layer.window)?;
        layer.output.forward(&attended.transpose(1, 2)?.reshape((1, count, self.heads * self.head_size))?)
    }

    /// `(1, count, heads, size)` in and `(1, heads, count, size)` out.
    fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        seen: usize,
        window: Option<usize>,
    ) -> Result<Tensor> {
        let count = query.dim(1)?;
        let total = seen + count;
        let scale = 1.0 / (self.head_size as f32).sqrt();
        match window {
            Some(window) if total > window && count == 1 => {
                let (key, value) = (key.narrow(1, total - window, window)?, value.narrow(1, total - window, window)?);
                flash_attn::<f32>(query, &key, &value, scale, AttnMask::Causal { kv_offset: window - 1 }, None, None)
            }
            Some(window) if total > window => self.attend_window(query, key, value, seen, window),
            _ => flash_attn::<f32>(query, key, value, scale, AttnMask::Causal { kv_offset: seen }, None, None),
        }
    }

    fn attend_window(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        seen: usize,
        window: usize,
    ) -> Result<Tensor> {
        let (count, total) = (query.dim(1)?, seen + query.dim(1)?);
        let groups = self.heads / self.kv_heads;
        let hidden = (0..count).flat_map(|row| {
            (0..total).map(move |column| {
                let at = seen + row;
                if column <= at && at - column < window { 0.0 } else { f32::NEG_INFINITY }
            })
        });
        let mask = Tensor::from_iter(hidden, &Device::Cpu)?.reshape((1, 1, count, total))?;
        let query = query.transpose(1, 2)?.contiguous()?.reshape((1, self.kv_heads, groups * count, self.head_size))?;
        let key = key.transpose(1, 2)?.contiguous()?;
        let value = value.transpose(1, 2)?.contiguous()?;
        let scores = (query.matmul(&key.t()?)? * (1.0 / (self.head_size as f64).sqrt()))?;
        let scores = scores.reshape((1, self.heads, count, total))?.broadcast_add(&mask)?;
        let weights = softmax_last_dim(&scores)?.reshape((1, self.kv_heads, groups * count, total))?;
        weights.matmul(&value)?.reshape((1, self.heads, count, self.head_size))
    }

    fn turn(&self, x: &Tensor, turns: &Turns) -> Result<Tensor> {
        let x = x.transpose(1, 2)?.contiguous()?;
        // Llama's files have the pairs of a head side by side; the others have them half a head apart.
        let turned = if self.family == Family::Llama {
            rope_i(&x, &turns.cos, &turns.sin)
        } else {
            rope(&x, &turns.cos, &turns.sin)
        };
        turned?.transpose(1, 2)?.contiguous()
    }
}

/// How far positions turn the pairs of a head.
struct Turns {
    cos: Tensor,
    sin: Tensor,
}

impl Turns {
    fn new(frequencies: &[f32], first: usize, count: usize) -> Result<Self> {
        let angles =
            (first..first + count).flat_map(|position| frequencies.iter().map(move |turn| position as f32 * turn));
        let angles = Tensor::from_iter(angles, &Device::Cpu)?.reshape((count, frequencies.len()))?;
        Ok(Self { cos: angles.cos()?, sin: angles.sin()? })
    }
}

fn frequencies(head_size: usize, base: f32, linear_scale: f32, factors: Option<&[f32]>) -> Vec<f32> {
    (0..head_size / 2)
        .map(|pair| {
            let frequency = 1.0 / base.powf(2.0 * pair as f32 / head_size as f32);
            frequency / linear_scale / factors.and_then(|factors| factors.get(pair)).copied().unwrap_or(1.0)
        })
        .collect()
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.weight.forward(x)?;
        match &self.bias {
            Some(bias) => x.broadcast_add(bias),
            None => Ok(x),
        }
    }
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        debug_assert_eq!(x.dim(D::Minus1)?, self.weight.elem_count());
        rms_norm(x, &self.weight, self.epsilon)
    }
}

struct Weights<'a> {
    content: &'a Content,
    bytes: &'a [u8],
    progress: &'a dyn Fn(u64),
    epsilon: f32,
}

impl Weights<'_> {
    fn tensor(&self, name: &str) -> Result<QTensor> {
        let tensor = self.content.tensor(&mut Cursor::new(self.bytes), name, &Device::Cpu)?;
        (self.progress)(tensor.storage_size_in_bytes() as u64);
        Ok(tensor)
    }

    fn matrix(&self, name: &str) -> Result<Matrix> {
        Matrix::new(self.tensor(name)?)
    }

    /// A tensor as plain numbers, where it is there.
    fn plain(&self, name: &str) -> Result<Option<Tensor>> {
        if !self.content.tensor_infos.contains_key(name) {
            return Ok(None);
        }
        self.tensor(name)?.dequantize(&Device::Cpu).map(Some)
    }

    fn linear(&self, name: &str) -> Result<Linear> {
        Ok(Linear { weight: self.matrix(&format!("{name}.weight"))?, bias: self.plain(&format!("{name}.bias"))? })
    }

    fn optional_norm(&self, name: &str) -> Result<Option<Norm>> {
        let weight = self.plain(&format!("{name}.weight"))?;
        Ok(weight.map(|weight| Norm { weight, epsilon: self.epsilon }))
    }

    fn norm(&self, name: &str) -> Result<Norm> {
        match self.optional_norm(name)? {
            Some(norm) => Ok(norm),
            None => bail!("the file has no {name}.weight"),
        }
    }
}
