//! Grammars, schemas and regular expressions of strangers, and answers within them: a byte for the kind, one that seeds the answer.
//!
//! A source is refused, or a random walk through its masks never comes to a place without a token, ends within its limit, and gives
//! a text that the grammar takes in other tokens; for a schema it is JSON, of choices one of them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use inferno_engine::{Grammar, TokenMask};
use inferno_grammar::{Compiled, Compiler, CompilerLimits, GrammarSource};
use inferno_text::Tokenizer;
use serde_json::Value;

use super::input::{Bits, head, text};
use super::vocabulary::bytes_with;
use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "grammar",
    check,
    max_len: 1 << 10,
    seeds,
    words: &[
        "\"type\":",
        "\"object\"",
        "\"array\"",
        "\"string\"",
        "\"integer\"",
        "\"number\"",
        "\"boolean\"",
        "\"null\"",
        "\"properties\":",
        "\"required\":",
        "\"additionalProperties\":",
        "\"items\":",
        "\"prefixItems\":",
        "\"enum\":",
        "\"const\":",
        "\"anyOf\":",
        "\"oneOf\":",
        "\"allOf\":",
        "\"not\":",
        "\"$ref\":",
        "\"$defs\":",
        "\"pattern\":",
        "\"minLength\":",
        "\"maxLength\":",
        "\"minItems\":",
        "\"maxItems\":",
        "\"minimum\":",
        "\"exclusiveMaximum\":",
        "\"multipleOf\":",
        "\"format\":",
        "\"date-time\"",
        "\"#/$defs/a\"",
        "root ::=",
        "ws ::=",
        "[a-z]",
        "[^\"\\\\]",
        "{1,3}",
        "start: ",
        "%json",
        "%regex",
        "(?i)",
        "\\d+",
        "\\p{L}",
        "(?=",
        "\\b",
        "|",
        "*",
        "+?",
    ],
};

/// Tokens of a walk.
const LONGEST: usize = 48;

static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    Arc::new(Tokenizer::from_metadata(&bytes_with(&["<|im_end|>"])).expect("a whole vocabulary"))
});

static COMPILER: LazyLock<Compiler> = LazyLock::new(|| {
    // Less than in a server, so that a slow grammar is refused before it counts as a hang.
    let second = Duration::from_secs(1);
    let limits =
        CompilerLimits { compile_time: second, compile_wall_time: second * 4, ..CompilerLimits::default() };
    Compiler::new(Arc::clone(&TOKENIZER), limits)
});

fn seeds() -> Vec<Vec<u8>> {
    let sources: [(u8, &str); 16] = [
        (
            0,
            r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string","maxLength":3}},"required":["a"]}"#,
        ),
        (
            0,
            r##"{"$ref":"#/$defs/a","$defs":{"a":{"type":"array","items":{"anyOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}}}}"##,
        ),
        (0, r#"{"enum":["a",1,null,{"b":[]}]}"#),
        (0, r#"{"type":"number","minimum":1.5,"maximum":3,"multipleOf":0.25}"#),
        (0, r#"{"type":"string","pattern":"^a+[0-9]{2}$"}"#),
        (0, r#"{"type":"array","minItems":1,"maxItems":2,"items":{"type":"string","format":"date"}}"#),
        (0, r#"{"allOf":[{"properties":{"a":{}}},{"required":["a"],"additionalProperties":false}]}"#),
        (1, r"[a-f]+(-\d{2}){1,2}|x?"),
        (1, r"(?i)yes|\p{Lu}no"),
        (2, "root ::= \"a\" b? | [x-z]+\nb ::= \"b\" root"),
        (2, "root ::= item{1,3} \"\\n\"\nitem ::= [^\\n\"] | \"\\\"\""),
        (3, "start: /[a-z]+/ \",\" INT\nINT: /[0-9]{1,3}/"),
        (4, "yes\nno\nmaybe"),
        (5, "{}"),
        (6, r#"{"type":"structural_tag","format":{"type":"const_string","value":"abc"}}"#),
        (6, r#"{"structures":[{"begin":"<f>","schema":{"type":"object"},"end":"</f>"}],"triggers":["<f"]}"#),
    ];
    let seed = |(kind, text): (u8, &str)| [&[kind, 7], text.as_bytes()].concat();
    sources.into_iter().map(seed).collect()
}

fn check(data: &[u8]) {
    let ([kind, seed], rest) = head(data);
    let text = text(rest);
    let json = || serde_json::from_str::<Value>(&text).ok();
    let choices = || text.split('\n').map(str::to_owned).collect::<Vec<_>>();
    let source = match kind % 7 {
        0 => json().map(GrammarSource::JsonSchema),
        1 => Some(GrammarSource::Regex(text.to_string())),
        2 => Some(GrammarSource::Gbnf(text.to_string())),
        3 => Some(GrammarSource::Lark(text.to_string())),
        4 => Some(GrammarSource::Choice(choices())),
        5 => Some(GrammarSource::JsonObject),
        _ => json().map(GrammarSource::StructuralTag),
    };
    let Some(source) = source else { return };
    let Ok(compiled) = COMPILER.compile(&source) else { return };
    let Some(answer) = walk(&compiled, u64::from(seed)) else { return };
    assert!(
        takes(&compiled, &answer),
        "the grammar gives {:?} and does not take it",
        String::from_utf8_lossy(&answer)
    );
    match source {
        GrammarSource::JsonSchema(_) | GrammarSource::JsonObject => {
            serde_json::from_slice::<Value>(&answer).expect("an answer to a schema is JSON");
        }
        GrammarSource::Choice(choices) => {
            assert!(choices.iter().any(|choice| choice.as_bytes() == answer), "no choice: {answer:?}");
        }
        _ => {}
    }
}

/// A random answer; `None` where it is cut off at its limit, or the grammar gives up.
fn walk(compiled: &Compiled, seed: u64) -> Option<Vec<u8>> {
    let mut bits = Bits(seed);
    let mut mask = TokenMask::new(TOKENIZER.vocab_size());
    let mut constraint = compiled.constrain(LONGEST);
    let mut answer = Vec::new();
    for _ in 0..LONGEST {
        if constraint.finished() {
            return Some(answer);
        }
        mask.allow_all();
        constraint.mask(&mut mask);
        if constraint.failure().is_some() {
            return None;
        }
        let allowed: Vec<u32> =
            (0..TOKENIZER.vocab_size() as u32).filter(|&id| mask.is_allowed(id)).collect();
        assert!(!allowed.is_empty(), "no token may follow {:?}", String::from_utf8_lossy(&answer));
        let sampled = allowed[bits.below(allowed.len())];
        let token = constraint.settle(sampled);
        if TOKENIZER.end_of_generation().contains(&token) {
            return Some(answer);
        }
        answer.extend(TOKENIZER.piece(token).expect("a token of the vocabulary"));
        constraint.commit(token);
    }
    // The limit is the end of an answer that has one within it.
    (compiled.shortest() > 1 && compiled.shortest() <= LONGEST).then_some(answer)
}

/// Whether the answer is taken, in the longest tokens that are allowed, and may end then.
fn takes(compiled: &Compiled, answer: &[u8]) -> bool {
    let mut mask = TokenMask::new(TOKENIZER.vocab_size());
    let mut constraint = compiled.constrain(1 << 20);
    let mut rest = answer;
    while !rest.is_empty() {
        mask.allow_all();
        constraint.mask(&mut mask);
        if constraint.failure().is_some() {
            return true;
        }
        let piece = |id: u32| TOKENIZER.piece(id).unwrap_or_default();
        let fits = |&id: &u32| mask.is_allowed(id) && !piece(id).is_empty() && rest.starts_with(piece(id));
        let longest = (0..TOKENIZER.vocab_size() as u32).filter(fits).max_by_key(|&id| piece(id).len());
        let Some(token) = longest.filter(|_| !constraint.finished()) else { return false };
        rest = &rest[piece(token).len()..];
        constraint.commit(token);
    }
    mask.allow_all();
    constraint.finished() || {
        constraint.mask(&mut mask);
        TOKENIZER.end_of_generation().iter().any(|&end| mask.is_allowed(end))
    }
}
