use std::cell::Cell;

use inferno_format::{Array, Gguf, Metadata, Strings, Value};
use proptest::prelude::*;

use super::*;
use crate::special::Special;

fn ember() -> Tokenizer {
    let path = xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf");
    Tokenizer::from_metadata(Gguf::open(&path).unwrap().metadata()).unwrap()
}

/// SentencePiece with runs of spaces, and tokens that reach into the next word.
fn spaced() -> Tokenizer {
    let mut m = Metadata::default();
    let tokens = ["<unk>", "<s>", "</s>", "▁", "▁▁", "▁▁▁▁", "a", "b", "ab", "▁ab", "b▁a", "<x>"];
    let kinds = [2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 4];
    m.set("tokenizer.ggml.model", Value::String("llama".into()));
    m.set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens.into_iter().collect::<Strings>())));
    let scores = (0..tokens.len()).map(|i| i as f32).collect();
    m.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    m.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds.to_vec())));
    Tokenizer::from_metadata(&m).unwrap()
}

fn bounds(tokens: usize) -> Bounds<'static> {
    Bounds { tokens, ..Bounds::NONE }
}

#[test]
fn bounds_say_whether_a_text_fits_and_never_change_its_tokens() {
    for tokenizer in [ember(), spaced()] {
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) };
        let text = "([ab<x>▁|\n1é😀]|    |<x>|<s>|ab|Once upon a time){0,40}";
        proptest!(config, |(text in text, recognise: bool)| {
            let special = if recognise { Special::Recognise } else { Special::AsText };
            let ids = tokenizer.encode(&text, special);
            let least = tokenizer.least_tokens(&text);
            prop_assert!(least <= ids.len(), "{least} > {}", ids.len());
            prop_assert_eq!(tokenizer.encode_within(&text, special, bounds(ids.len())), Ok(ids.clone()));
            if let Some(fewer) = ids.len().checked_sub(1) {
                match tokenizer.encode_within(&text, special, bounds(fewer)) {
                    Err(Stopped::TooMany { at_least }) => prop_assert!((fewer + 1..=ids.len()).contains(&at_least)),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        });
    }
}

#[test]
fn long_words_have_the_tokens_they_have_without_bounds() {
    for tokenizer in [ember(), spaced()] {
        for text in [" ".repeat(100_000), "ab".repeat(50_000), "é<".repeat(30_000), "a ".repeat(50_000)] {
            let ids = tokenizer.encode(&text, Special::AsText);
            assert!(tokenizer.least_tokens(&text) <= ids.len());
            assert_eq!(tokenizer.encode_within(&text, Special::AsText, bounds(ids.len())), Ok(ids));
        }
    }
}

#[test]
fn a_run_that_cannot_fit_is_refused_by_the_lengths_of_tokens_alone() {
    let tokenizer = ember();
    let cancelled = Cell::new(0);
    let is_cancelled = || {
        cancelled.set(cancelled.get() + 1);
        true
    };
    let bounds = Bounds { tokens: 1024, word: usize::MAX, is_cancelled: &is_cancelled };
    for text in [" ".repeat(8 << 20), "1".repeat(8 << 20), "<".repeat(8 << 20)] {
        let found = tokenizer.encode_within(&text, Special::Recognise, bounds);
        let Err(Stopped::TooMany { at_least }) = found else { panic!("{found:?}") };
        assert!((100_000..=text.len()).contains(&at_least), "{at_least}");
    }
    assert_eq!(cancelled.get(), 0);
}

#[test]
fn a_long_word_is_refused_and_a_cancelled_one_is_given_up() {
    for tokenizer in [ember(), spaced()] {
        let text = format!("ab {}", "ab".repeat(1 << 20));
        let word = Bounds { word: 1 << 20, ..Bounds::NONE };
        let found = tokenizer.encode_within(&text, Special::AsText, word);
        assert!(matches!(found, Err(Stopped::Word { n_bytes: 2_097_152.., limit: 1_048_576 })), "{found:?}");
        // In the middle of the word.
        let n = Cell::new(0);
        let is_cancelled = || {
            n.set(n.get() + 1);
            n.get() > 3
        };
        let bounds = Bounds { is_cancelled: &is_cancelled, ..Bounds::NONE };
        assert_eq!(tokenizer.encode_within(&text, Special::AsText, bounds), Err(Stopped::Cancelled));
        assert!(n.get() < 10, "{}", n.get());
        // And nothing of it is remembered.
        let ids = tokenizer.encode("abab abab", Special::AsText);
        assert_eq!(tokenizer.decode(&ids).unwrap(), b"abab abab");
    }
}
