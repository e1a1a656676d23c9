//! Where tokens are in the text that they become.

use inferno_text::{ControlTokens, SpanDetokenizer, Special, TokenSpan, Tokenizer};
use proptest::prelude::*;

use crate::data;
use crate::vocab::{CONTROL, bpe, spm, tokenizer};

/// Text and spans of tokens that come one by one.
fn streamed(t: &Tokenizer, ids: &[u32], control: ControlTokens) -> (String, Vec<TokenSpan>) {
    let mut detokenizer = SpanDetokenizer::new(t, control);
    let (mut text, mut spans) = (String::new(), Vec::new());
    for &id in ids {
        detokenizer.push(id, &mut text, &mut spans).unwrap();
        assert!(spans.iter().all(|s| text.get(s.bytes.clone()).is_some()), "no span before its text");
    }
    detokenizer.finish(&mut text, &mut spans);
    (text, spans)
}

fn chars(spans: &[TokenSpan]) -> Vec<(usize, usize)> {
    spans.iter().map(|s| (s.chars.start, s.chars.end)).collect()
}

#[test]
fn a_character_of_several_tokens_is_one_and_all_of_them_start_there() {
    let t = tokenizer(&bpe("qwen2", &[], &[]));
    let ids = t.encode("é!日🎉x", Special::AsText);
    assert_eq!(ids.len(), 2 + 1 + 3 + 4 + 1);
    let (text, spans) = t.decode_spans(&ids, 0).unwrap();
    assert_eq!(text, "é!日🎉x");
    let expected = [(0, 1), (0, 1), (1, 2), (2, 3), (2, 3), (2, 3), (3, 4), (3, 4), (3, 4), (3, 4), (4, 5)];
    assert_eq!(chars(&spans), expected);
    assert_eq!(spans[1].bytes, 0..2);
    assert_eq!(spans[10].bytes, 10..11);
    assert_eq!(spans.iter().map(|s| s.token).collect::<Vec<_>>(), ids);
}

#[test]
fn bytes_that_are_no_text_are_as_many_characters_as_they_are_shown_as() {
    let t = tokenizer(&bpe("qwen2", &[], &[]));
    let byte = |b: u8| (0..256).find(|&id| t.piece(id) == Some(&[b])).unwrap();
    let ids = [0xf0, 0x9f, b'a', 0xa9, 0xff, 0xe6, 0x97].map(byte);
    let (text, spans) = streamed(&t, &ids, ControlTokens::Shown);
    // F0 9F is the start of a character that does not go on; A9 and FF are none; E6 97 is cut by the end.
    assert_eq!(text, "\u{fffd}a\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(chars(&spans), [(0, 1), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (4, 5)]);
    assert_eq!(spans[6].bytes, 10..13);
}

#[test]
fn a_hidden_token_has_no_text_even_within_a_character() {
    let t = tokenizer(&bpe("qwen2", &[], &[("<|end|>", CONTROL)]));
    let [c3, a9] = t.encode("é", Special::AsText)[..] else { panic!("two tokens") };
    let (text, spans) = streamed(&t, &[256, c3, 256, a9, 256], ControlTokens::Hidden);
    assert_eq!(text, "é");
    assert_eq!(chars(&spans), [(0, 0), (0, 1), (0, 0), (0, 1), (1, 1)]);
}

#[test]
fn the_space_that_encoding_adds_and_tokens_in_front_are_not_in_the_text() {
    let t = tokenizer(&spm(&[("▁Once", 0.0), ("▁upon", 0.0)]));
    let ids = [1, 259, 260];
    assert_eq!(t.piece(259), Some(&b" Once"[..]));
    let (text, spans) = t.decode_spans(&ids, 1).unwrap();
    assert_eq!((text.as_str(), chars(&spans)), ("Once upon", vec![(0, 0), (0, 4), (4, 9)]));
    let (text, spans) = t.decode_spans(&ids[1..], 0).unwrap();
    assert_eq!((text.as_str(), chars(&spans)), ("Once upon", vec![(0, 4), (4, 9)]));
    // Behind other text it is the text's own.
    let mut later = SpanDetokenizer::after(&t, &[259], ControlTokens::Hidden);
    let (mut text, mut spans) = (String::new(), Vec::new());
    later.push(260, &mut text, &mut spans).unwrap();
    assert_eq!((text.as_str(), chars(&spans)), (" upon", vec![(0, 5)]));
}

#[test]
fn spans_of_any_tokens_tile_the_text() {
    let mut all = data::tokenizers();
    all.push(("made bpe".into(), tokenizer(&bpe("qwen2", &["Ġ Ġ", "ð Ł"], &[("<|x|>", CONTROL)]))));
    all.push(("made spm".into(), tokenizer(&spm(&[("▁", 0.0), ("▁a", 2.0)]))));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) };
    proptest!(config, |(numbers in proptest::collection::vec(any::<u32>(), 0..40), small in any::<bool>())| {
        for (name, t) in &all {
            let n = if small { 300.min(t.vocab_size()) } else { t.vocab_size() } as u32;
            let ids: Vec<u32> = numbers.iter().map(|x| x % n).collect();
            for control in [ControlTokens::Shown, ControlTokens::Hidden] {
                let (text, spans) = streamed(t, &ids, control.clone());
                check(name, t, &ids, control, &text, &spans);
            }
            let whole = t.decode_spans(&ids, 0).unwrap();
            let decoded = t.decode(&ids).unwrap();
            prop_assert_eq!(&whole.0, &String::from_utf8_lossy(&decoded), "{}", name);
            prop_assert_eq!(&whole, &streamed(t, &ids, ControlTokens::Shown));
        }
    });
}

#[track_caller]
fn check(name: &str, t: &Tokenizer, ids: &[u32], control: ControlTokens, text: &str, spans: &[TokenSpan]) {
    let mut plain = t.detokenizer(control);
    let decoded: String = ids.iter().map(|&id| plain.push(id).unwrap()).collect();
    assert_eq!(decoded + &plain.finish(), text, "{name}");
    assert_eq!(spans.iter().map(|s| s.token).collect::<Vec<_>>(), ids, "{name}");
    let (mut start, mut end) = (0, 0);
    for span in spans {
        assert_eq!(text[..span.bytes.start].chars().count(), span.chars.start, "{name}");
        assert_eq!(text[span.bytes.clone()].chars().count(), span.chars.len(), "{name}");
        assert!(
            start <= span.chars.start && span.chars.start <= end.max(span.chars.start),
            "{name}: {spans:?}"
        );
        // No gap, and no more than one character in common.
        assert!(
            span.chars.is_empty() || span.chars.start == end || span.chars.start + 1 == end,
            "{name}: {spans:?}"
        );
        (start, end) = (span.chars.start, end.max(span.chars.end));
    }
    assert_eq!(end, text.chars().count(), "{name}");
}
