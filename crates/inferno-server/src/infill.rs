//! Completion between a prefix and a suffix: llama-server's `/infill`, with the tokens that the vocabulary has for it.
//!
//! ```text
//! BOS  REPOSITORY myproject  FILE name  text ..  FILE filename  PREFIX prefix prompt  SUFFIX suffix  MIDDLE
//! ```
//!
//! The sampler `infill` is given what it compares of the vocabulary.
//!
//! Without a token for files their texts are in front with a line between them. What does not fit the context is left out as
//! llama-server does it, and the answer says so.
#![deny(clippy::indexing_slicing)]

use std::sync::{Arc, OnceLock};

use inferno_engine::{Infill, Prefixes};
use inferno_text::{Special, TokenKind, Tokenizer};
use serde_json::{Map, Value, json};

use crate::body;
use crate::completion::{Piece, mixed};
use crate::error::ApiError;
use crate::fields::{Fields, expected_at};
use crate::workers::Cancel;

/// Files around the one that is edited.
const FILES: usize = 256;

/// The tokens around a gap. A vocabulary that lacks one cannot fill gaps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    prefix: u32,
    suffix: u32,
    middle: u32,
    repository: Option<u32>,
    file: Option<u32>,
}

impl Marks {
    /// The vocabulary's.
    ///
    /// # Errors
    /// 501: it has none, or not all of them.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Result<Marks, ApiError> {
        let tokens = tokenizer.fill_tokens();
        match (tokens.prefix, tokens.suffix, tokens.middle) {
            (Some(prefix), Some(suffix), Some(middle)) => {
                Ok(Marks { prefix, suffix, middle, repository: tokens.repository, file: tokens.file })
            }
            (prefix, suffix, middle) => {
                let all = [(prefix, "prefix"), (suffix, "suffix"), (middle, "middle")];
                let missing = all.into_iter().filter(|(id, _)| id.is_none());
                let missing: Vec<&str> = missing.map(|(_, name)| name).collect();
                let message = format!(
                    "infill is not supported by this model: its vocabulary has no fill-in-the-middle token for {}; \
                     serve a model for code, such as qwen2.5-coder",
                    missing.join(", ")
                );
                Err(ApiError::not_implemented("not_supported", message))
            }
        }
    }
}

/// The vocabulary for the sampler `infill`.
pub(crate) fn vocabulary(tokenizer: &Arc<Tokenizer>) -> Arc<Infill> {
    let end = tokenizer.eot().or(tokenizer.eos());
    Arc::new(Infill::new(tokenizer.end_of_generation(), end, Arc::new(Texts(Arc::clone(tokenizer)))))
}

/// Texts of tokens; those of control tokens are empty.
#[derive(Debug)]
struct Texts(Arc<Tokenizer>);

impl Texts {
    fn text(&self, token: u32) -> &[u8] {
        match self.0.token_kind(token) {
            Some(TokenKind::Control) => &[],
            _ => self.0.piece(token).unwrap_or_default(),
        }
    }
}

impl Prefixes for Texts {
    fn is_prefix(&self, token: u32, longer: u32) -> bool {
        let text = self.text(token);
        !text.is_empty() && self.text(longer).starts_with(text)
    }
}

/// Text around a gap.
#[derive(Debug)]
pub(crate) struct Gap {
    marks: Marks,
    prefix: Vec<Piece>,
    suffix: Vec<Piece>,
    /// The start of the text in the gap: the line of the cursor, up to it.
    prompt: String,
    /// Names and texts of other files, the most important last.
    extra: Vec<(String, String)>,
    /// Parts that were left out, once the prompt is made.
    left_out: OnceLock<String>,
}

/// Name of a file without one.
const UNNAMED: &str = "tmp";
/// Names of the repository and of the file that is edited.
const REPOSITORY: &str = "myproject\n";
const FILE: &str = "filename\n";
/// Between texts where the vocabulary has no token for files.
const BORDER: &str = "\n\n--- snippet ---\n\n";

impl Gap {
    /// Reads `input_prefix`, `input_suffix`, `input_extra` and `prompt`.
    ///
    /// # Errors
    /// 400: one is malformed or missing. 501: the vocabulary has no tokens for gaps.
    pub(crate) fn read(
        fields: &mut Fields,
        tokenizer: &Tokenizer,
        most_bytes: usize,
    ) -> Result<Gap, ApiError> {
        let marks = Marks::of(tokenizer)?;
        let mut around = |name: &'static str| {
            let found = fields.take(name);
            let expected = "a string, or an array of strings and token ids";
            match found {
                Some(value) => pieces(name, &value, tokenizer.vocab_size())?
                    .ok_or_else(|| expected_at(name, &value, expected)),
                None => Err(ApiError::missing(name, format!("`{name}` is missing: {expected}"))),
            }
        };
        let (prefix, suffix) = (around("input_prefix")?, around("input_suffix")?);
        let prompt = fields.string("prompt", most_bytes)?.unwrap_or_default();
        Ok(Gap { marks, prefix, suffix, prompt, extra: extra(fields)?, left_out: OnceLock::new() })
    }

    /// Parts left out of the prompt, in words; `None` if all of it fits.
    pub(crate) fn left_out(&self) -> Option<&str> {
        self.left_out.get().map(String::as_str)
    }

    /// Bytes of text.
    pub(crate) fn size(&self) -> usize {
        let pieces: usize = self.prefix.iter().chain(&self.suffix).map(Piece::size).sum();
        let extra: usize = self.extra.iter().map(|(name, text)| name.len() + text.len()).sum();
        pieces + extra + self.prompt.len()
    }

    /// For the log.
    pub(crate) fn shown(&self) -> Value {
        let pieces = |pieces: &[Piece]| pieces.iter().map(Piece::shown).collect::<Vec<Value>>();
        let extra = self.extra.iter().map(|(name, text)| json!({ "filename": name, "text": text }));
        json!({
            "input_prefix": pieces(&self.prefix),
            "input_suffix": pieces(&self.suffix),
            "input_extra": extra.collect::<Vec<Value>>(),
            "prompt": self.prompt,
        })
    }

    /// The prompt's tokens, which leave room for the answer of `max_tokens` among `most_tokens`.
    ///
    /// # Errors
    /// 400: not even the text in the gap fits.
    pub(crate) fn tokens(
        &self,
        tokenizer: &Tokenizer,
        (most_tokens, max_tokens): (usize, Option<usize>),
        cancel: &Cancel,
    ) -> Result<Vec<u32>, ApiError> {
        let is_cancelled = || cancel.is_set();
        let bounds = body::bounds(usize::MAX, &is_cancelled);
        let stopped = |name: &'static str| move |stopped| ApiError::stopped(stopped, name, most_tokens);
        // Words that look like control tokens are text, except in `prompt`, as llama-server has it.
        let around = |pieces: &[Piece]| mixed(tokenizer, pieces, false, (Special::AsText, bounds));
        let mut prefix = around(&self.prefix).map_err(stopped("input_prefix"))?;
        let mut suffix = around(&self.suffix).map_err(stopped("input_suffix"))?;
        let prompt =
            tokenizer.encode_within(&self.prompt, Special::Recognise, bounds).map_err(stopped("prompt"))?;
        let plain = |text: &str| {
            tokenizer.encode_within(text, Special::AsText, bounds).map_err(stopped("input_extra"))
        };
        let Marks { prefix: before, suffix: behind, middle, repository, file } = self.marks;
        let mut ids: Vec<u32> = tokenizer.bos().filter(|_| tokenizer.add_bos()).into_iter().collect();
        if let Some(id) = repository {
            ids.push(id);
            ids.extend(plain(REPOSITORY)?);
        }
        let mut last_name = Vec::new();
        if let Some(id) = file {
            last_name.push(id);
            last_name.extend(plain(FILE)?);
        }

        // Three quarters of the room are the prefix's, where it needs them.
        let reserved = max_tokens.unwrap_or(most_tokens / 4).min(most_tokens / 2).max(1);
        let fixed = ids.len() + last_name.len() + 3 + prompt.len();
        let room = most_tokens.saturating_sub(reserved).checked_sub(fixed);
        let room = room.ok_or_else(|| ApiError::context(fixed, max_tokens, most_tokens))?;
        let (n_prefix, n_suffix) = (prefix.len(), suffix.len());
        suffix.truncate((room / 4).max(room.saturating_sub(n_prefix)));
        let n_cut = n_prefix.saturating_sub(room - suffix.len());
        prefix.drain(..n_cut);
        let mut room = room - prefix.len() - suffix.len();
        let mut extra = Vec::new();
        for (name, text) in self.extra.iter().rev() {
            let mut tokens = match file {
                Some(id) => [vec![id], plain(&format!("{name}\n"))?].concat(),
                None => plain(BORDER)?,
            };
            tokens.extend(plain(text)?);
            let Some(left) = room.checked_sub(tokens.len()) else { break };
            room = left;
            extra.push(tokens);
        }
        self.note(n_cut, n_suffix - suffix.len(), self.extra.len() - extra.len());

        ids.extend(extra.into_iter().rev().flatten());
        ids.extend(last_name);
        ids.push(before);
        ids.extend(prefix);
        ids.extend(prompt);
        ids.push(behind);
        ids.extend(suffix);
        ids.push(middle);
        Ok(ids)
    }

    fn note(&self, n_prefix: usize, n_suffix: usize, n_extra: usize) {
        let parts = [
            (n_prefix, "tokens at the start of `input_prefix`"),
            (n_suffix, "tokens at the end of `input_suffix`"),
            (n_extra, "files at the start of `input_extra`"),
        ];
        let parts = parts.into_iter().filter(|(n, _)| *n > 0);
        let parts: Vec<String> = parts.map(|(n, what)| format!("{n} {what}")).collect();
        if !parts.is_empty() {
            let _ = self.left_out.set(format!("the context has no room for {}", parts.join(", ")));
        }
    }
}

/// A text, or texts and token ids in turn; `None` if it is neither.
///
/// # Errors
/// 400: a token id is not of the vocabulary.
pub(crate) fn pieces(path: &str, value: &Value, vocab_size: usize) -> Result<Option<Vec<Piece>>, ApiError> {
    let items = match value {
        Value::String(text) => return Ok(Some(vec![Piece::Text(text.clone())])),
        Value::Array(items) => items,
        _ => return Ok(None),
    };
    let piece = |(i, item): (usize, &Value)| match item {
        Value::String(text) => Ok(Piece::Text(text.clone())),
        item => {
            let id = item.as_u64().filter(|&id| id < vocab_size as u64);
            let expected = || format!("a string, or a token id from 0 to {}", vocab_size - 1);
            id.map(|id| Piece::Token(id as u32))
                .ok_or_else(|| expected_at(&format!("{path}[{i}]"), item, &expected()))
        }
    };
    items.iter().enumerate().map(piece).collect::<Result<_, _>>().map(Some)
}

fn extra(fields: &mut Fields) -> Result<Vec<(String, String)>, ApiError> {
    const NAME: &str = "input_extra";
    const EXPECTED: &str = "an object of `text` and `filename`, which are strings";
    let items = match fields.take(NAME) {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= FILES => items,
        Some(other) => {
            return Err(fields.expected(NAME, &other, &format!("an array of at most {FILES} objects")));
        }
    };
    let file = |(i, item): (usize, Value)| {
        let path = format!("{NAME}[{i}]");
        let mut file: Map<String, Value> = match item {
            Value::Object(file) => file,
            other => return Err(expected_at(&path, &other, EXPECTED)),
        };
        let name = match file.swap_remove("filename") {
            None | Some(Value::Null) => UNNAMED.to_owned(),
            Some(Value::String(name)) => name,
            Some(other) => return Err(expected_at(&format!("{path}.filename"), &other, "a string")),
        };
        match file.swap_remove("text") {
            Some(Value::String(text)) => Ok((name, text)),
            Some(other) => Err(expected_at(&format!("{path}.text"), &other, "a string")),
            None => {
                let name = format!("{path}.text");
                Err(ApiError::missing(name.as_str(), format!("`{name}` is missing: a string")))
            }
        }
    };
    items.into_iter().enumerate().map(file).collect()
}
