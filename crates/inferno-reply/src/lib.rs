#![forbid(unsafe_code)]
//! From an answer's tokens to its parts, for servers and terminals alike.
//!
//! [`CompletionText`] decodes tokens and ends an answer at its stop strings. It must not know of HTTP or of terminals.

mod completion_text;

pub use completion_text::{CompletionText, TextRules};
