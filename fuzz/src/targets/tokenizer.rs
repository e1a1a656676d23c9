//! Text to tokens to text, on three vocabularies.
//!
//! Decoding gives the text back, a stream of tokens gives the same text as all at once, spans cover the text, bounds stop at their
//! number, no token of a text is a control token, and stop strings are found where `str::find` finds them, however the text is cut.

use std::sync::Arc;

use inferno_text::{Bounds, ControlTokens, Special, StopStrings, StopText, Stopped, TokenKind, Tokenizer};

use super::input::{head, pieces, text};
use super::vocabulary::{CHATML, EMBER, PIECES};
use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "tokenizer",
    check,
    max_len: 4 << 10,
    seeds,
    words: &[
        "<|im_start|>",
        "<|im_end|>",
        "<think>",
        "<0x0A>",
        "<s>",
        "</s>",
        "<unk>",
        "▁",
        "Ġ",
        "'ll",
        "'RE",
        "\u{a0}",
        "\u{3000}",
        "\r\n",
        "é",
        "e\u{301}",
        "🎉",
        "👨‍👩‍👧",
        "\u{feff}",
        "\u{fffd}",
        "漢字",
        "กำ",
        "가",
        "0123",
    ],
};

fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "\0\0Hello, world! It's 12345 o'clock.\n\n\tEnd",
        "\x01\x07<|im_start|>user\nhi<|im_end|>",
        "\x02\x03  a  aa ▁▁ab",
        "\0\x05e\u{301}漢字🎉👨‍👩‍👧\u{a0}\u{3000}\r\n",
        "\x01\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn check(data: &[u8]) {
    let ([which, seed], rest) = head(data);
    let text = text(rest);
    let tokenizer = match which % 3 {
        0 => &*CHATML,
        1 => &*EMBER,
        _ => &*PIECES,
    };
    let ids = tokenizer.encode(&text, Special::AsText);
    let is_control = |id: &u32| tokenizer.token_kind(*id) == Some(TokenKind::Control);
    assert!(!ids.iter().any(is_control), "a control token from text");
    let decoded = tokenizer.decode(&ids).expect("tokens of its own");
    // SentencePiece writes a space as U+2581, which comes back as a space.
    let expected =
        if tokenizer.is_sentencepiece() { text.replace('\u{2581}', " ") } else { text.to_string() };
    assert_eq!(String::from_utf8(decoded).expect("what was text is text"), expected);
    streams_the_same(tokenizer, &ids, &expected);
    let (spelled, spans) = tokenizer.decode_spans(&ids, 0).expect("tokens of its own");
    assert_eq!(spelled, expected);
    let mut end = 0;
    for span in &spans {
        assert!(span.bytes.start <= end && span.bytes.end <= spelled.len(), "a gap before {span:?}");
        end = end.max(span.bytes.end);
    }
    assert_eq!((end, spans.len()), (spelled.len(), ids.len()));
    stops_at_bounds(tokenizer, &text, &ids, usize::from(seed));
    // Whatever a template's text has.
    tokenizer.decode(&tokenizer.encode(&text, Special::Recognise)).expect("tokens of its own");
    finds_stops(&text, u64::from(seed));
}

fn streams_the_same(tokenizer: &Tokenizer, ids: &[u32], expected: &str) {
    let mut stream = tokenizer.detokenizer(ControlTokens::Hidden);
    let mut streamed = String::new();
    for &id in ids {
        stream.push_to(id, &mut streamed).expect("tokens of its own");
    }
    streamed += &stream.finish();
    assert_eq!(streamed, expected);
}

fn stops_at_bounds(tokenizer: &Tokenizer, text: &str, ids: &[u32], most: usize) {
    let bounds = Bounds { tokens: most, word: usize::MAX, is_cancelled: &|| false };
    match tokenizer.encode_within(text, Special::AsText, bounds) {
        Ok(found) => assert_eq!((&*found, found.len() <= most), (ids, true)),
        Err(Stopped::TooMany { at_least }) => assert!(ids.len() > most && at_least <= ids.len()),
        Err(other) => panic!("{other}"),
    }
}

fn finds_stops(text: &str, seed: u64) {
    let (stop, text) = text.split_at(text.floor_char_boundary(1 + seed as usize % 4));
    if stop.is_empty() {
        return;
    }
    let mut search = StopStrings::new(Arc::from([stop.to_owned()]), StopText::Dropped);
    let mut shown: String = pieces(text, seed).into_iter().map(|piece| search.push(piece)).collect();
    shown += &search.finish();
    assert_eq!(shown, text.find(stop).map_or(text, |at| &text[..at]));
}
