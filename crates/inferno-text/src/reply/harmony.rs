//! gpt-oss' answers: messages with a channel and a recipient.

use super::body::is_name;
use super::held::Held;
use super::json_text::{JsonNext, JsonText};
use super::{Piece, PieceKind, ReplyStart};

/// Bytes of a message's header at most: what is longer is text.
const MOST_HEADER: usize = 400;
/// Texts that a header begins with. The prompt has written `<|start|>assistant`.
const HEADERS: [&str; 4] = ["<|channel|>", "<|start|>", "to=", "assistant"];
/// Texts that end a message's body.
const ENDS: [&str; 5] = ["<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"];

/// Reads `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`.
#[derive(Debug)]
pub(super) struct Harmony {
    start: ReplyStart,
    held: Held,
    pos: usize,
    /// From here on nothing was told.
    from: usize,
    state: State,
    n_calls: u32,
}

#[derive(Debug)]
enum State {
    /// In a header, which begins at `from`.
    Header,
    /// In a body of this kind; bytes of what may be its end.
    Body(Kind, usize),
    Call(JsonText, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
}

impl Harmony {
    pub(super) fn new(start: ReplyStart) -> Harmony {
        let state = match start.in_reasoning && start.splits_reasoning {
            true => State::Body(Kind::Reasoning, 0),
            false => State::Header,
        };
        Harmony { start, held: Held::default(), pos: 0, from: 0, state, n_calls: 0 }
    }

    pub(super) fn push(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        self.held.begin(text, pieces);
        while let Some(c) = self.held.text[self.pos..].chars().next() {
            match std::mem::replace(&mut self.state, State::Header) {
                State::Header => self.read_header(c, pieces),
                State::Body(kind, n_end) => self.read_body(c, kind, n_end, pieces),
                State::Call(json, index) => self.read_call(c, json, index, pieces),
            }
        }
        if let State::Body(kind, n_end) = self.state {
            self.tell_body(kind, self.pos - n_end, pieces);
        }
        self.held.forget(self.from);
        self.pos -= self.from;
        self.from = 0;
    }

    pub(super) fn finish(&mut self, pieces: &mut Vec<Piece>) {
        self.held.begin("", pieces);
        let end = self.held.text.len();
        let kind = match self.state {
            State::Body(kind, _) => kind,
            _ => Kind::Text,
        };
        self.tell_body(kind, end, pieces);
        // A header without a body.
        let kind = if kind == Kind::Text { PieceKind::Text } else { PieceKind::Reasoning };
        self.held.tell(kind, "", end, pieces);
        self.pos = end;
    }

    fn tell_body(&mut self, kind: Kind, end: usize, pieces: &mut Vec<Piece>) {
        let kind = match kind {
            Kind::Text => PieceKind::Text,
            Kind::Reasoning => PieceKind::Reasoning,
        };
        if end > self.from {
            self.held.tell_text(kind, self.from, end, pieces);
            self.from = end;
        }
    }

    fn read_header(&mut self, c: char, pieces: &mut Vec<Piece>) {
        self.pos += c.len_utf8();
        let header = &self.held.text[self.from..self.pos];
        if let Some(header) = header.strip_suffix("<|message|>") {
            let header = header.to_owned();
            return self.begin_body(&header, pieces);
        }
        let shown = header.trim_start();
        let may_be = HEADERS.iter().any(|text| text.starts_with(shown) || shown.starts_with(text));
        if may_be && header.len() <= MOST_HEADER {
            self.state = State::Header;
        } else {
            // No header: text, in which one may begin with this character.
            self.pos -= c.len_utf8();
            self.state = State::Body(Kind::Text, 0);
            self.tell_body(Kind::Text, self.pos, pieces);
            if !ENDS.iter().any(|end| end.starts_with(c)) {
                self.pos += c.len_utf8();
            }
        }
    }

    fn begin_body(&mut self, header: &str, pieces: &mut Vec<Piece>) {
        let channel = after(header, "<|channel|>").unwrap_or_default();
        let recipient = after(header, "to=");
        let name = recipient.and_then(|to| to.strip_prefix("functions.")).filter(|name| is_name(name));
        if let Some(name) = name.filter(|_| !self.start.tools.is_empty()) {
            let call = PieceKind::ToolCall { index: self.n_calls, id: None, name: name.to_owned() };
            self.held.tell(call, "", self.pos, pieces);
            self.from = self.pos;
            self.state = State::Call(JsonText::default(), self.n_calls);
            self.n_calls += 1;
            return;
        }
        let kind =
            if channel == "analysis" && self.start.splits_reasoning { Kind::Reasoning } else { Kind::Text };
        let is_shown = recipient.is_some() || (channel == "analysis" && kind == Kind::Text);
        if !is_shown {
            self.from = self.pos;
        }
        self.state = State::Body(kind, 0);
    }

    fn read_body(&mut self, c: char, kind: Kind, n_end: usize, pieces: &mut Vec<Piece>) {
        self.pos += c.len_utf8();
        let begun = &self.held.text[self.pos - n_end - c.len_utf8()..self.pos];
        if let Some(end) = ENDS.iter().find(|end| **end == begun) {
            let start = self.pos - end.len();
            self.tell_body(kind, start, pieces);
            // A header's first text stays a part of it.
            if matches!(*end, "<|start|>" | "<|channel|>") {
                self.state = State::Header;
            } else {
                let kind = if kind == Kind::Text { PieceKind::Text } else { PieceKind::Reasoning };
                self.held.tell(kind, "", self.pos, pieces);
                self.from = self.pos;
                self.state = State::Body(Kind::Text, 0);
            }
            return;
        }
        let n_end = match ENDS.iter().any(|end| end.starts_with(begun)) {
            true => begun.len(),
            // The first character of an end is in it once.
            false if c == '<' => 1,
            false => 0,
        };
        self.state = State::Body(kind, n_end);
    }

    fn read_call(&mut self, c: char, mut json: JsonText, index: u32, pieces: &mut Vec<Piece>) {
        let mut text = String::new();
        let next = json.push(c, &mut text);
        let kind = PieceKind::Arguments { index };
        match next {
            JsonNext::Bad => self.state = State::Body(Kind::Text, 0),
            JsonNext::More | JsonNext::Done => {
                self.pos += c.len_utf8();
                self.held.tell(kind, &text, self.pos, pieces);
                self.from = self.pos;
                self.state = match next {
                    JsonNext::More => State::Call(json, index),
                    _ => State::Body(Kind::Text, 0),
                };
            }
        }
    }
}

/// The word after a text.
fn after<'h>(header: &'h str, text: &str) -> Option<&'h str> {
    let start = header.find(text)? + text.len();
    let rest = header[start..].trim_start();
    let end = rest.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(rest.len());
    Some(&rest[..end])
}
