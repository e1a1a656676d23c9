//! Schemas that are made to take long end within the limit of time.

use std::time::{Duration, Instant};

use inferno_grammar::{Compiler, CompilerLimits, GrammarSource};
use serde_json::{Map, Value, json};

use crate::walk::Walker;

/// Time for one: the limit and more, for builds that are not optimised on machines that do other things too.
const MOST: Duration = Duration::from_secs(60);

fn object(members: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(members.collect::<Map<_, _>>())
}

fn schemas(n: usize) -> Vec<(&'static str, Value)> {
    let names = || (0..n).map(|i| format!("p{i}"));
    let all_of: Vec<Value> =
        names().map(|name| json!({ "properties": { name: { "type": ["string", "null"] } } })).collect();
    let one_of: Vec<Value> = names()
        .map(|name| json!({ "oneOf": [{ "type": "string", "minLength": 2 }, { "type": "string", "pattern": name }] }))
        .collect();
    let crossed: Vec<Value> = (0..12)
        .map(|i| json!({ "anyOf": [{ "minLength": i }, { "maxLength": 90 + i }, { "pattern": "a" }] }))
        .collect();
    let patterns = names().map(|name| (format!("^{name}.*x$"), json!({ "type": "string" })));
    vec![
        ("many properties", json!({ "type": "object", "properties": object(names().map(|name| (name, json!({})))) })),
        ("one long enum", json!({ "enum": names().collect::<Vec<_>>() })),
        ("many schemas of allOf", json!({ "allOf": all_of })),
        ("many lists of oneOf", json!({ "$defs": { "d": { "anyOf": one_of } }, "$ref": "#/$defs/d", "type": "string" })),
        ("products of anyOf", json!({ "type": "string", "allOf": crossed })),
        ("many patterns", json!({ "type": "object", "patternProperties": object(patterns) })),
        ("long strings", json!({ "type": "array", "minItems": 1000, "items": { "type": "string", "minLength": 1000 } })),
        ("refused at its end", json!({ "allOf": [{ "properties": object(names().map(|name| (name, json!({ "items": {} })))) },
            { "properties": { "z": { "pattern": "(?=a)" } } }] })),
        ("nested alternatives", (0..14).fold(json!({ "type": "integer" }), |inner, i| {
            json!({ "anyOf": [{ "properties": { "a": inner }, "required": [format!("k{i}")] }, { "items": inner }] })
        })),
    ]
}

/// `INFERNO_HOSTILE=N` makes them of N parts.
#[test]
fn schemas_that_take_long_end_in_time() {
    let walker = Walker::small();
    let n = std::env::var("INFERNO_HOSTILE").map_or(150, |n| n.parse().unwrap());
    for (what, schema) in schemas(n) {
        let n_bytes = schema.to_string().len();
        let began = Instant::now();
        let compiled = walker.compile(&GrammarSource::JsonSchema(schema));
        let took = began.elapsed();
        let verdict =
            compiled.map_or_else(|e| e.to_string(), |compiled| format!("{} tokens", compiled.shortest()));
        println!("{took:?} for {what} of {n_bytes} bytes: {}", verdict.chars().take(160).collect::<String>());
        assert!(took < MOST, "{what}: {took:?}");
    }
    let many = json!({ "properties": object((0..2001).map(|i| (format!("p{i}"), json!({})))) });
    let refused = walker.compile(&GrammarSource::JsonSchema(json!({ "items": many }))).unwrap_err();
    assert_eq!(refused.path, "#/items/properties", "{refused}");
}

#[test]
fn a_grammar_beyond_either_limit_of_time_is_refused() {
    const HOUR: Duration = Duration::from_secs(3600);
    let tokenizer = Walker::small().tokenizer;
    for (compile_time, compile_wall_time, is_taken) in
        [(HOUR, HOUR, true), (Duration::ZERO, HOUR, false), (HOUR, Duration::ZERO, false)]
    {
        let limits = CompilerLimits { compile_time, compile_wall_time, ..CompilerLimits::default() };
        let compiled = Compiler::new(tokenizer.clone(), limits).compile(&GrammarSource::JsonObject);
        let reason = compiled.err().map(|refused| refused.reason).unwrap_or_default();
        assert_eq!(reason.contains("to compile"), !is_taken, "{reason}");
    }
}
