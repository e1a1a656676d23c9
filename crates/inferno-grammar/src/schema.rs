//! JSON schemas as llguidance takes them: references resolved, what is not enforced taken out and named.

mod keywords;
mod locate;
mod refs;

use serde_json::{Map, Value, json};

use crate::source::GrammarError;

use keywords::{Keyword, kind};
pub(crate) use locate::locate;
use locate::refusal;
use refs::Refs;

/// Largest number up to which every integer is a double, so that llguidance keeps it exactly.
const MOST_EXACT: u64 = 1 << 53;
/// Characters or items that no answer has: a maximum above it excludes nothing.
const MOST_LENGTH: u64 = 1 << 24;

/// A schema for llguidance.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) schema: Value,
    /// Keywords that are not enforced, with their places: `uniqueItems at #/properties/tags`.
    pub(crate) unenforced: Vec<String>,
}

/// Brings a client's schema to what llguidance takes and keeps.
///
/// # Errors
/// A keyword is malformed, or cannot be kept: with its place.
pub(crate) fn prepare(schema: &Value) -> Result<Prepared, GrammarError> {
    let mut builder = Builder { refs: Refs::new(schema), unenforced: Vec::new(), one_of: Vec::new() };
    let mut root = builder.schema(schema, "#")?;
    let mut definitions = Map::new();
    while let Some(target) = builder.refs.next_target() {
        let body = builder.schema(target.schema, &target.path)?;
        definitions.insert(target.name, body);
    }
    if let Value::Bool(takes_all) = root {
        if !takes_all {
            return Err(error("#", "the schema is false: no answer can fit it"));
        }
        root = json!({});
    }
    let options = options(schema)?;
    if let Some(map) = root.as_object_mut() {
        if !definitions.is_empty() {
            map.insert("$defs".to_owned(), Value::Object(definitions));
        }
        map.insert("x-guidance".to_owned(), options);
    }
    let definitions = root.get("$defs").cloned().unwrap_or_else(|| json!({}));
    for (path, list) in std::mem::take(&mut builder.one_of) {
        let alone = json!({ "oneOf": list, "$defs": definitions });
        if refusal(alone, json!({})).is_some_and(|why| why.contains("oneOf")) {
            builder.leave_out("oneOf (as anyOf)", &path);
        }
    }
    builder.unenforced.sort();
    builder.unenforced.dedup();
    Ok(Prepared { schema: root, unenforced: builder.unenforced })
}

/// A schema with our white space: at most a space behind `:` and `,`.
pub(crate) fn with_our_white_space(mut schema: Value) -> Value {
    if let Some(map) = schema.as_object_mut() {
        map.insert("x-guidance".to_owned(), our_options());
    }
    schema
}

fn our_options() -> Value {
    json!({
        "whitespace_flexible": false,
        "item_separator": ", ?",
        "key_separator": ": ?",
        "coerce_one_of": true,
        "json_allow_general_unicode_escapes": true,
    })
}

/// White space other than ours where the schema asks for it.
fn options(schema: &Value) -> Result<Value, GrammarError> {
    let mut options = our_options();
    let asked = schema.get("x-guidance").and_then(Value::as_object);
    for (key, value) in asked.into_iter().flatten() {
        let at = "#/x-guidance";
        match (key.as_str(), value) {
            ("whitespace_flexible", Value::Bool(is_flexible)) => {
                if *is_flexible {
                    options["whitespace_flexible"] = json!(true);
                    options["item_separator"] = json!(",");
                    options["key_separator"] = json!(":");
                }
            }
            ("whitespace_pattern", Value::Null) => {}
            ("whitespace_pattern", Value::String(pattern)) => {
                options["whitespace_pattern"] = json!(pattern);
                options["item_separator"] = json!(",");
                options["key_separator"] = json!(":");
            }
            _ => {
                let reason =
                    format!("x-guidance takes whitespace_flexible and whitespace_pattern, not {key}");
                return Err(error(at, &reason));
            }
        }
    }
    Ok(options)
}

/// An error with its place, which is said.
fn error(path: &str, reason: &str) -> GrammarError {
    GrammarError { path: path.to_owned(), reason: format!("schema at {path}: {reason}") }
}

/// The place of `key` in `path`, as a JSON pointer in a fragment.
fn join(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}

struct Builder<'a> {
    refs: Refs<'a>,
    unenforced: Vec<String>,
    /// Lists of `oneOf`, with the places of their schemas.
    one_of: Vec<(String, Value)>,
}

impl<'a> Builder<'a> {
    fn leave_out(&mut self, keyword: &str, path: &str) {
        self.unenforced.push(format!("{keyword} at {path}"));
    }

    fn schema(&mut self, schema: &'a Value, path: &str) -> Result<Value, GrammarError> {
        let map = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(map) => map,
            _ => return Err(error(path, "a schema is an object, true or false")),
        };
        let mut out = Map::new();
        for (key, value) in map {
            let at = join(path, key);
            match kind(key) {
                Keyword::Annotation => {}
                Keyword::Draft => {
                    out.insert(key.clone(), value.clone());
                }
                Keyword::Unenforced => self.unenforced_keyword(key, value, path)?,
                Keyword::Schema => {
                    out.insert(key.clone(), self.schema_or_list(key, value, &at)?);
                }
                Keyword::Schemas => {
                    let list = self.list(value, &at)?;
                    match exclusive(key, &list) {
                        Some(list) => out.insert("anyOf".to_owned(), list).map_or((), drop),
                        None => {
                            if key == "oneOf" {
                                self.one_of.push((path.to_owned(), list.clone()));
                            }
                            out.insert(key.clone(), list);
                        }
                    }
                }
                Keyword::Properties => {
                    let entries =
                        value.as_object().ok_or_else(|| error(&at, "must be an object of schemas"))?;
                    let mut schemas = Map::new();
                    for (name, value) in entries {
                        schemas.insert(name.clone(), self.schema(value, &join(&at, name))?);
                    }
                    out.insert(key.clone(), Value::Object(schemas));
                }
                Keyword::Reference => {
                    let name = self.refs.resolve(value, &at)?;
                    out.insert("$ref".to_owned(), Value::String(name));
                }
                Keyword::Size => {
                    if let Some(size) = size(key, value, &at)? {
                        out.insert(key.clone(), size);
                    }
                }
                Keyword::Number => {
                    check_number(value, &at)?;
                    out.insert(key.clone(), value.clone());
                }
                Keyword::Values => {
                    check_values(key, value, &at)?;
                    out.insert(key.clone(), value.clone());
                }
                Keyword::Type => {
                    check_type(value, &at)?;
                    out.insert(key.clone(), value.clone());
                }
                Keyword::Pattern => {
                    value.as_str().ok_or_else(|| error(&at, "must be a string"))?;
                    out.insert(key.clone(), value.clone());
                }
                Keyword::Required => {
                    let is_names = value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
                    // In draft 3 a property says of itself that it must be there.
                    if value.is_boolean() {
                        self.leave_out("required (of draft 3)", path);
                    } else if is_names {
                        out.insert(key.clone(), value.clone());
                    } else {
                        return Err(error(&at, "must be an array of names"));
                    }
                }
                Keyword::Format => {
                    let name = value.as_str().ok_or_else(|| error(&at, "must be a string"))?;
                    if keywords::is_known_format(name) {
                        out.insert(key.clone(), value.clone());
                    } else if may_be_string(map) {
                        self.leave_out(&format!("format {name}"), path);
                    }
                }
            }
        }
        self.count_of_properties(map, &mut out, path);
        Ok(Value::Object(out))
    }

    fn unenforced_keyword(&mut self, key: &str, value: &Value, path: &str) -> Result<(), GrammarError> {
        let says_nothing = match key {
            "uniqueItems" => value == &Value::Bool(false),
            "unevaluatedItems" | "unevaluatedProperties" => {
                value != &Value::Bool(false) && !value.is_object()
            }
            "propertyNames" | "then" | "else" => value == &Value::Bool(true) || value == &json!({}),
            "dependentRequired" | "dependentSchemas" | "dependencies" => value == &json!({}),
            _ => false,
        };
        if !says_nothing {
            self.leave_out(key, path);
        }
        Ok(())
    }

    fn schema_or_list(&mut self, key: &str, value: &'a Value, at: &str) -> Result<Value, GrammarError> {
        match (key, value) {
            ("items", Value::Array(_)) => self.list(value, at),
            _ => self.schema(value, at),
        }
    }

    fn list(&mut self, value: &'a Value, at: &str) -> Result<Value, GrammarError> {
        let items = value.as_array().ok_or_else(|| error(at, "must be an array of schemas"))?;
        let schemas: Result<Vec<Value>, GrammarError> =
            items.iter().enumerate().map(|(i, item)| self.schema(item, &join(at, &i.to_string()))).collect();
        Ok(Value::Array(schemas?))
    }

    /// Leaves out numbers of properties where llguidance counts only properties that must be there.
    fn count_of_properties(&mut self, map: &Map<String, Value>, out: &mut Map<String, Value>, path: &str) {
        let least = out.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        let most = out.get("maxProperties").and_then(Value::as_u64);
        let required: Vec<&str> = map
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if least <= required.len() as u64 {
            out.remove("minProperties");
        }
        let least = least.saturating_sub(required.len() as u64);
        let names = map.get("properties").and_then(Value::as_object);
        let n_optional =
            names.into_iter().flatten().filter(|(name, _)| !required.contains(&name.as_str())).count();
        let is_closed = map.get("additionalProperties") == Some(&Value::Bool(false))
            && map.get("patternProperties").is_none();
        let most = most.map(|most| most.saturating_sub(required.len() as u64));
        if is_closed && most.is_some_and(|most| most >= n_optional as u64) {
            out.remove("maxProperties");
        }
        if n_optional == 0 || (least <= 1 && most.unwrap_or(1) == 1 && is_closed) {
            return;
        }
        for key in ["minProperties", "maxProperties"] {
            if out.remove(key).is_some() {
                self.leave_out(key, path);
            }
        }
    }
}

/// `oneOf` as `anyOf` with the same meaning, where each schema says no more than that a single property must be there: then the
/// others must not be.
fn exclusive(key: &str, list: &Value) -> Option<Value> {
    let list = list.as_array().filter(|_| key == "oneOf")?;
    let name = |schema: &Value| {
        let map = schema.as_object().filter(|map| map.len() == 1)?;
        match map.get("required")?.as_array()?.as_slice() {
            [Value::String(name)] => Some(name.clone()),
            _ => None,
        }
    };
    let names: Vec<String> = list.iter().map(name).collect::<Option<_>>()?;
    let schema = |chosen: &String| {
        let others = names.iter().filter(|other| *other != chosen);
        let absent: Map<String, Value> = others.map(|other| (other.clone(), Value::Bool(false))).collect();
        json!({ "required": [chosen], "properties": absent })
    };
    Some(names.iter().map(schema).collect())
}

/// Whether a schema of these keywords takes strings.
fn may_be_string(map: &Map<String, Value>) -> bool {
    match map.get("type") {
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        _ => true,
    }
}

/// A length or number of items; `None` if it excludes nothing.
fn size(key: &str, value: &Value, at: &str) -> Result<Option<Value>, GrammarError> {
    let whole = value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e18).contains(n));
        number.map(|n| n as u64)
    });
    let is_maximum = key.starts_with("max");
    let is_huge = value.as_f64().is_some_and(|n| n >= MOST_LENGTH as f64);
    match whole {
        _ if is_huge && is_maximum => Ok(None),
        _ if is_huge => Err(error(at, "no answer can be this long")),
        Some(n) => Ok(Some(Value::from(n))),
        None => Err(error(at, "must be a number of 0 or more, without a fraction")),
    }
}

/// Checks a number that llguidance reads as a double.
fn check_number(value: &Value, at: &str) -> Result<(), GrammarError> {
    // In draft 4 exclusiveMinimum is true or false.
    if value.is_boolean() && at.contains("/exclusive") {
        return Ok(());
    }
    let Value::Number(number) = value else { return Err(error(at, "must be a number")) };
    let double = number.as_f64().filter(|n| n.is_finite());
    let Some(double) = double else { return Err(error(at, "the number is too large")) };
    if at.ends_with("/multipleOf") && double <= 0.0 {
        return Err(error(at, "must be above 0"));
    }
    Ok(())
}

/// Checks `const` and `enum`.
fn check_values(key: &str, value: &Value, at: &str) -> Result<(), GrammarError> {
    if key == "enum" {
        let values = value.as_array().ok_or_else(|| error(at, "must be an array of values"))?;
        if values.is_empty() {
            return Err(error(at, "is empty: no answer can fit it"));
        }
    }
    let mut todo = vec![value];
    while let Some(value) = todo.pop() {
        match value {
            Value::Number(number) => {
                let digits = number.as_str().bytes().filter(u8::is_ascii_digit).count();
                let is_exact = number.as_i64().is_none_or(|n| n.unsigned_abs() <= MOST_EXACT) && digits <= 17;
                if !is_exact || number.as_f64().is_none_or(|n| !n.is_finite()) {
                    let reason =
                        format!("{number} has more digits than are kept exactly: give it as a string");
                    return Err(error(at, &reason));
                }
            }
            Value::Array(items) => todo.extend(items),
            Value::Object(map) => todo.extend(map.values()),
            _ => {}
        }
    }
    Ok(())
}

fn check_type(value: &Value, at: &str) -> Result<(), GrammarError> {
    const NAMES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let names: Vec<&Value> = match value {
        Value::Array(names) => names.iter().collect(),
        _ => vec![value],
    };
    for name in names {
        if !name.as_str().is_some_and(|name| NAMES.contains(&name)) {
            return Err(error(at, &format!("{name} is no type: there are {}", NAMES.join(", "))));
        }
    }
    Ok(())
}
