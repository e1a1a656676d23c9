//! One call, taken character by character: its name, and its arguments as JSON.

mod gemma;
mod json;
mod named;
mod python;
mod tagged;
mod values;

use serde_json::Value;

use super::format::CallBody;

/// Tools that may be called, each with the schema of its parameters.
pub(super) type Tools = [(String, Value)];

/// Parts of a call that became known with a character.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The function, and the id that the model gave. Comes once, before any argument.
    pub(super) call: Option<(String, Option<String>)>,
    /// More of the arguments.
    pub(super) arguments: String,
}

/// State of a call after a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The call goes on.
    More,
    /// The character was its last.
    Done,
    /// No part of a call: the character, and these bytes in front of it, may begin something else. A call that was told
    /// ended before them; without one, all of it was text.
    Other(usize),
}

/// A call that is being read.
#[derive(Debug)]
pub(super) enum Body {
    Json(json::JsonCall),
    Named(named::NamedCall),
    Tagged(tagged::TaggedReader),
    Python(python::PythonCall),
    Gemma(gemma::GemmaCall),
}

impl Body {
    /// A reader of one call; `None` for harmony and Functionary, whose calls are messages.
    pub(super) fn new(body: &CallBody) -> Option<Body> {
        Some(match body {
            CallBody::Json { name, arguments, id } => {
                Body::Json(json::JsonCall::new(name, arguments, id.as_deref()))
            }
            CallBody::Named { before_name, before_id, after_name, after_arguments, counted } => Body::Named(
                named::NamedCall::new(before_name, (before_id, after_name), after_arguments, *counted),
            ),
            CallBody::Tagged(tags) => Body::Tagged(tagged::TaggedReader::new(tags)),
            CallBody::Python => Body::Python(python::PythonCall::default()),
            CallBody::Gemma => Body::Gemma(gemma::GemmaCall::default()),
            CallBody::Harmony | CallBody::Recipients => return None,
        })
    }

    /// Takes the next character.
    pub(super) fn push(&mut self, c: char, tools: &Tools, told: &mut Told) -> Next {
        match self {
            Body::Json(call) => call.push(c, told),
            Body::Named(call) => call.push(c, told),
            Body::Tagged(call) => call.push(c, tools, told),
            Body::Python(call) => call.push(c, told),
            Body::Gemma(call) => call.push(c, told),
        }
    }

    /// Bytes in front of the next character that [`Next::Other`] may give back once the call was told.
    pub(super) fn n_held(&self) -> usize {
        match self {
            Body::Named(call) => call.n_held(),
            Body::Tagged(call) => call.n_held(),
            Body::Json(_) | Body::Python(_) | Body::Gemma(_) => 0,
        }
    }
}

/// Whether a call can have this name: what a function is called, and a text is not.
pub(super) fn is_name(name: &str) -> bool {
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '$' | '@');
    (1..=256).contains(&name.len()) && name.chars().all(is_of_name)
}

/// Waits for one of some texts. White space is of no account: neither in the texts, nor before them, nor within.
#[derive(Debug, Default)]
pub(super) struct Expected {
    texts: Vec<String>,
    /// The characters so far without white space, which begin one of the texts.
    seen: String,
    /// Bytes since the first of them.
    taken: usize,
}

/// State of an [`Expected`] text after a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// One of them may yet come.
    More,
    /// This text is complete with the character.
    Found(usize),
    /// None of them: of the character, and of these bytes in front of it, something else may begin.
    Other(usize),
}

impl Expected {
    pub(super) fn new<const N: usize>(texts: [&str; N]) -> Expected {
        let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect();
        Expected { texts: texts.into_iter().map(bare).collect(), ..Expected::default() }
    }

    /// Whether there is nothing to wait for.
    pub(super) fn is_empty(&self) -> bool {
        self.texts.iter().all(String::is_empty)
    }

    /// Whether a part of a text has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Bytes of the part of a text that has come, which [`Match::Other`] may give back.
    pub(super) fn n_held(&self) -> usize {
        self.taken
    }

    pub(super) fn push(&mut self, c: char) -> Match {
        if c.is_whitespace() {
            self.taken += if self.has_begun() { c.len_utf8() } else { 0 };
            return Match::More;
        }
        self.seen.push(c);
        match self.texts.iter().position(|text| !text.is_empty() && *text == self.seen) {
            Some(index) => {
                self.seen.clear();
                self.taken = 0;
                Match::Found(index)
            }
            None if self.texts.iter().any(|text| text.starts_with(&self.seen)) => {
                self.taken += c.len_utf8();
                Match::More
            }
            None => {
                self.seen.clear();
                Match::Other(std::mem::take(&mut self.taken))
            }
        }
    }
}
