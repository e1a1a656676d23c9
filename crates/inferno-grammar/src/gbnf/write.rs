//! Writes a grammar over lexemes as Lark.

use std::collections::HashSet;
use std::fmt::Write;

use crate::named_tokens;
use crate::source::GrammarError;

use super::flow::Plan;
use super::lexemes::{Arena, Lexed, Node, lex};
use super::{Expr, Range, Rules, error};

/// Expressions within expressions, over all rules on the way.
const MOST_DEPTH: usize = 1000;

/// Writes `rules` as Lark.
pub(super) fn write(rules: Rules) -> Result<String, GrammarError> {
    check_depth(&rules, rules.root, 0, &mut HashSet::new())?;
    let Lexed { arena, rules, lexemes, start } = lex(&rules);
    let mut writer = Writer { arena: &arena, lark: String::new(), todo: Vec::new(), done: HashSet::new() };
    let start = writer.plan(&start);
    let _ = writeln!(writer.lark, "start: {start}");
    for (i, plan) in rules.iter().enumerate() {
        if let Some(plan) = plan {
            let body = writer.plan(plan);
            let _ = writeln!(writer.lark, "r{i}: {body}");
        }
    }
    for (i, ids) in lexemes.iter().enumerate() {
        let body = writer.sequence(ids);
        let _ = writeln!(writer.lark, "L{i}: {body}");
    }
    while let Some(i) = writer.todo.pop() {
        let body = writer.terminal(arena.bodies[i]);
        let _ = writeln!(writer.lark, "G{i}: {body}");
    }
    Ok(writer.lark)
}

/// Refuses chains of rules that are too long to be followed.
fn check_depth(rules: &Rules, i: usize, depth: usize, seen: &mut HashSet<usize>) -> Result<(), GrammarError> {
    fn visit(
        rules: &Rules,
        i: usize,
        expr: &Expr,
        depth: usize,
        seen: &mut HashSet<usize>,
    ) -> Result<(), GrammarError> {
        if depth > MOST_DEPTH {
            let rule = &rules.rules[i];
            return Err(error(rule.line, format!("rule `{}` is too many rules away from `root`", rule.name)));
        }
        match expr {
            Expr::Class(_) | Expr::Token(_) => Ok(()),
            Expr::Rule(j) => check_depth(rules, *j, depth + 1, seen),
            Expr::Seq(items) | Expr::Or(items) => {
                items.iter().try_for_each(|e| visit(rules, i, e, depth + 1, seen))
            }
            Expr::Repeat(inner, _, _) => visit(rules, i, inner, depth + 1, seen),
        }
    }
    match seen.insert(i) {
        true => visit(rules, i, &rules.rules[i].body, depth, seen),
        false => Ok(()),
    }
}

struct Writer<'a> {
    arena: &'a Arena,
    lark: String,
    /// Rules that are wanted as terminals.
    todo: Vec<usize>,
    done: HashSet<usize>,
}

impl Writer<'_> {
    fn plan(&mut self, plan: &Plan) -> String {
        match plan {
            Plan::Lexeme(i) => format!("L{i}"),
            Plan::Token(tokens) => named_tokens::lark(tokens),
            Plan::Rule(i) => format!("r{i}"),
            Plan::Seq(items) if items.is_empty() => "\"\"".to_owned(),
            Plan::Seq(items) => items.iter().map(|p| self.plan(p)).collect::<Vec<_>>().join(" "),
            Plan::Or(items) => {
                let items: Vec<String> = items.iter().map(|p| self.plan(p)).collect();
                format!("({})", items.join(" | "))
            }
            Plan::Repeat(inner, least, most) => format!("({}){}", self.plan(inner), counts(*least, *most)),
        }
    }

    fn sequence(&mut self, ids: &[usize]) -> String {
        let mut text = String::new();
        let mut is_open = false;
        for &id in ids {
            // Classes in a row are one regular expression.
            let class = match &self.arena.nodes[id] {
                Node::Class(ranges) => Some(class(ranges)),
                _ => None,
            };
            if is_open && class.is_none() {
                text.push('/');
            }
            if !text.is_empty() && (!is_open || class.is_none()) {
                text.push(' ');
            }
            match class {
                Some(class) => {
                    if !is_open {
                        text.push('/');
                    }
                    text.push_str(&class);
                    is_open = true;
                }
                None => {
                    text.push_str(&self.terminal(id));
                    is_open = false;
                }
            }
        }
        if is_open {
            text.push('/');
        }
        if text.is_empty() { "\"\"".to_owned() } else { text }
    }

    fn terminal(&mut self, id: usize) -> String {
        let arena = self.arena;
        match &arena.nodes[id] {
            Node::Class(_) => self.sequence(&[id]),
            Node::Token(_) => unreachable!("no lexeme has tokens in it"),
            Node::Rule(i) => {
                if self.done.insert(*i) {
                    self.todo.push(*i);
                }
                format!("G{i}")
            }
            Node::Seq(items) => format!("({})", self.sequence(items)),
            Node::Or(items) => {
                let items: Vec<String> = items.iter().map(|&id| self.terminal(id)).collect();
                format!("({})", items.join(" | "))
            }
            Node::Repeat(inner, least, most) => {
                format!("({}){}", self.terminal(*inner), counts(*least, *most))
            }
        }
    }
}

fn counts(least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (least, None) => format!("{{{least},}}"),
        (least, Some(most)) if least == most => format!("{{{least}}}"),
        (least, Some(most)) => format!("{{{least},{most}}}"),
    }
}

fn class(ranges: &[Range]) -> String {
    let code = |c: char| format!("\\x{{{:X}}}", u32::from(c));
    let mut text = String::from("[");
    for &(first, last) in ranges {
        text.push_str(&code(first));
        if last != first {
            text.push('-');
            text.push_str(&code(last));
        }
    }
    text.push(']');
    text
}
