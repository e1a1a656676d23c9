//! Tests: `x is name`.

use super::arguments::{Given, required};
use super::error::{Result, error};
use super::number::{Number, arithmetic};
use super::operators;
use super::run::Run;
use super::value::Value;

/// Names of tests.
const NAMES: [&str; 39] = [
    "odd",
    "even",
    "divisibleby",
    "defined",
    "undefined",
    "filter",
    "test",
    "none",
    "boolean",
    "false",
    "true",
    "integer",
    "float",
    "lower",
    "upper",
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "in",
    "==",
    "eq",
    "equalto",
    "!=",
    "ne",
    ">",
    "gt",
    "greaterthan",
    "ge",
    ">=",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
];

pub(super) fn test(run: &mut Run, name: &str, value: &Value, given: Given) -> Result<bool> {
    run.step()?;
    let remainder = |by: &Value| {
        if value.is_undefined() {
            return Err(value.undefined_error());
        }
        arithmetic("%", value, by).unwrap_or_else(|| {
            Err(error(format!(
                "unsupported operand type(s) for %: '{}' and '{}'",
                value.type_name(),
                by.type_name()
            )))
        })
    };
    let other = |given: Given| {
        let [other] = given.bind(name, ["other"])?;
        required(other, name, "other")
    };
    Ok(match name {
        "odd" => remainder(&Value::int(2))?.equals(&Value::int(1)),
        "even" => remainder(&Value::int(2))?.equals(&Value::int(0)),
        "divisibleby" => {
            let [num] = given.bind(name, ["num"])?;
            remainder(&required(num, name, "num")?)?.equals(&Value::int(0))
        }
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "filter" => value.as_text().is_some_and(|text| super::filters::NAMES.contains(&text.as_str())),
        "test" => value.as_text().is_some_and(|text| NAMES.contains(&text.as_str())),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "false" => matches!(value, Value::Bool(false)),
        "true" => matches!(value, Value::Bool(true)),
        "integer" => matches!(value, Value::Int(..)),
        "float" => matches!(value, Value::Float(..)),
        "number" => Number::of(value).is_some(),
        "lower" | "upper" => {
            let text = super::print::to_text(value)?;
            run.reads(text.n_bytes())?;
            super::strings::is_case(text.as_str(), name == "upper")
        }
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        // What has a length and items.
        "sequence" => matches!(
            value,
            Value::Str(_)
                | Value::Bytes(..)
                | Value::List(_)
                | Value::Tuple(_)
                | Value::Dict(_)
                | Value::Range(_)
                | Value::Undefined(_)
        ),
        "iterable" => value.is_iterable(),
        "callable" => super::expressions::is_callable(value) || matches!(value, Value::Undefined(_)),
        "sameas" => value.is_same(&other(given)?),
        "escaped" => false,
        "in" => {
            let [seq] = given.bind(name, ["seq"])?;
            operators::contains(run, &required(seq, name, "seq")?, value)?
        }
        "==" | "eq" | "equalto" => operators::compare(run, "==", value, &other(given)?)?,
        "!=" | "ne" => operators::compare(run, "!=", value, &other(given)?)?,
        ">" | "gt" | "greaterthan" => operators::compare(run, ">", value, &other(given)?)?,
        ">=" | "ge" => operators::compare(run, ">=", value, &other(given)?)?,
        "<" | "lt" | "lessthan" => operators::compare(run, "<", value, &other(given)?)?,
        "<=" | "le" => operators::compare(run, "<=", value, &other(given)?)?,
        _ => return Err(error(format!("No test named '{name}'."))),
    })
}
