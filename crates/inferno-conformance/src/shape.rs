//! Shapes of JSON, as the types of clients have them: `shape/*.json` are tables of names and shapes.
//!
//! | shape | value |
//! |---|---|
//! | `"string"`, `"integer"`, `"number"`, `"boolean"`, `"null"`, `"object"`, `"array"`, `"any"` | of that type |
//! | `"text"` | a string that is not empty |
//! | `"=stop"` | the string `stop` |
//! | `"@Usage"` | one that fits the shape of that name |
//! | `"string\|null"` | one of these |
//! | `["string"]` | an array of these |
//! | `{"id": "string", "name?": "string"}` | an object; `?`: the member may be absent or null |
//! | `{"\|type": {"text": {…}, "*": {…}}}` | an object whose member `type` says which shape it has; `*` is any other |
//!
//! Members that a shape does not name may be there: clients ignore them.

use std::sync::OnceLock;

use serde_json::{Map, Value};

const TABLES: [&str; 3] = [
    include_str!("shape/openai.json"),
    include_str!("shape/responses.json"),
    include_str!("shape/others.json"),
];

/// Compares `value` with the shape `name`.
///
/// # Errors
/// The first place that differs, with what was expected and what was found.
pub(crate) fn check(name: &str, value: &Value) -> Result<(), String> {
    let shape = table().get(name).ok_or_else(|| format!("there is no shape `{name}`"))?;
    compare(shape, value, "")
}

fn table() -> &'static Map<String, Value> {
    static TABLE: OnceLock<Map<String, Value>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let tables = TABLES.iter().map(|text| serde_json::from_str::<Map<String, Value>>(text));
        tables.flat_map(|table| table.expect("the tables are JSON objects")).collect()
    })
}

fn compare(shape: &Value, value: &Value, at: &str) -> Result<(), String> {
    match shape {
        Value::String(names) => leaf(names, value, at),
        Value::Array(element) => {
            let shape = element.first().unwrap_or(&Value::Null);
            let Some(values) = value.as_array() else { return Err(differs(at, "an array", value)) };
            values.iter().enumerate().try_for_each(|(i, value)| compare(shape, value, &format!("{at}[{i}]")))
        }
        Value::Object(members) => {
            let Some(object) = value.as_object() else { return Err(differs(at, "an object", value)) };
            members.iter().try_for_each(|(key, shape)| member(key, shape, object, at))
        }
        _ => Ok(()),
    }
}

fn member(key: &str, shape: &Value, object: &Map<String, Value>, at: &str) -> Result<(), String> {
    if let Some(tag) = key.strip_prefix('|') {
        let found = object.get(tag).and_then(Value::as_str);
        let variant = found.and_then(|name| shape.get(name)).or(shape.get("*"));
        let Some(variant) = variant else {
            let known: Vec<&str> =
                shape.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let value = object.get(tag).unwrap_or(&Value::Null);
            return Err(differs(&join(at, tag), &known.join(" or "), value));
        };
        return compare(variant, &Value::Object(object.clone()), at);
    }
    let (name, may_be_absent) = match key.strip_suffix('?') {
        Some(name) => (name, true),
        None => (key, false),
    };
    match object.get(name) {
        None | Some(Value::Null) if may_be_absent => Ok(()),
        None => Err(format!("`{}` is missing", join(at, name))),
        Some(value) => compare(shape, value, &join(at, name)),
    }
}

fn leaf(names: &str, value: &Value, at: &str) -> Result<(), String> {
    let mut nested = None;
    for name in names.split('|') {
        let fits = match name {
            "any" => true,
            "string" => value.is_string(),
            "text" => value.as_str().is_some_and(|text| !text.is_empty()),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            other => match (other.strip_prefix('='), other.strip_prefix('@')) {
                (Some(literal), _) => value.as_str() == Some(literal),
                (_, Some(named)) => {
                    let shape = table().get(named).unwrap_or(&Value::Null);
                    match compare(shape, value, at) {
                        Ok(()) => true,
                        Err(why) => {
                            nested = Some(why);
                            false
                        }
                    }
                }
                _ => false,
            },
        };
        if fits {
            return Ok(());
        }
    }
    // A named shape says where it differs, which is closer than its name.
    Err(nested.unwrap_or_else(|| differs(at, &names.replace('=', "").replace('|', " or "), value)))
}

fn differs(at: &str, expected: &str, value: &Value) -> String {
    let found = crate::probe::cut(&value.to_string(), 80);
    let at = if at.is_empty() { "the body" } else { at };
    format!("`{at}` is {found}, expected {expected}")
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn fits(shape: &Value, value: &Value) -> String {
        compare(shape, value, "").err().unwrap_or_default()
    }

    #[test]
    fn differences_are_named_with_their_place() {
        let shape = json!({"id": "text", "n?": "integer", "list": [{"kind": "=a|=b"}], "usage?": "@Usage"});
        let good = json!({"id": "x", "n": null, "list": [{"kind": "b", "more": 1}]});
        assert_eq!(fits(&shape, &good), "");
        for (edit, why) in [
            (json!({"id": ""}), "`id` is \"\", expected text"),
            (json!({"n": 1.5}), "`n` is 1.5, expected integer"),
            (json!({"n": "1"}), "`n` is \"1\", expected integer"),
            (json!({"list": {}}), "`list` is {}, expected an array"),
            (json!({"list": [{"kind": "c"}]}), "`list[0].kind` is \"c\", expected a or b"),
            (json!({"list": [{}]}), "`list[0].kind` is missing"),
            (
                json!({"usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
                "`usage.total_tokens` is missing",
            ),
        ] {
            let mut value = good.clone();
            for (key, new) in edit.as_object().unwrap() {
                value[key] = new.clone();
            }
            assert_eq!(fits(&shape, &value), why);
        }
        assert_eq!(fits(&json!(["string"]), &json!(1)), "`the body` is 1, expected an array");
    }

    #[test]
    fn a_member_chooses_among_shapes() {
        let shape = json!({"|type": {"text": {"text": "string"}, "call": {"name": "string"}}});
        assert_eq!(fits(&shape, &json!({"type": "text", "text": "x"})), "");
        assert_eq!(fits(&shape, &json!({"type": "call", "text": "x"})), "`name` is missing");
        assert_eq!(fits(&shape, &json!({"type": "image"})), "`type` is \"image\", expected text or call");
        let open = json!({"|type": {"text": {"text": "string"}, "*": {"id": "string"}}});
        assert_eq!(fits(&open, &json!({"type": "image", "id": "1"})), "");
        assert_eq!(fits(&open, &json!({})), "`id` is missing");
    }

    #[test]
    fn every_named_shape_is_there() {
        fn names(shape: &Value, found: &mut Vec<String>) {
            match shape {
                Value::String(text) => {
                    found.extend(text.split('|').filter_map(|name| name.strip_prefix('@')).map(Into::into));
                }
                Value::Array(all) => all.iter().for_each(|shape| names(shape, found)),
                Value::Object(all) => all.values().for_each(|shape| names(shape, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        table().values().for_each(|shape| names(shape, &mut found));
        assert!(found.len() > 5);
        for name in found {
            assert!(table().contains_key(&name), "{name}");
        }
    }
}
