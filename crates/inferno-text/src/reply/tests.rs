//! Tests of the parser: every format, however its text is cut.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// Parts of an answer, each kind's text put together.
#[derive(Debug, Default, PartialEq)]
struct Parts {
    text: String,
    reasoning: String,
    calls: Vec<(String, String)>,
    ids: Vec<Option<String>>,
}

fn parse<'t>(format: &ReplyFormat, start: &ReplyStart, chunks: impl IntoIterator<Item = &'t str>) -> Parts {
    let mut parser = ReplyParser::new(format, start.clone());
    let mut pieces = Vec::new();
    let mut n_bytes = 0;
    for chunk in chunks {
        parser.push(chunk, &mut pieces);
        n_bytes += chunk.len();
    }
    parser.finish(&mut pieces);
    let mut end = 0;
    let mut parts = Parts::default();
    for piece in &pieces {
        assert_eq!(piece.source.start, end, "{pieces:?}");
        end = piece.source.end;
        match &piece.kind {
            PieceKind::Text => parts.text.push_str(&piece.text),
            PieceKind::Reasoning => parts.reasoning.push_str(&piece.text),
            PieceKind::ToolCall { index, id, name } => {
                assert_eq!(*index as usize, parts.calls.len());
                parts.calls.push((name.clone(), String::new()));
                parts.ids.push(id.clone());
            }
            PieceKind::Arguments { index } => {
                assert_eq!(*index as usize, parts.calls.len() - 1);
                parts.calls.last_mut().unwrap().1.push_str(&piece.text);
            }
        }
    }
    assert_eq!(end, n_bytes, "{pieces:?}");
    parts
}

fn chars(text: &str) -> Vec<&str> {
    text.char_indices().map(|(i, c)| &text[i..i + c.len_utf8()]).collect()
}

fn tools() -> Vec<(String, Value)> {
    let schema = json!({ "type": "object", "properties": {
        "city": { "type": "string" }, "days": { "type": "integer" }, "exact": { "type": "boolean" },
        "places": { "type": "array" }, "more": { "type": "object" }, "ratio": { "type": "number" },
    } });
    vec![("get_weather".into(), schema), ("now".into(), json!({}))]
}

fn start() -> ReplyStart {
    ReplyStart { in_reasoning: false, splits_reasoning: true, tools: tools() }
}

fn format_of(calls: &CallSyntax) -> ReplyFormat {
    let reasoning = match calls.body {
        CallBody::Harmony => known_reasoning().into_iter().last(),
        CallBody::Recipients => None,
        _ => known_reasoning().into_iter().next(),
    };
    ReplyFormat { calls: calls.clone(), reasoning, ..ReplyFormat::default() }
}

fn hermes() -> ReplyFormat {
    format_of(&CallSyntax::default())
}

fn arguments() -> Vec<Map<String, Value>> {
    let object = |value: Value| value.as_object().unwrap().clone();
    vec![
        object(json!({ "city": "Paris" })),
        object(json!({})),
        object(json!({ "city": "a \"b\" \\ c\n</p> 'd' {e} [f] été 🎉", "days": -3, "exact": true })),
        object(
            json!({ "places": ["x", 1, null, [2.5, { "k": "v, w" }]], "ratio": 0.5, "more": { "a": { "b": [] } } }),
        ),
    ]
}

#[test]
fn every_syntax_reads_what_it_writes_however_it_is_cut() {
    for calls in known_calls() {
        let format = format_of(&calls);
        for arguments in arguments() {
            let none = Map::new();
            let text = calls.write(&[("get_weather", &arguments), ("now", &none)]);
            let whole = parse(&format, &start(), [text.as_str()]);
            assert_eq!(whole, parse(&format, &start(), chars(&text)), "{text}");
            assert_eq!(whole.text, "", "{text}");
            let names: Vec<&str> = whole.calls.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["get_weather", "now"], "{text}");
            let read: Value = serde_json::from_str(&whole.calls[0].1).expect(&whole.calls[0].1);
            assert_eq!(read, Value::Object(arguments.clone()), "{text}");
            assert_eq!(whole.calls[1].1, "{}");
        }
    }
}

#[test]
fn text_and_reasoning_before_a_call_are_told_apart() {
    // Functionary's texts have a recipient.
    for calls in known_calls().into_iter().filter(|calls| calls.body != CallBody::Recipients) {
        let format = format_of(&calls);
        let arguments = &arguments()[0];
        let call = calls.write(&[("get_weather", arguments)]);
        let text = match calls.body {
            CallBody::Harmony => format!("<|channel|>analysis<|message|>Hm<|end|><|start|>assistant{call}"),
            _ => format!("<think>\nHm\n</think>\n\n{call}"),
        };
        let whole = parse(&format, &start(), [text.as_str()]);
        assert_eq!(
            (whole.reasoning.as_str(), whole.text.as_str(), whole.calls.len()),
            ("Hm", "", 1),
            "{text}"
        );
        assert_eq!(whole, parse(&format, &start(), chars(&text)), "{text}");
        if !calls.bare && calls.body != CallBody::Harmony {
            let text = format!("I see.\n{call}");
            let whole = parse(&format, &start(), chars(&text));
            assert_eq!((whole.text.as_str(), whole.calls.len()), ("I see.", 1), "{text}");
        }
    }
}

fn check(start: &ReplyStart, text: &str, expected: (&str, &str, &[(&str, &str)])) {
    let whole = parse(&hermes(), start, [text]);
    assert_eq!(whole, parse(&hermes(), start, chars(text)), "{text}");
    let calls: Vec<(&str, &str)> = whole.calls.iter().map(|(name, args)| (&**name, &**args)).collect();
    assert_eq!((&*whole.text, &*whole.reasoning, &*calls), expected, "{text}");
}

#[test]
fn malformed_calls_are_text() {
    let check = |text: &str| check(&start(), text, (text, "", &[]));
    check("<tool_call>");
    check("<tool_call>\n{\"name\": \"get_weather\"");
    check("<tool_call>\nget_weather\n</tool_call>");
    check("<tool_call>\n{\"name\": \"get_weather\", \"arguments\": Paris}\n</tool_call>");
    check("<tool_call>\n{\"name\": \"a b\", \"arguments\": {}}\n</tool_call>");
    check("<tool_call>\n{\"arguments\": {\"city\": \"Paris\"}}\n</tool_call>");
    check("a < b <tool <tool_calls> </tool_call>");
    check("<tool_call>\n<tool_call>\n");
}

#[test]
fn faults_around_calls_do_not_lose_them() {
    let call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>";
    let told: &[(&str, &str)] = &[("get_weather", "{\"city\": \"Paris\"}")];
    check(&start(), &format!("<tool_call>\n{call}"), ("<tool_call>", "", told));
    check(&start(), &format!("<tool_call> or {call}"), ("<tool_call> or", "", told));
    check(&start(), call.trim_end_matches("}\n</tool_call>"), ("", "", told));
    check(&start(), &call.replace("}}", "}"), ("", "", told));
    check(&start(), &call.replace("}}", "}, \"id\": ?}"), ("?}\n</tool_call>", "", told));
    check(&start(), &format!("{call}\nDone."), ("Done.", "", told));
    check(
        &start(),
        "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Pa",
        ("", "", &[("get_weather", "{\"city\": \"Pa")]),
    );
    // The order of keys is the model's.
    let turned = "<tool_call>{\"arguments\": {\"city\": \"Paris\"}, \"name\": \"get_weather\"}</tool_call>";
    check(&start(), turned, ("", "", told));
    // A line break within a string is not JSON's.
    let broken = "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"b\nc\"}}</tool_call>";
    check(&start(), broken, ("", "", &[("now", "{\"a\": \"b\\nc\"}")]));
    // The function need not be one of the tools: the client answers what it makes of it.
    check(&start(), "<tool_call>{\"name\": \"other\"}</tool_call>", ("", "", &[("other", "{}")]));
}

#[test]
fn calls_are_text_where_there_are_no_tools() {
    let plain = ReplyStart { tools: Vec::new(), ..start() };
    let call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {}}\n</tool_call>";
    check(&plain, call, (call, "", &[]));
}

#[test]
fn reasoning_ends_at_its_mark_at_a_call_or_with_the_answer() {
    let open = ReplyStart { in_reasoning: true, ..start() };
    check(&open, "Hm\n</think>\n\nYes", ("Yes", "Hm", &[]));
    check(&open, "\nHm", ("", "Hm", &[]));
    check(&open, "<think>\nHm</think>Yes", ("Yes", "Hm", &[]));
    check(&start(), "\n<think>Hm</think>Yes </think> <think>", ("Yes </think> <think>", "Hm", &[]));
    check(&start(), "<think>\n\n</think>\n\nYes\n", ("Yes\n", "", &[]));
    check(&start(), "Yes <think>no</think>", ("Yes <think>no</think>", "", &[]));
    check(&start(), "\nYes", ("\nYes", "", &[]));
    check(&open, "Hm <tool_call>{\"name\": \"now\"}</tool_call> Yes", ("Yes", "Hm", &[("now", "{}")]));
    check(&open, "Hm <tool_call> is a mark</think>Yes", ("Yes", "Hm <tool_call> is a mark", &[]));
    let unsplit = ReplyStart { splits_reasoning: false, ..open };
    check(&unsplit, "Hm\n</think>\n\nYes", ("Hm\n</think>\n\nYes", "", &[]));
}

#[test]
fn messages_of_harmony_are_told_apart() {
    let format = format_of(&known_calls()[0]);
    let check = |text: &str, expected: (&str, &str, &[(&str, &str)])| {
        let whole = parse(&format, &start(), [text]);
        assert_eq!(whole, parse(&format, &start(), chars(text)), "{text}");
        let calls: Vec<(&str, &str)> = whole.calls.iter().map(|(name, args)| (&**name, &**args)).collect();
        assert_eq!((&*whole.text, &*whole.reasoning, &*calls), expected, "{text}");
    };
    check(
        "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>Yes<|return|>",
        ("Yes", "Hm", &[]),
    );
    check(
        " to=functions.now<|channel|>commentary json<|message|>{\"a\": 1}<|call|>",
        ("", "", &[("now", "{\"a\": 1}")]),
    );
    check(
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.now \
         <|constrain|>json<|message|>{}",
        ("I look.", "", &[("now", "{}")]),
    );
    check("Plain text < no mark", ("Plain text < no mark", "", &[]));
    check("<|channel|>analysis<|message|>Hm", ("", "Hm", &[]));
    check("<|channel|>fin", ("<|channel|>fin", "", &[]));
    check("<|channel|>analysis<|message|>", ("", "", &[]));
}

#[test]
fn messages_of_functionary_are_told_apart_by_their_recipients() {
    let calls = known_calls().into_iter().find(|calls| calls.body == CallBody::Recipients).unwrap();
    let format = format_of(&calls);
    let check_with = |start: &ReplyStart, text: &str, expected: (&str, &[(&str, &str)])| {
        let whole = parse(&format, start, [text]);
        assert_eq!(whole, parse(&format, start, chars(text)), "{text}");
        let calls: Vec<(&str, &str)> = whole.calls.iter().map(|(name, args)| (&**name, &**args)).collect();
        assert_eq!((&*whole.text, &*calls), expected, "{text}");
    };
    let check = |text: &str, expected: (&str, &[(&str, &str)])| check_with(&start(), text, expected);
    let now: &[(&str, &str)] = &[("now", "{}")];
    check("all\nI look.\n>>>now\n{}", ("I look.\n", now));
    check(
        "all\nI look.>>>now\n{}>>>get_weather \n {\"city\": \"x>>>y\"}",
        ("I look.", &[("now", "{}"), ("get_weather", "{\"city\": \"x>>>y\"}")]),
    );
    check(">>>now\n{}\n>>>all\nDone.", ("Done.", now));
    check("now\n{} Done.", ("Done.", now));
    check("now\n{\"a\": 1", ("", &[("now", "{\"a\": 1")]));
    check("all\n", ("", &[]));
    check("all", ("all", &[]));
    check("all\nall\n>>>all\nb", ("all\nb", &[]));
    check("all\na >>>>now\n{}", ("a >", now));
    check("allow\n{}", ("allow\n{}", &[]));
    check("all\n>>> print(1)\n1>>", (">>> print(1)\n1>>", &[]));
    check("now\nprint(1)>>>now\n{}", ("now\nprint(1)", now));
    check("Yes.>>>other\n{}", ("Yes.>>>other\n{}", &[]));
    // The recipient of a text is no text where there are no tools either.
    let plain = ReplyStart { tools: Vec::new(), ..start() };
    check_with(&plain, "all\nYes.>>>now\n{}", ("Yes.>>>now\n{}", &[]));
}

#[test]
fn ids_that_models_write_are_told() {
    let calls =
        known_calls().into_iter().find(|calls| format_of(calls).marks().contains(&"[CALL_ID]")).unwrap();
    let ids = |text: &str| {
        let whole = parse(&format_of(&calls), &start(), [text]);
        assert_eq!(whole, parse(&format_of(&calls), &start(), chars(text)), "{text}");
        (whole.text, whole.ids)
    };
    let id = |id: &str| Some(id.to_owned());
    let two = "[TOOL_CALLS]now[CALL_ID]abcdef123[ARGS]{}[TOOL_CALLS]now[CALL_ID]z9[ARGS]{\"a\": 1}";
    assert_eq!(ids(two), (String::new(), vec![id("abcdef123"), id("z9")]));
    assert_eq!(ids("[TOOL_CALLS]now[ARGS]{}"), (String::new(), vec![None]));
    assert_eq!(ids("[TOOL_CALLS]now[CALL_ID][ARGS]{}"), (String::new(), vec![None]));
    for text in ["[TOOL_CALLS]now[CALL_ID]a b[ARGS]{}", "[TOOL_CALLS]now[CALL_ID]abcdef123"] {
        assert_eq!(ids(text), (text.to_owned(), Vec::new()));
    }
}

/// Found by fuzzing: the mark was forgotten at the end of its first piece, and given back when it went on otherwise.
#[test]
fn a_mark_that_is_cut_and_then_broken_ends_the_call() {
    for calls in known_calls() {
        let format = format_of(&calls);
        let whole = calls.write(&[("get_weather", &arguments()[2])]);
        for at in (1..whole.len()).filter(|&at| whole.is_char_boundary(at)) {
            let broken = format!("{}g{}", &whole[..at], &whole[at..]);
            assert_eq!(
                parse(&format, &start(), chars(&broken)),
                parse(&format, &start(), [broken.as_str()]),
                "{broken:?}"
            );
        }
    }
}

/// Pieces of texts that models write, right and wrong.
fn fragments() -> impl Strategy<Value = String> {
    let marks: Vec<String> = known_calls()
        .iter()
        .flat_map(|calls| {
            let format = format_of(calls);
            let arguments = arguments();
            let whole = calls.write(&[("get_weather", &arguments[2]), ("now", &arguments[3])]);
            let half = whole[..whole.floor_char_boundary(whole.len() / 2)].to_owned();
            let mut texts: Vec<String> = format.marks().into_iter().map(str::to_owned).collect();
            texts.extend([whole, half]);
            texts
        })
        .collect();
    let one = prop_oneof![prop::sample::select(marks), "[ \\n{}\\[\\]\":,<|>a-c🎉]{0,6}"];
    prop::collection::vec(one, 0..8).prop_map(|texts| texts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
    #[test]
    fn no_answer_is_lost_and_cuts_do_not_matter(
        text in fragments(), index in 0..known_calls().len(), in_reasoning: bool, has_tools: bool,
        cuts in prop::collection::vec(0usize..400, 0..6),
    ) {
        let format = format_of(&known_calls()[index]);
        let tools = if has_tools { tools() } else { Vec::new() };
        let start = ReplyStart { in_reasoning, splits_reasoning: true, tools };
        let whole = parse(&format, &start, [text.as_str()]);
        prop_assert_eq!(&whole, &parse(&format, &start, chars(&text)));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| text.floor_char_boundary(cut.min(text.len()))).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
        prop_assert_eq!(&whole, &parse(&format, &start, chunks));
        // Without tools and reasoning all of it is text.
        let plain = ReplyStart::default();
        if !matches!(format.calls.body, CallBody::Harmony | CallBody::Recipients) {
            prop_assert_eq!(&parse(&format, &plain, chars(&text)).text, &text);
        }
    }
}
