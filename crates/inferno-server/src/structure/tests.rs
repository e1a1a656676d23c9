use serde_json::json;

use super::*;

fn read_all(body: Value) -> Result<Option<Structure>, ApiError> {
    let mut fields = Fields::new(body.as_object().unwrap().clone());
    let found = read(&mut fields, &Settings::default())?;
    assert!(fields.into_rest().is_empty(), "{body}: a field was not read");
    Ok(found)
}

#[test]
fn every_field_gives_its_source() {
    let schema = json!({ "type": "integer" });
    let (gbnf, lark) = ("root ::= \"a\"", "start: \"a\"");
    let tag = json!({ "type": "structural_tag", "structures": [], "triggers": [] });
    let json_schema = || GrammarSource::JsonSchema(schema.clone());
    for (body, param, source) in [
        (
            json!({ "response_format": { "type": "json_object" } }),
            "response_format",
            GrammarSource::JsonObject,
        ),
        (
            json!({ "response_format": { "type": "json_object", "schema": schema } }),
            "response_format.schema",
            json_schema(),
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "a", "schema": schema, "strict": true } } }),
            "response_format.json_schema.schema",
            json_schema(),
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": schema } } }),
            "response_format.json_schema.schema",
            json_schema(),
        ),
        (json!({ "response_format": tag }), "response_format", GrammarSource::StructuralTag(tag.clone())),
        (json!({ "json_schema": schema }), "json_schema", json_schema()),
        (json!({ "json_schema": schema.to_string() }), "json_schema", json_schema()),
        (json!({ "json_schema": {} }), "json_schema", GrammarSource::JsonSchema(json!({}))),
        (json!({ "grammar": gbnf }), "grammar", GrammarSource::Gbnf(gbnf.into())),
        (
            json!({ "grammar": "%llguidance {}\nstart: \"a\"" }),
            "grammar",
            GrammarSource::Lark("%llguidance {}\nstart: \"a\"".into()),
        ),
        (json!({ "ebnf": gbnf }), "ebnf", GrammarSource::Gbnf(gbnf.into())),
        (json!({ "guided_json": schema }), "guided_json", json_schema()),
        (json!({ "guided_regex": "a+" }), "guided_regex", GrammarSource::Regex("a+".into())),
        (json!({ "regex": "a+" }), "regex", GrammarSource::Regex("a+".into())),
        (json!({ "guided_choice": ["a"] }), "guided_choice", GrammarSource::Choice(vec!["a".into()])),
        (json!({ "guided_grammar": lark }), "guided_grammar", GrammarSource::Lark(lark.into())),
        (
            json!({ "structural_tag": tag.to_string() }),
            "structural_tag",
            GrammarSource::StructuralTag(tag.clone()),
        ),
        (json!({ "structured_outputs": { "json": schema } }), "structured_outputs.json", json_schema()),
        (
            json!({ "structured_outputs": { "json_object": true } }),
            "structured_outputs.json_object",
            GrammarSource::JsonObject,
        ),
        (
            json!({ "structured_outputs": { "regex": "a", "json": null, "json_object": false } }),
            "structured_outputs.regex",
            GrammarSource::Regex("a".into()),
        ),
        (
            json!({ "structured_outputs": { "choice": ["a", "b"] } }),
            "structured_outputs.choice",
            GrammarSource::Choice(vec!["a".into(), "b".into()]),
        ),
        (
            json!({ "structured_outputs": { "grammar": gbnf } }),
            "structured_outputs.grammar",
            GrammarSource::Gbnf(gbnf.into()),
        ),
        (
            json!({ "structured_outputs": { "structural_tag": tag } }),
            "structured_outputs.structural_tag",
            GrammarSource::StructuralTag(tag.clone()),
        ),
    ] {
        let found = read_all(body.clone()).unwrap();
        assert_eq!(found, Some(Structure { source, param: param.into() }), "{body}");
    }
}

#[test]
fn values_that_ask_for_no_form_are_taken() {
    for body in [
        json!({}),
        json!({ "response_format": { "type": "text" }, "grammar": "", "structural_tag": "" }),
        json!({ "response_format": null, "guided_choice": [], "guided_regex": "", "structured_outputs": {} }),
        json!({ "structured_outputs": { "json_object": false } }),
    ] {
        assert_eq!(read_all(body.clone()).unwrap(), None, "{body}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_path() {
    let format = |format: Value| json!({ "response_format": format });
    for (body, param, words) in [
        (format(json!("text")), "response_format", "expected an object whose `type` is"),
        (format(json!({})), "response_format", "expected an object whose `type` is"),
        (format(json!({ "type": "xml" })), "response_format.type", "\"json_schema\""),
        (format(json!({ "type": "json_schema" })), "response_format.json_schema", "is missing"),
        (
            format(json!({ "type": "json_schema", "json_schema": [] })),
            "response_format.json_schema",
            "expected",
        ),
        (
            format(json!({ "type": "json_schema", "json_schema": { "name": "a" } })),
            "response_format.json_schema.schema",
            "is missing",
        ),
        (
            format(json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": "x" } })),
            "response_format.json_schema.schema",
            "expected a JSON schema",
        ),
        (
            format(json!({ "type": "json_schema", "json_schema": { "name": 1, "schema": {} } })),
            "response_format.json_schema.name",
            "a string",
        ),
        (
            format(json!({ "type": "json_schema", "json_schema": { "strict": 1, "schema": {} } })),
            "response_format.json_schema.strict",
            "true or false",
        ),
        (format(json!({ "type": "json_object", "schema": 1 })), "response_format.schema", "a JSON schema"),
        (json!({ "json_schema": "{" }), "json_schema", "not JSON"),
        (json!({ "json_schema": [1] }), "json_schema", "expected a JSON schema"),
        (json!({ "grammar": 1 }), "grammar", "a string"),
        (json!({ "guided_choice": [1] }), "guided_choice", "one or more strings"),
        (json!({ "structured_outputs": 1 }), "structured_outputs", "an object"),
        (json!({ "structured_outputs": { "jsno": {} } }), "structured_outputs", "has `jsno` and no form"),
        (json!({ "structured_outputs": { "grammar": "" } }), "structured_outputs.grammar", "is empty"),
        (json!({ "structured_outputs": { "regex": "" } }), "structured_outputs.regex", "is empty"),
        (
            json!({ "structured_outputs": { "choice": [] } }),
            "structured_outputs.choice",
            "one or more strings",
        ),
        (json!({ "structured_outputs": { "json": 5 } }), "structured_outputs.json", "a JSON schema"),
        (
            json!({ "structured_outputs": { "json": {}, "regex": "a" } }),
            "structured_outputs",
            "`structured_outputs.json` and `structured_outputs.regex`, expected one",
        ),
        (
            json!({ "structured_outputs": { "json": {}, "whitespace_pattern": " *" } }),
            "structured_outputs.whitespace_pattern",
            "one line",
        ),
        (json!({ "grammar": "root ::= \"a\"", "regex": "a" }), "regex", "`grammar` and `regex` both ask"),
        (
            json!({ "response_format": { "type": "json_object" }, "json_schema": {} }),
            "json_schema",
            "`response_format` and `json_schema` both ask",
        ),
    ] {
        let error = read_all(body.clone()).unwrap_err();
        assert_eq!(
            (error.status.as_u16(), error.param.as_deref()),
            (400, Some(param)),
            "{body}: {}",
            error.message
        );
        assert!(error.message.contains(words), "{body}: {}", error.message);
    }
}
