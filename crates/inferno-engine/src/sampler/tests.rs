//! The sampler against a naive definition that looks at every token of the sequence for every token of the vocabulary.

use std::sync::Arc;

use inferno_model::sample::random::uniform;
use inferno_model::sample::{Mirostat, MirostatVersion, SampleSpec, Sampler, logsumexp};
use proptest::prelude::*;

use super::*;

mod chains;
mod choices;
mod dry;
mod histories;
mod validation;

/// A sequence as the tests see it.
#[derive(Debug, Clone)]
struct Case {
    logits: Vec<f32>,
    sampling: Sampling,
    prompt: Vec<u32>,
    completion: Vec<u32>,
    mask: Option<TokenMask>,
    position: u32,
}

impl Case {
    /// Tokens with these logits, no prompt, nothing special.
    fn of(logits: &[f32]) -> Case {
        Case {
            logits: logits.to_vec(),
            sampling: Sampling::default(),
            prompt: vec![],
            completion: vec![],
            mask: None,
            position: 0,
        }
    }

    fn history(&self) -> History {
        let mut history = History::new(&self.sampling, &self.prompt);
        self.completion.iter().for_each(|&token| history.push(token));
        history
    }

    fn choose_with(&self, chooser: &mut Chooser) -> Result<Chosen, SampleError> {
        let (mut history, n) = (self.history(), self.completion.len());
        chooser.choose(&self.logits, self.position, &self.sampling, &mut history, self.mask.as_ref(), n)
    }

    fn choose(&self) -> Result<Chosen, SampleError> {
        self.choose_with(&mut Chooser::default())
    }

    fn token(&self) -> u32 {
        self.choose().expect("some token is allowed").token
    }

    fn is_allowed(&self, token: u32) -> bool {
        let s = &self.sampling;
        let is_early = self.completion.len() < s.min_tokens;
        s.allowed.as_ref().is_none_or(|a| a.contains(&token))
            && self.mask.as_ref().is_none_or(|m| m.is_allowed(token))
            && !s.banned.contains(&token)
            && !(is_early && (s.stop_tokens.contains(&token) || s.eos_tokens.contains(&token)))
            && !(s.ignore_eos && s.eos_tokens.contains(&token))
            && !s.bad_words.iter().any(|word| {
                let (last, before) = word.split_last().unwrap();
                *last == token && self.completion.ends_with(before)
            })
    }

    /// The logits after bias, penalties and masks.
    fn adjusted(&self) -> Vec<f32> {
        let s = &self.sampling;
        let all: Vec<u32> = self.prompt.iter().chain(&self.completion).copied().collect();
        let window = &all[all.len().saturating_sub(s.repeat_last_n.unwrap_or(all.len()))..];
        let adjust = |(token, &logit): (u32, &f32)| {
            if !self.is_allowed(token) {
                return f32::NEG_INFINITY;
            }
            let mut x = s.logit_bias.iter().filter(|b| b.0 == token).fold(logit, |x, b| x + b.1);
            if s.repeat_penalty != 1.0 && window.contains(&token) {
                x = if x > 0.0 { x / s.repeat_penalty } else { x * s.repeat_penalty };
            }
            let n = self.completion.iter().filter(|&&t| t == token).count();
            if n > 0 {
                x -= n as f32 * s.frequency_penalty + s.presence_penalty;
            }
            x
        };
        (0u32..).zip(&self.logits).map(adjust).collect()
    }

    /// The definition.
    fn naive_token(&self) -> Result<u32, SampleError> {
        let mut all = 0..self.logits.len() as u32;
        let first = all.find(|&token| self.is_allowed(token));
        let first = first.ok_or(SampleError::NothingAllowed { position: self.position })?;
        let best = self.logits.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
        if !best.is_finite() {
            return Err(SampleError::NotFinite);
        }
        let token = Sampler::default().sample(&self.adjusted(), &self.sampling.spec, self.position);
        Ok(if self.is_allowed(token) { token } else { first })
    }
}

fn spec() -> impl Strategy<Value = SampleSpec> {
    let top_k = prop_oneof![Just(0usize), 1usize..20, Just(1000)];
    let top_p = prop_oneof![Just(1.0f32), 0.0f32..=1.0];
    let min_p = prop_oneof![Just(0.0f32), 0.0f32..0.5];
    let temperature = prop_oneof![Just(0.0f32), 0.01f32..3.0];
    (top_k, top_p, min_p, temperature, any::<u64>(), 0u32..3).prop_map(
        |(top_k, top_p, min_p, temperature, seed, choice_idx)| SampleSpec {
            top_k,
            top_p,
            min_p,
            temperature,
            seed,
            choice_idx,
        },
    )
}

/// A valid request for a vocabulary of `n`.
fn sampling(n: u32) -> impl Strategy<Value = Sampling> {
    let tokens = move || prop::collection::vec(0..n, 0..4);
    let penalty = || prop_oneof![Just(0.0f32), -2.0f32..2.0];
    let repeat = prop_oneof![Just(1.0f32), 0.5f32..2.0];
    let last_n = prop_oneof![Just(None), (0usize..12).prop_map(Some)];
    let bias = prop::collection::vec((0..n, -5.0f32..5.0), 0..4);
    let allowed = prop_oneof![3 => Just(None), 1 => prop::collection::vec(0..n, 1..6).prop_map(Some)];
    let of = prop_oneof![Just(Distribution::Raw), Just(Distribution::Filtered)];
    let logprobs = prop::option::of((0usize..6, of).prop_map(|(top, of)| Logprobs { top, of }));
    let numbers = (spec(), repeat, last_n, penalty(), penalty(), bias, logprobs);
    let bad_words = prop::collection::vec(prop::collection::vec(0..n, 1..3), 0..3);
    let lists = (allowed, tokens(), 0usize..12, tokens(), tokens(), any::<bool>(), (bad_words, tokens()));
    (numbers, lists).prop_map(|(numbers, lists)| {
        let (spec, repeat_penalty, repeat_last_n, frequency_penalty, presence_penalty, logit_bias, logprobs) =
            numbers;
        let (allowed, banned, min_tokens, stop_tokens, eos_tokens, ignore_eos, more) = lists;
        let (bad_words, logprob_tokens) = more;
        Sampling {
            spec,
            repeat_penalty,
            repeat_last_n,
            frequency_penalty,
            presence_penalty,
            logit_bias,
            allowed,
            banned,
            min_tokens,
            stop_tokens,
            eos_tokens,
            ignore_eos,
            bad_words: bad_words.into_iter().map(Vec::into_boxed_slice).collect(),
            dry: None,
            chain: None,
            logprobs,
            logprob_tokens: if min_tokens % 3 == 0 { logprob_tokens.into() } else { Arc::default() },
        }
    })
}

fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        60 => -8.0f32..8.0,
        20 => (-4i32..4).prop_map(|x| x as f32),
        1 => Just(f32::NAN),
        1 => Just(f32::NEG_INFINITY),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let n = prop_oneof![1u32..12, 60u32..70, 100u32..400];
    n.prop_flat_map(|n| {
        let logits = prop::collection::vec(logit(), n as usize);
        let infinite = prop::option::weighted(0.03, 0..n);
        let tokens = || prop::collection::vec(0..n, 0..16);
        let mask = prop::option::of((any::<u64>(), 0.0f64..1.0));
        (logits, infinite, sampling(n), tokens(), tokens(), mask, 0u32..5000).prop_map(
            move |(mut logits, infinite, sampling, prompt, completion, mask, position)| {
                infinite.into_iter().for_each(|token| logits[token as usize] = f32::INFINITY);
                let mask = mask.map(|(seed, density)| {
                    let mut mask = TokenMask::new(n as usize);
                    let banned = (0..n).filter(|&t| uniform(seed, t, 0, 0) > density);
                    banned.for_each(|token| mask.ban(token));
                    mask
                });
                Case { logits, sampling, prompt, completion, mask, position }
            },
        )
    })
}

/// Random samplers for a sequence of tokens below `vocab_size`; `below(n)` is a random number below `n`.
pub(crate) fn add_any_samplers(
    sampling: &mut Sampling,
    vocab_size: usize,
    below: &mut dyn FnMut(usize) -> usize,
) {
    let mut samplers = Samplers::default();
    if below(2) == 0 {
        (samplers.xtc_probability, samplers.xtc_threshold) = (0.5, 0.02);
    }
    if below(3) == 0 {
        samplers.typical_p = 0.8;
    }
    if below(3) == 0 {
        samplers.top_n_sigma = 1.5;
    }
    if below(3) == 0 {
        (samplers.dynatemp_range, samplers.dynatemp_exponent) = (0.5, 1.5);
    }
    if below(2) == 0 {
        (samplers.dry_multiplier, samplers.dry_allowed_length) = (0.8, 1);
        samplers.dry_last_n = [None, Some(8), Some(64)][below(3)];
    }
    if below(3) == 0 {
        let n = below(10);
        samplers.order = Some((0..n).map(|_| SamplerKind::DEFAULT_ORDER[below(9)]).collect());
    }
    if below(4) == 0 {
        let version = if below(2) == 0 { MirostatVersion::One } else { MirostatVersion::Two };
        samplers.mirostat = Some(Mirostat { version, tau: 3.0, eta: 0.2 });
    }
    samplers.min_keep = below(4);
    let breakers = (0..below(3)).map(|_| (below(vocab_size) as u32, vec![]));
    samplers.add_to(sampling, Arc::new(Breakers::new(breakers.collect::<Vec<_>>())));
    let mut token = || below(vocab_size) as u32;
    sampling.bad_words = [vec![token()].into(), vec![token(), token()].into()].into();
}
