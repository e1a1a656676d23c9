//! Files that are wrong: an error that names the key, never a panic, never the file's text.

use inferno_format::{Array, Metadata, Value};
use inferno_text::{Special, Tokenizer};

use crate::vocab::{BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, bpe, spm, strings};

/// The error of a file that is changed so.
fn error(mut m: Metadata, key: &str, value: Value) -> String {
    m.set(key, value);
    let text = Tokenizer::from_metadata(&m).unwrap_err().to_string();
    assert!(text.contains(key), "{text}");
    text
}

fn string(s: &str) -> Value {
    Value::String(s.into())
}

#[test]
fn what_a_file_gets_wrong_is_named() {
    let model = "tokenizer.ggml.model";
    for name in ["bert", "t5", "rwkv", "none", "", "a\nb"] {
        error(bpe("gpt-2", &[], &[]), model, string(name));
    }
    assert!(error(bpe("gpt-2", &[], &[]), model, string(&"x".repeat(5000))).len() < 200);
    error(bpe("gpt-2", &[], &[]), model, Value::U8(1));
    let unknown = error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.pre", string("nosuch"));
    assert!(unknown.contains("`nosuch`") && unknown.contains("qwen2"));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.merges", Value::U8(0));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.tokens", strings(&[]));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.tokens", Value::Array(Array::U8(vec![1])));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1; 255])));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.token_type", Value::Array(Array::F32(vec![1.0; 256])));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.bos_token_id", Value::U32(256));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.eos_token_id", Value::U32(u32::MAX));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.eos_token_id", Value::I32(-1));
    for ids in [Array::U32(vec![3, 256]), Array::I32(vec![-1]), Array::F32(vec![1.0])] {
        error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.suppress_tokens", Value::Array(ids));
    }
    error(spm(&[]), "tokenizer.ggml.scores", Value::Array(Array::U8(vec![0; 259])));
    error(spm(&[]), "tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; 258])));
    error(spm(&[]), "tokenizer.ggml.add_space_prefix", Value::U8(1));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.add_bos_token", Value::U8(1));
    error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.tokens", strings(&["secret", "a", "secret"]));
    assert!(
        !error(bpe("gpt-2", &[], &[]), "tokenizer.ggml.tokens", strings(&["secret", "secret"]))
            .contains("secret")
    );
    assert!(Tokenizer::from_metadata(&Metadata::default()).is_err());
}

#[test]
fn a_byte_token_must_be_a_byte() {
    for text in ["<0x-1>", "<0xZZ>", "<0x1>", "<0x100>", "<0x+1>", "x"] {
        assert!(Tokenizer::from_metadata(&bpe("gpt-2", &[], &[(text, BYTE)])).is_err(), "{text}");
        assert!(Tokenizer::from_metadata(&bpe("gpt-2", &[], &[(text, NORMAL)])).is_ok() || text == "x");
    }
}

#[test]
fn odd_vocabularies_still_work() {
    let encode = |m: &Metadata, text: &str| {
        let t = Tokenizer::from_metadata(m).unwrap();
        let ids = t.encode(text, Special::Recognise);
        t.decode(&ids).unwrap();
        ids.len()
    };
    // Merges of nothing, of unknown tokens, of the same pair twice, of characters that are no bytes.
    let merges = ["", " ", "a", "a ", "  ", " b", "q qq", "a b", "a b", "日 本", "ab q"];
    let mut m = bpe("gpt-2", &["a b"], &[]);
    m.set("tokenizer.ggml.merges", strings(&merges));
    assert_eq!(encode(&m, "abq qqq"), 7); // `abq` is no token: its bytes
    // A token of 2 MiB, empty tokens, no merges, missing bytes.
    let long = "x".repeat(2 << 20);
    assert_eq!(encode(&bpe("llama-bpe", &[], &[(&long, NORMAL), ("", NORMAL)]), &long), 1);
    let mut few = bpe("gpt-2", &[], &[]);
    few.set("tokenizer.ggml.tokens", strings(&["a", "", ""]));
    few.set("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1, 3, 4])));
    assert_eq!(encode(&few, "abaé"), 2);
    let mut few = spm(&[]);
    few.set("tokenizer.ggml.tokens", strings(&["a", "b", &long]));
    few.set("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1, 9, 1])));
    few.set("tokenizer.ggml.scores", Value::Array(Array::F32(vec![f32::NAN, f32::INFINITY, -0.0])));
    assert!(encode(&few, "abaéxx") > 0);
    assert!(encode(&few, &long) > 0);
}

#[test]
fn a_missing_pre_tokenizer_has_a_default_and_can_be_seen() {
    let named = Tokenizer::from_metadata(&bpe("default", &[], &[])).unwrap();
    assert!(!named.pre_tokenizer_is_missing());
    let mut m = Metadata::default();
    for (key, value) in bpe("default", &[], &[]).iter().filter(|(key, _)| *key != "tokenizer.ggml.pre") {
        m.set(key, value.clone());
    }
    let missing = Tokenizer::from_metadata(&m).unwrap();
    assert!(missing.pre_tokenizer_is_missing());
    assert_eq!(missing.encode("a1 b", Special::AsText), named.encode("a1 b", Special::AsText));
}

#[test]
fn special_tokens_have_a_length_to_keep_to() {
    for (kind, name) in [(CONTROL, "Control"), (USER_DEFINED, "UserDefined"), (UNKNOWN, "Unknown")] {
        let of_length =
            |n: usize| Tokenizer::from_metadata(&bpe("gpt-2", &[], &[(&"secret".repeat(n), kind)]));
        let error = of_length((2 << 20) / 6).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("token 256 of kind {name} has 2097150 bytes, expected at most 1024")
        );
        assert!(of_length(170).is_ok());
    }
    let many: Vec<String> = (0..40_000).map(|i| format!("<|{i:040}|>")).collect();
    let many: Vec<(&str, i32)> = many.iter().map(|text| (text.as_str(), CONTROL)).collect();
    let error = Tokenizer::from_metadata(&bpe("gpt-2", &[], &many)).unwrap_err();
    assert!(error.to_string().ends_with("have 1760000 bytes in all, expected at most 1048576"), "{error}");
    // As many as there are in real ones.
    let real: Vec<String> = (0..28_672).map(|i| format!("<custom_token_{i}>")).collect();
    let real: Vec<(&str, i32)> = real.iter().map(|text| (text.as_str(), CONTROL)).collect();
    assert!(Tokenizer::from_metadata(&bpe("gpt-2", &[], &real)).is_ok());
}
