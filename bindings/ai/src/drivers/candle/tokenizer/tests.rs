use super::*;

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> Value {
    list(values.into_iter().map(|text| Value::String(text.to_owned())))
}

/// A tokenizer of bytes whose tokens are the 256 bytes, `<|end|>`, then what the merges make.
pub(in super::super) fn of_bytes() -> Tokenizer {
    let mut tokens: Vec<String> = (0..=255u8)
        .map(|byte| {
            (0..0x200)
                .filter_map(char::from_u32)
                .find(|c| *words::bytes_of(&c.to_string()) == [byte])
                .expect("one")
                .to_string()
        })
        .collect();
    tokens.push("<|end|>".to_owned());
    let merges = ["h e", "l l", "he ll", "hell o", "\u{120} w", "o r", "\u{120}w or"];
    tokens.extend(merges.iter().map(|pair| pair.replace(' ', "")));
    let types = (0..tokens.len()).map(|id| Value::I32(if id == 256 { 3 } else { 1 }));
    let metadata = HashMap::from([
        ("tokenizer.ggml.model".to_owned(), Value::String("gpt2".to_owned())),
        ("tokenizer.ggml.pre".to_owned(), Value::String("gpt-2".to_owned())),
        ("tokenizer.ggml.token_type".to_owned(), list(types)),
        ("tokenizer.ggml.merges".to_owned(), texts(merges)),
        ("tokenizer.ggml.tokens".to_owned(), texts(tokens.iter().map(String::as_str))),
        ("tokenizer.ggml.eos_token_id".to_owned(), Value::U32(256)),
    ]);
    Tokenizer::read(Metadata(&metadata)).expect("a tokenizer")
}

fn of_characters(space_prefix: bool) -> Tokenizer {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["\u{2581}", "a", "b", "ab", "\u{2581}a", "\u{2581}ab", "ba"].map(str::to_owned));
    let types = (0..tokens.len()).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    });
    // "ab" is the best, then "▁ab", then the others.
    let scores =
        (0..tokens.len()).map(|id| if id < 259 { 0.0 } else { [-9.0, -8.0, -8.0, -1.0, -3.0, -2.0, -4.0][id - 259] });
    let metadata = HashMap::from([
        ("tokenizer.ggml.model".to_owned(), Value::String("llama".to_owned())),
        ("tokenizer.ggml.token_type".to_owned(), list(types.map(Value::I32))),
        ("tokenizer.ggml.scores".to_owned(), list(scores.map(Value::F32))),
        ("tokenizer.ggml.tokens".to_owned(), texts(tokens.iter().map(String::as_str))),
        ("tokenizer.ggml.bos_token_id".to_owned(), Value::U32(1)),
        ("tokenizer.ggml.eos_token_id".to_owned(), Value::U32(2)),
        ("tokenizer.ggml.unknown_token_id".to_owned(), Value::U32(0)),
        ("tokenizer.ggml.add_space_prefix".to_owned(), Value::Bool(space_prefix)),
    ]);
    Tokenizer::read(Metadata(&metadata)).expect("a tokenizer")
}

fn shown(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<u8> {
    tokens.iter().flat_map(|token| tokenizer.shown(*token).to_vec()).collect()
}

#[test]
fn pairs_are_merged_by_their_rank() {
    let tokenizer = of_bytes();
    let tokens = tokenizer.encode("hello wor", None).expect("tokens");
    assert_eq!(tokens, [256 + 4, 256 + 7]);
    assert_eq!(shown(&tokenizer, &tokens), b"hello wor");
}

#[test]
fn any_text_comes_back_from_its_tokens() {
    let tokenizer = of_bytes();
    for text in ["", "a", "caf\u{e9} \u{1f600}\n\n  x", "\u{0}\u{7f}\u{ad}"] {
        let tokens = tokenizer.encode(text, None).expect("tokens");
        assert_eq!(shown(&tokenizer, &tokens), text.as_bytes(), "{text:?}");
    }
}

#[test]
fn a_mark_is_one_token_that_is_not_shown_and_ends() {
    let tokenizer = of_bytes();
    let tokens = tokenizer.encode("a<|end|>b", None).expect("tokens");
    assert_eq!(tokens, [u32::from(b'a'), 256, u32::from(b'b')]);
    assert_eq!(shown(&tokenizer, &tokens), b"ab");
    assert!(tokenizer.is_end(256) && !tokenizer.is_end(0));
    assert_eq!(tokenizer.eos_text(), "<|end|>");
}

#[test]
fn a_guarded_mark_is_text() {
    let tokenizer = of_bytes();
    let tokens = tokenizer.encode("<\u{fdd0}|end|>", Some('\u{fdd0}')).expect("tokens");
    assert!(!tokens.contains(&256));
    assert_eq!(shown(&tokenizer, &tokens), b"<|end|>");
}

#[test]
fn characters_are_merged_by_the_score_of_what_they_form() {
    let tokenizer = of_characters(true);
    // A space is put in front; "ab" scores best, then the space joins it.
    assert_eq!(tokenizer.encode("ab", None).expect("tokens"), [1, 259 + 5]);
    assert_eq!(tokenizer.encode("aba", None).expect("tokens"), [1, 259 + 5, 259 + 1]);
    assert_eq!(of_characters(false).encode("ab", None).expect("tokens"), [1, 259 + 3]);
}

#[test]
fn a_character_without_a_token_becomes_bytes() {
    let tokenizer = of_characters(false);
    let tokens = tokenizer.encode("\u{e9}a", None).expect("tokens");
    assert_eq!(tokens, [1, 3 + 0xc3, 3 + 0xa9, 259 + 1]);
    assert_eq!(shown(&tokenizer, &tokens), "\u{e9}a".as_bytes());
}

#[test]
fn the_first_token_is_not_written_twice() {
    let tokenizer = of_characters(false);
    assert_eq!(tokenizer.encode("<s>a", None).expect("tokens"), [1, 259 + 1]);
}
