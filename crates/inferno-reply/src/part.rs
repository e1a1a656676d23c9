//! Parts of an answer, and its end.

use inferno_engine::TokenLogprob;
use inferno_text::TokenSpan;

/// New text of one part of an answer, with the tokens that it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The part that it belongs to.
    pub kind: PartKind,
    /// More of its text. Of a [`PartKind::ToolCall`] it is empty, of [`PartKind::Arguments`] a part of a JSON text. Where a
    /// token has no text, or is a mark, it is empty too.
    pub text: String,
    /// Tokens whose last byte is in it, marks included.
    pub tokens: Vec<Shown>,
}

/// Kinds of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    /// Text for the user.
    Text,
    /// The model's reasoning before its answer.
    Reasoning,
    /// The beginning of a tool call; comes once per call.
    ToolCall {
        /// Counts the calls of an answer from 0 on.
        index: u32,
        /// The model's own id, or one that no other call has.
        id: String,
        /// Name of the function.
        name: String,
    },
    /// Arguments of the call that began last.
    Arguments {
        /// The call's.
        index: u32,
    },
}

/// A token whose text is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its place in the decoded answer, marks included.
    pub span: TokenSpan,
    /// If the request asked for it.
    pub logprob: Option<TokenLogprob>,
}

/// News of an answer: parts in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// Neighbours are of different kinds.
    pub parts: Vec<Part>,
}

/// Reasons for the end of an answer, as OpenAI names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model's own end, a stop string, or the end of its grammar.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
    /// As [`Stop`](Self::Stop), and the answer calls tools.
    ToolCalls,
}

/// The stop condition that ended an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// A stop string.
    String(String),
    /// One of the request's stop tokens.
    Token(u32),
}

/// The end of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The reason for it.
    pub reason: FinishReason,
    /// `None` at the model's own end and at the greatest length.
    pub stop: Option<StopReason>,
    /// Whether its grammar replaced tokens so that it ends within its limit. Set by callers that know the grammar.
    pub closed_early: bool,
}

/// An answer that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A cancelled request.
    #[error("the request was cancelled")]
    Cancelled,
    /// A deadline that has passed.
    #[error("the request was not done by its deadline")]
    Deadline,
    /// A failure of the engine.
    #[error("{0}")]
    Failed(String),
}

impl FinishReason {
    /// OpenAI's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
        }
    }
}

impl Delta {
    /// Appends later news.
    pub fn append(&mut self, news: Delta) {
        for Part { kind, text, tokens } in news.parts {
            let part = self.part(kind);
            part.text.push_str(&text);
            part.tokens.extend(tokens);
        }
    }

    /// The part to add to for more of `kind`: the last one, or a new one.
    pub(crate) fn part(&mut self, kind: PartKind) -> &mut Part {
        let goes_on = self.parts.last().is_some_and(|part| part.kind == kind);
        if !goes_on {
            self.parts.push(Part { kind, text: String::new(), tokens: Vec::new() });
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }
}
