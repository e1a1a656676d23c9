#![forbid(unsafe_code)]
//! Structured output: what a client asks for, compiled to a [`Grammar`](inferno_engine::Grammar) over a model's tokens.
//!
//! Schemas, regular expressions and grammars are a stranger's: compiling them is bounded in time and memory, and what cannot
//! be kept is refused with its place and the reason. Parsing and masks are llguidance's; the end of an answer within its
//! limit, and the tokens that are forced, are ours.
//!
//! It must not know of HTTP or of devices.

mod budget;
mod calls;
mod closing;
mod compiler;
mod constraint;
mod gbnf;
mod marks;
mod masks;
mod named_tokens;
mod reasoning;
mod samples;
mod schema;
mod source;
mod spacing;
mod structural_tag;
mod vocabulary;

pub use calls::{CallChoice, CallRules, Tool};
pub use compiler::{Compiled, Compiler, CompilerLimits};
pub use constraint::{Closing, Constraint};
pub use reasoning::{Reasoned, ReasoningCase, ReasoningRules};
pub use source::{GrammarError, GrammarPart, GrammarSource};
