//! What a sequence's penalties depend on: which tokens came how often. Every operation costs the same, however long the
//! sequence is.

use foldhash::{HashMap, HashMapExt};

use super::Sampling;

/// The tokens of one sequence, counted for its penalties; without penalties it keeps nothing.
///
/// ```text
/// tokens   p p p p p p | c c c c c
///                      [ completed )    for frequency and presence
///                  [    window     )    the last repeat_last_n, for repeats
/// ```
#[derive(Debug, Clone)]
pub struct History {
    /// Prompt and completion.
    tokens: Vec<u32>,
    /// Length of the window; 0 if repeats have no penalty.
    last_n: usize,
    is_tracking: bool,
    counts: HashMap<u32, Counts>,
}

/// How often a token is in the window and in the completion; never in neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    window: u32,
    completed: u32,
}

impl History {
    /// That of a sequence which has only its prompt yet. `sampling` is the one its tokens are chosen by.
    pub fn new(sampling: &Sampling, prompt: &[u32]) -> History {
        let is_tracking = sampling.penalizes();
        let last_n = sampling.repeat_last_n.unwrap_or(usize::MAX);
        let last_n = if sampling.penalizes_repeats() { last_n } else { 0 };
        // Nothing that is out of the window will be in it again.
        let kept = if is_tracking { &prompt[prompt.len().saturating_sub(last_n)..] } else { &[] };
        let mut counts: HashMap<u32, Counts> = HashMap::new();
        kept.iter().for_each(|&token| counts.entry(token).or_default().window += 1);
        History { tokens: kept.to_vec(), last_n, is_tracking, counts }
    }

    /// `token` was chosen.
    pub fn push(&mut self, token: u32) {
        if !self.is_tracking {
            return;
        }
        self.tokens.push(token);
        let counts = self.counts.entry(token).or_default();
        counts.completed += 1;
        if self.last_n > 0 {
            counts.window += 1;
            if self.tokens.len() > self.last_n {
                self.leave_window(self.tokens[self.tokens.len() - self.last_n - 1]);
            }
        }
    }

    fn leave_window(&mut self, token: u32) {
        let counts = self.counts.get_mut(&token).expect("a token of the history is counted");
        counts.window -= 1;
        if *counts == Counts::default() {
            self.counts.remove(&token);
        }
    }

    /// Are there any penalties?
    pub(super) fn is_tracking(&self) -> bool {
        self.is_tracking
    }

    /// Applies the penalties of `sampling` to `logits` (vocab_size,): first that of repeats, then the others.
    pub(super) fn penalize(&self, logits: &mut [f32], sampling: &Sampling) {
        // Each token by itself: the map's order does not matter.
        for (&token, counts) in &self.counts {
            // A prompt may hold tokens for which the model has no logit.
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            if counts.window > 0 {
                let penalty = sampling.repeat_penalty;
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
            if counts.completed > 0 {
                let frequency = counts.completed as f32 * sampling.frequency_penalty;
                *logit -= frequency + sampling.presence_penalty;
            }
        }
    }
}
