//! Python's `str` and `repr`.

use super::error::{Result, refused};
use super::number::float_repr;
use super::text::{Text, TextBuilder};
use super::value::{Function, Iter, Value};

/// Bytes of one text that an operation may make.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// Python's `str(value)`.
pub(super) fn to_text(value: &Value) -> Result<Text> {
    if let Value::Str(text) = value {
        return Ok(text.clone());
    }
    let mut out = TextBuilder::default();
    write(&mut out, value)?;
    Ok(out.finish())
}

/// Appends `str(value)`.
pub(super) fn write(out: &mut TextBuilder, value: &Value) -> Result<()> {
    match value {
        Value::Str(text) => {
            out.push_text(text);
            Ok(())
        }
        Value::Undefined(_) => Ok(()),
        other => write_repr(out, other),
    }
}

/// Appends `repr(value)`.
pub(super) fn write_repr(out: &mut TextBuilder, value: &Value) -> Result<()> {
    if out.n_bytes() > MOST_BYTES {
        return Err(refused("a string of more than 64 MiB"));
    }
    match value {
        Value::Undefined(_) => out.own("Undefined"),
        Value::None => out.own("None"),
        Value::Bool(true) => out.own("True"),
        Value::Bool(false) => out.own("False"),
        Value::Int(n, foreign) => out.push(&n.to_string(), *foreign),
        Value::Float(x, foreign) => out.push(&float_repr(*x), *foreign),
        Value::Str(text) => write_quoted(out, text, false),
        Value::Bytes(bytes, foreign) => {
            out.own("b");
            let latin: String = bytes.iter().map(|&b| char::from(b)).collect();
            write_quoted(out, &Text::of(latin, *foreign), true);
        }
        Value::List(list) => write_all(out, "[", &list.items, "]")?,
        Value::Tuple(list) => {
            write_all(out, "(", &list.items, if list.items.len() == 1 { ",)" } else { ")" })?
        }
        Value::Iter(_, Iter::Generator) => out.own("<generator object>"),
        Value::Iter(list, Iter::Group) => write_all(out, "(", &list.items, ")")?,
        Value::Iter(list, kind) => {
            let name = match kind {
                Iter::Keys => "dict_keys([",
                Iter::Values => "dict_values([",
                _ => "dict_items([",
            };
            write_all(out, name, &list.items, "])")?;
        }
        Value::Dict(dict) => {
            out.own("{");
            for (i, (key, value)) in dict.pairs.iter().enumerate() {
                if i > 0 {
                    out.own(", ");
                }
                write_repr(out, key)?;
                out.own(": ");
                write_repr(out, value)?;
            }
            out.own("}");
        }
        Value::Range(range) => {
            let stop = range.start + range.step * range.len as i128;
            match range.step {
                1 => out.own(&format!("range({}, {stop})", range.start)),
                step => out.own(&format!("range({}, {stop}, {step})", range.start)),
            }
        }
        Value::Namespace(values) => {
            out.own("<Namespace {");
            for (i, (name, value)) in values.borrow().iter().enumerate() {
                out.own(if i > 0 { ", " } else { "" });
                write_quoted(out, &Text::own(&**name), false);
                out.own(": ");
                // What holds state may hold this.
                if value.has_state() { out.own("...") } else { write_repr(out, value)? }
            }
            out.own("}>");
        }
        Value::Function(function) => out.own(match function {
            Function::Range => "<class 'range'>",
            Function::Dict => "<class 'dict'>",
            Function::Namespace => "<class 'jinja2.utils.Namespace'>",
            Function::Cycler => "<class 'jinja2.utils.Cycler'>",
            Function::Joiner => "<class 'jinja2.utils.Joiner'>",
            Function::RaiseException => "<function raise_exception>",
            Function::StrftimeNow => "<function strftime_now>",
        }),
        Value::Method(of) => out.own(&format!("<built-in method {} of {} object>", of.1, of.0.type_name())),
        Value::Macro(of) => out.own(&format!("<Macro '{}'>", of.definition.name)),
        Value::Loop(of) => {
            out.own(&format!("<LoopContext {}/{}>", of.idx.get() + 1, of.items.items.len()));
        }
        Value::Cycler(_) => out.own("<Cycler>"),
        Value::Joiner(_) => out.own("<Joiner>"),
    }
    Ok(())
}

fn write_all(out: &mut TextBuilder, open: &str, items: &[Value], close: &str) -> Result<()> {
    out.own(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.own(", ");
        }
        write_repr(out, item)?;
    }
    out.own(close);
    Ok(())
}

fn write_quoted(out: &mut TextBuilder, text: &Text, is_bytes: bool) {
    let quote = if text.as_str().contains('\'') && !text.as_str().contains('"') { '"' } else { '\'' };
    out.push_char(quote, false);
    out.push_escaped(text, |c| {
        let code = c as u32;
        Some(match c {
            '\\' => "\\\\".into(),
            '\n' => "\\n".into(),
            '\r' => "\\r".into(),
            '\t' => "\\t".into(),
            c if c == quote => format!("\\{c}").into(),
            c if c.is_ascii() && !c.is_ascii_control() => return None,
            c if !is_bytes && super::unicode::is_printable(c) => return None,
            _ if code < 0x100 => format!("\\x{code:02x}").into(),
            _ if code < 0x1_0000 => format!("\\u{code:04x}").into(),
            _ => format!("\\U{code:08x}").into(),
        })
    });
    out.push_char(quote, false);
}

/// Python's `ascii(value)`.
pub(super) fn to_ascii(value: &Value) -> Result<Text> {
    let mut out = TextBuilder::default();
    write_repr(&mut out, value)?;
    let repr = out.finish();
    Ok(repr.map_runs(|run| {
        run.chars()
            .map(|c| match c as u32 {
                code if code < 0x80 => c.to_string(),
                code if code < 0x100 => format!("\\x{code:02x}"),
                code if code < 0x1_0000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            })
            .collect()
    }))
}
