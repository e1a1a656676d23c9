//! Expressions, by Jinja's precedences.

use std::sync::Arc;

use super::super::ast::{Args, Expr, Filter, Kind, Name};
use super::super::error::Result;
use super::super::lexer::{TokenKind, syntax};
use super::{HEIGHT, Parser};

impl Parser {
    fn node(&self, kind: Kind, line: u32, below: &[u16]) -> Result<Expr> {
        let height = below.iter().copied().max().unwrap_or(0) + 1;
        if height > HEIGHT {
            return Err(syntax(line, format!("an expression has more than {HEIGHT} levels")));
        }
        Ok(Expr { kind, line, height })
    }

    /// An expression, with a condition behind it.
    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.deeper(Parser::conditional)
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Parser) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > HEIGHT {
            return Err(syntax(self.line(), format!("an expression has more than {HEIGHT} levels")));
        }
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    /// One expression or several with commas between, which are a tuple.
    pub(super) fn tuple(&mut self, with_condition: bool) -> Result<Expr> {
        let line = self.line();
        let item = |parser: &mut Parser| match with_condition {
            true => parser.expression(),
            false => parser.deeper(Parser::or),
        };
        let first = item(self)?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_op(",") {
            if self.is_end_of_tuple() {
                break;
            }
            items.push(item(self)?);
        }
        let heights: Vec<u16> = items.iter().map(|item| item.height).collect();
        self.node(Kind::Tuple(items), line, &heights)
    }

    fn is_end_of_tuple(&self) -> bool {
        matches!(self.peek(), TokenKind::VariableEnd | TokenKind::BlockEnd | TokenKind::Op(")"))
            || self.is_name("in")
            || self.is_name("recursive")
    }

    fn conditional(&mut self) -> Result<Expr> {
        let mut value = self.or()?;
        while self.is_name("if") {
            let line = self.line();
            self.pos += 1;
            let condition = self.or()?;
            let otherwise = match self.skip_name("else") {
                true => Some(Box::new(self.deeper(Parser::conditional)?)),
                false => None,
            };
            let below = [value.height, condition.height, otherwise.as_ref().map_or(0, |e| e.height)];
            value = self.node(Kind::If(Box::new([value, condition]), otherwise), line, &below)?;
        }
        Ok(value)
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        while self.is_name("or") {
            let line = self.line();
            self.pos += 1;
            let right = self.and()?;
            let below = [left.height, right.height];
            left = self.node(Kind::Or(Box::new(left), Box::new(right)), line, &below)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.is_name("and") {
            let line = self.line();
            self.pos += 1;
            let right = self.not()?;
            let below = [left.height, right.height];
            left = self.node(Kind::And(Box::new(left), Box::new(right)), line, &below)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        let line = self.line();
        if self.skip_name("not") {
            let inner = self.deeper(Parser::not)?;
            let below = [inner.height];
            return self.node(Kind::Not(Box::new(inner)), line, &below);
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr> {
        let line = self.line();
        let left = self.sum()?;
        let mut rest = Vec::new();
        let mut below = vec![left.height];
        loop {
            let op = match self.peek() {
                TokenKind::Op(op @ ("==" | "!=" | "<" | "<=" | ">" | ">=")) => *op,
                TokenKind::Name(name) if name == "in" => "in",
                TokenKind::Name(name)
                    if name == "not" && matches!(self.peek_at(1), TokenKind::Name(next) if next == "in") =>
                {
                    self.pos += 1;
                    "not in"
                }
                _ => break,
            };
            self.pos += 1;
            let right = self.sum()?;
            below.push(right.height);
            rest.push((op, right));
        }
        if rest.is_empty() {
            return Ok(left);
        }
        self.node(Kind::Compare(Box::new(left), rest), line, &below)
    }

    fn binary(&mut self, ops: &[&'static str], operand: fn(&mut Parser) -> Result<Expr>) -> Result<Expr> {
        let mut left = operand(self)?;
        while let Some(op) = ops.iter().find(|op| self.is_op(op)) {
            let line = self.line();
            self.pos += 1;
            let right = operand(self)?;
            let below = [left.height, right.height];
            left = self.node(Kind::Binary(op, Box::new(left), Box::new(right)), line, &below)?;
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr> {
        self.binary(&["+", "-"], Parser::concat)
    }

    fn concat(&mut self) -> Result<Expr> {
        let line = self.line();
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_op("~") {
            all.push(self.product()?);
        }
        let heights: Vec<u16> = all.iter().map(|item| item.height).collect();
        self.node(Kind::Concat(all), line, &heights)
    }

    fn product(&mut self) -> Result<Expr> {
        self.binary(&["*", "//", "/", "%"], Parser::power)
    }

    fn power(&mut self) -> Result<Expr> {
        self.binary(&["**"], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filter: bool) -> Result<Expr> {
        let line = self.line();
        let sign = ["-", "+"].into_iter().find(|sign| self.is_op(sign));
        let mut value = match sign {
            Some(sign) => {
                self.pos += 1;
                let inner = self.deeper(|parser| parser.unary(false))?;
                let below = [inner.height];
                let kind = if sign == "-" { Kind::Negative } else { Kind::Positive };
                self.node(kind(Box::new(inner)), line, &below)?
            }
            None => self.primary()?,
        };
        value = self.postfix(value)?;
        if with_filter { self.filtered(value) } else { Ok(value) }
    }

    fn primary(&mut self) -> Result<Expr> {
        let line = self.line();
        let kind = match self.next() {
            TokenKind::Name(name) => match name.as_str() {
                "true" | "True" => Kind::Bool(true),
                "false" | "False" => Kind::Bool(false),
                "none" | "None" => Kind::None,
                _ => Kind::Name(name.into()),
            },
            TokenKind::Str(mut text) => {
                while let TokenKind::Str(more) = self.peek() {
                    text.push_str(more);
                    self.pos += 1;
                }
                Kind::Str(Arc::from(text))
            }
            TokenKind::Int(n) => Kind::Int(n),
            TokenKind::Float(x) => Kind::Float(x),
            TokenKind::Op("(") => {
                if self.skip_op(")") {
                    return self.node(Kind::Tuple(Vec::new()), line, &[]);
                }
                let inner = self.tuple(true)?;
                self.expect_op(")")?;
                return Ok(inner);
            }
            TokenKind::Op("[") => {
                let items = self.items("]")?;
                let heights: Vec<u16> = items.iter().map(|item| item.height).collect();
                return self.node(Kind::List(items), line, &heights);
            }
            TokenKind::Op("{") => return self.dict(line),
            _ => {
                self.pos -= 1;
                return Err(self.unexpected());
            }
        };
        self.node(kind, line, &[])
    }

    fn items(&mut self, close: &str) -> Result<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.skip_op(close) {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.skip_op(close) {
                    break;
                }
            }
            items.push(self.expression()?);
        }
        Ok(items)
    }

    fn dict(&mut self, line: u32) -> Result<Expr> {
        let mut pairs: Vec<(Expr, Expr)> = Vec::new();
        while !self.skip_op("}") {
            if !pairs.is_empty() {
                self.expect_op(",")?;
                if self.skip_op("}") {
                    break;
                }
            }
            let key = self.expression()?;
            self.expect_op(":")?;
            pairs.push((key, self.expression()?));
        }
        let heights: Vec<u16> = pairs.iter().flat_map(|(key, value)| [key.height, value.height]).collect();
        self.node(Kind::Dict(pairs), line, &heights)
    }

    fn postfix(&mut self, mut value: Expr) -> Result<Expr> {
        loop {
            let line = self.line();
            value = match self.peek() {
                TokenKind::Op(".") => {
                    self.pos += 1;
                    let below = [value.height];
                    let kind = match self.next() {
                        TokenKind::Name(name) => Kind::Attribute(Box::new(value), name.into()),
                        TokenKind::Int(n) => {
                            let idx = self.node(Kind::Int(n), line, &[])?;
                            Kind::Item(Box::new(value), Box::new(idx))
                        }
                        _ => {
                            self.pos -= 1;
                            return Err(self.wanted("a name or an index"));
                        }
                    };
                    self.node(kind, line, &below)?
                }
                TokenKind::Op("[") => self.subscript(value)?,
                TokenKind::Op("(") => self.call(value)?,
                _ => return Ok(value),
            };
        }
    }

    fn subscript(&mut self, value: Expr) -> Result<Expr> {
        let line = self.line();
        self.expect_op("[")?;
        let mut bounds: [Option<Expr>; 3] = [None, None, None];
        let mut n = 0;
        let mut is_slice = false;
        while !self.is_op("]") && !self.is_op(",") {
            if self.skip_op(":") {
                is_slice = true;
                n += 1;
                if n > 2 {
                    return Err(self.unexpected());
                }
            } else if bounds[n].is_none() {
                bounds[n] = Some(self.expression()?);
            } else {
                return Err(self.unexpected());
            }
        }
        let heights: Vec<u16> = bounds.iter().flatten().map(|b| b.height).chain([value.height]).collect();
        if is_slice {
            self.expect_op("]")?;
            return self.node(Kind::Slice(Box::new(value), Box::new(bounds)), line, &heights);
        }
        let [Some(first), ..] = bounds else { return Err(self.wanted("an index")) };
        if self.skip_op("]") {
            return self.node(Kind::Item(Box::new(value), Box::new(first)), line, &heights);
        }
        let mut items = vec![first];
        while self.skip_op(",") {
            if self.is_op("]") {
                break;
            }
            items.push(self.expression()?);
        }
        self.expect_op("]")?;
        let below: Vec<u16> = items.iter().map(|item| item.height).collect();
        let index = self.node(Kind::Tuple(items), line, &below)?;
        let below = [value.height, index.height];
        self.node(Kind::Item(Box::new(value), Box::new(index)), line, &below)
    }

    fn call(&mut self, callee: Expr) -> Result<Expr> {
        let line = self.line();
        let args = self.arguments()?;
        let below = [callee.height, args.height()];
        self.node(Kind::Call(Box::new(callee), Box::new(args)), line, &below)
    }

    /// `(a, b=c, *d, **e)`
    pub(super) fn arguments(&mut self) -> Result<Args> {
        self.expect_op("(")?;
        let mut args = Args::default();
        let mut is_first = true;
        while !self.skip_op(")") {
            if !is_first {
                self.expect_op(",")?;
                if self.skip_op(")") {
                    break;
                }
            }
            is_first = false;
            if self.skip_op("*") {
                args.rest = Some(Box::new(self.expression()?));
            } else if self.skip_op("**") {
                args.named_rest = Some(Box::new(self.expression()?));
            } else if let (TokenKind::Name(name), TokenKind::Op("=")) = (self.peek(), self.peek_at(1)) {
                let name: Name = name.as_str().into();
                self.pos += 2;
                args.named.push((name, self.expression()?));
            } else if args.named.is_empty() && args.rest.is_none() && args.named_rest.is_none() {
                args.positional.push(self.expression()?);
            } else {
                return Err(syntax(self.line(), "a positional argument after named ones"));
            }
        }
        Ok(args)
    }

    /// Filters, tests and calls behind an expression.
    fn filtered(&mut self, mut value: Expr) -> Result<Expr> {
        loop {
            let line = self.line();
            if self.skip_op("|") {
                let filter = self.filter()?;
                let below = [value.height, filter.args.height()];
                value = self.node(Kind::Filter(Box::new(value), Box::new(filter)), line, &below)?;
            } else if self.skip_name("is") {
                value = self.test(value)?;
            } else if self.is_op("(") {
                value = self.call(value)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn test(&mut self, value: Expr) -> Result<Expr> {
        let line = self.line();
        let negated = self.skip_name("not");
        let mut name = self.expect_name()?.to_string();
        while self.skip_op(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        let takes_one = match self.peek() {
            TokenKind::Str(_) | TokenKind::Int(_) | TokenKind::Float(_) => true,
            TokenKind::Op(op) => matches!(*op, "[" | "{"),
            TokenKind::Name(name) => {
                !matches!(name.as_str(), "else" | "or" | "and" | "is" | "if" | "in" | "not")
            }
            _ => false,
        };
        let mut args = Args::default();
        if self.is_op("(") {
            args = self.arguments()?;
        } else if takes_one {
            let arg = self.primary()?;
            args.positional.push(self.postfix(arg)?);
        }
        let below = [value.height, args.height()];
        let test = Filter { name, args, line };
        let test = self.node(Kind::Test(Box::new(value), Box::new(test)), line, &below)?;
        if !negated {
            return Ok(test);
        }
        let below = [test.height];
        self.node(Kind::Not(Box::new(test)), line, &below)
    }
}

impl Args {
    fn height(&self) -> u16 {
        let named = self.named.iter().map(|(_, value)| value.height);
        let rest = self.rest.iter().chain(&self.named_rest).map(|value| value.height);
        self.positional.iter().map(|value| value.height).chain(named).chain(rest).max().unwrap_or(0)
    }
}
