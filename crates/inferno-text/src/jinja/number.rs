//! Python's numbers: integers exact to 128 bits, floats as `repr` writes them.

use std::cmp::Ordering;

use super::error::{Result, error};
use super::value::Value;

/// An integer or a float; `bool` is an integer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub(super) fn of(value: &Value) -> Option<Number> {
        match value {
            Value::Bool(b) => Some(Number::Int(i128::from(*b))),
            Value::Int(n, _) => Some(Number::Int(*n)),
            Value::Float(x, _) => Some(Number::Float(*x)),
            _ => None,
        }
    }

    pub(super) fn as_f64(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(x) => x,
        }
    }
}

/// The order of two numbers, exactly; `None` if one is no number or NaN.
pub(super) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (Number::of(a)?, Number::of(b)?) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
        (Number::Int(a), Number::Float(b)) => compare_mixed(a, b),
        (Number::Float(a), Number::Int(b)) => compare_mixed(b, a).map(Ordering::reverse),
    }
}

fn compare_mixed(n: i128, x: f64) -> Option<Ordering> {
    if x.is_nan() {
        return None;
    }
    if x >= 2f64.powi(127) {
        return Some(Ordering::Less);
    }
    if x < -(2f64.powi(127)) {
        return Some(Ordering::Greater);
    }
    let floor = x.floor();
    Some(n.cmp(&(floor as i128)).then(if x > floor { Ordering::Less } else { Ordering::Equal }))
}

fn overflow() -> super::error::Fail {
    error("an integer does not fit 128 bits")
}

/// `a op b` for one of `+ - * / // % **`; `None` if one of them is no number.
pub(super) fn arithmetic(op: &str, a: &Value, b: &Value) -> Option<Result<Value>> {
    let (x, y) = (Number::of(a)?, Number::of(b)?);
    let foreign = a.is_foreign() || b.is_foreign();
    let value = match (x, y) {
        (Number::Int(x), Number::Int(y)) => integers(op, x, y, foreign),
        _ => floats(op, x.as_f64(), y.as_f64()).map(|x| Value::Float(x, foreign)),
    };
    Some(value)
}

fn integers(op: &str, a: i128, b: i128, foreign: bool) -> Result<Value> {
    let int = |n: Option<i128>| n.map(|n| Value::Int(n, foreign)).ok_or_else(overflow);
    match op {
        "+" => int(a.checked_add(b)),
        "-" => int(a.checked_sub(b)),
        "*" => int(a.checked_mul(b)),
        "/" => match b {
            0 => Err(error("division by zero")),
            _ => Ok(Value::Float(a as f64 / b as f64, foreign)),
        },
        "//" | "%" if b == 0 => Err(error("integer division or modulo by zero")),
        "//" => int(a.checked_div_euclid(b).and_then(|q| {
            // Towards minus infinity, where Euclid's remainder is never negative.
            if b < 0 && a.rem_euclid(b) != 0 { q.checked_sub(1) } else { Some(q) }
        })),
        "%" => int(Some(match a.wrapping_rem(b) {
            r if r != 0 && (r < 0) != (b < 0) => r + b,
            r => r,
        })),
        _ if b >= 0 => match (a, b) {
            (0 | 1, _) => int(Some(if b == 0 { 1 } else { a })),
            (-1, _) => int(Some(if b % 2 == 0 { 1 } else { -1 })),
            _ => int(u32::try_from(b).ok().and_then(|b| a.checked_pow(b))),
        },
        _ if a == 0 => Err(error("0.0 cannot be raised to a negative power")),
        _ => Ok(Value::Float((a as f64).powf(b as f64), foreign)),
    }
}

fn floats(op: &str, a: f64, b: f64) -> Result<f64> {
    Ok(match op {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" if b == 0.0 => return Err(error("float division by zero")),
        "/" => a / b,
        "//" | "%" if b == 0.0 => return Err(error("float floor division by zero")),
        "//" | "%" => {
            // Python's `float_divmod`.
            let mut rem = a % b;
            let mut div = (a - rem) / b;
            if rem != 0.0 {
                if (b < 0.0) != (rem < 0.0) {
                    rem += b;
                    div -= 1.0;
                }
            } else {
                rem = 0f64.copysign(b);
            }
            if op == "%" {
                rem
            } else if div != 0.0 {
                let floor = div.floor();
                if div - floor > 0.5 { floor + 1.0 } else { floor }
            } else {
                0f64.copysign(a / b)
            }
        }
        _ if a == 0.0 && b < 0.0 => return Err(error("0.0 cannot be raised to a negative power")),
        _ if a < 0.0 && b.is_finite() && b.fract() != 0.0 => {
            return Err(error("a negative number has no real power"));
        }
        _ => match a.powf(b) {
            x if x.is_infinite() && a.is_finite() && b.is_finite() => {
                return Err(error("(34, 'Numerical result out of range')"));
            }
            x => x,
        },
    })
}

/// A float as `repr` writes it: the shortest digits that give it back.
pub(super) fn float_repr(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let shortest = format!("{x:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{x}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// Python's `int(text, base)`.
pub(super) fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixed =
        |prefix: &str, of: u32| (base == of || base == 0).then(|| lower.strip_prefix(prefix)).flatten();
    let (digits, base, prefixed) = match (prefixed("0x", 16), prefixed("0o", 8), prefixed("0b", 2)) {
        (Some(rest), ..) => (rest, 16, true),
        (_, Some(rest), _) => (rest, 8, true),
        (.., Some(rest)) => (rest, 2, true),
        _ => (lower.as_str(), if base == 0 { 10 } else { base }, false),
    };
    let digits = if prefixed { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let plain: String = digits.chars().filter(|&c| c != '_').map(ascii_digit).collect();
    if plain.starts_with(['+', '-']) {
        return None;
    }
    let signed = if negative { format!("-{plain}") } else { plain };
    i128::from_str_radix(&signed, base).ok()
}

/// Decimal digits of other scripts, as Python takes them too.
fn ascii_digit(c: char) -> char {
    super::unicode::decimal(c).and_then(|digit| char::from_digit(digit, 10)).unwrap_or(c)
}

/// Python's `float(text)`.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let unsigned = lower.trim_start_matches(['+', '-']);
    if lower.len() - unsigned.len() > 1 {
        return None;
    }
    if matches!(unsigned, "inf" | "infinity" | "nan") {
        return lower.parse().ok();
    }
    if unsigned.starts_with('_') || unsigned.ends_with('_') || unsigned.contains("__") {
        return None;
    }
    let plain: String = lower.chars().filter(|&c| c != '_').map(ascii_digit).collect();
    if !plain.chars().all(|c| c.is_ascii_digit() || "+-.e".contains(c)) {
        return None;
    }
    plain.parse().ok()
}

/// Python's `round(x, n_digits)` of a float.
pub(super) fn round(x: f64, n_digits: i32) -> f64 {
    if !x.is_finite() || n_digits > 330 {
        return x;
    }
    if n_digits >= 0 {
        // Exact decimals, half to even.
        return format!("{:.*}", n_digits as usize, x).parse().unwrap_or(x);
    }
    if n_digits < -310 {
        return 0f64.copysign(x);
    }
    let scale = 10f64.powi(-n_digits);
    (x / scale).round_ties_even() * scale
}

/// Python's `round(n, n_digits)` of an integer.
pub(super) fn round_int(n: i128, n_digits: i32) -> Result<i128> {
    if n_digits >= 0 {
        return Ok(n);
    }
    let Some(scale) = 10i128.checked_pow(n_digits.unsigned_abs()) else { return Ok(0) };
    let (quotient, rem) = (n.div_euclid(scale), n.rem_euclid(scale));
    let up = rem > scale - rem || (rem == scale - rem && quotient % 2 != 0);
    (quotient + i128::from(up)).checked_mul(scale).ok_or_else(overflow)
}
