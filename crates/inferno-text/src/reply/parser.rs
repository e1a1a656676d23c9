//! Splits an answer into text, reasoning and calls, character by character.

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};

use super::body::{Body, Expected, Match, Next, Told, is_name};
use super::format::{CallBody, CallSyntax, ReplyFormat};
use super::harmony::Harmony;
use super::held::Held;
use super::recipients::Recipients;
use super::{Piece, PieceKind, ReplyStart};
use crate::stop::Finder;

/// White space that is held back at most, in bytes, as it may be a part of a mark.
const MOST_SPACE: usize = 64;

/// Splits an answer into its parts while it comes, however its text is cut. Nothing of it is lost: what is no whole mark or
/// no whole call is text.
///
/// - Reasoning opens where the prompt opened it, or with its mark at the answer's beginning or after a call. An answer that
///   ends within it was reasoning to its end; a call within it ends it.
/// - A call is told once its name is known and its arguments begin; its arguments follow as they come, as JSON. What was
///   told stays a call with the arguments so far, whether the answer ends there or goes on with something else, which is
///   text. Before that it is text.
/// - Calls between marks may name any function; calls without marks (Llama's JSON, Python's lists, Functionary's messages)
///   only one of the tools.
/// - White space next to marks is a part of them.
#[derive(Debug)]
pub struct ReplyParser {
    state: Parser,
}

#[derive(Debug)]
enum Parser {
    Marked(Box<Marked>),
    Harmony(Box<Harmony>),
    Recipients(Box<Recipients>),
}

impl ReplyParser {
    /// For one answer.
    pub fn new(format: &ReplyFormat, start: ReplyStart) -> ReplyParser {
        let state = match format.calls.body {
            CallBody::Harmony => Parser::Harmony(Box::new(Harmony::new(start))),
            CallBody::Recipients => Parser::Recipients(Box::new(Recipients::new(start.tools))),
            _ => Parser::Marked(Box::new(Marked::new(format, start))),
        };
        ReplyParser { state }
    }

    /// Takes the next text, and appends the pieces that are certain to `pieces`.
    pub fn push(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        match &mut self.state {
            Parser::Marked(parser) => parser.push(text, pieces),
            Parser::Harmony(parser) => parser.push(text, pieces),
            Parser::Recipients(parser) => parser.push(text, pieces),
        }
    }

    /// The answer has ended: appends what was held back.
    pub fn finish(&mut self, pieces: &mut Vec<Piece>) {
        match &mut self.state {
            Parser::Marked(parser) => parser.finish(pieces),
            Parser::Harmony(parser) => parser.finish(pieces),
            Parser::Recipients(parser) => parser.finish(pieces),
        }
    }
}

/// Meanings of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    ReasoningBegin,
    ReasoningEnd,
    SectionBegin,
    CallBegin,
    /// The first text of a call that has no mark before it.
    BodyBegin,
}

/// The parser of all formats with marks.
#[derive(Debug)]
struct Marked {
    calls: CallSyntax,
    tools: Vec<(String, serde_json::Value)>,
    splits_reasoning: bool,
    marks: Vec<Mark>,
    finder: Option<Finder>,
    held: Held,
    /// Up to here `held` was read, in bytes.
    pos: usize,
    /// From here on its text was not told.
    from: usize,
    state: State,
    in_reasoning: bool,
    /// Whether nothing but white space has come since the answer or the part began.
    is_fresh: bool,
    /// Whether white space at the beginning is dropped.
    skips_space: bool,
    n_calls: u32,
}

#[derive(Debug)]
enum State {
    /// In text or reasoning; the automaton's state.
    Plain(StateID),
    /// After a mark: the texts that must come before the call itself.
    Opening(Vec<Expected>),
    Body(Box<Body>, Option<u32>),
    /// After a call: the ends of calls and sections, and the beginnings of more.
    Between(Expected, bool),
}

impl Marked {
    fn new(format: &ReplyFormat, start: ReplyStart) -> Marked {
        let calls = format.calls.clone();
        let mut marks = Vec::new();
        let mut add = |text: &str, mark: Mark| {
            let text = text.trim();
            if !text.is_empty() && marks.iter().all(|(other, _): &(String, Mark)| other != text) {
                marks.push((text.to_owned(), mark));
            }
        };
        if let Some(reasoning) = format.reasoning.as_ref().filter(|_| start.splits_reasoning) {
            add(&reasoning.begin, Mark::ReasoningBegin);
            add(&reasoning.end, Mark::ReasoningEnd);
        }
        if !start.tools.is_empty() {
            add(&calls.section_begin, Mark::SectionBegin);
            add(&calls.call_begin, Mark::CallBegin);
            match &calls.body {
                CallBody::Named { before_name, .. } if calls.call_begin.is_empty() => {
                    add(before_name, Mark::BodyBegin);
                }
                // A model may forget the text before: the tag says enough.
                CallBody::Tagged(tags) => add(&tags.before_name, Mark::BodyBegin),
                _ => {}
            }
        }
        let (texts, marks): (Vec<String>, Vec<Mark>) = marks.into_iter().unzip();
        let finder = (!texts.is_empty()).then(|| Finder::new(&texts));
        let in_reasoning = start.in_reasoning && start.splits_reasoning && format.reasoning.is_some();
        let mut parser = Marked {
            calls,
            tools: start.tools,
            splits_reasoning: start.splits_reasoning && format.reasoning.is_some(),
            marks,
            finder,
            held: Held::default(),
            pos: 0,
            from: 0,
            state: State::Plain(StateID::ZERO),
            in_reasoning,
            is_fresh: true,
            skips_space: in_reasoning,
            n_calls: 0,
        };
        parser.state = parser.plain();
        parser
    }

    fn plain(&self) -> State {
        State::Plain(self.finder.as_ref().map_or(StateID::ZERO, Finder::start))
    }

    fn kind(&self) -> PieceKind {
        if self.in_reasoning { PieceKind::Reasoning } else { PieceKind::Text }
    }

    fn push(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        self.held.begin(text, pieces);
        self.read(pieces);
        if let State::Plain(state) = self.state {
            self.tell_plain(state, pieces);
        }
        // Nothing before `from` is looked at again; of a call that was told, nothing before the mark that has begun.
        if let State::Body(body, Some(_)) = &self.state {
            self.from = self.pos - body.n_held();
        }
        self.held.forget(self.from);
        self.pos -= self.from;
        self.from = 0;
    }

    fn finish(&mut self, pieces: &mut Vec<Piece>) {
        self.held.begin("", pieces);
        let end = self.held.text.len();
        if let State::Body(_, Some(index)) = self.state {
            self.held.tell(PieceKind::Arguments { index }, "", end, pieces);
        } else {
            let drops = self.skips_space && self.is_fresh && self.held.text[self.from..].trim().is_empty();
            let from = if drops { end } else { self.from };
            self.held.tell_text(self.kind(), from, end, pieces);
        }
        (self.from, self.pos) = (end, end);
    }

    fn read(&mut self, pieces: &mut Vec<Piece>) {
        while let Some(c) = self.held.text[self.pos..].chars().next() {
            match std::mem::replace(&mut self.state, State::Plain(StateID::ZERO)) {
                State::Plain(state) => self.read_plain(c, state, pieces),
                State::Opening(expected) => self.read_opening(c, expected, pieces),
                State::Body(body, index) => self.read_body(c, body, index, pieces),
                State::Between(expected, in_section) => self.read_between(c, expected, in_section, pieces),
            }
        }
    }

    fn read_plain(&mut self, c: char, mut state: StateID, pieces: &mut Vec<Piece>) {
        if self.begins_bare(c) {
            let opening = if self.calls.list { vec![Expected::new(["["])] } else { Vec::new() };
            return self.open(opening);
        }
        let start = self.pos;
        self.pos += c.len_utf8();
        if self.skips_space && c.is_whitespace() && self.from == start {
            self.from = self.pos;
        } else if !c.is_whitespace() {
            self.skips_space = false;
        }
        let mut found = None;
        if let Some(finder) = &self.finder {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                state = finder.automaton.next_state(Anchored::No, state, byte);
                found = found.or_else(|| finder.found(state));
            }
        }
        self.state = State::Plain(state);
        if let Some((index, n_bytes)) = found {
            self.state = self.plain();
            self.read_mark(self.marks[index], n_bytes, pieces);
        }
    }

    /// Whether a call without marks may begin here, at the answer's first character.
    fn begins_bare(&self, c: char) -> bool {
        let first = match (&self.calls.body, self.calls.list) {
            (_, true) => '[',
            _ => '{',
        };
        self.calls.bare
            && c == first
            && self.is_fresh
            && !self.in_reasoning
            && !self.tools.is_empty()
            && self.held.text[self.from..self.pos].trim().is_empty()
    }

    fn read_mark(&mut self, mark: Mark, n_bytes: usize, pieces: &mut Vec<Piece>) {
        let start = self.pos - n_bytes;
        if start < self.from {
            return;
        }
        let before = self.held.text[self.from..start].trim_end().len() + self.from;
        let is_first = self.is_fresh && before == self.from;
        match mark {
            Mark::ReasoningBegin if is_first => {
                // A model may write the mark though the prompt has it.
                (self.from, self.in_reasoning, self.skips_space) = (self.pos, true, true);
            }
            Mark::ReasoningEnd if self.in_reasoning => {
                self.held.tell_text(PieceKind::Reasoning, self.from, before, pieces);
                self.held.tell(PieceKind::Reasoning, "", self.pos, pieces);
                self.begin_part();
            }
            Mark::ReasoningBegin | Mark::ReasoningEnd => {}
            Mark::SectionBegin | Mark::CallBegin | Mark::BodyBegin => {
                self.held.tell_text(self.kind(), self.from, before, pieces);
                self.is_fresh &= before == self.from;
                self.from = before;
                let mut opening = Vec::new();
                if mark == Mark::SectionBegin {
                    if self.calls.list {
                        opening.push(Expected::new(["["]));
                    }
                    opening.push(Expected::new([&self.calls.call_begin]));
                }
                if mark == Mark::BodyBegin {
                    // The mark is the body's first text.
                    self.pos = start;
                }
                opening.retain(|expected| !expected.is_empty());
                self.open(opening);
            }
        }
    }

    /// Text begins: after reasoning, or after calls.
    fn begin_part(&mut self) {
        self.in_reasoning = false;
        (self.from, self.is_fresh, self.skips_space) = (self.pos, true, true);
    }

    /// A call may begin.
    fn open(&mut self, opening: Vec<Expected>) {
        self.state = match Body::new(&self.calls.body) {
            Some(body) if opening.is_empty() => State::Body(Box::new(body), None),
            _ => State::Opening(opening),
        };
    }

    /// No call came: what was read is text, and the last `back` bytes may begin something else.
    fn give_up(&mut self, back: usize) {
        self.pos -= back;
        self.is_fresh = false;
        self.skips_space = false;
        self.state = self.plain();
    }

    fn read_opening(&mut self, c: char, mut expected: Vec<Expected>, _pieces: &mut [Piece]) {
        match expected[0].push(c) {
            Match::More => {
                self.pos += c.len_utf8();
                self.state = State::Opening(expected);
            }
            Match::Found(_) => {
                self.pos += c.len_utf8();
                expected.remove(0);
                self.open(expected);
            }
            Match::Other(back) => self.give_up(back),
        }
    }

    fn read_body(&mut self, c: char, mut body: Box<Body>, index: Option<u32>, pieces: &mut Vec<Piece>) {
        let mut told = Told::default();
        let next = body.push(c, &self.tools, &mut told);
        let end = match next {
            Next::More | Next::Done => self.pos + c.len_utf8(),
            Next::Other(back) if index.is_some() => self.pos - back,
            Next::Other(back) => return self.give_up(back),
        };
        let mut index = index;
        if let Some((name, id)) = told.call {
            let has_marks = !self.calls.bare;
            if !is_name(&name) || !(has_marks || self.tools.iter().any(|(tool, _)| *tool == name)) {
                self.pos = end;
                return self.give_up(0);
            }
            let call = PieceKind::ToolCall { index: self.n_calls, id, name };
            self.held.tell(call, "", end.saturating_sub(c.len_utf8()).max(self.from), pieces);
            index = Some(self.n_calls);
            self.n_calls += 1;
            // A call ends the reasoning.
            self.in_reasoning = false;
        }
        if let Some(index) = index.filter(|_| !told.arguments.is_empty()) {
            self.held.tell(PieceKind::Arguments { index }, &told.arguments, end, pieces);
        }
        self.pos = end;
        self.state = match next {
            Next::More => State::Body(body, index),
            _ => {
                if let Some(index) = index {
                    self.held.tell(PieceKind::Arguments { index }, "", end, pieces);
                }
                self.begin_part();
                let in_section = self.calls.section_begin.is_empty();
                self.between(!in_section)
            }
        };
    }

    fn between(&self, in_section: bool) -> State {
        let separator = if self.calls.list || self.calls.bare { [",", ";"] } else { ["", ""] };
        let end_of_list = if self.calls.list { "]" } else { "" };
        let texts = [
            &*self.calls.call_end,
            &self.calls.section_end,
            end_of_list,
            separator[0],
            separator[1],
            &self.calls.call_begin,
            &self.calls.section_begin,
            self.first_text(),
        ];
        State::Between(Expected::new(texts), in_section)
    }

    fn read_between(&mut self, c: char, mut expected: Expected, in_section: bool, pieces: &mut Vec<Piece>) {
        if !expected.has_begun() && self.begins_next(c) {
            return self.open(Vec::new());
        }
        let index = self.n_calls.saturating_sub(1);
        match expected.push(c) {
            Match::More => {
                self.pos += c.len_utf8();
                self.state = State::Between(expected, in_section);
            }
            Match::Found(text) => {
                self.pos += c.len_utf8();
                match text {
                    0..=2 => {
                        self.held.tell(PieceKind::Arguments { index }, "", self.pos, pieces);
                        self.begin_part();
                        self.state = match text {
                            1 => self.plain(),
                            _ => self.between(in_section),
                        };
                    }
                    3 | 4 => self.state = self.between(in_section),
                    5 => self.open(Vec::new()),
                    7 => {
                        self.open(Vec::new());
                        let first = self.first_text().to_owned();
                        if let State::Body(body, _) = &mut self.state {
                            for c in first.chars() {
                                body.push(c, &self.tools, &mut Told::default());
                            }
                        }
                    }
                    _ => {
                        let mut opening = Vec::new();
                        if self.calls.list {
                            opening.push(Expected::new(["["]));
                        }
                        opening.push(Expected::new([&self.calls.call_begin]));
                        opening.retain(|expected| !expected.is_empty());
                        self.open(opening);
                    }
                }
            }
            Match::Other(back) => {
                self.pos -= back;
                self.state = self.plain();
                // White space after a call is the mark's, unless something but text follows.
                let n_space = self.held.text[self.from..self.pos].len()
                    - self.held.text[self.from..self.pos].trim_start().len();
                self.from += n_space;
            }
        }
    }

    /// Whether a call without a mark of its own begins with this character.
    fn begins_next(&self, c: char) -> bool {
        let has_mark = !self.calls.call_begin.trim().is_empty();
        !has_mark
            && match &self.calls.body {
                CallBody::Json { .. } => c == '{',
                CallBody::Python => c.is_alphabetic() || c == '_',
                _ => false,
            }
    }

    /// First text of a call's body, where it has no mark before it.
    fn first_text(&self) -> &str {
        match &self.calls.body {
            _ if !self.calls.call_begin.is_empty() => "",
            CallBody::Named { before_name, .. } => before_name,
            CallBody::Tagged(tags) => &tags.before_name,
            _ => "",
        }
    }

    /// Tells the text that is certain: all but what may begin a mark, and the white space before it.
    fn tell_plain(&mut self, state: StateID, pieces: &mut Vec<Piece>) {
        let depth = self.finder.as_ref().map_or(0, |finder| finder.depth(state));
        let end = (self.pos - depth).max(self.from);
        let text = &self.held.text[self.from..end];
        let holds_space = self.finder.is_some() && (self.in_reasoning || !self.tools.is_empty());
        let tail = text.len().saturating_sub(MOST_SPACE);
        let tail = (tail..=text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len());
        let kept = if holds_space { tail + text[tail..].trim_end().len() } else { text.len() };
        if self.is_fresh && self.splits_reasoning && text.len() <= MOST_SPACE && text.trim().is_empty() {
            return;
        }
        let end = self.from + kept;
        if end > self.from {
            self.held.tell_text(self.kind(), self.from, end, pieces);
            self.from = end;
            self.is_fresh = false;
        }
    }
}
