//! Locally typical sampling of a whole row without a sort of it.
//!
//! Weights are summed in bins of nearly equal scores. Only the bin in which the sum crosses its limit is sorted.

use super::Candidates;
use crate::sample::select::{quick_exp, rank};

/// Bins of scores; the last one has all that are larger.
const BINS: usize = 8192;
/// Bins for a score of 1, so that all scores of 32 and more are in the last bin: their tokens have weights below 1e-8, as no
/// mean is below `-ln(vocab_size)`.
const BINS_PER_UNIT: f32 = 256.0;
/// Numbers that are computed at once, in loops that vectorise.
const CHUNK: usize = 64;
/// A list of more tokens costs more to sort than a row to read.
const LONGEST_LIST: usize = 4096;

/// The sum of the weights of tokens with nearly equal scores, and the number of these tokens.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bin {
    weight: f64,
    n: usize,
}

/// The score of a token is the distance of its exponent from the mean, that of its information from what is expected.
#[derive(Debug, Clone, Copy)]
struct Scores {
    best: f32,
    temperature: f32,
    mean: f32,
}

/// The last token that is kept, in the order of scores.
#[derive(Debug, Clone, Copy)]
struct Edge {
    bin: usize,
    key: (u32, u64),
    /// Tokens up to it.
    n: usize,
}

impl Scores {
    fn exponent(&self, logit: f32) -> f32 {
        (logit - self.best) / self.temperature
    }

    fn score(&self, logit: f32) -> f32 {
        (self.exponent(logit) - self.mean).abs()
    }

    fn bin(&self, logit: f32) -> usize {
        let place = self.score(logit) * BINS_PER_UNIT;
        if place < BINS as f32 { place as i32 as usize } else { BINS - 1 }
    }

    /// The order of tokens: by score, then best first. Scores are not negative, so that they ascend as their bits do.
    fn key(&self, candidate: &(u32, f32)) -> (u32, u64) {
        (self.score(candidate.1).to_bits(), rank(candidate))
    }

    fn fill(&self, row: &[f32], bins: &mut Vec<Bin>) {
        bins.clear();
        bins.resize(BINS, Bin::default());
        let mut weights = [0.0f32; CHUNK];
        let mut places = [0usize; CHUNK];
        for chunk in row.chunks(CHUNK) {
            for ((weight, place), &x) in weights.iter_mut().zip(&mut places).zip(chunk) {
                *weight = quick_exp(self.exponent(x));
                *place = self.bin(x);
            }
            for ((&weight, &place), &x) in weights.iter().zip(&places).zip(chunk) {
                if x > f32::NEG_INFINITY {
                    let bin = &mut bins[place];
                    bin.weight += f64::from(weight);
                    bin.n += 1;
                }
            }
        }
    }

    /// The token with which the sum of weights exceeds `limit`, and which is at least the `min_keep`-th. `None` if none is.
    /// `room` is left with the tokens of its bin.
    fn edge(
        &self,
        row: &[f32],
        (limit, min_keep): (f64, usize),
        bins: &mut Vec<Bin>,
        room: &mut Vec<(u32, f32)>,
    ) -> Option<Edge> {
        self.fill(row, bins);
        let (mut sum, mut n) = (0.0, 0);
        let bin = bins.iter().position(|bin| {
            let crosses = bin.n > 0 && sum + bin.weight > limit && n + bin.n >= min_keep;
            if !crosses {
                sum += bin.weight;
                n += bin.n;
            }
            crosses
        })?;
        room.clear();
        let candidates = (0u32..).zip(row).map(|(token, &x)| (token, x + 0.0));
        room.extend(candidates.filter(|c| c.1 > f32::NEG_INFINITY && self.bin(c.1) == bin));
        room.sort_unstable_by_key(|c| self.key(c));
        let crosses = |(i, c): (usize, &(u32, f32))| {
            sum += f64::from(quick_exp(self.exponent(c.1)));
            sum > limit && n + i + 1 >= min_keep
        };
        // In the bin's own sum the last one crosses, whatever another order rounds to.
        let last = room.iter().enumerate().position(crosses).unwrap_or(room.len() - 1);
        Some(Edge { bin, key: self.key(&room[last]), n: n + last + 1 })
    }

    fn keeps(&self, edge: &Edge, candidate: &(u32, f32)) -> bool {
        let bin = self.bin(candidate.1);
        bin < edge.bin || (bin == edge.bin && self.key(candidate) <= edge.key)
    }
}

impl Candidates<'_> {
    /// [`Candidates::typical_p`] of a row, by weights that are within 2^-21 of those of a list.
    pub(super) fn typical_of_row(&mut self, p: f32, min_keep: usize) {
        let moments = self.moments();
        let scores = Scores { best: self.best(), temperature: self.temperature, mean: moments.mean as f32 };
        let list = &mut self.room.sampler.candidates;
        let limits = (f64::from(p) * moments.sum, min_keep);
        let Some(edge) = scores.edge(self.row, limits, &mut self.room.bins, list) else { return };
        let candidates = (0u32..).zip(&*self.row).map(|(token, &x)| (token, x + 0.0));
        if edge.n <= LONGEST_LIST {
            list.clear();
            list.extend(candidates.filter(|c| c.1 > f32::NEG_INFINITY && scores.keeps(&edge, c)));
            list.sort_unstable_by_key(rank);
            self.is_list = true;
            return;
        }
        for (token, x) in (0u32..).zip(self.row.iter_mut()) {
            // NaN is no candidate either.
            let is_kept = *x > f32::NEG_INFINITY && scores.keeps(&edge, &(token, *x + 0.0));
            *x = if is_kept { *x } else { f32::NEG_INFINITY };
        }
    }
}
