//! JSON of strangers: bounded in depth and in size before it is a value, and no key twice.
#![deny(clippy::indexing_slicing)]

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::ApiError;
use crate::settings::Settings;

/// How deep JSON may nest, and how many values and keys it may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) depth: usize,
    pub(crate) nodes: usize,
}

impl Limits {
    pub(crate) fn of(settings: &Settings) -> Limits {
        Limits { depth: settings.json_depth, nodes: settings.json_nodes }
    }
}

/// The object in `bytes`, and how many values and keys it has.
///
/// # Errors
/// It is no JSON object, or too deep, or has too many parts.
pub(crate) fn object(bytes: &[u8], settings: &Settings) -> Result<(Map<String, Value>, usize), ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request("the body is empty, expected a JSON object"));
    }
    let limits = Limits::of(settings);
    let mut left = limits.nodes;
    match bounded(bytes, &mut left, limits) {
        Ok(Value::Object(map)) => Ok((map, limits.nodes - left)),
        Ok(_) => Err(ApiError::bad_request("the body is JSON but no object, expected `{…}`")),
        Err(e) => Err(malformed(&e)),
    }
}

/// The value in `bytes`.
///
/// # Errors
/// The bytes are no JSON, or the value is too deep or has too many parts.
pub(crate) fn value(bytes: &[u8], settings: &Settings) -> Result<Value, ApiError> {
    let limits = Limits::of(settings);
    bounded(bytes, &mut { limits.nodes }, limits).map_err(|e| malformed(&e))
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let message = format!("the body is not JSON as it is taken here: {error}");
    ApiError { code: Some("invalid_json"), ..ApiError::bad_request(message) }
}

/// Any value, of at most `left` values and keys; what it has is taken from that.
pub(crate) fn bounded(bytes: &[u8], left: &mut usize, limits: Limits) -> Result<Value, serde_json::Error> {
    let seed = Bounded { depth: limits.depth, left, limits };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value))
}

struct Bounded<'a> {
    depth: usize,
    left: &'a mut usize,
    limits: Limits,
}

impl Bounded<'_> {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        match self.left.checked_sub(1) {
            Some(left) => {
                *self.left = left;
                Ok(())
            }
            None => Err(E::custom(format!("it has more than {} values and keys", self.limits.nodes))),
        }
    }

    fn deeper<E: Error>(&mut self) -> Result<usize, E> {
        self.depth
            .checked_sub(1)
            .ok_or_else(|| E::custom(format!("it nests deeper than {}", self.limits.depth)))
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, x: bool) -> Result<Value, E> {
        Ok(Value::Bool(x))
    }

    fn visit_i64<E>(self, x: i64) -> Result<Value, E> {
        Ok(x.into())
    }

    fn visit_u64<E>(self, x: u64) -> Result<Value, E> {
        Ok(x.into())
    }

    fn visit_f64<E: Error>(self, x: f64) -> Result<Value, E> {
        Number::from_f64(x).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, x: &str) -> Result<Value, E> {
        Ok(Value::String(x.to_owned()))
    }

    fn visit_string<E>(self, x: String) -> Result<Value, E> {
        Ok(Value::String(x))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut all = Vec::new();
        while let Some(item) =
            items.next_element_seed(Bounded { depth, left: &mut *self.left, limits: self.limits })?
        {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut pairs: A) -> Result<Value, A::Error> {
        let mut next = pairs.next_key::<String>()?;
        if next.as_deref() == Some(NUMBER) {
            return number(&pairs.next_value::<String>()?);
        }
        let depth = self.deeper()?;
        let mut all = Map::new();
        while let Some(key) = next {
            self.count()?;
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key `{}`", crate::error::shown(&key))));
            }
            let seed = Bounded { depth, left: &mut *self.left, limits: self.limits };
            all.insert(key, pairs.next_value_seed(seed)?);
            next = pairs.next_key()?;
        }
        Ok(Value::Object(all))
    }
}

/// The key under which `serde_json` gives numbers that are no integers of 64 bits, as texts (its feature
/// `arbitrary_precision`). An object with this key is a number here too.
const NUMBER: &str = "$serde_json::private::Number";

/// A number as JSON spells it: an integer exact to 128 bits, or a float.
fn number<E: Error>(text: &str) -> Result<Value, E> {
    if let Ok(n) = text.parse::<i128>() {
        return Number::from_i128(n).map(Value::Number).ok_or_else(|| E::custom("number out of range"));
    }
    let x = text.parse::<f64>().ok().filter(|x| x.is_finite());
    x.and_then(Number::from_f64).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_to_128_bits_and_floats_the_nearest() {
        let text = "{\"a\":170141183460469231731687303715884105727,\"b\":-18446744073709551616,\"c\":1.50,\"d\":1e2,\"e\":-0,\"f\":1e-7}";
        let (object, _) =
            object(text.as_bytes(), &Settings { json_depth: 1, ..Settings::default() }).unwrap();
        let shown = "{\"a\":170141183460469231731687303715884105727,\"b\":-18446744073709551616,\"c\":1.5,\"d\":100.0,\"e\":0,\"f\":1e-7}";
        assert_eq!(Value::Object(object).to_string(), shown);
    }

    fn check(text: &str, settings: &Settings) -> Result<(), String> {
        object(text.as_bytes(), settings).map(drop).map_err(|e| e.message)
    }

    #[test]
    fn depth_and_size_are_bounded_exactly() {
        let settings = Settings { json_depth: 4, json_nodes: 10, ..Settings::default() };
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n - 1), "]".repeat(n - 1));
        assert_eq!(check(&nested(3), &settings), Ok(()));
        assert_eq!(check(&nested(4), &settings), Ok(()));
        assert!(check(&nested(5), &settings).unwrap_err().contains("deeper than 4"));
        assert!(check(&nested(100_000), &Settings::default()).unwrap_err().contains("deeper than 32"));
        // The object, a key, an array, and its numbers.
        let wide = |n: usize| format!("{{\"a\":[{}]}}", vec!["1"; n - 3].join(","));
        assert_eq!(check(&wide(9), &settings), Ok(()));
        assert_eq!(check(&wide(10), &settings), Ok(()));
        assert!(check(&wide(11), &settings).unwrap_err().contains("more than 10 values"));
    }

    #[test]
    fn what_is_no_object_is_refused_with_the_place() {
        let settings = Settings::default();
        for (text, expected) in [
            ("", "empty"),
            (" \n", "empty"),
            ("[1]", "no object"),
            ("{\"a\":1", "EOF"),
            ("{\"a\":1}x", "trailing"),
            ("{\"a\":1,\"a\":2}", "duplicate key `a`"),
            ("{\"a\":1e400}", "out of range"),
            ("{\"a\":\"\\ud800\"}", "column 13"),
            ("{\"a\":\"\0\"}", "control character"),
            ("{\"a\":NaN}", "column 6"),
        ] {
            let message = check(text, &settings).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
        assert!(object(b"{\"a\":\"\xff\"}", &settings).is_err());
        assert_eq!(check("{\"a\":\"\\u0000\",\"b\":-0,\"c\":9007199254740993}", &settings), Ok(()));
    }
}
