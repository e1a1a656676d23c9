//! The tokens of a file: their texts, kinds and bytes, and which ids have a part to play.

mod ends;
mod fill;

use std::collections::HashMap;

use foldhash::fast::RandomState;
use inferno_format::{Array, Metadata, MetadataError, Strings, Value};

use crate::error::TokenizerError;
use crate::text_map::Texts;

pub use fill::FillTokens;

/// What a token is, as the file says (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for what the vocabulary cannot say.
    Unknown,
    /// Steers the model, and has no place in anybody's text: `<|im_start|>`.
    Control,
    /// Added to the vocabulary as a whole, found in any text before all else: `<think>`.
    UserDefined,
    /// Padding of the vocabulary.
    Unused,
    /// One byte of text: `<0x0A>`.
    Byte,
}

/// How token texts stand for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// GPT-2's: each byte is a printable character.
    Bytes,
    /// SentencePiece's: UTF-8 with U+2581 for a space.
    Spaces,
    /// UTF-8 as it is.
    Plain,
}

impl Spelling {
    /// The bytes that `text` stands for, put into `out` where they are others; `None` if text cannot lead to it.
    pub(crate) fn bytes_of<'a>(self, text: &'a [u8], out: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match self {
            Spelling::Bytes => bytes_of(text, out),
            Spelling::Spaces if text.contains(&b' ') => None,
            Spelling::Spaces => {
                out.clear();
                out.extend_from_slice(std::str::from_utf8(text).ok()?.replace(MARKED_SPACE, " ").as_bytes());
                Some(out)
            }
            Spelling::Plain => Some(text),
        }
    }
}

/// A space as [`Spelling::Spaces`] has it.
pub(crate) const MARKED_SPACE: char = '\u{2581}';

/// The tokens and what each stands for.
#[derive(Debug)]
pub(crate) struct Vocab {
    /// As the file spells them.
    pub(crate) texts: Texts,
    /// The bytes each stands for in text.
    pub(crate) pieces: Texts,
    pub(crate) kinds: Vec<TokenKind>,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) eot: Option<u32>,
    pub(crate) eom: Option<u32>,
    pub(crate) unknown: Option<u32>,
    /// Ids that end a generation, ascending.
    pub(crate) ends: Vec<u32>,
    /// Ids that are never generated, in the file's order.
    pub(crate) suppressed: Vec<u32>,
    /// Tokens around a gap.
    pub(crate) fill: FillTokens,
}

impl Vocab {
    pub(crate) fn from_metadata(m: &Metadata, spelling: Spelling) -> Result<Vocab, TokenizerError> {
        let mut texts = token_texts(m)?;
        let kinds = token_kinds(m, texts.len())?;
        let pieces = token_pieces(&texts, &kinds, spelling)?;
        let vocab = Vocab {
            bos: special_id(m, "tokenizer.ggml.bos_token_id", texts.len())?,
            eos: special_id(m, "tokenizer.ggml.eos_token_id", texts.len())?,
            eot: special_id(m, "tokenizer.ggml.eot_token_id", texts.len())?,
            eom: special_id(m, "tokenizer.ggml.eom_token_id", texts.len())?,
            unknown: special_id(m, "tokenizer.ggml.unknown_token_id", texts.len())?,
            suppressed: suppressed(m, texts.len())?,
            texts: std::mem::take(&mut texts),
            pieces,
            kinds,
            ends: Vec::new(),
            fill: FillTokens::default(),
        };
        Ok(vocab)
    }

    /// Takes SentencePiece's own ids, where the file leaves them out.
    pub(crate) fn default_to_sentencepiece(&mut self) {
        let default = |id: u32| ((id as usize) < self.kinds.len()).then_some(id);
        self.unknown = self.unknown.or(default(0));
        self.bos = self.bos.or(default(1));
        self.eos = self.eos.or(default(2));
    }

    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(crate) fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    /// All ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.kinds.len() as u32
    }
}

fn token_texts(m: &Metadata) -> Result<Texts, TokenizerError> {
    let key = "tokenizer.ggml.tokens";
    let tokens = m
        .opt_strings(key)?
        .ok_or_else(|| MetadataError::Missing { key: key.into(), expected: "an array of strings" })?;
    if tokens.is_empty() {
        return Err(TokenizerError::EmptyVocabulary);
    }
    check_size(key, tokens)?;
    let mut texts = Texts::default();
    let mut first_ids = HashMap::with_capacity_and_hasher(tokens.len(), RandomState::default());
    for (id, text) in (0..).zip(tokens.iter()) {
        if text.is_empty() {
            texts.push(format!("[EMPTY_{id}]").as_bytes());
            continue;
        }
        if let Some(first) = first_ids.insert(text, id) {
            return Err(TokenizerError::DuplicateToken { first, second: id });
        }
        texts.push(text.as_bytes());
    }
    Ok(texts)
}

/// Ids and offsets are `u32` with room to spare: what is derived from a text may be longer than it.
pub(crate) fn check_size(key: &'static str, strings: &Strings) -> Result<(), TokenizerError> {
    let n_bytes = strings.iter().map(str::len).sum();
    if n_bytes >= 1 << 30 || strings.len() >= 1 << 26 {
        return Err(TokenizerError::TooLarge { key, n: strings.len(), n_bytes });
    }
    Ok(())
}

fn token_kinds(m: &Metadata, n_tokens: usize) -> Result<Vec<TokenKind>, TokenizerError> {
    let key = "tokenizer.ggml.token_type";
    let Some(types) = m.opt_integers(key)? else { return Ok(vec![TokenKind::Normal; n_tokens]) };
    if types.len() != n_tokens {
        return Err(TokenizerError::Length { key, expected: n_tokens, found: types.len() });
    }
    let kind = |i| match types.integer(i) {
        Some(2) => TokenKind::Unknown,
        Some(3) => TokenKind::Control,
        Some(4) => TokenKind::UserDefined,
        Some(5) => TokenKind::Unused,
        Some(6) => TokenKind::Byte,
        _ => TokenKind::Normal,
    };
    Ok((0..n_tokens).map(kind).collect())
}

/// The scores of a SentencePiece vocabulary; 0 for all where the file has none.
pub(crate) fn token_scores(m: &Metadata, n_tokens: usize) -> Result<Vec<f32>, TokenizerError> {
    let key = "tokenizer.ggml.scores";
    let scores = match m.get(key) {
        None => return Ok(vec![0.0; n_tokens]),
        Some(Value::Array(Array::F32(x))) => x.clone(),
        Some(Value::Array(Array::I32(x))) => x.iter().map(|&x| x as f32).collect(),
        Some(other) => {
            return Err(MetadataError::Unfit {
                key: key.into(),
                expected: "an array of f32",
                found: other.to_string(),
            }
            .into());
        }
    };
    if scores.len() != n_tokens {
        return Err(TokenizerError::Length { key, expected: n_tokens, found: scores.len() });
    }
    Ok(scores)
}

fn token_pieces(texts: &Texts, kinds: &[TokenKind], spelling: Spelling) -> Result<Texts, TokenizerError> {
    let mut pieces = Texts::default();
    let mut bytes = Vec::new();
    for (id, kind) in (0..).zip(kinds) {
        let text = texts.get(id).expect("there is a text for each kind");
        match (kind, spelling) {
            (TokenKind::Byte, _) => {
                pieces.push(&[parse_byte(text).ok_or(TokenizerError::ByteToken { id })?]);
            }
            (TokenKind::Normal | TokenKind::Unused, Spelling::Bytes) => {
                pieces.push(bytes_of(text, &mut bytes).unwrap_or(text));
            }
            (TokenKind::Normal | TokenKind::Unused, Spelling::Spaces) => {
                pieces.push(
                    std::str::from_utf8(text).expect("it was a str").replace(MARKED_SPACE, " ").as_bytes(),
                );
            }
            (TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown, _) | (_, Spelling::Plain) => {
                pieces.push(text)
            }
        }
    }
    Ok(pieces)
}

/// The byte that `<0xHH>` stands for.
pub(crate) fn parse_byte(text: &[u8]) -> Option<u8> {
    let &[b'<', b'0', b'x', high, low, b'>'] = text else { return None };
    let digit = |c: u8| char::from(c).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// The bytes a text in GPT-2's spelling stands for, put into `out`; `None` if a character of it stands for no byte.
pub(crate) fn bytes_of<'a>(text: &[u8], out: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    out.clear();
    if text.iter().all(u8::is_ascii_graphic) {
        out.extend_from_slice(text);
    } else {
        for c in std::str::from_utf8(text).ok()?.chars() {
            out.push(byte_of(c)?);
        }
    }
    Some(out)
}

/// GPT-2 spells the bytes that are printable in Latin-1 as they are, and the other 68 as U+0100 and up.
fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8), // 0x00 to 0x20
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8), // 0x7f to 0xa0
        0x143 => Some(0xad),
        _ => None,
    }
}

fn special_id(m: &Metadata, key: &'static str, vocab_size: usize) -> Result<Option<u32>, TokenizerError> {
    match m.opt_u32(key)? {
        Some(id) if id as usize >= vocab_size => {
            Err(TokenizerError::IdOutOfRange { key, found: id.into(), vocab_size })
        }
        id => Ok(id),
    }
}

/// Tokens that a model must never generate: Gemma 4 is known to answer with the ends of images and sounds otherwise.
fn suppressed(m: &Metadata, vocab_size: usize) -> Result<Vec<u32>, TokenizerError> {
    const KEY: &str = "tokenizer.ggml.suppress_tokens";
    let Some(ids) = m.opt_integers(KEY)? else { return Ok(Vec::new()) };
    let id = |i| {
        let found = ids.integer(i).unwrap_or(-1);
        let id = u32::try_from(found).ok().filter(|&id| (id as usize) < vocab_size);
        id.ok_or(TokenizerError::IdOutOfRange { key: KEY, found, vocab_size })
    };
    (0..ids.len()).map(id).collect()
}
