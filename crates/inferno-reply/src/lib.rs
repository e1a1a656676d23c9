#![forbid(unsafe_code)]
//! From an answer's tokens to its parts, for servers and terminals alike.
//!
//! ```text
//! tokens, log-probabilities ──CompletionText──▶ text ──ReplyParser──▶ Reply: parts, each with its tokens
//! ```
//!
//! [`CompletionText`] decodes tokens and ends an answer at its stop strings; [`Reply`] tells text, reasoning and tool calls
//! apart and says how the answer ended. It must not know of HTTP or of terminals.

mod call_id;
mod completion_text;
mod part;
mod reply;

pub use call_id::CallSeed;
pub use completion_text::{CompletionText, TextRules};
pub use part::{Delta, Ending, FinishReason, Part, PartKind, ReplyError, Shown, StopReason};
pub use reply::{Reply, ReplyRules, mark_tokens};
