//! Filters on texts and single values; those on sequences are in `sequences.rs`.

use super::arguments::{Given, int, opt_int, opt_text, required, size};
use super::error::{Result, error};
use super::number::{Number, parse_float, parse_int, round, round_int};
use super::print::to_text;
use super::run::Run;
use super::text::{Text, TextBuilder};
use super::value::Value;
use super::{json, percent, sequences, strings, unicode, wrap};

/// Names of filters.
pub(super) const NAMES: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
    "wordwrap",
    "xmlattr",
    "random",
    "urlize",
];

pub(super) fn filter(run: &mut Run, name: &str, value: Value, given: Given) -> Result<Value> {
    match name {
        "default" | "d" => {
            let [default, boolean] = given.bind(name, ["default_value", "boolean"])?;
            let absent = value.is_undefined() || boolean.is_some_and(|b| b.is_true()) && !value.is_true();
            Ok(if absent { default.unwrap_or_else(|| Value::str("")) } else { value })
        }
        "abs" => match Number::of(&value) {
            Some(Number::Int(n)) => n
                .checked_abs()
                .map(|n| Value::Int(n, value.is_foreign()))
                .ok_or_else(|| error("an integer does not fit 128 bits")),
            Some(Number::Float(x)) => Ok(Value::Float(x.abs(), value.is_foreign())),
            None if value.is_undefined() => Err(value.undefined_error()),
            None => Err(error(format!("bad operand type for abs(): '{}'", value.type_name()))),
        },
        "int" => to_int(&value, given),
        "float" => {
            let [default] = given.bind(name, ["default"])?;
            if value.is_undefined() {
                return Err(value.undefined_error());
            }
            let found = match &value {
                Value::Str(text) => parse_float(text.as_str()),
                other => Number::of(other).map(Number::as_f64),
            };
            let foreign = value.is_foreign();
            Ok(found
                .map_or_else(|| default.unwrap_or(Value::Float(0.0, false)), |x| Value::Float(x, foreign)))
        }
        "round" => {
            let [precision, method] = given.bind(name, ["precision", "method"])?;
            let precision = precision.map_or(Ok(0), |p| int(&p, name))?.clamp(-400, 400) as i32;
            let method = opt_text(method, name)?.map_or("common".to_owned(), |m| m.as_str().to_owned());
            rounded(&value, precision, &method)
        }
        "string" => to_text(&value).and_then(|text| run.made(text)),
        "safe" => to_text(&value).and_then(|text| run.made(text.as_markup())),
        "tojson" => {
            let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
            json::filter(run, &value, given.bind(name, names)?)
        }
        "attr" => {
            let [attribute] = given.bind(name, ["name"])?;
            let attribute = to_text(&required(attribute, name, "name")?)?;
            match value {
                // Attributes alone, no keys.
                Value::Dict(_) if !super::methods::has(&value, attribute.as_str()) => {
                    Ok(Value::undefined(&format!("'dict object' has no attribute '{}'", attribute.as_str())))
                }
                value => run.attribute(&value, attribute.as_str()),
            }
        }
        "filesizeformat" => {
            let [binary] = given.bind(name, ["binary"])?;
            let number = match &value {
                Value::Str(text) => parse_float(text.as_str()),
                other => Number::of(other).map(Number::as_f64),
            };
            let number = number.ok_or_else(|| error("`filesizeformat` takes a number"))?;
            Ok(Value::Str(Text::of(
                file_size(number, binary.is_some_and(|b| b.is_true())),
                value.is_foreign(),
            )))
        }
        "pprint" => {
            let [_verbose] = given.bind(name, ["verbose"])?;
            let mut out = TextBuilder::default();
            super::print::write_repr(&mut out, &value)?;
            run.made(out.finish())
        }
        "xmlattr" => {
            let [space] = given.bind(name, ["autospace"])?;
            xml_attributes(run, &value, space.is_none_or(|space| space.is_true()))
        }
        "urlencode" => match &value {
            Value::Str(text) => run.made(text.map_runs(|run| url_quoted(run, "/"))),
            other => {
                let pairs = if matches!(other, Value::Dict(_)) {
                    super::methods::view(run, other, "items")?.iterate()?
                } else if other.is_iterable() {
                    other.iterate()?
                } else {
                    return run.made(to_text(other)?.map_runs(|run| url_quoted(run, "/")));
                };
                let mut out = TextBuilder::default();
                for (i, pair) in pairs.items.iter().enumerate() {
                    let pair = pair.iterate()?;
                    let [key, value] = pair.items.as_slice() else {
                        return Err(error("`urlencode` takes pairs"));
                    };
                    out.own(if i > 0 { "&" } else { "" });
                    let quoted = |value: &Value| {
                        Ok::<_, super::error::Fail>(
                            to_text(value)?.map_runs(|run| url_quoted(run, "").replace("%20", "+")),
                        )
                    };
                    out.push_text(&quoted(key)?);
                    out.own("=");
                    out.push_text(&quoted(value)?);
                }
                run.made(out.finish())
            }
        },
        "format" => {
            let format = to_text(&value)?;
            let values = match (given.pos.is_empty(), given.named.is_empty()) {
                (false, false) => {
                    return Err(error("can't handle positional and keyword arguments at the same time"));
                }
                (_, true) => Value::tuple(given.pos)?,
                _ => {
                    Value::dict(given.named.into_iter().map(|(n, value)| (Value::str(&*n), value)).collect())?
                }
            };
            percent::format(run, &format, &values)
        }
        "upper" | "lower" | "capitalize" | "title" | "trim" | "replace" | "center" | "escape" | "e"
        | "forceescape" | "striptags" | "wordcount" | "indent" | "truncate" | "wordwrap" => {
            if name == "truncate" && !matches!(value, Value::Str(_)) && value.n_items()? <= 255 {
                return Ok(value);
            }
            let is_sized = matches!(name, "indent" | "truncate" | "wordwrap");
            if is_sized && !matches!(value, Value::Str(_)) {
                return Err(error(format!("`{name}` takes a string, not '{}'", value.type_name())));
            }
            let text = to_text(&value)?;
            run.reads(text.n_bytes())?;
            on_text(run, name, &text, given)
        }
        "random" => {
            Err(error("`random` would make prompts differ from one time to the next, it is not supported"))
        }
        "urlize" => Err(error("`urlize` is not supported")),
        _ => sequences::filter(run, name, value, given),
    }
}

fn on_text(run: &mut Run, name: &str, text: &Text, given: Given) -> Result<Value> {
    let done = match name {
        "upper" => text.map_chars(char::to_uppercase),
        "lower" => strings::lower(text),
        "capitalize" => strings::capitalize(text),
        "title" => {
            // Words begin behind these, and nowhere else.
            let mut begins = true;
            text.map_chars(|c| -> Vec<char> {
                let mapped = if begins { c.to_uppercase().collect() } else { c.to_lowercase().collect() };
                begins = unicode::is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
                mapped
            })
        }
        "trim" => {
            let [chars] = given.bind(name, ["chars"])?;
            let chars = opt_text(chars, name)?;
            strings::strip(text, chars.as_ref().map(Text::as_str), true, true)
        }
        "replace" => {
            let [old, new, count] = given.bind(name, ["old", "new", "count"])?;
            let old = to_text(&required(old, name, "old")?)?;
            let new = to_text(&required(new, name, "new")?)?;
            let most = opt_int(count.as_ref(), name)?.unwrap_or(-1);
            return strings::replace(run, text, &old, &new, usize::try_from(most).unwrap_or(usize::MAX));
        }
        "center" => {
            let [width] = given.bind(name, ["width"])?;
            let width = Value::int(width.map_or(Ok(80), |width| int(&width, name))?);
            return strings::call(run, text, "center", Given { pos: vec![width], named: Vec::new() });
        }
        "escape" | "e" if text.is_markup() => text.clone(),
        "escape" | "e" | "forceescape" => {
            run.makes(text.n_bytes().saturating_mul(5))?;
            text.map_runs(escaped).as_markup()
        }
        "striptags" => return strip_tags(run, text),
        "wordcount" => {
            let is_word = |c: char| c == '_' || unicode::is_alnum(c);
            let mut was_word = false;
            let starts = text.as_str().chars().filter(|&c| {
                let starts = is_word(c) && !was_word;
                was_word = is_word(c);
                starts
            });
            return Ok(Value::len_of(starts.count()));
        }
        "indent" => {
            let [width, first, blank] = given.bind(name, ["width", "first", "blank"])?;
            let is = |value: Option<Value>| value.is_some_and(|value| value.is_true());
            return wrap::indent(run, text, width.as_ref(), is(first), is(blank));
        }
        "truncate" => {
            let [length, kill, end, leeway] = given.bind(name, ["length", "killwords", "end", "leeway"])?;
            let length = length.map_or(Ok(255), |n| int(&n, name))?;
            let leeway = opt_int(leeway.as_ref(), name)?.unwrap_or(5);
            let end = opt_text(end, name)?.unwrap_or_else(|| Text::own("..."));
            return wrap::truncate(run, text, length, kill.is_some_and(|k| k.is_true()), &end, leeway);
        }
        _ => {
            let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
            let [width, long, with, hyphens] = given.bind(name, names)?;
            let width = size(width.map_or(Ok(79), |width| int(&width, name))?);
            let is = |value: Option<Value>| value.is_none_or(|value| value.is_true());
            let with = opt_text(with, name)?.unwrap_or_else(|| Text::own("\n"));
            return wrap::wrap(run, text, width, is(long), &with, is(hyphens));
        }
    };
    run.made(done)
}

fn to_int(value: &Value, given: Given) -> Result<Value> {
    let [default, base] = given.bind("int", ["default", "base"])?;
    if value.is_undefined() {
        return Err(value.undefined_error());
    }
    let base = base.map_or(Ok(10), |base| int(&base, "int"))?;
    let base = u32::try_from(base).ok().filter(|base| *base == 0 || (2..=36).contains(base));
    let base = base.ok_or_else(|| error("int() base must be >= 2 and <= 36, or 0"))?;
    let truncated = |x: f64| (x.is_finite() && x.abs() < 1.7e38).then_some(x.trunc() as i128);
    let found = match value {
        Value::Str(text) => {
            parse_int(text.as_str(), base).or_else(|| parse_float(text.as_str()).and_then(truncated))
        }
        other => match Number::of(other) {
            Some(Number::Int(n)) => Some(n),
            Some(Number::Float(x)) => truncated(x),
            None => None,
        },
    };
    let foreign = value.is_foreign();
    Ok(found.map_or_else(|| default.unwrap_or(Value::int(0)), |n| Value::Int(n, foreign)))
}

fn rounded(value: &Value, precision: i32, method: &str) -> Result<Value> {
    if !matches!(method, "common" | "ceil" | "floor") {
        return Err(error("method must be common, ceil or floor"));
    }
    let foreign = value.is_foreign();
    match (Number::of(value), method) {
        (Some(Number::Int(n)), "common") => Ok(Value::Int(round_int(n, precision)?, foreign)),
        (Some(Number::Float(x)), "common") => Ok(Value::Float(round(x, precision), foreign)),
        (Some(number), _) => {
            let scale = 10f64.powi(precision);
            let scaled = number.as_f64() * scale;
            let whole = if method == "ceil" { scaled.ceil() } else { scaled.floor() };
            Ok(Value::Float(whole / scale, foreign))
        }
        (None, _) if value.is_undefined() => Err(value.undefined_error()),
        (None, _) => Err(error(format!("type {} doesn't define __round__ method", value.type_name()))),
    }
}

fn file_size(bytes: f64, binary: bool) -> String {
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    let units = match binary {
        true => ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"],
        false => ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"],
    };
    if bytes == 1.0 {
        return "1 Byte".into();
    }
    if bytes < base {
        return format!("{} Bytes", bytes.trunc() as i128);
    }
    for (i, unit) in units.iter().enumerate() {
        let next = base.powi(i as i32 + 2);
        if bytes < next || i == units.len() - 1 {
            return format!("{:.1} {unit}", base * bytes / next);
        }
    }
    String::new()
}

/// With HTML's entities.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

fn url_quoted(text: &str, safe: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        let c = char::from(b);
        if c.is_ascii_alphanumeric() || "_.-~".contains(c) || safe.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn xml_attributes(run: &mut Run, value: &Value, space: bool) -> Result<Value> {
    let Value::Dict(dict) = value else { return Err(error("`xmlattr` takes a dict")) };
    let mut out = TextBuilder::default();
    for (key, value) in &dict.pairs {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let key = to_text(key)?;
        if key.as_str().contains(|c: char| unicode::is_space(c) || "/>=".contains(c)) {
            return Err(error(format!("Invalid character in attribute name: '{}'", key.as_str())));
        }
        out.own(if out.n_bytes() > 0 || space { " " } else { "" });
        out.push_text(&key.map_runs(escaped));
        out.own("=\"");
        out.push_text(&to_text(value)?.map_runs(escaped));
        out.own("\"");
    }
    run.made(out.finish())
}

/// Without tags and comments, white space as single spaces, and entities as characters.
fn strip_tags(run: &mut Run, text: &Text) -> Result<Value> {
    let s = text.as_str();
    let mut out = TextBuilder::default();
    let mut at = 0;
    while let Some(open) = strings::find(&s[at..], "<") {
        let open = at + open;
        let close = match s[open..].starts_with("<!--") {
            true => strings::find(&s[open..], "-->").map(|n| n + 3),
            false => strings::find(&s[open..], ">").map(|n| n + 1),
        };
        let Some(close) = close else { break };
        out.push_range(text, at..open);
        at = open + close;
    }
    out.push_range(text, at..s.len());
    let text = out.finish();
    let mut out = TextBuilder::default();
    for word in text.as_str().split(unicode::is_space).filter(|word| !word.is_empty()) {
        out.own(if out.n_bytes() > 0 { " " } else { "" });
        out.push_text(&text.slice_of(word));
    }
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#34;", "\""), ("&quot;", "\""), ("&amp;", "&")];
    let done = out
        .finish()
        .map_runs(|run| entities.iter().fold(run.to_owned(), |text, (entity, c)| text.replace(entity, c)));
    run.made(done)
}
