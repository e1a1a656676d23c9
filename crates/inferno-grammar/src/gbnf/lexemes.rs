//! The lexemes of a grammar: its regular parts, as large as greedy lexing allows.
//!
//! llguidance's lexer runs all lexemes that may come next side by side, and ends one where none of them can go on. A lexeme
//! is kept if nothing that follows any text of it could be taken for more of it, or of another; otherwise it is broken
//! into its parts, and at last into characters, which no lexer can take wrongly.

use std::collections::{HashMap, HashSet};

use super::automaton::Automaton;
use super::flow::{Plan, follow};
use super::{Expr, Range, Rules};
use crate::named_tokens::TokenRanges;

/// Rounds of breaking, and edges and pairs of states in all of them; then all lexemes are characters.
const MOST_ROUNDS: usize = 64;
const MOST_WORK: usize = 20_000_000;
const MOST_LEXEMES: usize = 1500;

/// An expression, whose parts are named by their numbers.
#[derive(Debug)]
pub(super) enum Node {
    Class(Vec<Range>),
    Token(TokenRanges),
    Rule(usize),
    Seq(Vec<usize>),
    Or(Vec<usize>),
    Repeat(usize, u32, Option<u32>),
}

/// All expressions of a grammar.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) nodes: Vec<Node>,
    /// Bodies of the rules.
    pub(super) bodies: Vec<usize>,
    /// Whether each node is regular: it is made of characters, and no rule in it needs itself.
    regular: Vec<bool>,
}

/// A grammar over lexemes.
pub(super) struct Lexed {
    pub(super) arena: Arena,
    /// Plans of the rules that are not within lexemes.
    pub(super) rules: Vec<Option<Plan>>,
    /// Expressions of the lexemes, in order.
    pub(super) lexemes: Vec<Vec<usize>>,
    pub(super) start: Plan,
}

impl Arena {
    fn new(rules: &Rules) -> Arena {
        let mut arena = Arena { nodes: Vec::new(), bodies: Vec::new(), regular: Vec::new() };
        for rule in &rules.rules {
            let body = arena.add(&rule.body);
            arena.bodies.push(body);
        }
        // Rules that need no rule, or only such as are known to be regular.
        let mut regular = vec![false; arena.bodies.len()];
        loop {
            let found: Vec<bool> =
                arena.bodies.iter().map(|&body| arena.is_regular(body, &regular)).collect();
            if found == regular {
                break;
            }
            regular = found;
        }
        arena.regular = (0..arena.nodes.len()).map(|id| arena.is_regular(id, &regular)).collect();
        arena
    }

    fn add(&mut self, expr: &Expr) -> usize {
        let node = match expr {
            Expr::Class(ranges) => Node::Class(ranges.clone()),
            Expr::Token(tokens) => Node::Token(tokens.clone()),
            Expr::Rule(i) => Node::Rule(*i),
            Expr::Seq(items) => Node::Seq(items.iter().map(|e| self.add(e)).collect()),
            Expr::Or(items) => Node::Or(items.iter().map(|e| self.add(e)).collect()),
            Expr::Repeat(inner, least, most) => Node::Repeat(self.add(inner), *least, *most),
        };
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn is_regular(&self, id: usize, rules: &[bool]) -> bool {
        match &self.nodes[id] {
            Node::Class(_) => true,
            Node::Token(_) => false,
            Node::Rule(i) => rules[*i],
            Node::Seq(items) | Node::Or(items) => items.iter().all(|&id| self.is_regular(id, rules)),
            Node::Repeat(inner, _, _) => self.is_regular(*inner, rules),
        }
    }
}

/// Finds the lexemes of a grammar.
pub(super) fn lex(rules: &Rules) -> Lexed {
    let arena = Arena::new(rules);
    let root = arena.bodies[rules.root];
    if arena.regular[root] && !matches!(&arena.nodes[root], Node::Seq(items) if items.is_empty()) {
        // One lexeme is the whole answer: nothing follows it.
        let no_rules = arena.bodies.iter().map(|_| None).collect();
        return Lexed { arena, rules: no_rules, lexemes: vec![vec![root]], start: Plan::Lexeme(0) };
    }
    let mut planner =
        Planner { arena: &arena, broken: HashSet::new(), alone: HashSet::new(), all_broken: false };
    let mut work = MOST_WORK;
    let mut n_rounds = 0;
    let (plans, lexemes) = loop {
        planner.all_broken = n_rounds == MOST_ROUNDS || work == 0;
        let (plans, lexemes) = planner.plan(rules.root);
        if planner.all_broken || !planner.break_unsafe(&plans, &lexemes, &mut work) {
            break (plans, lexemes);
        }
        n_rounds += 1;
    };
    Lexed { arena, rules: plans, lexemes, start: Plan::Rule(rules.root) }
}

struct Planner<'a> {
    arena: &'a Arena,
    /// Nodes that are no lexemes.
    broken: HashSet<usize>,
    /// Nodes that are lexemes without their neighbours.
    alone: HashSet<usize>,
    all_broken: bool,
}

impl Planner<'_> {
    fn is_lexeme(&self, id: usize) -> bool {
        match &self.arena.nodes[id] {
            Node::Class(_) => true,
            Node::Seq(items) if items.is_empty() => false,
            _ => !self.all_broken && self.arena.regular[id] && !self.broken.contains(&id),
        }
    }

    fn plan(&self, root: usize) -> (Vec<Option<Plan>>, Vec<Vec<usize>>) {
        let mut rules: Vec<Option<Plan>> = self.arena.bodies.iter().map(|_| None).collect();
        let (mut lexemes, mut numbers) = (Vec::new(), HashMap::new());
        let mut todo = vec![root];
        while let Some(i) = todo.pop() {
            if rules[i].is_none() {
                let mut lexeme = |ids: Vec<usize>| {
                    Plan::Lexeme(*numbers.entry(ids.clone()).or_insert_with(|| {
                        lexemes.push(ids);
                        lexemes.len() - 1
                    }))
                };
                rules[i] = Some(self.part(self.arena.bodies[i], &mut lexeme, &mut todo));
            }
        }
        (rules, lexemes)
    }

    fn part(&self, id: usize, lexeme: &mut impl FnMut(Vec<usize>) -> Plan, todo: &mut Vec<usize>) -> Plan {
        if self.is_lexeme(id) {
            return lexeme(vec![id]);
        }
        match &self.arena.nodes[id] {
            Node::Class(_) => lexeme(vec![id]),
            Node::Token(tokens) => Plan::Token(tokens.clone()),
            Node::Rule(i) => {
                todo.push(*i);
                Plan::Rule(*i)
            }
            Node::Or(items) => Plan::Or(items.iter().map(|&id| self.part(id, lexeme, todo)).collect()),
            Node::Repeat(inner, least, most) => {
                Plan::Repeat(Box::new(self.part(*inner, lexeme, todo)), *least, *most)
            }
            Node::Seq(items) => {
                let mut plans = Vec::new();
                let mut run: Vec<usize> = Vec::new();
                for &item in items {
                    if self.is_lexeme(item) && !self.all_broken && !self.alone.contains(&item) {
                        run.push(item);
                        continue;
                    }
                    if !run.is_empty() {
                        plans.push(lexeme(std::mem::take(&mut run)));
                    }
                    plans.push(self.part(item, lexeme, todo));
                }
                if !run.is_empty() {
                    plans.push(lexeme(run));
                }
                Plan::Seq(plans)
            }
        }
    }

    /// Breaks the lexemes that could be taken for more than is meant. Were there any?
    fn break_unsafe(&mut self, rules: &[Option<Plan>], lexemes: &[Vec<usize>], work: &mut usize) -> bool {
        if lexemes.len() > MOST_LEXEMES {
            *work = 0;
            return true;
        }
        let automata: Vec<Option<Automaton>> =
            lexemes.iter().map(|ids| Automaton::new(self.arena, ids, work)).collect();
        let mut unsafe_ones: Vec<usize> = (0..lexemes.len()).filter(|&i| automata[i].is_none()).collect();
        if unsafe_ones.is_empty() {
            let automata: Vec<Automaton> = automata.into_iter().flatten().collect();
            let follow = follow(rules, &automata);
            unsafe_ones = (0..lexemes.len())
                .filter(|&b| {
                    let other = &automata[b];
                    automata.iter().zip(&follow).any(|(a, follow)| a.is_overrun_by(other, follow, work))
                })
                .collect();
        }
        for &i in &unsafe_ones {
            match lexemes[i][..] {
                [id] => {
                    self.broken.insert(id);
                }
                ref ids => self.alone.extend(ids),
            }
        }
        !unsafe_ones.is_empty()
    }
}
