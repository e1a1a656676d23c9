//! Grammars that hold tool calls to a model's own format.

mod body;
mod lark;

pub(crate) use body::{Kind, properties, takes_others, texts};

use inferno_text::{ReplyFormat, Tokenizer};
use serde_json::{Value, json};

use crate::samples::samples;
use crate::schema;
use crate::source::{GrammarPart, GrammarSource};

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
    /// The form of an answer without calls; `None` where it is a free text.
    pub form: Option<&'a GrammarPart>,
}

impl CallRules<'_> {
    /// The grammar of an answer in `format`, with the control tokens of `tokenizer` for the format's marks; `None` where
    /// nothing is constrained.
    ///
    /// With [`CallChoice::Auto`] the answer is free up to the first mark of a call, or where there is a form, begins with the
    /// mark or is of the form. From the mark on, and from its beginning with [`CallChoice::Required`] (after reasoning, if
    /// the format knows of it), it is calls in the format's own syntax, whose arguments fit the schemas, and ends with them. A schema that cannot be prepared counts
    /// as the schema of any object, unless the tool is strict; so does a malformed one, which
    /// [`Compiler::check_schema`](crate::Compiler::check_schema) finds before. Python's names of types (`dict`, `float`) are
    /// taken for JSON's.
    ///
    /// In formats that write strings without quotes (tags, Gemma's), of a string's schema only `enum` and `const` are kept.
    pub fn grammar(&self, format: &ReplyFormat, tokenizer: &Tokenizer) -> Option<GrammarSource> {
        (!self.tools.is_empty()).then(|| {
            let writer = lark::Writer::new(self, format, tokenizer);
            GrammarSource::Calls {
                marks: writer.marks_to_the_end(),
                samples: self.samples(),
                lark: writer.write(),
                unenforced: self.form.map(|form| form.unenforced.clone()).unwrap_or_default(),
            }
        })
    }

    /// Texts for the patterns and formats of all tools' schemas, each once.
    fn samples(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.tools.iter().flat_map(|tool| samples(&tool.parameters)).collect();
        texts.sort();
        texts.dedup();
        texts
    }

    /// The same rules with tools that take any object where their schemas cannot be kept and need not be; `None` where all
    /// are kept.
    pub(crate) fn loosened(&self) -> Option<Vec<Tool>> {
        let loosened = |tool: &Tool| match tool.strict || schema::is_kept(&body::arguments(tool)) {
            true => tool.clone(),
            false => Tool { parameters: json!({ "type": "object" }), ..tool.clone() },
        };
        let tools: Vec<Tool> = self.tools.iter().map(loosened).collect();
        (tools != self.tools).then_some(tools)
    }
}
