//! Grammars that hold tool calls to a model's own format.

mod body;
mod lark;

use inferno_text::{ReplyFormat, Tokenizer};
use serde_json::Value;

use crate::source::GrammarSource;

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Name of the function.
    pub name: String,
    /// JSON schema of its arguments; `{}` takes any object.
    pub parameters: Value,
    /// Whether the arguments must fit the schema; else any JSON object is taken.
    pub strict: bool,
}

/// Whether the model calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallChoice {
    /// As it likes: a text, calls, or both.
    Auto,
    /// At least one call, of any of the tools.
    Required,
}

/// The calls that an answer may contain.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRules<'a> {
    /// The tools that may be called: for a named function it alone, with `Required`.
    pub tools: &'a [Tool],
    /// Whether there must be a call.
    pub choice: CallChoice,
    /// Whether there may be several.
    pub parallel: bool,
    /// Whether the answer begins within reasoning that the prompt has opened.
    pub in_reasoning: bool,
}

impl CallRules<'_> {
    /// The grammar of an answer in `format`, with the control tokens of `tokenizer` for the format's marks; `None` where
    /// nothing is constrained.
    ///
    /// With [`CallChoice::Auto`] the answer is free up to the first mark of a call. From there on, and from its beginning
    /// with [`CallChoice::Required`] (after reasoning, if the prompt has opened it or the format knows of it), it is calls in
    /// the format's own syntax, whose arguments fit the schemas, and ends with them. A schema that cannot be kept counts
    /// as the schema of any object, unless the tool is strict.
    ///
    /// In formats that write strings without quotes (tags, Gemma's), of a string's schema only `enum` and `const` are kept.
    pub fn grammar(&self, format: &ReplyFormat, tokenizer: &Tokenizer) -> Option<GrammarSource> {
        (!self.tools.is_empty())
            .then(|| GrammarSource::Lark(lark::Writer::new(self, format, tokenizer).write()))
    }
}
