//! References within a schema: by pointer, by anchor and by the identifier of a part.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::{error, join, malformed};
use crate::source::GrammarError;

/// A schema that is referred to.
pub(super) struct Target<'a> {
    /// Its name among the definitions.
    pub(super) name: String,
    pub(super) schema: &'a Value,
    /// Its place in the client's schema.
    pub(super) path: String,
}

/// The targets of references, each brought to the definitions once.
pub(super) struct Refs<'a> {
    root: &'a Value,
    /// Identifiers and anchors, and the places that have them. Filled when a reference needs it.
    named: Option<HashMap<String, (&'a Value, String)>>,
    /// Names of the targets so far, by place.
    names: HashMap<String, String>,
    todo: VecDeque<Target<'a>>,
}

impl<'a> Refs<'a> {
    pub(super) fn new(root: &'a Value) -> Refs<'a> {
        Refs { root, named: None, names: HashMap::new(), todo: VecDeque::new() }
    }

    /// A target whose schema is still to be brought to the definitions.
    pub(super) fn next_target(&mut self) -> Option<Target<'a>> {
        self.todo.pop_front()
    }

    /// The reference to put in place of `value`, which is at `at`.
    pub(super) fn resolve(&mut self, value: &Value, at: &str) -> Result<String, GrammarError> {
        let reference = value.as_str().ok_or_else(|| malformed(at, "must be a string"))?;
        let (schema, path) = self.find(reference).ok_or_else(|| {
            let is_remote = !reference.starts_with('#');
            let hint = if is_remote {
                "put the schema that it names under $defs"
            } else {
                "it names nothing in the schema"
            };
            let error = error(at, &format!("{reference} cannot be resolved: {hint}"));
            GrammarError { is_malformed: !is_remote, ..error }
        })?;
        if path == "#" {
            return Ok(path);
        }
        if let Some(name) = self.names.get(&path) {
            return Ok(format!("#/$defs/{name}"));
        }
        let name = self.names.len().to_string();
        self.names.insert(path.clone(), name.clone());
        let reference = format!("#/$defs/{name}");
        self.todo.push_back(Target { name, schema, path });
        Ok(reference)
    }

    fn find(&mut self, reference: &str) -> Option<(&'a Value, String)> {
        let reference = percent_decoded(reference);
        if let Some(found) =
            self.by_pointer(self.root, "#", reference.strip_prefix('#').unwrap_or(&reference), &reference)
        {
            return Some(found);
        }
        let named = self.named.get_or_insert_with(|| names(self.root));
        if let Some(found) = named.get(&reference) {
            return Some(found.clone());
        }
        let (base, fragment) = reference.split_once('#')?;
        let (schema, path) = named.get(base)?.clone();
        self.by_pointer(schema, &path, fragment, "#")
    }

    fn by_pointer(
        &self,
        from: &'a Value,
        path: &str,
        pointer: &str,
        reference: &str,
    ) -> Option<(&'a Value, String)> {
        if !reference.starts_with('#') {
            return None;
        }
        let (mut schema, mut path) = (from, path.to_owned());
        if pointer.is_empty() || pointer == "/" {
            return Some((schema, path));
        }
        for part in pointer.strip_prefix('/')?.split('/') {
            let key = part.replace("~1", "/").replace("~0", "~");
            schema = match schema {
                Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
                _ => schema.get(&key)?,
            };
            path = join(&path, &key);
        }
        Some((schema, path))
    }
}

/// All identifiers and anchors of a schema.
fn names(root: &Value) -> HashMap<String, (&Value, String)> {
    let mut names = HashMap::new();
    let mut todo = vec![(root, "#".to_owned())];
    while let Some((value, path)) = todo.pop() {
        match value {
            Value::Object(map) => {
                for key in ["$id", "id"] {
                    if let Some(id) = map.get(key).and_then(Value::as_str) {
                        names.entry(id.trim_end_matches('#').to_owned()).or_insert((value, path.clone()));
                    }
                }
                for key in ["$anchor", "$dynamicAnchor"] {
                    if let Some(anchor) = map.get(key).and_then(Value::as_str) {
                        names.entry(format!("#{anchor}")).or_insert((value, path.clone()));
                    }
                }
                todo.extend(map.iter().map(|(key, value)| (value, join(&path, key))));
            }
            Value::Array(items) => {
                todo.extend(items.iter().enumerate().map(|(i, value)| (value, join(&path, &i.to_string()))));
            }
            _ => {}
        }
    }
    names
}

fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let (mut decoded, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let code = bytes.get(i + 1..i + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| bytes[i] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                i += 3;
            }
            None => {
                decoded.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}
