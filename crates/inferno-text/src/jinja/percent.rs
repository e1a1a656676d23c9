//! `format % values`

use super::error::{Result, error};
use super::format::{exponential, fixed, general};
use super::number::Number;
use super::print;
use super::run::Run;
use super::text::{Text, TextBuilder};
use super::value::Value;

/// The widest a field may be.
const WIDTH: usize = 1 << 20;

#[derive(Debug, Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Values to format, in order.
struct Values<'v> {
    all: &'v Value,
    next: usize,
    used: bool,
}

impl Values<'_> {
    fn next(&mut self) -> Result<Value> {
        let lacks = || error("not enough arguments for format string");
        self.used = true;
        self.next += 1;
        match self.all {
            Value::Tuple(items) => items.items.get(self.next - 1).cloned().ok_or_else(lacks),
            one if self.next == 1 => Ok(one.clone()),
            _ => Err(lacks()),
        }
    }
}

pub(super) fn format(run: &mut Run, format: &Text, values: &Value) -> Result<Value> {
    let s = format.as_str();
    let mut out = TextBuilder::default();
    let mut values = Values { all: values, next: 0, used: false };
    let mut at = 0;
    while let Some(found) = s[at..].find('%') {
        out.push_range(format, at..at + found);
        at += found + 1;
        run.step()?;
        let keyed = match s[at..].strip_prefix('(') {
            Some(after) => {
                let end = after.find(')').ok_or_else(|| error("incomplete format key"))?;
                let key = &after[..end];
                at += end + 2;
                let Value::Dict(dict) = values.all else { return Err(error("format requires a mapping")) };
                values.used = true;
                Some(dict.get_str(key).cloned().ok_or_else(|| error(format!("KeyError: '{key}'")))?)
            }
            None => None,
        };
        let (spec, kind, end) = spec(s, at, &mut values)?;
        let start = at;
        at = end;
        if kind == '%' {
            out.push_range(format, start.max(end - 1)..end);
            continue;
        }
        let value = match keyed {
            Some(value) => value,
            None => values.next()?,
        };
        let shown = shown(run, &spec, kind, &value)?;
        run.makes(shown.n_bytes())?;
        out.push_text(&shown);
    }
    out.push_range(format, at..s.len());
    let is_left_over = match values.all {
        Value::Tuple(items) => values.next < items.items.len(),
        Value::Dict(_) | Value::List(_) | Value::Undefined(_) => false,
        _ => !values.used,
    };
    if is_left_over {
        return Err(error("not all arguments converted during string formatting"));
    }
    run.made(out.finish())
}

/// Flags, width, precision and conversion, and where they end.
fn spec(s: &str, mut at: usize, values: &mut Values<'_>) -> Result<(Spec, char, usize)> {
    let mut of = Spec::default();
    let peek = |at: usize| s[at..].chars().next().ok_or_else(|| error("incomplete format"));
    loop {
        match peek(at)? {
            '-' => of.left = true,
            '+' => of.plus = true,
            ' ' => of.space = true,
            '#' => of.alternate = true,
            '0' => of.zero = true,
            _ => break,
        }
        at += 1;
    }
    let number = |at: &mut usize, values: &mut Values<'_>| -> Result<i128> {
        if peek(*at)? == '*' {
            *at += 1;
            return values.next()?.as_index().ok_or_else(|| error("* wants int"));
        }
        let end = s[*at..].find(|c: char| !c.is_ascii_digit()).map_or(s.len(), |n| *at + n);
        let n = if end == *at { 0 } else { s[*at..end].parse().unwrap_or(i128::MAX) };
        *at = end;
        Ok(n)
    };
    let width = number(&mut at, values)?;
    of.left |= width < 0;
    let bounded = |n: i128| match usize::try_from(n.unsigned_abs()) {
        Ok(n) if n <= WIDTH => Ok(n),
        _ => Err(error("a field is too wide")),
    };
    of.width = bounded(width)?;
    if peek(at)? == '.' {
        at += 1;
        of.precision = Some(bounded(number(&mut at, values)?.max(0))?);
    }
    while matches!(peek(at)?, 'h' | 'l' | 'L') {
        at += 1;
    }
    let kind = peek(at)?;
    Ok((of, kind, at + kind.len_utf8()))
}

fn shown(run: &mut Run, of: &Spec, kind: char, value: &Value) -> Result<Text> {
    let foreign = value.is_foreign();
    let text = match kind {
        's' | 'r' | 'a' => {
            let text = match kind {
                's' => print::to_text(value)?,
                'a' => print::to_ascii(value)?,
                _ => {
                    let mut repr = TextBuilder::default();
                    print::write_repr(&mut repr, value)?;
                    repr.finish()
                }
            };
            match of.precision {
                Some(n) => text.sub(0..text.byte_of(n)),
                None => text,
            }
        }
        'c' => match value {
            Value::Str(text) if text.n_chars() == 1 => text.clone(),
            other => {
                let c = other.as_index().and_then(|n| u32::try_from(n).ok()).and_then(char::from_u32);
                Text::of(c.ok_or_else(|| error("%c requires int or char"))?.to_string(), foreign)
            }
        },
        'd' | 'i' | 'u' | 'o' | 'x' | 'X' => {
            let n = match Number::of(value) {
                Some(Number::Int(n)) => n,
                Some(Number::Float(x)) if "diu".contains(kind) && x.is_finite() => x.trunc() as i128,
                _ => {
                    let need = if "diu".contains(kind) { "a real number" } else { "an integer" };
                    return Err(error(format!(
                        "%{kind} format: {need} is required, not {}",
                        value.type_name()
                    )));
                }
            };
            let magnitude = n.unsigned_abs();
            let (prefix, digits) = match kind {
                'o' => ("0o", format!("{magnitude:o}")),
                'x' => ("0x", format!("{magnitude:x}")),
                'X' => ("0X", format!("{magnitude:X}")),
                _ => ("", magnitude.to_string()),
            };
            let zeros = of.precision.unwrap_or(0).saturating_sub(digits.len());
            let prefix = if of.alternate { prefix } else { "" };
            return Ok(numeric(of, n < 0, prefix, &("0".repeat(zeros) + &digits), foreign));
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let x = Number::of(value)
                .ok_or_else(|| error(format!("must be real number, not {}", value.type_name())))?;
            let x = x.as_f64();
            let (magnitude, precision) = (x.abs(), of.precision.unwrap_or(6));
            let digits = match kind.to_ascii_lowercase() {
                _ if x.is_nan() => "nan".into(),
                _ if x.is_infinite() => "inf".into(),
                'f' => fixed(magnitude, precision, of.alternate),
                'e' => exponential(magnitude, precision, of.alternate),
                _ => general(magnitude, precision, of.alternate),
            };
            let digits = if kind.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
            return Ok(numeric(of, x.is_sign_negative() && !x.is_nan(), "", &digits, foreign));
        }
        other => return Err(error(format!("unsupported format character '{other}'"))),
    };
    let missing = of.width.saturating_sub(text.n_chars());
    let (left, right) = if of.left { (0, missing) } else { (missing, 0) };
    match super::strings::padded(run, &text, &Text::own(" "), left, right)? {
        Value::Str(text) => Ok(text),
        _ => Err(error("a text was expected")),
    }
}

fn numeric(of: &Spec, negative: bool, prefix: &str, digits: &str, foreign: bool) -> Text {
    let sign = match negative {
        true => "-",
        false if of.plus => "+",
        false if of.space => " ",
        false => "",
    };
    let missing = of.width.saturating_sub(sign.len() + prefix.len() + digits.len());
    let text = if of.left {
        format!("{sign}{prefix}{digits}{}", " ".repeat(missing))
    } else if of.zero {
        format!("{sign}{prefix}{}{digits}", "0".repeat(missing))
    } else {
        format!("{}{sign}{prefix}{digits}", " ".repeat(missing))
    };
    Text::of(text, foreign)
}
