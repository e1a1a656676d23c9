//! Answers drawn at random end whole within their limit.

use inferno_engine::{Grammar, TokenMask};
use inferno_grammar::{CallChoice, CallRules, Compiled, GrammarSource, Tool};
use inferno_text::{ReasoningMarks, ReplyFormat};
use serde_json::{Value, json};
use xtask::testing::Random;

use crate::walk::{Walker, qwen3, small_tokenizer_with};

/// An answer of random tokens, as the engine takes them; its text and whether it was closed.
fn draw(walker: &Walker, compiled: &Compiled, max_tokens: usize, seed: u64) -> (String, bool) {
    let mut constraint = compiled.constrain(max_tokens);
    let closing = constraint.closing();
    let answer = draw_within(walker, &mut constraint, max_tokens, seed);
    (answer, closing.was_needed())
}

/// The text of an answer of random tokens.
pub(crate) fn draw_within(
    walker: &Walker,
    constraint: &mut dyn Grammar,
    max_tokens: usize,
    seed: u64,
) -> String {
    let mut random = Random(seed);
    let ends = walker.tokenizer.end_of_generation();
    let mut mask = TokenMask::new(walker.tokenizer.vocab_size());
    let (mut tokens, mut forced): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    let mut n = 0;
    while n < max_tokens && !constraint.finished() {
        forced.clear();
        constraint.forced(&mut forced);
        if forced.is_empty() {
            mask.allow_all();
            constraint.mask(&mut mask);
            assert!(mask.n_allowed() > 0, "nothing is allowed: {:?}", constraint.failure());
            let mut nth = random.below(mask.n_allowed());
            let allowed = (0..mask.n_tokens() as u32).filter(|&token| mask.is_allowed(token));
            let sampled = allowed
                .take_while(|_| {
                    nth = nth.wrapping_sub(1);
                    nth != usize::MAX - 1
                })
                .last();
            forced.push(constraint.settle(sampled.unwrap()));
        }
        for &token in forced.iter().take(max_tokens - n) {
            constraint.commit(token);
            n += 1;
            if ends.contains(&token) {
                return text(walker, &tokens);
            }
            tokens.push(token);
        }
    }
    assert_eq!(constraint.failure(), None);
    text(walker, &tokens)
}

fn text(walker: &Walker, tokens: &[u32]) -> String {
    // Reasoning may be any bytes.
    String::from_utf8_lossy(&walker.tokenizer.decode(tokens).unwrap()).into_owned()
}

/// Draws answers, a third of them with hardly more room than the shortest one needs; returns how many were closed.
fn check(walker: &Walker, source: &GrammarSource, n_answers: u64) -> usize {
    let compiled = walker.compile(source).unwrap();
    let mut n_closed = 0;
    for seed in 0..n_answers {
        let room = if seed % 3 == 0 { seed as usize / 3 % 9 } else { 20 + 13 * seed as usize };
        let (answer, was_closed) = draw(walker, &compiled, compiled.shortest() + room, 7 + seed);
        let taken = walker.accepts(&compiled, &answer);
        assert_eq!(taken, Ok(()), "{source:?}, {room} tokens more than needed: {answer}");
        if matches!(source, GrammarSource::JsonSchema(_) | GrammarSource::JsonObject) {
            serde_json::from_str::<Value>(&answer).unwrap();
        }
        n_closed += usize::from(was_closed);
    }
    n_closed
}

#[test]
fn answers_end_whole_within_their_limit() {
    let walker = Walker::small();
    let person = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "minLength": 3 },
            "kind": { "enum": ["a", "quite long a word", 7] },
            "born": { "type": "string", "format": "date" },
            "mail": { "type": "string", "pattern": "^[a-z]+@[a-z]+\\.(com|org)$" },
            "sizes": { "type": "array", "items": { "type": "number" }, "minItems": 2 },
            "more": { "type": "object", "properties": { "deep": { "type": "boolean" } }, "required": ["deep"] }
        },
        "required": ["name", "kind", "born", "mail", "sizes"],
        "additionalProperties": false
    });
    let tree = json!({
        "$defs": { "node": {
            "type": "object",
            "properties": { "value": { "type": "integer" }, "children": { "type": "array", "items": { "$ref": "#/$defs/node" } } },
            "required": ["value", "children"]
        } },
        "$ref": "#/$defs/node"
    });
    let rows = json!({ "type": "array", "items": { "type": "array", "items": { "type": "string" } } });
    let sources = [
        GrammarSource::JsonObject,
        GrammarSource::JsonSchema(person),
        GrammarSource::JsonSchema(tree),
        GrammarSource::JsonSchema(rows),
        GrammarSource::JsonSchema(json!({})),
        GrammarSource::Regex("([a-z]+ )*[a-z]+\\.".into()),
        GrammarSource::Regex("(ab|x(yz){9})*".into()),
        GrammarSource::Choice(vec!["yes".into(), "no, never at all".into()]),
        GrammarSource::Lark("start: \"(\" (start | /[0-9]+/) \")\"".into()),
    ];
    let closed: Vec<usize> = sources.iter().map(|source| check(&walker, source, 30)).collect();
    assert!(
        closed[0] > 0 && closed[1] > 0 && closed[2] > 0 && closed[3] > 0,
        "answers that were closed: {closed:?}"
    );
}

/// Texts of tags end with the marks behind them.
#[test]
fn tags_around_any_text_end_whole_within_their_limit() {
    let walker = Walker::small();
    let text = json!({ "type": "any_text" });
    let tag = |begin: &str, content: &Value, end: &str| json!({ "type": "tag", "begin": begin, "content": content, "end": end });
    let thought = tag("<think>", &text, "</think>");
    let arguments = json!({
        "type": "object", "required": ["a", "b", "c"], "properties": {
            "a": { "type": "string" }, "b": { "type": "integer" }, "c": { "type": "string" }, "d": { "type": "string" },
        },
    });
    let call = json!({ "type": "json_schema", "style": "qwen_xml", "json_schema": arguments });
    let calls = json!({
        "type": "triggered_tags", "triggers": ["<f"], "tags": [tag("<f>", &call, "</f>")], "at_least_one": true,
    });
    for (format, most) in [
        (json!({ "type": "sequence", "elements": [thought, tag("<a>", &text, "</a>")] }), 30),
        (tag("<a>", &calls, "</a>"), 150),
    ] {
        let source = GrammarSource::StructuralTag(json!({ "type": "structural_tag", "format": format }));
        let shortest = walker.compile(&source).unwrap().shortest();
        assert!((9..=most).contains(&shortest), "{shortest} tokens: {format}");
        assert!(check(&walker, &source, 9) > 0, "{format}");
    }
}

/// Where a call may have reasoning before it, which any text is, the marks end that.
#[test]
fn calls_that_must_come_end_whole_within_their_limit() {
    let marks = ["<tool_call>", "</tool_call>", "<think>", "</think>"];
    let walker = Walker::new(small_tokenizer_with(&marks));
    let reasoning =
        ReasoningMarks { begin: "<think>".into(), end: "</think>".into(), close: "</think>".into() };
    let parameters = json!({
        "type": "object",
        "properties": { "income": { "type": "integer" }, "words": { "type": "array", "items": { "type": "string" } } },
        "required": ["income", "words"],
    });
    let tools = [Tool { name: "calculate".into(), parameters, strict: false }];
    let rules = CallRules { tools: &tools, choice: CallChoice::Required, parallel: false, form: None };
    let mut n_closed = 0;
    for thinks in [false, true] {
        let format = ReplyFormat { reasoning: Some(reasoning.clone()), thinks, ..ReplyFormat::default() };
        let source = rules.grammar(&format, &walker.tokenizer).unwrap();
        let compiled = walker.compile(&source).unwrap();
        for seed in 0..30 {
            let room = if seed % 3 == 0 { seed as usize / 3 } else { 20 + 9 * seed as usize };
            let (answer, was_closed) = draw(&walker, &compiled, compiled.shortest() + room, 7 + seed);
            let call = answer.split("<tool_call>").last().unwrap().replace("</tool_call>", "");
            let call: Value = serde_json::from_str(&call).unwrap_or_else(|e| panic!("{e}: {answer}"));
            assert!(call["arguments"]["words"].is_array(), "{answer}");
            n_closed += usize::from(was_closed);
        }
    }
    assert!(n_closed > 5, "{n_closed} closed");
}

#[test]
fn a_shorter_limit_than_the_shortest_answer_is_known_before() {
    let walker = Walker::small();
    let schema = json!({ "type": "object", "properties": { "a": { "const": "x" } }, "required": ["a"], "additionalProperties": false });
    let compiled = walker.compile(&GrammarSource::JsonSchema(schema)).unwrap();
    let (answer, was_closed) = draw(&walker, &compiled, compiled.shortest(), 1);
    assert_eq!((answer.replace(' ', "").as_str(), was_closed), ("{\"a\":\"x\"}", false));
}

#[test]
fn the_shortest_answer_does_not_repeat_what_may_repeat() {
    let walker = Walker::small();
    for (regex, expected) in [
        ("ab[0-9]+!", "ab0!"),
        ("ab[0-9]+!!", "ab0!!"),
        ("(x|y)*z", "z"),
        ("a{3,}b", "aaab"),
        ("[0-9]{2,}[.][0-9]+;", "00.0;"),
        ("([a-z]+ )*[a-z]+\\.", "a."),
    ] {
        let compiled = walker.compile(&GrammarSource::Regex(regex.into())).unwrap();
        // No more tokens than characters.
        assert!(compiled.shortest() <= expected.len(), "{regex}: {}", compiled.shortest());
    }
}

#[test]
fn answers_to_real_schemas_end_whole() {
    let (Some(data), Some(tokenizer)) = (xtask::testing::data("schemas"), qwen3()) else { return };
    let walker = Walker::new(tokenizer);
    let lines = std::fs::read_to_string(data.join("maskbench-400.jsonl")).unwrap();
    let (mut n, mut n_closed) = (0, 0);
    let step: usize = std::env::var("INFERNO_SCHEMA_STEP").map_or(20, |step| step.parse().unwrap());
    for line in lines.lines().step_by(step) {
        let case: Value = serde_json::from_str(line).unwrap();
        let source = GrammarSource::JsonSchema(case["schema"].clone());
        if walker.compile(&source).is_ok() {
            n_closed += check(&walker, &source, 3);
            n += 3;
        }
    }
    assert!(n > 30 && n_closed > 0, "{n} answers, {n_closed} closed");
    println!("{n} answers, {n_closed} of them closed");
}

#[test]
fn answers_with_times_end_whole_in_a_vocabulary_of_few_tokens() {
    let Some(path) = xtask::testing::data("weights/stories260K-f32.gguf") else { return };
    let metadata = inferno_format::Gguf::open(&path).unwrap().metadata().clone();
    let walker = Walker::new(std::sync::Arc::new(inferno_text::Tokenizer::from_metadata(&metadata).unwrap()));
    let time = json!({ "type": "string", "format": "date-time" });
    let schema = json!({
        "type": "object", "required": ["names", "from", "to"],
        "properties": { "to": time, "names": { "type": "array", "items": { "type": "string" } }, "from": time },
    });
    check(&walker, &GrammarSource::JsonSchema(schema), 60);
}
