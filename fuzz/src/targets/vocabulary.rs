//! Vocabularies of targets, made here or read from files of the repository.

use std::sync::LazyLock;

use inferno_format::{Array, Gguf, Metadata, Strings, Value};
use inferno_text::Tokenizer;

use super::input::repository_file;

/// A vocabulary of all bytes, some words of JSON, and the control tokens `controls`, of which the first is the end.
pub(crate) fn bytes_with(controls: &[&str]) -> Metadata {
    // GPT-2's characters for bytes.
    let is_printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256..;
    let code = |b| if is_printable(b) { Some(b) } else { others.next() };
    let codes = (0..256).map(code).collect::<Vec<_>>();
    let mut tokens: Vec<String> =
        codes.into_iter().flatten().filter_map(char::from_u32).map(String::from).collect();
    let merges = ["{ \"", "\" :", "Ġ \"", "\" ,", "n a", "na m", "t r", "tr u", "tru e", "Ġ {", "1 2", "a a"];
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    let end = tokens.len() as u32;
    let mut kinds = vec![1; tokens.len()];
    tokens.extend(controls.iter().map(|&text| text.to_owned()));
    kinds.resize(tokens.len(), 3);
    let strings = |texts: &[String]| Value::Array(Array::String(texts.iter().collect::<Strings>()));
    let mut metadata = Metadata::default();
    metadata.set("tokenizer.ggml.model", Value::String("gpt2".into()));
    metadata.set("tokenizer.ggml.pre", Value::String("qwen2".into()));
    metadata.set("tokenizer.ggml.tokens", strings(&tokens));
    metadata.set("tokenizer.ggml.merges", strings(&merges.map(str::to_owned)));
    metadata.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    metadata.set("tokenizer.ggml.eos_token_id", Value::U32(end));
    metadata
}

/// A SentencePiece vocabulary of all bytes and a few pieces.
fn pieces() -> Metadata {
    let mut tokens: Vec<String> = vec!["<unk>".into(), "<s>".into(), "</s>".into()];
    let (mut kinds, mut scores) = (vec![2, 3, 3], vec![0.0; 3]);
    for byte in 0..256 {
        tokens.push(format!("<0x{byte:02X}>"));
        kinds.push(6);
        scores.push(0.0);
    }
    for (i, piece) in ["▁", "a", "aa", "▁▁", "▁a", "b", "ab", "▁ab"].into_iter().enumerate() {
        tokens.push(piece.into());
        kinds.push(1);
        scores.push(i as f32 / 2.0);
    }
    let mut metadata = Metadata::default();
    metadata.set("tokenizer.ggml.model", Value::String("llama".into()));
    metadata.set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens.iter().collect::<Strings>())));
    metadata.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    metadata.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    metadata.set("tokenizer.ggml.bos_token_id", Value::U32(1));
    metadata.set("tokenizer.ggml.eos_token_id", Value::U32(2));
    metadata
}

fn tokenizer(metadata: &Metadata) -> Tokenizer {
    Tokenizer::from_metadata(metadata).expect("a whole vocabulary")
}

/// The vocabulary of ChatML: bytes, an end, and marks of messages, of reasoning and of calls.
pub(crate) fn chatml() -> Tokenizer {
    let controls = ["<|im_end|>", "<|im_start|>", "<think>", "</think>", "<tool_call>", "</tool_call>"];
    tokenizer(&bytes_with(&controls))
}

/// The same, made once.
pub(crate) static CHATML: LazyLock<Tokenizer> = LazyLock::new(chatml);

/// The built-in model's vocabulary.
pub(crate) static EMBER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let file = repository_file("crates/inferno/models/ember/ember-q8_0.gguf");
    tokenizer(Gguf::open(&file).expect("the built-in model").metadata())
});

/// A SentencePiece vocabulary.
pub(crate) static PIECES: LazyLock<Tokenizer> = LazyLock::new(|| tokenizer(&pieces()));
