//! Vocabularies made by hand.

use inferno_format::{Array, Metadata, Strings, Value};
use inferno_text::Tokenizer;

/// What GGUF calls a kind of token.
pub(crate) const NORMAL: i32 = 1;
pub(crate) const UNKNOWN: i32 = 2;
pub(crate) const CONTROL: i32 = 3;
pub(crate) const USER_DEFINED: i32 = 4;
pub(crate) const BYTE: i32 = 6;

pub(crate) fn strings(all: &[&str]) -> Value {
    Value::Array(Array::String(all.iter().collect::<Strings>()))
}

/// GPT-2's spelling of a byte.
pub(crate) fn spell(byte: u8) -> char {
    let code = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte) - 0x7f,
        0xad => 0x143,
    };
    char::from_u32(code).unwrap()
}

/// All bytes, then what `merges` make, then `others` with their kinds.
pub(crate) fn bpe(pre: &str, merges: &[&str], others: &[(&str, i32)]) -> Metadata {
    let bytes: Vec<String> = (0..=255).map(|b| spell(b).to_string()).collect();
    let made: Vec<String> = merges.iter().map(|m| m.replacen(' ', "", 1)).collect();
    let mut tokens: Vec<&str> = bytes.iter().chain(&made).map(String::as_str).collect();
    let mut kinds = vec![NORMAL; tokens.len()];
    for (text, kind) in others {
        tokens.push(text);
        kinds.push(*kind);
    }
    let mut m = Metadata::default();
    m.set("tokenizer.ggml.model", Value::String("gpt2".into()));
    m.set("tokenizer.ggml.pre", Value::String(pre.into()));
    m.set("tokenizer.ggml.tokens", strings(&tokens));
    m.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    m.set("tokenizer.ggml.merges", strings(merges));
    m
}

/// `<unk>`, `<s>`, `</s>`, all bytes, then `words` with their scores.
pub(crate) fn spm(words: &[(&str, f32)]) -> Metadata {
    let bytes: Vec<String> = (0..=255u8).map(|b| format!("<0x{b:02X}>")).collect();
    let mut tokens = vec!["<unk>", "<s>", "</s>"];
    tokens.extend(bytes.iter().map(String::as_str));
    let mut kinds = vec![UNKNOWN, CONTROL, CONTROL];
    kinds.resize(tokens.len(), BYTE);
    let mut scores = vec![0.0; tokens.len()];
    for (word, score) in words {
        tokens.push(word);
        kinds.push(NORMAL);
        scores.push(*score);
    }
    let mut m = Metadata::default();
    m.set("tokenizer.ggml.model", Value::String("llama".into()));
    m.set("tokenizer.ggml.tokens", strings(&tokens));
    m.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    m.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    m
}

pub(crate) fn tokenizer(m: &Metadata) -> Tokenizer {
    Tokenizer::from_metadata(m).unwrap()
}
