//! Expressions: names, attributes, items, calls and operators.

use std::rc::Rc;

use super::arguments::Given;
use super::ast::{Args, Expr, Filter, Kind};
use super::error::{Result, error};
use super::run::Run;
use super::text::{Text, TextBuilder};
use super::value::Value;
use super::{checks, filters, functions, methods, operators, print};

impl Run {
    pub(super) fn expression(&mut self, expr: &Expr) -> Result<Value> {
        match &expr.kind {
            Kind::None => Ok(Value::None),
            Kind::Bool(b) => Ok(Value::Bool(*b)),
            Kind::Int(n) => Ok(Value::Int(*n, false)),
            Kind::Float(x) => Ok(Value::Float(*x, false)),
            Kind::Str(text) => self.made(Text::own(&**text)),
            Kind::Name(name) => Ok(match self.lookup(name) {
                Some(value) => value.clone(),
                None => functions::global(name)
                    .unwrap_or_else(|| Value::undefined(&format!("'{name}' is undefined"))),
            }),
            Kind::List(items) => Value::list(self.eval_all(items)?),
            Kind::Tuple(items) => Value::tuple(self.eval_all(items)?),
            Kind::Dict(pairs) => self.dict(pairs),
            Kind::Attribute(value, name) => {
                let value = self.eval(value)?;
                self.attribute(&value, name)
            }
            Kind::Item(value, key) => {
                let value = self.eval(value)?;
                let key = self.eval(key)?;
                self.item(&value, &key)
            }
            Kind::Slice(value, bounds) => {
                let value = self.eval(value)?;
                let mut evaluated = [const { None }; 3];
                for (to, bound) in evaluated.iter_mut().zip(bounds.iter()) {
                    *to = bound.as_ref().map(|bound| self.eval(bound)).transpose()?;
                }
                operators::slice(self, &value, &evaluated)
            }
            Kind::Call(..) => self.call_with(expr, None),
            Kind::Filter(value, filter) => {
                let value = self.eval(value)?;
                self.apply_filter(value, filter)
            }
            Kind::Test(value, test) => {
                let value = self.eval(value)?;
                let given = self.given(&test.args)?;
                checks::test(self, &test.name, &value, given).map(Value::Bool)
            }
            Kind::Not(value) => Ok(Value::Bool(!self.eval(value)?.is_true())),
            Kind::Negative(value) => {
                let value = self.eval(value)?;
                operators::negative(&value)
            }
            Kind::Positive(value) => {
                let value = self.eval(value)?;
                operators::positive(&value)
            }
            Kind::Binary(op, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                operators::binary(self, op, &left, &right)
            }
            Kind::Concat(items) => self.concat(items),
            Kind::And(left, right) => {
                let left = self.eval(left)?;
                if left.is_true() { self.eval(right) } else { Ok(left) }
            }
            Kind::Or(left, right) => {
                let left = self.eval(left)?;
                if left.is_true() { Ok(left) } else { self.eval(right) }
            }
            Kind::Compare(first, rest) => self.compare(first, rest),
            Kind::If(parts, otherwise) => {
                if self.eval(&parts[1])?.is_true() {
                    return self.eval(&parts[0]);
                }
                match otherwise {
                    Some(otherwise) => self.eval(otherwise),
                    None => Ok(Value::Undefined(None)),
                }
            }
        }
    }

    fn eval_all(&mut self, items: &[Expr]) -> Result<Vec<Value>> {
        items.iter().map(|item| self.eval(item)).collect()
    }

    fn dict(&mut self, pairs: &[(Expr, Expr)]) -> Result<Value> {
        let mut evaluated = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            evaluated.push((self.eval(key)?, self.eval(value)?));
        }
        Value::dict(evaluated)
    }

    fn concat(&mut self, items: &[Expr]) -> Result<Value> {
        let mut out = TextBuilder::default();
        for item in items {
            let value = self.eval(item)?;
            if let Value::Str(text) = &value {
                self.fits(out.n_bytes() + text.n_bytes())?;
            }
            print::write(&mut out, &value)?;
        }
        self.makes(out.n_bytes())?;
        Ok(Value::Str(out.finish()))
    }

    fn compare(&mut self, first: &Expr, rest: &[(&'static str, Expr)]) -> Result<Value> {
        let mut left = self.eval(first)?;
        for (op, right) in rest {
            let right = self.eval(right)?;
            if !operators::compare(self, op, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    pub(super) fn given(&mut self, args: &Args) -> Result<Given> {
        let mut given = Given { pos: self.eval_all(&args.positional)?, named: Vec::new() };
        for (name, value) in &args.named {
            if given.named.iter().any(|(n, _)| n == name) {
                return Err(error(format!("keyword argument repeated: {name}")));
            }
            let value = self.eval(value)?;
            given.named.push((name.clone(), value));
        }
        if let Some(rest) = &args.rest {
            let rest = self.eval(rest)?;
            self.items(rest.n_items().unwrap_or(1))?;
            given.pos.extend(rest.iterate()?.items.iter().cloned());
        }
        if let Some(rest) = &args.named_rest {
            let Value::Dict(dict) = self.eval(rest)? else {
                return Err(error("argument after ** must be a mapping"));
            };
            self.items(dict.pairs.len())?;
            for (key, value) in &dict.pairs {
                let Value::Str(name) = key else { return Err(error("keywords must be strings")) };
                given.named.push((name.as_str().into(), value.clone()));
            }
        }
        Ok(given)
    }

    pub(super) fn apply_filter(&mut self, value: Value, filter: &Filter) -> Result<Value> {
        let given = self.given(&filter.args)?;
        self.step()?;
        filters::filter(self, &filter.name, value, given).map_err(|e| e.at(filter.line))
    }

    /// A call, with what `{% call %}` adds to its arguments.
    pub(super) fn call_with(&mut self, expr: &Expr, caller: Option<Value>) -> Result<Value> {
        let Kind::Call(callee, args) = &expr.kind else { return self.eval(expr) };
        let add_caller = |given: &mut Given| given.named.extend(caller.clone().map(|c| ("caller".into(), c)));
        if let Kind::Attribute(value, name) = &callee.kind {
            let value = self.eval(value)?;
            let mut given = self.given(args)?;
            add_caller(&mut given);
            if methods::has(&value, name) {
                return methods::call(self, &value, name, given).map_err(|e| e.at(expr.line));
            }
            let callee = self.attribute(&value, name)?;
            return self.call(&callee, given).map_err(|e| e.at(expr.line));
        }
        let callee = self.eval(callee)?;
        let mut given = self.given(args)?;
        add_caller(&mut given);
        self.call(&callee, given).map_err(|e| e.at(expr.line))
    }

    pub(super) fn call(&mut self, callee: &Value, given: Given) -> Result<Value> {
        match callee {
            Value::Macro(of) => {
                let of = Rc::clone(of);
                self.deeper(|run| run.call_macro(&of, given))
            }
            Value::Function(function) => functions::call(self, *function, given),
            Value::Method(of) => methods::call(self, &of.0, &of.1, given),
            Value::Loop(of) => {
                let [items] = given.positional("loop")?;
                let items = items.ok_or_else(|| error("`loop` lacks its argument"))?;
                self.recurse(of, &items)
            }
            Value::Joiner(of) => {
                let was_used = of.1.replace(true);
                Ok(if was_used { of.0.clone() } else { Value::str("") })
            }
            Value::Undefined(_) => Err(callee.undefined_error()),
            other => Err(error(format!("'{}' object is not callable", other.type_name()))),
        }
    }

    /// `value.name`: Python's attributes first, then keys.
    pub(super) fn attribute(&mut self, value: &Value, name: &str) -> Result<Value> {
        self.step()?;
        let found = match value {
            Value::Undefined(_) => return Err(value.undefined_error()),
            _ if methods::has(value, name) => Some(Value::Method(Rc::new((value.clone(), name.into())))),
            Value::Dict(dict) => dict.get_str(name).cloned(),
            Value::Namespace(values) => {
                values.borrow().iter().find(|(n, _)| **n == *name).map(|(_, value)| value.clone())
            }
            other => methods::property(other, name)?,
        };
        let missing = || {
            let object = match value {
                Value::None => "None".to_owned(),
                Value::Dict(_) => "'dict object'".to_owned(),
                other => format!("'{} object'", other.type_name()),
            };
            Value::undefined(&format!("{object} has no attribute '{name}'"))
        };
        Ok(found.unwrap_or_else(missing))
    }

    /// `value[key]`: keys and indices first, then Python's attributes.
    pub(super) fn item(&mut self, value: &Value, key: &Value) -> Result<Value> {
        self.step()?;
        if value.is_undefined() {
            return Err(value.undefined_error());
        }
        let at = |len: usize| {
            let idx = key.as_index()?;
            let idx = if idx < 0 { idx + len as i128 } else { idx };
            usize::try_from(idx).ok().filter(|&idx| idx < len)
        };
        let found = match value {
            Value::Dict(dict) => dict.get(key).cloned(),
            Value::List(list) | Value::Tuple(list) | Value::Iter(list, super::value::Iter::Group) => {
                at(list.items.len()).map(|at| list.items[at].clone())
            }
            Value::Range(range) => at(range.len).map(|at| Value::Int(range.at(at), false)),
            Value::Bytes(bytes, foreign) => {
                at(bytes.len()).map(|at| Value::Int(i128::from(bytes[at]), *foreign))
            }
            Value::Str(text) if key.as_index().is_some() => {
                self.reads(text.n_bytes())?;
                at(text.n_chars()).map(|at| {
                    let from = text.byte_of(at);
                    let c = text.as_str()[from..].chars().next().map_or(0, char::len_utf8);
                    Value::Str(text.sub(from..from + c))
                })
            }
            _ => None,
        };
        match (found, key) {
            (Some(found), _) => Ok(found),
            (None, Value::Str(name))
                if !matches!(value, Value::Dict(_)) || methods::has(value, name.as_str()) =>
            {
                self.attribute(value, name.as_str())
            }
            (None, key) => {
                let mut shown = TextBuilder::default();
                print::write_repr(&mut shown, key)?;
                let shown: String = shown.finish().as_str().chars().take(60).collect();
                let object = if matches!(value, Value::Dict(_)) { "dict" } else { value.type_name() };
                Ok(Value::undefined(&format!("'{object} object' has no element {shown}")))
            }
        }
    }
}

/// Whether a value can be called.
pub(super) fn is_callable(value: &Value) -> bool {
    matches!(
        value,
        Value::Macro(_) | Value::Function(_) | Value::Method(_) | Value::Loop(_) | Value::Joiner(_)
    )
}
