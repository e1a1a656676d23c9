//! Parts of a model's answer: text, reasoning and tool calls, in the format that its chat template shows.

mod body;
mod format;
mod harmony;
mod held;
mod json_text;
mod known;
mod own;
mod parser;
mod recipients;
mod write;

use std::ops::Range;

pub use format::{CallBody, CallIds, CallSyntax, ReasoningMarks, ReplyFormat, TaggedCall};
#[cfg(test)]
use known::known_calls;
pub(crate) use known::known_reasoning;
pub use own::{result_text, system_text};
pub use parser::ReplyParser;

/// A part of an answer, as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The part that it belongs to.
    pub kind: PieceKind,
    /// More of its text; of [`PieceKind::ToolCall`] it is empty, of [`PieceKind::Arguments`] it is a part of a JSON text.
    /// Any piece's may be empty, where its source is a mark.
    pub text: String,
    /// Bytes of the decoded answer that it was made of, marks included. Pieces cover the answer without gaps, in order.
    pub source: Range<usize>,
}

/// Parts that an answer may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceKind {
    /// Text for the user.
    Text,
    /// The model's reasoning before its answer.
    Reasoning,
    /// The beginning of a tool call: comes once per call.
    ToolCall {
        /// Counts the calls of an answer from 0 on.
        index: u32,
        /// The id that the model gave it, where its format has one.
        id: Option<String>,
        /// Name of the function.
        name: String,
    },
    /// Arguments of the call that began last.
    Arguments {
        /// The call's.
        index: u32,
    },
}

/// Circumstances of one answer that its text does not tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReplyStart {
    /// Whether the prompt has opened the reasoning, so that the answer begins within it.
    pub in_reasoning: bool,
    /// Whether reasoning is told apart; else it stays in the text as it was written.
    pub splits_reasoning: bool,
    /// Tools that the model may call, each with the schema of its parameters; empty where calls are plain text.
    pub tools: Vec<(String, serde_json::Value)>,
}

#[cfg(test)]
mod tests;
