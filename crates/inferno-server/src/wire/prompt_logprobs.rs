//! Log-probabilities of a prompt, in vLLM's shape.

use inferno_engine::TokenLogprob;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::logprobs::{LEAST_LOGPROB, Names};

/// An array with an entry for each token of a prompt: null for the first, then an object from token id to log-probability, rank
/// and text, of the token itself and of the best.
#[derive(Debug)]
pub(crate) struct PromptLogprobs<'a> {
    /// (n_tokens,)
    prompt: &'a [u32],
    /// (n_tokens - 1,)
    logprobs: &'a [TokenLogprob],
    top: usize,
    names: Names<'a>,
}

impl<'a> PromptLogprobs<'a> {
    /// Of `prompt`, whose tokens but the first have these `logprobs`, with the `top` best beside each.
    pub(crate) fn new(
        prompt: &'a [u32],
        logprobs: &'a [TokenLogprob],
        top: usize,
        names: Names<'a>,
    ) -> PromptLogprobs<'a> {
        PromptLogprobs { prompt, logprobs, top, names }
    }

    fn entry(&self, (token, logprob): (&u32, &'a TokenLogprob)) -> Entry<'a> {
        let own = (*token, logprob.logprob, logprob.rank);
        let best = logprob.top.iter().zip(1..).take(self.top);
        let best = best.map(|(&(token, logprob), rank)| (token, logprob, Some(rank)));
        let others = best.filter(|other| other.0 != *token);
        Entry { tokens: [own].into_iter().chain(others).collect(), names: self.names }
    }
}

impl Serialize for PromptLogprobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let scored = self.prompt.iter().skip(1).zip(self.logprobs);
        serializer.collect_seq([None].into_iter().chain(scored.map(|scored| Some(self.entry(scored)))))
    }
}

/// (token, log-probability, rank) of a place.
struct Entry<'a> {
    tokens: Vec<(u32, f32, Option<u32>)>,
    names: Names<'a>,
}

#[derive(serde::Serialize)]
struct Scored {
    logprob: f32,
    rank: Option<u32>,
    decoded_token: String,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.tokens.len()))?;
        for &(token, logprob, rank) in &self.tokens {
            let decoded_token = self.names.text(token);
            let scored = Scored { logprob: logprob.max(LEAST_LOGPROB), rank, decoded_token };
            map.serialize_entry(&token.to_string(), &scored)?;
        }
        map.end()
    }
}
