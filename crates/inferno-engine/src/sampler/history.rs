//! What a sequence's penalties depend on: which tokens came how often. Every operation costs the same, however long the
//! sequence is.

use foldhash::{HashMap, HashMapExt};
use inferno_model::sample::Candidates;

use super::Sampling;

/// The tokens of one sequence, counted for its penalties, and the state of Mirostat; it keeps nothing that its samplers do not
/// need.
///
/// ```text
/// tokens   p p p p p p | c c c c c
///                      [ completed )    for frequency, presence and bad words
///                  [    window     )    the last repeat_last_n, for repeats
///              [        window     )    the last dry_penalty_last_n, for DRY
/// ```
#[derive(Debug, Clone)]
pub struct History {
    /// Prompt, as far back as a window reaches, and completion.
    tokens: Vec<u32>,
    /// Tokens of the prompt among them.
    n_prompt: usize,
    /// Length of the window of repeats; 0 if they have no penalty.
    last_n: usize,
    is_tracking: bool,
    keeps_tokens: bool,
    counts: HashMap<u32, Counts>,
    /// Mirostat's limit of surprise, in bits.
    surprise_limit: Option<f64>,
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
        let tail = |n: usize| &prompt[prompt.len().saturating_sub(n)..];
        let mut counts: HashMap<u32, Counts> = HashMap::new();
        tail(last_n).iter().for_each(|&token| counts.entry(token).or_default().window += 1);
        // Nothing that is out of both windows will be in one again.
        let dry_last_n = sampling.dry.as_ref().map_or(0, |dry| dry.last_n.unwrap_or(usize::MAX));
        let kept = tail(last_n.max(dry_last_n));
        History {
            tokens: kept.to_vec(),
            n_prompt: kept.len(),
            last_n,
            is_tracking,
            keeps_tokens: is_tracking || sampling.dry.is_some() || !sampling.bad_words.is_empty(),
            counts,
            surprise_limit: sampling.mirostat().map(|mirostat| mirostat.initial_limit()),
        }
    }

    /// `token` was chosen.
    pub fn push(&mut self, token: u32) {
        if !self.keeps_tokens {
            return;
        }
        self.tokens.push(token);
        if !self.is_tracking {
            return;
        }
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

    /// Prompt and completion, as far back as DRY looks and further.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Mirostat's limit of surprise, in bits.
    pub(super) fn surprise_limit(&mut self) -> Option<&mut f64> {
        self.surprise_limit.as_mut()
    }

    /// The last tokens of bad words whose other tokens have just been completed.
    pub(super) fn bad_tokens<'a>(&'a self, sampling: &'a Sampling) -> impl Iterator<Item = u32> + 'a {
        let completion = self.tokens.get(self.n_prompt..).unwrap_or_default();
        sampling.bad_words.iter().filter_map(move |word| {
            let (&last, before) = word.split_last()?;
            completion.ends_with(before).then_some(last)
        })
    }

    /// Would `token` complete a bad word?
    pub(crate) fn is_bad(&self, token: u32, sampling: &Sampling) -> bool {
        self.bad_tokens(sampling).any(|bad| bad == token)
    }

    /// Applies the penalties of `sampling` to `logits` (vocab_size,): first that of repeats, then the others.
    pub(super) fn penalize(&self, logits: &mut [f32], sampling: &Sampling) {
        // Each token by itself: the map's order does not matter.
        for &token in self.counts.keys() {
            // A prompt may hold tokens for which the model has no logit.
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = self.penalized(token, *logit, sampling);
            }
        }
    }

    /// The same for the candidates of a chain.
    pub(super) fn penalize_candidates(&self, candidates: &mut Candidates<'_>, sampling: &Sampling) {
        let change = |token, logit| self.penalized(token, logit, sampling);
        candidates.adjust(self.counts.keys().copied(), change);
    }

    fn penalized(&self, token: u32, mut logit: f32, sampling: &Sampling) -> f32 {
        let Some(counts) = self.counts.get(&token) else { return logit };
        if counts.window > 0 {
            let penalty = sampling.repeat_penalty;
            logit = if logit > 0.0 { logit / penalty } else { logit * penalty };
        }
        if counts.completed > 0 {
            let frequency = counts.completed as f32 * sampling.frequency_penalty;
            logit -= frequency + sampling.presence_penalty;
        }
        logit
    }
}
