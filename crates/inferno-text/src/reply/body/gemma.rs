//! Gemma 4's calls.

use super::super::json_text::push_quoted;
use super::values::{ValueNext, Values};
use super::{Expected, Match, Next, Told, is_name};

/// Reads `call:f{a:1,b:<|"|>x<|"|>}`.
#[derive(Debug)]
pub(in super::super) struct GemmaCall {
    before_name: Expected,
    state: State,
    name: String,
    key: String,
    n_arguments: usize,
    value: Values,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeName,
    Name,
    Key,
    Value,
}

impl Default for GemmaCall {
    fn default() -> GemmaCall {
        GemmaCall {
            before_name: Expected::new(["call:"]),
            state: State::BeforeName,
            name: String::new(),
            key: String::new(),
            n_arguments: 0,
            value: Values::default(),
        }
    }
}

impl GemmaCall {
    pub(super) fn push(&mut self, c: char, told: &mut Told) -> Next {
        match self.state {
            State::BeforeName => match self.before_name.push(c) {
                Match::More => {}
                Match::Found(_) => self.state = State::Name,
                Match::Other(back) => return Next::Other(back),
            },
            State::Name if c == '{' && is_name(&self.name) => {
                told.call = Some((std::mem::take(&mut self.name), None));
                told.arguments.push('{');
                self.state = State::Key;
            }
            State::Name if self.name.len() < 256 && !c.is_whitespace() && c != '{' => self.name.push(c),
            State::Name => return Next::Other(0),
            State::Key if c == '}' && self.key.trim().is_empty() => return self.end(told),
            State::Key if c == ':' => {
                let key =
                    self.key.trim().trim_start_matches("<|\"|>").trim_end_matches("<|\"|>").trim_matches('"');
                told.arguments.push_str(if self.n_arguments > 0 { ", " } else { "" });
                push_quoted(key, &mut told.arguments);
                told.arguments.push_str(": ");
                self.n_arguments += 1;
                self.value = Values::gemma();
                self.state = State::Value;
            }
            State::Key if self.key.len() < 1024 && c != '}' => self.key.push(c),
            State::Key => return Next::Other(0),
            State::Value => match self.value.push(c, &mut told.arguments) {
                ValueNext::More => {}
                ValueNext::End if c == ',' => {
                    self.key.clear();
                    self.state = State::Key;
                }
                ValueNext::End if c == '}' => return self.end(told),
                ValueNext::End | ValueNext::Bad => return Next::Other(0),
            },
        }
        Next::More
    }

    fn end(&mut self, told: &mut Told) -> Next {
        told.arguments.push('}');
        Next::Done
    }
}
