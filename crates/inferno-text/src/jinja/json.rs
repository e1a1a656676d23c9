//! `tojson`, which is Python's `json.dumps`.

use super::error::{Result, error};
use super::number::float_repr;
use super::run::Run;
use super::text::{Text, TextBuilder};
use super::value::Value;
use super::{operators, print};

/// Style of the JSON.
struct Style {
    ascii: bool,
    /// Indentation per level; `None` is all on one line.
    indent: Option<Text>,
    item: Text,
    key: Text,
    sort: bool,
}

pub(super) fn filter(run: &mut Run, value: &Value, given: [Option<Value>; 4]) -> Result<Value> {
    let [ascii, indent, separators, sort] = given;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text),
        Some(n) => {
            let n = super::arguments::size(super::arguments::int(&n, "tojson")?);
            run.makes(n)?;
            Some(Text::own(" ".repeat(n)))
        }
    };
    let (item, key) = match separators {
        None | Some(Value::None) => (Text::own(if indent.is_some() { "," } else { ", " }), Text::own(": ")),
        Some(pair) => match pair.iterate()?.items.as_slice() {
            [Value::Str(item), Value::Str(key)] => (item.clone(), key.clone()),
            _ => return Err(error("`separators` is a pair of strings")),
        },
    };
    let is = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let style = Style { ascii: is(ascii), indent, item, key, sort: is(sort) };
    let mut out = TextBuilder::default();
    style.write(run, &mut out, value, 0)?;
    run.made(out.finish())
}

impl Style {
    fn write(&self, run: &mut Run, out: &mut TextBuilder, value: &Value, level: usize) -> Result<()> {
        run.step()?;
        if out.n_bytes() > print::MOST_BYTES {
            return Err(super::error::refused("a string of more than 64 MiB"));
        }
        match value {
            Value::None => out.own("null"),
            Value::Bool(b) => out.own(if *b { "true" } else { "false" }),
            Value::Int(n, foreign) => out.push(&n.to_string(), *foreign),
            Value::Float(x, foreign) => out.push(&float(*x), *foreign),
            Value::Str(text) => {
                run.reads(text.n_bytes())?;
                self.string(out, text);
            }
            Value::List(list) | Value::Tuple(list) | Value::Iter(list, super::value::Iter::Group) => {
                out.own("[");
                for (i, item) in list.items.iter().enumerate() {
                    self.between(out, i, level);
                    self.write(run, out, item, level + 1)?;
                }
                self.close(out, list.items.is_empty(), level, "]");
            }
            Value::Dict(dict) => {
                let mut pairs: Vec<&(Value, Value)> = dict.pairs.iter().collect();
                if self.sort {
                    self.sort(run, &mut pairs)?;
                }
                out.own("{");
                for (i, (key, value)) in pairs.into_iter().enumerate() {
                    self.between(out, i, level);
                    self.string(out, &name(key)?);
                    out.push_text(&self.key);
                    self.write(run, out, value, level + 1)?;
                }
                self.close(out, dict.pairs.is_empty(), level, "}");
            }
            other => {
                return Err(error(format!("Object of type {} is not JSON serializable", other.type_name())));
            }
        }
        Ok(())
    }

    fn sort(&self, run: &mut Run, pairs: &mut [&(Value, Value)]) -> Result<()> {
        let mut failed = None;
        pairs.sort_by(|(a, _), (b, _)| match operators::order(run, "<", a, b) {
            Ok(order) => order.unwrap_or(std::cmp::Ordering::Equal),
            Err(e) => {
                failed.get_or_insert(e);
                std::cmp::Ordering::Equal
            }
        });
        failed.map_or(Ok(()), Err)
    }

    fn between(&self, out: &mut TextBuilder, i: usize, level: usize) {
        if i > 0 {
            out.push_text(&self.item);
        }
        self.line(out, level + 1);
    }

    fn close(&self, out: &mut TextBuilder, is_empty: bool, level: usize, close: &str) {
        if !is_empty {
            self.line(out, level);
        }
        out.own(close);
    }

    fn line(&self, out: &mut TextBuilder, level: usize) {
        if let Some(indent) = &self.indent {
            out.own("\n");
            (0..level).for_each(|_| out.push_text(indent));
        }
    }

    fn string(&self, out: &mut TextBuilder, text: &Text) {
        out.own("\"");
        out.push_escaped(text, |c| {
            Some(match c {
                '"' => "\\\"".into(),
                '\\' => "\\\\".into(),
                '\n' => "\\n".into(),
                '\r' => "\\r".into(),
                '\t' => "\\t".into(),
                '\x08' => "\\b".into(),
                '\x0c' => "\\f".into(),
                c if c < ' ' => format!("\\u{:04x}", c as u32).into(),
                c if self.ascii && (!c.is_ascii() || c == '\x7f') => {
                    let mut units = [0; 2];
                    let units = c.encode_utf16(&mut units).iter();
                    units.map(|unit| format!("\\u{unit:04x}")).collect::<String>().into()
                }
                _ => return None,
            })
        });
        out.own("\"");
    }
}

/// A key, which JSON has as strings only.
fn name(key: &Value) -> Result<Text> {
    Ok(match key {
        Value::Str(text) => text.clone(),
        Value::None => Text::own("null"),
        Value::Bool(b) => Text::own(if *b { "true" } else { "false" }),
        Value::Int(n, foreign) => Text::of(n.to_string(), *foreign),
        Value::Float(x, foreign) => Text::of(float(*x), *foreign),
        other => {
            let reason = format!("keys must be str, int, float, bool or None, not {}", other.type_name());
            return Err(error(reason));
        }
    })
}

fn float(x: f64) -> String {
    match x {
        x if x.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        x => float_repr(x),
    }
}
