//! Requests for those who have no trace: chats of several turns that share a few system prompts, and come at random.

use super::workload::{Arrival, Part};
use crate::commands::bench::runner::mix;

const N_SYSTEM_PROMPTS: u64 = 4;
/// Turns of a chat, at most.
const MAX_TURNS: usize = 4;
// Tokens of each, at least and at most: four turns fit a context of 1,024.
const SYSTEM: (usize, usize) = (96, 192);
const QUESTION: (usize, usize) = (16, 64);
const ANSWER: (usize, usize) = (16, 96);

/// A chat that may go on: its last prompt, and the answer's length. The next prompt has other tokens in the answer's
/// place, as what a model says is not known beforehand.
struct Chat {
    parts: Vec<Part>,
    n_answer: usize,
    n_turns: usize,
}

/// `n` requests; the seed decides everything. One a second in the mean (Poisson).
pub(super) fn arrivals(n: usize, seed: u64) -> Vec<Arrival> {
    let mut random = Random(seed);
    let mut chats: Vec<Chat> = Vec::new();
    let mut at = 0.0;
    let mut arrivals = Vec::with_capacity(n);
    for next_id in (N_SYSTEM_PROMPTS..).take(n) {
        at -= (1.0 - random.fraction()).ln();
        let goes_on = !chats.is_empty() && random.fraction() < 0.6;
        let mut chat = match goes_on {
            true => chats.swap_remove(random.between((0, chats.len() - 1))),
            false => {
                let id = random.between((0, N_SYSTEM_PROMPTS as usize - 1)) as u64;
                let end = Random(seed ^ mix(id)).between(SYSTEM);
                Chat { parts: vec![Part { id, end }], n_answer: 0, n_turns: 0 }
            }
        };
        let n_new = chat.n_answer + random.between(QUESTION);
        let end = chat.parts.last().map_or(0, |part| part.end) + n_new;
        chat.parts.push(Part { id: next_id, end });
        chat.n_answer = random.between(ANSWER);
        chat.n_turns += 1;
        arrivals.push(Arrival { at, parts: chat.parts.clone(), n_completion: chat.n_answer });
        if chat.n_turns < MAX_TURNS {
            chats.push(chat);
        }
    }
    arrivals
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        let bits = mix(self.0);
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        bits
    }

    /// In [0, 1).
    fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, (least, most): (usize, usize)) -> usize {
        least + (self.bits() % (most - least + 1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_go_on_from_their_prompts_and_fit_a_small_context() {
        let all = arrivals(400, 3);
        assert_eq!(all, arrivals(400, 3));
        assert_ne!(all, arrivals(400, 4));
        assert!(all.iter().all(|a| a.n_prompt() + a.n_completion <= 1024));
        assert!(all.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let mean = all.last().map_or(0.0, |a| a.at) / 400.0;
        assert!((0.8..1.2).contains(&mean), "one a second, found one in {mean} s");
        let later = all.iter().filter(|a| a.parts.len() > 2);
        let is_next = |a: &Arrival, b: &Arrival| b.parts == a.parts[..a.parts.len() - 1];
        assert!(later.clone().count() > 100);
        assert!(later.clone().all(|a| all.iter().any(|b| is_next(a, b))));
    }
}
