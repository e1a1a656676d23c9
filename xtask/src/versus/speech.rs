//! Texts of no meaning and of a given number of tokens.

use serde_json::{Value as Json, json};
use xtask::testing::Random;

use super::Result;
use crate::load::ask::words;
use crate::load::client::Client;
use crate::load::http::Body;
use crate::load::target::Target;

pub(super) struct Speech {
    tokens_per_word: f64,
}

impl Speech {
    /// As a server's tokenizer has it.
    pub(super) fn of(target: &Target) -> Result<Speech> {
        const N_WORDS: usize = 2000;
        let text = words(&mut Random(1), N_WORDS);
        let body = json!({ "content": text }).to_string();
        let (mut connection, head) = Client::of_single_requests(target).send("POST", "/tokenize", &body)?;
        let answer = connection.body(&head).and_then(Body::text);
        let answer = answer.map_err(|e| format!("`/tokenize`: {e}"))?;
        let answer: Json =
            serde_json::from_str(&answer).map_err(|e| format!("`/tokenize` is not JSON: {e}"))?;
        match answer["tokens"].as_array().map_or(0, Vec::len) {
            0 => Err("`/tokenize` has no tokens".into()),
            n => Ok(Speech { tokens_per_word: n as f64 / N_WORDS as f64 }),
        }
    }

    /// About so many tokens.
    pub(super) fn text(&self, random: &mut Random, n_tokens: usize) -> String {
        let n_words = (n_tokens as f64 / self.tokens_per_word).round() as usize;
        words(random, n_words.max(1))
    }
}

#[cfg(test)]
impl Speech {
    pub(super) fn of_test(tokens_per_word: f64) -> Speech {
        Speech { tokens_per_word }
    }
}
