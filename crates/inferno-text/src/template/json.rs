//! From JSON to template values, and back as Python's `json.dumps` writes it.

use minijinja::{Error, ErrorKind, Value, value::ValueKind};

use super::mark::{MARK, Marker};
use super::{TemplateError, bounded, is_map};

/// How deep values may nest on their way out.
const DEPTH: usize = 100;

/// A template value with marks in all its strings, keys too.
pub(super) fn to_value(json: &serde_json::Value, marker: &Marker<'_>) -> Result<Value, TemplateError> {
    use serde_json::Value as Json;
    let marked = |text: &str| match text.contains(MARK) {
        true => Err(TemplateError::Noncharacter),
        false => Ok(marker.mark(text)),
    };
    Ok(match json {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::from(i),
            (None, Some(u)) => Value::from(u),
            (None, None) => Value::from(n.as_f64()),
        },
        Json::String(text) => Value::from(marked(text)?),
        Json::Array(all) => {
            Value::from(all.iter().map(|v| to_value(v, marker)).collect::<Result<Vec<_>, _>>()?)
        }
        Json::Object(pairs) => {
            let pair = |(key, value): (&String, &Json)| Ok((marked(key)?, to_value(value, marker)?));
            Value::from_pairs(pairs.iter().map(pair).collect::<Result<Vec<_>, TemplateError>>()?)
        }
    })
}

/// How to write JSON.
#[derive(Debug, Clone)]
pub(super) struct Style {
    /// Spaces to a level; `None` is all on one line.
    pub(super) indent: Option<usize>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    pub(super) sort_keys: bool,
}

impl Style {
    /// Writes `value` to the end of `out`.
    pub(super) fn write(&self, value: &Value, level: usize, out: &mut String) -> Result<(), Error> {
        if level > DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, "value nests too deep for tojson"));
        }
        if out.len() > bounded::MOST_BYTES {
            return Err(bounded::refused("a string of more than 16 MiB"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&value.to_string()),
            ValueKind::String => write_string(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.take(bounded::MOST_ITEMS + 1).collect();
                if items.len() > bounded::MOST_ITEMS {
                    return Err(bounded::refused("more than 100000 items"));
                }
                self.write_all(['[', ']'], items.len(), level, out, |i, out| {
                    self.write(&items[i], level + 1, out)
                })?;
            }
            _ if is_map(value) => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.write_all(['{', '}'], keys.len(), level, out, |i, out| {
                    write_string(&keys[i].to_string(), out);
                    out.push_str(&self.key_separator);
                    self.write(&value.get_item(&keys[i])?, level + 1, out)
                })?;
            }
            kind => return Err(Error::new(ErrorKind::BadSerialization, format!("tojson takes no {kind}"))),
        }
        Ok(())
    }

    fn write_all(
        &self,
        [open, close]: [char; 2],
        n: usize,
        level: usize,
        out: &mut String,
        mut item: impl FnMut(usize, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        for i in 0..n {
            if i > 0 {
                out.push_str(&self.item_separator);
            }
            self.new_line(level + 1, out);
            item(i, out)?;
        }
        if n > 0 {
            self.new_line(level, out);
        }
        out.push(close);
        Ok(())
    }

    fn new_line(&self, level: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * level));
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Replaces all that is not ASCII by escapes, as `ensure_ascii` asks. Marks stay: they are not part of the text.
pub(super) fn escape_non_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() || c == MARK {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}
