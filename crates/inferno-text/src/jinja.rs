//! Jinja, as Hugging Face's `apply_chat_template` sets it up: Jinja2's immutable sandbox with `trim_blocks`,
//! `lstrip_blocks`, loop controls and `generation`, and Python's semantics of values.
//!
//! This module knows templates, values and text. It must not know of tokens, messages or models.
//!
//! Three things it does that Jinja2 does not:
//! - Every character of the output is known to be the template's own or its input's ([`Text`]), whatever was done to
//!   it on the way.
//! - All work is charged: a step per node, and steps by the bytes and items that operators, filters and methods
//!   handle. Output is bounded.
//! - Recursion is bounded everywhere (parsing, running, comparing, printing, dropping), so that no template
//!   overflows a stack of 1 MiB. Values are immutable except for namespaces, and hold no cycles.
//!
//! Start reading at `run.rs`; `value.rs` is what templates compute with.

mod arguments;
mod ast;
mod checks;
mod collections;
mod error;
mod expressions;
mod filters;
mod format;
mod functions;
mod json;
mod lexer;
mod methods;
mod number;
mod operators;
mod parser;
mod percent;
mod print;
mod run;
mod sequences;
mod splitting;
mod strftime;
mod strings;
mod text;
mod unicode;
mod value;
mod wrap;
mod zone;

pub(crate) use error::Fail;
pub(crate) use run::Limits;
pub(crate) use text::Text;
pub(crate) use value::Value;
pub(crate) use zone::utc_offset;

/// A template, parsed.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<ast::Node>,
}

impl Template {
    /// # Errors
    /// The source is no Jinja, or nests too deep.
    pub(crate) fn parse(source: &str) -> Result<Template, Fail> {
        Ok(Template { nodes: parser::parse(source)? })
    }

    /// Runs it with `variables`.
    pub(crate) fn render(&self, variables: Vec<(&str, Value)>, limits: Limits) -> Result<Text, Fail> {
        run::Run::new(variables, limits).render(&self.nodes)
    }
}

#[cfg(test)]
mod tests;
