//! Masks of long strings without a walk of all tokens.
//!
//! llguidance's slices hold tokens that a string takes as a whole, and tell that a state of the lexer takes a slice by the form
//! of its regular expression: for `"pattern": "\\d{4}"`, which may be anywhere in a string, they cannot, and each mask is a
//! walk of the whole vocabulary. Here the states that a string can reach are visited instead: where none of them is dead,
//! every token of a slice is allowed in all of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use llguidance::derivre::StateID;
use llguidance::earley::{BiasComputer, ParserRecognizer, SlicedBiasComputer};
use toktrie::{SimpleVob, TokEnv, TokTrie};

/// Nodes of the trie that a walk may have without being avoided: some 0.1 ms.
const FEW_NODES: usize = 30_000;
/// States after whole characters that are visited for one mask.
const VISITS: usize = 32;
/// States of one search.
const MOST_STATES: usize = 192;
/// Searches without a result, for an answer.
const LOST_SEARCHES: u32 = 8;

/// Tokens of texts of some characters, for one vocabulary.
pub(crate) struct StringTokens {
    slices: Arc<SlicedBiasComputer>,
    tokens: TokEnv,
    /// Larger ones first.
    sets: Vec<TokenSet>,
    /// Nodes of a walk after which something is learned.
    few_nodes: usize,
}

/// The tokens of whole characters of one kind.
struct TokenSet {
    kind: Kind,
    mask: SimpleVob,
    /// All other tokens.
    rest: TokTrie,
}

/// Characters: those beyond ASCII, and some of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Characters that stand in a string of JSON as they are.
    Plain,
    /// Letters, digits and the space.
    Words,
    /// Letters and digits.
    Alphanumeric,
}

/// Masks for one answer, whose lexer it learns about.
pub(crate) struct StringMasks {
    tokens: Arc<StringTokens>,
    learned: Mutex<Learned>,
}

#[derive(Default)]
struct Learned {
    /// The set all of whose tokens a state takes, by its place; `None` where there is none.
    states: HashMap<StateID, Option<usize>>,
    search: Option<Search>,
    n_lost: u32,
}

/// A visit of all states that texts of one set reach.
struct Search {
    set: usize,
    start: StateID,
    visited: HashSet<(StateID, Phase)>,
    todo: Vec<(StateID, Phase)>,
}

/// The bytes that may follow within a character of UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// A character begins.
    Start,
    /// One byte follows.
    Last,
    /// Two bytes follow: the first one is in this range.
    Two(u8, u8),
    /// Three bytes follow: the first one is in this range.
    Three(u8, u8),
}

enum Outcome {
    Unfinished,
    /// No state is dead.
    Found,
    Lost,
}

impl Kind {
    fn has(self, byte: u8) -> bool {
        match self {
            Kind::Plain => !matches!(byte, 0..=0x1f | 0x7f | b'"' | b'\\'),
            Kind::Words => byte.is_ascii_alphanumeric() || byte == b' ',
            Kind::Alphanumeric => byte.is_ascii_alphanumeric(),
        }
    }
}

impl StringTokens {
    /// The tokens of a vocabulary, with the slices of llguidance for what is not learned.
    pub(crate) fn new(tokens: TokEnv, slices: Arc<SlicedBiasComputer>) -> StringTokens {
        let trie = tokens.tok_trie();
        let set = |kind: Kind| {
            let (mut mask, mut others) = (trie.alloc_token_set(), trie.alloc_token_set());
            for token in 0..trie.vocab_size() as u32 {
                let bytes = trie.token(token);
                let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.is_empty());
                match is_text && bytes.iter().all(|&b| b >= 0x80 || kind.has(b)) {
                    true => mask.allow_token(token),
                    false => others.allow_token(token),
                }
            }
            TokenSet { kind, mask, rest: trie.filter(&others) }
        };
        let sets = [Kind::Plain, Kind::Words, Kind::Alphanumeric].map(set).into();
        StringTokens { slices, tokens, sets, few_nodes: FEW_NODES }
    }
}

impl StringMasks {
    /// Masks that know nothing of their lexer yet. States of a lexer are its own: these are for one parser and its clones.
    pub(crate) fn new(tokens: Arc<StringTokens>) -> StringMasks {
        StringMasks { tokens, learned: Mutex::default() }
    }
}

impl BiasComputer for StringMasks {
    fn compute_bias(&self, recognizer: &mut ParserRecognizer<'_>, start: &[u8]) -> SimpleVob {
        let tokens = &*self.tokens;
        if !start.is_empty() {
            return tokens.slices.compute_bias(recognizer, start);
        }
        let state = recognizer.lexer_state();
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&Some(set)) = learned.states.get(&state) {
            let mut allowed = tokens.sets[set].mask.clone();
            tokens.sets[set].rest.add_bias(recognizer, &mut allowed, &[]);
            return allowed;
        }
        let n_before = recognizer.stats_mut().trie_nodes_walked;
        let allowed = tokens.slices.compute_bias(recognizer, start);
        if recognizer.stats_mut().trie_nodes_walked - n_before > tokens.few_nodes {
            learned.learn(state, &tokens.sets, recognizer);
        }
        allowed
    }

    fn trie(&self) -> &TokTrie {
        self.tokens.tokens.tok_trie()
    }
}

impl Learned {
    /// Searches the states behind `state`, or goes on with a search that has come there.
    fn learn(&mut self, state: StateID, sets: &[TokenSet], recognizer: &mut ParserRecognizer<'_>) {
        if self.n_lost >= LOST_SEARCHES || self.states.contains_key(&state) {
            return;
        }
        let known = self.search.take().filter(|search| search.visited.contains(&(state, Phase::Start)));
        let mut search = known.unwrap_or_else(|| Search::new(0, state));
        loop {
            match search.go_on(sets[search.set].kind, recognizer) {
                Outcome::Unfinished => {
                    self.search = Some(search);
                    return;
                }
                Outcome::Found => {
                    for (state, _) in search.visited.iter().filter(|(_, phase)| *phase == Phase::Start) {
                        self.states.insert(*state, Some(search.set));
                    }
                    return;
                }
                Outcome::Lost if search.set + 1 < sets.len() => {
                    search = Search::new(search.set + 1, state);
                }
                Outcome::Lost => {
                    self.n_lost += 1;
                    self.states.insert(search.start, None);
                    return;
                }
            }
        }
    }
}

impl Search {
    fn new(set: usize, start: StateID) -> Search {
        let first = (start, Phase::Start);
        Search { set, start, visited: HashSet::from([first]), todo: vec![first] }
    }

    fn go_on(&mut self, kind: Kind, recognizer: &mut ParserRecognizer<'_>) -> Outcome {
        let lexer = recognizer.lexer_mut();
        let mut n_visits = 0;
        while let Some((state, phase)) = self.todo.pop() {
            n_visits += usize::from(phase == Phase::Start);
            if n_visits > VISITS {
                self.todo.push((state, phase));
                return Outcome::Unfinished;
            }
            let (first, last) = phase.range();
            for byte in first..=last {
                let Some(next) = phase.next(byte).filter(|_| byte >= 0x80 || kind.has(byte)) else {
                    continue;
                };
                let reached = lexer.transition_start_state(state, Some(byte), &None);
                if reached.is_dead() || reached.has_lowest_match() {
                    return Outcome::Lost;
                }
                if self.visited.insert((reached, next)) {
                    self.todo.push((reached, next));
                }
            }
            if self.visited.len() > MOST_STATES {
                return Outcome::Lost;
            }
        }
        Outcome::Found
    }
}

impl Phase {
    fn range(self) -> (u8, u8) {
        match self {
            Phase::Start => (0, 0xf4),
            Phase::Last => (0x80, 0xbf),
            Phase::Two(first, last) | Phase::Three(first, last) => (first, last),
        }
    }

    /// Expected bytes behind `byte`, which is in the range; `None` for a byte that begins no character.
    fn next(self, byte: u8) -> Option<Phase> {
        match (self, byte) {
            (Phase::Start, 0..=0x7f) | (Phase::Last, _) => Some(Phase::Start),
            (Phase::Start, 0xc2..=0xdf) | (Phase::Two(..), _) => Some(Phase::Last),
            (Phase::Start, 0xe0) => Some(Phase::Two(0xa0, 0xbf)),
            (Phase::Start, 0xed) => Some(Phase::Two(0x80, 0x9f)),
            (Phase::Start, 0xe1..=0xef) | (Phase::Three(..), _) => Some(Phase::Two(0x80, 0xbf)),
            (Phase::Start, 0xf0) => Some(Phase::Three(0x90, 0xbf)),
            (Phase::Start, 0xf1..=0xf3) => Some(Phase::Three(0x80, 0xbf)),
            (Phase::Start, 0xf4) => Some(Phase::Three(0x80, 0x8f)),
            (Phase::Start, _) => None,
        }
    }
}

#[cfg(test)]
mod tests;
