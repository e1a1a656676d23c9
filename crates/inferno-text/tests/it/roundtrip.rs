//! `decode(encode(x)) == x`, for every vocabulary, on random and on hostile text.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use inferno_text::{ControlTokens, Special, TokenKind, Tokenizer};
use proptest::prelude::*;

use crate::data;
use crate::vocab::{bpe, spm, tokenizer};

fn vocabularies() -> Vec<(String, Tokenizer)> {
    let mut all = data::tokenizers();
    let merges = ["a a", "aa aa", "Ġ Ġ", "Ġ a", "ð Ł", "Ċ Ċ", "Ì ģ"];
    all.push(("made bpe".into(), tokenizer(&bpe("qwen2", &merges, &[]))));
    all.push((
        "made spm".into(),
        tokenizer(&spm(&[("▁", 0.0), ("a", 0.0), ("aa", 1.0), ("▁▁", 1.0), ("▁a", 2.0)])),
    ));
    all
}

fn check(name: &str, t: &Tokenizer, text: &str) {
    let ids = check_decoded(name, t, text);
    assert!(!ids.iter().any(|&id| t.token_kind(id) == Some(TokenKind::Control)), "{name}");
    let mut stream = t.detokenizer(ControlTokens::Hidden);
    let streamed: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert!((streamed + &stream.finish()).as_bytes() == t.decode(&ids).unwrap(), "{name}");
}

fn check_decoded(name: &str, t: &Tokenizer, text: &str) -> Vec<u32> {
    let ids = t.encode(text, Special::AsText);
    // U+2581 is how SentencePiece writes a space: it comes back as one.
    let as_spaces = text.replace('\u{2581}', " ");
    let expected = if t.token_text(0) == Some("<unk>") { &as_spaces } else { text };
    let decoded = t.decode(&ids).unwrap();
    assert!(decoded == expected.as_bytes(), "{name}: {:?}", text.chars().take(100).collect::<String>());
    ids
}

/// The bytes a vocabulary has no token for. Falcon's and others lack a few that hardly ever occur.
fn unsayable(t: &Tokenizer) -> Vec<u8> {
    let ids = 0..t.vocab_size() as u32;
    let said: HashSet<&[u8]> = ids.filter_map(|id| t.piece(id)).filter(|piece| piece.len() == 1).collect();
    (0..=255).filter(|b| !said.contains([*b].as_slice())).collect()
}

#[test]
fn any_text_comes_back() {
    let all = vocabularies();
    let missing: HashMap<&String, Vec<u8>> = all.iter().map(|(name, t)| (name, unsayable(t))).collect();
    let mixed = "[ \u{a0}\u{3000}\t\r\na-zA-Z0-9'<|>/_À-ͽא-תก-๙一-丟가-갠\u{300}-\u{30f}\u{200b}-\u{200f}🌀-🗿]{0,80}";
    let anything = proptest::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter);
    let text = prop_oneof![anything, mixed];
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) };
    proptest!(config, |(text in text)| {
        for (name, t) in &all {
            let missing = &missing[name];
            check(name, t, &text.replace(|c: char| c.to_string().bytes().any(|b| missing.contains(&b)), ""));
        }
    });
}

#[test]
fn every_control_token_as_text_is_text() {
    for (name, t) in vocabularies() {
        let of_kind = |id: &u32| matches!(t.token_kind(*id), Some(TokenKind::Control | TokenKind::Unknown));
        let texts: Vec<&str> =
            (0..t.vocab_size() as u32).filter(of_kind).filter_map(|id| t.token_text(id)).collect();
        for text in texts.iter().copied().chain([texts.concat().as_str(), &texts.join(" x ")]) {
            check(&name, &t, text);
        }
    }
}

#[test]
fn a_long_run_of_one_thing_comes_back() {
    check_long_runs(0);
}

/// Beside the other half, on another core.
#[test]
fn a_long_run_of_one_thing_comes_back_in_the_other_vocabularies() {
    check_long_runs(1);
}

/// Checks every second vocabulary with runs of 256 KiB. With `INFERNO_SHOW_TIMES` set (and `--nocapture`) they are four times as
/// long, and it prints how long each takes: in a release build at most 0.5 s (2 shared cores of Sapphire Rapids).
fn check_long_runs(first: usize) {
    let show_times = std::env::var_os("INFERNO_SHOW_TIMES").is_some();
    let n_bytes = if show_times { 1 << 20 } else { 256 << 10 };
    for (name, t) in vocabularies().into_iter().skip(first).step_by(2) {
        for unit in [
            "a",
            " ",
            "🦙",
            "\u{301}",
            "\n",
            "7",
            "ab",
            "<",
            "'",
            "é",
            "中",
            "\u{3000}",
            "<|im_end|>",
            "A",
            "ªA",
        ] {
            let text = unit.repeat(n_bytes / unit.len());
            let start = Instant::now();
            let n = check_decoded(&name, &t, &text).len();
            let seconds = start.elapsed().as_secs_f64();
            if show_times {
                println!("{name:16} {unit:12?} {n:8} tokens {seconds:.3} s");
            }
        }
    }
}
