//! Functions that every template can call.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::arguments::{Given, int, required};
use super::error::{Fail, Result, error};
use super::operators::items;
use super::run::Run;
use super::value::{Function, Range, Value};
use super::{print, strftime};

/// Limit of Jinja's sandbox on the items of a `range`.
const MAX_RANGE: usize = 100_000;

pub(super) fn global(name: &str) -> Option<Value> {
    let function = match name {
        "range" => Function::Range,
        "dict" => Function::Dict,
        "namespace" => Function::Namespace,
        "cycler" => Function::Cycler,
        "joiner" => Function::Joiner,
        "raise_exception" => Function::RaiseException,
        "strftime_now" => Function::StrftimeNow,
        _ => return None,
    };
    Some(Value::Function(function))
}

pub(super) fn call(run: &mut Run, function: Function, given: Given) -> Result<Value> {
    match function {
        Function::Range => {
            let [start, stop, step] = given.positional("range")?;
            let start = int(&required(start, "range", "stop")?, "range")?;
            let (start, stop) = match stop {
                Some(stop) => (start, int(&stop, "range")?),
                None => (0, start),
            };
            let step = step.map_or(Ok(1), |step| int(&step, "range"))?;
            range(start, stop, step)
        }
        Function::Dict => pairs(run, given, "dict").and_then(Value::dict),
        Function::Namespace => {
            let pairs = pairs(run, given, "namespace")?;
            let mut values = Vec::with_capacity(pairs.len());
            for (key, value) in pairs {
                let Value::Str(name) = key else { return Err(error("attribute names are strings")) };
                if value.has_state() {
                    return Err(error(format!("a namespace cannot hold a {}", value.type_name())));
                }
                values.push((Rc::from(name.as_str()), value));
            }
            Ok(Value::Namespace(Rc::new(RefCell::new(values))))
        }
        Function::Cycler => {
            if given.pos.is_empty() {
                return Err(error("at least one item has to be provided"));
            }
            // Checks how deep they nest.
            super::value::List::new(given.pos.clone())?;
            Ok(Value::Cycler(Rc::new((given.pos, Cell::new(0)))))
        }
        Function::Joiner => {
            let [sep] = given.bind("joiner", ["sep"])?;
            let sep = print::to_text(&sep.unwrap_or_else(|| Value::str(", ")))?;
            Ok(Value::Joiner(Rc::new((Value::Str(sep), Cell::new(false)))))
        }
        Function::RaiseException => {
            let [message] = given.bind("raise_exception", ["message"])?;
            let message = print::to_text(&required(message, "raise_exception", "message")?)?;
            Err(Fail::Raised(message.as_str().to_owned()))
        }
        Function::StrftimeNow => {
            let [format] = given.bind("strftime_now", ["format"])?;
            let format = super::arguments::text(required(format, "strftime_now", "format")?, "strftime_now")?;
            let text = strftime::strftime(format.as_str(), run.limits.now, run.limits.utc_offset)
                .ok_or_else(|| error("a date of more than 16 MiB"))?;
            run.made(super::text::Text::of(text, format.has_foreign()))
        }
    }
}

fn range(start: i128, stop: i128, step: i128) -> Result<Value> {
    if step == 0 {
        return Err(error("range() arg 3 must not be zero"));
    }
    let distance = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) };
    let len = if distance <= 0 { 0 } else { (distance - 1) / step.saturating_abs() + 1 };
    match usize::try_from(len) {
        Ok(len) if len <= MAX_RANGE => Ok(Value::Range(Range { start, step, len })),
        _ => Err(error(format!(
            "Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MAX_RANGE})."
        ))),
    }
}

/// Pairs of a mapping or of pairs, and named ones.
fn pairs(run: &mut Run, given: Given, what: &str) -> Result<Vec<(Value, Value)>> {
    let Given { pos, named } = given;
    if pos.len() > 1 {
        return Err(error(format!("{what} expected at most 1 argument, got {}", pos.len())));
    }
    let mut pairs = Vec::new();
    match pos.first() {
        None => {}
        Some(Value::Dict(dict)) => {
            items(run, dict.pairs.len())?;
            pairs.extend(dict.pairs.iter().cloned());
        }
        Some(other) => {
            items(run, other.n_items().unwrap_or(1))?;
            for pair in &other.iterate()?.items {
                match pair.iterate()?.items.as_slice() {
                    [key, value] => pairs.push((key.clone(), value.clone())),
                    _ => return Err(error(format!("{what} takes pairs"))),
                }
            }
        }
    }
    pairs.extend(named.into_iter().map(|(name, value)| (Value::str(&*name), value)));
    Ok(pairs)
}
