//! Stop strings end a sequence in the engine itself, at the token that completes one.

use std::sync::Arc;

use inferno_engine::{Constraint, TokenMask};
use inferno_text::{ControlTokens, Detokenizer, StopStrings, Tokenizer};

/// A constraint that ends a sequence where its text has a stop string.
pub struct StopAtText {
    detokenizer: Detokenizer<Arc<Tokenizer>>,
    stops: StopStrings,
    /// Before so many tokens it may not end.
    min_tokens: usize,
    n_tokens: usize,
}

impl StopAtText {
    /// For the completion of `prompt`. Stop strings that begin in its first `min_tokens` tokens do not count.
    pub fn new(
        tokenizer: &Arc<Tokenizer>,
        prompt: &[u32],
        control: ControlTokens,
        stops: StopStrings,
        min_tokens: usize,
    ) -> StopAtText {
        StopAtText {
            detokenizer: Detokenizer::after(Arc::clone(tokenizer), prompt, control),
            stops,
            min_tokens,
            n_tokens: 0,
        }
    }
}

impl Constraint for StopAtText {
    fn mask(&mut self, _: &mut TokenMask) {}

    fn commit(&mut self, token: u32) {
        self.n_tokens += 1;
        let text = self.detokenizer.push(token).expect("the engine's tokens are the vocabulary's");
        // What stands in the text before it may end does not count, nor what begins there.
        if self.n_tokens > self.min_tokens {
            self.stops.push(&text);
        }
    }

    fn rollback(&mut self, _: usize) {
        unreachable!("the engine commits only what was chosen");
    }

    fn finished(&self) -> bool {
        self.stops.matched().is_some()
    }
}
