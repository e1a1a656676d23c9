//! What a request may ask of the choice of its tokens.

use std::fmt::Display;
use std::sync::Arc;

use inferno_model::sample::{Mirostat, SampleSpec};

use super::chain::Chain;
use super::dry::Dry;

/// How a sequence's tokens are chosen. [`Sampling::default`] is greedy, with everything else off.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Filters, temperature, seed.
    pub spec: SampleSpec,
    /// Positive logits of tokens seen are divided by this, the others multiplied; 1 is off. Of prompt and completion.
    pub repeat_penalty: f32,
    /// Only this many of the last tokens count for `repeat_penalty`; `None` is the whole sequence, 0 is off.
    pub repeat_last_n: Option<usize>,
    /// Taken off a token's logit for every time it is in the completion.
    pub frequency_penalty: f32,
    /// Taken off a token's logit once, if it is in the completion.
    pub presence_penalty: f32,
    /// Added to the logits of tokens; a token that is listed twice gets both. Before penalties.
    pub logit_bias: Vec<(u32, f32)>,
    /// No other tokens than these.
    pub allowed: Option<Vec<u32>>,
    /// None of these, even if allowed.
    pub banned: Vec<u32>,
    /// Stop tokens and end-of-sequence tokens are banned until there are so many completed.
    pub min_tokens: usize,
    /// Tokens at which the client wants the completion to end.
    pub stop_tokens: Vec<u32>,
    /// The model's end-of-sequence tokens.
    pub eos_tokens: Vec<u32>,
    /// Ban the end-of-sequence tokens, so that the completion goes on until something else ends it.
    pub ignore_eos: bool,
    /// Sequences of tokens of which the last is banned where the completion ends with the others.
    pub bad_words: Arc<[Box<[u32]>]>,
    /// A penalty for repetitions, after the others.
    pub dry: Option<Arc<Dry>>,
    /// Samplers in place of the filters and the draw of `spec`; [`Samplers`](super::Samplers) makes it. Penalties and DRY
    /// have their place in it.
    pub chain: Option<Arc<Chain>>,
    /// Which probabilities to tell.
    pub logprobs: Option<Logprobs>,
    /// Tokens whose probabilities to tell in place of those of the most probable ones, if `logprobs` is there.
    pub logprob_tokens: Arc<[u32]>,
}

impl Sampling {
    /// Whether any token ends the completion before its limit.
    pub(crate) fn has_end(&self) -> bool {
        !self.stop_tokens.is_empty() || !self.ignore_eos && !self.eos_tokens.is_empty()
    }
}

/// Which probabilities to tell beside a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logprobs {
    /// How many of the most probable tokens, beside the chosen one.
    pub top: usize,
    /// Of which distribution.
    pub of: Distribution,
}

/// Which distribution the logarithms of probabilities are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// The softmax of the model's logits, before anything: what OpenAI's API shows.
    Raw,
    /// What the token is drawn from: after bias, penalties, masks, filters and temperature. A greedy choice has
    /// probability 1.
    Filtered,
}

/// The most tokens that [`Logprobs::top`] may ask for, as OpenAI's API has it.
pub const MAX_TOP_LOGPROBS: usize = 20;

/// A parameter out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{parameter}` is {value}, expected {expected}")]
pub struct InvalidSampling {
    /// Its name in [`Sampling`] or [`SampleSpec`].
    pub parameter: &'static str,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub expected: String,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            spec: SampleSpec::GREEDY,
            repeat_penalty: 1.0,
            repeat_last_n: None,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            allowed: None,
            banned: Vec::new(),
            min_tokens: 0,
            stop_tokens: Vec::new(),
            eos_tokens: Vec::new(),
            ignore_eos: false,
            bad_words: Arc::default(),
            dry: None,
            chain: None,
            logprobs: None,
            logprob_tokens: Arc::default(),
        }
    }
}

impl Sampling {
    /// Does the choice of every token take no more of a row than [`SampleSpec`] says, and may a device make it?
    pub fn suits_devices(&self) -> bool {
        self.spec.suits_devices()
            && !self.penalizes()
            && self.logit_bias.is_empty()
            && self.allowed.is_none()
            && self.banned.is_empty()
            && self.bad_words.is_empty()
            && self.dry.is_none()
            && self.chain.is_none()
            && !self.ignore_eos
            && self.min_tokens == 0
            && self.logprobs.is_none()
    }

    /// Every number in its range, every token in the vocabulary.
    ///
    /// # Errors
    /// The first parameter that is not, what it is, and what it may be.
    pub fn validate(&self, vocab_size: usize) -> Result<(), InvalidSampling> {
        let SampleSpec { temperature, top_p, min_p, .. } = self.spec;
        let positive = |x: f32| x.is_finite() && x > 0.0;
        check(
            "temperature",
            temperature,
            temperature.is_finite() && temperature >= 0.0,
            "a number from 0 on",
        )?;
        check("top_p", top_p, (0.0..=1.0).contains(&top_p), "a number from 0 to 1")?;
        check("min_p", min_p, (0.0..=1.0).contains(&min_p), "a number from 0 to 1")?;
        check("repeat_penalty", self.repeat_penalty, positive(self.repeat_penalty), "a number above 0")?;
        let additive =
            [("frequency_penalty", self.frequency_penalty), ("presence_penalty", self.presence_penalty)];
        for (name, penalty) in additive {
            check(name, penalty, (-2.0..=2.0).contains(&penalty), "a number from -2 to 2")?;
        }
        for &(token, bias) in &self.logit_bias {
            let value = format!("{bias} for token {token}");
            check("logit_bias", value, (-100.0..=100.0).contains(&bias), "a number from -100 to 100")?;
        }
        let allowed = self.allowed.as_deref();
        check("allowed", "empty", allowed.is_none_or(|a| !a.is_empty()), "at least one token")?;
        let biased: Vec<u32> = self.logit_bias.iter().map(|b| b.0).collect();
        let bad: Vec<u32> = self.bad_words.iter().flatten().copied().collect();
        let lists = [
            ("logit_bias", biased.as_slice()),
            ("allowed", allowed.unwrap_or_default()),
            ("banned", &self.banned),
            ("stop_tokens", &self.stop_tokens),
            ("eos_tokens", &self.eos_tokens),
            ("bad_words", &bad),
            ("logprob_tokens", &self.logprob_tokens),
        ];
        for (name, tokens) in lists {
            if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
                check(name, format!("token {token}"), false, &format!("tokens below {vocab_size}"))?;
            }
        }
        if let Some(dry) = &self.dry {
            let Dry { multiplier, base, .. } = **dry;
            let is_valid = multiplier.is_finite() && multiplier >= 0.0;
            check("dry_multiplier", multiplier, is_valid, "a number from 0 on")?;
            check("dry_base", base, base.is_finite() && base >= 1.0, "a number from 1 on")?;
        }
        if let Some(Err((name, x, expected))) = self.chain.as_ref().map(|chain| chain.check()) {
            check(name, x, false, expected)?;
        }
        let top = self.logprobs.map_or(0, |l| l.top);
        check("logprobs.top", top, top <= MAX_TOP_LOGPROBS, &format!("at most {MAX_TOP_LOGPROBS}"))
    }

    /// Does `token` end the completion?
    pub fn ends_at(&self, token: u32) -> bool {
        self.stop_tokens.contains(&token) || (!self.ignore_eos && self.eos_tokens.contains(&token))
    }

    /// Mirostat, whose state goes from token to token.
    pub(crate) fn mirostat(&self) -> Option<Mirostat> {
        self.chain.as_ref()?.mirostat
    }

    pub(super) fn penalizes(&self) -> bool {
        self.penalizes_repeats() || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }

    pub(super) fn penalizes_repeats(&self) -> bool {
        self.repeat_penalty != 1.0 && self.repeat_last_n != Some(0)
    }

    /// Whether `token` is neither banned nor missing among the allowed ones after `n_completed` tokens.
    pub(crate) fn permits(&self, token: u32, n_completed: usize) -> bool {
        let is_allowed = self.allowed.as_ref().is_none_or(|allowed| allowed.contains(&token));
        is_allowed && self.banned_now(n_completed).all(|banned| banned != token)
    }

    /// Is any token excluded after `n_completed` tokens?
    pub(super) fn excludes(&self, n_completed: usize) -> bool {
        self.allowed.is_some() || self.banned_now(n_completed).next().is_some()
    }

    /// The tokens that may not come after `n_completed` tokens.
    pub(super) fn banned_now(&self, n_completed: usize) -> impl Iterator<Item = u32> + '_ {
        let is_early = n_completed < self.min_tokens;
        let stop = self.stop_tokens.iter().filter(move |_| is_early);
        let eos = self.eos_tokens.iter().filter(move |_| is_early || self.ignore_eos);
        self.banned.iter().chain(stop).chain(eos).copied()
    }
}

fn check(
    parameter: &'static str,
    value: impl Display,
    is_valid: bool,
    expected: &str,
) -> Result<(), InvalidSampling> {
    if is_valid {
        return Ok(());
    }
    Err(InvalidSampling { parameter, value: value.to_string(), expected: expected.to_owned() })
}
