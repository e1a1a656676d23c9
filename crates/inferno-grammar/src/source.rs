//! The forms of structure that a client can ask for.

use serde_json::Value;

/// A form that an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub enum GrammarSource {
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema takes.
    JsonSchema(Value),
    /// A text that a regular expression matches as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A grammar in llama.cpp's notation.
    Gbnf(String),
    /// A grammar in llguidance's dialect of Lark.
    Lark(String),
    /// vLLM's structural tags, in either of their forms.
    StructuralTag(Value),
}

/// Reason for which a grammar is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct GrammarError {
    /// Place in the schema or grammar: `#/properties/a`, or `line 3`. Empty where the whole is refused.
    pub path: String,
    /// The reason, with the place.
    pub reason: String,
}

impl GrammarError {
    /// An error of the source as a whole.
    pub(crate) fn whole(reason: impl Into<String>) -> GrammarError {
        GrammarError { path: String::new(), reason: reason.into() }
    }
}

impl GrammarSource {
    /// Its content as a key: equal for equal sources, and for no others.
    pub(crate) fn key(&self) -> String {
        match self {
            GrammarSource::JsonObject => "object".to_owned(),
            GrammarSource::JsonSchema(schema) => format!("schema {schema}"),
            GrammarSource::Regex(regex) => format!("regex {regex}"),
            GrammarSource::Choice(choices) => format!("choice {choices:?}"),
            GrammarSource::Gbnf(text) => format!("gbnf {text}"),
            GrammarSource::Lark(text) => format!("lark {text}"),
            GrammarSource::StructuralTag(tag) => format!("tag {tag}"),
        }
    }
}
