#![forbid(unsafe_code)]
//! Strings and tokens: what a model's file says about turning one into the other.
//!
//! It knows the `tokenizer.*` keys of a GGUF file and nothing else of it: tokenizers ([`Tokenizer`]), text that
//! arrives token by token ([`Detokenizer`], and [`SpanDetokenizer`], which also says where each token is), strings that end it ([`StopStrings`]), and chat templates
//! ([`ChatTemplate`]).
//! It must not know of weights, of the engine, of HTTP, or of who asks: everything here is a function of its
//! arguments, and all text but a template's is a stranger's.
//!
//! Start reading at `tokenizer.rs`; `bpe.rs` and `spm.rs` are the two ways to merge, `split.rs` is where words
//! are cut before the first, and `special.rs` is what keeps control tokens out of users' text.

mod bounds;
mod bpe;
mod class;
mod detokenizer;
mod error;
mod jinja;
mod overlaps;
mod reply;
mod spans;
mod special;
mod split;
mod spm;
mod stop;
mod template;
mod text_map;
mod tokenizer;
mod vocab;

pub use bounds::{Bounds, Stopped};
pub use detokenizer::{ControlTokens, Detokenizer};
pub use error::TokenizerError;
pub use reply::{
    CallBody, CallIds, CallSyntax, Piece, PieceKind, ReasoningMarks, ReplyFormat, ReplyParser, ReplyStart,
    TaggedCall, result_text, system_text,
};
pub use spans::{SpanDetokenizer, TokenSpan};
pub use special::Special;
pub use stop::{StopStrings, StopText};
pub use template::{
    ArgumentsForm, ChatRenderer, ChatTemplate, ContentForm, RenderOptions, Rendered, RenderedPart,
    TemplateError, TemplateProfile, TemplateTokens, message, template_source, text_part,
};
pub use tokenizer::Tokenizer;
pub use vocab::{FillTokens, TokenKind};
