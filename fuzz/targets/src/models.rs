use std::fs;

use aerostack_ai::drivers::candle::load_and_forget;

/// Longer files are only more of the same.
const LONGEST: usize = 256 * 1024;

/// A model's file, as GGUF and as safetensors beside a small `config.json`: it is loaded or refused, whatever its lengths say.
pub(crate) fn target(data: &[u8]) {
    let data = &data[..data.len().min(LONGEST)];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let gguf = folder.path().join("model.gguf");
    fs::write(&gguf, data).expect("a file can be written");
    // Nearly every input is refused. What must not happen is a panic, or memory by what a length claims.
    let _ = load_and_forget(&gguf);
    let files = folder.path().join("embeddings");
    fs::create_dir(&files).expect("a folder can be made");
    let config = r#"{"architectures":["BertModel"],"model_type":"bert","hidden_size":8,"num_attention_heads":2,"num_hidden_layers":1,
        "intermediate_size":8,"vocab_size":8,"max_position_embeddings":8,"type_vocab_size":2,"hidden_act":"gelu",
        "layer_norm_eps":1e-12,"pad_token_id":0}"#;
    fs::write(files.join("config.json"), config).expect("a file can be written");
    fs::write(files.join("tokenizer.json"), TOKENIZER).expect("a file can be written");
    fs::write(files.join("model.safetensors"), data).expect("a file can be written");
    let _ = load_and_forget(&files);
}

const TOKENIZER: &str = r###"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
    "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,
    "vocab":{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"a":4,"b":5,"c":6,"d":7}}}"###;
