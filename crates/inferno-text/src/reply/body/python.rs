//! Calls as Python writes them.

use super::super::json_text::push_quoted;
use super::values::{ValueNext, Values};
use super::{Next, Told, is_name};

/// Reads `f(a=1, b="x")`.
#[derive(Debug, Default)]
pub(in super::super) struct PythonCall {
    state: State,
    name: String,
    key: String,
    n_arguments: usize,
    is_told: bool,
    value: Values,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Name,
    Key,
    Value,
}

impl PythonCall {
    pub(super) fn push(&mut self, c: char, told: &mut Told) -> Next {
        match self.state {
            State::Name if self.name.is_empty() && c.is_whitespace() => {}
            State::Name if c == '(' && is_name(&self.name) => self.state = State::Key,
            State::Name if self.name.len() < 256 && (c.is_alphanumeric() || "_-.".contains(c)) => {
                self.name.push(c);
            }
            State::Name => return Next::Other(0),
            State::Key if c.is_whitespace() => {}
            State::Key if c == ')' && self.key.is_empty() => return self.end(told),
            State::Key if c == '=' && !self.key.is_empty() => {
                self.tell(told);
                told.arguments.push_str(if self.n_arguments > 0 { ", " } else { "" });
                push_quoted(&self.key, &mut told.arguments);
                told.arguments.push_str(": ");
                self.n_arguments += 1;
                self.value = Values::python();
                self.state = State::Value;
            }
            State::Key if self.key.len() < 1024 && (c.is_alphanumeric() || "_-.".contains(c)) => {
                self.key.push(c)
            }
            State::Key => return Next::Other(0),
            State::Value => match self.value.push(c, &mut told.arguments) {
                ValueNext::More => {}
                ValueNext::End if c == ',' => {
                    self.key.clear();
                    self.state = State::Key;
                }
                ValueNext::End if c == ')' => return self.end(told),
                ValueNext::End | ValueNext::Bad => return Next::Other(0),
            },
        }
        Next::More
    }

    fn tell(&mut self, told: &mut Told) {
        if !std::mem::replace(&mut self.is_told, true) {
            told.call = Some((self.name.clone(), None));
            told.arguments.push('{');
        }
    }

    fn end(&mut self, told: &mut Told) -> Next {
        self.tell(told);
        told.arguments.push('}');
        Next::Done
    }
}
