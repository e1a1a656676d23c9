//! DRY ("don't repeat yourself"): a penalty for tokens that go on with a repetition, which grows with its length. Source: p-e-w,
//! text-generation-webui, pull request 5677, as llama.cpp has it (`llama_sampler_dry_apply`).

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

/// Parameters of DRY.
#[derive(Debug, Clone, PartialEq)]
pub struct Dry {
    /// A token that would make a repetition of `n` tokens longer loses `multiplier · base^(n - allowed_length)`.
    pub multiplier: f32,
    /// See above; at least 1.
    pub base: f32,
    /// Repetitions of fewer tokens cost nothing.
    pub allowed_length: u32,
    /// Only this many of the last tokens are searched; `None` is the whole sequence. Of prompt and completion.
    pub last_n: Option<usize>,
    /// Texts across which nothing counts as a repetition.
    pub breakers: Arc<Breakers>,
}

/// Texts that end a repetition, as tokens: a token in which one begins, and the tokens that complete it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Breakers {
    by_head: HashMap<u32, Vec<Box<[u32]>>>,
}

impl Breakers {
    /// Of pairs of a head and its tail, which is empty where a token has all of a text.
    pub fn new(pairs: impl IntoIterator<Item = (u32, Vec<u32>)>) -> Breakers {
        let mut by_head: HashMap<u32, Vec<Box<[u32]>>> = HashMap::new();
        for (head, tail) in pairs {
            let tails = by_head.entry(head).or_default();
            if !tails.iter().any(|other| **other == *tail) {
                tails.push(tail.into());
            }
        }
        Breakers { by_head }
    }

    /// Does `token` have all of a text?
    fn is_breaker(&self, token: u32) -> bool {
        self.by_head.get(&token).is_some_and(|tails| tails.iter().any(|tail| tail.is_empty()))
    }

    /// The number of tokens behind the last breaker.
    fn n_after(&self, tokens: &[u32]) -> usize {
        if self.by_head.is_empty() {
            return tokens.len();
        }
        for i in 0..tokens.len() {
            let (at, after) = (tokens.len() - 1 - i, i);
            let Some(tails) = self.by_head.get(&tokens[at]) else { continue };
            let matching = tails.iter().filter(|tail| tokens[at + 1..].starts_with(tail));
            if let Some(longest) = matching.map(|tail| tail.len()).max() {
                return after - longest;
            }
        }
        tokens.len()
    }
}

/// Room, reused from token to token.
#[derive(Debug, Default)]
pub(super) struct DryRoom {
    /// (n_tokens,) how far the sequence, read backwards from each token, is the same as from its end
    same: Vec<u32>,
    /// The length of the longest repetition that a token would go on with.
    longest: HashMap<u32, u32>,
}

impl DryRoom {
    /// Finds what repeats at the end of `tokens`, of which the last `last_n` are searched.
    pub(super) fn search(&mut self, dry: &Dry, tokens: &[u32]) {
        self.longest.clear();
        let last_n = dry.last_n.unwrap_or(usize::MAX);
        let tokens = &tokens[tokens.len().saturating_sub(last_n)..];
        let allowed = dry.allowed_length as usize;
        if tokens.len() <= allowed {
            return;
        }
        let limit = dry.breakers.n_after(tokens);
        if limit < allowed {
            return;
        }
        self.compare(tokens);
        let back = |i: usize| tokens[tokens.len() - 1 - i];
        for (k, &same) in self.same.iter().enumerate().skip(1) {
            let n = (same as usize).min(limit);
            if n >= allowed {
                let longest = self.longest.entry(back(k - 1)).or_default();
                *longest = (*longest).max(n as u32);
            }
        }
        self.longest.retain(|&token, _| !dry.breakers.is_breaker(token));
    }

    /// The Z-algorithm on the tokens read backwards: linear, as every comparison that succeeds moves `end`.
    fn compare(&mut self, tokens: &[u32]) {
        let n = tokens.len();
        let back = |i: usize| tokens[n - 1 - i];
        self.same.clear();
        self.same.resize(n, 0);
        // [start, end) reads as [0, end - start).
        let (mut start, mut end) = (0, 0);
        for k in 1..n {
            let known = if k < end { (self.same[k - start] as usize).min(end - k) } else { 0 };
            let mut same = known;
            while k + same < n && back(same) == back(k + same) {
                same += 1;
            }
            self.same[k] = same as u32;
            if k + same > end {
                (start, end) = (k, k + same);
            }
        }
    }

    /// Tokens that would go on with a repetition.
    pub(super) fn tokens(&self) -> impl Iterator<Item = u32> + '_ {
        self.longest.keys().copied()
    }

    /// The logit of a token after its penalty.
    pub(super) fn penalized(&self, dry: &Dry, token: u32, logit: f32) -> f32 {
        match self.longest.get(&token) {
            Some(&n) => logit - dry.penalty(n),
            None => logit,
        }
    }
}

impl Dry {
    /// The loss of a token that would go on with a repetition of `n` tokens.
    fn penalty(&self, n: u32) -> f32 {
        let penalty = f64::from(self.multiplier) * power(f64::from(self.base), n - self.allowed_length);
        // Within floats, so that logits stay numbers.
        penalty.min(f64::from(f32::MAX) / 4.0) as f32
    }
}

/// `x^n`: the same on every platform, which the standard library does not promise.
fn power(mut x: f64, mut n: u32) -> f64 {
    let mut power = 1.0;
    while n > 0 {
        if n % 2 == 1 {
            power *= x;
        }
        x *= x;
        n /= 2;
    }
    power
}
