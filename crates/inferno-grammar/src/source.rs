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
    /// An answer that may or must have calls: see [`CallRules`](crate::CallRules).
    Calls {
        /// The grammar in llguidance's dialect of Lark.
        lark: String,
        /// Keywords of the form of an answer without calls that are not enforced.
        unenforced: Vec<String>,
        /// Marks of the format in the order in which an answer near its limit takes them, to end within it: bytes, of which a
        /// control token is `FF` and its number in brackets.
        marks: Vec<Vec<u8>>,
        /// Texts that strings of the tools' schemas may have to be, as they stand in JSON.
        samples: Vec<String>,
    },
}

/// A grammar in llguidance's dialect of Lark.
#[derive(Debug, Default)]
pub(crate) struct LarkText {
    pub(crate) lark: String,
    /// Keywords of schemas that are not enforced.
    pub(crate) unenforced: Vec<String>,
    /// Marks that an ending may need, in the order in which they are tried: bytes, of which a control token is `FF` and its
    /// number in brackets.
    pub(crate) marks: Vec<Vec<u8>>,
}

/// A form as a part of a larger grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrammarPart {
    /// An expression in llguidance's dialect of Lark.
    pub(crate) lark: String,
    /// Keywords of schemas that are not enforced, by name and place.
    pub(crate) unenforced: Vec<String>,
}

/// Reason for which a grammar is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct GrammarError {
    /// Place in the schema or grammar: `#/properties/a`, or `line 3`. Empty where the whole is refused.
    pub path: String,
    /// The reason, with the place.
    pub reason: String,
    /// Whether the source breaks the rules of its own notation; else it is well-formed, and cannot be kept.
    pub is_malformed: bool,
}

impl GrammarError {
    /// An error of the source as a whole.
    pub(crate) fn whole(reason: impl Into<String>) -> GrammarError {
        GrammarError { path: String::new(), reason: reason.into(), is_malformed: false }
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
            GrammarSource::Calls { lark, unenforced, marks, samples } => {
                format!("calls {unenforced:?} {marks:?} {samples:?} {lark}")
            }
        }
    }
}
