//! GBNF, the notation of llama.cpp for grammars, rewritten in llguidance's Lark.
//!
//! GBNF is about characters; llguidance cuts an answer into lexemes, each as long as it can be. The rewritten grammar has
//! exactly the language of the original: what is regular as a whole becomes one regular expression, and within other
//! grammars the regular parts become lexemes as far as greedy lexing takes no answer away ([`lexemes`]).

mod automaton;
mod flow;
mod lexemes;
mod parse;
#[cfg(test)]
mod tests;
mod write;

use crate::named_tokens::{Find, TokenRanges};
use crate::source::GrammarError;

/// Rewrites a grammar in GBNF. Its first rule is `root`, wherever that stands. `find` knows the tokens of the vocabulary.
///
/// # Errors
/// The text is malformed, names rules or tokens that are missing, or has rules without an end: with the line.
pub(crate) fn to_lark(text: &str, find: &Find<'_>) -> Result<String, GrammarError> {
    to_lark_before(text, "", find)
}

/// The same with `after` behind each of its texts.
pub(crate) fn to_lark_before(text: &str, after: &str, find: &Find<'_>) -> Result<String, GrammarError> {
    let mut rules = parse::parse(text, find)?;
    if !after.is_empty() {
        let mut items = vec![Expr::Rule(rules.root)];
        items.extend(after.chars().map(|c| Expr::Class(vec![(c, c)])));
        rules.root = rules.rules.len();
        rules.rules.push(Rule { name: "root".to_owned(), line: 1, body: Expr::Seq(items) });
    }
    write::write(rules)
}

/// Characters from the first to the last.
type Range = (char, char);

/// Part of a rule.
#[derive(Debug, Clone, PartialEq)]
enum Expr {
    /// One character of these ranges, which are in order and apart.
    Class(Vec<Range>),
    /// One of these tokens, whatever their texts are.
    Token(TokenRanges),
    /// A rule, by its number.
    Rule(usize),
    /// All of these in order; empty for the empty text.
    Seq(Vec<Expr>),
    /// One of these.
    Or(Vec<Expr>),
    /// From the first to the second number of times.
    Repeat(Box<Expr>, u32, Option<u32>),
}

/// A rule with the line on which it is defined.
#[derive(Debug)]
struct Rule {
    name: String,
    line: usize,
    body: Expr,
}

/// The rules of a grammar; `root` is the number of the one that answers follow.
#[derive(Debug)]
struct Rules {
    rules: Vec<Rule>,
    root: usize,
}

fn error(line: usize, reason: impl std::fmt::Display) -> GrammarError {
    GrammarError {
        path: format!("line {line}"),
        reason: format!("line {line} of the grammar: {reason}"),
        is_malformed: true,
    }
}
