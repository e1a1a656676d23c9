//! Mirostat: candidates are cut so that a token's surprise comes near to a target, token after token. Source: Basu et al.,
//! "Mirostat: a neural text decoding algorithm that directly controls perplexity" (ICLR 2021); version 2 is the authors' own.

use super::{Candidates, top_k};

/// One of the two algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirostatVersion {
    /// Cuts to as many tokens as a Zipf distribution through the best 100 would need.
    One,
    /// Cuts tokens that are more surprising than the limit.
    Two,
}

/// Parameters of Mirostat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mirostat {
    /// The algorithm.
    pub version: MirostatVersion,
    /// The surprise to aim at, in bits.
    pub tau: f32,
    /// The speed at which the limit follows.
    pub eta: f32,
}

/// Tokens that the exponent of a Zipf distribution is estimated from.
const N_ESTIMATED: usize = 100;

impl Mirostat {
    /// The limit of surprise that a sequence begins with, in bits.
    pub fn initial_limit(&self) -> f64 {
        2.0 * f64::from(self.tau)
    }

    /// Draws a token from `candidates` by `number` (in [0, 1)), and moves the sequence's `limit`.
    pub fn draw(&self, candidates: &mut Candidates<'_>, limit: &mut f64, number: f64) -> u32 {
        match self.version {
            MirostatVersion::One => candidates.cut_by_zipf(*limit),
            MirostatVersion::Two => candidates.cut_by_surprise(*limit),
        }
        let token = candidates.draw(number);
        *limit -= f64::from(self.eta) * (candidates.surprise(token) - f64::from(self.tau));
        token
    }
}

impl Candidates<'_> {
    fn cut_by_zipf(&mut self, limit: f64) {
        let n_tokens = self.row.len();
        let list = &mut self.room.sampler.candidates;
        if !self.is_list {
            top_k(self.row, N_ESTIMATED, list);
        }
        let n_estimated = list.partition_point(|c| c.1 > f32::NEG_INFINITY).min(N_ESTIMATED);
        let (mut products, mut squares) = (0.0, 0.0);
        for (i, pair) in list[..n_estimated].windows(2).enumerate() {
            let t = libm::log((i + 2) as f64 / (i + 1) as f64);
            let b = f64::from(pair[0].1 - pair[1].1) / f64::from(self.temperature);
            products += t * b;
            squares += t * t;
        }
        let exponent = products / squares;
        let epsilon = exponent - 1.0;
        // ε / (1 - n^-ε) has a limit where it is 0 / 0.
        let norm = match epsilon.abs() < 1e-9 {
            true => 1.0 / libm::log(n_tokens as f64),
            false => epsilon / (1.0 - libm::pow(n_tokens as f64, -epsilon)),
        };
        let k = libm::pow(norm * libm::pow(2.0, limit), 1.0 / exponent);
        // Not a number, as of a single candidate, is 0 here.
        self.top_k((k as usize).max(1));
    }

    fn cut_by_surprise(&mut self, limit: f64) {
        let best = self.best();
        if !best.is_finite() {
            return;
        }
        let log_sum = libm::log(self.sum(best));
        // -log2(p) <= limit
        let least = log_sum - limit * std::f64::consts::LN_2;
        if least > 0.0 {
            return self.keep_best();
        }
        if !self.is_list {
            // The limit may be far away: nothing is sorted.
            let (temperature, none) = (self.temperature, f32::NEG_INFINITY);
            let is_kept = |x: f32| f64::from((x - best) / temperature) >= least;
            self.row.iter_mut().for_each(|x| *x = if is_kept(*x) { *x } else { none });
            return;
        }
        let n = self.list().partition_point(|c| f64::from(self.exponent(c.1, best)) >= least);
        self.room.sampler.candidates.truncate(n.max(1));
    }

    /// `-log2` of a candidate's probability.
    fn surprise(&self, token: u32) -> f64 {
        let best = self.best();
        let own = match self.is_list {
            true => self.list().iter().find(|c| c.0 == token).map_or(best, |c| c.1),
            false => self.row[token as usize],
        };
        if !best.is_finite() || !own.is_finite() {
            return 0.0;
        }
        (libm::log(self.sum(best)) - f64::from(self.exponent(own, best))) / std::f64::consts::LN_2
    }
}
