//! Calls that are JSON objects.

use super::super::json_text::{JsonNext, JsonText};
use super::{Next, Told, is_name};

/// Reads `{"name": "f", "arguments": {}}`, whatever the order of the keys.
#[derive(Debug)]
pub(in super::super) struct JsonCall {
    keys: Keys,
    state: State,
    /// The text of the key or of the value that is being read.
    text: String,
    value: JsonText,
    field: Field,
    name: Option<String>,
    id: Option<String>,
    is_told: bool,
    /// Arguments that came before the name.
    early: Option<String>,
}

#[derive(Debug)]
struct Keys {
    name: String,
    arguments: String,
    id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Id,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Before a key, or the end of an empty object.
    BeforeKey,
    Key,
    Colon,
    BeforeValue,
    /// Within a string, an object or an array.
    Value,
    /// Within a number or a constant.
    Word,
    AfterValue,
}

impl JsonCall {
    pub(super) fn new(name: &str, arguments: &str, id: Option<&str>) -> JsonCall {
        JsonCall {
            keys: Keys { name: name.into(), arguments: arguments.into(), id: id.map(str::to_owned) },
            state: State::Start,
            text: String::new(),
            value: JsonText::default(),
            field: Field::Other,
            name: None,
            id: None,
            is_told: false,
            early: None,
        }
    }

    pub(super) fn push(&mut self, c: char, told: &mut Told) -> Next {
        let is_space = c.is_ascii_whitespace();
        match self.state {
            State::Start | State::BeforeKey | State::Colon | State::BeforeValue | State::AfterValue
                if is_space => {}
            State::Start if c == '{' => self.state = State::BeforeKey,
            State::BeforeKey if c == '"' => {
                self.text = String::from('"');
                self.value = JsonText::default();
                self.value.push(c, &mut String::new());
                self.state = State::Key;
            }
            State::BeforeKey | State::AfterValue if c == '}' => return self.end(told),
            State::Key => match self.value.push(c, &mut self.text) {
                JsonNext::More => {}
                JsonNext::Done => {
                    self.field = self.field_of(&unquoted(&self.text));
                    self.state = State::Colon;
                }
                JsonNext::Bad => return Next::Other(0),
            },
            State::Colon if c == ':' => self.state = State::BeforeValue,
            State::BeforeValue => return self.begin_value(c, told),
            State::Value => return self.go_on(c, told),
            State::Word if c == ',' => self.state = State::BeforeKey,
            State::Word if c == '}' => return self.end(told),
            State::Word if is_space => self.state = State::AfterValue,
            State::Word if c.is_ascii_alphanumeric() || "+-.".contains(c) => {}
            State::AfterValue if c == ',' => self.state = State::BeforeKey,
            _ => return Next::Other(0),
        }
        Next::More
    }

    fn field_of(&self, key: &str) -> Field {
        match key {
            // The other usual name of arguments is taken too, for models that mix them up.
            _ if key == self.keys.name && self.name.is_none() => Field::Name,
            _ if key == self.keys.arguments || matches!(key, "arguments" | "parameters") => {
                if self.is_told || self.early.is_some() { Field::Other } else { Field::Arguments }
            }
            _ if self.keys.id.as_deref() == Some(key) => Field::Id,
            _ => Field::Other,
        }
    }

    fn begin_value(&mut self, c: char, told: &mut Told) -> Next {
        self.text.clear();
        self.value = JsonText::default();
        match (self.field, c) {
            (Field::Name, '"') | (Field::Arguments, '{') | (Field::Id | Field::Other, '"' | '{' | '[') => {}
            (Field::Other | Field::Id, c) if c.is_ascii_alphanumeric() || c == '-' => {
                self.state = State::Word;
                return Next::More;
            }
            _ => return Next::Other(0),
        }
        self.state = State::Value;
        if self.field == Field::Arguments {
            match self.name.clone() {
                Some(name) => {
                    self.is_told = true;
                    told.call = Some((name, self.id.clone()));
                }
                None => self.early = Some(String::new()),
            }
        }
        self.go_on(c, told)
    }

    fn go_on(&mut self, c: char, told: &mut Told) -> Next {
        let out = match (self.field, &mut self.early) {
            (Field::Arguments, Some(early)) => early,
            (Field::Arguments, None) => &mut told.arguments,
            _ => &mut self.text,
        };
        match self.value.push(c, out) {
            JsonNext::More => Next::More,
            JsonNext::Bad => Next::Other(0),
            JsonNext::Done => {
                self.state = State::AfterValue;
                match self.field {
                    Field::Name => {
                        let name = unquoted(&self.text);
                        if !is_name(&name) {
                            return Next::Other(0);
                        }
                        self.tell_early(name, told);
                    }
                    Field::Id => self.id = serde_json::from_str(&self.text).ok(),
                    Field::Arguments | Field::Other => {}
                }
                Next::More
            }
        }
    }

    /// The name is known; arguments may have come before it.
    fn tell_early(&mut self, name: String, told: &mut Told) {
        if let Some(arguments) = &mut self.early {
            told.call = Some((name.clone(), self.id.clone()));
            told.arguments = std::mem::take(arguments);
            self.is_told = true;
        }
        self.name = Some(name);
    }

    /// The object ends. A call without arguments has none.
    fn end(&mut self, told: &mut Told) -> Next {
        match (self.is_told, self.name.take()) {
            (true, _) => Next::Done,
            (false, Some(name)) => {
                told.call = Some((name, self.id.take()));
                told.arguments.push_str("{}");
                Next::Done
            }
            (false, None) => Next::Other(0),
        }
    }
}

/// The text of a JSON string; empty if it is none.
fn unquoted(text: &str) -> String {
    serde_json::from_str(text).unwrap_or_default()
}
