//! Filters on sequences.

use std::cmp::Ordering;

use super::arguments::{Given, int, required, size};
use super::error::{Fail, Result, error};
use super::operators::{items, order};
use super::print::to_text;
use super::run::Run;
use super::text::Text;
use super::value::{List, Value};
use super::{checks, filters, methods, operators, strings};

pub(super) fn filter(run: &mut Run, name: &str, value: Value, given: Given) -> Result<Value> {
    match name {
        "length" | "count" => value.n_items().map(Value::len_of),
        "first" => Ok(all(run, &value)?
            .first()
            .cloned()
            .unwrap_or_else(|| Value::undefined("No first item, sequence was empty."))),
        "last" => Ok(all(run, &value)?
            .last()
            .cloned()
            .unwrap_or_else(|| Value::undefined("No last item, sequence was empty."))),
        "list" => all(run, &value).and_then(Value::list),
        "items" => match &value {
            Value::Undefined(_) => Value::generator(Vec::new()),
            Value::Dict(_) => match methods::view(run, &value, "items")? {
                Value::Iter(items, _) => Ok(Value::Iter(items, super::value::Iter::Generator)),
                other => Ok(other),
            },
            _ => Err(error("Can only get item pairs from a mapping.")),
        },
        "join" => {
            let [d, attribute] = given.bind(name, ["d", "attribute"])?;
            let d = d.map_or_else(|| Ok(Text::own("")), |d| to_text(&d))?;
            let value = match attribute {
                None | Some(Value::None) => value,
                Some(attribute) => {
                    let mut parts = Vec::new();
                    for item in all(run, &value)? {
                        parts.push(by_attribute(run, &item, &attribute, None)?);
                    }
                    Value::list(parts)?
                }
            };
            strings::join(run, &d, &value, false)
        }
        "reverse" => match &value {
            Value::Str(text) => {
                let mut out = super::text::TextBuilder::default();
                let chars: Vec<(char, bool)> = text.chars().collect();
                chars.iter().rev().for_each(|&(c, foreign)| out.push_char(c, foreign));
                run.made(out.finish())
            }
            other => {
                let mut items = all(run, other)?;
                items.reverse();
                Value::generator(items)
            }
        },
        "sum" => {
            let [attribute, start] = given.bind(name, ["attribute", "start"])?;
            let mut sum = start.unwrap_or(Value::int(0));
            for item in all(run, &value)? {
                let item = match &attribute {
                    None | Some(Value::None) => item,
                    Some(attribute) => by_attribute(run, &item, attribute, None)?,
                };
                if matches!(sum, Value::Str(_)) {
                    return Err(error("sum() can't sum strings [use ''.join(seq) instead]"));
                }
                sum = operators::binary(run, "+", &sum, &item)?;
            }
            Ok(sum)
        }
        "min" | "max" => {
            let [sensitive, attribute] = given.bind(name, ["case_sensitive", "attribute"])?;
            let keyed = keyed(run, &value, attribute.as_ref(), is(sensitive))?;
            let mut best: Option<(Value, Value)> = None;
            for (key, item) in keyed {
                let is_better = match &best {
                    None => true,
                    Some((best, _)) => {
                        let op = if name == "min" { "<" } else { ">" };
                        operators::compare(run, op, &key, best)?
                    }
                };
                if is_better {
                    best = Some((key, item));
                }
            }
            Ok(best.map_or_else(
                || Value::undefined("No aggregated item, sequence was empty."),
                |(_, item)| item,
            ))
        }
        "sort" => {
            let [reverse, sensitive, attribute] =
                given.bind(name, ["reverse", "case_sensitive", "attribute"])?;
            let keyed = keyed(run, &value, attribute.as_ref(), is(sensitive))?;
            let sorted = sorted(run, keyed, is(reverse))?;
            Value::list(sorted.into_iter().map(|(_, item)| item).collect())
        }
        "unique" => {
            let [sensitive, attribute] = given.bind(name, ["case_sensitive", "attribute"])?;
            let mut seen: Vec<Value> = Vec::new();
            let mut kept = Vec::new();
            for (key, item) in keyed(run, &value, attribute.as_ref(), is(sensitive))? {
                if !among(run, &seen, &key)? {
                    seen.push(key);
                    kept.push(item);
                }
            }
            Value::generator(kept)
        }
        "dictsort" => {
            let [sensitive, by, reverse] = given.bind(name, ["case_sensitive", "by", "reverse"])?;
            let at = match by.as_ref().and_then(Value::as_text).map_or("key", Text::as_str) {
                "key" => 0,
                "value" => 1,
                _ => return Err(error("You can only sort by either \"key\" or \"value\"")),
            };
            let pairs = methods::view(run, &value, "items")?.iterate()?;
            let sensitive = is(sensitive);
            let mut keyed = Vec::new();
            for pair in &pairs.items {
                let key = pair.iterate()?.items[at].clone();
                keyed.push((folded(key, sensitive), pair.clone()));
            }
            let sorted = sorted(run, keyed, is(reverse))?;
            Value::list(sorted.into_iter().map(|(_, pair)| pair).collect())
        }
        "groupby" => group_by(run, &value, given),
        "batch" => {
            let [n, fill] = given.bind(name, ["linecount", "fill_with"])?;
            let n = size(int(&required(n, name, "linecount")?, name)?);
            let all = all(run, &value)?;
            let mut rows = Vec::new();
            // Of no width there is a row for each item, but one less, as Jinja has it.
            for row in all.chunks(n.max(1)) {
                let mut row = row.to_vec();
                if let Some(fill) = fill.as_ref().filter(|fill| !matches!(fill, Value::None)) {
                    items(run, n)?;
                    row.resize(n.max(row.len()), fill.clone());
                }
                rows.push(Value::list(row)?);
            }
            Value::generator(rows)
        }
        "slice" => {
            let [n, fill] = given.bind(name, ["slices", "fill_with"])?;
            let n = size(int(&required(n, name, "slices")?, name)?);
            items(run, n)?;
            let all = all(run, &value)?;
            if n == 0 {
                return Err(error("integer division or modulo by zero"));
            }
            let (per, longer) = (all.len() / n, all.len() % n);
            let mut rows = Vec::new();
            let mut offset = 0;
            for i in 0..n {
                let start = offset + i * per;
                offset += usize::from(i < longer);
                let mut row = all[start..offset + (i + 1) * per].to_vec();
                if let Some(fill) = fill.as_ref().filter(|fill| !matches!(fill, Value::None) && i >= longer) {
                    row.push(fill.clone());
                }
                rows.push(Value::list(row)?);
            }
            Value::generator(rows)
        }
        // Nothing to go through, of whatever type.
        "map" | "select" | "reject" | "selectattr" | "rejectattr" if !value.is_true() => {
            Value::generator(Vec::new())
        }
        "map" => map(run, &value, given),
        "select" | "reject" | "selectattr" | "rejectattr" => select(run, name, &value, given),
        _ => Err(error(format!("No filter named '{name}'."))),
    }
}

fn is(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.is_true())
}

/// The items of a sequence, charged for.
fn all(run: &mut Run, value: &Value) -> Result<Vec<Value>> {
    items(run, value.n_items().unwrap_or(1))?;
    Ok(value.iterate()?.items.clone())
}

/// `item.a.b` for `'a.b'`; numbers are indices.
fn by_attribute(run: &mut Run, item: &Value, attribute: &Value, default: Option<&Value>) -> Result<Value> {
    let mut value = item.clone();
    match attribute {
        Value::Str(path) => {
            for part in path.as_str().split('.') {
                let key = match part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty() {
                    true => part.parse::<i128>().map_or_else(|_| Value::str(part), Value::int),
                    false => Value::str(part),
                };
                value = run.item(&value, &key)?;
                if let Some(default) = default.filter(|_| value.is_undefined()) {
                    value = default.clone();
                }
            }
        }
        key => value = run.item(&value, key)?,
    }
    Ok(value)
}

/// Strings in lower case, unless case counts.
fn folded(value: Value, sensitive: bool) -> Value {
    match value {
        Value::Str(text) if !sensitive => Value::Str(strings::lower(&text)),
        other => other,
    }
}

/// Each item with what it is compared by.
fn keyed(
    run: &mut Run,
    value: &Value,
    attribute: Option<&Value>,
    sensitive: bool,
) -> Result<Vec<(Value, Value)>> {
    let mut keyed = Vec::new();
    for item in all(run, value)? {
        let key = match attribute {
            None | Some(Value::None) => folded(item.clone(), sensitive),
            Some(Value::Str(names)) if names.as_str().contains(',') => {
                let names: Vec<Value> = names.as_str().split(',').map(Value::str).collect();
                let keys = names
                    .iter()
                    .map(|name| by_attribute(run, &item, name, None).map(|key| folded(key, sensitive)))
                    .collect::<Result<Vec<_>>>()?;
                Value::list(keys)?
            }
            Some(attribute) => folded(by_attribute(run, &item, attribute, None)?, sensitive),
        };
        if let Value::Str(text) = &key {
            run.reads(text.n_bytes())?;
        }
        keyed.push((key, item));
    }
    Ok(keyed)
}

fn sorted(run: &mut Run, mut keyed: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<(Value, Value)>> {
    let mut failed: Option<Fail> = None;
    keyed.sort_by(|(a, _), (b, _)| {
        if failed.is_some() {
            return Ordering::Equal;
        }
        let order = match order(run, "<", a, b) {
            Ok(order) => order.unwrap_or(Ordering::Equal),
            Err(e) => {
                failed = Some(e);
                Ordering::Equal
            }
        };
        if reverse { order.reverse() } else { order }
    });
    failed.map_or(Ok(keyed), Err)
}

fn among(run: &mut Run, seen: &[Value], key: &Value) -> Result<bool> {
    for other in seen {
        if run.equal(other, key)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn group_by(run: &mut Run, value: &Value, given: Given) -> Result<Value> {
    let [attribute, default, sensitive] =
        given.bind("groupby", ["attribute", "default", "case_sensitive"])?;
    let attribute = required(attribute, "groupby", "attribute")?;
    let sensitive = is(sensitive);
    let mut keyed = Vec::new();
    for item in all(run, value)? {
        let key = by_attribute(run, &item, &attribute, default.as_ref())?;
        keyed.push((folded(key.clone(), sensitive), Value::tuple(vec![key, item])?));
    }
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for (key, pair) in sorted(run, keyed, false)? {
        let pair = pair.iterate()?;
        let [shown, item] = pair.items.as_slice() else { return Err(error("a pair was expected")) };
        let (shown, item) = (shown.clone(), item.clone());
        match groups.last_mut() {
            Some((last, _, items)) if run.equal(last, &key)? => items.push(item),
            _ => groups.push((key, shown, vec![item])),
        }
    }
    let group = |(_, key, items): (Value, Value, Vec<Value>)| {
        Ok(Value::Iter(List::new(vec![key, Value::list(items)?])?, super::value::Iter::Group))
    };
    Value::list(groups.into_iter().map(group).collect::<Result<_>>()?)
}

fn map(run: &mut Run, value: &Value, mut given: Given) -> Result<Value> {
    let mut mapped = Vec::new();
    let named =
        |given: &Given, name: &str| given.named.iter().find(|(n, _)| &**n == name).map(|(_, v)| v.clone());
    if given.pos.is_empty()
        && let Some(attribute) = named(&given, "attribute")
    {
        let default = named(&given, "default");
        if let Some((name, _)) = given.named.iter().find(|(n, _)| !matches!(&**n, "attribute" | "default")) {
            return Err(error(format!("Unexpected keyword argument '{name}'")));
        }
        for item in all(run, value)? {
            mapped.push(by_attribute(run, &item, &attribute, default.as_ref())?);
        }
        return Value::generator(mapped);
    }
    if given.pos.is_empty() {
        return Err(error("map requires a filter argument"));
    }
    let name = super::arguments::text(given.pos.remove(0), "map")?;
    for item in all(run, value)? {
        run.step()?;
        mapped.push(run.deeper(|run| filters::filter(run, name.as_str(), item, given.clone()))?);
    }
    Value::generator(mapped)
}

fn select(run: &mut Run, name: &str, value: &Value, mut given: Given) -> Result<Value> {
    let attribute = match name.ends_with("attr") {
        true if given.pos.is_empty() => return Err(error("Missing parameter for attribute name")),
        true => Some(given.pos.remove(0)),
        false => None,
    };
    let test = match given.pos.is_empty() {
        true => None,
        false => Some(super::arguments::text(given.pos.remove(0), name)?),
    };
    let wanted = name.starts_with("select");
    let mut kept = Vec::new();
    for item in all(run, value)? {
        let tested = match &attribute {
            Some(attribute) => by_attribute(run, &item, attribute, None)?,
            None => item.clone(),
        };
        let is = match &test {
            Some(test) => checks::test(run, test.as_str(), &tested, given.clone())?,
            None => tested.is_true(),
        };
        if is == wanted {
            kept.push(item);
        }
    }
    Value::generator(kept)
}
