//! Texts that fit the patterns and formats of a schema, as endings of answers need them.

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;

/// Bytes of the longest text that is made.
const LONGEST: usize = 4096;

/// Texts for formats; what has no row is found character by character.
const FORMATS: [(&str, &str); 10] = [
    ("date-time", "2000-01-01T00:00:00Z"),
    ("date", "2000-01-01"),
    ("time", "00:00:00Z"),
    ("duration", "P1D"),
    ("email", "a@a.aa"),
    ("hostname", "a"),
    ("ipv4", "0.0.0.0"),
    ("ipv6", "::"),
    ("uri", "a:a"),
    ("uuid", "00000000-0000-0000-0000-000000000000"),
];

/// A text for every pattern and format in `schema`, as it stands in a JSON string.
pub(crate) fn samples(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(schema, &mut found);
    found.sort();
    found.dedup();
    found
}

fn collect(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("pattern", Value::String(pattern)) => found.extend(of_pattern(pattern)),
                    ("patternProperties", Value::Object(patterns)) => {
                        found.extend(patterns.keys().filter_map(|pattern| of_pattern(pattern)));
                    }
                    ("format", Value::String(format)) => {
                        let row = FORMATS.iter().find(|row| row.0 == format);
                        found.extend(row.map(|row| row.1.to_owned()));
                    }
                    _ => {}
                }
                collect(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// A short text that `pattern` matches; none for one that `regex-syntax` does not know.
fn of_pattern(pattern: &str) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    append(&hir, &mut text).then(|| {
        let quoted = Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    })
}

/// Appends a short text that `hir` matches; whether there is one.
fn append(hir: &Hir, text: &mut String) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => str::from_utf8(&literal.0).map(|literal| text.push_str(literal)).is_ok(),
        HirKind::Class(Class::Unicode(class)) => {
            let has = |c: char| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&c));
            let plain = ['0', '1', 'a', 'A', '-', ' '].into_iter().find(|&c| has(c));
            let any = || class.ranges().iter().map(|range| range.start().max(' ')).find(|&c| has(c));
            plain.or_else(any).map(|c| text.push(c)).is_some()
        }
        HirKind::Class(Class::Bytes(_)) => false,
        HirKind::Repetition(repetition) => {
            (0..repetition.min).all(|_| text.len() < LONGEST && append(&repetition.sub, text))
        }
        HirKind::Capture(capture) => append(&capture.sub, text),
        HirKind::Concat(parts) => parts.iter().all(|part| append(part, text)),
        HirKind::Alternation(parts) => {
            let texts = parts.iter().filter_map(|part| {
                let mut text = String::new();
                append(part, &mut text).then_some(text)
            });
            texts.min_by_key(String::len).map(|shortest| text.push_str(&shortest)).is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_a_short_text() {
        for (pattern, text) in [
            (r"\d{4}-\d{2}", "0000-00"),
            ("^(abc|x)+[^0a]$", "x1"),
            (r#"^"\\$"#, r#"\"\\"#),
            ("^[a-z]{2,}@x$", "aa@x"),
        ] {
            assert_eq!(of_pattern(pattern).as_deref(), Some(text), "{pattern}");
        }
        assert_eq!(of_pattern("(?=a)b"), None);
    }
}
