//! What good clients ask: chats that share the beginnings of their prompts.

use std::sync::Arc;

use serde_json::json;
use xtask::testing::Random;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub(super) system: Option<&'static str>,
    pub(super) user: String,
    pub(super) max_tokens: usize,
    /// It goes on until it has `max_tokens`.
    pub(super) is_exact: bool,
    pub(super) seed: u64,
    /// Its text in an undisturbed run, as JSON has it: any other is an error.
    pub(super) known: Option<Arc<[u8]>>,
}

const SYSTEMS: [&str; 5] = [
    "You are a careful assistant. Answer in plain words and short sentences. Say what you know and what you do not know.",
    "You tell stories to small children. Every story has a beginning, a middle and an end. Nobody in it is ever hurt, and \
     every animal can speak. Use only words that a child of five knows. Begin at once, without a greeting.",
    "You are the voice of a small library. Visitors ask for books, for the way to a shelf, or when the house is open. It \
     is open from nine to six, on Saturdays to one. Children's books are on the ground floor, maps and atlases on the \
     second, newspapers by the window. Answer in one or two sentences, and always be kind.",
    "Translate what the user writes into the plainest English that keeps the meaning.",
    "You help in a garden. It has apple trees, a pond with two frogs, beans on long poles and a shed with an old door. \
     Answer questions about plants, weather and animals, and remind the user to water the beans.",
];

const WORDS: [&str; 32] = [
    "the", "a", "cat", "dog", "little", "girl", "boy", "tree", "went", "saw", "to", "big", "happy", "sad",
    "play", "with", "and", "then", "bird", "red", "ball", "park", "mother", "said", "why", "rain", "sun",
    "house", "friend", "found", "lost", "home",
];

impl Ask {
    /// One of the shared system prompts, and a text of its own.
    pub(super) fn chat(random: &mut Random, max_tokens: usize) -> Ask {
        let system = SYSTEMS[random.below(SYSTEMS.len())];
        let n_words = 4 + random.below(40);
        Ask { system: Some(system), ..Ask::words(random, n_words, max_tokens) }
    }

    /// A text of a few words.
    pub(super) fn short(random: &mut Random, max_tokens: usize) -> Ask {
        let n_words = 3 + random.below(6);
        Ask::words(random, n_words, max_tokens)
    }

    fn words(random: &mut Random, n_words: usize, max_tokens: usize) -> Ask {
        Ask {
            system: None,
            user: words(random, n_words),
            max_tokens,
            is_exact: false,
            seed: random.bits() >> 33,
            known: None,
        }
    }

    /// The body of the request.
    pub(super) fn to_json(&self, model: &str) -> String {
        let system = self.system.map(|text| json!({ "role": "system", "content": text }));
        let user = json!({ "role": "user", "content": self.user });
        let messages: Vec<_> = system.into_iter().chain([user]).collect();
        json!({
            "model": model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
            "max_tokens": self.max_tokens,
            "temperature": 0.7,
            "seed": self.seed,
            "ignore_eos": self.is_exact,
        })
        .to_string()
    }
}

/// A text of no meaning.
pub(crate) fn words(random: &mut Random, n_words: usize) -> String {
    let words: Vec<&str> = (0..n_words).map(|_| WORDS[random.below(WORDS.len())]).collect();
    words.join(" ")
}
