//! Methods and attributes of values other than strings.

use super::arguments::{Given, int, required};
use super::error::{Result, error};
use super::number::float_repr;
use super::operators;
use super::run::Run;
use super::strings;
use super::text::Text;
use super::value::{Iter, Value};

const DICT: [&str; 5] = ["get", "items", "keys", "values", "copy"];
/// Methods that change a value, which the sandbox forbids.
const CHANGES: [&str; 13] = [
    "append",
    "extend",
    "insert",
    "pop",
    "remove",
    "reverse",
    "sort",
    "clear",
    "popitem",
    "setdefault",
    "update",
    "add",
    "discard",
];

/// Whether a value has a method of this name.
pub(super) fn has(value: &Value, name: &str) -> bool {
    match value {
        Value::Str(_) => strings::NAMES.contains(&name),
        Value::Dict(_) => {
            DICT.contains(&name) || matches!(name, "pop" | "clear" | "popitem" | "setdefault" | "update")
        }
        Value::List(_) => matches!(name, "index" | "count" | "copy") || (CHANGES[..8].contains(&name)),
        Value::Tuple(_) | Value::Range(_) => matches!(name, "index" | "count"),
        Value::Bytes(..) => matches!(name, "decode" | "hex"),
        Value::Int(..) | Value::Bool(_) => {
            matches!(name, "bit_length" | "bit_count" | "conjugate" | "is_integer" | "as_integer_ratio")
        }
        Value::Float(..) => matches!(name, "is_integer" | "conjugate" | "hex"),
        Value::Loop(_) => matches!(name, "cycle" | "changed"),
        Value::Cycler(_) => matches!(name, "next" | "reset"),
        _ => false,
    }
}

/// Attributes that are no methods.
pub(super) fn property(value: &Value, name: &str) -> Result<Option<Value>> {
    Ok(match value {
        Value::Loop(of) => {
            let (idx, len) = (of.idx.get(), of.items.items.len());
            let item = |idx: Option<usize>| idx.and_then(|idx| of.items.items.get(idx)).cloned();
            let absent = |what: &str| Value::undefined(&format!("there is no {what} item"));
            match name {
                "index" => Some(Value::len_of(idx + 1)),
                "index0" => Some(Value::len_of(idx)),
                "revindex" => Some(Value::len_of(len - idx)),
                "revindex0" => Some(Value::len_of(len - idx - 1)),
                "first" => Some(Value::Bool(idx == 0)),
                "last" => Some(Value::Bool(idx + 1 == len)),
                "length" => Some(Value::len_of(len)),
                "depth" => Some(Value::len_of(of.depth + 1)),
                "depth0" => Some(Value::len_of(of.depth)),
                "previtem" => Some(item(idx.checked_sub(1)).unwrap_or_else(|| absent("previous"))),
                "nextitem" => Some(item(Some(idx + 1)).unwrap_or_else(|| absent("next"))),
                _ => None,
            }
        }
        Value::Iter(list, Iter::Group) => match name {
            "grouper" => list.items.first().cloned(),
            "list" => list.items.get(1).cloned(),
            _ => None,
        },
        Value::Cycler(of) if name == "current" => of.0.get(of.1.get()).cloned(),
        Value::Macro(of) => match name {
            "name" => Some(Value::str(&*of.definition.name)),
            "arguments" => {
                Some(Value::tuple(of.definition.arguments.iter().map(|name| Value::str(&**name)).collect())?)
            }
            "catch_varargs" => Some(Value::Bool(of.definition.takes[0])),
            "catch_kwargs" => Some(Value::Bool(of.definition.takes[1])),
            "caller" => Some(Value::Bool(of.definition.takes[2])),
            _ => None,
        },
        Value::Int(..) | Value::Bool(_) => match name {
            "real" | "numerator" => Some(operators::positive(value)?),
            "imag" => Some(Value::int(0)),
            "denominator" => Some(Value::int(1)),
            _ => None,
        },
        Value::Float(..) => match name {
            "real" => Some(value.clone()),
            "imag" => Some(Value::Float(0.0, false)),
            _ => None,
        },
        Value::Range(range) => match name {
            "start" => Some(Value::int(range.start)),
            "step" => Some(Value::int(range.step)),
            "stop" => Some(Value::int(range.start + range.step * range.len as i128)),
            _ => None,
        },
        _ => None,
    })
}

pub(super) fn call(run: &mut Run, value: &Value, name: &str, given: Given) -> Result<Value> {
    run.step()?;
    let is_mutable = matches!(value, Value::List(_) | Value::Dict(_));
    if is_mutable && CHANGES.contains(&name) {
        return Err(error(format!(
            "access to attribute '{name}' of '{}' object is unsafe.",
            value.type_name()
        )));
    }
    match value {
        Value::Str(text) => strings::call(run, text, name, given),
        Value::Dict(dict) => match name {
            "get" => {
                let [key, default] = given.positional(name)?;
                let key = required(key, name, "key")?;
                Ok(dict.get(&key).cloned().or(default).unwrap_or(Value::None))
            }
            "copy" => Ok(value.clone()),
            _ => view(run, value, name),
        },
        Value::List(list) | Value::Tuple(list) => match name {
            "copy" => Ok(value.clone()),
            "count" => {
                let [item] = given.positional(name)?;
                let item = required(item, name, "value")?;
                let mut n = 0;
                for candidate in &list.items {
                    n += usize::from(run.equal(candidate, &item)?);
                }
                Ok(Value::len_of(n))
            }
            _ => {
                let [item, start, stop] = given.positional(name)?;
                let item = required(item, name, "value")?;
                let n = list.items.len() as i128;
                let bound = |value: Option<Value>, default: i128| match value {
                    None => Ok(default),
                    Some(value) => {
                        int(&value, name).map(|i| if i < 0 { (i.saturating_add(n)).max(0) } else { i.min(n) })
                    }
                };
                let (start, stop) = (bound(start, 0)?, bound(stop, n)?);
                for idx in start..stop {
                    if run.equal(&list.items[idx as usize], &item)? {
                        return Ok(Value::int(idx));
                    }
                }
                Err(error(format!("{}.index(x): x not in {}", value.type_name(), value.type_name())))
            }
        },
        Value::Range(range) => {
            let [item] = given.positional(name)?;
            let item = required(item, name, "value")?;
            let found = operators::contains(run, value, &item)?;
            match (name, item.as_index()) {
                ("count", _) => Ok(Value::int(i128::from(found))),
                (_, Some(n)) if found => Ok(Value::int((n - range.start) / range.step)),
                _ => Err(error("the value is not in range")),
            }
        }
        Value::Bytes(bytes, foreign) => match name {
            "hex" => {
                run.makes(bytes.len() * 2)?;
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                Ok(Value::Str(Text::of(hex, *foreign)))
            }
            _ => {
                let [encoding, errors] = given.bind(name, ["encoding", "errors"])?;
                let latin =
                    encoding.is_some_and(|e| e.as_text().is_some_and(|e| e.as_str().starts_with("latin")));
                let replaces = errors.is_some_and(|e| e.as_text().is_some_and(|e| e.as_str() != "strict"));
                run.makes(bytes.len() * 3)?;
                let text = match std::str::from_utf8(bytes) {
                    _ if latin => bytes.iter().map(|&b| char::from(b)).collect(),
                    Ok(text) => text.to_owned(),
                    Err(_) if replaces => String::from_utf8_lossy(bytes).into_owned(),
                    Err(_) => return Err(error("'utf-8' codec can't decode these bytes")),
                };
                Ok(Value::Str(Text::of(text, *foreign)))
            }
        },
        Value::Int(..) | Value::Bool(_) => {
            let n = value.as_index().unwrap_or(0);
            match name {
                "bit_length" => Ok(Value::int(128 - n.unsigned_abs().leading_zeros())),
                "bit_count" => Ok(Value::int(n.unsigned_abs().count_ones())),
                "is_integer" => Ok(Value::Bool(true)),
                "as_integer_ratio" => Value::tuple(vec![Value::int(n), Value::int(1)]),
                _ => operators::positive(value),
            }
        }
        Value::Float(x, _) => match name {
            "is_integer" => Ok(Value::Bool(x.is_finite() && x.fract() == 0.0)),
            "conjugate" => Ok(value.clone()),
            _ => Err(error(format!("`{name}` of {} is not supported", float_repr(*x)))),
        },
        Value::Loop(of) => match name {
            "cycle" => match given.pos.len() {
                0 => Err(error("no items for cycling given")),
                n => Ok(given.pos[of.idx.get() % n].clone()),
            },
            _ => {
                if given.pos.iter().any(Value::has_state) {
                    return Err(error("`loop.changed` takes plain values"));
                }
                let mut last = of.changed.borrow_mut();
                let is_same = match &*last {
                    Some(last) => {
                        let mut same = last.len() == given.pos.len();
                        for (a, b) in last.iter().zip(&given.pos) {
                            same = same && run.equal(a, b)?;
                        }
                        same
                    }
                    None => false,
                };
                *last = Some(given.pos);
                Ok(Value::Bool(!is_same))
            }
        },
        Value::Cycler(of) => {
            let at = of.1.get();
            match name {
                "next" => {
                    of.1.set((at + 1) % of.0.len());
                    Ok(of.0[at].clone())
                }
                _ => {
                    of.1.set(0);
                    Ok(Value::None)
                }
            }
        }
        Value::Undefined(_) => Err(value.undefined_error()),
        other => Err(error(format!("'{}' object has no attribute '{name}'", other.type_name()))),
    }
}

/// `dict.items()`, `keys()` or `values()`.
pub(super) fn view(run: &mut Run, value: &Value, name: &str) -> Result<Value> {
    let Value::Dict(dict) = value else { return Err(error("this has no items")) };
    operators::items(run, dict.pairs.len())?;
    let pairs = dict.pairs.iter();
    let (items, kind): (Vec<Value>, Iter) = match name {
        "keys" => (pairs.map(|(key, _)| key.clone()).collect(), Iter::Keys),
        "values" => (pairs.map(|(_, value)| value.clone()).collect(), Iter::Values),
        _ => {
            let pair = |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
            (pairs.map(pair).collect::<Result<_>>()?, Iter::Items)
        }
    };
    Ok(Value::Iter(super::value::List::new(items)?, kind))
}
