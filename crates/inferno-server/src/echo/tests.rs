use inferno_format::{Array, Metadata, Value};
use inferno_text::{Bounds, Special};

use super::*;

/// A SentencePiece vocabulary without bytes, whose name says that white space behind control tokens is dropped.
fn tokenizer(name: &str) -> Tokenizer {
    let words = ["<unk>", "<s>", "</s>", "▁x", "▁", "x", "<|user|>"];
    let kinds = [2, 3, 3, 1, 1, 1, 3];
    let scores = [0.0, 0.0, 0.0, 3.0, 1.0, 1.0, 0.0];
    let mut m = Metadata::default();
    m.set("general.name", Value::String(name.into()));
    m.set("tokenizer.ggml.model", Value::String("llama".into()));
    m.set("tokenizer.ggml.tokens", Value::Array(Array::String(words.iter().collect())));
    m.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores.to_vec())));
    m.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds.to_vec())));
    Tokenizer::from_metadata(&m).unwrap()
}

#[track_caller]
fn check(name: &str, text: &str, tokens: &[u32], offsets: &[u32]) {
    let t = tokenizer(name);
    let found = crate::completion::encode(&t, text, true, (Special::Recognise, Bounds::NONE));
    assert_eq!(found.as_deref(), Ok(tokens), "{text:?}");
    let echo = Echo::new(&t, &Prompt::Text(text.into()), tokens);
    assert_eq!((echo.text(), echo.n_chars()), (text, text.chars().count()));
    assert_eq!(echo.offsets, offsets, "{text:?}");
}

#[test]
fn a_text_is_echoed_as_it_was_written_and_offsets_point_into_it() {
    check("", "x", &[1, 3], &[0, 0]);
    check("", "x x", &[1, 3, 3], &[0, 0, 1]);
    check("", "", &[1], &[0]);
    // A start token that the client wrote is in the text.
    check("", "<s>x", &[1, 3], &[0, 3]);
    check("", "<|user|> x", &[1, 6, 4, 3], &[0, 0, 8, 8]);
    // What the vocabulary cannot say.
    check("", "xé x", &[1, 3, 0, 0, 3], &[0, 0, 1, 1, 3]);
    check("", "x日éx", &[1, 3, 0, 0, 0, 0, 0, 5], &[0, 0, 1, 1, 1, 2, 2, 3]);
    // White space that the tokenizer drops.
    check("phi-3", "<|user|>\n\nx<|user|> x", &[1, 6, 3, 6, 3], &[0, 0, 10, 11, 20]);
}

#[test]
fn tokens_are_echoed_as_what_they_say_but_for_a_start_token_in_front() {
    let t = tokenizer("");
    let echo = |tokens: &[u32]| Echo::new(&t, &Prompt::Tokens(tokens.to_vec()), tokens);
    let Echo { text, offsets, .. } = echo(&[1, 3, 6, 3, 5]);
    assert_eq!((text.as_str(), offsets), ("x<|user|>xx", vec![0, 0, 1, 9, 10]));
    assert_eq!(echo(&[3]).text(), "x");
    assert_eq!(echo(&[5, 1]).text(), "x<s>");
}
