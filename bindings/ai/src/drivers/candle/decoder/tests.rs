//! Small models of each family, beside what their formulas say written down the short way.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::*;

const SIZE: usize = 32;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_SIZE: usize = 8;
const FEED_SIZE: usize = 64;
const LAYERS: usize = 7;
const VOCABULARY: usize = 50;
const WINDOW: usize = 5;
const BASE: f32 = 500.0;
const EPSILON: f64 = 1e-5;

struct Small {
    family: Family,
    bytes: Vec<u8>,
    weights: HashMap<String, Vec<f64>>,
}

impl Small {
    fn new(family: Family, dtype: GgmlDType) -> Self {
        let name = match family {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Gemma3 => "gemma3",
        };
        let mut shapes = vec![
            ("token_embd.weight".to_owned(), vec![VOCABULARY, SIZE]),
            ("output_norm.weight".to_owned(), vec![SIZE]),
        ];
        for layer in 0..LAYERS {
            let mut add = |part: &str, shape: &[usize]| shapes.push((format!("blk.{layer}.{part}"), shape.to_vec()));
            add("attn_norm.weight", &[SIZE]);
            add("attn_q.weight", &[HEADS * HEAD_SIZE, SIZE]);
            add("attn_k.weight", &[KV_HEADS * HEAD_SIZE, SIZE]);
            add("attn_v.weight", &[KV_HEADS * HEAD_SIZE, SIZE]);
            add("attn_output.weight", &[SIZE, HEADS * HEAD_SIZE]);
            add("ffn_norm.weight", &[SIZE]);
            add("ffn_gate.weight", &[FEED_SIZE, SIZE]);
            add("ffn_up.weight", &[FEED_SIZE, SIZE]);
            add("ffn_down.weight", &[SIZE, FEED_SIZE]);
            if family == Family::Qwen2 {
                add("attn_q.bias", &[HEADS * HEAD_SIZE]);
                add("attn_k.bias", &[KV_HEADS * HEAD_SIZE]);
                add("attn_v.bias", &[KV_HEADS * HEAD_SIZE]);
            }
            if matches!(family, Family::Qwen3 | Family::Gemma3) {
                add("attn_q_norm.weight", &[HEAD_SIZE]);
                add("attn_k_norm.weight", &[HEAD_SIZE]);
            }
            if family == Family::Gemma3 {
                add("post_attention_norm.weight", &[SIZE]);
                add("post_ffw_norm.weight", &[SIZE]);
            }
        }
        let mut state = 1_u32;
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let numbers: Vec<f32> = (0..shape.iter().product())
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / 16_777_216.0 - 0.5
                })
                .collect();
            let dtype = if shape.len() == 2 { dtype } else { GgmlDType::F32 };
            let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu).expect("a tensor");
            (name, QTensor::quantize(&tensor, dtype).expect("weights"))
        });
        let tensors: Vec<(String, QTensor)> = tensors.collect();
        let number = |number: usize| Value::U32(number as u32);
        let metadata = [
            ("embedding_length", number(SIZE)),
            ("attention.head_count", number(HEADS)),
            ("attention.head_count_kv", number(KV_HEADS)),
            ("attention.key_length", number(HEAD_SIZE)),
            ("attention.sliding_window", number(WINDOW)),
            ("feed_forward_length", number(FEED_SIZE)),
            ("block_count", number(LAYERS)),
            ("context_length", number(64)),
            ("rope.freq_base", Value::F32(BASE)),
        ]
        .map(|(key, value)| (format!("{name}.{key}"), value));
        let architecture = ("general.architecture".to_owned(), Value::String(name.to_owned()));
        let metadata: Vec<(&str, &Value)> =
            metadata.iter().chain([&architecture]).map(|(key, value)| (key.as_str(), value)).collect();
        let named: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut bytes = Cursor::new(Vec::new());
        gguf_file::write(&mut bytes, &metadata, &named).expect("a file");
        let weights = tensors.iter().map(|(name, tensor)| {
            let numbers = tensor.dequantize(&Device::Cpu).and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
            (name.clone(), numbers.expect("numbers").into_iter().map(f64::from).collect())
        });
        Self { family, bytes: bytes.into_inner(), weights: weights.collect() }
    }

    fn decoder(&self) -> Decoder {
        let content = Content::read(&mut Cursor::new(&self.bytes[..])).expect("a beginning");
        Decoder::read(&content, &self.bytes, &|_| ()).expect("a model")
    }

    fn product(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let rows = self.weights[&format!("{name}.weight")].chunks_exact(x.len());
        let products = rows.map(|row| row.iter().zip(x).map(|(weight, x)| weight * x).sum::<f64>());
        match self.weights.get(&format!("{name}.bias")) {
            Some(bias) => products.zip(bias).map(|(product, bias)| product + bias).collect(),
            None => products.collect(),
        }
    }

    /// The row as it is where there is no such norm.
    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let Some(weight) = self.weights.get(&format!("{name}.weight")) else { return x.to_vec() };
        let root = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + EPSILON).sqrt();
        x.iter().zip(weight).map(|(x, weight)| x / root * weight).collect()
    }

    fn heads(&self, name: &str, layer: usize, x: &[f64], position: usize) -> Vec<Vec<f64>> {
        let base = if self.family == Family::Gemma3 && layer != 5 { 10_000.0 } else { f64::from(BASE) };
        let product = self.product(name, x);
        let heads = product.chunks_exact(HEAD_SIZE).map(|head| {
            let mut head = self.norm(&format!("{name}_norm"), head);
            for pair in 0..HEAD_SIZE / 2 {
                let angle = position as f64 / base.powf(2.0 * pair as f64 / HEAD_SIZE as f64);
                let (one, other) = match self.family {
                    Family::Llama => (2 * pair, 2 * pair + 1),
                    _ => (pair, pair + HEAD_SIZE / 2),
                };
                let (left, right) = (head[one], head[other]);
                head[one] = left * angle.cos() - right * angle.sin();
                head[other] = left * angle.sin() + right * angle.cos();
            }
            head
        });
        heads.collect()
    }

    /// The scores after the last of the tokens.
    fn scores(&self, tokens: &[u32]) -> Vec<f64> {
        let gemma = self.family == Family::Gemma3;
        let factor = if gemma { (SIZE as f64).sqrt() } else { 1.0 };
        let table = &self.weights["token_embd.weight"];
        let mut x: Vec<Vec<f64>> = tokens
            .iter()
            .map(|token| table[*token as usize * SIZE..][..SIZE].iter().map(|number| number * factor).collect())
            .collect();
        for layer in 0..LAYERS {
            let at = |part: &str| format!("blk.{layer}.{part}");
            let window = if gemma && layer != 5 { WINDOW } else { usize::MAX };
            let normed: Vec<Vec<f64>> = x.iter().map(|x| self.norm(&at("attn_norm"), x)).collect();
            let keys: Vec<_> =
                (0..).zip(&normed).map(|(position, x)| self.heads(&at("attn_k"), layer, x, position)).collect();
            let values: Vec<_> = normed.iter().map(|x| self.product(&at("attn_v"), x)).collect();
            for position in 0..tokens.len() {
                let queries = self.heads(&at("attn_q"), layer, &normed[position], position);
                let attended: Vec<f64> = (0..)
                    .zip(queries)
                    .flat_map(|(head, query)| {
                        let kv_head = head * KV_HEADS / HEADS;
                        let seen = (position + 1).saturating_sub(window)..=position;
                        let shares: Vec<(usize, f64)> = seen
                            .map(|seen| {
                                let dot: f64 = query.iter().zip(&keys[seen][kv_head]).map(|(q, k)| q * k).sum();
                                (seen, (dot / (HEAD_SIZE as f64).sqrt()).exp())
                            })
                            .collect();
                        let total: f64 = shares.iter().map(|(_, share)| share).sum();
                        let values = &values;
                        (0..HEAD_SIZE).map(move |at| {
                            let value = |seen: usize| values[seen][kv_head * HEAD_SIZE + at];
                            shares.iter().map(|(seen, share)| share / total * value(*seen)).sum()
                        })
                    })
                    .collect();
                let attended = self.product(&at("attn_output"), &attended);
                let attended = self.norm(&at("post_attention_norm"), &attended);
                x[position].iter_mut().zip(attended).for_each(|(x, more)| *x += more);
                let fed = self.norm(&at("ffn_norm"), &x[position]);
                let activate = |x: f64| {
                    let by_tanh = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                    if gemma { 0.5 * x * (1.0 + by_tanh.tanh()) } else { x / (1.0 + (-x).exp()) }
                };
                let gate = self.product(&at("ffn_gate"), &fed).into_iter().map(activate);
                let fed: Vec<f64> = gate.zip(self.product(&at("ffn_up"), &fed)).map(|(gate, up)| gate * up).collect();
                let fed = self.norm(&at("post_ffw_norm"), &self.product(&at("ffn_down"), &fed));
                x[position].iter_mut().zip(fed).for_each(|(x, more)| *x += more);
            }
        }
        let last = x.last().map(|x| self.norm("output_norm", x)).unwrap_or_default();
        self.product("token_embd", &last)
    }
}

fn tokens() -> Vec<u32> {
    (0..40).map(|at| at * 37 % VOCABULARY as u32).collect()
}

const FAMILIES: [Family; 4] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3];

/// The greatest difference of two lists of scores, as a share of the greatest score.
fn difference(scores: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(scores.len(), expected.len());
    let greatest = expected.iter().fold(0.0_f64, |greatest, score| greatest.max(score.abs()));
    scores
        .iter()
        .zip(expected)
        .map(|(score, expected)| (f64::from(*score) - expected).abs() / greatest)
        .fold(0.0, f64::max)
}

#[test]
fn every_family_computes_what_its_formulas_say() {
    // All but the last are multiplied by candle. What goes into a product is rounded where the weights are.
    let most = [(GgmlDType::F32, 1e-4), (GgmlDType::F16, 0.01), (GgmlDType::Q5_1, 0.05), (GgmlDType::Q8_0, 0.05)];
    for (dtype, most) in most {
        for family in FAMILIES {
            let small = Small::new(family, dtype);
            let scores = small.decoder().forward(&tokens(), &mut small.decoder().context()).expect("scores");
            let difference = difference(&scores, &small.scores(&tokens()));
            assert!(difference < most, "{family:?} {dtype:?}: {difference}");
        }
    }
}

#[test]
fn scores_do_not_depend_on_how_many_tokens_are_shown_at_once() {
    for family in FAMILIES {
        let decoder = Small::new(family, GgmlDType::Q8_0).decoder();
        let whole = decoder.forward(&tokens(), &mut decoder.context()).expect("scores");
        let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
        for size in [1, 3, 17] {
            let mut context = decoder.context();
            let parts = tokens().chunks(size).map(|part| decoder.forward(part, &mut context).expect("scores")).last();
            let difference = difference(&parts.expect("parts"), &whole);
            assert!(difference < 1e-3, "{family:?} by {size}: {difference}");
        }
    }
}

#[test]
fn matrices_of_another_shape_are_refused_by_name() {
    let small = Small::new(Family::Llama, GgmlDType::F32);
    let mut content = Content::read(&mut Cursor::new(&small.bytes[..])).expect("a beginning");
    content.metadata.insert("llama.feed_forward_length".to_owned(), Value::U32(48));
    let error = Decoder::read(&content, &small.bytes, &|_| ()).err().expect("an error").to_string();
    assert!(error.contains("blk.0.ffn_gate.weight has 64 rows and not 48"), "{error}");
}
