//! The transformer that generates text, over the quantised weights of a GGUF file.
//!
//! One decoder serves the families that differ in details only ([`Family`]). Its weights are shared by every generation; what a
//! generation has of its own is its [`Context`].

use std::io::Cursor;
use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Result, bail};

use super::compute::attention::KeysAndValues;
use super::compute::dense::ROWS;
use super::compute::threads::{Places, pieces, rows};
use super::compute::vectors::{add, gelu_by_tanh, multiply, rms_norm, silu, turn_halves, turn_neighbours};
use super::gguf::Metadata;
use super::matrix::{Input, Matrix};

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
    embeddings: Arc<Matrix>,
    layers: Vec<Layer>,
    norm: Norm,
    output: Arc<Matrix>,
    heads: usize,
    kv_heads: usize,
    head_size: usize,
    embedding_size: usize,
    context_length: usize,
}

/// What one generation has seen.
pub(super) struct Context {
    /// By layer and head.
    caches: Vec<Vec<KeysAndValues>>,
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
    bias: Option<Vec<f32>>,
}

struct Norm {
    weight: Vec<f32>,
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
        let factors = weights.plain("rope_freqs.weight")?;
        let frequencies = frequencies(head_size, base, linear_scale, factors.as_deref());
        let window = metadata.integer(&key("attention.sliding_window"));
        let local_base = metadata.float(&key("rope.local_freq_base")).unwrap_or(GEMMA_LOCAL_BASE);
        let feed_size = metadata.required(&key("feed_forward_length"))?;
        let query_size = heads.checked_mul(head_size).unwrap_or(0);
        let (size, key_size) = (embedding_size, query_size / heads * kv_heads);
        if size == 0 || query_size == 0 || feed_size == 0 {
            bail!("the file has rows of {size}, {feed_size} and {heads} times {head_size} numbers");
        }
        let mut layers = Vec::new();
        for index in 0..metadata.required(&key("block_count"))? {
            let windowed = family == Family::Gemma3 && (index + 1) % GEMMA_FULL_LAYER != 0;
            let at = |part: &str| format!("blk.{index}.{part}");
            layers.push(Layer {
                attention_norm: weights.norm(&at("attn_norm"), size)?,
                query: weights.linear(&at("attn_q"), query_size, size)?,
                key: weights.linear(&at("attn_k"), key_size, size)?,
                value: weights.linear(&at("attn_v"), key_size, size)?,
                output: weights.matrix(&at("attn_output.weight"), size, query_size)?,
                query_norm: weights.optional_norm(&at("attn_q_norm"), head_size)?,
                key_norm: weights.optional_norm(&at("attn_k_norm"), head_size)?,
                after_attention: weights.optional_norm(&at("post_attention_norm"), size)?,
                feed_norm: weights.norm(&at("ffn_norm"), size)?,
                gate: weights.matrix(&at("ffn_gate.weight"), feed_size, size)?,
                up: weights.matrix(&at("ffn_up.weight"), feed_size, size)?,
                down: weights.matrix(&at("ffn_down.weight"), size, feed_size)?,
                after_feed: weights.optional_norm(&at("post_ffw_norm"), size)?,
                frequencies: if windowed {
                    self::frequencies(head_size, local_base, 1.0, None)
                } else {
                    frequencies.clone()
                },
                window: if windowed { window } else { None },
            });
        }
        let embeddings = Arc::new(weights.table("token_embd.weight", size)?);
        // Small models use the same matrix at both ends.
        let output = if content.tensor_infos.contains_key("output.weight") {
            Arc::new(weights.table("output.weight", size)?)
        } else {
            Arc::clone(&embeddings)
        };
        let norm = weights.norm("output_norm", size)?;
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
        let heads = || (0..self.kv_heads).map(|_| KeysAndValues::new(self.head_size, 0)).collect();
        Context { caches: self.layers.iter().map(|_| heads()).collect(), length: 0 }
    }

    /// Shows the next tokens, at least one, to a context and returns one score for each token of the vocabulary to come after
    /// them.
    pub(super) fn forward(&self, tokens: &[u32], context: &mut Context) -> Result<Vec<f32>> {
        let mut x = self.embeddings.lookup(tokens)?;
        if self.family == Family::Gemma3 {
            let factor = (self.embedding_size as f32).sqrt();
            for number in &mut x {
                *number *= factor;
            }
        }
        let mut turns: Option<(&[f32], Turns)> = None;
        for (layer, caches) in self.layers.iter().zip(&mut context.caches) {
            let turn = match turns.take() {
                Some((frequencies, turn)) if *frequencies == layer.frequencies[..] => turn,
                _ => Turns::new(&layer.frequencies, context.length, tokens.len()),
            };
            self.layer(layer, &mut x, &turn, caches)?;
            turns = Some((&layer.frequencies, turn));
        }
        context.length += tokens.len();
        let last = self.norm.of(&x[(tokens.len() - 1) * self.embedding_size..]);
        self.output.forward(&Input::new(&last))
    }

    fn layer(&self, layer: &Layer, x: &mut [f32], turns: &Turns, caches: &mut [KeysAndValues]) -> Result<()> {
        let size = self.embedding_size;
        let mut attended = self.attention(layer, &layer.attention_norm.of(x), turns, caches)?;
        if let Some(norm) = &layer.after_attention {
            norm.apply(&mut attended);
        }
        rows(x, size, |first, rows| add(rows, &attended[first * size..]));
        let fed = layer.feed_norm.of(x);
        let fed = Input::new(&fed);
        let mut gate = layer.gate.forward(&fed)?;
        let up = layer.up.forward(&fed)?;
        let activate = if self.family == Family::Gemma3 { gelu_by_tanh } else { silu };
        let feed_size = layer.gate.rows();
        rows(&mut gate, feed_size, |first, rows| {
            activate(rows);
            multiply(rows, &up[first * feed_size..]);
        });
        let mut fed = layer.down.forward(&Input::new(&gate))?;
        if let Some(norm) = &layer.after_feed {
            norm.apply(&mut fed);
        }
        rows(x, size, |first, rows| add(rows, &fed[first * size..]));
        Ok(())
    }

    fn attention(&self, layer: &Layer, x: &[f32], turns: &Turns, caches: &mut [KeysAndValues]) -> Result<Vec<f32>> {
        let x = Input::new(x);
        let mut query = layer.query.forward(&x)?;
        let mut key = layer.key.forward(&x)?;
        let value = layer.value.forward(&x)?;
        self.turn(&mut query, layer.query_norm.as_ref(), self.heads, turns);
        self.turn(&mut key, layer.key_norm.as_ref(), self.kv_heads, turns);
        let kv_heads = self.kv_heads;
        for (head, cache) in caches.iter_mut().enumerate() {
            let keys = key.chunks_exact(self.head_size).skip(head).step_by(kv_heads);
            let values = value.chunks_exact(self.head_size).skip(head).step_by(kv_heads);
            keys.zip(values).for_each(|(key, value)| cache.append(key, value));
        }
        self.attend(&mut query, caches, layer.window);
        layer.output.forward(&Input::new(&query))
    }

    /// Puts what the queries of the last positions get in their places.
    fn attend(&self, queries: &mut [f32], caches: &[KeysAndValues], window: Option<usize>) {
        let (size, heads) = (self.head_size, self.heads);
        // The heads that share keys and values, one position after the other.
        let group = heads / self.kv_heads;
        let count = queries.len() / (heads * size);
        let blocks = (count * group).div_ceil(ROWS);
        let scale = 1.0 / (size as f32).sqrt();
        let places = Places::of(queries);
        pieces(caches.len() * blocks, |piece| {
            let (head, block) = (piece / blocks, piece % blocks);
            let cache = &caches[head];
            let rows = block * ROWS..(count * group).min((block + 1) * ROWS);
            let place = |row: usize| {
                let start = (row / group * heads + head * group + row % group) * size;
                // SAFETY: no other piece has these rows of this head, and here one is used after the other.
                unsafe { places.at(start..start + size) }
            };
            let mut queries: Vec<f32> =
                rows.clone().flat_map(|row| place(row).iter().map(|number| number * scale)).collect();
            let seen: Vec<_> = rows
                .clone()
                .map(|row| {
                    let end = cache.length() - count + row / group + 1;
                    end.saturating_sub(window.unwrap_or(end))..end
                })
                .collect();
            cache.attend(&mut queries, &seen);
            for (row, attended) in rows.zip(queries.chunks_exact(size)) {
                place(row).copy_from_slice(attended);
            }
        });
    }

    /// Turns heads by the positions of their rows.
    fn turn(&self, x: &mut [f32], norm: Option<&Norm>, heads: usize, turns: &Turns) {
        // Llama's files have the pairs of a head side by side; the others have them half a head apart.
        let turn = if self.family == Family::Llama { turn_neighbours } else { turn_halves };
        rows(x, heads * self.head_size, |first, rows| {
            if let Some(norm) = norm {
                rms_norm(rows, &norm.weight, norm.epsilon);
            }
            for (row, heads) in (first..).zip(rows.chunks_exact_mut(heads * self.head_size)) {
                let (cosines, sines) = turns.of(row);
                heads.chunks_exact_mut(self.head_size).for_each(|head| turn(head, cosines, sines));
            }
        });
    }
}

/// How far positions turn the pairs of a head, row by row.
struct Turns {
    cosines: Vec<f32>,
    sines: Vec<f32>,
    pairs: usize,
}

impl Turns {
    fn new(frequencies: &[f32], first: usize, count: usize) -> Self {
        let angles =
            (first..first + count).flat_map(|position| frequencies.iter().map(move |turn| position as f32 * turn));
        let (sines, cosines) = angles.map(f32::sin_cos).unzip();
        Self { cosines, sines, pairs: frequencies.len() }
    }

    /// The cosines and the sines of a row.
    fn of(&self, row: usize) -> (&[f32], &[f32]) {
        let range = row * self.pairs..(row + 1) * self.pairs;
        (&self.cosines[range.clone()], &self.sines[range])
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
    fn forward(&self, x: &Input<'_>) -> Result<Vec<f32>> {
        let mut x = self.weight.forward(x)?;
        if let Some(bias) = &self.bias {
            x.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
        }
        Ok(x)
    }
}

impl Norm {
    fn of(&self, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        self.apply(&mut x);
        x
    }

    fn apply(&self, x: &mut [f32]) {
        rows(x, self.weight.len(), |_, rows| rms_norm(rows, &self.weight, self.epsilon));
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

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix> {
        let matrix = self.table(name, columns)?;
        if matrix.rows() != rows {
            bail!("{name} has {} rows and not {rows}", matrix.rows());
        }
        Ok(matrix)
    }

    /// A matrix of any number of rows.
    fn table(&self, name: &str, columns: usize) -> Result<Matrix> {
        let tensor = self.tensor(name)?;
        match tensor.shape().dims2()? {
            (_, found) if found != columns => bail!("{name} has {found} columns and not {columns}"),
            _ => Matrix::new(tensor),
        }
    }

    /// A tensor as plain numbers, where it is there.
    fn plain(&self, name: &str) -> Result<Option<Vec<f32>>> {
        if !self.content.tensor_infos.contains_key(name) {
            return Ok(None);
        }
        self.tensor(name)?.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1().map(Some)
    }

    /// So many plain numbers, where they are there.
    fn vector(&self, name: &str, length: usize) -> Result<Option<Vec<f32>>> {
        let vector = self.plain(name)?;
        match &vector {
            Some(vector) if vector.len() != length => bail!("{name} has {} numbers and not {length}", vector.len()),
            _ => Ok(vector),
        }
    }

    fn linear(&self, name: &str, rows: usize, columns: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.matrix(&format!("{name}.weight"), rows, columns)?,
            bias: self.vector(&format!("{name}.bias"), rows)?,
        })
    }

    fn optional_norm(&self, name: &str, size: usize) -> Result<Option<Norm>> {
        let weight = self.vector(&format!("{name}.weight"), size)?;
        Ok(weight.map(|weight| Norm { weight, epsilon: self.epsilon }))
    }

    fn norm(&self, name: &str, size: usize) -> Result<Norm> {
        match self.optional_norm(name, size)? {
            Some(norm) => Ok(norm),
            None => bail!("the file has no {name}.weight"),
        }
    }
}

#[cfg(test)]
mod tests;
