//! Which tokens may come next: a bit each.

/// A set of allowed tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenMask {
    /// Token `t` is bit `t % 64` of word `t / 64`; bits behind the last token are 0.
    words: Vec<u64>,
    n_tokens: usize,
}

/// A grammar over tokens: masks the next token by the ones before it. A request with one is sampled on the host, where its
/// logits are.
///
/// The text that tokens stand for is known to the implementation, never to the engine. A grammar follows sampled tokens only:
/// drafts are committed after they were verified, so nothing is rolled back.
pub trait Grammar: Send {
    /// Bans from `mask` all tokens that may not come next; it never allows one.
    fn mask(&mut self, mask: &mut TokenMask);
    /// Takes the next token, which the mask allowed.
    fn commit(&mut self, token: u32);
    /// Appends the tokens that must come next, whatever the logits are; none where there is a choice. They are committed
    /// like sampled ones.
    fn forced(&mut self, _tokens: &mut Vec<u32>) {}
    /// The token to take in place of `sampled`, which the mask allowed: another one where the answer could not end in time
    /// after it. It depends on the tokens before and on nothing else.
    fn settle(&mut self, sampled: u32) -> u32 {
        sampled
    }
    /// Whether the grammar is complete, so that no token can follow. Where more may follow but need not, its mask allows
    /// the end-of-sequence tokens.
    fn finished(&self) -> bool;
    /// The reason for which it can say nothing of the next token, if it cannot: the answer then fails with it.
    fn failure(&self) -> Option<&str> {
        None
    }
}

impl TokenMask {
    /// All of `n_tokens` tokens.
    pub fn new(n_tokens: usize) -> TokenMask {
        let mut mask = TokenMask::default();
        mask.reset(n_tokens);
        mask
    }

    /// How many tokens there are, allowed or not.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// How many are allowed.
    pub fn n_allowed(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The allowed token with the lowest id.
    pub fn first_allowed(&self) -> Option<u32> {
        let i = self.words.iter().position(|&w| w != 0)?;
        Some(i as u32 * 64 + self.words[i].trailing_zeros())
    }

    /// May `token` come next? One outside of the vocabulary may not.
    pub fn is_allowed(&self, token: u32) -> bool {
        self.words.get(token as usize / 64).is_some_and(|w| w >> (token % 64) & 1 == 1)
    }

    /// Allows `token`, which is one of the vocabulary.
    pub fn allow(&mut self, token: u32) {
        assert!((token as usize) < self.n_tokens, "token {token} of {}", self.n_tokens);
        self.words[token as usize / 64] |= 1 << (token % 64);
    }

    /// Bans `token`; one outside of the vocabulary is banned already.
    pub fn ban(&mut self, token: u32) {
        if let Some(word) = self.words.get_mut(token as usize / 64) {
            *word &= !(1 << (token % 64));
        }
    }

    /// Allows every token.
    pub fn allow_all(&mut self) {
        self.reset(self.n_tokens);
    }

    /// Bans every token.
    pub fn ban_all(&mut self) {
        self.words.fill(0);
    }

    /// Bans what `other` does not allow; both are of one vocabulary.
    pub fn intersect(&mut self, other: &TokenMask) {
        assert_eq!(self.n_tokens, other.n_tokens, "masks of one vocabulary");
        self.intersect_words(&other.words);
    }

    /// Bans what is 0 in `words`, of which token `t` is bit `t % 64` of word `t / 64`. Words that are missing are 0.
    pub fn intersect_words(&mut self, words: &[u64]) {
        let padded = words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter_mut().zip(padded).for_each(|(w, other)| *w &= other);
    }

    /// Bans what is 0 in `halves`, of which token `t` is bit `t % 32` of word `t / 32`. Words that are missing are 0.
    pub fn intersect_half_words(&mut self, halves: &[u32]) {
        let (pairs, rest) = halves.as_chunks::<2>();
        let last = rest.first().map(|&low| u64::from(low));
        let words = pairs.iter().map(|&[low, high]| u64::from(low) | u64::from(high) << 32).chain(last);
        let padded = words.chain(std::iter::repeat(0));
        self.words.iter_mut().zip(padded).for_each(|(w, other)| *w &= other);
    }

    /// Becomes all of `n_tokens` tokens.
    pub(super) fn reset(&mut self, n_tokens: usize) {
        self.n_tokens = n_tokens;
        self.words.clear();
        self.words.resize(n_tokens.div_ceil(64), !0);
        if let Some(last) = self.words.last_mut().filter(|_| !n_tokens.is_multiple_of(64)) {
            *last = (1 << (n_tokens % 64)) - 1;
        }
    }

    /// Makes the logits of banned tokens -∞. `logits` has one for every token.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        assert_eq!(logits.len(), self.n_tokens, "the mask is of the logits' vocabulary");
        let (chunks, rest) = logits.as_chunks_mut::<64>();
        for (chunk, &word) in chunks.iter_mut().zip(&self.words) {
            match word {
                u64::MAX => {}
                0 => chunk.fill(f32::NEG_INFINITY),
                _ => {
                    let (low, high) = chunk.split_at_mut(32);
                    apply_half(low, word as u32);
                    apply_half(high, (word >> 32) as u32);
                }
            }
        }
        let first = (self.n_tokens - rest.len()) as u32;
        for (token, logit) in (first..).zip(rest) {
            *logit = if self.is_allowed(token) { *logit } else { f32::NEG_INFINITY };
        }
    }
}

fn apply_half(logits: &mut [f32], word: u32) {
    // With constants for the bits this is a few vector operations.
    const BITS: [u32; 32] = {
        let mut bits = [0; 32];
        let mut i = 0;
        while i < 32 {
            bits[i] = 1 << i;
            i += 1;
        }
        bits
    };
    for (logit, bit) in logits.iter_mut().zip(BITS) {
        *logit = if word & bit != 0 { *logit } else { f32::NEG_INFINITY };
    }
}
