//! Where completions end: the share of tokens that were the last, by how many were before them.

/// Numbers of tokens that are told apart: up to 16, 32, 64, … and beyond.
const BUCKETS: usize = 12;
const FIRST: usize = 16;
/// Prior of a completion's length in tokens, and its weight in completions.
const PRIOR: (f64, f64) = (250.0, 2.0);
/// Ends after which half of what was seen is forgotten.
const MEMORY: f64 = 256.0;

/// The way a completion ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By a token of the model's choice, or at its limit.
    Anywhere,
    /// At its limit alone: no token ends it.
    AtLimit,
}

/// Ends of completions, of those that may end anywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Lengths {
    /// Tokens sampled at lengths in each bucket.
    tokens: [f64; BUCKETS],
    /// Completions that ended there before their limit.
    ends: [f64; BUCKETS],
}

fn bucket(n: usize) -> usize {
    ((n / FIRST).checked_ilog2().map_or(0, |log| log as usize + 1)).min(BUCKETS - 1)
}

/// The first number of tokens beyond a bucket.
fn end_of(bucket: usize) -> usize {
    if bucket == BUCKETS - 1 { usize::MAX } else { FIRST << bucket }
}

impl Lengths {
    /// A completion that may end anywhere got a token, its `n`-th.
    pub(crate) fn token(&mut self, n: usize) {
        self.tokens[bucket(n)] += 1.0;
    }

    /// Records an end after `n` tokens, before the limit.
    pub(crate) fn end(&mut self, n: usize) {
        self.ends[bucket(n)] += 1.0;
        if self.ends.iter().sum::<f64>() > MEMORY {
            self.tokens.iter_mut().chain(&mut self.ends).for_each(|x| *x /= 2.0);
        }
    }

    /// Share of tokens that are the last.
    fn rate(&self, bucket: usize) -> f64 {
        let (mean, weight) = PRIOR;
        // The nearer the numbers of other lengths, the more they tell: all of them stand for the mean.
        let (tokens, ends): (f64, f64) = (self.tokens.iter().sum(), self.ends.iter().sum());
        let overall = (ends + weight) / (tokens + weight * mean);
        let own = self.tokens[bucket];
        let believed = mean * weight;
        (self.ends[bucket] + believed * overall) / (own + believed)
    }

    /// Tokens that a completion with `n` of `limit` has still to come, such that the part `quantile` of those like it has
    /// fewer.
    pub(crate) fn left(&self, n: usize, limit: usize, ending: Ending, quantile: f64) -> usize {
        let most = limit.saturating_sub(n).max(1);
        if ending == Ending::AtLimit {
            return most;
        }
        // Tokens until the sum of rates is this: lengths of a constant rate are exponential.
        let mut left = -(1.0 - quantile.clamp(0.0, 0.999)).ln();
        let mut at = n;
        loop {
            let (bucket, rate) = (bucket(at), self.rate(bucket(at)).max(1e-6));
            let end = end_of(bucket).min(limit.max(n + 1));
            let n_here = (end - at) as f64;
            if left <= rate * n_here {
                return (at - n + (left / rate).ceil() as usize).clamp(1, most);
            }
            left -= rate * n_here;
            at = end;
            if at >= limit {
                return most;
            }
        }
    }
}
