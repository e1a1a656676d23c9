//! Operators.

use std::cmp::Ordering;

use super::error::{Result, error};
use super::number::{Number, arithmetic, compare as compare_numbers};
use super::percent;
use super::run::Run;
use super::text::TextBuilder;
use super::value::{List, Value};

/// Items of one list that an operation may make.
pub(super) const MOST_ITEMS: usize = 1_000_000;

pub(super) fn binary(run: &mut Run, op: &str, left: &Value, right: &Value) -> Result<Value> {
    match (op, left, right) {
        ("%", Value::Str(format), _) => return percent::format(run, format, right),
        (_, Value::Undefined(_), _) => return Err(left.undefined_error()),
        (_, _, Value::Undefined(_)) => return Err(right.undefined_error()),
        ("+", Value::Str(a), Value::Str(b)) => {
            let is_markup = a.is_markup() || b.is_markup();
            let part = |text: &super::text::Text| match is_markup && !text.is_markup() {
                true => text.map_runs(super::filters::escaped),
                false => text.clone(),
            };
            let (a, b) = (part(a), part(b));
            run.makes(a.n_bytes() + b.n_bytes())?;
            let mut out = TextBuilder::default();
            out.push_text(&a);
            out.push_text(&b);
            let sum = out.finish();
            return Ok(Value::Str(if is_markup { sum.as_markup() } else { sum }));
        }
        ("+", Value::List(a), Value::List(b)) => return joined(run, a, b).and_then(Value::list),
        ("+", Value::Tuple(a), Value::Tuple(b)) => return joined(run, a, b).and_then(Value::tuple),
        ("+", Value::Bytes(a, f), Value::Bytes(b, g)) => {
            run.makes(a.len() + b.len())?;
            return Ok(Value::Bytes([&**a, &**b].concat().into(), *f || *g));
        }
        ("*", sequence, n) if n.as_index().is_some() && is_sequence(sequence) => {
            return repeat(run, sequence, n);
        }
        ("*", n, sequence) if n.as_index().is_some() && is_sequence(sequence) => {
            return repeat(run, sequence, n);
        }
        ("+", Value::Str(_), other) => {
            let reason = format!("can only concatenate str (not \"{}\") to str", other.type_name());
            return Err(error(reason));
        }
        _ => {}
    }
    arithmetic(op, left, right).unwrap_or_else(|| {
        let (left, right) = (left.type_name(), right.type_name());
        Err(error(format!("unsupported operand type(s) for {op}: '{left}' and '{right}'")))
    })
}

fn is_sequence(value: &Value) -> bool {
    matches!(value, Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Bytes(..))
}

fn joined(run: &mut Run, a: &List, b: &List) -> Result<Vec<Value>> {
    items(run, a.items.len() + b.items.len())?;
    Ok(a.items.iter().chain(&b.items).cloned().collect())
}

/// Charges for a list of `n` items.
pub(super) fn items(run: &mut Run, n: usize) -> Result<()> {
    if n > MOST_ITEMS {
        return Err(super::error::refused("a list of more than 1000000 items"));
    }
    run.makes(n * size_of::<Value>())?;
    run.items(n)
}

fn repeat(run: &mut Run, sequence: &Value, n: &Value) -> Result<Value> {
    let n = super::arguments::size(n.as_index().unwrap_or(0));
    match sequence {
        Value::Str(text) => {
            if text.is_empty() {
                return Ok(sequence.clone());
            }
            run.makes(text.n_bytes().saturating_mul(n))?;
            let mut out = TextBuilder::default();
            (0..n).for_each(|_| out.push_text(text));
            Ok(Value::Str(out.finish()))
        }
        Value::Bytes(bytes, foreign) => {
            run.makes(bytes.len().saturating_mul(n))?;
            Ok(Value::Bytes(bytes.repeat(n).into(), *foreign))
        }
        Value::List(list) | Value::Tuple(list) => {
            items(run, list.items.len().saturating_mul(n))?;
            let all = if list.items.is_empty() {
                Vec::new()
            } else {
                (0..n).flat_map(|_| list.items.iter().cloned()).collect()
            };
            if matches!(sequence, Value::List(_)) { Value::list(all) } else { Value::tuple(all) }
        }
        _ => Err(error("this cannot be repeated")),
    }
}

pub(super) fn negative(value: &Value) -> Result<Value> {
    match Number::of(value) {
        Some(Number::Int(n)) => n
            .checked_neg()
            .map(|n| Value::Int(n, value.is_foreign()))
            .ok_or_else(|| error("an integer does not fit 128 bits")),
        Some(Number::Float(x)) => Ok(Value::Float(-x, value.is_foreign())),
        None if value.is_undefined() => Err(value.undefined_error()),
        None => Err(error(format!("bad operand type for unary -: '{}'", value.type_name()))),
    }
}

pub(super) fn positive(value: &Value) -> Result<Value> {
    match Number::of(value) {
        Some(Number::Int(n)) => Ok(Value::Int(n, value.is_foreign())),
        Some(Number::Float(_)) => Ok(value.clone()),
        None if value.is_undefined() => Err(value.undefined_error()),
        None => Err(error(format!("bad operand type for unary +: '{}'", value.type_name()))),
    }
}

pub(super) fn compare(run: &mut Run, op: &str, left: &Value, right: &Value) -> Result<bool> {
    let order = |run: &mut Run| order(run, op, left, right);
    Ok(match op {
        "==" => run.equal(left, right)?,
        "!=" => !run.equal(left, right)?,
        "in" => contains(run, right, left)?,
        "not in" => !contains(run, right, left)?,
        "<" => order(run)? == Some(Ordering::Less),
        "<=" => matches!(order(run)?, Some(Ordering::Less | Ordering::Equal)),
        ">" => order(run)? == Some(Ordering::Greater),
        _ => matches!(order(run)?, Some(Ordering::Greater | Ordering::Equal)),
    })
}

/// The order of two values; `None` if one is NaN.
///
/// # Errors
/// There is none between such values.
pub(super) fn order(run: &mut Run, op: &str, left: &Value, right: &Value) -> Result<Option<Ordering>> {
    run.step()?;
    match (left, right) {
        (Value::Undefined(_), _) => Err(left.undefined_error()),
        (_, Value::Undefined(_)) => Err(right.undefined_error()),
        (Value::Str(a), Value::Str(b)) => {
            run.reads(a.n_bytes().min(b.n_bytes()))?;
            Ok(Some(a.as_str().cmp(b.as_str())))
        }
        (Value::Bytes(a, _), Value::Bytes(b, _)) => Ok(Some(a.cmp(b))),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            for (a, b) in a.items.iter().zip(&b.items) {
                if !run.equal(a, b)? {
                    return order(run, op, a, b);
                }
            }
            Ok(Some(a.items.len().cmp(&b.items.len())))
        }
        _ if Number::of(left).is_some() && Number::of(right).is_some() => Ok(compare_numbers(left, right)),
        _ => {
            let (left, right) = (left.type_name(), right.type_name());
            Err(error(format!("'{op}' not supported between instances of '{left}' and '{right}'")))
        }
    }
}

/// `item in container`
pub(super) fn contains(run: &mut Run, container: &Value, item: &Value) -> Result<bool> {
    match container {
        Value::Str(text) => match item {
            Value::Str(part) => {
                run.reads(text.n_bytes() + part.n_bytes())?;
                Ok(super::strings::find(text.as_str(), part.as_str()).is_some())
            }
            Value::Undefined(_) => Err(item.undefined_error()),
            other => Err(error(format!(
                "'in <string>' requires string as left operand, not {}",
                other.type_name()
            ))),
        },
        Value::Dict(dict) => {
            run.step()?;
            item.check_hashable()?;
            Ok(dict.get(item).is_some())
        }
        Value::Range(range) => Ok(item.as_index().is_some_and(|n| {
            let offset = n - range.start;
            offset % range.step == 0 && offset / range.step >= 0 && offset / range.step < range.len as i128
        })),
        other => {
            let items = other
                .iterate()
                .map_err(|_| error(format!("argument of type '{}' is not iterable", other.type_name())))?;
            for candidate in &items.items {
                run.step()?;
                if run.equal(candidate, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// The indices of a Python slice.
pub(super) fn indices(len: usize, bounds: &[Option<Value>; 3]) -> Result<Vec<usize>> {
    let bound = |value: &Option<Value>| match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => value
            .as_index()
            .map(Some)
            .ok_or_else(|| error("slice indices must be integers or None or have an __index__ method")),
    };
    let step = bound(&bounds[2])?.unwrap_or(1);
    if step == 0 {
        return Err(error("slice step cannot be zero"));
    }
    let n = len as i128;
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let clamp = |idx: i128| (if idx < 0 { idx.saturating_add(n) } else { idx }).clamp(low, high);
    let start = bound(&bounds[0])?.map_or(if step > 0 { low } else { high }, clamp);
    let stop = bound(&bounds[1])?.map_or(if step > 0 { high } else { low }, clamp);
    let mut found = Vec::new();
    let mut at = start;
    while if step > 0 { at < stop } else { at > stop } {
        found.push(at as usize);
        at = at.saturating_add(step);
    }
    Ok(found)
}

/// `value[a:b:c]`
pub(super) fn slice(run: &mut Run, value: &Value, bounds: &[Option<Value>; 3]) -> Result<Value> {
    match value {
        Value::Str(text) => {
            run.reads(text.n_bytes())?;
            let found = indices(text.n_chars(), bounds)?;
            run.items(found.len() / 8)?;
            let is_run = found.windows(2).all(|pair| pair[1] == pair[0] + 1);
            let sliced = match (found.first(), found.last()) {
                (Some(&first), Some(&last)) if is_run => {
                    text.sub(text.byte_of(first)..text.byte_of(last + 1))
                }
                (None, _) => text.sub(0..0),
                _ => {
                    let chars: Vec<(char, bool)> = text.chars().collect();
                    let mut out = TextBuilder::default();
                    found.iter().for_each(|&at| out.push_char(chars[at].0, chars[at].1));
                    out.finish()
                }
            };
            run.made(sliced)
        }
        Value::List(list) | Value::Tuple(list) => {
            let found = indices(list.items.len(), bounds)?;
            items(run, found.len())?;
            let sliced = found.iter().map(|&at| list.items[at].clone()).collect();
            if matches!(value, Value::List(_)) { Value::list(sliced) } else { Value::tuple(sliced) }
        }
        Value::Range(range) => {
            let found = indices(range.len, bounds)?;
            items(run, found.len())?;
            let step = bounds[2].as_ref().and_then(Value::as_index).unwrap_or(1) * range.step;
            let start = found.first().map_or(range.start, |&at| range.at(at));
            Ok(Value::Range(super::value::Range { start, step, len: found.len() }))
        }
        Value::Bytes(bytes, foreign) => {
            let found = indices(bytes.len(), bounds)?;
            Ok(Value::Bytes(found.iter().map(|&at| bytes[at]).collect(), *foreign))
        }
        Value::Undefined(_) => Err(value.undefined_error()),
        other => Ok(Value::undefined(&format!("'{} object' has no slices", other.type_name()))),
    }
}
