//! Schemas of the kind that clients send, with answers that fit them and answers that do not.

use std::collections::BTreeMap;

use inferno_grammar::GrammarSource;
use serde_json::{Map, Value, json};

use crate::walk::{Walker, qwen3, small_tokenizer};

/// `INFERNO_SCHEMAS` names a file of schemas to check in full, a JSON object a line: `name`, `schema`, `tests`.
#[test]
fn schemas_take_what_is_valid_and_nothing_else() {
    let asked = std::env::var_os("INFERNO_SCHEMAS");
    let step = if asked.is_some() { 1 } else { 8 };
    let Some(path) =
        asked.map(Into::into).or_else(|| Some(xtask::testing::data("schemas")?.join("maskbench-400.jsonl")))
    else {
        return;
    };
    let Some(tokenizer) = qwen3() else { return };
    let walker = Walker::new(tokenizer);
    let text = std::fs::read_to_string(path).unwrap();
    let mut count = BTreeMap::<&str, usize>::new();
    let mut faults = Vec::new();
    for line in text.lines().step_by(step) {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = case["name"].as_str().unwrap();
        let began = std::time::Instant::now();
        let compiled = match walker.compile(&GrammarSource::JsonSchema(case["schema"].clone())) {
            Ok(compiled) => compiled,
            Err(e) => {
                *count.entry("schemas refused").or_default() += 1;
                println!("REFUSED {name}: {e}");
                continue;
            }
        };
        let ms = began.elapsed().as_millis();
        if ms > 100 {
            println!("SLOW {name}: {ms} ms");
        }
        *count.entry("schemas taken").or_default() += 1;
        for test in case["tests"].as_array().unwrap() {
            let is_valid = test["valid"] == Value::Bool(true);
            let data = in_order(&case["schema"], &case["schema"], &test["data"], 0);
            let mut verdict = walker.accepts(&compiled, &data.to_string());
            if is_valid && verdict.is_ok() {
                verdict = walker.accepts(&compiled, &spaced(&data));
            }
            let what = match (is_valid, &verdict) {
                (true, Ok(())) => "valid ones taken",
                (false, Err(_)) => "invalid ones refused",
                (true, Err(_)) => "FAULT valid ones refused",
                (false, Ok(())) if compiled.unenforced().is_empty() => "FAULT invalid ones taken",
                (false, Ok(())) => "invalid ones taken with keywords that are not enforced",
            };
            *count.entry(what).or_default() += 1;
            if what.starts_with("FAULT") {
                let text = data.to_string();
                faults.push(format!(
                    "{what}: {name}: {verdict:?}: {}",
                    text.chars().take(300).collect::<String>()
                ));
            } else if what.contains("not enforced") {
                println!("UNENFORCED {name}: {:?}", compiled.unenforced());
            }
        }
    }
    println!("{count:#?}");
    faults.iter().for_each(|fault| println!("{fault}"));
    assert!(faults.is_empty(), "{} faults", faults.len());
}

#[test]
fn an_object_is_closed_at_any_depth() {
    let walker = Walker::new(small_tokenizer());
    let closed = |name: &str, value: Value| {
        let properties = Value::Object(Map::from_iter([(name.to_owned(), value)]));
        json!({ "type": "object", "properties": properties, "required": [name], "additionalProperties": false })
    };
    let mut schema = closed("a", json!({ "type": "null" }));
    let (mut good, mut bad) = (json!({ "a": null }), json!({ "a": null, "b": null }));
    for depth in 0..5 {
        let compiled = walker.compile(&GrammarSource::JsonSchema(schema.clone())).unwrap();
        assert_eq!(walker.accepts(&compiled, &good.to_string()), Ok(()), "{depth}");
        assert!(walker.accepts(&compiled, &bad.to_string()).is_err(), "{depth}");
        schema = closed("o", schema);
        (good, bad) = (json!({ "o": good }), json!({ "o": bad }));
    }
}

#[test]
fn one_of_several_properties_can_be_asked_for() {
    let walker = Walker::new(small_tokenizer());
    let compiled = walker
        .compile(&GrammarSource::JsonSchema(json!({
            "type": "object", "properties": { "a": { "type": "null" }, "b": { "type": "null" } },
            "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
        })))
        .unwrap();
    assert!(compiled.unenforced().is_empty(), "{:?}", compiled.unenforced());
    for (text, is_valid) in
        [(r#"{"a":null}"#, true), (r#"{"b":null}"#, true), ("{}", false), (r#"{"a":null,"b":null}"#, false)]
    {
        assert_eq!(walker.accepts(&compiled, text).is_ok(), is_valid, "{text}");
    }
}

/// The value as JSON with a space behind each `:` and `,`.
fn spaced(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Array(items) => format!("[{}]", list(items.iter().map(spaced).collect())),
        Value::Object(map) => {
            let member = |(key, value): (&String, &Value)| {
                format!("{}: {}", Value::String(key.clone()), spaced(value))
            };
            format!("{{{}}}", list(map.iter().map(member).collect()))
        }
        value => value.to_string(),
    }
}

/// The value with properties in the order of the schema, others behind them.
pub(crate) fn in_order(root: &Value, schema: &Value, value: &Value, depth: usize) -> Value {
    if depth > 40 {
        return value.clone();
    }
    match value {
        Value::Object(map) => {
            let mut places = Vec::new();
            collect(root, schema, depth, &mut places);
            let mut names: Vec<&String> = Vec::new();
            for place in &places {
                if let Some(Value::Object(properties)) = place.get("properties") {
                    names.extend(properties.keys().filter(|k| map.contains_key(*k)));
                }
            }
            for place in &places {
                let required = place.get("required").and_then(Value::as_array).into_iter().flatten();
                for name in required.filter_map(Value::as_str) {
                    names.extend(map.keys().filter(|k| *k == name));
                }
            }
            names.extend(map.keys());
            let mut out = serde_json::Map::new();
            for name in names {
                if out.contains_key(name) {
                    continue;
                }
                let mut inner = &Value::Bool(true);
                for place in &places {
                    if let Some(found) = place.get("properties").and_then(|p| p.get(name)) {
                        inner = found;
                        break;
                    }
                    if let Some(found @ Value::Object(_)) = place.get("additionalProperties") {
                        inner = found;
                    }
                    for (_, found) in
                        place.get("patternProperties").and_then(Value::as_object).into_iter().flatten()
                    {
                        inner = found;
                    }
                }
                out.insert(name.clone(), in_order(root, inner, &map[name], depth + 1));
            }
            Value::Object(out)
        }
        Value::Array(items) => {
            let mut places = Vec::new();
            collect(root, schema, depth, &mut places);
            let item_schema = |i: usize| {
                let of = |place: &&Value| {
                    let list = place.get("prefixItems").or(place.get("items").filter(|x| x.is_array()));
                    let listed = list.and_then(|list| list.get(i)).cloned();
                    listed.or_else(|| place.get("items").filter(|x| x.is_object()).cloned())
                };
                places.iter().find_map(of).unwrap_or(Value::Bool(true))
            };
            Value::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, v)| in_order(root, &item_schema(i), v, depth + 1))
                    .collect(),
            )
        }
        _ => value.clone(),
    }
}

/// The schema and those that are applied to the same value, in the order of its keywords.
fn collect<'v>(root: &'v Value, schema: &'v Value, depth: usize, places: &mut Vec<&'v Value>) {
    let Value::Object(map) = schema else { return };
    if depth > 60 || places.len() > 200 {
        return;
    }
    let mut has_self = false;
    for (key, value) in map {
        match key.as_str() {
            "$ref" => {
                let target = match value.as_str().and_then(|r| r.strip_prefix('#')) {
                    Some("" | "/") => Some(root),
                    Some(pointer) => root.pointer(pointer),
                    None => None,
                };
                if let Some(target) = target {
                    collect(root, target, depth + 1, places);
                }
            }
            "allOf" | "anyOf" | "oneOf" => {
                for part in value.as_array().into_iter().flatten() {
                    collect(root, part, depth + 1, places);
                }
            }
            "properties" | "additionalProperties" | "required" | "items" | "patternProperties"
                if !has_self =>
            {
                has_self = true;
                places.push(schema);
            }
            _ => {}
        }
    }
}
