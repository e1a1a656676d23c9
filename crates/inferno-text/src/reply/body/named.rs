//! Calls that are a name and a JSON text.

use super::super::json_text::{JsonNext, JsonText};
use super::{Expected, Match, Next, Told, is_name};

/// Bytes of a call's id, at most.
const MOST_ID: usize = 64;

/// Reads `f[ARGS]{}` and its kin.
#[derive(Debug)]
pub(in super::super) struct NamedCall {
    before_name: Expected,
    /// The text after the name, and after it the one before an id, if the format has one.
    after_name: Expected,
    after_id: Expected,
    after_arguments: Expected,
    /// Characters that end the name, besides white space.
    stops: [Option<char>; 2],
    counted: bool,
    /// Text before the name that is a part of a counted call's id.
    prefix: String,
    name: String,
    id: Option<String>,
    state: State,
    arguments: JsonText,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeName,
    Name,
    AfterName,
    Id,
    AfterId,
    BeforeArguments,
    Arguments,
    AfterArguments,
}

impl NamedCall {
    pub(super) fn new(
        before_name: &str,
        (before_id, after_name): (&str, &str),
        after_arguments: &str,
        counted: bool,
    ) -> NamedCall {
        NamedCall {
            before_name: Expected::new([before_name]),
            after_name: Expected::new([after_name, before_id]),
            after_id: Expected::new([after_name]),
            after_arguments: Expected::new([after_arguments]),
            stops: [after_name, before_id].map(|text| text.trim_start().chars().next()),
            counted,
            prefix: before_name.trim().into(),
            name: String::new(),
            id: None,
            state: if before_name.trim().is_empty() { State::Name } else { State::BeforeName },
            arguments: JsonText::default(),
        }
    }

    pub(super) fn push(&mut self, c: char, told: &mut Told) -> Next {
        match self.state {
            State::BeforeName => match self.before_name.push(c) {
                Match::More => {}
                Match::Found(_) => self.state = State::Name,
                Match::Other(back) => return Next::Other(back),
            },
            State::Name if self.name.is_empty() && c.is_whitespace() => {}
            State::Name if self.stops.contains(&Some(c)) || c.is_whitespace() || c == '{' => {
                if !is_name(&self.name) {
                    return Next::Other(0);
                }
                let has_text = !self.after_name.is_empty();
                self.state = if has_text { State::AfterName } else { State::BeforeArguments };
                if !c.is_whitespace() {
                    return self.push(c, told);
                }
            }
            State::Name if self.name.len() < 256 => self.name.push(c),
            State::Name => return Next::Other(0),
            State::AfterName => match self.after_name.push(c) {
                Match::More => {}
                Match::Found(0) => self.state = State::BeforeArguments,
                Match::Found(_) => {
                    self.id = Some(String::new());
                    self.state = State::Id;
                }
                Match::Other(back) => return Next::Other(back),
            },
            State::Id if Some(c) == self.stops[0] || c.is_whitespace() => {
                self.state = State::AfterId;
                return self.push(c, told);
            }
            State::Id => match &mut self.id {
                Some(id) if id.len() < MOST_ID && is_name(c.encode_utf8(&mut [0; 4])) => id.push(c),
                _ => return Next::Other(0),
            },
            State::AfterId => match self.after_id.push(c) {
                Match::More => {}
                Match::Found(_) => self.state = State::BeforeArguments,
                Match::Other(back) => return Next::Other(back),
            },
            State::BeforeArguments if c.is_whitespace() => {}
            State::BeforeArguments if c == '{' => {
                told.call = Some(self.call());
                self.state = State::Arguments;
                return self.push(c, told);
            }
            State::BeforeArguments => return Next::Other(0),
            State::Arguments => match self.arguments.push(c, &mut told.arguments) {
                JsonNext::More => {}
                JsonNext::Bad => return Next::Other(0),
                JsonNext::Done if self.after_arguments.is_empty() => return Next::Done,
                JsonNext::Done => self.state = State::AfterArguments,
            },
            State::AfterArguments => match self.after_arguments.push(c) {
                Match::More => {}
                Match::Found(_) => return Next::Done,
                Match::Other(back) => return Next::Other(back),
            },
        }
        Next::More
    }

    pub(super) fn n_held(&self) -> usize {
        self.after_arguments.n_held()
    }

    /// Name and id.
    fn call(&mut self) -> (String, Option<String>) {
        match self.name.rsplit_once(':') {
            Some((name, count)) if self.counted && count.bytes().all(|b| b.is_ascii_digit()) => {
                (name.to_owned(), Some(format!("{}{}", self.prefix, self.name)))
            }
            _ => (std::mem::take(&mut self.name), self.id.take().filter(|id| !id.is_empty())),
        }
    }
}
