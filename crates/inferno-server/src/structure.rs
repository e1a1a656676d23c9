//! The form that an answer must have: `response_format`, llama-server's `grammar` and `json_schema`, vLLM's
//! `structured_outputs` with its older names, SGLang's `regex` and `ebnf`.
#![deny(clippy::indexing_slicing)]

use inferno_grammar::GrammarSource;
use serde_json::Value;

use crate::error::{ApiError, shown};
use crate::fields::{Fields, expected_at};
use crate::json::{self, Limits};
use crate::settings::Settings;

/// A form, and the field that asks for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Structure {
    pub(crate) source: GrammarSource,
    /// Full name of the field, which errors name.
    pub(crate) param: String,
}

/// Reads every field that asks for a form.
///
/// # Errors
/// A field is malformed, or two of them ask for a form.
pub(crate) fn read(fields: &mut Fields, settings: &Settings) -> Result<Option<Structure>, ApiError> {
    let limits = Limits::of(settings);
    let mut found = Vec::new();
    if let Some(format) = fields.take("response_format") {
        found.extend(response_format(&format)?);
    }
    for name in ["json_schema", "guided_json"] {
        if let Some(value) = fields.take(name) {
            found.push(of(name, GrammarSource::JsonSchema(schema(name, value, limits)?)));
        }
    }
    if let Some(grammar) = text(fields, "grammar")? {
        let is_lark = grammar.trim_start().starts_with("%llguidance");
        let source = if is_lark { GrammarSource::Lark(grammar) } else { GrammarSource::Gbnf(grammar) };
        found.push(of("grammar", source));
    }
    if let Some(grammar) = text(fields, "guided_grammar")? {
        found.push(of("guided_grammar", either(grammar)));
    }
    if let Some(grammar) = text(fields, "ebnf")? {
        found.push(of("ebnf", GrammarSource::Gbnf(grammar)));
    }
    for name in ["guided_regex", "regex"] {
        if let Some(pattern) = text(fields, name)? {
            found.push(of(name, GrammarSource::Regex(pattern)));
        }
    }
    if let Some(value) = fields.take("guided_choice")
        && value != Value::Array(Vec::new())
    {
        found.push(of("guided_choice", choice("guided_choice", &value)?));
    }
    if let Some(value) = fields.take("structural_tag")
        && value != ""
    {
        found.push(of("structural_tag", structural_tag("structural_tag", value, limits)?));
    }
    if let Some(outputs) = fields.object("structured_outputs")? {
        found.extend(structured_outputs(outputs, limits)?);
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => {
            let message = format!(
                "`{}` and `{}` both ask for a form of the answer, expected one of them",
                first.param, second.param
            );
            Err(ApiError::invalid(second.param, message))
        }
        (first, _) => Ok(first),
    }
}

fn of(param: impl Into<String>, source: GrammarSource) -> Structure {
    Structure { source, param: param.into() }
}

/// A text that is not empty.
fn text(fields: &mut Fields, name: &str) -> Result<Option<String>, ApiError> {
    match fields.take(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(fields.expected(name, &other, "a string")),
    }
}

/// A text. An empty one is an error: unlike fields of the request, members of `structured_outputs` have no empty defaults.
fn filled(fields: &mut Fields, name: &str) -> Result<Option<String>, ApiError> {
    match fields.take(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => {
            let path = fields.name(name);
            let message = format!("`{path}` is empty, expected a text: leave it out for answers of any form");
            Err(ApiError::invalid(path, message))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(fields.expected(name, &other, "a string")),
    }
}

/// A grammar whose notation is not told: GBNF and its relatives define rules with `::=`, Lark with `:`.
fn either(grammar: String) -> GrammarSource {
    match grammar.contains("::=") {
        true => GrammarSource::Gbnf(grammar),
        false => GrammarSource::Lark(grammar),
    }
}

/// A schema as an object, as true or false, or as a string of JSON.
fn schema(path: &str, value: Value, limits: Limits) -> Result<Value, ApiError> {
    let value = match value {
        Value::String(text) => {
            let mut left = limits.nodes;
            let parsed = json::bounded(text.as_bytes(), &mut left, limits);
            parsed
                .map_err(|e| ApiError::invalid(path, format!("`{path}` is a string that is not JSON: {e}")))?
        }
        other => other,
    };
    match value {
        Value::Object(_) | Value::Bool(_) => Ok(value),
        other => Err(expected_at(path, &other, "a JSON schema: an object, or a string of one")),
    }
}

fn choice(path: &str, value: &Value) -> Result<GrammarSource, ApiError> {
    let texts = value.as_array().filter(|items| !items.is_empty()).and_then(|items| {
        items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    match texts {
        Some(texts) => Ok(GrammarSource::Choice(texts)),
        None => Err(expected_at(path, value, "an array of one or more strings")),
    }
}

fn structural_tag(path: &str, value: Value, limits: Limits) -> Result<GrammarSource, ApiError> {
    match schema(path, value, limits)? {
        tag @ Value::Object(_) => Ok(GrammarSource::StructuralTag(tag)),
        other => Err(expected_at(path, &other, "a structural tag: an object, or a string of one")),
    }
}

/// OpenAI's field, with llama-server's `schema` beside `json_object` and vLLM's type `structural_tag`.
fn response_format(format: &Value) -> Result<Option<Structure>, ApiError> {
    const NAME: &str = "response_format";
    const EXPECTED: &str = "an object whose `type` is \"text\", \"json_object\" or \"json_schema\"";
    let object = |path: &str, value: &Value| match value {
        Value::Object(_) | Value::Bool(_) => Ok(value.clone()),
        Value::Null => {
            Err(ApiError::missing(path, format!("`{path}` is missing: the JSON schema of the answer")))
        }
        other => Err(expected_at(path, other, "a JSON schema: an object")),
    };
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") if !format["schema"].is_null() => {
            let path = "response_format.schema";
            Ok(Some(of(path, GrammarSource::JsonSchema(object(path, &format["schema"])?))))
        }
        Some("json_object") => Ok(Some(of(NAME, GrammarSource::JsonObject))),
        Some("json_schema") => {
            let path = "response_format.json_schema";
            let named = &format["json_schema"];
            match named {
                Value::Object(_) => {}
                Value::Null => {
                    let message = format!("`{path}` is missing: an object with `name` and `schema`");
                    return Err(ApiError::missing(path, message));
                }
                other => return Err(expected_at(path, other, "an object with `name` and `schema`")),
            }
            if !(named["strict"].is_boolean() || named["strict"].is_null()) {
                return Err(expected_at(&format!("{path}.strict"), &named["strict"], "true or false"));
            }
            if !(named["name"].is_string() || named["name"].is_null()) {
                return Err(expected_at(&format!("{path}.name"), &named["name"], "a string"));
            }
            let path = "response_format.json_schema.schema";
            Ok(Some(of(path, GrammarSource::JsonSchema(object(path, &named["schema"])?))))
        }
        Some("structural_tag") => Ok(Some(of(NAME, GrammarSource::StructuralTag(format.clone())))),
        Some(_) => Err(expected_at(
            "response_format.type",
            &format["type"],
            "\"text\", \"json_object\" or \"json_schema\"",
        )),
        None => Err(expected_at(NAME, format, EXPECTED)),
    }
}

/// vLLM's field. White space is a matter of the server: members that change it are refused, or ask for what is so anyway.
fn structured_outputs(mut outputs: Fields, limits: Limits) -> Result<Option<Structure>, ApiError> {
    let mut found = Vec::new();
    if let Some(value) = outputs.take("json") {
        let path = outputs.name("json");
        found.push(of(path.clone(), GrammarSource::JsonSchema(schema(&path, value, limits)?)));
    }
    if outputs.boolean("json_object")? == Some(true) {
        found.push(of(outputs.name("json_object"), GrammarSource::JsonObject));
    }
    if let Some(pattern) = filled(&mut outputs, "regex")? {
        found.push(of(outputs.name("regex"), GrammarSource::Regex(pattern)));
    }
    if let Some(value) = outputs.take("choice") {
        let path = outputs.name("choice");
        found.push(of(path.clone(), choice(&path, &value)?));
    }
    if let Some(grammar) = filled(&mut outputs, "grammar")? {
        found.push(of(outputs.name("grammar"), either(grammar)));
    }
    if let Some(value) = outputs.take("structural_tag") {
        let path = outputs.name("structural_tag");
        found.push(of(path.clone(), structural_tag(&path, value, limits)?));
    }
    if outputs.take("whitespace_pattern").is_some() {
        let path = outputs.name("whitespace_pattern");
        let message = format!(
            "`{path}` is not supported: JSON is written on one line, with at most one space after `:` and `,`"
        );
        return Err(ApiError::unsupported(path, message));
    }
    if found.len() > 1 {
        let names = found.iter().map(|one| format!("`{}`", one.param)).collect::<Vec<_>>().join(" and ");
        let message = format!("`structured_outputs` has {names}, expected one of them");
        return Err(ApiError::invalid("structured_outputs", message));
    }
    let rest = outputs.into_rest();
    let unknown = rest.iter().find(|(_, value)| !value.is_null());
    if let (None, Some((name, _))) = (found.last(), unknown) {
        let message = format!(
            "`structured_outputs` has `{}` and no form, expected one of `json`, `json_object`, `regex`, `choice`, `grammar` and \
             `structural_tag`",
            shown(name)
        );
        return Err(ApiError::invalid("structured_outputs", message));
    }
    Ok(found.pop())
}

#[cfg(test)]
mod tests;
