//! Reasoning before an answer.

use std::sync::Arc;

use inferno_engine::{Grammar, TokenMask};
use inferno_grammar::{Compiled, GrammarSource, Reasoned, ReasoningRules};
use inferno_text::{ReasoningMarks, Special, Tokenizer};
use serde_json::{Value, json};

use crate::walk::Walker;

fn marks() -> ReasoningMarks {
    ReasoningMarks { begin: "<think>\n".into(), end: "</think>".into(), close: "\n</think>\n\n".into() }
}

fn rules(walker: &Walker, in_reasoning: bool, budget: Option<usize>) -> Arc<ReasoningRules> {
    Arc::new(ReasoningRules::new(walker.tokenizer.clone(), &marks(), in_reasoning, budget))
}

fn answer(walker: &Walker) -> Arc<Compiled> {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "boolean" } }, "required": ["a"], "additionalProperties": false });
    walker.compile(&GrammarSource::JsonSchema(schema)).unwrap()
}

fn allowed(reasoned: &mut Reasoned, tokenizer: &Tokenizer) -> TokenMask {
    let mut mask = TokenMask::new(tokenizer.vocab_size());
    reasoned.mask(&mut mask);
    mask
}

/// Commits a text, of which every token must be allowed.
#[track_caller]
fn write(reasoned: &mut Reasoned, tokenizer: &Tokenizer, text: &str) {
    for token in tokenizer.encode_continuation(text, Special::AsText) {
        assert!(allowed(reasoned, tokenizer).is_allowed(token), "{token} of {text:?}");
        reasoned.commit(token);
    }
}

fn forced(reasoned: &mut Reasoned, tokenizer: &Tokenizer) -> String {
    let mut tokens = Vec::new();
    reasoned.forced(&mut tokens);
    String::from_utf8(tokenizer.decode(&tokens).unwrap()).unwrap()
}

/// A text of tokens that are drawn from all that are allowed, and whether an end was among them.
fn draw(reasoned: &mut Reasoned, tokenizer: &Tokenizer, max_tokens: usize, seed: u64) -> (Vec<u8>, usize) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut tokens = Vec::new();
    while tokens.len() < max_tokens && !reasoned.finished() {
        let mask = allowed(reasoned, tokenizer);
        assert!(mask.n_allowed() > 0, "nothing is allowed after {tokens:?}");
        let all: Vec<u32> = (0..tokenizer.vocab_size() as u32).filter(|&t| mask.is_allowed(t)).collect();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let token = reasoned.settle(all[(state % all.len() as u64) as usize]);
        if tokenizer.end_of_generation().contains(&token) {
            break;
        }
        tokens.push(token);
        reasoned.commit(token);
    }
    (tokenizer.decode(&tokens).unwrap(), tokens.len())
}

#[test]
fn reasoning_ends_with_the_models_mark_where_its_budget_is_spent() {
    let walker = Walker::small();
    let (tokenizer, compiled) = (&walker.tokenizer, answer(&walker));
    for (in_reasoning, budget, max_tokens) in [(true, Some(3), 60), (true, Some(0), 60), (false, Some(2), 80)]
    {
        for seed in 0..40 {
            let rules = rules(&walker, in_reasoning, budget);
            let mut reasoned = Reasoned::new(rules, Some(compiled.clone()), max_tokens);
            let (text, n_tokens) = draw(&mut reasoned, tokenizer, max_tokens, seed);
            let text = String::from_utf8_lossy(&text);
            let answer = match text.rsplit_once("</think>") {
                Some((thought, answer)) => {
                    let n = budget.map_or(max_tokens, |budget: usize| budget + 20);
                    assert!(tokenizer.encode(thought, Special::AsText).len() <= n, "{budget:?}: {text}");
                    answer
                }
                None => {
                    assert!(!in_reasoning, "{text}");
                    &text
                }
            };
            let found: Value = serde_json::from_str(answer).unwrap_or_else(|e| panic!("{e}: {text:?}"));
            assert!(found["a"].is_boolean() && n_tokens <= max_tokens, "{text}");
            assert!(!reasoned.closing().was_needed(), "{text}");
        }
    }
}

#[test]
fn a_model_that_ends_its_reasoning_goes_on_to_the_form() {
    let walker = Walker::small();
    let tokenizer = &walker.tokenizer;
    let mut reasoned = Reasoned::new(rules(&walker, true, Some(500)), Some(answer(&walker)), 1000);
    let end = tokenizer.end_of_generation()[0];
    assert!(!allowed(&mut reasoned, tokenizer).is_allowed(end), "the answer is still to come");
    write(&mut reasoned, tokenizer, "hm {\"b\": 1}</think>");
    assert_eq!(forced(&mut reasoned, tokenizer), "\n\n");
    write(&mut reasoned, tokenizer, "\n\n{\"a\": true}");
    assert!(!reasoned.closing().was_needed());
}

#[test]
fn a_model_may_open_its_reasoning_or_answer_at_once() {
    let walker = Walker::small();
    let tokenizer = &walker.tokenizer;
    let new = || Reasoned::new(rules(&walker, false, None), Some(answer(&walker)), 1000);
    write(&mut new(), tokenizer, "{\"a\": false}");
    let mut reasoned = new();
    write(&mut reasoned, tokenizer, "<think>");
    write(&mut reasoned, tokenizer, "\nany text { at all</think>");
    write(&mut reasoned, tokenizer, "\n\n{\"a\": false}");
    // Nothing else comes before the answer.
    let x = tokenizer.encode("x", Special::AsText)[0];
    assert!(!allowed(&mut new(), tokenizer).is_allowed(x));
    let mut reasoned = new();
    write(&mut reasoned, tokenizer, "<th");
    assert!(!allowed(&mut reasoned, tokenizer).is_allowed(x));
}

#[test]
fn a_budget_alone_ends_the_reasoning_and_leaves_the_rest_free() {
    let walker = Walker::small();
    let tokenizer = &walker.tokenizer;
    let end = tokenizer.end_of_generation()[0];
    for (in_reasoning, before) in [(true, ""), (false, "<think>"), (false, " \n<think>")] {
        let mut reasoned = Reasoned::new(rules(&walker, in_reasoning, Some(4)), None, 1000);
        write(&mut reasoned, tokenizer, before);
        write(&mut reasoned, tokenizer, "abcd");
        assert_eq!(forced(&mut reasoned, tokenizer), "\n</think>\n\n", "{before:?}");
        write(&mut reasoned, tokenizer, "\n</think>\n\n");
        let mask = allowed(&mut reasoned, tokenizer);
        assert_eq!((mask.n_allowed(), reasoned.finished()), (tokenizer.vocab_size(), false));
    }
    // It may end within its reasoning, or answer without any.
    let mut reasoned = Reasoned::new(rules(&walker, true, Some(4)), None, 1000);
    assert!(allowed(&mut reasoned, tokenizer).is_allowed(end));
    let mut reasoned = Reasoned::new(rules(&walker, false, Some(0)), None, 1000);
    write(&mut reasoned, tokenizer, "an answer <think> of text");
    assert_eq!(forced(&mut reasoned, tokenizer), "");
}
