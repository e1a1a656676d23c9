//! What goes in and what comes out: tokens, never text.

use std::time::Duration;

use crate::cache::Stop;
use crate::sampler::{Grammar, InvalidSampling, Sampling, TokenLogprob};
use crate::stop::StopCondition;

/// A moment or a length of time in microseconds, counted from the engine's start.
pub type Micros = u64;

/// A sequence of the engine. They count up from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SeqId(pub u64);

/// A request of the engine: as many sequences as it has choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RequestId(pub u64);

/// What a client asks for.
pub struct Request {
    /// At least one token.
    pub prompt: Vec<u32>,
    /// Tokens of a completion, at most. 0 only scores the prompt.
    pub max_tokens: usize,
    /// Completions, each with a choice index of its own from 0 on. They share the prompt's pages.
    pub n: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Lower ones go first.
    pub priority: i32,
    /// Whose it is: tenants share fairly.
    pub tenant: u32,
    /// Only requests with the same salt share cached pages.
    pub salt: u64,
    /// Positions of the prompt at which others are likely to part from it, as after a system prompt or before the last turn. A
    /// model with recurrent layers keeps its state at the page boundary at or before each.
    pub borders: Vec<usize>,
    /// Time from submission after which it is given up.
    pub deadline: Option<Duration>,
    /// For every token of the prompt but the first its log-probability, and those of so many of the best.
    pub prompt_logprobs: Option<usize>,
    /// May drafts be tried? It changes speed only.
    pub speculate: bool,
    /// Is the hash of the last logits wanted? Equal hashes are equal bits of the whole model.
    pub hash_logits: bool,
    /// The stop condition of every choice; empty without any.
    pub stop_conditions: Vec<Box<dyn StopCondition>>,
    /// The grammar of every choice; empty without any. A request may have stop conditions too.
    pub grammars: Vec<Box<dyn Grammar>>,
}

impl Request {
    /// One greedy completion, with nothing special about it.
    pub fn new(prompt: Vec<u32>, max_tokens: usize) -> Request {
        Request {
            prompt,
            max_tokens,
            n: 1,
            sampling: Sampling::default(),
            priority: 0,
            tenant: 0,
            salt: 0,
            borders: Vec::new(),
            deadline: None,
            prompt_logprobs: None,
            speculate: true,
            hash_logits: false,
            stop_conditions: Vec::new(),
            grammars: Vec::new(),
        }
    }

    /// Whether a completion can end before its limit.
    pub(crate) fn can_end_early(&self) -> bool {
        self.sampling.has_end() || !self.stop_conditions.is_empty() || !self.grammars.is_empty()
    }
}

impl std::fmt::Debug for Request {
    /// Without the tokens: they are somebody's text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Request { prompt, max_tokens, n, priority, tenant, .. } = self;
        write!(
            f,
            "Request {{ prompt: {} tokens, max_tokens: {max_tokens}, n: {n}, priority: {priority}, ",
            prompt.len()
        )?;
        write!(f, "tenant: {tenant} }}")
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A parameter makes no sense.
    #[error(transparent)]
    Sampling(#[from] InvalidSampling),
    /// The prompt is empty.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// A token that the model does not have.
    #[error("prompt token {token} is not in the vocabulary of {vocab_size}")]
    UnknownToken {
        /// Its id.
        token: u32,
        /// Ids there are.
        vocab_size: usize,
    },
    /// The number of choices is out of range.
    #[error("{n} choices, expected at least 1 and no more than may wait")]
    Choices {
        /// Choices.
        n: u32,
    },
    /// A number of stop conditions or grammars that is neither 0 nor the number of choices.
    #[error("{n} choices with {n_given} {what}, expected one for each choice or none")]
    PerChoice {
        /// Choices.
        n: u32,
        /// Their number.
        n_given: usize,
        /// `stop conditions` or `grammars`.
        what: &'static str,
    },
    /// Prompt and completion are longer than the context.
    #[error(
        "{n_prompt} prompt tokens and {max_tokens} of completion are more than the context of {context_len}"
    )]
    Context {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Positions of the model.
        context_len: usize,
    },
    /// It needs more pages than there are, whatever else runs.
    #[error("{needed} tokens never fit the KV pool of {most}: ask for fewer, or give it more memory")]
    NeverFits {
        /// Tokens of prompt and completion.
        needed: usize,
        /// Tokens that fit.
        most: usize,
    },
    /// Too many wait.
    #[error("{n_waiting} requests wait, of {most}: try again in {} s", retry_after.as_millis().div_ceil(1000).max(1))]
    QueueFull {
        /// Requests that wait.
        n_waiting: usize,
        /// The most that may.
        most: usize,
        /// When there may be room.
        retry_after: Duration,
    },
    /// Those that wait have too many tokens.
    #[error("requests with {n_tokens} tokens wait, of {most}: try again in {} s", retry_after.as_millis().div_ceil(1000).max(1))]
    QueueTokens {
        /// Tokens that wait.
        n_tokens: usize,
        /// The most that may.
        most: usize,
        /// When there may be room.
        retry_after: Duration,
    },
    /// A prompt that made a step fail a short while ago.
    #[error("this prompt made the model fail a short while ago")]
    Poisonous,
    /// The engine has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// What happens to a request. Each choice starts once, has tokens, and ends once.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A choice got its first place in a step.
    Started {
        /// Which choice.
        choice_idx: u32,
        /// Tokens of the prompt that were cached.
        n_cached: usize,
        /// Why it were not more.
        miss: Stop,
    },
    /// Tokens of the prompt that are computed, of all; after every step with a part of it.
    Progress {
        /// Which choice.
        choice_idx: u32,
        /// Computed or cached.
        n_done: usize,
    },
    /// Log-probabilities of the prompt's next tokens.
    Prompt {
        /// Which choice.
        choice_idx: u32,
        /// From where the last event ended; the first one begins with the second token.
        logprobs: Vec<TokenLogprob>,
    },
    /// A token of the completion.
    Token {
        /// Which choice.
        choice_idx: u32,
        /// The token, which may be one that ends the completion.
        token: u32,
        /// If asked for.
        logprob: Option<TokenLogprob>,
    },
    /// The end of a choice.
    Finished {
        /// Which choice.
        choice_idx: u32,
        /// Why.
        finish: Finish,
        /// What it took.
        usage: Usage,
    },
}

/// Why a completion ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// With a stop token, which was the last.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
    /// A [`StopCondition`] was met by the last token.
    StopCondition,
    /// The [`Grammar`] is complete.
    Grammar,
    /// The client gave it up.
    Cancelled,
    /// It took too long.
    Deadline,
    /// It went wrong; others are not affected.
    Failed(String),
}

/// What a choice took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Of them, found in the cache when it first started.
    pub n_cached: usize,
    /// Tokens of the completion.
    pub n_completion: usize,
    /// Of them, tokens that the grammar left no choice about.
    pub n_forced: usize,
    /// Drafted tokens, and those of them that were right.
    pub n_drafted: usize,
    /// See above.
    pub n_accepted: usize,
    /// Microseconds that drafts have saved, about: less than 0 if they took longer than what they saved.
    pub saved_by_drafts: i64,
    /// How often it lost its pages to others.
    pub n_preemptions: u32,
    /// Time from submission to its first place in a step, or to its end if it had none.
    pub queued: Duration,
    /// From there to its first token, or to its end if it has none.
    pub prefill: Duration,
    /// From its first token to its last.
    pub decode: Duration,
    /// FNV-1a of the logits that the last token was chosen from, if asked for.
    pub logits_hash: Option<u64>,
}
