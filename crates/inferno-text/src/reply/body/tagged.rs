//! Calls whose arguments are in tags.

use serde_json::Value;

use super::super::format::TaggedCall;
use super::super::json_text::{push_escaped, push_quoted, push_word};
use super::{Expected, Match, Next, Told, Tools, is_name};

/// Reads `<function=f><parameter=a>1</parameter></function>` and its kin.
#[derive(Debug)]
pub(in super::super) struct TaggedReader {
    tags: TaggedCall,
    state: State,
    expected: Expected,
    name: String,
    key: String,
    /// The word that says whether the value is a string, in formats that do.
    type_word: String,
    n_arguments: usize,
    is_told: bool,
    value: ValueText,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeName,
    Name,
    AfterName,
    /// Before a tag of an argument, or of the end.
    Between,
    Key,
    AfterKey,
    Type,
    AfterType,
    Value,
}

/// The value of an argument.
#[derive(Debug, Default)]
struct ValueText {
    kind: Kind,
    /// The text of a value that is no string for certain.
    text: String,
    /// Bytes that have come of the closing tag.
    n_closing: usize,
    is_at_start: bool,
    /// A line break that may be the one before the closing tag.
    has_break: bool,
}

/// Types that a value may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    Text,
    Json,
    #[default]
    Either,
}

impl TaggedReader {
    pub(super) fn new(tags: &TaggedCall) -> TaggedReader {
        let mut reader = TaggedReader {
            tags: tags.clone(),
            state: State::BeforeName,
            expected: Expected::new([&tags.before_name]),
            name: String::new(),
            key: String::new(),
            type_word: String::new(),
            n_arguments: 0,
            is_told: false,
            value: ValueText::default(),
        };
        if reader.expected.is_empty() {
            reader.state = State::Name;
        }
        reader
    }

    pub(super) fn n_held(&self) -> usize {
        self.expected.n_held()
    }

    pub(super) fn push(&mut self, c: char, tools: &Tools, told: &mut Told) -> Next {
        match self.state {
            State::BeforeName | State::AfterName | State::AfterKey | State::AfterType | State::Between => {
                return match self.expected.push(c) {
                    Match::More => Next::More,
                    Match::Found(index) => self.found(index, tools, told),
                    Match::Other(back) => Next::Other(back),
                };
            }
            State::Name if self.name.is_empty() && c.is_whitespace() => {}
            State::Name if ends_name(c, &self.tags.after_name) => {
                if !is_name(&self.name) {
                    return Next::Other(0);
                }
                self.expected = Expected::new([&self.tags.after_name]);
                self.state = State::AfterName;
                if self.expected.is_empty() {
                    self.expect_argument();
                }
                return self.push(c, tools, told);
            }
            State::Name if self.name.len() < 256 => self.name.push(c),
            State::Name => return Next::Other(0),
            State::Key if self.tags.after_key.trim_start().starts_with(c) => {
                self.expected = Expected::new([&self.tags.after_key]);
                self.state = State::AfterKey;
                return self.push(c, tools, told);
            }
            State::Key if self.key.len() < 1024 => self.key.push(c),
            State::Key => return Next::Other(0),
            State::Type if self.tags.after_type.starts_with(c) => {
                self.expected = Expected::new([&self.tags.after_type]);
                self.state = State::AfterType;
                return self.push(c, tools, told);
            }
            State::Type if self.type_word.len() < 32 => self.type_word.push(c),
            State::Type => return Next::Other(0),
            State::Value => {
                let closing = self.tags.after_value.trim();
                if self.value.push(c, closing, self.tags.lines, &mut told.arguments) {
                    self.expect_argument();
                }
            }
        }
        Next::More
    }

    /// A tag is complete.
    fn found(&mut self, index: usize, tools: &Tools, told: &mut Told) -> Next {
        match self.state {
            State::BeforeName => self.state = State::Name,
            State::AfterName => self.expect_argument(),
            State::Between => {
                if !self.is_told {
                    self.is_told = true;
                    told.call = Some((self.name.clone(), None));
                    told.arguments.push('{');
                }
                if index == 1 {
                    told.arguments.push('}');
                    return Next::Done;
                }
                self.key.clear();
                self.state = State::Key;
            }
            State::AfterKey if !self.tags.after_type.is_empty() => {
                self.type_word.clear();
                self.state = State::Type;
            }
            _ => {
                let kind = match &*self.type_word {
                    "true" => Kind::Text,
                    "false" => Kind::Json,
                    _ => kind_of(tools, &self.name, self.key.trim()),
                };
                self.value = ValueText { kind, is_at_start: true, ..ValueText::default() };
                told.arguments.push_str(if self.n_arguments > 0 { ", " } else { "" });
                push_quoted(self.key.trim(), &mut told.arguments);
                told.arguments.push_str(": ");
                told.arguments.push_str(if kind == Kind::Text { "\"" } else { "" });
                self.n_arguments += 1;
                self.state = State::Value;
            }
        }
        Next::More
    }

    fn expect_argument(&mut self) {
        self.expected = Expected::new([&self.tags.before_key, &self.tags.end]);
        self.state = State::Between;
    }
}

impl ValueText {
    /// Takes a character of the value or of its closing tag, and returns whether the tag is complete.
    fn push(&mut self, c: char, closing: &str, lines: bool, out: &mut String) -> bool {
        if closing[self.n_closing..].starts_with(c) {
            self.n_closing += c.len_utf8();
            if self.n_closing < closing.len() {
                return false;
            }
            self.end(out);
            return true;
        }
        let begun = &closing[..std::mem::take(&mut self.n_closing)];
        // The first character of a closing tag is in it once: after a wrong one it may begin again at that character.
        begun.chars().for_each(|c| self.push_value(c, lines, out));
        if closing.starts_with(c) {
            self.n_closing = c.len_utf8();
        } else {
            self.push_value(c, lines, out);
        }
        false
    }

    fn push_value(&mut self, c: char, lines: bool, out: &mut String) {
        let is_first = std::mem::take(&mut self.is_at_start);
        if lines && c == '\n' {
            if !is_first {
                self.flush_break(out);
                self.has_break = true;
            }
            return;
        }
        self.flush_break(out);
        self.push_text(c, out);
    }

    fn flush_break(&mut self, out: &mut String) {
        if std::mem::take(&mut self.has_break) {
            self.push_text('\n', out);
        }
    }

    fn push_text(&mut self, c: char, out: &mut String) {
        if self.kind == Kind::Text { push_escaped(c, out) } else { self.text.push(c) }
    }

    fn end(&mut self, out: &mut String) {
        let text = self.text.trim();
        match self.kind {
            Kind::Text => out.push('"'),
            Kind::Json if matches!(text, "True" | "False" | "None") => push_word(text, out),
            Kind::Json | Kind::Either => match serde_json::from_str::<Value>(text) {
                Ok(_) if !text.starts_with('"') || self.kind == Kind::Json => out.push_str(text),
                _ => push_quoted(&self.text, out),
            },
        }
    }
}

/// Whether `c` ends a function's name before `after`.
fn ends_name(c: char, after: &str) -> bool {
    c.is_whitespace() || after.trim_start().starts_with(c) || c == '<'
}

/// Types that the schema of a function's parameters allows for one.
fn kind_of(tools: &Tools, name: &str, key: &str) -> Kind {
    let schema = tools.iter().find(|(tool, _)| tool == name).map(|(_, schema)| &schema["properties"][key]);
    schema.map_or(Kind::Either, kind_of_schema)
}

fn kind_of_schema(schema: &Value) -> Kind {
    let all = |values: &[Value], kind: &dyn Fn(&Value) -> Kind| {
        let mut kinds = values.iter().map(kind);
        let Some(first) = kinds.next() else { return Kind::Either };
        if kinds.all(|kind| kind == first) { first } else { Kind::Either }
    };
    let of_type = |kind: &Value| match kind.as_str() {
        Some("string") => Kind::Text,
        Some(_) => Kind::Json,
        None => Kind::Either,
    };
    let of_value = |value: &Value| if value.is_string() { Kind::Text } else { Kind::Json };
    if let Some(values) = schema["enum"].as_array() {
        return all(values, &of_value);
    }
    if let Some(value) = schema.get("const") {
        return of_value(value);
    }
    match &schema["type"] {
        Value::Array(types) => return all(types, &of_type),
        Value::Null => {}
        kind => return of_type(kind),
    }
    let of_any = ["anyOf", "oneOf"].into_iter().find_map(|key| schema[key].as_array());
    of_any.map_or(Kind::Either, |schemas| all(schemas, &kind_of_schema))
}
