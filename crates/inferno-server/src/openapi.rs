//! `GET /openapi.json`: the API as OpenAPI 3.1. Tests compare its paths with the router's, and its fields, types and ranges with
//! those that the parsers read.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::wire::ok;

mod fields;
mod operations;
#[cfg(test)]
mod tests;

use fields::{FORMS, Field, Kind};
use operations::{Answer, Body, OPERATIONS, Operation};

pub(crate) async fn page(State(app): State<Arc<App>>) -> Response {
    ok(&document(&app.settings.root_path))
}

/// The whole document; paths are below `root`.
pub(crate) fn document(root: &str) -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = operation.path.replace("{*", "{");
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[operation.method] = described(operation);
    }
    let forms = FORMS.iter().map(|form| (form.name.to_owned(), object(form.tables, form.required)));
    let mut schemas: Map<String, Value> = forms.collect();
    schemas.extend(errors());
    let server = if root.is_empty() { "/" } else { root };
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "inferno",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
            "description": "One model under the APIs of OpenAI, Anthropic, Ollama, llama-server and vLLM. A member that is null is \
                            as good as one that is missing. Members that are not listed are ignored if they change no answer, and \
                            refused with 400 if other servers know them and they would.",
        },
        "servers": [{ "url": server }],
        "security": [{}, { "bearer": [] }, { "header": [] }],
        "tags": operations::TAGS.iter().map(|(name, about)| json!({ "name": name, "description": about })).collect::<Vec<Value>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "header": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let Operation { method, path, tag, about, body, answer, query } = operation;
    let id: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let mut all = json!({
        "operationId": format!("{method}{}", id.trim_end_matches('_')),
        "tags": [tag],
        "summary": about,
        "responses": responses(tag, *answer),
    });
    let named = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = named.map(|name| {
        let name = name.trim_start_matches('*');
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let in_query = query.iter().map(|(name, about)| {
        json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } })
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    if !parameters.is_empty() {
        all["parameters"] = parameters.into();
    }
    let schema = match body {
        Body::None => return all,
        Body::Form(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
        Body::Array => json!({ "type": "array" }),
    };
    all["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    all
}

fn responses(tag: &str, answer: Answer) -> Value {
    let json_body = json!({ "application/json": { "schema": {} } });
    let content = match answer {
        Answer::Json => json_body,
        Answer::Stream => {
            json!({ "application/json": { "schema": {} }, "text/event-stream": { "schema": { "type": "string" } } })
        }
        Answer::Lines => {
            json!({ "application/x-ndjson": { "schema": { "type": "string" } }, "application/json": { "schema": {} } })
        }
        Answer::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
        Answer::Nothing | Answer::Absent => Value::Null,
    };
    let error = json!({
        "description": "An error in the shape of this API",
        "content": { "application/json": { "schema": { "$ref": format!("#/components/schemas/{}", error_of(tag)) } } },
    });
    match answer {
        Answer::Nothing => json!({ "204": { "description": "Done" }, "default": error }),
        Answer::Absent => json!({ "501": error, "default": error }),
        _ => json!({ "200": { "description": "OK", "content": content }, "default": error }),
    }
}

/// The shape of errors of a tag's paths.
fn error_of(tag: &str) -> &'static str {
    match tag {
        "Anthropic" => "AnthropicError",
        "Ollama" => "OllamaError",
        "llama-server" => "LlamaServerError",
        _ => "Error",
    }
}

fn errors() -> [(String, Value); 4] {
    let object = |properties: Value| json!({ "type": "object", "properties": properties });
    let inner = |properties: Value| object(json!({ "error": object(properties) }));
    let text = json!({ "type": "string" });
    let optional = json!({ "type": ["string", "null"] });
    [
        ("Error", inner(json!({ "message": text, "type": text, "param": optional, "code": optional }))),
        ("LlamaServerError", inner(json!({ "message": text, "type": text, "code": { "type": "integer" } }))),
        (
            "AnthropicError",
            object(json!({ "type": { "const": "error" }, "error": object(json!({ "type": text, "message": text })) })),
        ),
        ("OllamaError", object(json!({ "error": text }))),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
}

/// The schema of an object with the fields of `tables`.
fn object(tables: &[&[Field]], required: &[&str]) -> Value {
    let mut properties = Map::new();
    for (names, kind, about) in tables.iter().copied().flatten() {
        for name in *names {
            let mut schema = schema(*kind);
            if !about.is_empty() {
                schema["description"] = (*about).into();
            }
            properties.insert((*name).to_owned(), schema);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Any => json!({}),
        Kind::Boolean => json!({ "type": ["boolean", "null"] }),
        Kind::Text => json!({ "type": ["string", "null"] }),
        Kind::Integer(from, to) => json!({ "type": ["integer", "null"], "minimum": from, "maximum": to }),
        Kind::Number(from, to) => {
            json!({ "type": ["number", "null"], "minimum": short(from), "maximum": short(to) })
        }
        Kind::Object => json!({ "type": ["object", "null"] }),
        Kind::Objects => json!({ "type": ["array", "null"], "items": { "type": "object" } }),
        Kind::Texts => json!({ "type": ["string", "array", "null"], "items": { "type": "string" } }),
        Kind::Tokens => json!({ "type": ["array", "null"], "items": { "type": "integer", "minimum": 0 } }),
    }
}

/// The number that prints as `x` does.
fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
