//! Finds the place in a schema of what llguidance refuses.

use serde_json::{Map, Value, json};

use super::{error, join, prepare};
use crate::source::GrammarError;

/// Schemas that are tried until the place is found.
const MOST_TRIES: usize = 300;
/// Values of all schemas that are compiled for one client's schema, besides itself: some 0.2 s.
const MOST_VALUES: usize = 100_000;

/// The error `text` of a schema with its place: the innermost schema that is refused by itself, and there the keyword
/// without which it is not.
pub(crate) fn locate(schema: &Value, text: &str) -> GrammarError {
    let mut tries = Tries { root: schema, left: MOST_TRIES, work: Work::default() };
    let (mut place, mut path, mut reason) = (schema, "#".to_owned(), text.to_owned());
    'deeper: loop {
        for (child, at) in children(place, &path) {
            if let Some(why) = tries.refusal(child) {
                (place, path, reason) = (child, at, why);
                continue 'deeper;
            }
        }
        break;
    }
    if let Value::Object(map) = place {
        for key in map.keys().filter(|key| !matches!(key.as_str(), "type" | "$defs" | "definitions")) {
            let rest: Map<String, Value> =
                map.iter().filter(|(k, _)| k != &key).map(|(k, v)| (k.clone(), v.clone())).collect();
            if tries.refusal(&Value::Object(rest)).is_none() && tries.left > 0 {
                path = join(&path, key);
                break;
            }
        }
    }
    error(&path, &said(&reason))
}

/// llguidance's reason in a client's words.
fn said(reason: &str) -> String {
    let reason = reason.split("\n<").next().unwrap_or_default().trim();
    let reason = reason.strip_prefix("failed to compile JSON schema: ").unwrap_or(reason);
    match reason.strip_prefix("Unsatisfiable schema: ") {
        Some(why) => format!("no answer can fit it: {why}"),
        None => format!("cannot be kept: {reason}"),
    }
}

struct Tries<'a> {
    root: &'a Value,
    left: usize,
    work: Work,
}

/// The size of schemas that may still be compiled to tell more about one that is refused or not enforced.
pub(super) struct Work {
    n_left: usize,
}

impl Default for Work {
    fn default() -> Work {
        Work { n_left: MOST_VALUES }
    }
}

impl Work {
    /// Whether `schema` may be compiled too.
    pub(super) fn allows(&mut self, schema: &Value) -> bool {
        let mut todo = vec![schema];
        while let Some(value) = todo.pop() {
            let Some(n_left) = self.n_left.checked_sub(1) else { return false };
            self.n_left = n_left;
            match value {
                Value::Array(items) => todo.extend(items),
                Value::Object(map) => todo.extend(map.values()),
                _ => {}
            }
        }
        true
    }
}

impl Tries<'_> {
    /// The reason for which a part of the schema is refused by itself.
    fn refusal(&mut self, part: &Value) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        const DEFINITIONS: [&str; 3] = ["$schema", "$defs", "definitions"];
        let definitions = DEFINITIONS.into_iter().filter_map(|key| Some((key, self.root.get(key)?)));
        let definitions: Vec<_> = definitions.filter(|(key, _)| part.get(key).is_none()).collect();
        if !(self.work.allows(part) && definitions.iter().all(|(_, value)| self.work.allows(value))) {
            self.left = 0;
            return None;
        }
        let mut part = part.clone();
        // It may refer to definitions of the whole.
        if let Some(part) = part.as_object_mut() {
            part.extend(definitions.into_iter().map(|(key, value)| (key.to_owned(), value.clone())));
        }
        // A part that cannot be prepared by itself refers to other parts.
        prepared_refusal(prepare(&part).ok()?.schema)
    }
}

/// Whether llguidance takes a prepared schema.
pub(crate) fn is_kept(schema: &Value) -> bool {
    prepared_refusal(schema.clone()).is_none()
}

fn prepared_refusal(mut schema: Value) -> Option<String> {
    let options = schema.as_object_mut()?.remove("x-guidance").unwrap_or_else(|| json!({}));
    refusal(schema, options)
}

/// The reason for which llguidance refuses a prepared schema.
pub(super) fn refusal(schema: Value, options: Value) -> Option<String> {
    let try_it = || {
        let options: llguidance::JsonCompileOptions = serde_json::from_value(options)?;
        let limits = llguidance::api::ParserLimits::default();
        options.json_to_llg(llguidance::GrammarBuilder::new(None, limits), schema).map(|_| ())
    };
    llguidance::panic_utils::catch_unwind(std::panic::AssertUnwindSafe(try_it)).err().map(|e| e.to_string())
}

/// The schemas within a schema, with their places.
fn children<'v>(schema: &'v Value, path: &str) -> Vec<(&'v Value, String)> {
    let mut children = Vec::new();
    for (key, value) in schema.as_object().into_iter().flatten() {
        let at = join(path, key);
        match (key.as_str(), value) {
            ("items" | "additionalItems" | "additionalProperties", Value::Object(_)) => {
                children.push((value, at))
            }
            ("items" | "prefixItems" | "allOf" | "anyOf" | "oneOf", Value::Array(items)) => {
                children.extend(items.iter().enumerate().map(|(i, v)| (v, join(&at, &i.to_string()))));
            }
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(map)) => {
                children.extend(map.iter().map(|(name, v)| (v, join(&at, name))));
            }
            _ => {}
        }
    }
    children
}
