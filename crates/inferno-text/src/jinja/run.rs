//! Statements.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Given;
use super::ast::{Expr, Filter, For, Macro, Name, Node, Target};
use super::error::{Fail, Result, error};
use super::print;
use super::text::{Text, TextBuilder};
use super::value::{Closure, Loop, Value};

/// Maximum nesting of statements, expressions and calls while running.
const DEPTH: usize = 350;
/// Bytes counted as one step.
const BYTES_PER_STEP: u64 = 32;

/// Budgets of a template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Steps; making or reading 32 bytes, or an item, is one too.
    pub(crate) fuel: u64,
    /// Bytes of output.
    pub(crate) output: usize,
    /// Bytes of all strings made, including those dropped again.
    pub(crate) bytes: u64,
    /// Seconds since 1970, and microseconds beyond.
    pub(crate) now: (i64, u32),
    /// Seconds that local time is ahead of UTC.
    pub(crate) utc_offset: i32,
}

/// A template that runs.
pub(super) struct Run {
    scopes: Vec<Vec<(Name, Value)>>,
    out: TextBuilder,
    /// Outputs that wait for an inner one.
    captures: usize,
    depth: usize,
    pub(super) limits: Limits,
    /// Bytes of strings it may make in all.
    budget: u64,
}

/// Control flow after a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl Run {
    pub(super) fn new(variables: Vec<(&str, Value)>, limits: Limits) -> Run {
        let scope = variables.into_iter().map(|(name, value)| (Name::from(name), value)).collect();
        // The template's own variables hide its arguments.
        Run {
            scopes: vec![scope, Vec::new()],
            out: TextBuilder::default(),
            captures: 0,
            depth: 0,
            limits,
            budget: limits.bytes,
        }
    }

    pub(super) fn render(mut self, nodes: &[Node]) -> Result<Text> {
        self.nodes(nodes)?;
        Ok(self.out.finish())
    }

    /// Charges for a step.
    pub(super) fn step(&mut self) -> Result<()> {
        self.steps(1)
    }

    fn steps(&mut self, n: u64) -> Result<()> {
        self.limits.fuel = self.limits.fuel.checked_sub(n).ok_or(Fail::OutOfFuel)?;
        Ok(())
    }

    /// Charges for items to be looked at or made.
    pub(super) fn items(&mut self, n: usize) -> Result<()> {
        self.steps(n as u64)
    }

    /// Charges for bytes to be read.
    pub(super) fn reads(&mut self, n: usize) -> Result<()> {
        self.steps(n as u64 / BYTES_PER_STEP)
    }

    /// Whether one string may have this length in bytes.
    pub(super) fn fits(&self, n: usize) -> Result<()> {
        if n > print::MOST_BYTES {
            return Err(super::error::refused("a string of more than 64 MiB"));
        }
        Ok(())
    }

    /// Charges for bytes to be made.
    pub(super) fn makes(&mut self, n: usize) -> Result<()> {
        self.fits(n)?;
        self.limits.bytes = self.limits.bytes.checked_sub(n as u64).ok_or_else(|| {
            error(format!("the template makes more than {} MiB of strings", self.budget >> 20))
        })?;
        self.reads(n)
    }

    /// Python's `==`, charged for.
    pub(super) fn equal(&mut self, a: &Value, b: &Value) -> Result<bool> {
        a.equals_within(b, &mut self.limits.fuel).ok_or(Fail::OutOfFuel)
    }

    /// A text that was made, charged for.
    pub(super) fn made(&mut self, text: Text) -> Result<Value> {
        self.makes(text.n_bytes())?;
        Ok(Value::Str(text))
    }

    /// Runs `inner` a level deeper.
    pub(super) fn deeper<T>(&mut self, inner: impl FnOnce(&mut Run) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(error(format!("calls and blocks nest deeper than {DEPTH} levels")));
        }
        let done = inner(self);
        self.depth -= 1;
        done
    }

    pub(super) fn lookup(&self, name: &str) -> Option<&Value> {
        self.scopes
            .iter()
            .rev()
            .flat_map(|scope| scope.iter().rev())
            .find(|(n, _)| &**n == name)
            .map(|(_, v)| v)
    }

    fn define(&mut self, name: &Name, value: Value) {
        let scope = self.scopes.last_mut().expect("there is a scope");
        match scope.iter_mut().find(|(n, _)| n == name) {
            Some(pair) => pair.1 = value,
            None => scope.push((Arc::clone(name), value)),
        }
    }

    /// Output of `inner` as a string.
    pub(super) fn captured(&mut self, inner: impl FnOnce(&mut Run) -> Result<()>) -> Result<Text> {
        let outer = std::mem::take(&mut self.out);
        self.captures += 1;
        let done = inner(self);
        self.captures -= 1;
        let text = std::mem::replace(&mut self.out, outer).finish();
        done.map(|()| text)
    }

    fn scoped<T>(&mut self, inner: impl FnOnce(&mut Run) -> Result<T>) -> Result<T> {
        self.scopes.push(Vec::new());
        let done = inner(self);
        self.scopes.pop();
        done
    }

    /// Runs `inner` in the scopes that a macro or loop was made in.
    fn in_scopes<T>(&mut self, n: usize, inner: impl FnOnce(&mut Run) -> Result<T>) -> Result<T> {
        let n = n.min(self.scopes.len());
        let above = self.scopes.split_off(n);
        let done = self.deeper(|run| run.scoped(inner));
        self.scopes.extend(above);
        done
    }

    fn write(&mut self, value: &Value) -> Result<()> {
        let from = self.out.n_bytes();
        if let Value::Str(text) = value {
            self.check_output(text.n_bytes())?;
        }
        print::write(&mut self.out, value)?;
        let n = self.out.n_bytes() - from;
        self.check_output(0)?;
        self.makes(n)
    }

    fn check_output(&self, more: usize) -> Result<()> {
        let full = self.captures == 0 && self.out.n_bytes() + more > self.limits.output;
        if full { Err(Fail::OutputTooLong) } else { Ok(()) }
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<Flow> {
        for node in nodes {
            match self.node(node)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node) -> Result<Flow> {
        self.step()?;
        match node {
            Node::Data(text) => {
                self.check_output(text.len())?;
                self.makes(text.len())?;
                self.out.own(text);
            }
            Node::Print(expr) => {
                let value = self.eval(expr)?;
                self.write(&value).map_err(|e| e.at(expr.line))?;
            }
            Node::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.eval(condition)?.is_true() {
                        return self.deeper(|run| run.nodes(body));
                    }
                }
                return self.deeper(|run| run.nodes(otherwise));
            }
            Node::For(of) => {
                let items = self.eval(&of.items)?;
                self.deeper(|run| run.for_loop(of, &items, 0)).map_err(|e| e.at(of.items.line))?;
            }
            Node::Set(target, expr) => {
                let value = self.eval(expr)?;
                self.assign(target, value).map_err(|e| e.at(expr.line))?;
            }
            Node::SetBlock(target, filters, body) => {
                let text =
                    self.captured(|run| run.deeper(|run| run.scoped(|run| run.nodes(body).map(drop))))?;
                let value = self.filtered(Value::Str(text), filters)?;
                self.assign(target, value)?;
            }
            Node::With(values, body) => {
                let mut evaluated = Vec::with_capacity(values.len());
                for (target, expr) in values {
                    evaluated.push((target, self.eval(expr)?));
                }
                return self.deeper(|run| {
                    run.scoped(|run| {
                        evaluated.into_iter().try_for_each(|(target, value)| run.assign(target, value))?;
                        run.nodes(body)
                    })
                });
            }
            Node::Filtered(filters, body) => {
                let text =
                    self.captured(|run| run.deeper(|run| run.scoped(|run| run.nodes(body).map(drop))))?;
                let value = self.filtered(Value::Str(text), filters)?;
                self.write(&value)?;
            }
            Node::Macro(definition) => {
                let value = self.closure(definition);
                self.define(&definition.name, value);
            }
            Node::Call(body, call) => {
                let caller = self.closure(body);
                let value = self.call_with(call, Some(caller))?;
                self.write(&value)?;
            }
            Node::Scope(body) => return self.deeper(|run| run.scoped(|run| run.nodes(body))),
            Node::Do(expr) => drop(self.eval(expr)?),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Absent(what, line) => {
                return Err(error(format!("`{what}` needs another template, and there is none")).at(*line));
            }
        }
        Ok(Flow::Next)
    }

    fn filtered(&mut self, mut value: Value, filters: &[Filter]) -> Result<Value> {
        for filter in filters {
            value = self.apply_filter(value, filter)?;
        }
        Ok(value)
    }

    fn closure(&self, definition: &Arc<Macro>) -> Value {
        let closure = Closure { definition: Arc::clone(definition), n_scopes: self.scopes.len() };
        Value::Macro(Rc::new(closure))
    }

    pub(super) fn for_loop(&mut self, of: &Arc<For>, items: &Value, depth: usize) -> Result<()> {
        self.items(items.n_items().unwrap_or(1))?;
        let mut items = items.iterate()?;
        if let Some(condition) = &of.condition {
            let mut kept = Vec::new();
            for item in &items.items {
                let keep = self.scoped(|run| {
                    run.assign(&of.target, item.clone())?;
                    run.eval(condition)
                })?;
                if keep.is_true() {
                    kept.push(item.clone());
                }
            }
            items = super::value::List::new(kept)?;
        }
        let state = Rc::new(Loop {
            items: Rc::clone(&items),
            idx: Cell::new(0),
            depth,
            changed: RefCell::new(None),
            body: of.is_recursive.then(|| Arc::clone(of)),
            n_scopes: self.scopes.len(),
        });
        let name: Name = "loop".into();
        self.scoped(|run| {
            for (idx, item) in items.items.iter().enumerate() {
                run.step()?;
                state.idx.set(idx);
                run.scopes.last_mut().expect("there is a scope").clear();
                run.define(&name, Value::Loop(Rc::clone(&state)));
                run.assign(&of.target, item.clone())?;
                if run.nodes(&of.body)? == Flow::Break {
                    break;
                }
            }
            Ok(())
        })?;
        if items.items.is_empty() {
            self.scoped(|run| run.nodes(&of.otherwise).map(drop))?;
        }
        Ok(())
    }

    /// `loop(items)` in a recursive loop.
    pub(super) fn recurse(&mut self, of: &Loop, items: &Value) -> Result<Value> {
        let body = of.body.as_ref().ok_or_else(|| error("the loop is not `recursive`"))?;
        let text =
            self.captured(|run| run.in_scopes(of.n_scopes, |run| run.for_loop(body, items, of.depth + 1)))?;
        Ok(Value::Str(text))
    }

    pub(super) fn call_macro(&mut self, closure: &Closure, given: Given) -> Result<Value> {
        let of = &closure.definition;
        let [takes_varargs, takes_kwargs, takes_caller] = of.takes;
        let Given { mut pos, mut named } = given;
        let rest = pos.split_off(pos.len().min(of.arguments.len()));
        if !rest.is_empty() && !takes_varargs {
            return Err(error(format!(
                "macro '{}' takes not more than {} argument(s)",
                of.name,
                of.arguments.len()
            )));
        }
        let mut values: Vec<Option<Value>> = pos.into_iter().map(Some).collect();
        values.resize(of.arguments.len(), None);
        for (name, value) in values.iter_mut().zip(&of.arguments).map(|(value, name)| (name, value)) {
            if let Some(at) = named.iter().position(|(n, _)| n == name) {
                let given = named.remove(at).1;
                if value.replace(given).is_some() {
                    return Err(error(format!("macro '{}' has argument '{name}' twice", of.name)));
                }
            }
        }
        let caller = named.iter().position(|(name, _)| &**name == "caller").map(|at| named.remove(at).1);
        if caller.is_some() && !takes_caller {
            return Err(error(format!(
                "macro '{}' was invoked with two values for the special caller argument or takes none",
                of.name
            )));
        }
        if let (Some((name, _)), false) = (named.first(), takes_kwargs) {
            return Err(error(format!("macro '{}' takes no keyword argument '{name}'", of.name)));
        }
        let text = self.captured(|run| {
            run.in_scopes(closure.n_scopes, |run| {
                if takes_caller {
                    let value = caller.unwrap_or_else(|| Value::undefined("No caller defined"));
                    run.define(&"caller".into(), value);
                }
                if takes_varargs {
                    run.define(&"varargs".into(), Value::tuple(rest)?);
                }
                if takes_kwargs {
                    let pairs = named.into_iter().map(|(name, value)| (Value::str(&*name), value));
                    run.define(&"kwargs".into(), Value::dict(pairs.collect())?);
                }
                let first_default = of.arguments.len() - of.defaults.len();
                for (i, (name, value)) in of.arguments.iter().zip(values).enumerate() {
                    let value = match value {
                        Some(value) => value,
                        None if i >= first_default => run.eval(&of.defaults[i - first_default])?,
                        None => Value::undefined(&format!("parameter '{name}' was not provided")),
                    };
                    run.define(name, value);
                }
                run.nodes(&of.body).map(drop)
            })
        });
        text.map(Value::Str).map_err(|e| e.at(of.line))
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<()> {
        match target {
            Target::Name(name) => self.define(name, value),
            Target::Attribute(name, attribute, line) => {
                let Some(Value::Namespace(namespace)) = self.lookup(name) else {
                    let reason = "cannot assign attribute on non-namespace object";
                    return Err(error(reason).at(*line));
                };
                if value.has_state() {
                    let reason = format!("a namespace cannot hold a {}", value.type_name());
                    return Err(error(reason).at(*line));
                }
                let mut values = namespace.borrow_mut();
                match values.iter_mut().find(|(n, _)| **n == **attribute) {
                    Some(pair) => pair.1 = value,
                    None => values.push((Rc::from(&**attribute), value)),
                }
            }
            Target::All(targets, line) => {
                let items = value.iterate().map_err(|e| e.at(*line))?;
                if items.items.len() != targets.len() {
                    let (n, wanted) = (items.items.len(), targets.len());
                    let reason = match n > wanted {
                        true => format!("too many values to unpack (expected {wanted})"),
                        false => format!("not enough values to unpack (expected {wanted}, got {n})"),
                    };
                    return Err(error(reason).at(*line));
                }
                for (target, item) in targets.iter().zip(&items.items) {
                    self.assign(target, item.clone())?;
                }
            }
        }
        Ok(())
    }

    /// Evaluates, and says on which line if that fails.
    pub(super) fn eval(&mut self, expr: &Expr) -> Result<Value> {
        self.step()?;
        self.deeper(|run| run.expression(expr)).map_err(|e| e.at(expr.line))
    }
}
