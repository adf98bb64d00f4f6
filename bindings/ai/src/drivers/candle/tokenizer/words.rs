//! How a tokenizer of bytes cuts a text into words, and how its vocabulary writes bytes.

use candle_core::{Error, Result, bail};
use fancy_regex::{Regex, RegexBuilder};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";

/// The rules by which words end.
pub(super) struct Words {
    /// Applied one after the other, each to what the ones before it left whole.
    rules: Vec<Regex>,
}

impl Words {
    /// The rules that a file's `tokenizer.ggml.pre` names.
    pub(super) fn named(name: &str) -> Result<Self> {
        let rules: &[&str] = match name {
            "gpt-2" | "gpt2" | "phi-2" | "mpt" | "olmo" | "jina-en" => &[GPT2],
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => &[DIGIT, GPT2],
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "smaug-bpe" | "dbrx" => &[LLAMA3],
            "qwen2" | "qwen25" | "deepseek-r1-qwen" | "stablelm2" => &[QWEN2],
            _ => bail!("the file cuts words the way of {name}, which is not supported"),
        };
        let rules =
            rules.iter().map(|rule| RegexBuilder::new(rule).backtrack_limit(usize::MAX).build().map_err(Error::wrap));
        Ok(Self { rules: rules.collect::<Result<_>>()? })
    }

    /// The words of a text: together they are the whole text.
    pub(super) fn split<'text>(&self, text: &'text str) -> Result<Vec<&'text str>> {
        let mut words = vec![text];
        for rule in &self.rules {
            let mut shorter = Vec::new();
            for word in words {
                let mut end = 0;
                for found in rule.find_iter(word) {
                    let found = found.map_err(Error::wrap)?;
                    if found.start() > end {
                        shorter.push(&word[end..found.start()]);
                    }
                    if found.end() > found.start() {
                        shorter.push(found.as_str());
                    }
                    end = found.end();
                }
                if end < word.len() {
                    shorter.push(&word[end..]);
                }
            }
            words = shorter;
        }
        Ok(words)
    }
}

/// Whether a word that is one token is that token, whatever the merges say: a trait of Llama 3's tokenizer.
pub(super) fn takes_whole_words(name: &str) -> bool {
    matches!(name, "llama-bpe" | "llama3" | "llama-v3" | "falcon3")
}

/// The bytes that a token's text in the vocabulary stands for: printable bytes of Latin-1 are written as themselves, the others as
/// the characters from U+0100 on, in their order.
pub(super) fn bytes_of(text: &str) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            // A few vocabularies hold words that nobody wrote that way.
            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes.into_boxed_slice()
}

fn byte_of(character: char) -> Option<u8> {
    match u32::from(character) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(name: &str, text: &str) -> Vec<String> {
        let words = Words::named(name).expect("known rules");
        words.split(text).expect("a split").into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn words_keep_the_space_before_them() {
        assert_eq!(split("gpt-2", "Hello world  it's 2024!"), ["Hello", " world", " ", " it", "'s", " 2024", "!"]);
    }

    #[test]
    fn digits_are_cut_as_each_family_cuts_them() {
        assert_eq!(split("smollm", "in 2024"), ["in", " ", "2", "0", "2", "4"]);
        assert_eq!(split("llama-bpe", "12345"), ["123", "45"]);
        assert_eq!(split("qwen2", "123"), ["1", "2", "3"]);
    }

    #[test]
    fn unknown_rules_are_refused_by_name() {
        let error = Words::named("martian").err().expect("refused").to_string();
        assert!(error.contains("martian"), "{error}");
    }

    #[test]
    fn every_byte_has_one_character() {
        let mut found = [false; 256];
        for character in (0..0x200).filter_map(char::from_u32) {
            if let Some(byte) = byte_of(character) {
                assert!(!std::mem::replace(&mut found[usize::from(byte)], true), "{byte} twice");
            }
        }
        assert!(found.iter().all(|found| *found));
        assert_eq!(&*bytes_of("\u{120}the\u{10a}"), b" the\n");
    }
}
