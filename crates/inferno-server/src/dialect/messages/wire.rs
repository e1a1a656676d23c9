//! Messages, blocks and errors as they are written.

use inferno_reply::{Delta, Ending, FinishReason, Part, PartKind, StopReason};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::generation::Generation;

/// Signature of a block of reasoning: a hash of its text (FNV-1a), so that a stream has the one of the whole answer.
/// Requests may hold any; none is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signature(u64);

/// A whole answer, or one that begins.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub(super) id: &'a str,
    pub(super) r#type: &'static str,
    pub(super) role: &'static str,
    pub(super) model: &'a str,
    pub(super) content: Vec<Content>,
    #[serde(flatten)]
    pub(super) stop: Stop,
    pub(super) usage: UsageBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context_management: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) diagnostics: Option<Value>,
    /// Keywords of a schema that are not enforced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
}

/// A block as it begins, and in whole answers.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Content {
    Text { text: String },
    Thinking { thinking: String, signature: String },
    ToolUse { id: String, name: String, input: Value },
}

/// The end of an answer; null while there is none.
#[derive(Debug, Default, Serialize)]
pub(super) struct Stop {
    pub(super) stop_reason: Option<&'static str>,
    pub(super) stop_sequence: Option<String>,
    /// Whether the answer's form was completed before its end by the model, as tokens ran out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) closed_early: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct UsageBody {
    pub(super) input_tokens: usize,
    pub(super) cache_creation_input_tokens: usize,
    pub(super) cache_read_input_tokens: usize,
    pub(super) output_tokens: usize,
    pub(super) output_tokens_details: OutputDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_creation: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct OutputDetails {
    /// Tokens of reasoning, marks included.
    pub(super) thinking_tokens: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct BlockStart {
    pub(super) r#type: &'static str,
    pub(super) index: usize,
    pub(super) content_block: Content,
}

#[derive(Debug, Serialize)]
pub(super) struct BlockDelta<'a> {
    pub(super) r#type: &'static str,
    pub(super) index: usize,
    pub(super) delta: More<'a>,
}

/// More of a block.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(super) enum More<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
}

impl Stop {
    pub(super) fn new(answer: &Generation, ending: &Ending) -> Stop {
        let stop_sequence = match &ending.stop {
            Some(StopReason::String(text)) => Some(text.clone()),
            _ => None,
        };
        let asked = answer.options().max_tokens.unwrap_or(usize::MAX);
        let reason = match ending.reason {
            FinishReason::ToolCalls => "tool_use",
            FinishReason::Length if answer.n_tokens(0) < asked => "model_context_window_exceeded",
            FinishReason::Length => "max_tokens",
            FinishReason::Stop if stop_sequence.is_some() => "stop_sequence",
            FinishReason::Stop => "end_turn",
        };
        Stop { stop_reason: Some(reason), stop_sequence, closed_early: ending.closed_early }
    }
}

/// Anthropic's error object.
pub(super) fn error_body(error: &ApiError) -> Value {
    let kind = match error.status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": error.message } })
}

/// The blocks of a whole answer.
pub(super) fn content(delta: Delta, hides_reasoning: bool) -> Vec<Content> {
    let mut all: Vec<Content> = Vec::new();
    let mut arguments = String::new();
    for Part { kind, text, .. } in delta.parts {
        match kind {
            PartKind::ToolCall { id, name, .. } => {
                arguments.clear();
                all.push(Content::ToolUse { id, name, input: json!({}) });
            }
            _ if text.is_empty() => {}
            PartKind::Text => match all.last_mut() {
                Some(Content::Text { text: before }) => before.push_str(&text),
                _ => all.push(Content::Text { text }),
            },
            PartKind::Reasoning => match all.last_mut() {
                Some(Content::Thinking { thinking, .. }) => thinking.push_str(&text),
                _ => all.push(Content::Thinking { thinking: text, signature: String::new() }),
            },
            PartKind::Arguments { .. } => {
                arguments.push_str(&text);
                if let Some(Content::ToolUse { input, .. }) = all.last_mut() {
                    // Arguments that `max_tokens` has cut off stay as they are.
                    *input = serde_json::from_str(&arguments).unwrap_or_else(|_| arguments.as_str().into());
                }
            }
        }
    }
    for block in &mut all {
        let Content::Thinking { thinking, signature } = block else { continue };
        let mut hash = Signature::default();
        hash.add(thinking);
        *signature = hash.to_string();
        if hides_reasoning {
            thinking.clear();
        }
    }
    all
}

impl Default for Signature {
    fn default() -> Signature {
        Signature(0xcbf2_9ce4_8422_2325)
    }
}

impl Signature {
    pub(super) fn add(&mut self, text: &str) {
        let next = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.0 = text.bytes().fold(self.0, next);
    }
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "inferno-{:016x}", self.0)
    }
}
