//! Calls are held to each model's own syntax, and to the schemas of the tools.

use inferno_engine::{Grammar, TokenMask};
use inferno_grammar::{CallChoice, CallRules, Compiled, GrammarSource, Tool};
use inferno_text::{CallBody, CallSyntax, ReasoningMarks, ReplyFormat, TokenKind};
use serde_json::{Map, Value, json};

use crate::walk::{Walker, small_tokenizer, small_tokenizer_with};

/// Marks that end a generation where they are control tokens.
const ENDS: [&str; 3] = ["<|end|>", "<|call|>", "<|return|>"];

fn tools() -> Vec<Tool> {
    let weather = json!({ "type": "object", "required": ["city"], "additionalProperties": false, "properties": {
        "city": { "type": "string" }, "days": { "type": "integer" }, "exact": { "type": "boolean" },
        "unit": { "enum": ["C", "F"] }, "places": { "type": "array", "items": { "type": "string" } },
        "more": { "type": "object", "properties": { "a": { "type": "number" } }, "additionalProperties": false },
    } });
    let now = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let tool = |name: &str, parameters| Tool { name: name.into(), parameters, strict: true };
    vec![tool("get_weather", weather), tool("now", now)]
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn format(calls: &CallSyntax) -> ReplyFormat {
    let marks =
        |begin: &str, end: &str| ReasoningMarks { begin: begin.into(), end: end.into(), close: end.into() };
    let reasoning = match calls.body {
        CallBody::Harmony => marks("<|channel|>analysis<|message|>", "<|end|>"),
        _ => marks("<think>", "</think>"),
    };
    ReplyFormat { calls: calls.clone(), reasoning: Some(reasoning), thinks: true, ..ReplyFormat::default() }
}

/// Whether `text` is an answer: control tokens by themselves, and any tokens for the text between them.
fn accepts(walker: &Walker, compiled: &Compiled, text: &str) -> Result<(), String> {
    let tokenizer = &walker.tokenizer;
    let mut constraint = compiled.constrain(1 << 20);
    let mut mask = TokenMask::new(tokenizer.vocab_size());
    let is_control = |id: u32| tokenizer.token_kind(id) == Some(TokenKind::Control);
    let piece = |id: u32| tokenizer.piece(id).unwrap_or_default();
    let all: Vec<u32> = (0..tokenizer.vocab_size() as u32).filter(|&id| !piece(id).is_empty()).collect();
    let mut rest = text.as_bytes();
    loop {
        let text = String::from_utf8_lossy(rest);
        if constraint.finished() {
            return if rest.is_empty() { Ok(()) } else { Err(format!("over before {text:?}")) };
        }
        mask.allow_all();
        constraint.mask(&mut mask);
        if rest.is_empty() {
            let is_over = tokenizer.end_of_generation().iter().any(|&end| mask.is_allowed(end));
            return if is_over { Ok(()) } else { Err("not over at its end".into()) };
        }
        let control = all.iter().find(|&&id| is_control(id) && rest.starts_with(piece(id)));
        let token = match control {
            Some(&id) => Some(id).filter(|&id| mask.is_allowed(id)),
            None => {
                let fits =
                    |id: &u32| !is_control(*id) && rest.starts_with(piece(*id)) && mask.is_allowed(*id);
                all.iter().copied().filter(fits).max_by_key(|&id| piece(id).len())
            }
        };
        let token = token.ok_or_else(|| format!("not allowed: {text:?}"))?;
        rest = &rest[piece(token).len()..];
        constraint.commit(token);
    }
}

/// Checks one format: with marks as text, and with marks as control tokens.
fn check((nth, calls): (usize, &CallSyntax)) {
    let format = format(calls);
    let marks: Vec<String> = format
        .marks()
        .into_iter()
        .filter(|mark| mark.len() > 4 && *mark == mark.trim() && !ENDS.contains(mark))
        .map(str::to_owned)
        .collect();
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    let tools = tools();
    for (i, tokenizer) in [small_tokenizer(), small_tokenizer_with(&marks)].into_iter().enumerate() {
        let walker = Walker::new(tokenizer);
        let rules = |choice, parallel| CallRules { tools: &tools, choice, parallel, form: None };
        let compile = |rules: CallRules<'_>| {
            let source = rules.grammar(&format, &walker.tokenizer).unwrap();
            walker.compile(&source).unwrap_or_else(|e| panic!("{e}: {source:?}"))
        };
        let write = |name: &str, arguments: Value| calls.write(&[(name, &object(arguments))]);
        let full = json!({
            "city": "Paris", "days": -3, "exact": true, "unit": "F", "places": ["x", "y"], "more": { "a": 0.5 },
        });
        let (one, all) = (write("get_weather", json!({ "city": "Paris" })), write("get_weather", full));
        let now = write("now", json!({}));
        let two = calls
            .write(&[("get_weather", &object(json!({ "city": "Rome", "days": 1 }))), ("now", &Map::new())]);
        let required = compile(rules(CallChoice::Required, true));
        let takes = |compiled: &Compiled, text: &str| accepts(&walker, compiled, text);
        for text in [&one, &all, &now] {
            assert_eq!(takes(&required, text), Ok(()), "{text}");
        }
        let is_harmony = calls.body == CallBody::Harmony;
        let is_functionary = calls.body == CallBody::Recipients;
        if !is_harmony {
            assert_eq!(takes(&required, &two), Ok(()), "{two}");
            let single = compile(rules(CallChoice::Required, false));
            assert_eq!(takes(&single, &one), Ok(()), "{one}");
            assert!(takes(&single, &two).is_err(), "one call: {two}");
        }
        if !is_harmony && !is_functionary {
            let thought = format!("<think>Hm</think>\n\n{one}");
            assert_eq!(takes(&required, &thought), Ok(()), "{thought}");
            // A call ends the reasoning, so that none within it may go by the rules.
            if !calls.bare {
                let thought = format!("<think>Hm {one}</think>\n\n{one}");
                assert!(takes(&required, &thought).is_err(), "{thought}");
            }
        }
        let auto = compile(rules(CallChoice::Auto, true));
        for text in [&one, &all, &now] {
            assert_eq!(takes(&auto, text), Ok(()), "{text}");
        }
        let (text, refused) = match calls.body {
            CallBody::Harmony => ("<|channel|>final<|message|>Yes", "Yes"),
            CallBody::Recipients => ("all\nYes, >>> print(1)\n>>>[it] {is} <b>.", "all\nYes"),
            _ => ("Yes, [it] {is} <b>.", "Yes"),
        };
        assert_eq!(takes(&auto, text), Ok(()));
        assert!(takes(&required, refused).is_err());
        check_form(&walker, &format, &tools, &one, nth / 2 + i);
        let before = match calls.bare || is_harmony {
            true => "",
            false if is_functionary => "all\nI see. >>>",
            false => "I see. ",
        };
        for (name, arguments) in [
            ("other", json!({})),
            ("get_weather", json!({})),
            ("get_weather", json!({ "city": "Paris", "days": "x" })),
            ("get_weather", json!({ "city": "Paris", "unit": "K" })),
            ("get_weather", json!({ "city": "Paris", "zone": 1 })),
            ("now", json!({ "a": 1 })),
        ] {
            let text = format!("{before}{}", write(name, arguments));
            assert!(takes(&required, &text).is_err(), "{text}");
            // Functionary's mark before another name is a text.
            let is_text = is_functionary && name == "other";
            assert_eq!(takes(&auto, &text).is_ok(), is_text, "{text}");
        }
        if !before.is_empty() {
            assert_eq!(takes(&auto, &format!("{before}{two}")), Ok(()), "{two}");
        }
    }
}

/// Checks that an answer is a call, or is of another form.
fn check_form(walker: &Walker, format: &ReplyFormat, tools: &[Tool], call: &str, nth: usize) {
    let begin = match format.calls.body {
        CallBody::Harmony => "<|channel|>final<|message|>",
        CallBody::Recipients => "all\n",
        _ => "",
    };
    let schema = json!({
        "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"], "additionalProperties": false,
        "minProperties": 1, "not": {},
    });
    let all = [
        (GrammarSource::JsonSchema(schema), "{\"a\": 1}", "{\"a\": true}"),
        (GrammarSource::JsonObject, "{\"b\": [1]}", "[1]"),
        (GrammarSource::Regex("a/+b\n".into()), "a//b\n", "a"),
        (GrammarSource::Choice(vec!["red".into(), "blue".into()]), "blue", "green"),
        (GrammarSource::Gbnf("root ::= \"x\"{2}".into()), "xx", "x"),
        (GrammarSource::Lark("start: a a\na: \"y\"".into()), "yy", "y"),
    ];
    // Two of them for each format.
    for (source, text, other) in [&all[nth % 2], &all[2 + nth % 4]] {
        let form = walker.compiler.part(source).unwrap();
        let rules = CallRules { tools, choice: CallChoice::Auto, parallel: true, form: Some(&form) };
        let grammar = rules.grammar(format, &walker.tokenizer).unwrap();
        let compiled = walker.compile(&grammar).unwrap_or_else(|e| panic!("{e}: {grammar:?}"));
        for text in [&format!("{begin}{text}"), call] {
            assert_eq!(accepts(walker, &compiled, text), Ok(()), "{source:?}: {text}: {grammar:?}");
        }
        for text in [format!("{begin}{other}"), format!("{begin}Yes"), format!("{call}{other}")] {
            assert!(accepts(walker, &compiled, &text).is_err(), "{source:?}: {text}");
        }
        let n_unenforced = usize::from(matches!(source, GrammarSource::JsonSchema(_)));
        assert_eq!(compiled.unenforced().len(), n_unenforced, "{source:?}");
    }
}

#[test]
fn calls_are_held_to_every_syntax() {
    CallSyntax::known().iter().enumerate().for_each(check);
}

#[test]
fn a_schema_that_cannot_be_kept_counts_as_any_object_unless_the_tool_is_strict() {
    let walker = Walker::small();
    let compile = |parameters: &Value, strict| {
        let tools = [Tool { name: "f".into(), parameters: parameters.clone(), strict }];
        let rules = CallRules { tools: &tools, choice: CallChoice::Required, parallel: false, form: None };
        walker.compiler.compile_calls(&rules, &ReplyFormat::default()).map(Option::unwrap)
    };
    let call = |arguments: &str| {
        format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>")
    };
    let unknown = json!({ "type": "object", "properties": { "a": { "type": "decimal" } } });
    assert_eq!(walker.compiler.check_schema(&unknown), Ok(()));
    let compiled = compile(&unknown, false).unwrap();
    assert_eq!(walker.accepts(&compiled, &call("{\"b\": 1}")), Ok(()));
    assert!(compile(&unknown, true).is_err());
    // So does one that is found out only when it is compiled.
    let ahead = json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "(?=a)b" } } });
    let compiled = compile(&ahead, false).unwrap();
    assert_eq!(walker.accepts(&compiled, &call("{\"b\": 1}")), Ok(()));
    assert!(compile(&ahead, true).is_err());
    // Names of Python are known where nothing strict is asked for.
    let python = json!({
        "type": "dict", "properties": { "a": { "type": "float" }, "b": { "type": "tuple", "items": { "type": "any" } } },
    });
    assert!(compile(&python, true).is_err());
    let compiled = compile(&python, false).unwrap();
    assert_eq!(walker.accepts(&compiled, &call("{\"a\": 1.5, \"b\": [\"x\"]}")), Ok(()));
    assert!(walker.accepts(&compiled, &call("{\"a\": \"x\"}")).is_err());
}

#[test]
fn malformed_schemas_are_told_from_those_that_cannot_be_kept() {
    let walker = Walker::small();
    let check = |schema: Value| walker.compiler.check_schema(&schema).map_err(|e| e.path);
    for (schema, place) in [
        (json!({ "properties": [] }), "#/properties"),
        (json!({ "properties": { "a": 5 } }), "#/properties/a"),
        (json!({ "properties": { "a": { "type": 5 } } }), "#/properties/a/type"),
        (json!({ "type": "decimal", "required": "a" }), "#/required"),
        (json!({ "items": { "minLength": -1 } }), "#/items/minLength"),
        (json!({ "anyOf": {} }), "#/anyOf"),
        (json!({ "properties": { "a": { "$ref": "#/$defs/b" } } }), "#/properties/a/$ref"),
        (json!({ "enum": "x" }), "#/enum"),
    ] {
        assert_eq!(check(schema), Err(place.to_owned()));
    }
    for schema in [
        json!({ "type": "decimal" }),
        json!({ "$ref": "https://example.com/a.json" }),
        json!({ "enum": [] }),
        json!({ "type": "string", "pattern": "(?=a)b" }),
        json!({ "minLength": 1e9 }),
        json!({ "not": {}, "unknown": 5 }),
        json!(false),
    ] {
        assert_eq!(check(schema), Ok(()));
    }
}
