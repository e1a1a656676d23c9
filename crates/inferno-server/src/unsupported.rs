//! Parameters of other servers that this one does not have: ignoring them would give answers to another question.
//!
//! Each has values with which it asks for nothing, which are taken: they are the default of the server that knows it, so
//! that a client may write its defaults out. A parameter in no table and in no reader is unknown and ignored, as clients may
//! be newer than the server; so are those that change no answer (docs/server.md lists them).

use serde_json::{Map, Value};

use crate::error::ApiError;

mod table;
use table::{CHATS, COMPLETIONS, GENERATION, PROMPT, RESPONSES};

/// A value with which a parameter asks for nothing. null always is one.
#[derive(Debug, Clone, Copy)]
enum Is {
    False,
    True,
    /// This number.
    Number(f64),
    /// This number or less.
    AtMost(f64),
    /// This text; an empty one is written out too.
    Text(&'static str),
    /// An empty array.
    List,
    /// An empty object.
    Object,
    /// An array of nothing but these.
    Words(&'static [&'static str]),
}

/// Names, the values with which they ask for nothing, and what to do instead.
type Row = (&'static [&'static str], &'static [Is], &'static str);

/// Refuses what a chat asks for and cannot have.
///
/// # Errors
/// One of `rest`, which no reader took, is known to others and asks for something.
pub(crate) fn check_chat(rest: &Map<String, Value>) -> Result<(), ApiError> {
    check(rest, &[CHATS, PROMPT, GENERATION])
}

/// The same for completions.
///
/// # Errors
/// See [`check_chat`].
pub(crate) fn check_completion(rest: &Map<String, Value>) -> Result<(), ApiError> {
    check(rest, &[COMPLETIONS, PROMPT, GENERATION])
}

/// Refuses what a response lacks beside a chat, whose fields it has otherwise.
///
/// # Errors
/// See [`check_chat`].
pub(crate) fn check_response(rest: &Map<String, Value>) -> Result<(), ApiError> {
    check(rest, &[RESPONSES])
}

/// The same for a prompt that is made and not answered: only what would change the prompt counts.
///
/// # Errors
/// See [`check_chat`].
pub(crate) fn check_prompt(rest: &Map<String, Value>) -> Result<(), ApiError> {
    check(rest, &[PROMPT])
}

fn check(rest: &Map<String, Value>, tables: &[&[Row]]) -> Result<(), ApiError> {
    for (names, neutral, advice) in tables.iter().copied().flatten() {
        for &name in *names {
            if let Some(value) = rest.get(name)
                && !value.is_null()
                && !neutral.iter().any(|neutral| neutral.is(value))
            {
                return Err(ApiError::unsupported(name, format!("`{name}` is not supported: {advice}")));
            }
        }
    }
    Ok(())
}

impl Is {
    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Is::False, Value::Bool(x)) => !x,
            (Is::True, Value::Bool(x)) => *x,
            (Is::Number(x), Value::Number(n)) => n.as_f64() == Some(*x),
            (Is::AtMost(x), Value::Number(n)) => n.as_f64().is_some_and(|n| n <= *x),
            (Is::Text(x), Value::String(text)) => text == x,
            (Is::List, Value::Array(items)) => items.is_empty(),
            (Is::Object, Value::Object(pairs)) => pairs.is_empty(),
            (Is::Words(words), Value::Array(items)) => {
                items.iter().all(|item| item.as_str().is_some_and(|item| words.contains(&item)))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
