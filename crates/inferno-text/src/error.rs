//! What can be wrong with the tokenizer of a model file.

use inferno_format::MetadataError;

use crate::vocab::TokenKind;

/// The file's tokenizer cannot be used, or an id is not one of its tokens. Messages name keys, ids and counts;
/// of the file's text they hold at most a short model or pre-tokenizer name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// A metadata key is missing or of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// `tokenizer.ggml.model` names a kind of tokenizer that is not implemented.
    #[error(
        "metadata key `tokenizer.ggml.model` is `{found}`{}, expected `gpt2` (byte-level BPE), `llama` (SentencePiece BPE) \
         or `gemma4` (BPE of characters)",
        known_model(found)
    )]
    UnsupportedModel {
        /// The name in the file, shortened and made printable.
        found: String,
    },
    /// `tokenizer.ggml.pre` names a pre-tokenizer that is not implemented.
    #[error("metadata key `tokenizer.ggml.pre` is `{found}`, expected one of: {known}")]
    UnknownPreTokenizer {
        /// The name in the file, shortened and made printable.
        found: String,
        /// Every name that is known, separated by commas.
        known: String,
    },
    /// An array that runs beside the tokens has another length.
    #[error("metadata key `{key}` has {found} elements, expected {expected}, one for each token")]
    Length {
        /// The array's key.
        key: &'static str,
        /// How many tokens there are.
        expected: usize,
        /// How many elements the array has.
        found: usize,
    },
    /// There are no tokens.
    #[error("metadata key `tokenizer.ggml.tokens` has 0 elements, expected at least 1")]
    EmptyVocabulary,
    /// There are more tokens or merges, or more bytes of them, than ids and offsets can count.
    #[error(
        "metadata key `{key}` has {n} elements of {n_bytes} bytes in all, expected less than 67108864 of 1073741824 bytes"
    )]
    TooLarge {
        /// The array's key.
        key: &'static str,
        /// How many elements there are.
        n: usize,
        /// Length of all their texts.
        n_bytes: usize,
    },
    /// Two ids stand for the same text.
    #[error("metadata key `tokenizer.ggml.tokens` has the same text at {first} and {second}")]
    DuplicateToken {
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// A token of type 6 (byte) is not written `<0xHH>`.
    #[error("token {id} is of type 6 (byte) but not written `<0xHH>`")]
    ByteToken {
        /// The token.
        id: u32,
    },
    /// A token that is searched for in texts is too long for one.
    #[error("token {id} of kind {kind:?} has {n_bytes} bytes, expected at most {limit}")]
    SpecialTooLong {
        /// The token.
        id: u32,
        /// Control, unknown or user-defined.
        kind: TokenKind,
        /// Length of its text.
        n_bytes: usize,
        /// The most it may have.
        limit: usize,
    },
    /// The tokens that are searched for in texts are too many.
    #[error(
        "the control, unknown and user-defined tokens have {n_bytes} bytes in all, expected at most {limit}"
    )]
    SpecialTooMany {
        /// Length of all their texts.
        n_bytes: usize,
        /// The most they may have.
        limit: usize,
    },
    /// A key that holds a token id names no token.
    #[error("metadata key `{key}` is {found}, expected a token id below {vocab_size}")]
    IdOutOfRange {
        /// The key.
        key: &'static str,
        /// Its value.
        found: i64,
        /// How many tokens there are.
        vocab_size: usize,
    },
    /// An id to decode is not in the vocabulary.
    #[error("token id {id} is not in the vocabulary of {vocab_size} tokens")]
    UnknownId {
        /// The id.
        id: u32,
        /// How many tokens there are.
        vocab_size: usize,
    },
}

/// A word on the tokenizers that are known and not implemented.
fn known_model(name: &str) -> &'static str {
    match name {
        "bert" => " (WordPiece, of encoders)",
        "t5" => " (Unigram, of encoders)",
        "rwkv" => " (RWKV)",
        "plamo2" => " (PLaMo 2)",
        "none" | "no_vocab" => " (no vocabulary)",
        _ => "",
    }
}

/// A name out of the file, safe to print: short, and without control characters.
pub(crate) fn printable(name: &str) -> String {
    let mut short: String = name.chars().take(32).map(|c| if c.is_control() { '?' } else { c }).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    short
}
