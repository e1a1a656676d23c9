use inferno_format::Gguf;

use super::*;

fn ember() -> Tokenizer {
    let path = xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf");
    Tokenizer::from_metadata(Gguf::open(&path).unwrap().metadata()).unwrap()
}

/// The definition of llama.cpp: every token by itself.
fn naive(tokenizer: &Tokenizer, text: &str) -> Vec<(u32, Vec<u32>)> {
    let mut all = Vec::new();
    let bytes = text.as_bytes();
    for token in 0..tokenizer.vocab_size() as u32 {
        let piece = tokenizer.piece(token).unwrap();
        if piece.windows(bytes.len()).any(|window| window == bytes) {
            all.push((token, vec![]));
            continue;
        }
        let lengths = (1..bytes.len().min(piece.len() + 1)).rev();
        for n in lengths.filter(|&n| piece.ends_with(&bytes[..n]) && text.is_char_boundary(n)) {
            let mut tail = tokenizer.encode(&text[n..], Special::AsText);
            tail.truncate(LONGEST_TAIL);
            all.push((token, tail));
        }
    }
    all
}

#[test]
fn overlaps_are_those_of_every_token_by_itself() {
    let tokenizer = ember();
    for text in [
        "\n",
        ":",
        "\"",
        "*",
        "the",
        "\n\n\n\n",
        "aa",
        "<|im_end|>",
        "ééé",
        "The end of a story",
        "zzzzzzzzzzzzzzzzzzzz",
    ] {
        assert_eq!(tokenizer.overlaps(text), naive(&tokenizer, text), "{text:?}");
    }
    assert_eq!(tokenizer.overlaps(""), []);
    let newline = tokenizer.overlaps("\n");
    assert!(newline.len() > 1 && newline.iter().all(|overlap| overlap.1.is_empty()), "{newline:?}");
    assert!(tokenizer.overlaps("The end").iter().any(|overlap| !overlap.1.is_empty()));
}

#[test]
fn a_word_is_looked_for_with_a_space_in_front_and_without() {
    let tokenizer = ember();
    let text = |tokens: &Vec<u32>| String::from_utf8(tokenizer.decode(tokens).unwrap()).unwrap();
    for word in ["the", "  the"] {
        let found = tokenizer.word_sequences(word);
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), ["the", " the"], "{found:?}");
        assert!(found.iter().all(|tokens| tokens.len() == 1), "{found:?}");
    }
    // A word of several tokens may be one behind a space.
    let found = tokenizer.word_sequences("there");
    assert_eq!(found.iter().map(text).collect::<Vec<_>>(), ["there", " there"], "{found:?}");
    assert_ne!(found[0].len(), found[1].len());
    assert_eq!(tokenizer.word_sequences(" "), Vec::<Vec<u32>>::new());
}
