//! From tokens to statements. Expressions are in `parser/expressions.rs`.

mod expressions;

use std::sync::Arc;

use super::ast::{Args, Expr, Filter, For, Macro, Name, Node, Target};
use super::error::{Fail, Result};
use super::lexer::{Token, TokenKind, syntax, tokens};

/// Maximum nesting of blocks.
const BLOCKS: usize = 60;
/// Maximum levels of an expression, which is parsed, run and dropped by recursion.
const HEIGHT: u16 = 150;

pub(super) fn parse(source: &str) -> Result<Vec<Node>> {
    let mut parser = Parser { tokens: tokens(source)?, pos: 0, blocks: 0, depth: 0, in_loop: 0 };
    let nodes = parser.nodes(&[])?;
    match parser.peek() {
        TokenKind::End => Ok(nodes),
        _ => Err(parser.unexpected()),
    }
}

struct Parser {
    tokens: Vec<Token>,
    pos: usize,
    blocks: usize,
    depth: u16,
    in_loop: usize,
}

impl Parser {
    fn peek(&self) -> &TokenKind {
        &self.tokens[self.pos.min(self.tokens.len() - 1)].kind
    }

    fn peek_at(&self, n: usize) -> &TokenKind {
        &self.tokens[(self.pos + n).min(self.tokens.len() - 1)].kind
    }

    fn line(&self) -> u32 {
        self.tokens[self.pos.min(self.tokens.len() - 1)].line
    }

    fn next(&mut self) -> TokenKind {
        let token = self.peek().clone();
        self.pos += 1;
        token
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), TokenKind::Op(o) if *o == op)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), TokenKind::Name(n) if n == name)
    }

    fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.pos += usize::from(found);
        found
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.pos += usize::from(found);
        found
    }

    fn expect_op(&mut self, op: &str) -> Result<()> {
        if self.skip_op(op) { Ok(()) } else { Err(self.wanted(&format!("`{op}`"))) }
    }

    fn expect_name(&mut self) -> Result<Name> {
        match self.peek() {
            TokenKind::Name(name) => {
                let name = Name::from(name.as_str());
                self.pos += 1;
                Ok(name)
            }
            _ => Err(self.wanted("a name")),
        }
    }

    fn wanted(&self, what: &str) -> Fail {
        syntax(self.line(), format!("unexpected {}, expected {what}", self.shown()))
    }

    fn unexpected(&self) -> Fail {
        syntax(self.line(), format!("unexpected {}", self.shown()))
    }

    fn shown(&self) -> String {
        match self.peek() {
            TokenKind::Data(_) => "text".into(),
            TokenKind::VariableBegin => "`{{`".into(),
            TokenKind::VariableEnd => "`}}`".into(),
            TokenKind::BlockBegin => "`{%`".into(),
            TokenKind::BlockEnd => "`%}`".into(),
            TokenKind::Name(name) => format!("`{name}`"),
            TokenKind::Str(_) => "a string".into(),
            TokenKind::Int(_) | TokenKind::Float(_) => "a number".into(),
            TokenKind::Op(op) => format!("`{op}`"),
            TokenKind::End => "end of template".into(),
        }
    }

    /// Nodes until a block tag of one of these names, which is left where it is, behind its `{%`.
    fn nodes(&mut self, ends: &[&str]) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                TokenKind::Data(text) => nodes.push(Node::Data(text)),
                TokenKind::VariableBegin => {
                    nodes.push(Node::Print(self.tuple(true)?));
                    match self.next() {
                        TokenKind::VariableEnd => {}
                        _ => {
                            self.pos -= 1;
                            return Err(self.wanted("`}}`"));
                        }
                    }
                }
                TokenKind::BlockBegin => {
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(nodes);
                    }
                    nodes.push(self.statement()?);
                }
                TokenKind::End if ends.is_empty() => {
                    self.pos -= 1;
                    return Ok(nodes);
                }
                TokenKind::End => {
                    let wanted = ends.last().copied().unwrap_or_default();
                    return Err(syntax(
                        self.line(),
                        format!("unexpected end of template, expected `{wanted}`"),
                    ));
                }
                _ => {
                    self.pos -= 1;
                    return Err(self.unexpected());
                }
            }
        }
    }

    fn end_of_tag(&mut self) -> Result<()> {
        match self.peek() {
            TokenKind::BlockEnd => {
                self.pos += 1;
                Ok(())
            }
            _ => Err(self.wanted("`%}`")),
        }
    }

    /// The inside of a block, and its end tag, of which the name is the last of `ends`.
    fn body(&mut self, ends: &[&str]) -> Result<Vec<Node>> {
        self.end_of_tag()?;
        self.blocks += 1;
        if self.blocks > BLOCKS {
            return Err(syntax(self.line(), format!("blocks nest deeper than {BLOCKS}")));
        }
        let nodes = self.nodes(ends)?;
        self.blocks -= 1;
        Ok(nodes)
    }

    fn whole_body(&mut self, end: &str) -> Result<Vec<Node>> {
        let nodes = self.body(&[end])?;
        self.pos += 1;
        self.end_of_tag()?;
        Ok(nodes)
    }

    fn statement(&mut self) -> Result<Node> {
        let line = self.line();
        let name = self.expect_name()?;
        match &*name {
            "if" => self.if_statement(),
            "for" => self.for_statement(),
            "set" => self.set_statement(),
            "macro" => self.macro_statement(line),
            "call" => self.call_statement(line),
            "with" => self.with_statement(),
            "filter" => {
                let filters = self.filters(true)?;
                Ok(Node::Filtered(filters, self.whole_body("endfilter")?))
            }
            "generation" => Ok(Node::Scope(self.whole_body("endgeneration")?)),
            "autoescape" => {
                self.expression()?;
                Ok(Node::Scope(self.whole_body("endautoescape")?))
            }
            "block" => {
                let name = self.expect_name()?;
                while self.skip_name("scoped") || self.skip_name("required") {}
                let body = self.body(&["endblock"])?;
                self.pos += 1;
                self.skip_name(&name);
                self.end_of_tag()?;
                Ok(Node::Scope(body))
            }
            "do" => {
                let node = Node::Do(self.tuple(true)?);
                self.end_of_tag()?;
                Ok(node)
            }
            "break" | "continue" => {
                self.end_of_tag()?;
                if self.in_loop == 0 {
                    return Err(syntax(line, format!("`{name}` outside of a loop")));
                }
                Ok(if &*name == "break" { Node::Break } else { Node::Continue })
            }
            "include" | "import" | "extends" | "from" => {
                while !matches!(self.peek(), TokenKind::BlockEnd | TokenKind::End) {
                    self.pos += 1;
                }
                self.end_of_tag()?;
                let what = ["include", "import", "extends", "from"].into_iter().find(|what| *what == &*name);
                Ok(Node::Absent(what.unwrap_or("include"), line))
            }
            other => Err(syntax(line, format!("unknown tag `{other}`"))),
        }
    }

    fn if_statement(&mut self) -> Result<Node> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(false)?;
            let body = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            if !self.skip_name("elif") {
                break;
            }
        }
        let mut otherwise = Vec::new();
        if self.skip_name("else") {
            otherwise = self.body(&["endif"])?;
        }
        self.pos += 1;
        self.end_of_tag()?;
        Ok(Node::If(branches, otherwise))
    }

    fn for_statement(&mut self) -> Result<Node> {
        let target = self.targets(false)?;
        if !self.skip_name("in") {
            return Err(self.wanted("`in`"));
        }
        let items = self.tuple(false)?;
        let condition = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let is_recursive = self.skip_name("recursive");
        self.in_loop += 1;
        let body = self.body(&["endfor", "else"])?;
        self.in_loop -= 1;
        let otherwise = if self.skip_name("else") { self.body(&["endfor"])? } else { Vec::new() };
        self.pos += 1;
        self.end_of_tag()?;
        Ok(Node::For(Arc::new(For { target, items, condition, is_recursive, body, otherwise })))
    }

    fn set_statement(&mut self) -> Result<Node> {
        let target = self.targets(true)?;
        if self.skip_op("=") {
            let value = self.tuple(true)?;
            self.end_of_tag()?;
            return Ok(Node::Set(target, value));
        }
        let filters = self.filters(false)?;
        Ok(Node::SetBlock(target, filters, self.whole_body("endset")?))
    }

    fn with_statement(&mut self) -> Result<Node> {
        let mut values = Vec::new();
        while !matches!(self.peek(), TokenKind::BlockEnd) {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(false)?;
            self.expect_op("=")?;
            values.push((target, self.expression()?));
        }
        Ok(Node::With(values, self.whole_body("endwith")?))
    }

    /// `a`, `a.b` or `(a, b)`.
    fn target(&mut self, with_namespace: bool) -> Result<Target> {
        let line = self.line();
        if self.skip_op("(") {
            let target = self.targets(with_namespace)?;
            self.expect_op(")")?;
            return Ok(target);
        }
        let name = self.expect_name()?;
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(syntax(line, format!("cannot assign to `{name}`")));
        }
        if with_namespace && self.skip_op(".") {
            return Ok(Target::Attribute(name, self.expect_name()?, line));
        }
        Ok(Target::Name(name))
    }

    fn targets(&mut self, with_namespace: bool) -> Result<Target> {
        let line = self.line();
        self.depth += 1;
        if self.depth > HEIGHT {
            return Err(syntax(line, "an assignment nests too deep"));
        }
        let first = self.target(with_namespace)?;
        let mut all = Vec::new();
        while self.skip_op(",") {
            if !(matches!(self.peek(), TokenKind::Name(name) if name != "in") || self.is_op("(")) {
                break;
            }
            all.push(self.target(with_namespace)?);
        }
        let is_tuple = !all.is_empty() || matches!(self.tokens[self.pos - 1].kind, TokenKind::Op(","));
        self.depth -= 1;
        if !is_tuple {
            return Ok(first);
        }
        all.insert(0, first);
        Ok(Target::All(all, line))
    }

    fn macro_statement(&mut self, line: u32) -> Result<Node> {
        let name = self.expect_name()?;
        let (arguments, defaults) = self.signature()?;
        Ok(Node::Macro(self.macro_body(name, arguments, defaults, "endmacro", line)?))
    }

    fn call_statement(&mut self, line: u32) -> Result<Node> {
        let (arguments, defaults) = if self.is_op("(") { self.signature()? } else { Default::default() };
        let call = self.expression()?;
        if !matches!(call.kind, super::ast::Kind::Call(..)) {
            return Err(syntax(line, "expected a call"));
        }
        let body = self.macro_body("caller".into(), arguments, defaults, "endcall", line)?;
        Ok(Node::Call(body, call))
    }

    fn macro_body(
        &mut self,
        name: Name,
        arguments: Vec<Name>,
        defaults: Vec<Expr>,
        end: &str,
        line: u32,
    ) -> Result<Arc<Macro>> {
        let in_loop = std::mem::take(&mut self.in_loop);
        let from = self.pos;
        let body = self.whole_body(end)?;
        let uses = |name: &str| {
            self.tokens[from..self.pos].iter().any(|t| matches!(&t.kind, TokenKind::Name(n) if n == name))
        };
        let takes = [uses("varargs"), uses("kwargs"), uses("caller")];
        self.in_loop = in_loop;
        Ok(Arc::new(Macro { name, arguments, defaults, body, takes, line }))
    }

    /// `(a, b=1)`
    fn signature(&mut self) -> Result<(Vec<Name>, Vec<Expr>)> {
        let (mut names, mut defaults) = (Vec::new(), Vec::new());
        self.expect_op("(")?;
        while !self.skip_op(")") {
            if !names.is_empty() {
                self.expect_op(",")?;
                if self.skip_op(")") {
                    break;
                }
            }
            names.push(self.expect_name()?);
            if self.skip_op("=") {
                defaults.push(self.expression()?);
            } else if !defaults.is_empty() {
                return Err(syntax(self.line(), "an argument without a default after one with"));
            }
        }
        Ok((names, defaults))
    }

    /// `a | b(c)`; the first without a bar if `starts`.
    fn filters(&mut self, starts: bool) -> Result<Vec<Filter>> {
        let mut filters = Vec::new();
        while (starts && filters.is_empty()) || self.skip_op("|") {
            filters.push(self.filter()?);
        }
        Ok(filters)
    }

    fn filter(&mut self) -> Result<Filter> {
        let line = self.line();
        let mut name = self.expect_name()?.to_string();
        while self.skip_op(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        let args = if self.is_op("(") { self.arguments()? } else { Args::default() };
        Ok(Filter { name, args, line })
    }
}
