//! Texts as sequences of tokens wherever they may begin: within a token, or at its start.

use std::collections::BTreeMap;

use memchr::memchr_iter;

use crate::special::Special;
use crate::text_map::Texts;
use crate::tokenizer::Tokenizer;

/// Tokens that complete a text, at most.
const LONGEST_TAIL: usize = 20;

impl Tokenizer {
    /// Tokens in which `text` begins, by id, each with the tokens that complete it: none where a token has all of it. A tail
    /// that begins within a character is left out, and a tail has at most 20 tokens.
    ///
    /// Source: `get_overlapping_token_sequences` of llama.cpp and koboldcpp.
    pub fn overlaps(&self, text: &str) -> Vec<(u32, Vec<u32>)> {
        let mut overlaps = BTreeMap::new();
        for (token, rest) in self.vocab.pieces.tails_from(text.as_bytes().first().copied()) {
            let n = rest.len().min(text.len());
            if rest[..n] == text.as_bytes()[..n] {
                overlaps.entry((token, text.len() - n)).or_insert(());
            }
        }
        let mut tails: BTreeMap<usize, Option<Vec<u32>>> = BTreeMap::new();
        let mut found: Vec<(u32, Vec<u32>)> = Vec::new();
        for &(token, n_missing) in overlaps.keys() {
            // The shortest tail comes first: a token with all of the text needs no other.
            if found.last().is_some_and(|last| last.0 == token && last.1.is_empty()) {
                continue;
            }
            let tail = tails.entry(n_missing).or_insert_with(|| {
                let mut tail = self.encode(text.get(text.len() - n_missing..)?, Special::AsText);
                tail.truncate(LONGEST_TAIL);
                Some(tail)
            });
            if let Some(tail) = tail {
                found.push((token, tail.clone()));
            }
        }
        found
    }

    /// The sequences of tokens that `word` may be in the middle of a text: as it is, and behind a space. Spaces in front of it do
    /// not count.
    ///
    /// Source: `SamplingParams.bad_words` of vLLM, which leaves the second out where it has not as many tokens as the first.
    pub fn word_sequences(&self, word: &str) -> Vec<Vec<u32>> {
        let word = word.trim_start();
        let bare = self.encode(word, Special::AsText);
        let spaced = self.encode(&format!(" {word}"), Special::AsText);
        let differs = !spaced.ends_with(&bare);
        if word.is_empty() {
            return Vec::new();
        }
        [Some(bare), differs.then_some(spaced)].into_iter().flatten().collect()
    }
}

impl Texts {
    /// Every place in a string at which `byte` is: the string's index, and what follows from there.
    fn tails_from(&self, byte: Option<u8>) -> impl Iterator<Item = (u32, &[u8])> {
        let places = byte.into_iter().flat_map(|byte| memchr_iter(byte, self.bytes()));
        let mut id = 0;
        places.map(move |at| {
            while self.end(id) <= at {
                id += 1;
            }
            (id, &self.bytes()[at..self.end(id)])
        })
    }
}

#[cfg(test)]
mod tests;
