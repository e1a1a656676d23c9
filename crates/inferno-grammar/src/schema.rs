//! JSON schemas as llguidance takes them: references resolved, what is not enforced taken out and named.

mod checks;
mod keywords;
mod locate;
mod refs;

use serde_json::{Map, Value, json};

use crate::source::GrammarError;

use checks::{check_number, check_type, check_values, size};
use keywords::{Keyword, kind};
use locate::{Work, refusal};
pub(crate) use locate::{is_kept, locate};
use refs::Refs;

/// Squares of the numbers of properties of all objects: as many steps llguidance takes, some 0.2 µs each.
const MOST_SQUARES: usize = 2_000 * 2_000;

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
    let mut builder = Builder::new(schema);
    let (mut root, definitions) = builder.whole(schema)?;
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
    let mut work = Work::default();
    for (path, list) in std::mem::take(&mut builder.one_of) {
        // Lists beyond the time for it are named in any case.
        let is_told = work.allows(&list) && work.allows(&definitions);
        let alone = || json!({ "oneOf": list, "$defs": definitions });
        if !is_told || refusal(alone(), json!({})).is_some_and(|why| why.contains("oneOf")) {
            builder.leave_out("oneOf (as anyOf)", &path);
        }
    }
    builder.unenforced.sort();
    builder.unenforced.dedup();
    Ok(Prepared { schema: root, unenforced: builder.unenforced })
}

/// Checks that a text is a schema, whether or not it can be kept. The names of types are not looked at.
///
/// # Errors
/// A keyword is malformed: with its place.
pub(crate) fn check(schema: &Value) -> Result<(), GrammarError> {
    let mut builder = Builder { passes_unkept: true, ..Builder::new(schema) };
    builder.whole(schema).map(drop)
}

/// A schema with our white space: at most a space behind `:` and `,`.
pub(crate) fn with_our_white_space(schema: Value) -> Value {
    with_options(schema, our_options())
}

fn with_options(mut schema: Value, options: Value) -> Value {
    if let Some(map) = schema.as_object_mut() {
        map.insert("x-guidance".to_owned(), options);
    }
    schema
}

/// A prepared schema as one of answers without a space behind any `:` and `,`, and one of answers with a space behind each;
/// the schema alone where it asks for other white space.
pub(crate) fn by_spacing(schema: Value) -> Vec<Value> {
    if schema.get("x-guidance") != Some(&our_options()) {
        return vec![schema];
    }
    let with = |space: &str| {
        let mut options = our_options();
        options["item_separator"] = Value::String(format!(",{space}"));
        options["key_separator"] = Value::String(format!(":{space}"));
        with_options(schema.clone(), options)
    };
    vec![with(""), with(" ")]
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

/// The error of a schema that cannot be kept, with its place, which is said.
fn error(path: &str, reason: &str) -> GrammarError {
    GrammarError { path: path.to_owned(), reason: format!("schema at {path}: {reason}"), is_malformed: false }
}

/// The error of a text that is no schema.
fn malformed(path: &str, reason: &str) -> GrammarError {
    GrammarError { is_malformed: true, ..error(path, reason) }
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
    /// Whether keywords that cannot be kept are passed over, so that only malformed ones are errors.
    passes_unkept: bool,
    /// Squares of the numbers of properties of all objects.
    squares: usize,
}

impl<'a> Builder<'a> {
    fn new(root: &'a Value) -> Builder<'a> {
        let refs = Refs::new(root);
        Builder { refs, unenforced: Vec::new(), one_of: Vec::new(), passes_unkept: false, squares: 0 }
    }

    /// The root and the definitions that it refers to.
    fn whole(&mut self, root: &'a Value) -> Result<(Value, Map<String, Value>), GrammarError> {
        let root = self.schema(root, "#")?;
        let mut definitions = Map::new();
        while let Some(target) = self.refs.next_target() {
            let body = self.schema(target.schema, &target.path)?;
            definitions.insert(target.name, body);
        }
        Ok((root, definitions))
    }

    /// The value of `checked`; `None` for an error that is passed over.
    fn kept<T>(&self, checked: Result<T, GrammarError>) -> Result<Option<T>, GrammarError> {
        match checked {
            Err(error) if self.passes_unkept && !error.is_malformed => Ok(None),
            checked => checked.map(Some),
        }
    }

    fn leave_out(&mut self, keyword: &str, path: &str) {
        self.unenforced.push(format!("{keyword} at {path}"));
    }

    fn schema(&mut self, schema: &'a Value, path: &str) -> Result<Value, GrammarError> {
        let map = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(map) => map,
            _ => return Err(malformed(path, "a schema is an object, true or false")),
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
                        value.as_object().ok_or_else(|| malformed(&at, "must be an object of schemas"))?;
                    self.squares = self.squares.saturating_add(entries.len().saturating_mul(entries.len()));
                    if self.squares > MOST_SQUARES {
                        return Err(error(
                            &at,
                            "too many properties: at most 2,000 in an object, and fewer in many",
                        ));
                    }
                    let mut schemas = Map::new();
                    for (name, value) in entries {
                        schemas.insert(name.clone(), self.schema(value, &join(&at, name))?);
                    }
                    out.insert(key.clone(), Value::Object(schemas));
                }
                Keyword::Reference => {
                    let resolved = self.refs.resolve(value, &at);
                    if let Some(name) = self.kept(resolved)? {
                        out.insert("$ref".to_owned(), Value::String(name));
                    }
                }
                Keyword::Size => {
                    if let Some(size) = self.kept(size(key, value, &at))?.flatten() {
                        out.insert(key.clone(), size);
                    }
                }
                Keyword::Number => {
                    self.kept(check_number(value, &at))?;
                    out.insert(key.clone(), value.clone());
                }
                Keyword::Values => {
                    self.kept(check_values(key, value, &at))?;
                    out.insert(key.clone(), value.clone());
                }
                Keyword::Type => {
                    self.kept(check_type(value, &at))?;
                    out.insert(key.clone(), value.clone());
                }
                Keyword::Pattern => {
                    value.as_str().ok_or_else(|| malformed(&at, "must be a string"))?;
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
                        return Err(malformed(&at, "must be an array of names"));
                    }
                }
                Keyword::Format => {
                    let name = value.as_str().ok_or_else(|| malformed(&at, "must be a string"))?;
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
        let items = value.as_array().ok_or_else(|| malformed(at, "must be an array of schemas"))?;
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
