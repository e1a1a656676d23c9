//! One choice of an answer: its tokens become text, of which no part of a stop string is ever shown.

use std::collections::VecDeque;
use std::sync::Arc;

use inferno_engine::{Finish, TokenLogprob};
use inferno_reply::{CompletionText, TextRules};
use inferno_text::{ControlTokens, TokenSpan, Tokenizer};

use crate::error::ApiError;
use crate::options::Options;

/// Why a choice ended, as clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FinishReason {
    Stop,
    Length,
}

/// The stop condition that ended a choice, as vLLM reports it: a stop string, or a token of `stop_token_ids`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub(crate) enum StopReason {
    String(String),
    Token(u32),
}

/// The end of a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) reason: FinishReason,
    /// `None` at the model's own end and at the greatest length.
    pub(crate) stop: Option<StopReason>,
}

/// A token that may be shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    /// Its place in the choice's text.
    pub(crate) span: TokenSpan,
    /// If asked for.
    pub(crate) logprob: Option<TokenLogprob>,
}

/// What of a choice is new and may be shown.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Delta {
    pub(crate) text: String,
    /// Tokens whose text is shown in full now.
    pub(crate) tokens: Vec<Shown>,
}

/// A choice while it grows.
#[derive(Debug)]
pub(crate) struct Choice {
    text: CompletionText,
    stop_strings: Arc<[String]>,
    /// Tokens that end it and are no text.
    silent: Arc<[u32]>,
    /// The model's own ends.
    ends: Vec<u32>,
    n_tokens: usize,
    /// Bytes of its text that were shown, and characters.
    n_shown: usize,
    n_chars: usize,
    /// Places that are known with the latest token, reused from token to token.
    spans: Vec<TokenSpan>,
    /// Log-probabilities of tokens whose place in the text is not known yet.
    unplaced: VecDeque<Option<TokenLogprob>>,
    /// Tokens whose text is held back.
    held: VecDeque<Shown>,
    /// The silent token that has come.
    end: Option<(u32, Option<TokenLogprob>)>,
    last: Option<u32>,
}

impl Choice {
    /// A choice whose tokens become `text` by `rules`, which are those of `options`.
    pub(crate) fn new(text: CompletionText, rules: &TextRules, options: &Options) -> Choice {
        Choice {
            text,
            stop_strings: Arc::clone(&options.stop_strings),
            silent: Arc::clone(&rules.silent),
            ends: options.sampling.eos_tokens.clone(),
            n_tokens: 0,
            n_shown: 0,
            n_chars: 0,
            spans: Vec::new(),
            unplaced: VecDeque::new(),
            held: VecDeque::new(),
            end: None,
            last: None,
        }
    }

    /// Takes a token. Not all of it may be shown yet.
    pub(crate) fn push(&mut self, id: u32, logprob: Option<TokenLogprob>, delta: &mut Delta) {
        self.n_tokens += 1;
        self.last = Some(id);
        if self.silent.contains(&id) {
            self.end = Some((id, logprob));
        } else {
            self.unplaced.push_back(logprob);
        }
        let n_before = delta.text.len();
        self.text.push(id, &mut delta.text, &mut self.spans);
        self.release(n_before, delta);
    }

    /// The end: what was held back is shown, if it did not become a stop string.
    ///
    /// # Errors
    /// It did not end well.
    pub(crate) fn finish(&mut self, finish: Finish, delta: &mut Delta) -> Result<Ending, ApiError> {
        let is_token = finish == Finish::Stop;
        let reason = match finish {
            Finish::Stop | Finish::StopCondition | Finish::Grammar => FinishReason::Stop,
            Finish::Length => FinishReason::Length,
            Finish::Cancelled => return Err(ApiError::cancelled()),
            Finish::Deadline => return Err(ApiError::deadline()),
            Finish::Failed(why) => return Err(ApiError::internal(why)),
        };
        let n_before = delta.text.len();
        self.text.finish(&mut delta.text, &mut self.spans);
        self.release(n_before, delta);
        if let Some((id, logprob)) = self.end.take() {
            // It counts, but is no text: it stands behind all that is.
            let span =
                TokenSpan { token: id, bytes: self.n_shown..self.n_shown, chars: self.n_chars..self.n_chars };
            delta.tokens.push(Shown { span, logprob });
        }
        Ok(Ending { reason, stop: self.stop_reason(is_token) })
    }

    fn stop_reason(&self, is_token: bool) -> Option<StopReason> {
        match (self.text.matched(), self.last) {
            (Some(i), _) => Some(StopReason::String(self.stop_strings[i].clone())),
            (None, Some(id)) if is_token && !self.ends.contains(&id) => Some(StopReason::Token(id)),
            _ => None,
        }
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Counts the text from `n_before` on as shown, and shows the tokens whose text is.
    fn release(&mut self, n_before: usize, delta: &mut Delta) {
        for span in self.spans.drain(..) {
            let logprob = self.unplaced.pop_front().flatten();
            self.held.push_back(Shown { span, logprob });
        }
        let text = &delta.text[n_before..];
        self.n_shown += text.len();
        self.n_chars += text.chars().count();
        while let Some(token) = self.held.pop_front_if(|token| token.span.bytes.end <= self.n_shown) {
            delta.tokens.push(token);
        }
    }
}

impl Options {
    /// The rules by which the tokens of every choice become text.
    pub(crate) fn text_rules(&self, tokenizer: &Arc<Tokenizer>) -> TextRules {
        let Options { sampling, keep_stop, show_control, .. } = self;
        let mut silent = if *keep_stop { Vec::new() } else { sampling.stop_tokens.clone() };
        if !show_control {
            silent.extend_from_slice(tokenizer.end_of_generation());
        }
        TextRules {
            tokenizer: Arc::clone(tokenizer),
            control: if *show_control { ControlTokens::Shown } else { ControlTokens::Hidden },
            stops: self.stops.clone(),
            min_tokens: sampling.min_tokens,
            silent: silent.into(),
        }
    }
}
