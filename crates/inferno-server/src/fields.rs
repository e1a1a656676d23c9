//! Reading parameters out of a JSON object: each has a type and a range, and every error says what is allowed.
#![deny(clippy::indexing_slicing)]

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{ApiError, shown};

/// The members of an object that are not read yet.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// Where the object lies, with the dot: `stream_options.`
    path: String,
}

impl Fields {
    /// Those of the body itself.
    pub(crate) fn new(map: Map<String, Value>) -> Fields {
        Fields { map, path: String::new() }
    }

    /// The full name of a member.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// Takes a member; null is as good as none.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.see(name, Seen::Other);
        self.map.swap_remove(name).filter(|value| !value.is_null())
    }

    /// Puts a member in the place of the one of its name, if there is one.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.map.insert(name.to_owned(), value);
    }

    /// Is a member there? No reading of it: of members that are refused.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Looks at a member.
    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.see(name, Seen::Other);
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A number in `range`.
    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<f32>) -> Result<Option<f32>, ApiError> {
        self.see(name, Seen::Number(*range.start(), *range.end()));
        let Some(value) = self.take(name) else { return Ok(None) };
        let (from, to) = (f64::from(*range.start()), f64::from(*range.end()));
        match value.as_f64().filter(|x| (from..=to).contains(x)) {
            Some(x) => Ok(Some(x as f32)),
            None => Err(self.expected(
                name,
                &value,
                &format!("a number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// An integer in `range`; `16.0` is one.
    pub(crate) fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        self.see(name, Seen::Integer(*range.start(), *range.end()));
        let Some(value) = self.take(name) else { return Ok(None) };
        match integer(&value).filter(|x| range.contains(x)) {
            Some(x) => Ok(Some(x)),
            None => Err(self.expected(name, &value, &integers(&range))),
        }
    }

    /// An integer from `range` that counts something.
    pub(crate) fn count(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let most = i64::try_from(*range.end()).unwrap_or(i64::MAX);
        let n = self.integer(name, *range.start() as i64..=most)?;
        Ok(n.map(|n| n as usize))
    }

    /// True or false.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        self.see(name, Seen::Boolean);
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(x)) => Ok(Some(x)),
            Some(value) => Err(self.expected(name, &value, "true or false")),
        }
    }

    /// A text of at most so many bytes.
    pub(crate) fn string(&mut self, name: &str, most: usize) -> Result<Option<String>, ApiError> {
        self.see(name, Seen::Text);
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= most => Ok(Some(text)),
            Some(value) => Err(self.expected(name, &value, &format!("a string of at most {most} bytes"))),
        }
    }

    /// An object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Fields>, ApiError> {
        self.see(name, Seen::Object);
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { map, path: format!("{}.", self.name(name)) })),
            Some(value) => Err(self.expected(name, &value, "an object")),
        }
    }

    /// Token ids below `vocab_size`, at most so many.
    pub(crate) fn tokens(
        &mut self,
        name: &str,
        most: usize,
        vocab_size: usize,
    ) -> Result<Option<Vec<u32>>, ApiError> {
        self.see(name, Seen::Tokens);
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Array(items) = &value else {
            return Err(self.expected(name, &value, "an array of token ids"));
        };
        if items.len() > most {
            return Err(self.expected(name, &value, &format!("at most {most} token ids")));
        }
        tokens(&self.name(name), items, vocab_size).map(Some)
    }

    /// Says that a member is not what it should be.
    pub(crate) fn expected(&self, name: &str, found: &Value, expected: &str) -> ApiError {
        expected_at(&self.name(name), found, expected)
    }

    /// What nobody has read.
    pub(crate) fn into_rest(self) -> Map<String, Value> {
        self.map
    }
}

/// The type a member was taken as: a test compares it with the API's description.
#[cfg_attr(not(test), allow(dead_code, reason = "for a test alone"))]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Seen {
    /// From, to.
    Number(f32, f32),
    /// From, to.
    Integer(i64, i64),
    Boolean,
    Text,
    Object,
    Tokens,
    Other,
}

impl Fields {
    #[cfg(not(test))]
    #[inline]
    fn see(&self, _name: &str, _seen: Seen) {}

    /// Notes a member of the body itself.
    #[cfg(test)]
    fn see(&self, name: &str, seen: Seen) {
        if self.path.is_empty() {
            SEEN.with_borrow_mut(|all| {
                let before = all.entry(name.to_owned()).or_insert(seen);
                if *before == Seen::Other {
                    *before = seen;
                }
            });
        }
    }
}

#[cfg(test)]
thread_local! {
    static SEEN: std::cell::RefCell<std::collections::BTreeMap<String, Seen>> = const { std::cell::RefCell::new(std::collections::BTreeMap::new()) };
}

/// The members of bodies that `read` takes on this thread, and what it returns.
#[cfg(test)]
pub(crate) fn recorded<T>(read: impl FnOnce() -> T) -> (std::collections::BTreeMap<String, Seen>, T) {
    SEEN.take();
    let returned = read();
    (SEEN.take(), returned)
}

/// The value of a parameter that has several names; null is as good as none.
///
/// # Errors
/// Two of them are there and differ.
pub(crate) fn agreed<T: Copy + PartialEq + std::fmt::Display, const N: usize>(
    values: [(&'static str, Option<T>); N],
) -> Result<Option<T>, ApiError> {
    let mut there = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let Some((first, value)) = there.next() else { return Ok(None) };
    match there.find(|other| other.1 != value) {
        None => Ok(Some(value)),
        Some((name, other)) => {
            let message = format!(
                "`{name}` is {other} and `{first}` is {value}, which are two names of one parameter: expected one of them"
            );
            Err(ApiError::invalid(name, message))
        }
    }
}

/// Says that the value at `path` is not what it should be.
pub(crate) fn expected_at(path: &str, found: &Value, expected: &str) -> ApiError {
    ApiError::invalid(path, format!("`{path}` is {}, expected {expected}", described(found)))
}

/// Token ids out of JSON.
pub(crate) fn tokens(path: &str, items: &[Value], vocab_size: usize) -> Result<Vec<u32>, ApiError> {
    let token = |(i, item): (usize, &Value)| {
        let id = item.as_u64().filter(|&id| id < vocab_size as u64);
        id.map(|id| id as u32).ok_or_else(|| {
            expected_at(&format!("{path}[{i}]"), item, &format!("a token id from 0 to {}", vocab_size - 1))
        })
    };
    items.iter().enumerate().map(token).collect()
}

/// The integer that a value is.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64);
    value.as_i64().or_else(|| value.as_f64().filter(|_| value.is_f64()).and_then(whole))
}

fn integers(range: &RangeInclusive<i64>) -> String {
    match (*range.start(), *range.end()) {
        (start, i64::MAX) if start > i64::MIN => format!("an integer from {start} on"),
        (i64::MIN, i64::MAX) => "an integer of 64 bits".to_owned(),
        (start, end) if start == end => format!("{start}"),
        (start, end) => format!("an integer from {start} to {end}"),
    }
}

/// A value in a message: scalars as they are, the rest by its kind.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(x) => x.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(text) if text.len() <= 60 => format!("\"{}\"", shown(text)),
        Value::String(text) => format!("a string of {} bytes", text.len()),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(_) => "an object".into(),
    }
}
