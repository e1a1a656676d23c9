//! The automaton of a lexeme: its characters' positions, and which follow which (Glushkov's construction).

use super::Range;
use super::flow::Bytes;
use super::lexemes::{Arena, Node};

/// Positions of one lexeme; larger ones are not judged.
const MOST_POSITIONS: usize = 4096;

/// The automaton of a lexeme. A state is the position of the character that was read last.
#[derive(Debug, Default)]
pub(super) struct Automaton {
    classes: Vec<Vec<Range>>,
    leads: Vec<Bytes>,
    next: Vec<Vec<usize>>,
    accepts: Vec<bool>,
    starts: Vec<usize>,
    /// Does it take the empty text?
    pub(super) nullable: bool,
}

struct Part {
    first: Vec<usize>,
    last: Vec<usize>,
    nullable: bool,
}

impl Part {
    fn empty() -> Part {
        Part { first: Vec::new(), last: Vec::new(), nullable: true }
    }
}

impl Automaton {
    /// The automaton of these expressions in order; `None` if it is too large, or takes more than what is left of `work`.
    pub(super) fn new(arena: &Arena, ids: &[usize], work: &mut usize) -> Option<Automaton> {
        let mut automaton = Automaton::default();
        let mut whole = Part::empty();
        for &id in ids {
            let part = automaton.part(arena, id, work)?;
            whole = automaton.join(whole, part, work)?;
        }
        automaton.nullable = whole.nullable;
        automaton.starts = whole.first;
        automaton.accepts = vec![false; automaton.classes.len()];
        for p in whole.last {
            automaton.accepts[p] = true;
        }
        Some(automaton)
    }

    fn part(&mut self, arena: &Arena, id: usize, work: &mut usize) -> Option<Part> {
        match &arena.nodes[id] {
            Node::Class(ranges) => {
                let p = self.classes.len();
                if p == MOST_POSITIONS {
                    return None;
                }
                let mut leads = Bytes::default();
                ranges.iter().for_each(|range| leads.add_leads(*range));
                self.classes.push(ranges.clone());
                self.leads.push(leads);
                self.next.push(Vec::new());
                Some(Part { first: vec![p], last: vec![p], nullable: false })
            }
            Node::Token(_) => None,
            Node::Rule(i) => self.part(arena, arena.bodies[*i], work),
            Node::Seq(items) => {
                let mut whole = Part::empty();
                for &item in items {
                    let part = self.part(arena, item, work)?;
                    whole = self.join(whole, part, work)?;
                }
                Some(whole)
            }
            Node::Or(items) => {
                let mut whole = Part { nullable: false, ..Part::empty() };
                for &item in items {
                    let part = self.part(arena, item, work)?;
                    whole.first.extend(part.first);
                    whole.last.extend(part.last);
                    whole.nullable |= part.nullable;
                }
                Some(whole)
            }
            &Node::Repeat(inner, least, most) => {
                // From its end: each copy, and what may or must come after it.
                let (least, most) = (least as usize, most.map(|most| most as usize));
                let mut rest = Part::empty();
                for i in (0..most.unwrap_or(least.max(1))).rev() {
                    let copy = self.part(arena, inner, work)?;
                    if most.is_none() && i + 1 >= least.max(1) {
                        self.connect(&copy.last.clone(), &copy.first.clone(), work)?;
                    }
                    rest = if rest.first.is_empty() { copy } else { self.join(copy, rest, work)? };
                    if i >= least {
                        rest.nullable = true;
                    }
                }
                Some(rest)
            }
        }
    }

    fn connect(&mut self, from: &[usize], to: &[usize], work: &mut usize) -> Option<()> {
        *work = work.saturating_sub(from.len() * to.len());
        if *work == 0 {
            return None;
        }
        for &p in from {
            self.next[p].extend(to);
        }
        Some(())
    }

    fn join(&mut self, mut a: Part, b: Part, work: &mut usize) -> Option<Part> {
        self.connect(&a.last, &b.first, work)?;
        *work = work.saturating_sub(a.first.len() + a.last.len() + b.first.len() + b.last.len());
        if a.nullable {
            a.first.extend(&b.first);
        }
        let mut last = b.last;
        if b.nullable {
            last.extend(a.last);
        }
        Some(Part { first: a.first, last, nullable: a.nullable && b.nullable })
    }

    /// The bytes with which its texts begin.
    pub(super) fn first(&self) -> Bytes {
        self.starts.iter().fold(Bytes::default(), |all, &p| all.or(self.leads[p]))
    }

    /// Whether `other` can go on with one of the bytes of `follow` behind a text of this one: a lexer that takes as much
    /// as it can would go past the end of that text. What it looks at comes off `work`; `true` when that is spent.
    pub(super) fn is_overrun_by(&self, other: &Automaton, follow: &Bytes, work: &mut usize) -> bool {
        let mut seen = std::collections::HashSet::new();
        let mut todo = Vec::new();
        let overlap = |a: &[Range], b: &[Range]| a.iter().any(|a| b.iter().any(|b| a.0 <= b.1 && b.0 <= a.1));
        let mut add = |todo: &mut Vec<(usize, usize)>, ps: &[usize], qs: &[usize], work: &mut usize| {
            for &p in ps {
                for &q in qs {
                    *work = work.saturating_sub(self.classes[p].len() * other.classes[q].len());
                    if *work > 0 && overlap(&self.classes[p], &other.classes[q]) && seen.insert((p, q)) {
                        todo.push((p, q));
                    }
                }
            }
        };
        add(&mut todo, &self.starts, &other.starts, work);
        while let Some((p, q)) = todo.pop() {
            if *work == 0 {
                return true;
            }
            if self.accepts[p] && other.next[q].iter().any(|&q| other.leads[q].meets(follow)) {
                return true;
            }
            add(&mut todo, &self.next[p], &other.next[q], work);
        }
        *work == 0
    }
}
