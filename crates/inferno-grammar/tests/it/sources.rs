//! Each form of structure takes what it should, and nothing else.

use inferno_engine::Grammar;
use inferno_grammar::GrammarSource;
use inferno_text::Special;
use serde_json::json;

use crate::walk::Walker;

/// Checks which texts a grammar takes.
pub(crate) fn check(source: GrammarSource, taken: &[&str], refused: &[&str]) {
    let walker = Walker::small();
    let compiled = walker.compile(&source).unwrap_or_else(|e| panic!("{source:?}: {e}"));
    for text in taken {
        let verdict = walker.accepts(&compiled, text);
        assert_eq!(verdict, Ok(()), "{source:?} takes {text:?}");
    }
    for text in refused {
        assert!(walker.accepts(&compiled, text).is_err(), "{source:?} refuses {text:?}");
    }
}

#[test]
fn an_object_has_at_most_a_space_behind_colons_and_commas() {
    let taken =
        [r#"{}"#, r#"{"a": 1, "b": [true, null]}"#, r#"{"a":1,"b":[true,null]}"#, r#"{"é": "\u00e9\n"}"#];
    let refused = [
        "1",
        "[]",
        "{ }",
        r#"{"a" : 1}"#,
        r#"{"a":  1}"#,
        "{\"a\":\n1}",
        r#"{"a": 1 }"#,
        r#" {}"#,
        r#"{"a": 01}"#,
    ];
    check(GrammarSource::JsonObject, &taken, &refused);
}

#[test]
fn a_schema_orders_properties() {
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
        "required": ["name"],
        "additionalProperties": false,
    });
    let taken = [r#"{"name": "Ann", "age": 3}"#, r#"{"name":""}"#];
    let refused =
        [r#"{"age": 3, "name": "Ann"}"#, r#"{"age": 3}"#, r#"{"name": "Ann", "age": -1}"#, r#"{"name": 1}"#];
    check(GrammarSource::JsonSchema(schema), &taken, &refused);
}

#[test]
fn the_first_separator_of_an_answer_to_a_schema_decides_on_the_spaces_behind_all() {
    let schema = json!({
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "boolean"}}},
        "required": ["a", "b"],
        "additionalProperties": {"type": "string"},
    });
    let taken = [
        r#"{"a": 1, "b": [true, false], "c": ":,:, "}"#,
        r#"{"a":1,"b":[true,false],"c":": , :"}"#,
        r#"{"a":12,"b":[]}"#,
        r#"{"a": 12, "b": []}"#,
    ];
    let refused = [
        r#"{"a": 1,"b": []}"#,
        r#"{"a":1, "b":[]}"#,
        r#"{"a": 1, "b":[]}"#,
        r#"{"a":1,"b":[true, false]}"#,
        r#"{"a": 1, "b": [], "c":""}"#,
    ];
    check(GrammarSource::JsonSchema(schema), &taken, &refused);
    // Without a separator nothing is decided.
    let strings = json!({"type": "array", "items": {"type": "string"}, "maxItems": 2});
    check(
        GrammarSource::JsonSchema(strings),
        &[r#"[]"#, r#"["a, b:c"]"#, r#"["a:b,c","d"]"#, r#"["a", "b"]"#],
        &[r#"["a" ,"b"]"#, r#"["a",  "b"]"#, r#"["a",]"#],
    );
}

#[test]
fn names_and_separators_are_forced_once_spaces_are_decided() {
    let digit = json!({"type": "integer", "minimum": 0, "maximum": 9});
    let names = ["name", "true", "n", "some_longer_name"];
    let properties: serde_json::Map<String, serde_json::Value> =
        names.iter().map(|name| ((*name).to_owned(), digit.clone())).collect();
    let schema =
        json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false});
    let walker = Walker::small();
    let compiled = walker.compile(&GrammarSource::JsonSchema(schema)).unwrap();
    for answer in [
        r#"{"name": 1, "true": 2, "n": 3, "some_longer_name": 4}"#,
        r#"{"name":1,"true":2,"n":3,"some_longer_name":4}"#,
    ] {
        let mut constraint = compiled.constrain(200);
        let (mut rest, mut sampled) = (answer, Vec::new());
        while !constraint.finished() {
            let mut forced = Vec::new();
            constraint.forced(&mut forced);
            let is_sampled = forced.is_empty();
            if is_sampled {
                let tokens = walker.tokenizer.encode_continuation(rest, Special::AsText);
                forced.push(tokens[0]);
            }
            for token in forced {
                let piece = std::str::from_utf8(walker.tokenizer.piece(token).unwrap()).unwrap();
                rest = rest.strip_prefix(piece).unwrap_or_else(|| panic!("{piece:?} is not next in {rest}"));
                constraint.commit(token);
                if is_sampled {
                    sampled.push(piece);
                }
            }
        }
        assert_eq!((constraint.failure(), rest), (None, ""));
        let digits = ["1", "2", "3", "4"];
        let decided = if answer.contains(' ') { &[" ", "1", "2", "3", "4"][..] } else { &digits[..] };
        assert_eq!(sampled, decided);
    }
}

#[test]
fn white_space_is_given_where_it_is_asked_for() {
    let schema = json!({"type": "object", "x-guidance": {"whitespace_flexible": true}});
    check(GrammarSource::JsonSchema(schema), &["{\n  \"a\": 1\n}", r#"{"a":1}"#], &["{\"a\" 1}"]);
}

#[test]
fn a_regular_expression_matches_the_whole_answer() {
    check(GrammarSource::Regex("[0-9]{2}/[a-z]+".into()), &["12/ab"], &["1/ab", "12/", "12/abC", "x12/ab"]);
    check(GrammarSource::Regex("^a+$".into()), &["a", "aaa"], &["", "ab"]);
    check(GrammarSource::Regex(r"a\$".into()), &["a$"], &["a"]);
}

#[test]
fn a_choice_is_one_of_the_texts() {
    let choices = ["yes".to_owned(), "no \"way\"".to_owned(), "yesterday".to_owned()];
    check(
        GrammarSource::Choice(choices.to_vec()),
        &["yes", "no \"way\"", "yesterday"],
        &["", "ye", "yester", "noo"],
    );
}

#[test]
fn a_lark_grammar_begins_at_start() {
    check(GrammarSource::Lark("start: \"a\" b\nb: /[0-9]/+".into()), &["a1", "a12"], &["a", "1", "a1b"]);
}

#[test]
fn one_of_several_properties_excludes_the_others() {
    let schema = json!({"type": "object", "properties": {"a": {}, "b": {}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    let compiled = Walker::small().compile(&GrammarSource::JsonSchema(schema.clone())).unwrap();
    assert!(compiled.unenforced().is_empty());
    check(
        GrammarSource::JsonSchema(schema),
        &[r#"{"a":1}"#, r#"{"b":1,"c":2}"#],
        &["{}", r#"{"a":1,"b":1}"#],
    );
}

#[test]
fn keywords_that_are_not_enforced_are_named_with_their_places() {
    let walker = Walker::small();
    let schema = json!({"type": "array", "uniqueItems": true, "items": {"oneOf": [{"type": "string"}, {"type": "string", "format": "iri"}]}});
    let compiled = walker.compile(&GrammarSource::JsonSchema(schema)).unwrap();
    let expected = ["format iri at #/items/oneOf/1", "oneOf (as anyOf) at #/items", "uniqueItems at #"];
    assert_eq!(compiled.unenforced(), expected);
}

#[test]
fn schemas_that_cannot_be_kept_are_refused_with_their_places() {
    let walker = Walker::small();
    for (schema, path) in [
        (json!({"properties": {"a": {"type": "strin"}}}), "#/properties/a/type"),
        (json!({"properties": {"a/b": {"$ref": "http://example.com/x"}}}), "#/properties/a~1b/$ref"),
        (json!({"items": {"pattern": "(?=a)b"}}), "#/items/pattern"),
        (json!({"type": "string", "minLength": 3, "maxLength": 2}), "#/minLength"),
        (json!({"const": 12345678901234567890_u64}), "#/const"),
        (json!(false), "#"),
    ] {
        let error = walker.compile(&GrammarSource::JsonSchema(schema.clone())).unwrap_err();
        assert_eq!(error.path, path, "{schema}: {error}");
    }
}
