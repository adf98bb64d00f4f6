//! The tokenizer inside a GGUF file: text to tokens and tokens to bytes.
//!
//! Two kinds exist. `gpt2` cuts a text into words and merges the bytes of each by the ranks of its pairs; `llama` (SentencePiece)
//! merges the characters of the whole text by the scores of what they form. What a file does not say is as llama.cpp has it, so
//! that a model sees the same tokens here and there.

mod merge;
mod words;

use std::collections::{HashMap, HashSet};

use candle_core::quantized::gguf_file::Value;
use candle_core::{Result, bail};

use self::merge::{Joined, Symbol, merge};
use self::words::Words;
use super::gguf::Metadata;

/// Texts of tokens after which an answer is over, where the file marks them as control tokens.
const ENDS: [&str; 10] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<|end|>",
    "<|end_of_sentence|>",
    "<|eot|>",
    "</s>",
];

/// Texts that belong to an answer although some files mark their tokens as control tokens.
const SHOWN: [&str; 4] = ["<tool_call>", "</tool_call>", "<think>", "</think>"];

/// What SentencePiece writes for a space.
const SPACE: &str = "\u{2581}";

/// Turns text into the tokens of one model, and tokens into bytes.
pub(super) struct Tokenizer {
    /// By token: the bytes it stands for.
    bytes: Vec<Box<[u8]>>,
    /// By token: whether it is a mark and no text.
    control: Vec<bool>,
    /// Tokens by their bytes, without those in `special`.
    ids: HashMap<Box<[u8]>, u32>,
    /// Tokens that are found by their text before anything else is, the longest first.
    special: Vec<(String, u32)>,
    kind: Kind,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    ends: HashSet<u32>,
}

enum Kind {
    /// `gpt2`
    Bytes {
        /// The rank of a pair and what it becomes.
        merges: HashMap<(u32, u32), Joined>,
        words: Words,
        /// Whether a word that is one token is that token whatever the merges say.
        whole_words: bool,
    },
    /// `llama`
    Characters {
        /// By token.
        scores: Vec<f32>,
        space_prefix: bool,
        /// By byte: its token, for characters that have none.
        fallback: Vec<Option<u32>>,
        unknown: Option<u32>,
    },
}

impl Tokenizer {
    /// Reads the tokenizer of a file.
    pub(super) fn read(metadata: Metadata<'_>) -> Result<Self> {
        let Some(tokens) = metadata.list("tokenizer.ggml.tokens") else {
            bail!("the file has no tokenizer.ggml.tokens")
        };
        let texts: Vec<&str> =
            tokens.iter().map(|token| token.to_string().map(String::as_str)).collect::<Result<_>>()?;
        // 1 text, 2 unknown, 3 control, 4 defined by the user, 5 unused, 6 byte.
        let types: Vec<u8> = metadata
            .list("tokenizer.ggml.token_type")
            .map_or_else(|| vec![1; texts.len()], |types| types.iter().map(token_type).collect());
        if types.len() != texts.len() {
            bail!("the file has {} tokens and {} types of tokens", texts.len(), types.len());
        }
        let of_bytes = match metadata.text("tokenizer.ggml.model") {
            Some("gpt2") => true,
            Some("llama") => false,
            other => bail!("tokenizers of the kind {} are not supported", other.unwrap_or("(none)")),
        };
        let mut bytes = Vec::with_capacity(texts.len());
        let mut ids = HashMap::with_capacity(texts.len());
        let mut special = Vec::new();
        for (id, (text, token_type)) in (0u32..).zip(texts.iter().zip(&types)) {
            let stands_for: Box<[u8]> = match token_type {
                3 | 4 => text.as_bytes().into(),
                6 => Box::new([byte_token(text)?]),
                _ if of_bytes => words::bytes_of(text),
                _ => text.replace(SPACE, " ").into_bytes().into_boxed_slice(),
            };
            match token_type {
                3 | 4 => special.push(((*text).to_owned(), id)),
                // A byte's token is never found by its text; the first of two tokens of the same text wins.
                6 => {}
                _ => _ = ids.entry(stands_for.clone()).or_insert(id),
            }
            bytes.push(stands_for);
        }
        special.retain(|(text, _)| !text.is_empty());
        special.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let control = types.iter().zip(&texts).map(|(kind, text)| *kind == 3 && !SHOWN.contains(text)).collect();
        let id = |key: &str| {
            metadata.integer(key).and_then(|id| u32::try_from(id).ok()).filter(|id| (*id as usize) < texts.len())
        };
        let kind = if of_bytes { Kind::bytes(metadata, &ids)? } else { Kind::characters(metadata, &texts, &types)? };
        let (bos, eos) = (id("tokenizer.ggml.bos_token_id"), id("tokenizer.ggml.eos_token_id"));
        let mut ends: HashSet<u32> = ["eos", "eot", "eom"]
            .into_iter()
            .filter_map(|name| id(&format!("tokenizer.ggml.{name}_token_id")))
            .collect();
        ends.extend(special.iter().filter(|(text, _)| ENDS.contains(&text.as_str())).map(|(_, id)| *id));
        let adds_bos = metadata.flag("tokenizer.ggml.add_bos_token").unwrap_or(!of_bytes);
        Ok(Self { bytes, control, ids, special, kind, bos, eos, adds_bos, ends })
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes a token adds to an answer: none for a control token.
    pub(super) fn shown(&self, token: u32) -> &[u8] {
        match self.control.get(token as usize) {
            Some(false) => &self.bytes[token as usize],
            _ => &[],
        }
    }

    /// Whether an answer is over with this token.
    pub(super) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The text of the token that begins a text, for chat templates.
    pub(super) fn bos_text(&self) -> String {
        self.bos.map(|token| self.text(token)).unwrap_or_default()
    }

    /// The text of the token that ends a text, for chat templates.
    pub(super) fn eos_text(&self) -> String {
        self.eos.map(|token| self.text(token)).unwrap_or_default()
    }

    /// The texts that stand for marks, so that a user's text can be kept from being read as one.
    pub(super) fn marks(&self) -> impl Iterator<Item = &str> {
        self.special.iter().map(|(text, _)| text.as_str())
    }

    /// The tokens of a prompt. Marks in `text` become their tokens, except where `guard` stands inside them: that character is left
    /// out of the tokens.
    pub(super) fn encode(&self, text: &str, guard: Option<char>) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        if let (true, Some(bos)) = (self.adds_bos, self.bos) {
            // A chat template may have written it already.
            let written =
                self.special.iter().find(|(_, id)| *id == bos).is_some_and(|(mark, _)| text.starts_with(mark.as_str()));
            if !written {
                tokens.push(bos);
            }
        }
        let mut rest = text;
        while !rest.is_empty() {
            let next = self.next_mark(rest);
            let plain = &rest[..next.map_or(rest.len(), |(at, _, _)| at)];
            if !plain.is_empty() {
                match guard.filter(|guard| plain.contains(*guard)) {
                    Some(guard) => self.encode_plain(&plain.replace(guard, ""), &mut tokens)?,
                    None => self.encode_plain(plain, &mut tokens)?,
                }
            }
            let Some((at, length, token)) = next else { break };
            tokens.push(token);
            rest = &rest[at + length..];
        }
        Ok(tokens)
    }

    fn text(&self, token: u32) -> String {
        String::from_utf8_lossy(&self.bytes[token as usize]).into_owned()
    }

    /// The first mark in `text`: where, how long, its token. Of several at one place the longest.
    fn next_mark(&self, text: &str) -> Option<(usize, usize, u32)> {
        let mut first: Option<(usize, usize, u32)> = None;
        for (mark, token) in &self.special {
            let end = first.map_or(text.len(), |(at, _, _)| (at + mark.len()).min(text.len()));
            let Some(searched) = text.get(..end).or(Some(text)) else { continue };
            if let Some(at) = searched.find(mark.as_str())
                && first.is_none_or(|(before, _, _)| at < before)
            {
                first = Some((at, mark.len(), *token));
            }
        }
        first
    }

    fn encode_plain(&self, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        match &self.kind {
            Kind::Bytes { merges, words, whole_words } => {
                for word in words.split(text)? {
                    if *whole_words && let Some(token) = self.ids.get(word.as_bytes()) {
                        tokens.push(*token);
                        continue;
                    }
                    let mut symbols = Vec::with_capacity(word.len());
                    for (start, byte) in word.bytes().enumerate() {
                        let Some(token) = self.ids.get(&[byte][..]) else {
                            bail!("the vocabulary has no token for the byte {byte}")
                        };
                        symbols.push(Symbol { token: Some(*token), start, end: start + 1 });
                    }
                    let joined = merge(symbols, |left, right| merges.get(&(left.token?, right.token?)).copied());
                    tokens.extend(joined.into_iter().filter_map(|symbol| symbol.token));
                }
            }
            Kind::Characters { scores, space_prefix, fallback, unknown } => {
                let prefixed;
                let text = if *space_prefix {
                    prefixed = format!(" {text}");
                    &prefixed
                } else {
                    text
                };
                let bytes = text.as_bytes();
                let symbols = text.char_indices().map(|(start, character)| {
                    let end = start + character.len_utf8();
                    Symbol { token: self.ids.get(&bytes[start..end]).copied(), start, end }
                });
                let joined = merge(symbols.collect(), |left, right| {
                    let token = *self.ids.get(&bytes[left.start..right.end])?;
                    Some(Joined { rank: -scores[token as usize], token })
                });
                for symbol in joined {
                    match symbol.token {
                        Some(token) => tokens.push(token),
                        None => tokens.extend(
                            bytes[symbol.start..symbol.end]
                                .iter()
                                .filter_map(|byte| fallback[usize::from(*byte)].or(*unknown)),
                        ),
                    }
                }
            }
        }
        Ok(())
    }
}

impl Kind {
    fn bytes(metadata: Metadata<'_>, ids: &HashMap<Box<[u8]>, u32>) -> Result<Self> {
        let Some(list) = metadata.list("tokenizer.ggml.merges") else { bail!("the file has no tokenizer.ggml.merges") };
        let mut merges = HashMap::with_capacity(list.len());
        for (rank, pair) in list.iter().enumerate() {
            let pair = pair.to_string()?;
            let Some((left, right)) = pair.split_once(' ') else { bail!("the merge {pair:?} is no pair") };
            let (left, right) = (words::bytes_of(left), words::bytes_of(right));
            let whole = [&*left, &*right].concat();
            if let (Some(left), Some(right), Some(token)) = (ids.get(&left), ids.get(&right), ids.get(whole.as_slice()))
            {
                merges.entry((*left, *right)).or_insert(Joined { rank: rank as f32, token: *token });
            }
        }
        let name = metadata.text("tokenizer.ggml.pre").unwrap_or("default");
        Ok(Self::Bytes { merges, words: Words::named(name)?, whole_words: words::takes_whole_words(name) })
    }

    fn characters(metadata: Metadata<'_>, texts: &[&str], types: &[u8]) -> Result<Self> {
        let Some(scores) = metadata.list("tokenizer.ggml.scores") else {
            bail!("the file has no tokenizer.ggml.scores")
        };
        let scores: Vec<f32> = scores.iter().map(Value::to_f32).collect::<Result<_>>()?;
        if scores.len() != texts.len() {
            bail!("the file has {} tokens and {} scores", texts.len(), scores.len());
        }
        let mut fallback = vec![None; 256];
        for (id, (text, kind)) in (0u32..).zip(texts.iter().zip(types)) {
            if *kind == 6 {
                fallback[usize::from(byte_token(text)?)] = Some(id);
            }
        }
        let unknown = metadata.integer("tokenizer.ggml.unknown_token_id").and_then(|id| u32::try_from(id).ok());
        let space_prefix = metadata.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
        Ok(Self::Characters { scores, space_prefix, fallback, unknown })
    }
}

fn token_type(value: &Value) -> u8 {
    match value {
        Value::I32(number) => u8::try_from(*number).unwrap_or(1),
        Value::U32(number) => u8::try_from(*number).unwrap_or(1),
        _ => 1,
    }
}

/// The byte of a token like `<0x0A>`.
fn byte_token(text: &str) -> Result<u8> {
    let digits = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>'));
    match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => Ok(byte),
        None => bail!("the token {text:?} is no byte"),
    }
}

#[cfg(test)]
pub(super) mod tests;
