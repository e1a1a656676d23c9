//! Functionary 3.2's answers: messages, each after the name of its recipient.

use serde_json::Value;

use super::format::{EVERYBODY, RECIPIENT};
use super::held::Held;
use super::json_text::{JsonNext, JsonText};
use super::{Piece, PieceKind};

/// Bytes of white space after a recipient's name, at most.
const MOST_SPACE: usize = 16;

/// Reads `all\ntext>>>f\n{}`. The prompt has written the `>>>` of the first message.
///
/// A message to `all` is text, one to a tool is a call if its body is a JSON object. All else is text as it was written: an
/// answer without a recipient, and code for a tool.
#[derive(Debug)]
pub(super) struct Recipients {
    /// Names of the tools.
    names: Vec<String>,
    held: Held,
    pos: usize,
    /// From here on nothing was told.
    from: usize,
    state: State,
    n_calls: u32,
}

#[derive(Debug)]
enum State {
    /// In a recipient's name, which begins at `from`, `>>>` included.
    Recipient,
    /// After the name of this tool, before its arguments; the message begins at `from`.
    Opening(String),
    /// In a text, with this many bytes at its end that may be the `>>>` of a message.
    Text(usize),
    /// In the arguments of this call.
    Call(JsonText, u32),
    /// After the arguments of this call.
    After(u32),
}

impl Recipients {
    pub(super) fn new(tools: Vec<(String, Value)>) -> Recipients {
        Recipients {
            names: tools.into_iter().map(|(name, _)| name).collect(),
            held: Held::default(),
            pos: 0,
            from: 0,
            state: State::Recipient,
            n_calls: 0,
        }
    }

    pub(super) fn push(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        self.held.begin(text, pieces);
        while let Some(c) = self.held.text[self.pos..].chars().next() {
            self.state = match std::mem::replace(&mut self.state, State::Recipient) {
                State::Recipient => self.read_recipient(c),
                State::Opening(name) => self.read_opening(c, name, pieces),
                State::Text(n_mark) => self.read_text(c, n_mark, pieces),
                State::Call(json, index) => self.read_call(c, json, index, pieces),
                State::After(index) => self.read_after(c, index, pieces),
            };
        }
        if let State::Text(n_mark) = self.state {
            self.tell_text(self.pos - n_mark, pieces);
        }
        self.held.forget(self.from);
        self.pos -= self.from;
        self.from = 0;
    }

    pub(super) fn finish(&mut self, pieces: &mut Vec<Piece>) {
        self.held.begin("", pieces);
        let end = self.held.text.len();
        match self.state {
            State::Call(_, index) | State::After(index) => {
                self.held.tell(PieceKind::Arguments { index }, "", end, pieces);
            }
            _ => self.tell_text(end, pieces),
        }
        // The `all` of a text that is empty.
        self.held.tell(PieceKind::Text, "", end, pieces);
        (self.from, self.pos) = (end, end);
    }

    fn tell_text(&mut self, end: usize, pieces: &mut Vec<Piece>) {
        if end > self.from {
            self.held.tell_text(PieceKind::Text, self.from, end, pieces);
            self.from = end;
        }
    }

    fn read_recipient(&mut self, c: char) -> State {
        let before = &self.held.text[self.from..self.pos];
        let end = self.pos + c.len_utf8();
        let header = &self.held.text[self.from..end];
        let name = header.strip_prefix(RECIPIENT).unwrap_or(header);
        if c == '\n' {
            let name = name.trim_end();
            if name == EVERYBODY {
                self.pos = end;
                self.from = end;
                return State::Text(0);
            }
            if let Some(name) = self.names.iter().find(|tool| *tool == name) {
                self.pos = end;
                return State::Opening(name.clone());
            }
            return State::Text(0);
        }
        let may_be = |known: &str| {
            known.starts_with(name) || name.trim_end() == known && name.len() <= known.len() + MOST_SPACE
        };
        if RECIPIENT.starts_with(header) || may_be(EVERYBODY) || self.names.iter().any(|tool| may_be(tool)) {
            self.pos = end;
            return State::Recipient;
        }
        // Of four `>`, the last three may begin a message.
        State::Text(if before == RECIPIENT && c == '>' { RECIPIENT.len() } else { 0 })
    }

    fn read_opening(&mut self, c: char, name: String, pieces: &mut Vec<Piece>) -> State {
        match c {
            '{' => {
                let index = self.n_calls;
                self.n_calls += 1;
                self.held.tell(PieceKind::ToolCall { index, id: None, name }, "", self.pos, pieces);
                self.from = self.pos;
                State::Call(JsonText::default(), index)
            }
            c if c.is_whitespace() => {
                self.pos += c.len_utf8();
                State::Opening(name)
            }
            _ => State::Text(0),
        }
    }

    fn read_text(&mut self, c: char, n_mark: usize, pieces: &mut Vec<Piece>) -> State {
        if n_mark == RECIPIENT.len() && c != '>' {
            self.tell_text(self.pos - n_mark, pieces);
            return self.read_recipient(c);
        }
        self.pos += c.len_utf8();
        State::Text(if c == '>' { (n_mark + 1).min(RECIPIENT.len()) } else { 0 })
    }

    fn read_call(&mut self, c: char, mut json: JsonText, index: u32, pieces: &mut Vec<Piece>) -> State {
        let mut text = String::new();
        let next = json.push(c, &mut text);
        if next == JsonNext::Bad {
            return State::Text(0);
        }
        self.pos += c.len_utf8();
        self.held.tell(PieceKind::Arguments { index }, &text, self.pos, pieces);
        self.from = self.pos;
        if next == JsonNext::Done { State::After(index) } else { State::Call(json, index) }
    }

    /// White space after a call is of no account.
    fn read_after(&mut self, c: char, index: u32, pieces: &mut Vec<Piece>) -> State {
        if !c.is_whitespace() {
            return State::Text(0);
        }
        self.pos += c.len_utf8();
        self.held.tell(PieceKind::Arguments { index }, "", self.pos, pieces);
        self.from = self.pos;
        State::After(index)
    }
}
