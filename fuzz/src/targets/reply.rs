//! Answers of models in each known format: two bytes that choose the circumstances, one that chooses the cuts, and the text.
//!
//! Any cuts give the same parts, the pieces cover the text, and arguments are a text for each call.

use std::sync::LazyLock;

use inferno_text::{
    CallBody, CallSyntax, Piece, PieceKind, ReasoningMarks, ReplyFormat, ReplyParser, ReplyStart,
};
use serde_json::json;

use super::input::{head, pieces, text};
use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "reply",
    check,
    max_len: 2 << 10,
    seeds,
    words: &[
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "<function=",
        "</function>",
        "<parameter=",
        "</parameter>",
        "<|python_tag|>",
        "{\"name\": \"now\", \"arguments\": {}}",
        "\"parameters\":",
        "<|channel|>",
        "<|message|>",
        "<|start|>",
        "<|call|>",
        "<|end|>",
        "analysis",
        "commentary to=functions.now",
        "final",
        ">>>",
        "call:now{",
        "<|\"|>",
        "now(",
        "city=\"a\"",
        "get_weather",
        "\\u00e9",
        "\\\"",
        "<arg_key>",
        "<arg_value>",
        "functions.now:0",
    ],
};

static SYNTAXES: LazyLock<Vec<CallSyntax>> = LazyLock::new(CallSyntax::known);

fn seeds() -> Vec<Vec<u8>> {
    let arguments = json!({ "city": "Köln \"x\"", "days": 3, "exact": true });
    let arguments = arguments.as_object().expect("an object");
    let mut all = Vec::new();
    for (i, syntax) in SYNTAXES.iter().enumerate() {
        let calls = syntax.write(&[("get_weather", arguments), ("now", arguments)]);
        for start in 0..2 {
            let mut seed = vec![i as u8, start, 1];
            seed.extend(format!("<think>well</think>Some text {calls} more").bytes());
            all.push(seed);
        }
    }
    all
}

fn check(data: &[u8]) {
    let ([syntax, circumstances, seed], rest) = head(data);
    let text = text(rest);
    let calls = SYNTAXES[usize::from(syntax) % SYNTAXES.len()].clone();
    let is = |bit: u8| circumstances >> bit & 1 == 1;
    let marks =
        ReasoningMarks { begin: "<think>".into(), end: "</think>".into(), close: "</think>\n\n".into() };
    let has_reasoning = !is(2);
    let format = ReplyFormat { calls, reasoning: has_reasoning.then_some(marks), ..ReplyFormat::default() };
    let schema = json!({ "type": "object", "properties": {
        "city": { "type": "string" }, "days": { "type": "integer" }, "exact": { "type": "boolean" },
        "places": { "type": "array" }, "more": { "type": "object" }, "ratio": { "type": "number" },
    } });
    let tools = vec![("get_weather".to_owned(), schema), ("now".to_owned(), json!({}))];
    let tools = if is(3) { Vec::new() } else { tools };
    let has_tools = !tools.is_empty();
    let start = ReplyStart { in_reasoning: is(0), splits_reasoning: !is(1), tools };
    let whole = parse(&format, &start, &[&text]);
    assert_eq!(parse(&format, &start, &pieces(&text, u64::from(seed))), whole, "cuts matter");
    let own_channels = matches!(format.calls.body, CallBody::Harmony | CallBody::Recipients);
    if !has_tools && !start.splits_reasoning && !own_channels {
        assert_eq!(whole.text, text, "text is lost");
    }
}

/// Parts of an answer, each kind's text put together.
#[derive(Debug, Default, PartialEq)]
struct Parts {
    text: String,
    reasoning: String,
    calls: Vec<(Option<String>, String, String)>,
}

fn parse(format: &ReplyFormat, start: &ReplyStart, cuts: &[&str]) -> Parts {
    let mut parser = ReplyParser::new(format, start.clone());
    let mut pieces = Vec::new();
    for cut in cuts {
        parser.push(cut, &mut pieces);
    }
    parser.finish(&mut pieces);
    let mut end = 0;
    let mut parts = Parts::default();
    for Piece { kind, text, source } in &pieces {
        assert_eq!(source.start, end, "a gap in {pieces:?}");
        end = source.end;
        match kind {
            PieceKind::Text => parts.text.push_str(text),
            PieceKind::Reasoning => parts.reasoning.push_str(text),
            PieceKind::ToolCall { index, id, name } => {
                assert_eq!(*index as usize, parts.calls.len());
                parts.calls.push((id.clone(), name.clone(), String::new()));
            }
            PieceKind::Arguments { index } => {
                let (_, _, arguments) = parts.calls.last_mut().expect("arguments belong to a call");
                arguments.push_str(text);
                assert_eq!(*index as usize + 1, parts.calls.len());
            }
        }
    }
    assert_eq!(end, cuts.iter().map(|cut| cut.len()).sum::<usize>(), "{pieces:?}");
    parts
}
