//! Python's values, as far as templates can have them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::ast::Macro;
pub(crate) use super::collections::{Dict, List};
use super::error::{Fail, Result, error};
use super::text::Text;

/// A value. All but namespaces, cyclers and joiners are immutable, as in Jinja's immutable sandbox.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A missing value, and the reason an error gives where the template uses it.
    Undefined(Option<Rc<str>>),
    None,
    Bool(bool),
    /// Exact to 128 bits, and whether it came from the input.
    Int(i128, bool),
    /// And whether it came from the input.
    Float(f64, bool),
    Str(Text),
    /// And whether it came from the input.
    Bytes(Rc<[u8]>, bool),
    List(Rc<List>),
    Tuple(Rc<List>),
    /// An iterator, or a view of a dict: a list that prints otherwise.
    Iter(Rc<List>, Iter),
    Dict(Rc<Dict>),
    Range(Range),
    Namespace(Rc<RefCell<Attributes>>),
    Function(Function),
    /// A method of a value, not called yet.
    Method(Rc<(Value, Rc<str>)>),
    Macro(Rc<Closure>),
    Loop(Rc<Loop>),
    Cycler(Rc<(Vec<Value>, Cell<usize>)>),
    Joiner(Rc<(Value, Cell<bool>)>),
}

/// Attributes of a namespace.
pub(crate) type Attributes = Vec<(Rc<str>, Value)>;

/// Kinds of [`Value::Iter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Iter {
    Generator,
    /// A group of `groupby`: a tuple of `grouper` and `list`.
    Group,
    Keys,
    Values,
    Items,
}

/// Functions that every template can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

/// `range(…)`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(super) start: i128,
    pub(super) step: i128,
    pub(super) len: usize,
}

impl Range {
    pub(super) fn at(self, idx: usize) -> i128 {
        self.start + self.step * idx as i128
    }
}

/// A macro, and how many scopes it sees.
#[derive(Debug)]
pub(crate) struct Closure {
    pub(super) definition: std::sync::Arc<Macro>,
    pub(super) n_scopes: usize,
}

/// `loop`
#[derive(Debug)]
pub(crate) struct Loop {
    pub(super) items: Rc<List>,
    pub(super) idx: Cell<usize>,
    pub(super) depth: usize,
    pub(super) changed: RefCell<Option<Vec<Value>>>,
    /// The loop itself, if it is `recursive`.
    pub(super) body: Option<std::sync::Arc<super::ast::For>>,
    pub(super) n_scopes: usize,
}

impl Value {
    pub(crate) fn str(text: impl Into<Box<str>>) -> Value {
        Value::Str(Text::own(text))
    }

    pub(crate) fn int(n: impl Into<i128>) -> Value {
        Value::Int(n.into(), false)
    }

    pub(crate) fn len_of(n: usize) -> Value {
        Value::Int(n as i128, false)
    }

    pub(crate) fn list(items: Vec<Value>) -> Result<Value> {
        List::new(items).map(Value::List)
    }

    pub(crate) fn tuple(items: Vec<Value>) -> Result<Value> {
        List::new(items).map(Value::Tuple)
    }

    pub(crate) fn generator(items: Vec<Value>) -> Result<Value> {
        List::new(items).map(|items| Value::Iter(items, Iter::Generator))
    }

    pub(crate) fn dict(pairs: Vec<(Value, Value)>) -> Result<Value> {
        Dict::new(pairs).map(Value::Dict)
    }

    /// A missing value, and the reason an error gives where the template uses it.
    pub(crate) fn undefined(reason: &str) -> Value {
        Value::Undefined(Some(reason.into()))
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    pub(super) fn depth(&self) -> u16 {
        match self {
            Value::List(list) | Value::Tuple(list) | Value::Iter(list, _) => list.depth,
            Value::Dict(dict) => dict.depth,
            Value::Method(method) => method.0.depth() + 1,
            Value::Loop(of) => of.items.depth + 1,
            Value::Cycler(of) => of.0.iter().map(Value::depth).max().unwrap_or(0) + 1,
            _ => 0,
        }
    }

    /// Whether it holds something that can change: such values may not be put into each other without end.
    pub(super) fn has_state(&self) -> bool {
        match self {
            Value::List(list) | Value::Tuple(list) | Value::Iter(list, _) => list.has_state,
            Value::Dict(dict) => dict.has_state,
            Value::Method(method) => method.0.has_state(),
            Value::Namespace(_) | Value::Loop(_) | Value::Cycler(_) | Value::Joiner(_) | Value::Macro(_) => {
                true
            }
            _ => false,
        }
    }

    /// Python's `bool(…)`.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(b) => *b,
            Value::Int(n, _) => *n != 0,
            Value::Float(x, _) => *x != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::Bytes(bytes, _) => !bytes.is_empty(),
            Value::List(list) | Value::Tuple(list) => !list.items.is_empty(),
            Value::Iter(list, kind) => *kind == Iter::Generator || !list.items.is_empty(),
            Value::Dict(dict) => !dict.pairs.is_empty(),
            Value::Range(range) => range.len > 0,
            _ => true,
        }
    }

    /// Python's `==`; false where a comparison takes more than a million steps.
    pub(crate) fn equals(&self, other: &Value) -> bool {
        self.equals_within(other, &mut 1_000_000).unwrap_or(false)
    }

    /// Python's `==`, in at most this number of steps; `None` if they are too few. Values may share their
    /// parts, so that they are much smaller than what there is to compare.
    pub(super) fn equals_within(&self, other: &Value, fuel: &mut u64) -> Option<bool> {
        use Value::{
            Bool, Bytes, Dict, Float, Function, Int, Iter, List, None as Nothing, Range, Str, Tuple,
            Undefined,
        };
        *fuel = fuel.checked_sub(1)?;
        Some(match (self, other) {
            (Undefined(_), Undefined(_)) | (Nothing, Nothing) => true,
            (Str(a), Str(b)) => {
                *fuel = fuel.checked_sub(a.n_bytes().min(b.n_bytes()) as u64 / 64)?;
                a.as_str() == b.as_str()
            }
            (Int(..) | Float(..) | Bool(_), Int(..) | Float(..) | Bool(_)) => {
                super::number::compare(self, other) == Some(std::cmp::Ordering::Equal)
            }
            (Bytes(a, _), Bytes(b, _)) => a == b,
            (List(a), List(b)) | (Tuple(a), Tuple(b)) => {
                if Rc::ptr_eq(a, b) {
                    return Some(true);
                }
                if a.items.len() != b.items.len() {
                    return Some(false);
                }
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equals_within(b, fuel)? {
                        return Some(false);
                    }
                }
                true
            }
            (Dict(a), Dict(b)) => {
                if Rc::ptr_eq(a, b) {
                    return Some(true);
                }
                if a.pairs.len() != b.pairs.len() {
                    return Some(false);
                }
                for (key, value) in &a.pairs {
                    match b.get(key) {
                        Some(other) if other.equals_within(value, fuel)? => {}
                        _ => return Some(false),
                    }
                }
                true
            }
            (Range(a), Range(b)) => a.len == b.len && (a.len == 0 || a == b),
            (Function(a), Function(b)) => a == b,
            (Iter(a, kind), Iter(b, other)) => Rc::ptr_eq(a, b) && kind == other,
            _ => self.is_same(other),
        })
    }

    /// Python's `is`, as far as it makes sense here.
    pub(crate) fn is_same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::None, Value::None) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a, _), Value::Int(b, _)) => a == b,
            (Value::Float(a, _), Value::Float(b, _)) => a.to_bits() == b.to_bits(),
            (Value::Str(a), Value::Str(b)) => a.as_str() == b.as_str(),
            (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
            (Value::Tuple(a), Value::Tuple(b)) => {
                Rc::ptr_eq(a, b) || a.items.is_empty() && b.items.is_empty()
            }
            (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
            (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
            (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
            (Value::Cycler(a), Value::Cycler(b)) => Rc::ptr_eq(a, b),
            (Value::Joiner(a), Value::Joiner(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Whether it can be a key.
    pub(super) fn check_hashable(&self) -> Result<()> {
        match self {
            Value::List(_) | Value::Dict(_) | Value::Namespace(_) => {
                Err(error(format!("unhashable type: '{}'", self.type_name())))
            }
            Value::Tuple(items) => items.items.iter().try_for_each(Value::check_hashable),
            _ => Ok(()),
        }
    }

    /// Name of its type in Python.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(..) => "int",
            Value::Float(..) => "float",
            Value::Str(_) => "str",
            Value::Bytes(..) => "bytes",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Iter(_, Iter::Generator) => "generator",
            Value::Iter(_, Iter::Keys) => "dict_keys",
            Value::Iter(_, Iter::Values) => "dict_values",
            Value::Iter(_, Iter::Items) => "dict_items",
            Value::Iter(_, Iter::Group) => "_GroupTuple",
            Value::Dict(_) => "dict",
            Value::Range(_) => "range",
            Value::Namespace(_) => "Namespace",
            Value::Function(Function::Range | Function::Dict | Function::Namespace) => "type",
            Value::Function(Function::Cycler | Function::Joiner) => "type",
            Value::Function(_) => "function",
            Value::Method(_) => "builtin_function_or_method",
            Value::Macro(_) => "Macro",
            Value::Loop(_) => "LoopContext",
            Value::Cycler(_) => "Cycler",
            Value::Joiner(_) => "Joiner",
        }
    }

    /// Its text, if it is one.
    pub(crate) fn as_text(&self) -> Option<&Text> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it, or part of it, came from the input.
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Value::Int(_, foreign) | Value::Float(_, foreign) | Value::Bytes(_, foreign) => *foreign,
            Value::Str(text) => text.has_foreign(),
            _ => false,
        }
    }

    /// An integer, as Python indexes with.
    pub(crate) fn as_index(&self) -> Option<i128> {
        match self {
            Value::Int(n, _) => Some(*n),
            Value::Bool(b) => Some(i128::from(*b)),
            _ => None,
        }
    }

    /// Python's `len(…)`.
    pub(crate) fn n_items(&self) -> Result<usize> {
        Ok(match self {
            Value::Undefined(_) => 0,
            Value::Str(text) => text.n_chars(),
            Value::Bytes(bytes, _) => bytes.len(),
            Value::List(list) | Value::Tuple(list) => list.items.len(),
            Value::Iter(list, kind) if *kind != Iter::Generator => list.items.len(),
            Value::Dict(dict) => dict.pairs.len(),
            Value::Range(range) => range.len,
            Value::Loop(of) => of.items.items.len(),
            other => return Err(error(format!("object of type '{}' has no len()", other.type_name()))),
        })
    }

    /// Items of a loop over it.
    pub(crate) fn iterate(&self) -> Result<Rc<List>> {
        match self {
            Value::List(list) | Value::Tuple(list) | Value::Iter(list, _) => Ok(Rc::clone(list)),
            Value::Undefined(_) => List::new(Vec::new()),
            Value::Dict(dict) => List::new(dict.pairs.iter().map(|(key, _)| key.clone()).collect()),
            Value::Range(range) => {
                List::new((0..range.len).map(|i| Value::Int(range.at(i), false)).collect())
            }
            Value::Str(text) => {
                List::new(text.chars().map(|(c, f)| Value::Str(Text::of(c.to_string(), f))).collect())
            }
            Value::Bytes(bytes, f) => {
                List::new(bytes.iter().map(|&b| Value::Int(i128::from(b), *f)).collect())
            }
            Value::Loop(of) => Ok(Rc::clone(&of.items)),
            other => Err(error(format!("'{}' object is not iterable", other.type_name()))),
        }
    }

    /// Whether [`iterate`](Self::iterate) takes it.
    pub(crate) fn is_iterable(&self) -> bool {
        matches!(
            self,
            Value::List(_)
                | Value::Tuple(_)
                | Value::Iter(..)
                | Value::Undefined(_)
                | Value::Dict(_)
                | Value::Range(_)
                | Value::Str(_)
                | Value::Bytes(..)
                | Value::Loop(_)
        )
    }

    /// The error of using what is not there.
    pub(crate) fn undefined_error(&self) -> Fail {
        match self {
            Value::Undefined(Some(reason)) => error(&**reason),
            _ => error("a value is undefined".to_owned()),
        }
    }
}
