//! Methods of strings.

use memchr::memmem;

use super::arguments::{Given, int, opt_int, opt_text, required, size, text};
use super::error::{Result, error};
use super::run::Run;
use super::text::{Text, TextBuilder};
use super::unicode::{self, is_space};
use super::value::Value;
use super::{format, splitting};

/// Names of methods.
pub(super) const NAMES: [&str; 45] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// Where `part` is first, in bytes.
pub(super) fn find(text: &str, part: &str) -> Option<usize> {
    memmem::find(text.as_bytes(), part.as_bytes())
}

pub(super) fn call(run: &mut Run, this: &Text, name: &str, given: Given) -> Result<Value> {
    run.reads(this.n_bytes())?;
    let s = this.as_str();
    match name {
        "format" => return format::format(run, this, &given.pos, &given.named),
        "format_map" => {
            let [mapping] = given.positional(name)?;
            let Value::Dict(dict) = required(mapping, name, "mapping")? else {
                return Err(error("`format_map` takes a dict"));
            };
            let named: Vec<_> = dict
                .pairs
                .iter()
                .filter_map(|(key, value)| Some((key.as_text()?.as_str().into(), value.clone())))
                .collect();
            return format::format(run, this, &[], &named);
        }
        "split" | "rsplit" => {
            let [sep, most] = given.bind(name, ["sep", "maxsplit"])?;
            let most = opt_int(most.as_ref(), name)?.unwrap_or(-1);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            return splitting::split(run, this, opt_text(sep, name)?.as_ref(), most, name == "rsplit");
        }
        "splitlines" => {
            let [keep] = given.bind(name, ["keepends"])?;
            let lines = splitting::lines(s, keep.is_some_and(|keep| keep.is_true()));
            return splitting::list(run, this, &lines);
        }
        "encode" => {
            let [encoding, _errors] = given.bind(name, ["encoding", "errors"])?;
            let encoding =
                opt_text(encoding, name)?.map_or("utf-8".into(), |e| e.as_str().to_ascii_lowercase());
            run.makes(s.len())?;
            let bytes: Vec<u8> = match encoding.replace('_', "-").as_str() {
                "utf-8" | "utf8" => s.bytes().collect(),
                "ascii" | "us-ascii" if s.is_ascii() => s.bytes().collect(),
                "latin-1" | "latin1" | "iso-8859-1" if s.chars().all(|c| (c as u32) < 256) => {
                    s.chars().map(|c| c as u8).collect()
                }
                other => return Err(error(format!("cannot encode this text as {other}"))),
            };
            return Ok(Value::Bytes(bytes.into(), this.has_foreign()));
        }
        "join" => {
            let [items] = given.positional(name)?;
            let items = required(items, name, "iterable")?;
            return join(run, this, &items, true);
        }
        "expandtabs" => {
            let [tab] = given.bind(name, ["tabsize"])?;
            let tab = size(opt_int(tab.as_ref(), name)?.unwrap_or(8));
            return expand_tabs(run, this, tab);
        }
        _ => {}
    }
    let [a, b, c] = match name {
        "replace" => given.bind(name, ["old", "new", "count"])?,
        _ => given.positional(name)?,
    };
    let done = match name {
        "upper" => Value::Str(this.map_chars(char::to_uppercase)),
        "lower" => Value::Str(lower(this)),
        "casefold" => Value::Str(this.map_chars(unicode::fold)),
        "capitalize" => Value::Str(capitalize(this)),
        "title" => Value::Str(title(this)),
        "swapcase" => Value::Str(this.map_chars(|c| -> Vec<char> {
            if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
        })),
        "strip" | "lstrip" | "rstrip" => {
            let chars = opt_text(a, name)?;
            Value::Str(strip(this, chars.as_ref().map(Text::as_str), name != "rstrip", name != "lstrip"))
        }
        "startswith" | "endswith" => {
            let range = bounds(this, b.as_ref(), c.as_ref())?;
            let part = range.map(|range| &s[range]);
            let fits = |affix: &Value| match affix {
                Value::Str(affix) => Ok(part.is_some_and(|part| match name {
                    "startswith" => part.starts_with(affix.as_str()),
                    _ => part.ends_with(affix.as_str()),
                })),
                other => Err(error(format!(
                    "{name} first arg must be str or a tuple of str, not {}",
                    other.type_name()
                ))),
            };
            let affix = required(a, name, "prefix")?;
            Value::Bool(match &affix {
                Value::Tuple(all) => {
                    let mut found = false;
                    for affix in &all.items {
                        found |= fits(affix)?;
                    }
                    found
                }
                one => fits(one)?,
            })
        }
        "removeprefix" | "removesuffix" => {
            let affix = text(required(a, name, "affix")?, name)?;
            let rest = match name {
                "removeprefix" => s.strip_prefix(affix.as_str()),
                _ => s.strip_suffix(affix.as_str()),
            };
            Value::Str(rest.map_or_else(|| this.clone(), |rest| this.slice_of(rest)))
        }
        "find" | "index" | "rfind" | "rindex" => {
            let part = text(required(a, name, "sub")?, name)?;
            let found = bounds(this, b.as_ref(), c.as_ref())?.and_then(|range| {
                let within = &s[range.clone()];
                let at = match name {
                    "find" | "index" => find(within, part.as_str()),
                    _ => within.rfind(part.as_str()),
                };
                at.map(|at| this.char_of(range.start + at))
            });
            match found {
                Some(at) => Value::len_of(at),
                None if name.ends_with("find") => Value::int(-1),
                None => return Err(error("substring not found")),
            }
        }
        "count" => {
            let part = text(required(a, name, "sub")?, name)?;
            Value::len_of(match bounds(this, b.as_ref(), c.as_ref())? {
                Some(range) if part.is_empty() => s[range].chars().count() + 1,
                Some(range) => memmem::find_iter(s[range].as_bytes(), part.as_str()).count(),
                None => 0,
            })
        }
        "replace" => {
            let old = text(required(a, name, "old")?, name)?;
            let new = text(required(b, name, "new")?, name)?;
            let most = opt_int(c.as_ref(), name)?.unwrap_or(-1);
            return replace(run, this, &old, &new, usize::try_from(most).unwrap_or(usize::MAX));
        }
        "partition" | "rpartition" => {
            let sep = text(required(a, name, "sep")?, name)?;
            if sep.is_empty() {
                return Err(error("empty separator"));
            }
            let found = if name == "partition" { find(s, sep.as_str()) } else { s.rfind(sep.as_str()) };
            let empty = || this.sub(0..0);
            let parts = match found {
                Some(at) => {
                    let end = at + sep.n_bytes();
                    [this.sub(0..at), this.sub(at..end), this.sub(end..s.len())]
                }
                None if name == "partition" => [this.clone(), empty(), empty()],
                None => [empty(), empty(), this.clone()],
            };
            return Value::tuple(parts.into_iter().map(Value::Str).collect());
        }
        "center" | "ljust" | "rjust" => {
            let width = size(int(&required(a, name, "width")?, name)?);
            let fill = opt_text(b, name)?.unwrap_or_else(|| Text::own(" "));
            if fill.n_chars() != 1 {
                return Err(error("The fill character must be exactly one character long"));
            }
            let missing = width.saturating_sub(this.n_chars());
            let left = match name {
                "center" => missing / 2 + (missing & width & 1),
                "rjust" => missing,
                _ => 0,
            };
            return padded(run, this, &fill, left, missing - left);
        }
        "zfill" => {
            let width = size(int(&required(a, name, "width")?, name)?);
            let missing = width.saturating_sub(this.n_chars());
            run.makes(s.len().saturating_add(missing))?;
            let sign = usize::from(s.starts_with(['+', '-']));
            let mut out = TextBuilder::default();
            out.push_range(this, 0..sign);
            out.own(&"0".repeat(missing));
            out.push_range(this, sign..s.len());
            Value::Str(out.finish())
        }
        "isalnum" => all(s, unicode::is_alnum),
        "isalpha" => all(s, unicode::is_alpha),
        "isascii" => Value::Bool(s.is_ascii()),
        "isdecimal" => all(s, |c| unicode::decimal(c).is_some()),
        "isdigit" => all(s, unicode::is_digit),
        "isnumeric" => all(s, unicode::is_numeric),
        "isspace" => all(s, is_space),
        "isprintable" => Value::Bool(s.chars().all(unicode::is_printable)),
        "isidentifier" => Value::Bool(
            s.chars().all(|c| c == '_' || unicode::is_alnum(c))
                && s.chars().next().is_some_and(|c| c == '_' || unicode::is_alpha(c)),
        ),
        "islower" => Value::Bool(is_case(s, false)),
        "isupper" => Value::Bool(is_case(s, true)),
        "istitle" => Value::Bool(is_title(s)),
        _ => return Err(error(format!("'str' object has no attribute '{name}'"))),
    };
    if let Value::Str(text) = &done {
        run.makes(text.n_bytes())?;
    }
    Ok(done)
}

fn all(text: &str, is: impl Fn(char) -> bool) -> Value {
    Value::Bool(!text.is_empty() && text.chars().all(is))
}

/// Whether there are letters with a case, and all of this one.
pub(super) fn is_case(text: &str, upper: bool) -> bool {
    let mut found = false;
    for c in text.chars() {
        if if upper { c.is_lowercase() } else { c.is_uppercase() } || unicode::is_title(c) {
            return false;
        }
        found |= if upper { c.is_uppercase() } else { c.is_lowercase() };
    }
    found
}

fn is_title(text: &str) -> bool {
    let (mut found, mut within) = (false, false);
    for c in text.chars() {
        if c.is_uppercase() || unicode::is_title(c) {
            if within {
                return false;
            }
            (found, within) = (true, true);
        } else if c.is_lowercase() {
            if !within {
                return false;
            }
            found = true;
        } else {
            within = false;
        }
    }
    found
}

pub(super) fn lower(text: &Text) -> Text {
    match text.runs().as_slice() {
        // The whole of a text, as a sigma at a word's end has a form of its own.
        [(run, foreign)] => Text::of(run.to_lowercase(), *foreign),
        _ => text.map_chars(char::to_lowercase),
    }
}

pub(super) fn capitalize(text: &Text) -> Text {
    let mut is_first = true;
    text.map_chars(|c| match std::mem::take(&mut is_first) {
        true => unicode::to_title(c),
        false => c.to_lowercase().collect(),
    })
}

fn title(text: &Text) -> Text {
    let mut within = false;
    text.map_chars(|c| {
        let mapped = if within { c.to_lowercase().collect() } else { unicode::to_title(c) };
        within = unicode::is_cased(c);
        mapped
    })
}

/// `str.strip` of these characters, or of white space.
pub(super) fn strip(text: &Text, chars: Option<&str>, left: bool, right: bool) -> Text {
    let is = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let mut rest = text.as_str();
    if left {
        rest = rest.trim_start_matches(is);
    }
    if right {
        rest = rest.trim_end_matches(is);
    }
    text.slice_of(rest)
}

/// The bytes from character `start` to `end`; `None` if `start` lies beyond the end.
fn bounds(this: &Text, start: Option<&Value>, end: Option<&Value>) -> Result<Option<std::ops::Range<usize>>> {
    let given = |value: Option<&Value>| match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => value
            .as_index()
            .map(Some)
            .ok_or_else(|| error("slice indices must be integers or None or have an __index__ method")),
    };
    let (start, end) = (given(start)?, given(end)?);
    if start.is_none() && end.is_none() {
        return Ok(Some(0..this.n_bytes()));
    }
    let n = this.n_chars() as i128;
    let clamp = |idx: i128| (if idx < 0 { idx.saturating_add(n) } else { idx }).max(0);
    let (start, end) = (start.map_or(0, clamp), end.map_or(n, clamp).min(n));
    if start > end {
        return Ok(None);
    }
    Ok(Some(this.byte_of(start as usize)..this.byte_of(end as usize)))
}

/// Items as text, with `this` between; `strict` is Python's method, which takes strings alone.
pub(super) fn join(run: &mut Run, this: &Text, items: &Value, strict: bool) -> Result<Value> {
    if strict && matches!(items, Value::Undefined(_)) {
        return Ok(Value::str(""));
    }
    run.items(items.n_items().unwrap_or(1))?;
    let items = items.iterate()?;
    let mut out = TextBuilder::default();
    for (i, item) in items.items.iter().enumerate() {
        if i > 0 {
            out.push_text(this);
        }
        if strict && !matches!(item, Value::Str(_)) {
            return Err(error(format!(
                "sequence item {i}: expected str instance, {} found",
                item.type_name()
            )));
        }
        if let Value::Str(text) = item {
            run.fits(out.n_bytes() + text.n_bytes())?;
        }
        super::print::write(&mut out, item)?;
        run.fits(out.n_bytes())?;
    }
    run.made(out.finish())
}

fn expand_tabs(run: &mut Run, this: &Text, tab: usize) -> Result<Value> {
    let n_tabs = this.as_str().matches('\t').count();
    run.makes(this.n_bytes().saturating_add(n_tabs.saturating_mul(tab)))?;
    let mut column = 0;
    Ok(Value::Str(this.map_chars(|c| match c {
        '\t' if tab == 0 => Vec::new(),
        '\t' => {
            let n = tab - column % tab;
            column += n;
            vec![' '; n]
        }
        '\n' | '\r' => {
            column = 0;
            vec![c]
        }
        c => {
            column += 1;
            vec![c]
        }
    })))
}

pub(super) fn padded(run: &mut Run, this: &Text, fill: &Text, left: usize, right: usize) -> Result<Value> {
    let n = fill.n_bytes();
    run.makes(left.saturating_add(right).saturating_mul(n).saturating_add(this.n_bytes()))?;
    let mut out = TextBuilder::default();
    (0..left).for_each(|_| out.push_text(fill));
    out.push_text(this);
    (0..right).for_each(|_| out.push_text(fill));
    Ok(Value::Str(out.finish()))
}

/// `str.replace`
pub(super) fn replace(run: &mut Run, this: &Text, old: &Text, new: &Text, most: usize) -> Result<Value> {
    let s = this.as_str();
    let mut at: Vec<usize> = if old.is_empty() {
        s.char_indices().map(|(at, _)| at).chain([s.len()]).take(most).collect()
    } else {
        memmem::find_iter(s.as_bytes(), old.as_str()).take(most).collect()
    };
    run.items(at.len())?;
    run.makes(s.len().saturating_add(at.len().saturating_mul(new.n_bytes())))?;
    at.push(s.len());
    let mut out = TextBuilder::default();
    let mut from = 0;
    let last = at.len() - 1;
    for (i, &at) in at.iter().enumerate() {
        out.push_range(this, from..at);
        if i < last {
            out.push_text(new);
            from = at + old.n_bytes();
        }
    }
    Ok(Value::Str(out.finish()))
}
