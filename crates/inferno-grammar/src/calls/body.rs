//! One call, as a grammar.

use inferno_text::{CallBody, TaggedCall};
use serde_json::{Map, Value, json};

use super::Tool;
use super::lark::{CALL_MESSAGE, Writer};
use crate::marks::quoted;
use crate::schema;

/// Depth to which Gemma's own syntax follows a schema.
const MOST_DEPTH: usize = 8;

/// Patterns of the ids of calls.
const DIGITS: &str = "^[0-9]{1,2}$";
const LETTERS: &str = "^[a-zA-Z0-9]{9}$";

impl Writer<'_> {
    /// First text of a call that has no mark before it; what [`call`](Self::call) writes comes after it.
    pub(super) fn first_text(&self) -> String {
        match &self.format.calls.body {
            CallBody::Named { before_name, .. } => before_name.clone(),
            CallBody::Tagged(tags) => tags.before_name.clone(),
            _ => String::new(),
        }
    }

    /// A call of `tool`, without the texts around it.
    pub(super) fn call(&mut self, tool: &Tool) -> String {
        let schema = arguments(tool);
        let calls = self.format.calls.clone();
        let first = if calls.call_begin.is_empty() { String::new() } else { self.first_text() };
        let name = Value::from(tool.name.as_str());
        match &calls.body {
            CallBody::Json { name: name_key, arguments, id } if self.is_beside_json() => {
                let id = id.as_deref().map(|key| (key, if key == "tool_call_id" { DIGITS } else { LETTERS }));
                self.rule(&format!("%json {}", as_json(&tool.name, name_key, arguments, id, schema)))
            }
            CallBody::Json { name: name_key, arguments, id } => {
                let (before, after) = match id.as_deref() {
                    Some("tool_call_id") => ("\"tool_call_id\": \"", ""),
                    Some(_) => ("", ", \"id\": \""),
                    None => ("", ""),
                };
                // One lexeme up to the arguments, as a free text may begin with a part of it.
                let (before, brace) = match before {
                    "" => (quoted(""), "{"),
                    text => {
                        (format!("{} /[0-9]{{1,2}}/ {}", quoted(&format!("{{{text}")), quoted("\", ")), "")
                    }
                };
                let after = match after {
                    "" => quoted("}"),
                    text => format!("{} /[a-zA-Z0-9]{{9}}/ {}", quoted(text), quoted("\"}")),
                };
                let head = quoted(&format!("{brace}\"{name_key}\": {name}, \"{arguments}\": "));
                self.rule(&format!("{before} {head} %json {schema} {after}"))
            }
            CallBody::Named { before_id, after_name, after_arguments, counted, .. } => {
                let count = if *counted { "\":\" /[0-9]{1,2}/" } else { "\"\"" };
                let head = self.mark(&format!("{first}{}", tool.name));
                let id = match before_id.as_str() {
                    "" => quoted(""),
                    before => format!("{} /[a-zA-Z0-9]{{9}}/", self.mark(before)),
                };
                let (middle, end) = (self.mark(after_name), self.mark(after_arguments));
                self.rule(&format!("{head} {count} {id} {middle} %json {schema} {end}"))
            }
            CallBody::Tagged(tags) => {
                let head = self.mark(&format!("{first}{}{}", tool.name, tags.after_name));
                let arguments = self.tagged(tags, &schema);
                let end = self.mark(&tags.end);
                self.rule(&format!("{head} {arguments} {end}"))
            }
            CallBody::Python => {
                let members = self.members(&schema, ", ", &|writer, key, schema| {
                    format!("{} {}", quoted(&format!("{key}=")), writer.python(schema))
                });
                self.rule(&format!("{} {members} \")\"", quoted(&format!("{}(", tool.name))))
            }
            CallBody::Gemma => {
                let members = self.gemma_members(&schema, 0);
                self.rule(&format!("{} {members} \"}}\"", quoted(&format!("call:{}{{", tool.name))))
            }
            CallBody::Recipients => {
                self.rule(&format!("{} %json {schema}", quoted(&format!("{}\n", tool.name))))
            }
            CallBody::Harmony => {
                let head = self.mark(&format!("{CALL_MESSAGE}{} <|constrain|>json<|message|>", tool.name));
                let end = self.mark("<|call|>");
                self.rule(&format!("{head} %json {schema} {end}"))
            }
        }
    }

    /// Whether calls in JSON that no mark begins stand beside another form, whose lexemes they must then have.
    fn is_beside_json(&self) -> bool {
        self.rules.form.is_some() && self.first_mark().trim_end().is_empty()
    }

    /// Arguments in tags, in the schema's order.
    fn tagged(&mut self, tags: &TaggedCall, schema: &Value) -> String {
        let mut items = Vec::new();
        for (key, property, is_required) in properties(schema) {
            let head = self.mark(&format!("{}{key}{}", tags.before_key, tags.after_key));
            let value = self.tagged_value(tags, &property);
            let item = self.rule(&format!("{head} {value}"));
            items.push(if is_required { item } else { format!("{item}?") });
        }
        if items.is_empty() && takes_others(schema) {
            let (before, after) = (self.mark(&tags.before_key), self.mark(&tags.after_key));
            let value = self.tagged_value(tags, &json!({}));
            let item = self.rule(&format!("{before} /[a-zA-Z_][a-zA-Z0-9_]*/ {after} {value}"));
            return format!("{item}*");
        }
        if items.is_empty() { quoted("") } else { items.join(" ") }
    }

    /// A value and its closing tag.
    fn tagged_value(&mut self, tags: &TaggedCall, schema: &Value) -> String {
        let is_text = Kind::of(schema) != Kind::Json;
        let type_word = match tags.after_type.as_str() {
            "" => quoted(""),
            after => self.mark(&format!("{is_text}{after}")),
        };
        let value = match texts(schema) {
            Some(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                format!("({}) {}", texts.join(" | "), self.mark(&tags.after_value))
            }
            None if is_text => {
                let close = tags.after_value.trim_end();
                let until = self.until(close);
                format!("{until} {}", self.mark(&tags.after_value[close.len()..]))
            }
            None => format!("%json {schema} {}", self.mark(&tags.after_value)),
        };
        format!("{type_word} {value}")
    }

    /// The members of an object in the schema's order, with `separator` between them.
    fn members(
        &mut self,
        schema: &Value,
        separator: &str,
        member: &dyn Fn(&mut Self, &str, &Value) -> String,
    ) -> String {
        let mut first = quoted("");
        let mut rest = quoted("");
        for (key, property, is_required) in properties(schema).into_iter().rev() {
            let item = member(self, &key, &property);
            let item = self.rule(&item);
            let (others, later) = (first, rest);
            first = match is_required {
                true => format!("{item} {later}"),
                false => format!("({item} {later} | {others})"),
            };
            rest = match is_required {
                true => format!("{} {item} {later}", quoted(separator)),
                false => format!("({} {item})? {later}", quoted(separator)),
            };
            // As rules: expressions in expressions would double with every member.
            (first, rest) = (self.rule(&first), self.rule(&rest));
        }
        first
    }

    /// A literal of Python. Strings and numbers are JSON's.
    fn python(&mut self, schema: &Value) -> String {
        match schema["type"].as_str() {
            Some("boolean") if schema.get("enum").is_none() => "(\"True\" | \"False\")".to_owned(),
            Some("null") => "\"None\"".to_owned(),
            _ => format!("%json {schema}"),
        }
    }

    fn gemma_members(&mut self, schema: &Value, depth: usize) -> String {
        self.members(schema, ",", &|writer, key, property| {
            format!("{} {}", quoted(&format!("{key}:")), writer.gemma(property, depth + 1))
        })
    }

    /// A value in Gemma's syntax.
    fn gemma(&mut self, schema: &Value, depth: usize) -> String {
        let quote = self.mark("<|\"|>");
        if let Some(texts) = texts(schema) {
            let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            return format!("{quote} ({}) {quote}", texts.join(" | "));
        }
        match schema["type"].as_str() {
            Some("integer" | "number" | "boolean" | "null") => format!("%json {schema}"),
            Some("array") if depth < MOST_DEPTH => {
                let item = self.gemma(&schema["items"], depth + 1);
                let item = self.rule(&item);
                format!("\"[\" ({item} (\",\" {item})*)? \"]\"")
            }
            Some("object") if depth < MOST_DEPTH && !properties(schema).is_empty() => {
                format!("\"{{\" {} \"}}\"", self.gemma_members(schema, depth))
            }
            Some("object") => {
                let text = self.until("<|\"|>");
                let member = self.rule(&format!("/[a-zA-Z_][a-zA-Z0-9_]*/ \":\" {quote} {text}"));
                format!("\"{{\" ({member} (\",\" {member})*)? \"}}\"")
            }
            _ => {
                let text = self.until("<|\"|>");
                format!("{quote} {text}")
            }
        }
    }
}

/// A whole call as the schema of an object. `id`: its key and the pattern of its value, which comes first for digits.
fn as_json(
    name: &str,
    name_key: &str,
    arguments_key: &str,
    id: Option<(&str, &str)>,
    mut arguments: Value,
) -> Value {
    let mut schema = json!({ "type": "object", "additionalProperties": false });
    // References are from the root, and so are options.
    for key in ["$defs", "x-guidance"] {
        if let Some(value) = arguments.as_object_mut().and_then(|map| map.shift_remove(key)) {
            schema[key] = value;
        }
    }
    let mut members = Map::new();
    members.insert(name_key.to_owned(), json!({ "const": name }));
    members.insert(arguments_key.to_owned(), arguments);
    if let Some((key, pattern)) = id {
        let place = if pattern == DIGITS { 0 } else { members.len() };
        members.shift_insert(place, key.to_owned(), json!({ "type": "string", "pattern": pattern }));
    }
    schema["required"] = members.keys().map(String::as_str).collect();
    schema["properties"] = Value::Object(members);
    schema
}

/// The schema of a tool's arguments as llguidance takes it.
pub(super) fn arguments(tool: &Tool) -> Value {
    let mut asked = tool.parameters.clone();
    if asked.is_null() {
        asked = json!({});
    }
    if !tool.strict {
        rename_types(&mut asked);
    }
    let is_object = |schema: &Value| schema["type"].as_str().is_none_or(|kind| kind == "object");
    if is_object(&asked)
        && let Some(map) = asked.as_object_mut()
    {
        map.entry("type").or_insert_with(|| "object".into());
        // Clients that do not ask for strictness leave it out, and mean the properties they list.
        if map.get("properties").and_then(Value::as_object).is_some_and(|all| !all.is_empty()) {
            map.entry("additionalProperties").or_insert(Value::Bool(false));
        }
    }
    match schema::prepare(&asked) {
        Ok(prepared) if is_object(&prepared.schema) => prepared.schema,
        Err(_) if tool.strict => asked,
        _ => schema::with_our_white_space(json!({ "type": "object" })),
    }
}

/// Gives types the names that JSON schemas have for them, where a client wrote those of Python.
fn rename_types(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if let Some(Value::String(name)) = map.get_mut("type") {
        match name.as_str() {
            "dict" => *name = "object".to_owned(),
            "float" => *name = "number".to_owned(),
            "list" | "tuple" => *name = "array".to_owned(),
            "int" => *name = "integer".to_owned(),
            "str" => *name = "string".to_owned(),
            "bool" => *name = "boolean".to_owned(),
            "any" => drop(map.shift_remove("type")),
            _ => {}
        }
    }
    for key in ["items", "additionalProperties"] {
        map.get_mut(key).into_iter().for_each(rename_types);
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(rename_types);
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(rename_types);
    }
}

/// Properties of an object, each as a schema that stands by itself, and whether it is required.
pub(crate) fn properties(schema: &Value) -> Vec<(String, Value, bool)> {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let with_root = |property: &Value| {
        let mut property = if property.is_object() { property.clone() } else { json!({}) };
        if let Some(map) = property.as_object_mut() {
            for key in ["$defs", "x-guidance"] {
                if let Some(value) = schema.get(key) {
                    map.entry(key).or_insert_with(|| value.clone());
                }
            }
        }
        property
    };
    let all = schema["properties"].as_object().into_iter().flat_map(Map::iter);
    let all = all.filter(|(_, property)| **property != Value::Bool(false));
    let one = |(key, property): (&String, &Value)| {
        (key.clone(), with_root(property), required.iter().any(|name| name == key))
    };
    all.map(one).collect()
}

/// Whether an object may have members that its schema does not name.
pub(crate) fn takes_others(schema: &Value) -> bool {
    schema.get("additionalProperties") != Some(&Value::Bool(false))
}

/// The texts that a schema of strings lists.
pub(crate) fn texts(schema: &Value) -> Option<Vec<String>> {
    let values = match (schema["enum"].as_array(), schema.get("const")) {
        (Some(values), _) => values.clone(),
        (None, Some(value)) => vec![value.clone()],
        (None, None) => return None,
    };
    values.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Types that a value in tags may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string.
    Text,
    /// Any value but a string.
    Json,
    /// Not told: a text without quotes may be either.
    Either,
}

impl Kind {
    /// The type that a schema tells.
    pub(crate) fn of(schema: &Value) -> Kind {
        match &schema["type"] {
            Value::String(kind) if kind == "string" => Kind::Text,
            Value::String(_) => Kind::Json,
            Value::Array(kinds) if kinds.iter().all(|kind| kind != "string") => Kind::Json,
            Value::Array(_) => Kind::Either,
            _ if schema.get("enum").is_some() && texts(schema).is_none() => Kind::Json,
            _ if ["anyOf", "oneOf", "$ref", "allOf"].iter().any(|key| schema.get(key).is_some()) => {
                Kind::Json
            }
            _ => Kind::Either,
        }
    }
}
