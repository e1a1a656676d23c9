//! Probabilities of tokens: `n_probs`, and `post_sampling_probs` for those that tokens are drawn from.

use inferno_reply::Shown;
use serde_json::{Map, Value, json};

use super::Asked;
use crate::generation::Generation;
use crate::wire::LEAST_LOGPROB;

/// `completion_probabilities` of `tokens`.
pub(super) fn of(answer: &Generation, tokens: &[&Shown], asked: &Asked) -> Value {
    let tokenizer = &answer.app().text.tokenizer;
    let token = |id: u32, logprob: f32| {
        let bytes = tokenizer.piece(id).unwrap_or_default();
        let mut token = Map::new();
        token.insert("id".into(), id.into());
        token.insert("token".into(), text(bytes).into());
        token.insert("bytes".into(), json!(bytes));
        match asked.post_sampling {
            true => token.insert("prob".into(), logprob.exp().into()),
            false => token.insert("logprob".into(), logprob.max(LEAST_LOGPROB).into()),
        };
        token
    };
    let list = if asked.post_sampling { "top_probs" } else { "top_logprobs" };
    let all = tokens.iter().filter_map(|shown| {
        let logprob = shown.logprob.as_ref()?;
        let mut own = token(shown.span.token, logprob.logprob);
        let top = logprob.top.iter().take(asked.n_probs);
        // What cannot be drawn is left out.
        let top = top.filter(|(_, logprob)| !asked.post_sampling || logprob.exp() > 0.0);
        let top: Vec<Map<String, Value>> = top.map(|&(id, logprob)| token(id, logprob)).collect();
        own.insert(list.into(), json!(top));
        Some(own)
    });
    json!(all.collect::<Vec<Map<String, Value>>>())
}

/// A token's text without the part of a character at its end; bytes that are no text elsewhere are U+FFFD.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        // The end of the input within a character.
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
        }
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}
