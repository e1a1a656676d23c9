//! Checks of values that keywords have.

use serde_json::Value;

use super::{error, malformed};
use crate::source::GrammarError;

/// Largest number up to which every integer is a double, so that llguidance keeps it exactly.
const MOST_EXACT: u64 = 1 << 53;
/// Characters or items that no answer has: a maximum above it excludes nothing.
const MOST_LENGTH: u64 = 1 << 24;

/// A length or number of items; `None` if it excludes nothing.
pub(super) fn size(key: &str, value: &Value, at: &str) -> Result<Option<Value>, GrammarError> {
    let whole = value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e18).contains(n));
        number.map(|n| n as u64)
    });
    let is_maximum = key.starts_with("max");
    let is_huge = value.as_f64().is_some_and(|n| n >= MOST_LENGTH as f64);
    match whole {
        _ if is_huge && is_maximum => Ok(None),
        _ if is_huge => Err(error(at, "no answer can be this long")),
        Some(n) => Ok(Some(Value::from(n))),
        None => Err(malformed(at, "must be a number of 0 or more, without a fraction")),
    }
}

/// Checks a number that llguidance reads as a double.
pub(super) fn check_number(value: &Value, at: &str) -> Result<(), GrammarError> {
    // In draft 4 exclusiveMinimum is true or false.
    if value.is_boolean() && at.contains("/exclusive") {
        return Ok(());
    }
    let Value::Number(number) = value else { return Err(malformed(at, "must be a number")) };
    let double = number.as_f64().filter(|n| n.is_finite());
    let Some(double) = double else { return Err(error(at, "the number is too large")) };
    if at.ends_with("/multipleOf") && double <= 0.0 {
        return Err(malformed(at, "must be above 0"));
    }
    Ok(())
}

/// Checks `const` and `enum`.
pub(super) fn check_values(key: &str, value: &Value, at: &str) -> Result<(), GrammarError> {
    if key == "enum" {
        let values = value.as_array().ok_or_else(|| malformed(at, "must be an array of values"))?;
        if values.is_empty() {
            return Err(error(at, "is empty: no answer can fit it"));
        }
    }
    let mut todo = vec![value];
    while let Some(value) = todo.pop() {
        match value {
            Value::Number(number) => {
                let digits = number.as_str().bytes().filter(u8::is_ascii_digit).count();
                let is_exact = number.as_i64().is_none_or(|n| n.unsigned_abs() <= MOST_EXACT) && digits <= 17;
                if !is_exact || number.as_f64().is_none_or(|n| !n.is_finite()) {
                    let reason =
                        format!("{number} has more digits than are kept exactly: give it as a string");
                    return Err(error(at, &reason));
                }
            }
            Value::Array(items) => todo.extend(items),
            Value::Object(map) => todo.extend(map.values()),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn check_type(value: &Value, at: &str) -> Result<(), GrammarError> {
    const NAMES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let names: Vec<&Value> = match value {
        Value::Array(names) => names.iter().collect(),
        _ => vec![value],
    };
    for name in names {
        match name.as_str() {
            Some(known) if NAMES.contains(&known) => {}
            // Some clients write the names that a programming language has for types.
            Some(_) => {
                return Err(error(at, &format!("{name} is not a type: there are {}", NAMES.join(", "))));
            }
            None => return Err(malformed(at, "must be the name of a type, or an array of names")),
        }
    }
    Ok(())
}
