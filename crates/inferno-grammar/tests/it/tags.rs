//! Structural tags in both of vLLM's forms.

use inferno_grammar::GrammarSource;
use serde_json::{Value, json};

use crate::walk::{Walker, small_tokenizer_with};

fn check(tag: &Value, takes: &[&str], refuses: &[&str]) {
    let walker = Walker::small();
    let compiled =
        walker.compile(&GrammarSource::StructuralTag(tag.clone())).unwrap_or_else(|e| panic!("{e} {tag}"));
    for text in takes {
        assert_eq!(walker.accepts(&compiled, text), Ok(()), "{tag}\n{text:?}");
    }
    for text in refuses {
        assert!(walker.accepts(&compiled, text).is_err(), "{tag}\n{text:?}");
    }
}

fn format(format: &Value, takes: &[&str], refuses: &[&str]) {
    check(&json!({ "type": "structural_tag", "format": format }), takes, refuses);
}

fn city() -> Value {
    json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
        "additionalProperties": false })
}

#[test]
fn structures_with_triggers() {
    let tag = json!({ "type": "structural_tag", "triggers": ["<function="], "structures": [
        { "begin": "<function=weather>", "schema": city(), "end": "</function>" },
        { "begin": "<function=now>", "schema": { "type": "object", "additionalProperties": false }, "end": "</function>" },
    ] });
    check(
        &tag,
        &[
            "",
            "Just <b>text</b>.\n<func",
            "I ask: <function=weather>{\"city\": \"Rome\"}</function>",
            "<function=now>{}</function> and <function=weather>{\"city\": \"<\"}</function>.",
        ],
        &[
            "<function=other>{}</function>",
            "x <function=weather>{}</function>",
            "<function=now>{}",
            "<function=now>{}</function><function=",
        ],
    );
}

#[test]
fn formats() {
    format(&json!({ "type": "const_string", "value": "a\"/\n" }), &["a\"/\n"], &["", "a"]);
    format(&json!({ "type": "json_schema", "json_schema": city() }), &["{\"city\": \"x\"}"], &["{}"]);
    format(&json!({ "type": "regex", "pattern": "^a/[b-d]+\\/$" }), &["a/bd/"], &["a/", "a/b"]);
    format(
        &json!({ "type": "grammar", "grammar": "root ::= \"(\" root \")\" | [a-z]+" }),
        &["((x))"],
        &["(x"],
    );
    format(&json!({ "type": "any_text" }), &["", "a\n<b>"], &[]);
    let or = json!({ "type": "or", "elements": [
        { "type": "const_string", "value": "yes" }, { "type": "json_schema", "json_schema": city() } ] });
    format(&or, &["yes", "{\"city\":\"x\"}"], &["no", "yesyes"]);
    let think = json!({ "type": "sequence", "elements": [
        { "type": "tag", "begin": "<think>", "content": { "type": "any_text" }, "end": "</think>" },
        { "type": "const_string", "value": "\n" },
        { "type": "json_schema", "json_schema": city() },
    ] });
    format(
        &think,
        &["<think>Hm <b>\n</think>\n{\"city\":\"x\"}"],
        &["<think>Hm</think>", "{\"city\":\"x\"}", "<think>a</think>b</think>\n{\"city\":\"x\"}"],
    );
    let ahead = json!({ "type": "sequence", "elements": [
        { "type": "any_text" },
        { "type": "tag", "begin": "<a>", "content": { "type": "regex", "pattern": "[^x]*" }, "end": ["</a>", "<end>"] },
        { "type": "grammar", "grammar": "root ::= [a-z]*" },
        { "type": "const_string", "value": "z" },
    ] });
    format(&ahead, &["so <a>1</a>z", "<a><end>abczz"], &["so", "<a>x</a>z", "<a>1</a>a"]);
}

#[test]
fn tags_with_triggers_and_separators() {
    let tag = |name: &str| {
        let content = json!({ "type": "regex", "pattern": "[0-9]+" });
        json!({ "type": "tag", "begin": format!("<{name}>"), "content": content, "end": format!("</{name}>") })
    };
    let triggered = |at_least_one: bool, stop_after_first: bool| {
        json!({ "type": "triggered_tags", "triggers": ["<a", "<b"], "tags": [tag("a"), tag("b")],
            "at_least_one": at_least_one, "stop_after_first": stop_after_first })
    };
    let (none, one, two) = ("text", "text <a>1</a>", "<a>1</a> <b>2</b>.");
    format(&triggered(false, false), &["", none, one, two], &["<a>", "<a>x</a>", "<b"]);
    format(&triggered(true, false), &["<a>1</a>", two], &[none, one, ""]);
    format(&triggered(false, true), &["", none, one], &[two, "<a>1</a> "]);
    format(&triggered(true, true), &["<a>1</a>", "<b>22</b>"], &[none, one, two]);
    let within = json!({ "type": "tag", "begin": "[", "content": triggered(false, false), "end": "]" });
    format(&within, &["[]", "[x<a>1</a>y]"], &["[", "[<a>]", "[x]]"]);
    let separated = |at_least_one: bool, stop_after_first: bool| {
        json!({ "type": "tags_with_separator", "separator": ", ", "tags": [tag("a"), tag("b")],
            "at_least_one": at_least_one, "stop_after_first": stop_after_first })
    };
    format(
        &separated(false, false),
        &["", "<a>1</a>", "<b>1</b>, <a>2</a>"],
        &["x", "<a>1</a>, ", "<a>1</a><b>1</b>"],
    );
    format(&separated(true, true), &["<a>1</a>"], &["", "<a>1</a>, <a>1</a>"]);
}

#[test]
fn arguments_in_tags() {
    let schema = json!({ "type": "object", "required": ["city", "days"], "additionalProperties": false, "properties": {
        "city": { "type": "string" }, "days": { "type": "integer" }, "unit": { "enum": ["C", "F"] },
        "more": { "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": false },
    } });
    let tag = |content: Value| {
        json!({ "type": "triggered_tags", "triggers": ["<function="], "tags": [
            { "begin": "<function=f>", "content": content, "end": "</function>" } ] })
    };
    let qwen = json!({ "type": "qwen_xml_parameter", "json_schema": schema });
    format(
        &tag(qwen),
        &[
            "text",
            "I ask. <function=f><parameter=city>Rome</parameter><parameter=days>3</parameter></function> Done.",
            "<function=f>\n<parameter=city>\na <b> & \"c\"\n</parameter>\n<parameter=days>\n3\n</parameter>\n\
             <parameter=unit>\nC\n</parameter>\n<parameter=more>\n{\"a\": \"</x>\"}\n</parameter>\n</function>",
        ],
        &[
            "<function=f><parameter=city>Rome</parameter></function>",
            "<function=f><parameter=days>3</parameter><parameter=city>Rome</parameter></function>",
            "<function=f><parameter=city>Rome</parameter><parameter=days>x</parameter></function>",
            "<function=f><parameter=city>Rome</parameter><parameter=days>3</parameter><parameter=unit>K</parameter>\
             </function>",
            "<function=f><parameter=city>Rome</parameter><parameter=days>3</parameter><parameter=zone>1</parameter>\
             </function>",
        ],
    );
    for (style, takes) in [
        ("qwen_xml", "<parameter=city>Rome</parameter><parameter=days>3</parameter>"),
        ("minimax_xml", "<parameter name=\"city\">Rome</parameter><parameter name=\"days\">3</parameter>"),
        (
            "deepseek_xml",
            "<｜DSML｜parameter name=\"city\" string=\"true\">Rome</｜DSML｜parameter>\n\
             <｜DSML｜parameter name=\"days\" string=\"false\">3</｜DSML｜parameter>\n",
        ),
        (
            "glm_xml",
            "<arg_key>city</arg_key><arg_value>Rome</arg_value>\n<arg_key>days</arg_key><arg_value>3</arg_value>",
        ),
        ("json", "{\"city\": \"Rome\", \"days\": 3}"),
    ] {
        let styled = json!({ "type": "json_schema", "json_schema": schema, "style": style });
        format(&styled, &[takes], &[&takes.replace('3', "true"), &takes.replace("days", "day"), "{}"]);
    }
    // Any arguments.
    let free = json!({ "type": "qwen_xml_parameter", "json_schema": true });
    format(
        &free,
        &["", "<parameter=a>1</parameter><parameter=b>x</parameter>"],
        &["<parameter=>1</parameter>"],
    );
}

#[test]
fn texts_without_others() {
    let text = json!({ "type": "any_text", "excludes": ["<a>", "b/c"] });
    format(&text, &["", "x <a b", "b\n/c"], &["x <a>", "ab/c.", "<a>"]);
    let tag = json!({ "type": "tag", "begin": "[", "content": text, "end": "]" });
    format(&tag, &["[]", "[x <a]"], &["[x <a>]", "[b/c]"]);
    let triggered = json!({ "type": "triggered_tags", "triggers": ["<f>"], "excludes": ["<f2"], "tags": [
        { "begin": "<f>", "content": { "type": "regex", "pattern": "[0-9]+" }, "end": "</f>" } ] });
    format(&triggered, &["", "a <f>1</f> b", "<f"], &["<f2", "a <f>1</f> <f2>", "<f2 <f>1</f>", "<f>x"]);
}

#[test]
fn repetitions() {
    let letter = json!({ "type": "const_string", "value": "ab" });
    let of = |kind: &str| json!({ "type": kind, "content": letter });
    format(&of("optional"), &["", "ab"], &["a", "abab"]);
    format(&of("star"), &["", "ab", "ababab"], &["a", "aba"]);
    format(&of("plus"), &["ab", "abab"], &["", "aba"]);
    let repeat = |min: i64, max: i64| json!({ "type": "repeat", "min": min, "max": max, "content": letter });
    format(&repeat(1, 2), &["ab", "abab"], &["", "ababab"]);
    format(&repeat(2, -1), &["abab", "abababab"], &["ab"]);
    let tag = json!({ "type": "tag", "begin": "(", "content": of("star"), "end": ")" });
    format(&tag, &["()", "(abab)"], &["(a)", "(ab"]);
}

#[test]
fn tokens_by_name_and_number() {
    let walker = Walker::new(small_tokenizer_with(&["<think>", "</think>"]));
    let n_text = walker.tokenizer.vocab_size() as u32 - 2;
    let token = |token: Value| json!({ "type": "token", "token": token });
    let think = json!({ "type": "tag", "begin": token("<think>".into()), "end": token((n_text + 1).into()),
        "content": { "type": "any_tokens", "exclude_tokens": ["</think>"] } });
    let whole = json!({ "type": "structural_tag", "format": { "type": "sequence", "elements": [
        think, { "type": "const_string", "value": "x" }, { "type": "exclude_token", "exclude_tokens": ["y"] } ] } });
    let compiled = walker.compile(&GrammarSource::StructuralTag(whole)).unwrap();
    assert_eq!(compiled.shortest(), 4, "an ending is found");
    let byte = |c: char| {
        (0..n_text).find(|&id| walker.tokenizer.piece(id) == Some(c.to_string().as_bytes())).unwrap()
    };
    let takes = |tokens: &[u32]| walker.takes(&compiled, tokens);
    assert!(takes(&[n_text, byte('x'), n_text, n_text + 1, byte('x'), byte('z')]));
    assert!(takes(&[n_text, n_text + 1, byte('x'), n_text]));
    assert!(!takes(&[n_text, n_text + 1, byte('x'), byte('y')]));
    assert!(!takes(&[byte('x'), byte('z')]));
}

#[test]
fn marks_that_are_control_tokens_are_written_as_such() {
    let walker = Walker::new(small_tokenizer_with(&["<think>", "</think>"]));
    let tag = json!({ "type": "structural_tag", "format": { "type": "sequence", "elements": [
        { "type": "tag", "begin": "<think>", "content": { "type": "any_text" }, "end": "</think>" },
        { "type": "const_string", "value": "ok" } ] } });
    let compiled = walker.compile(&GrammarSource::StructuralTag(tag)).unwrap();
    let mut constraint = compiled.constrain(100);
    let tokenizer = &walker.tokenizer;
    let n_text = tokenizer.vocab_size() as u32 - 2;
    let letter = (0..n_text).find(|&id| tokenizer.piece(id) == Some(b"o")).unwrap();
    let last = (0..n_text).find(|&id| tokenizer.piece(id) == Some(b"k")).unwrap();
    for token in [n_text, letter, n_text + 1, letter, last] {
        let mut mask = inferno_engine::TokenMask::new(tokenizer.vocab_size());
        mask.allow_all();
        inferno_engine::Grammar::mask(&mut constraint, &mut mask);
        assert!(mask.is_allowed(token), "{token}");
        inferno_engine::Grammar::commit(&mut constraint, token);
    }
}

#[test]
fn faults_have_their_places() {
    let walker = Walker::small();
    for (tag, path, reason) in [
        (json!({}), "#", "`format`"),
        (json!({ "format": { "type": "dispatch" } }), "#/format", "not supported"),
        (json!({ "format": { "type": "qwen_xml_parameter" } }), "#/format", "`json_schema` is missing"),
        (
            json!({ "format": { "type": "qwen_xml_parameter", "json_schema": { "type": "string" } } }),
            "#/format/json_schema",
            "`type` must be `object`",
        ),
        (
            json!({ "format": { "type": "json_schema", "json_schema": {}, "style": "yaml" } }),
            "#/format",
            "`style` must be",
        ),
        (json!({ "format": { "type": "any_text", "excludes": [""] } }), "#/format", "`excludes`"),
        (json!({ "format": { "type": "any_text", "excludes": "a" } }), "#/format", "`excludes`"),
        (json!({ "format": { "type": "token", "token": "ab" } }), "#/format", "expected one"),
        (json!({ "format": { "type": "token", "token": 99999 } }), "#/format", "is not a token"),
        (
            json!({ "format": { "type": "repeat", "min": 2, "max": 1, "content": { "type": "any_text" } } }),
            "#/format",
            "`min` and `max`",
        ),
        (
            json!({ "format": { "type": "sequence", "elements": [{ "type": "regex" }] } }),
            "#/format/elements/0",
            "`pattern`",
        ),
        (
            json!({ "format": { "type": "json_schema", "json_schema": { "type": "strin" } } }),
            "#/format/json_schema",
            "strin",
        ),
        (json!({ "format": { "type": "grammar", "grammar": "root ::= a" } }), "#/format/grammar", "line 1"),
        (
            json!({ "structures": [{ "begin": "<a>", "schema": {}, "end": "" }], "triggers": ["<b"] }),
            "#/structures/0",
            "none of the triggers",
        ),
        (json!({ "structures": [{ "begin": "<a>", "schema": {}, "end": "" }] }), "#", "`triggers`"),
        (
            json!({ "format": { "type": "sequence", "elements": [{ "type": "any_text" }, { "type": "any_text" }] } }),
            "#/format/elements/0",
            "must be last",
        ),
    ] {
        let error = walker.compile(&GrammarSource::StructuralTag(tag.clone())).unwrap_err();
        assert_eq!(error.path, path, "{tag}: {error}");
        assert!(error.reason.contains(reason), "{tag}: {error}");
    }
}
