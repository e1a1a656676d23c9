use inferno_format::{Array, Metadata, Value};
use inferno_text::{ControlTokens, StopStrings, StopText};

use super::*;
use crate::part::Part;

/// A token per ASCII character, whose id is its code; 0 ends an answer, and marks are control tokens from 128 on.
const MARKS: [&str; 4] = ["<tool_call>", "</tool_call>", "<think>", "</think>"];

fn tokenizer() -> Arc<Tokenizer> {
    let mut words: Vec<String> = (0..128u8).map(|b| char::from(b).to_string()).collect();
    words[0] = "</s>".into();
    words[32] = "▁".into();
    words.extend(MARKS.map(str::to_owned));
    let kinds = (0..words.len()).map(|i| if i == 0 || i >= 128 { 3 } else { 1 }).collect();
    let mut m = Metadata::default();
    m.set("tokenizer.ggml.model", Value::String("llama".into()));
    m.set("tokenizer.ggml.tokens", Value::Array(Array::String(words.iter().map(String::as_str).collect())));
    m.set("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; words.len()])));
    m.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    m.set("tokenizer.ggml.eos_token_id", Value::U32(0));
    Arc::new(Tokenizer::from_metadata(&m).unwrap())
}

fn rules(stops: &[&str], format: Option<ReplyFormat>) -> ReplyRules {
    let tokenizer = tokenizer();
    let stop_strings: Arc<[String]> = stops.iter().map(|stop| (*stop).to_owned()).collect();
    let control = match &format {
        Some(format) => ControlTokens::Only(mark_tokens(format, &tokenizer)),
        None => ControlTokens::Hidden,
    };
    ReplyRules {
        text: TextRules {
            tokenizer,
            control,
            stops: StopStrings::new(Arc::clone(&stop_strings), StopText::Dropped),
            min_tokens: 0,
            silent: [0].into(),
        },
        stop_strings,
        ends: [0].into(),
        format: format.map(Arc::new),
        start: ReplyStart::default(),
        call_seed: CallSeed(1),
    }
}

/// The tokens of a text in which marks are tokens of their own.
fn tokens(mut text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    while let Some(first) = text.chars().next() {
        match MARKS.iter().position(|mark| text.starts_with(mark)) {
            Some(i) => {
                tokens.push(128 + i as u32);
                text = &text[MARKS[i].len()..];
            }
            None => {
                tokens.push(first as u32);
                text = &text[1..];
            }
        }
    }
    tokens
}

/// Every part of an answer, as told in deltas of `chunk` tokens, and its end.
fn read(rules: &ReplyRules, tokens: &[u32], chunk: usize, finish: Finish) -> (Vec<Part>, Ending, Reply) {
    let (mut reply, stop) = Reply::new(rules, &[65]);
    let mut n = tokens.len();
    let mut finish = finish;
    if let Some(mut stop) = stop {
        for (i, &token) in tokens.iter().enumerate() {
            stop.commit(token);
            if stop.finished() {
                (n, finish) = (i + 1, Finish::StopCondition);
                break;
            }
        }
    }
    let mut all = Delta::default();
    for tokens in tokens[..n].chunks(chunk) {
        let mut delta = Delta::default();
        tokens.iter().for_each(|&token| reply.push(token, None, &mut delta));
        all.append(delta);
    }
    let mut delta = Delta::default();
    let ending = reply.finish(finish, &mut delta).unwrap();
    all.append(delta);
    all.parts.retain(|part| !(part.text.is_empty() && part.tokens.is_empty()));
    (all.parts, ending, reply)
}

fn texts(parts: &[Part]) -> Vec<(&PartKind, &str)> {
    parts.iter().map(|part| (&part.kind, part.text.as_str())).collect()
}

#[test]
fn an_answer_without_a_format_is_text() {
    let answer = [tokens("a <tool_call>b"), vec![0]].concat();
    let (parts, ending, reply) = read(&rules(&[], None), &answer, 3, Finish::Stop);
    assert_eq!(texts(&parts), [(&PartKind::Text, "a b")]);
    assert_eq!(parts[0].tokens.len(), 5);
    assert_eq!(parts[0].tokens.iter().map(|t| t.span.token).collect::<Vec<_>>(), answer);
    assert_eq!(ending, Ending { reason: FinishReason::Stop, stop: None, closed_early: false });
    assert_eq!((reply.n_tokens(), reply.n_reasoning()), (5, 0));
}

#[test]
fn ends_are_told_apart() {
    let rules = rules(&["b"], None);
    let (parts, ending, reply) = read(&rules, &tokens("abc"), 1, Finish::Length);
    assert_eq!(texts(&parts), [(&PartKind::Text, "a")]);
    assert_eq!(reply.n_tokens(), 2, "the stop string was computed too");
    assert_eq!(ending.stop, Some(StopReason::String("b".into())));
    let (_, ending, _) = read(&rules, &tokens("aa"), 1, Finish::Length);
    assert_eq!(ending, Ending { reason: FinishReason::Length, stop: None, closed_early: false });
    let (_, ending, _) = read(&rules, &tokens("ac"), 1, Finish::Stop);
    assert_eq!(ending.stop, Some(StopReason::Token(99)));
    let (mut reply, _) = Reply::new(&rules, &[65]);
    let failed = reply.finish(Finish::Failed("why".into()), &mut Delta::default());
    assert_eq!(failed, Err(ReplyError::Failed("why".into())));
}

/// Rules of a model that reasons between `<think>` and `</think>`.
fn reasoning_rules() -> ReplyRules {
    let reasoning = inferno_text::ReasoningMarks {
        begin: "<think>\n".into(),
        end: "</think>".into(),
        close: "</think>\n\n".into(),
    };
    let format = ReplyFormat { reasoning: Some(reasoning), ..ReplyFormat::default() };
    let mut rules = rules(&["zzz"], Some(format));
    rules.start.splits_reasoning = true;
    rules
}

#[test]
fn an_answer_that_ends_within_its_reasoning_has_only_tokens_of_reasoning() {
    let answer = [tokens("<think>why"), vec![0]].concat();
    let (parts, _, reply) = read(&reasoning_rules(), &answer, 1, Finish::Stop);
    assert!(parts.iter().all(|part| part.kind == PartKind::Reasoning), "{parts:?}");
    assert_eq!((reply.n_tokens(), reply.n_reasoning()), (5, 5));
}

#[test]
fn parts_do_not_depend_on_when_they_are_read() {
    let call = "{\"name\": \"f\", \"arguments\": {\"a\": [1, \"</tool\"]}}";
    let answer = format!(
        "<think>\nwhy\n</think>\n\nSo: <tool_call>\n{call}\n</tool_call>\n<tool_call>\n{call}\n</tool_call>"
    );
    let tokens = [tokens(&answer), vec![0]].concat();
    let mut rules = reasoning_rules();
    rules.start.tools = vec![("f".into(), serde_json::json!({}))];
    let (parts, ending, reply) = read(&rules, &tokens, 1, Finish::Stop);
    assert_eq!(ending.reason, FinishReason::ToolCalls);
    let arguments = "{\"a\": [1, \"</tool\"]}";
    let said: Vec<(&str, &str)> = parts
        .iter()
        .filter(|part| !part.text.is_empty() || matches!(part.kind, PartKind::ToolCall { .. }))
        .map(|part| match &part.kind {
            PartKind::Text => ("text", part.text.as_str()),
            PartKind::Reasoning => ("reasoning", &*part.text),
            PartKind::ToolCall { name, .. } => ("call", &**name),
            PartKind::Arguments { .. } => ("arguments", &*part.text),
        })
        .collect();
    let call = [("call", "f"), ("arguments", arguments)];
    assert_eq!(said, [&[("reasoning", "why"), ("text", "So:")][..], &call[..], &call[..]].concat());
    let told: Vec<u32> = parts.iter().flat_map(|part| &part.tokens).map(|token| token.span.token).collect();
    assert_eq!(told, tokens, "every token is told once, in order");
    assert!((4..=10).contains(&reply.n_reasoning()), "{}", reply.n_reasoning());
    for chunk in 2..tokens.len() {
        let (again, ending_again, _) = read(&rules, &tokens, chunk, Finish::Stop);
        assert_eq!((&again, &ending_again), (&parts, &ending), "{chunk} tokens at once");
    }
}
