//! `POST /v1/completions`: texts or tokens to go on from.
#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use inferno_engine::{Distribution, Logprobs};
use inferno_text::{Bounds, Special, Stopped, Tokenizer};
use serde_json::{Map, Value};

use crate::app::App;
use crate::body;
use crate::echo::Echo;
use crate::error::ApiError;
use crate::fields::{self, Fields, expected_at};
use crate::infill::Gap;
use crate::options::{self, Options};
use crate::unsupported;
use crate::workers::Cancel;

/// A completion request.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) options: Options,
    /// The completion's text starts with the prompt.
    pub(crate) echo: bool,
    add_special: bool,
}

/// A prompt as it came.
#[derive(Debug, Clone)]
pub(crate) enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    /// Texts and tokens in turn, as llama.cpp takes them.
    Mixed(Vec<Piece>),
    /// Text around a gap.
    Gap(Arc<Gap>),
}

/// A part of a prompt.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Text(String),
    Token(u32),
}

impl Completion {
    /// The prompts, for the log.
    pub(crate) fn prompts_shown(&self) -> serde_json::Value {
        let shown = |prompt: &Prompt| match prompt {
            Prompt::Text(text) => text.as_str().into(),
            Prompt::Tokens(tokens) => tokens.as_slice().into(),
            Prompt::Mixed(pieces) => pieces.iter().map(Piece::shown).collect(),
            Prompt::Gap(gap) => gap.shown(),
        };
        self.prompts.iter().map(shown).collect::<Vec<serde_json::Value>>().into()
    }
}

/// Log-probabilities of prompts that an answer in one piece may hold; each takes a hundred bytes or so. It is a prompt of
/// 128 Ki tokens with twenty of the best of each.
const SCORES: usize = 4_000_000;

/// OpenAI's default for a completion that does not say how long it may be.
const DEFAULT_MAX_TOKENS: usize = 16;

impl Completion {
    pub(crate) fn read(body: Map<String, Value>, app: &App) -> Result<Completion, ApiError> {
        Completion::from_fields(Fields::new(body), app, |fields, takes_empty| {
            prompts(fields, app.settings.prompts, app.text.tokenizer.vocab_size(), takes_empty)
        })
    }

    /// The same with prompts that `prompts` reads, which is told whether a text may be empty.
    pub(crate) fn from_fields(
        mut fields: Fields,
        app: &App,
        prompts: impl FnOnce(&mut Fields, bool) -> Result<Vec<Prompt>, ApiError>,
    ) -> Result<Completion, ApiError> {
        let settings = &app.settings;
        let tokenizer = &app.text.tokenizer;
        let mut options = Options::read(&mut fields, settings, tokenizer)?;
        if let Some(top) = top(&mut fields)? {
            options.sampling.logprobs = Some(Logprobs { top, of: Distribution::Raw });
        }
        let echo = fields.boolean("echo")?.unwrap_or(false);
        if options.max_tokens == Some(0) && !echo && !options.only_reads {
            let message = "`max_tokens` is 0, expected 1 or more, or `echo: true` or `n_predict: 0` to read the prompt alone";
            return Err(ApiError::invalid("max_tokens", message));
        }
        let add_special = fields.boolean("add_special_tokens")?.unwrap_or(true);
        // An empty text is the start token alone, where the model wants one.
        let takes_empty = add_special && tokenizer.add_bos();
        let prompts = prompts(&mut fields, takes_empty)?;
        let n = prompts.len() * options.n as usize;
        if n > settings.prompts.max(settings.n) {
            let most = settings.prompts.max(settings.n);
            let message = format!(
                "{} prompts with {} choices each are {n}, expected at most {most}",
                prompts.len(),
                options.n
            );
            return Err(ApiError::invalid("n", message));
        }
        unsupported::check_completion(&fields.into_rest())?;
        Ok(Completion { prompts, options, echo, add_special })
    }

    /// Bytes of text in it.
    pub(crate) fn size(&self) -> usize {
        let size = |prompt: &Prompt| match prompt {
            Prompt::Text(text) => text.len(),
            Prompt::Tokens(_) => 0,
            Prompt::Mixed(pieces) => pieces.iter().map(Piece::size).sum(),
            Prompt::Gap(gap) => gap.size(),
        };
        self.prompts.iter().map(size).sum()
    }

    /// All prompts as tokens, each of which leaves room for one more among `most_tokens`. Control tokens in a text are
    /// recognised: who writes the whole prompt writes them too.
    pub(crate) fn tokens(
        &self,
        tokenizer: &Tokenizer,
        most_tokens: usize,
        cancel: &Cancel,
    ) -> Result<Vec<Vec<u32>>, ApiError> {
        let is_cancelled = || cancel.is_set();
        let bounds = body::bounds(exact(most_tokens), &is_cancelled);
        let tokens = |prompt: &Prompt| match prompt {
            Prompt::Text(text) => {
                let tokens = encode(tokenizer, text, self.add_special, (Special::Recognise, bounds))
                    .map_err(|stopped| ApiError::stopped(stopped, "prompt", most_tokens))?;
                // The others need not be encoded.
                match tokens.len() > most_tokens {
                    true => Err(ApiError::context(tokens.len(), None, most_tokens)),
                    false => Ok(tokens),
                }
            }
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            Prompt::Mixed(pieces) => {
                let how = (Special::Recognise, bounds);
                let tokens = mixed(tokenizer, pieces, self.add_special, how)
                    .map_err(|stopped| ApiError::stopped(stopped, "prompt", most_tokens))?;
                match tokens.len() > most_tokens {
                    true => Err(ApiError::context(tokens.len(), None, most_tokens)),
                    false => Ok(tokens),
                }
            }
            Prompt::Gap(gap) => gap.tokens(tokenizer, (most_tokens, self.options.max_tokens), cancel),
        };
        self.prompts.iter().map(tokens).collect()
    }

    /// Cuts `prompts`, which are tokens of this request's, as it asks for it; the context has `most_tokens` for each and its
    /// answer.
    ///
    /// # Errors
    /// 400: longer prompts are wanted than there is room for.
    pub(crate) fn cut(&mut self, prompts: &mut [Vec<u32>], most_tokens: usize) -> Result<(), ApiError> {
        let Some(truncation) = self.options.truncation else { return Ok(()) };
        let wanted =
            self.options.max_tokens.unwrap_or(if self.options.is_unlimited { 1 } else { DEFAULT_MAX_TOKENS });
        let most = truncation.most(most_tokens.saturating_sub(wanted).max(1))?;
        for (prompt, tokens) in self.prompts.iter_mut().zip(prompts) {
            if let Some((_, note)) = truncation.cut(tokens, most) {
                self.options.notes.push(note);
                *prompt = Prompt::Tokens(tokens.clone());
            }
        }
        Ok(())
    }

    /// The echoed prompts; empty without `echo`.
    pub(crate) fn echoes(&self, tokenizer: &Tokenizer, tokens: &[Vec<u32>]) -> Vec<Echo> {
        let all = self.prompts.iter().zip(tokens).filter(|_| self.echo);
        all.map(|(prompt, tokens)| Echo::new(tokenizer, prompt, tokens)).collect()
    }

    /// Tokens asked for, where a prompt leaves so much room.
    pub(crate) fn max_tokens(&self, room: usize) -> usize {
        if self.options.is_unlimited {
            return room;
        }
        let default = DEFAULT_MAX_TOKENS.max(self.options.sampling.min_tokens);
        self.options.max_tokens.unwrap_or_else(|| default.min(room))
    }
}

/// Is there room for the log-probabilities of prompts with `n_tokens` tokens? `name` is the parameter that asks for them.
pub(crate) fn check_scores(
    options: &Options,
    (name, n_tokens): (&'static str, usize),
    top: usize,
) -> Result<(), ApiError> {
    let n = n_tokens.saturating_mul(options.n as usize).saturating_mul(top + 1);
    if options.stream.is_some() || n <= SCORES {
        return Ok(());
    }
    let message = format!(
        "`{name}` of the prompts are {n} numbers, expected at most {SCORES}: ask for a stream, or for less"
    );
    Err(ApiError::invalid(name, message))
}

/// Tokens to which a prompt that is too long is counted: it is worth knowing how much too long it is, but not at any price.
pub(crate) fn exact(most_tokens: usize) -> usize {
    most_tokens.saturating_mul(2)
}

/// A text's tokens, with a BOS in front if the model wants one.
pub(crate) fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    add_bos: bool,
    (special, bounds): (Special, Bounds<'_>),
) -> Result<Vec<u32>, Stopped> {
    let mut ids = tokenizer.encode_within(text, special, bounds)?;
    if let Some(bos) =
        tokenizer.bos().filter(|bos| add_bos && tokenizer.add_bos() && ids.first() != Some(bos))
    {
        ids.insert(0, bos);
    }
    Ok(ids)
}

/// The tokens of pieces; a BOS in front if the first is a text and the model wants one.
pub(crate) fn mixed(
    tokenizer: &Tokenizer,
    pieces: &[Piece],
    add_bos: bool,
    (special, bounds): (Special, Bounds<'_>),
) -> Result<Vec<u32>, Stopped> {
    let mut ids = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Token(id) => ids.push(*id),
            Piece::Text(text) => ids.extend(encode(tokenizer, text, add_bos && i == 0, (special, bounds))?),
        }
        if ids.len() > bounds.tokens {
            return Err(Stopped::TooMany { at_least: ids.len() });
        }
    }
    Ok(ids)
}

impl Piece {
    pub(crate) fn size(&self) -> usize {
        match self {
            Piece::Text(text) => text.len(),
            Piece::Token(_) => 0,
        }
    }

    pub(crate) fn shown(&self) -> Value {
        match self {
            Piece::Text(text) => text.as_str().into(),
            Piece::Token(id) => (*id).into(),
        }
    }
}

/// A number of the best tokens; true is as good as 1, as llama.cpp has it.
fn top(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    match fields.peek("logprobs") {
        Some(Value::Bool(wanted)) => {
            let top = wanted.then_some(1);
            fields.take("logprobs");
            Ok(top)
        }
        _ => options::top(fields, "logprobs"),
    }
}

/// A string, strings, tokens, or several of those.
fn prompts(
    fields: &mut Fields,
    most: usize,
    vocab_size: usize,
    takes_empty: bool,
) -> Result<Vec<Prompt>, ApiError> {
    const EXPECTED: &str = "a string, an array of strings, an array of token ids, or an array of those";
    let text = |path: &str, text: String| match text.is_empty() && !takes_empty {
        true => Err(empty(path, "no start token is put in front of it, so there is nothing to go on from")),
        false => Ok(Prompt::Text(text)),
    };
    let items = match fields.take("prompt") {
        Some(Value::String(prompt)) => return Ok(vec![text("prompt", prompt)?]),
        Some(Value::Array(items)) => items,
        Some(other) => return Err(fields.expected("prompt", &other, EXPECTED)),
        None => return Err(ApiError::missing("prompt", format!("`prompt` is missing: {EXPECTED}"))),
    };
    if items.first().is_some_and(Value::is_number) {
        return Ok(vec![Prompt::Tokens(fields::tokens("prompt", &items, vocab_size)?)]);
    }
    if !(1..=most).contains(&items.len()) {
        let message = format!("`prompt` is an array of {}, expected 1 to {most} prompts", items.len());
        return Err(ApiError::invalid("prompt", message));
    }
    let prompt = |(i, item): (usize, Value)| {
        let path = format!("prompt[{i}]");
        match item {
            Value::String(prompt) => text(&path, prompt),
            Value::Array(ids) if ids.is_empty() => Err(empty(&path, "there is nothing to go on from")),
            Value::Array(ids) => Ok(Prompt::Tokens(fields::tokens(&path, &ids, vocab_size)?)),
            other => Err(expected_at(&path, &other, "a string or an array of token ids")),
        }
    };
    items.into_iter().enumerate().map(prompt).collect()
}

fn empty(path: &str, why: &str) -> ApiError {
    ApiError::invalid(path, format!("`{path}` is empty, expected at least one token: {why}"))
}

#[cfg(test)]
mod tests {
    use inferno_format::Value as Entry;
    use serde_json::json;

    use super::*;
    use crate::tests::app_as;

    #[test]
    fn a_start_token_that_a_text_has_already_comes_once() {
        let (_engine, app) = app_as(|metadata| {
            metadata.set("tokenizer.ggml.add_bos_token", Entry::Bool(true));
            metadata.set("tokenizer.ggml.bos_token_id", Entry::U32(0));
        });
        let tokenizer = &app.text.tokenizer;
        let name = tokenizer.token_text(0).unwrap();
        let encode = |text: &str| encode(tokenizer, text, true, (Special::Recognise, Bounds::NONE)).unwrap();
        assert_eq!((tokenizer.bos(), encode("")), (Some(0), vec![0]));
        assert_eq!(encode(&format!("{name}Once")), encode("Once"));
        assert_eq!(encode("Once").iter().filter(|id| **id == 0).count(), 1);
    }

    #[test]
    fn an_empty_text_is_a_prompt_only_where_a_start_token_comes_in_front() {
        let read = |prompt: Value, takes_empty: bool| {
            let mut fields = Fields::new(Map::from_iter([("prompt".to_owned(), prompt)]));
            let read = prompts(&mut fields, 4, 10, takes_empty);
            read.map(|prompts| prompts.len())
                .map_err(|e| (e.param.unwrap_or_default().into_string(), e.message))
        };
        assert_eq!((read(json!(""), true), read(json!(["a", ""]), true)), (Ok(1), Ok(2)));
        let (param, message) = read(json!(["a", ""]), false).unwrap_err();
        assert!(
            param == "prompt[1]" && message.contains("expected at least one token: no start token"),
            "{message}"
        );
        // Tokens are taken as they are.
        assert_eq!(read(json!([[1], []]), true).unwrap_err().0, "prompt[1]");
    }
}
