//! `str.format` and its mini-language.

use super::ast::Name;
use super::error::{Result, error};
use super::number::{Number, float_repr};
use super::run::Run;
use super::text::{Text, TextBuilder};
use super::value::Value;
use super::{print, strings};

/// Maximum nesting of fields in specifications.
const NESTING: usize = 2;
/// The widest a field may be.
const WIDTH: usize = 1 << 20;

pub(super) fn format(run: &mut Run, format: &Text, pos: &[Value], named: &[(Name, Value)]) -> Result<Value> {
    let mut out = TextBuilder::default();
    // The next field without a number; none once fields have numbers.
    let mut next = Some(0);
    write(run, &mut out, format, pos, named, &mut next, NESTING)?;
    run.made(out.finish())
}

fn write(
    run: &mut Run,
    out: &mut TextBuilder,
    format: &Text,
    pos: &[Value],
    named: &[(Name, Value)],
    next: &mut Option<usize>,
    nesting: usize,
) -> Result<()> {
    let s = format.as_str();
    let mut at = 0;
    while let Some(found) = s[at..].find(['{', '}']) {
        let brace = at + found;
        out.push_range(format, at..brace);
        let c = &s[brace..brace + 1];
        if s[brace + 1..].starts_with(c) {
            out.push_range(format, brace..brace + 1);
            at = brace + 2;
            continue;
        }
        if c == "}" {
            return Err(error("Single '}' encountered in format string"));
        }
        let mut depth = 0;
        let end = s[brace..].char_indices().find(|&(_, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        let (len, _) = end.ok_or_else(|| error("expected '}' before end of string"))?;
        run.step()?;
        let end = brace + len;
        let (value, spec) = field(run, format, brace + 1..end, pos, named, next, nesting)?;
        let shown = formatted(run, &value, &spec)?;
        run.makes(shown.n_bytes())?;
        out.push_text(&shown);
        at = end + 1;
    }
    out.push_range(format, at..s.len());
    Ok(())
}

/// A field's value, converted, and its specification.
fn field(
    run: &mut Run,
    format: &Text,
    range: std::ops::Range<usize>,
    pos: &[Value],
    named: &[(Name, Value)],
    next: &mut Option<usize>,
    nesting: usize,
) -> Result<(Value, String)> {
    let inside = &format.as_str()[range.clone()];
    let (name, spec_at) = match inside.find(':') {
        Some(at) => (&inside[..at], Some(range.start + at + 1)),
        None => (inside, None),
    };
    let (name, conversion) = match name.split_once('!') {
        Some((name, conversion)) => (name, Some(conversion)),
        None => (name, None),
    };
    let mut value = lookup(run, name, pos, named, next)?;
    let spec = match spec_at {
        None => String::new(),
        Some(_) if nesting == 0 => return Err(error("Max string recursion exceeded")),
        Some(at) => {
            let mut spec = TextBuilder::default();
            write(run, &mut spec, &format.sub(at..range.end), pos, named, next, nesting - 1)?;
            spec.finish().as_str().to_owned()
        }
    };
    if let Some(conversion) = conversion {
        let mut repr = TextBuilder::default();
        value = Value::Str(match conversion {
            "s" => print::to_text(&value)?,
            "r" => {
                print::write_repr(&mut repr, &value)?;
                repr.finish()
            }
            "a" => print::to_ascii(&value)?,
            other => return Err(error(format!("Unknown conversion specifier {other}"))),
        });
    }
    Ok((value, spec))
}

/// `0.name[key]`
fn lookup(
    run: &mut Run,
    name: &str,
    pos: &[Value],
    named: &[(Name, Value)],
    next: &mut Option<usize>,
) -> Result<Value> {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    let (first, mut rest) = name.split_at(end);
    let mut value = match first.parse::<usize>() {
        _ if first.is_empty() => {
            let Some(idx) = next.as_mut() else {
                return Err(error(
                    "cannot switch from manual field specification to automatic field numbering",
                ));
            };
            *idx += 1;
            pos.get(*idx - 1).cloned()
        }
        Ok(idx) => {
            if next.is_some_and(|idx| idx > 0) {
                return Err(error(
                    "cannot switch from automatic field numbering to manual field specification",
                ));
            }
            *next = None;
            pos.get(idx).cloned()
        }
        Err(_) => named.iter().find(|(n, _)| **n == *first).map(|(_, value)| value.clone()),
    }
    .ok_or_else(|| match first.parse::<usize>().is_ok() || first.is_empty() {
        true => error("Replacement index out of range for positional args tuple"),
        false => error(format!("KeyError: '{first}'")),
    })?;
    while !rest.is_empty() {
        value = if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            rest = &after[end..];
            run.attribute(&value, &after[..end])?
        } else {
            let after = &rest[1..];
            let end = after.find(']').ok_or_else(|| error("Missing ']' in format string"))?;
            rest = &after[end + 1..];
            let key = &after[..end];
            let key = key.parse::<i128>().map_or_else(|_| Value::str(key), Value::int);
            run.item(&value, &key)?
        };
        if value.is_undefined() {
            return Err(value.undefined_error());
        }
    }
    Ok(value)
}

/// `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`
#[derive(Debug, Default, Clone)]
pub(super) struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

fn number(chars: &mut &str) -> Result<Option<usize>> {
    let end = chars.find(|c: char| !c.is_ascii_digit()).unwrap_or(chars.len());
    let (digits, rest) = chars.split_at(end);
    *chars = rest;
    match digits.parse::<usize>() {
        Ok(n) if n <= WIDTH => Ok(Some(n)),
        Ok(_) => Err(error("a field is too wide")),
        Err(_) if digits.is_empty() => Ok(None),
        Err(_) => Err(error("Too many decimal digits in format string")),
    }
}

impl Spec {
    fn parse(spec: &str) -> Result<Spec> {
        let mut of = Spec::default();
        let mut rest = spec;
        let mut chars = rest.chars();
        let is_align = |c: Option<char>| c.is_some_and(|c| "<>=^".contains(c));
        let (first, second) = (chars.next(), chars.next());
        if is_align(second) {
            (of.fill, of.align) = (first, second);
            rest = chars.as_str();
        } else if is_align(first) {
            of.align = first;
            rest = &rest[1..];
        }
        let mut take = |set: &str| {
            let c = rest.chars().next().filter(|c| set.contains(*c))?;
            rest = &rest[1..];
            Some(c)
        };
        of.sign = take("+- ");
        take("z");
        of.alternate = take("#").is_some();
        if take("0").is_some() {
            of.fill = of.fill.or(Some('0'));
            of.align = of.align.or(Some('='));
        }
        of.width = number(&mut rest)?.unwrap_or(0);
        let mut take = |set: &str| {
            let c = rest.chars().next().filter(|c| set.contains(*c))?;
            rest = &rest[1..];
            Some(c)
        };
        of.grouping = take(",_");
        if take(".").is_some() {
            of.precision =
                Some(number(&mut rest)?.ok_or_else(|| error("Format specifier missing precision"))?);
        }
        let mut chars = rest.chars();
        of.kind = chars.next();
        if !chars.as_str().is_empty() {
            return Err(error(format!("Invalid format specifier '{spec}'")));
        }
        Ok(of)
    }
}

fn formatted(run: &mut Run, value: &Value, spec: &str) -> Result<Text> {
    if spec.is_empty() {
        return print::to_text(value);
    }
    let mut of = Spec::parse(spec)?;
    let unknown = |of: &Spec| {
        let kind = of.kind.unwrap_or(' ');
        error(format!("Unknown format code '{kind}' for object of type '{}'", value.type_name()))
    };
    match (value, Number::of(value)) {
        (Value::Str(text), _) => {
            if of.kind.is_some_and(|kind| kind != 's') {
                return Err(unknown(&of));
            }
            if of.align == Some('=') && of.fill != Some('0') {
                return Err(error("'=' alignment not allowed in string format specifier"));
            }
            if of.align == Some('=') {
                of.align = Some('<');
            }
            let text = match of.precision {
                Some(n) => text.sub(0..text.byte_of(n)),
                None => text.clone(),
            };
            pad(run, &of, &text, '<')
        }
        (Value::Bool(_), _) if of.kind.is_none() && of.precision.is_none() => {
            // As an integer, with other messages.
            let n = value.as_index().unwrap_or(0);
            let text = Text::own(integer(n, &of)?.concat());
            pad(run, &of, &text, '>')
        }
        (_, Some(of_number)) => {
            let is_float_kind = of.kind.is_some_and(|kind| "eEfFgG%".contains(kind));
            let parts = match of_number {
                Number::Int(n) if !is_float_kind => {
                    if of.kind.is_some_and(|kind| !"bcdnoxX".contains(kind)) {
                        return Err(unknown(&of));
                    }
                    integer(n, &of)?
                }
                number => {
                    if of.kind.is_some_and(|kind| !"eEfFgGn%".contains(kind)) {
                        return Err(unknown(&of));
                    }
                    float(number.as_f64(), &of)
                }
            };
            let foreign = value.is_foreign();
            let [sign, digits] = parts;
            if of.align == Some('=') {
                let n = sign.chars().count() + digits.chars().count();
                let missing = of.width.saturating_sub(n);
                let fill = of.fill.unwrap_or(' ');
                let digits = match (of.grouping, fill) {
                    // Zeros are grouped like other digits.
                    (Some(group), '0') if missing > 0 => grouped_to(&digits, group, of.width - sign.len()),
                    _ => std::iter::repeat_n(fill, missing).collect::<String>() + &digits,
                };
                return Ok(Text::of(sign + &digits, foreign));
            }
            pad(run, &of, &Text::of(sign + &digits, foreign), '>')
        }
        _ => Err(error(format!("unsupported format string passed to {}.__format__", value.type_name()))),
    }
}

fn pad(run: &mut Run, of: &Spec, text: &Text, default: char) -> Result<Text> {
    let missing = of.width.saturating_sub(text.n_chars());
    let left = match of.align.unwrap_or(default) {
        '<' => 0,
        '^' => missing / 2,
        _ => missing,
    };
    let fill = Text::own(of.fill.unwrap_or(' ').to_string());
    match strings::padded(run, text, &fill, left, missing - left)? {
        Value::Str(text) => Ok(text),
        _ => Err(error("a text was expected")),
    }
}

fn sign(negative: bool, of: &Spec) -> &'static str {
    match (negative, of.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    }
}

/// Sign with prefix, and digits.
fn integer(n: i128, of: &Spec) -> Result<[String; 2]> {
    if of.precision.is_some() {
        return Err(error("Precision not allowed in integer format specifier"));
    }
    let magnitude = n.unsigned_abs();
    let (prefix, digits, every) = match of.kind {
        Some('b') => ("0b", format!("{magnitude:b}"), 4),
        Some('o') => ("0o", format!("{magnitude:o}"), 4),
        Some('x') => ("0x", format!("{magnitude:x}"), 4),
        Some('X') => ("0X", format!("{magnitude:X}"), 4),
        Some('c') => {
            let c = u32::try_from(n).ok().and_then(char::from_u32);
            let c = c.ok_or_else(|| error("%c arg not in range(0x110000)"))?;
            return Ok([String::new(), c.to_string()]);
        }
        _ => ("", magnitude.to_string(), 3),
    };
    let digits = of.grouping.map_or(digits.clone(), |group| grouped(&digits, group, every));
    let prefix = if of.alternate { prefix } else { "" };
    Ok([format!("{}{prefix}", sign(n < 0, of)), digits])
}

fn grouped(digits: &str, group: char, every: usize) -> String {
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(every) {
            out.push(group);
        }
        out.push(c);
    }
    out
}

/// Digits with zeros in front, grouped by three, of at least this width.
fn grouped_to(digits: &str, group: char, width: usize) -> String {
    let end = digits.find(['.', 'e', '%']).unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(end);
    let mut plain: String = whole.chars().filter(|&c| c != group).collect();
    loop {
        let shown = grouped(&plain, group, 3);
        if shown.len() + rest.len() >= width {
            return shown + rest;
        }
        plain.insert(0, '0');
    }
}

/// Sign and digits of a float.
fn float(x: f64, of: &Spec) -> [String; 2] {
    let kind = of.kind.unwrap_or(' ');
    let magnitude = x.abs();
    let precision = of.precision.unwrap_or(6);
    let mut digits = if !x.is_finite() {
        let word = if x.is_nan() { "nan" } else { "inf" };
        if kind.is_ascii_uppercase() { word.to_uppercase() } else { word.to_owned() }
    } else {
        match kind {
            'f' | 'F' => fixed(magnitude, precision, of.alternate),
            '%' => fixed(magnitude * 100.0, precision, of.alternate),
            'e' | 'E' => exponential(magnitude, precision, of.alternate),
            'g' | 'G' | 'n' => general(magnitude, precision, of.alternate),
            _ => match of.precision {
                None => float_repr(magnitude),
                Some(n) => {
                    let text = general_from(magnitude, n, of.alternate, true);
                    if text.contains(['.', 'e']) { text } else { text + ".0" }
                }
            },
        }
    };
    if kind.is_ascii_uppercase() {
        digits = digits.to_uppercase();
    }
    if let Some(group) = of.grouping {
        let end = digits.find(['.', 'e', 'E']).unwrap_or(digits.len());
        digits = grouped(&digits[..end], group, 3) + &digits[end..];
    }
    if kind == '%' {
        digits.push('%');
    }
    [sign(x.is_sign_negative() && !x.is_nan(), of).to_owned(), digits]
}

pub(super) fn fixed(x: f64, precision: usize, alternate: bool) -> String {
    let text = format!("{x:.precision$}");
    if alternate && precision == 0 { text + "." } else { text }
}

pub(super) fn exponential(x: f64, precision: usize, alternate: bool) -> String {
    let text = format!("{x:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let dot = if alternate && precision == 0 { "." } else { "" };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}{dot}e{sign}{:02}", exponent.abs())
}

pub(super) fn general(x: f64, precision: usize, alternate: bool) -> String {
    general_from(x, precision, alternate, false)
}

/// `%g`; as `repr` the exponent comes one digit sooner.
fn general_from(x: f64, precision: usize, alternate: bool, as_repr: bool) -> String {
    let precision = precision.max(1);
    let scientific = format!("{x:.*e}", precision - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let most = precision as i32 - i32::from(as_repr && x != 0.0);
    let text = if exponent < -4 || exponent >= most {
        exponential(x, precision - 1, alternate)
    } else {
        fixed(x, (precision as i32 - 1 - exponent).max(0) as usize, alternate)
    };
    if alternate || !text.contains('.') {
        return text;
    }
    let end = text.find('e').unwrap_or(text.len());
    let (digits, exponent) = text.split_at(end);
    format!("{}{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
}
