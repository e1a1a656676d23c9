//! One choice of an answer: its tokens become text, of which no part of a stop string is ever shown.

use std::collections::VecDeque;
use std::sync::Arc;

use inferno_engine::{Finish, TokenLogprob};
use inferno_text::{ControlTokens, Detokenizer, StopStrings, Tokenizer};

use crate::error::ApiError;
use crate::options::Options;

/// Why a choice ended, as clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FinishReason {
    Stop,
    Length,
}

/// A token that may be shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    pub(crate) id: u32,
    /// If asked for.
    pub(crate) logprob: Option<TokenLogprob>,
    /// The byte of the choice's text behind it.
    end: usize,
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
    detokenizer: Detokenizer<Arc<Tokenizer>>,
    stops: StopStrings,
    min_tokens: usize,
    /// Tokens that end it and are no text.
    silent: Vec<u32>,
    n_tokens: usize,
    /// Bytes of its text so far, and those of them that were shown.
    n_decoded: usize,
    n_shown: usize,
    /// Tokens whose text is held back.
    held: VecDeque<Shown>,
    has_ended: bool,
}

impl Choice {
    pub(crate) fn new(tokenizer: &Arc<Tokenizer>, prompt: &[u32], options: &Options) -> Choice {
        let sampling = &options.sampling;
        let mut silent = if options.keep_stop { Vec::new() } else { sampling.stop_tokens.clone() };
        if !options.show_control {
            silent.extend_from_slice(tokenizer.end_of_generation());
        }
        Choice {
            detokenizer: Detokenizer::after(Arc::clone(tokenizer), prompt, options.control()),
            stops: options.stops.clone(),
            min_tokens: sampling.min_tokens,
            silent,
            n_tokens: 0,
            n_decoded: 0,
            n_shown: 0,
            held: VecDeque::new(),
            has_ended: false,
        }
    }

    /// Takes a token. Nothing of it may be shown yet: see [`Choice::shown`].
    pub(crate) fn push(&mut self, id: u32, logprob: Option<TokenLogprob>, delta: &mut Delta) {
        self.n_tokens += 1;
        if self.silent.contains(&id) {
            return;
        }
        let text = self.detokenizer.push(id).expect("the engine's tokens are the vocabulary's");
        self.add(&text, delta);
        // A token that ends within a character is shown with it.
        let end = self.n_decoded + usize::from(self.detokenizer.n_pending() > 0);
        self.held.push_back(Shown { id, logprob, end });
        self.release(delta);
    }

    /// The end: what was held back is shown, if it did not become a stop string.
    ///
    /// # Errors
    /// It did not end well.
    pub(crate) fn finish(&mut self, finish: Finish, delta: &mut Delta) -> Result<FinishReason, ApiError> {
        self.has_ended = true;
        let reason = match finish {
            Finish::Stop | Finish::Constraint => FinishReason::Stop,
            Finish::Length => FinishReason::Length,
            Finish::Cancelled => return Err(ApiError::cancelled()),
            Finish::Deadline => return Err(ApiError::deadline()),
            Finish::Failed(why) => return Err(ApiError::internal(why)),
        };
        let rest = self.detokenizer.finish();
        self.add(&rest, delta);
        let held = self.stops.finish();
        self.n_shown += held.len();
        delta.text.push_str(&held);
        self.release(delta);
        Ok(reason)
    }

    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    fn add(&mut self, text: &str, delta: &mut Delta) {
        self.n_decoded += text.len();
        if self.n_tokens <= self.min_tokens && !self.has_ended {
            // As in the engine: no stop string begins or ends before the least number of tokens.
            self.n_shown += text.len();
            delta.text.push_str(text);
            return;
        }
        let shown = self.stops.push(text);
        self.n_shown += shown.len();
        delta.text.push_str(&shown);
    }

    /// Shows the tokens whose text has been.
    fn release(&mut self, delta: &mut Delta) {
        while self.held.front().is_some_and(|token| token.end <= self.n_shown) {
            delta.tokens.extend(self.held.pop_front());
        }
    }
}

impl Options {
    /// Are control tokens part of the text?
    pub(crate) fn control(&self) -> ControlTokens {
        if self.show_control { ControlTokens::Shown } else { ControlTokens::Hidden }
    }
}
