//! Strings that end a text which arrives in pieces.
//!
//! The stop string whose end comes first is the one; of several that end there, the longest. So what is found does
//! not depend on how the text was cut.

use std::sync::Arc;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};

/// What becomes of the stop string itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopText {
    /// It is never shown.
    Dropped,
    /// It is the end of the text.
    Kept,
}

/// Finds stop strings in text that arrives in pieces, and never lets out a part of one.
///
/// All that [`push`](Self::push) and [`finish`](Self::finish) return, put together, is the text up to the stop
/// string that ends first, or all of it if there is none. Clones look for the same and share what they look with.
#[derive(Debug, Clone)]
pub struct StopStrings {
    /// `None` if there is nothing to look for.
    finder: Option<Arc<Finder>>,
    text: StopText,
    /// After the text so far.
    state: StateID,
    /// What may yet be the start of a stop string: the longest end of the text that is one.
    held: String,
    matched: Option<usize>,
}

impl StopStrings {
    /// Looks for `strings`. It takes memory of some 50 times their bytes.
    ///
    /// # Panics
    /// If one of them is empty, which callers refuse, or if they are too many for memory of 2 GiB, which callers bound.
    pub fn new(strings: Arc<[String]>, text: StopText) -> StopStrings {
        assert!(strings.iter().all(|string| !string.is_empty()), "a stop string is empty");
        let finder = (!strings.is_empty()).then(|| Arc::new(Finder::new(&strings)));
        let state = finder.as_ref().map_or(StateID::ZERO, |finder| finder.start());
        StopStrings { finder, text, state, held: String::new(), matched: None }
    }

    /// Is there nothing to look for?
    pub fn is_empty(&self) -> bool {
        self.finder.is_none()
    }

    /// Takes the next piece and returns the text that can be shown now: all but what may yet be the start of a stop
    /// string. After a match that is nothing, ever.
    pub fn push(&mut self, piece: &str) -> String {
        if self.matched.is_some() {
            return String::new();
        }
        let Some(finder) = &self.finder else { return piece.into() };
        let n_before = self.held.len();
        self.held.push_str(piece);
        for (i, &byte) in piece.as_bytes().iter().enumerate() {
            self.state = finder.automaton.next_state(Anchored::No, self.state, byte);
            if let Some((index, n_bytes)) = finder.found(self.state) {
                self.matched = Some(index);
                let end = n_before + i + 1;
                let mut shown = std::mem::take(&mut self.held);
                shown.truncate(if self.text == StopText::Kept { end } else { end - n_bytes });
                return shown;
            }
        }
        // held:  0 ........ shown ........ len
        //        [ can be shown )
        //                   [ the start of a stop string: as both are UTF-8, it starts with a character )
        let shown = self.held.len() - finder.depth(self.state);
        self.held.drain(..shown).collect()
    }

    /// Which stop string was found, as an index into those given to [`new`](Self::new).
    pub fn matched(&self) -> Option<usize> {
        self.matched
    }

    /// The text that was held back, once no more will come. It is empty after a match. A piece that comes all the
    /// same is searched on its own.
    pub fn finish(&mut self) -> String {
        self.state = self.finder.as_ref().map_or(StateID::ZERO, |finder| finder.start());
        std::mem::take(&mut self.held)
    }

    /// Bytes that are held back now.
    #[cfg(test)]
    fn n_held(&self) -> usize {
        self.held.len()
    }
}

/// An automaton whose state is the longest end of the text that starts a stop string.
#[derive(Debug)]
pub(crate) struct Finder {
    pub(crate) automaton: NFA,
    /// The length of the start that each state stands for, in order of states.
    depths: Vec<(StateID, usize)>,
}

impl Finder {
    pub(crate) fn new(strings: &[String]) -> Finder {
        let automaton = NFA::builder()
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .build(strings)
            .expect("callers bound how much there is to look for");
        let mut finder = Finder { automaton, depths: Vec::new() };
        let mut depths = vec![(finder.start(), 0)];
        for string in strings {
            let mut state = finder.start();
            for (i, &byte) in string.as_bytes().iter().enumerate() {
                state = finder.automaton.next_state(Anchored::No, state, byte);
                depths.push((state, i + 1));
            }
        }
        depths.sort_unstable();
        depths.dedup();
        finder.depths = depths;
        finder
    }

    pub(crate) fn start(&self) -> StateID {
        self.automaton.start_state(Anchored::No).expect("it searches from anywhere")
    }

    /// The longest stop string that ends at a state, the first of equals, and its bytes.
    pub(crate) fn found(&self, state: StateID) -> Option<(usize, usize)> {
        if !self.automaton.is_match(state) {
            return None;
        }
        let all = (0..self.automaton.match_len(state)).map(|i| self.automaton.match_pattern(state, i));
        let longest = all.max_by_key(|&id| (self.automaton.pattern_len(id), std::cmp::Reverse(id)))?;
        Some((longest.as_usize(), self.automaton.pattern_len(longest)))
    }

    pub(crate) fn depth(&self, state: StateID) -> usize {
        let at = self.depths.binary_search_by_key(&state, |&(state, _)| state);
        self.depths[at.expect("every state is a start of a stop string")].1
    }
}

#[cfg(test)]
mod tests;
