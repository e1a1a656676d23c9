//! Syntax tree of a template.

use std::sync::Arc;

/// A name, by its number in the template.
pub(super) type Name = Arc<str>;

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    /// Text between tags.
    Data(String),
    /// `{{ … }}`
    Print(Expr),
    /// `{% if %}`: conditions and bodies, and what is left.
    If(Vec<(Expr, Vec<Node>)>, Vec<Node>),
    For(Arc<For>),
    /// `{% set a, b = … %}`
    Set(Target, Expr),
    /// `{% set a | filter %}…{% endset %}`
    SetBlock(Target, Vec<Filter>, Vec<Node>),
    /// `{% with a = … %}`
    With(Vec<(Target, Expr)>, Vec<Node>),
    /// `{% filter a | b %}…`
    Filtered(Vec<Filter>, Vec<Node>),
    Macro(Arc<Macro>),
    /// `{% call(args) macro() %}…`
    Call(Arc<Macro>, Expr),
    /// A scope without more: `{% block %}`, `{% generation %}`, `{% autoescape %}`.
    Scope(Vec<Node>),
    /// `{% do … %}`
    Do(Expr),
    Break,
    Continue,
    /// A statement that needs other templates: its name and line.
    Absent(&'static str, u32),
}

/// `{% for target in items if condition recursive %}`
#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) items: Expr,
    pub(super) condition: Option<Expr>,
    pub(super) is_recursive: bool,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `{% macro name(a, b=…) %}`, or the body of a call.
#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Name,
    pub(super) arguments: Vec<Name>,
    /// Of the last arguments.
    pub(super) defaults: Vec<Expr>,
    pub(super) body: Vec<Node>,
    /// Whether the body uses `varargs` and `kwargs`, which makes any argument right.
    pub(super) takes: [bool; 3],
    pub(super) line: u32,
}

/// Target of an assignment.
#[derive(Debug)]
pub(super) enum Target {
    Name(Name),
    /// `namespace.name`
    Attribute(Name, Name, u32),
    All(Vec<Target>, u32),
}

/// `| name(arguments)`
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: String,
    pub(super) args: Args,
    pub(super) line: u32,
}

#[derive(Debug, Default)]
pub(super) struct Args {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Name, Expr)>,
    /// `*…` and `**…`
    pub(super) rest: Option<Box<Expr>>,
    pub(super) named_rest: Option<Box<Expr>>,
}

/// An expression, where it stands, and how many levels it has.
#[derive(Debug)]
pub(super) struct Expr {
    pub(super) kind: Kind,
    pub(super) line: u32,
    pub(super) height: u16,
}

#[derive(Debug)]
pub(super) enum Kind {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    Name(Name),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// `a.b`
    Attribute(Box<Expr>, Name),
    /// `a[b]`
    Item(Box<Expr>, Box<Expr>),
    /// `a[b:c:d]`
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Args>),
    /// `a | b`; without a value inside of filter blocks.
    Filter(Box<Expr>, Box<Filter>),
    /// `a is b`
    Test(Box<Expr>, Box<Filter>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    /// `+ - * / // % **`
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// `a ~ b ~ c`
    Concat(Vec<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// `a < b <= c`
    Compare(Box<Expr>, Vec<(&'static str, Expr)>),
    /// `a if b else c`
    If(Box<[Expr; 2]>, Option<Box<Expr>>),
}
