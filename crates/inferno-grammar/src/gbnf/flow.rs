//! The bytes that can come first in, and after, each part of a grammar.

use super::Range;
use super::automaton::Automaton;
use crate::named_tokens::TokenRanges;

/// A set of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bytes([u64; 4]);

impl Bytes {
    /// Adds the first bytes of these characters in UTF-8.
    pub(super) fn add_leads(&mut self, range: Range) {
        let lead = |c: char| c.encode_utf8(&mut [0; 4]).as_bytes()[0];
        for byte in lead(range.0)..=lead(range.1) {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }

    /// The byte with which llguidance marks a token, and no text's.
    fn of_token() -> Bytes {
        Bytes([0, 0, 0, 1 << 63])
    }

    /// All bytes of both.
    pub(super) fn or(self, other: Bytes) -> Bytes {
        Bytes(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// Is a byte in both?
    pub(super) fn meets(&self, other: &Bytes) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }
}

/// Part of a rule, over lexemes.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    Lexeme(usize),
    Token(TokenRanges),
    Rule(usize),
    Seq(Vec<Plan>),
    Or(Vec<Plan>),
    Repeat(Box<Plan>, u32, Option<u32>),
}

/// First and following bytes of a grammar over lexemes.
pub(super) struct Flow<'a> {
    automata: &'a [Automaton],
    /// Per rule: its first bytes, and whether it takes the empty text.
    rules: Vec<(Bytes, bool)>,
    rule_follow: Vec<Bytes>,
    lexeme_follow: Vec<Bytes>,
}

/// The bytes that can come after each lexeme. `rules` has the rules that are used.
pub(super) fn follow(rules: &[Option<Plan>], automata: &[Automaton]) -> Vec<Bytes> {
    let mut flow = Flow {
        automata,
        rules: vec![(Bytes::default(), false); rules.len()],
        rule_follow: vec![Bytes::default(); rules.len()],
        lexeme_follow: vec![Bytes::default(); automata.len()],
    };
    loop {
        let mut changed = false;
        for (i, plan) in rules.iter().enumerate() {
            let Some(plan) = plan else { continue };
            let found = flow.first(plan);
            changed |= found != flow.rules[i];
            flow.rules[i] = found;
        }
        if !changed {
            break;
        }
    }
    loop {
        let before = (flow.rule_follow.clone(), flow.lexeme_follow.clone());
        for (i, plan) in rules.iter().enumerate() {
            if let Some(plan) = plan {
                flow.flow(plan, flow.rule_follow[i]);
            }
        }
        if before == (flow.rule_follow.clone(), flow.lexeme_follow.clone()) {
            return flow.lexeme_follow;
        }
    }
}

impl Flow<'_> {
    fn first(&self, plan: &Plan) -> (Bytes, bool) {
        match plan {
            Plan::Lexeme(i) => (self.automata[*i].first(), self.automata[*i].nullable),
            Plan::Token(_) => (Bytes::of_token(), false),
            Plan::Rule(i) => self.rules[*i],
            Plan::Seq(items) => {
                let mut all = Bytes::default();
                for item in items {
                    let (first, nullable) = self.first(item);
                    all = all.or(first);
                    if !nullable {
                        return (all, false);
                    }
                }
                (all, true)
            }
            Plan::Or(items) => items
                .iter()
                .map(|item| self.first(item))
                .fold((Bytes::default(), false), |(all, nullable), (first, also)| {
                    (all.or(first), nullable || also)
                }),
            Plan::Repeat(inner, least, _) => {
                let (first, nullable) = self.first(inner);
                (first, nullable || *least == 0)
            }
        }
    }

    fn flow(&mut self, plan: &Plan, mut after: Bytes) {
        match plan {
            Plan::Lexeme(i) => self.lexeme_follow[*i] = self.lexeme_follow[*i].or(after),
            Plan::Token(_) => {}
            Plan::Rule(i) => self.rule_follow[*i] = self.rule_follow[*i].or(after),
            Plan::Seq(items) => {
                for item in items.iter().rev() {
                    self.flow(item, after);
                    let (first, nullable) = self.first(item);
                    after = if nullable { after.or(first) } else { first };
                }
            }
            Plan::Or(items) => items.iter().for_each(|item| self.flow(item, after)),
            Plan::Repeat(inner, _, most) => {
                if *most != Some(1) {
                    after = after.or(self.first(inner).0);
                }
                self.flow(inner, after);
            }
        }
    }
}
