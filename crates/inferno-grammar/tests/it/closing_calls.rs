//! Forced calls end whole within their limit, in every format.

use std::sync::Arc;

use inferno_engine::Grammar;
use inferno_grammar::{CallChoice, CallRules, Reasoned, ReasoningRules, Tool};
use inferno_text::{
    CallBody, CallSyntax, PieceKind, ReasoningMarks, ReplyFormat, ReplyParser, ReplyStart, Special,
};
use serde_json::{Map, Value, json};

use crate::closing::draw_within;
use crate::walk::{Walker, small_tokenizer_ending};

/// Tools with strings that any text may be, lists, optional arguments, and none at all.
fn tools() -> Vec<Tool> {
    let tool = |name: &str, parameters| Tool { name: name.into(), parameters, strict: true };
    let search = json!({
        "type": "object", "required": ["query", "from", "places", "exact", "since"], "additionalProperties": false,
        "properties": {
            "query": { "type": "string" }, "lines": { "type": "integer" }, "from": { "type": "string" },
            "places": { "type": "array", "items": { "type": "string" } }, "unit": { "enum": ["C", "F"] },
            "exact": { "type": "boolean" }, "ratio": { "type": "number" },
            "since": { "type": "string", "format": "date-time" },
        },
    });
    let note = json!({
        "type": "object", "properties": { "text": { "type": "string" }, "title": { "type": "string" } },
        "additionalProperties": false,
    });
    let now = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    vec![tool("search", search), tool("search_note", note), tool("now", now)]
}

fn format_of(calls: &CallSyntax, thinks: bool) -> ReplyFormat {
    let marks =
        |begin: &str, end: &str| ReasoningMarks { begin: begin.into(), end: end.into(), close: end.into() };
    let reasoning = match calls.body {
        CallBody::Harmony => marks("<|channel|>analysis<|message|>", "<|end|>"),
        _ => marks("<think>", "</think>"),
    };
    ReplyFormat { calls: calls.clone(), reasoning: Some(reasoning), thinks, ..ReplyFormat::default() }
}

/// A small vocabulary; `has_controls`: with the marks of the format as control tokens, as most models have them.
fn walker(format: &ReplyFormat, has_controls: bool) -> Walker {
    let is_mark = |mark: &&str| mark.len() > 4 && *mark == mark.trim() && *mark != "<|return|>";
    let marks: Vec<&str> = format.marks().into_iter().filter(is_mark).collect();
    Walker::new(small_tokenizer_ending("<|return|>", if has_controls { &marks } else { &[] }))
}

/// Checks that an answer is calls of the tools with arguments that fit.
fn check_answer(format: &ReplyFormat, in_reasoning: bool, parallel: bool, answer: &str) {
    let all = tools().into_iter().map(|tool| (tool.name, tool.parameters)).collect();
    let start = ReplyStart { in_reasoning, splits_reasoning: true, tools: all };
    let mut parser = ReplyParser::new(format, start);
    let (mut pieces, mut calls) = (Vec::new(), Vec::<(String, String)>::new());
    parser.push(answer, &mut pieces);
    parser.finish(&mut pieces);
    for piece in pieces {
        match piece.kind {
            PieceKind::ToolCall { name, .. } => calls.push((name, String::new())),
            PieceKind::Arguments { .. } => calls.last_mut().unwrap().1 += &piece.text,
            PieceKind::Text => assert_eq!(piece.text.trim(), "", "{answer:?}"),
            PieceKind::Reasoning => {}
        }
    }
    assert!(!calls.is_empty() && (parallel || calls.len() == 1), "{calls:?}: {answer:?}");
    for (name, arguments) in &calls {
        let tool =
            tools().into_iter().find(|tool| tool.name == *name).unwrap_or_else(|| panic!("{answer:?}"));
        let arguments: Value =
            serde_json::from_str(arguments).unwrap_or_else(|e| panic!("{e}: {arguments}: {answer:?}"));
        assert!(fits(&tool.parameters, &arguments), "{name} {arguments}: {answer:?}");
    }
}

/// Whether `value` is of a schema of [`tools`].
fn fits(schema: &Value, value: &Value) -> bool {
    if let Some(values) = schema["enum"].as_array() {
        return values.contains(value);
    }
    match (schema["type"].as_str(), value) {
        (Some("string"), Value::String(_)) | (Some("boolean"), Value::Bool(_)) => true,
        (Some("integer" | "number"), Value::Number(_)) => true,
        (Some("array"), Value::Array(items)) => items.iter().all(|item| fits(&schema["items"], item)),
        (Some("object"), Value::Object(members)) => {
            let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
            required.iter().all(|key| members.contains_key(key.as_str().unwrap()))
                && members.iter().all(|(key, value)| {
                    schema["properties"].get(key).is_some_and(|property| fits(property, value))
                })
        }
        _ => false,
    }
}

/// Reasoning before the calls.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reasoning {
    None,
    /// The model may open it.
    Own,
    /// The prompt has opened it.
    Opened,
}

/// A format, and circumstances of an answer in it.
struct Case<'a> {
    calls: &'a CallSyntax,
    reasoning: Reasoning,
    has_controls: bool,
    parallel: bool,
}

impl Case<'_> {
    /// Checks the length of the shortest answer, and draws answers with these seeds: half of them with hardly more room.
    fn check(&self, walker: &Walker, seeds: impl Iterator<Item = usize>) {
        let format = format_of(self.calls, self.reasoning != Reasoning::None);
        let tools = tools();
        let rules =
            CallRules { tools: &tools, choice: CallChoice::Required, parallel: self.parallel, form: None };
        let compiled = walker.compiler.compile_calls(&rules, &format).unwrap().unwrap();
        let Case { calls, reasoning, has_controls, parallel } = self;
        let case = format!("{reasoning:?}, controls {has_controls}, parallel {parallel}, {calls:?}");
        let (shortest, call) = (compiled.shortest(), self.calls.write(&[("now", &Map::new())]));
        // A token is a character or a mark.
        assert!((2..=call.len() + 4).contains(&shortest), "{shortest} tokens, {call:?}: {case}");
        for seed in seeds {
            let room = if seed % 2 == 0 { seed / 2 % 9 } else { 20 + 13 * seed };
            let answer = match self.reasoning {
                Reasoning::None | Reasoning::Own => {
                    let most = shortest + room;
                    draw_within(walker, &mut compiled.constrain(most), most, seed as u64)
                }
                Reasoning::Opened => {
                    let marks = format.reasoning.as_ref().unwrap();
                    let rules = ReasoningRules::new(walker.tokenizer.clone(), marks, true, None);
                    let rules = rules.without_calls(&format);
                    let most = rules.shortest(&compiled) + room;
                    let mut constraint = Reasoned::new(Arc::new(rules), Some(Arc::clone(&compiled)), most);
                    draw_within(walker, &mut constraint, most, seed as u64)
                }
            };
            println!("seed {seed}, room {room}: {case}");
            check_answer(&format, self.reasoning == Reasoning::Opened, self.parallel, &answer);
        }
    }
}

#[test]
fn forced_calls_of_every_format_end_whole_within_their_limit() {
    // One of `step` answers is drawn, of twenty in each case.
    let step: usize = std::env::var("INFERNO_CALL_STEP").map_or(61, |step| step.parse().unwrap());
    let mut nth = 0;
    for calls in &CallSyntax::known() {
        // No prompt opens reasoning where answers are messages.
        let has_messages = matches!(calls.body, CallBody::Harmony | CallBody::Recipients);
        let n_kinds = if has_messages { 2 } else { 3 };
        for has_controls in [true, false] {
            let walker = walker(&format_of(calls, true), has_controls);
            for &reasoning in &[Reasoning::None, Reasoning::Own, Reasoning::Opened][..n_kinds] {
                for parallel in [true, false] {
                    let drawn = (0..20).filter(|seed| (nth + seed) % step == 0);
                    Case { calls, reasoning, has_controls, parallel }.check(&walker, drawn);
                    nth += 20;
                }
            }
        }
    }
}

/// A model that need not call is held to the syntax once it has begun a call: its first text is put in front of what is drawn.
#[test]
fn calls_that_a_model_begins_end_whole_within_their_limit() {
    let tools = tools();
    let step: usize = std::env::var("INFERNO_CALL_STEP").map_or(61, |step| step.parse().unwrap());
    for (nth, calls) in CallSyntax::known().iter().enumerate() {
        // Messages of Functionary begin with the name.
        if calls.body == CallBody::Recipients {
            continue;
        }
        let format = format_of(calls, false);
        let call = calls.write(&[("now", &Map::new())]);
        let begin = &call[..call.find("now").unwrap()];
        let (has_controls, parallel) = (nth % 4 < 2, nth % 2 == 0);
        let walker = walker(&format, has_controls);
        let compile = |choice| {
            let rules = CallRules { tools: &tools, choice, parallel, form: None };
            walker.compiler.compile_calls(&rules, &format).unwrap().unwrap()
        };
        let (shortest, compiled) = (compile(CallChoice::Required).shortest(), compile(CallChoice::Auto));
        for seed in (0..20).filter(|seed| (20 * nth + seed) % step < 3) {
            println!("seed {seed}, controls {has_controls}, parallel {parallel}, {calls:?}");
            let first = walker.tokenizer.encode_continuation(begin, Special::Recognise);
            // Its tokens may be others than those of the shortest answer.
            let most = shortest + first.len() + seed % 9;
            let mut constraint = compiled.constrain(most);
            first.iter().for_each(|&token| constraint.commit(token));
            let rest = draw_within(&walker, &mut constraint, most - first.len(), seed as u64);
            check_answer(&format, false, parallel, &format!("{begin}{rest}"));
        }
    }
}
