use inferno_format::{Array, Metadata, Value};
use inferno_text::StopText;

use super::*;

/// `a`, `b`, a space and the two bytes of `é`; token 0 ends a text.
fn tokenizer() -> Arc<Tokenizer> {
    let words = ["</s>", "a", "b", "▁", "<0xC3>", "<0xA9>"];
    let kinds = [3, 1, 1, 1, 6, 6];
    let mut m = Metadata::default();
    m.set("tokenizer.ggml.model", Value::String("llama".into()));
    m.set("tokenizer.ggml.tokens", Value::Array(Array::String(words.iter().collect())));
    m.set("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; words.len()])));
    m.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds.to_vec())));
    m.set("tokenizer.ggml.eos_token_id", Value::U32(0));
    Arc::new(Tokenizer::from_metadata(&m).unwrap())
}

fn rules(stops: &[&str], text: StopText, min_tokens: usize) -> TextRules {
    let stops: Arc<[String]> = stops.iter().map(|stop| (*stop).to_owned()).collect();
    TextRules {
        tokenizer: tokenizer(),
        control: ControlTokens::Hidden,
        stops: StopStrings::new(stops, text),
        min_tokens,
        silent: [0].into(),
    }
}

/// The answer of a reader that takes its tokens only when the engine has ended the sequence: the number of tokens, the text, the
/// places of the tokens, and the stop string that was found.
fn read(rules: &TextRules, tokens: &[u32]) -> (usize, String, Vec<TokenSpan>, Option<usize>) {
    let (mut text, stop) = CompletionText::new(rules, &[1]);
    let mut n = tokens.len();
    if let Some(mut stop) = stop {
        for (i, &token) in tokens.iter().enumerate() {
            stop.commit(token);
            if stop.finished() {
                n = i + 1;
                break;
            }
        }
    }
    let (mut shown, mut spans) = (String::new(), Vec::new());
    tokens[..n].iter().for_each(|&token| text.push(token, &mut shown, &mut spans));
    text.finish(&mut shown, &mut spans);
    (n, shown, spans, text.matched())
}

/// All sequences of `n` tokens.
fn sequences(n: usize) -> impl Iterator<Item = Vec<u32>> {
    (0..6u32.pow(n as u32)).map(move |i| (0..n as u32).map(|digit| i / 6u32.pow(digit) % 6).collect())
}

#[test]
fn a_stop_string_ends_the_text_at_the_token_that_completes_it() {
    let free = rules(&[], StopText::Dropped, 0);
    for stop in ["ab", "é", "a", "b\u{fffd}"] {
        for (kept, stop_text) in [(0, StopText::Dropped), (stop.len(), StopText::Kept)] {
            let rules = rules(&[stop, "never"], stop_text, 0);
            for tokens in sequences(5) {
                let (n, text, spans, matched) = read(&rules, &tokens);
                let (_, full, all_spans, _) = read(&free, &tokens);
                let Some(at) = full.find(stop) else {
                    assert_eq!((n, &text, matched), (5, &full, None), "{tokens:?}");
                    assert_eq!(spans, all_spans, "{tokens:?}");
                    continue;
                };
                assert_eq!((text.as_str(), matched), (&full[..at + kept], Some(0)), "{tokens:?}");
                // The shortest start of the tokens whose text has it; an end of half a character comes with the end only.
                let has_it = |n: &usize| read(&free, &tokens[..*n]).1.contains(stop);
                let first = (1..=5).find(has_it).expect("all of them have it");
                assert!(n == first || stop.ends_with('\u{fffd}') && n >= first, "{tokens:?}: {n}, {first}");
                // Places of tokens that are shown in full, as what comes after them may be cut off within a character.
                let n_shown = spans.iter().take_while(|span| span.bytes.end <= text.len()).count();
                assert_eq!(spans[..n_shown], all_spans[..n_shown], "{tokens:?}");
            }
        }
    }
}

#[test]
fn no_stop_string_begins_before_the_least_number_of_tokens() {
    let of = |min_tokens, tokens: &[u32]| read(&rules(&["ab"], StopText::Dropped, min_tokens), tokens);
    let (n, text, _, matched) = of(1, &[1, 2, 3, 1, 2, 3]);
    assert_eq!((n, text.as_str(), matched), (5, "ab ", Some(0)));
    let (n, text, _, matched) = of(0, &[1, 2, 3, 1, 2, 3]);
    assert_eq!((n, text.as_str(), matched), (2, "", Some(0)));
    // The token that ends a text is no part of it.
    let (n, text, spans, matched) = of(0, &[3, 1, 0]);
    assert_eq!((n, text.as_str(), spans.len(), matched), (3, " a", 2, None));
}
