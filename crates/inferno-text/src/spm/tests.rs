use inferno_format::{Array, Gguf, Strings, Value};
use xtask::testing::Random;

use super::*;
use crate::bounds::Bounds;
use crate::vocab::Spelling;

fn metadata(tokens: &[(&str, f32)]) -> Metadata {
    let mut m = Metadata::default();
    let texts = tokens.iter().map(|(text, _)| *text).collect::<Strings>();
    m.set("tokenizer.ggml.tokens", Value::Array(Array::String(texts)));
    m.set("tokenizer.ggml.scores", Value::Array(Array::F32(tokens.iter().map(|t| t.1).collect())));
    m
}

/// Random text encodes the same word by word as it does in one piece.
fn check(m: &Metadata, alphabet: &str) {
    let mut vocab = Vocab::from_metadata(m, Spelling::Spaces).unwrap();
    let mut spm = Spm::from_metadata(m, &mut vocab).unwrap();
    assert!(spm.by_words);
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut random = Random(3);
    for len in 0..400 {
        let text: String = (0..len % 60).map(|_| alphabet[random.below(alphabet.len())]).collect();
        let mut encode = |by_words| {
            spm.by_words = by_words;
            let mut ids = Vec::new();
            let reach = Reach::new(std::iter::empty());
            spm.encode((&vocab, &reach), (&text, len % 2 == 0), &mut Meter::new(Bounds::NONE), &mut ids);
            ids
        };
        assert_eq!(encode(true), encode(false), "{text:?}");
    }
}

#[test]
fn words_encode_as_they_do_among_others() {
    let tokens = [
        ("▁", 0.0),
        ("a", 0.0),
        ("b", 0.0),
        ("▁▁", 3.0),
        ("▁a", 2.0),
        ("ab", 1.0),
        ("▁▁a", 4.0),
        ("▁ab", 2.5),
    ];
    check(&metadata(&tokens), "ab  \u{2581}c");
    let Some(path) = xtask::testing::data("tokenizers/llama-spm-vocab.gguf") else { return };
    check(Gguf::open(&path).unwrap().metadata(), "the  \u{2581}\ningo.é🐉");
}

#[test]
fn a_token_over_a_word_boundary_keeps_words_together() {
    let m = metadata(&[("▁", 0.0), ("a", 0.0), ("a▁", 1.0)]);
    let mut vocab = Vocab::from_metadata(&m, Spelling::Spaces).unwrap();
    let spm = Spm::from_metadata(&m, &mut vocab).unwrap();
    assert!(!spm.by_words);
    let mut ids = Vec::new();
    let reach = Reach::new(std::iter::empty());
    spm.encode((&vocab, &reach), ("a a", false), &mut Meter::new(Bounds::NONE), &mut ids);
    assert_eq!(ids, [2, 1]);
}
