//! Reasoning before an answer: free text up to its end mark, within a budget, and the answer's grammar behind it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use inferno_engine::{Grammar, TokenMask};
use inferno_text::{ReasoningMarks, ReplyFormat, Special, Tokenizer};

use crate::compiler::Compiled;
use crate::constraint::{Closing, Constraint};

/// Circumstances that decide whether reasoning needs rules.
#[derive(Debug, Clone, Copy)]
pub struct ReasoningCase {
    /// Whether the prompt has opened reasoning.
    pub in_reasoning: bool,
    /// Whether the model knows the marks, and its answer begins here, so that it may open reasoning itself.
    pub can_open: bool,
    /// Whether the model was told to reason, if anything was said.
    pub is_enabled: Option<bool>,
    /// Tokens of reasoning, at most.
    pub budget: Option<usize>,
    /// Whether the answer after it has a grammar.
    pub has_grammar: bool,
}

impl ReasoningCase {
    /// Whether it needs [`ReasoningRules`]: it may come, and has a budget or a grammar behind it. A model that opens its
    /// reasoning itself does so before a form where it was told to reason, and is held to the form from the first token on
    /// where it was not.
    pub fn needs_rules(&self) -> bool {
        let is_told = self.is_enabled == Some(true) || self.budget.is_some_and(|budget| budget > 0);
        let may_come = self.in_reasoning || self.can_open && is_told || self.budget == Some(0);
        may_come && (self.has_grammar || self.budget.is_some())
    }
}

/// Rules of the reasoning before the answers to one request.
#[derive(Debug, Clone)]
pub struct ReasoningRules {
    tokenizer: Arc<Tokenizer>,
    /// Text and tokens that open it.
    begin: String,
    begin_tokens: Vec<u32>,
    /// Text that ends it.
    end: String,
    /// Text from the end mark on, up to the answer.
    close: String,
    close_tokens: Vec<u32>,
    in_reasoning: bool,
    budget: Option<usize>,
    /// Tokens that begin a call, which would end it.
    banned: Vec<u32>,
}

impl ReasoningRules {
    /// Rules for a model that marks its reasoning with `marks`. `in_reasoning`: the prompt has opened it. With a `budget`, the
    /// tokens of the end mark follow that many tokens of reasoning.
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        marks: &ReasoningMarks,
        in_reasoning: bool,
        budget: Option<usize>,
    ) -> ReasoningRules {
        let begin = marks.begin.trim().to_owned();
        let close = if marks.close.is_empty() { marks.end.clone() } else { marks.close.clone() };
        ReasoningRules {
            begin_tokens: tokenizer.encode(&begin, Special::Recognise),
            begin,
            end: marks.end.trim().to_owned(),
            close_tokens: tokenizer.encode_continuation(&close, Special::Recognise),
            close,
            tokenizer,
            in_reasoning,
            budget,
            banned: Vec::new(),
        }
    }

    /// The same rules with no call within the reasoning, where the texts with which calls of `format` begin are tokens of
    /// their own: a call would end it, before the grammar of calls begins.
    pub fn without_calls(mut self, format: &ReplyFormat) -> ReasoningRules {
        let token = |text: &str| match self.tokenizer.encode_continuation(text, Special::Recognise)[..] {
            [id] => Some(id),
            _ => None,
        };
        self.banned = format.begins_of_calls().into_iter().filter_map(token).collect();
        self
    }

    /// Tokens of the shortest answer of `compiled` that follows reasoning, the end mark included.
    pub fn shortest(&self, compiled: &Compiled) -> usize {
        let n_close = if self.in_reasoning { self.close_tokens.len() } else { 0 };
        n_close + compiled.shortest()
    }
}

/// The constraint of one answer that may begin with reasoning.
///
/// Reasoning is free text. It ends with the model's own mark: as the model writes it, or where the budget is spent, or where
/// no more than the shortest answer fits behind it. Then the grammar begins.
pub struct Reasoned {
    rules: Arc<ReasoningRules>,
    compiled: Option<Arc<Compiled>>,
    /// The grammar of the answer, from its first token on.
    answer: Option<Constraint>,
    state: State,
    /// Whether something must follow the reasoning.
    must_answer: bool,
    /// Tokens that may still be made.
    n_left: usize,
    /// Tokens of reasoning so far.
    n_reasoning: usize,
    /// The last bytes, in which marks are looked for.
    tail: Vec<u8>,
    /// Tokens that come next without a choice.
    queue: VecDeque<u32>,
    closing: Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but a part of the mark that opens reasoning has come: the number of its tokens, if they are the ones it encodes to.
    Before {
        matched: Option<usize>,
    },
    Reasoning,
    Answer,
}

impl Reasoned {
    /// The constraint of an answer of at most `max_tokens` tokens: of any form, or of that of `compiled`.
    pub fn new(rules: Arc<ReasoningRules>, compiled: Option<Arc<Compiled>>, max_tokens: usize) -> Reasoned {
        let state = match rules.in_reasoning {
            true => State::Reasoning,
            false => State::Before { matched: Some(0) },
        };
        let mut reasoned = Reasoned {
            rules,
            compiled,
            answer: None,
            state,
            must_answer: false,
            n_left: max_tokens,
            n_reasoning: 0,
            tail: Vec::new(),
            queue: VecDeque::new(),
            closing: Closing::default(),
        };
        reasoned.begin_answer();
        if let Some(answer) = &mut reasoned.answer {
            let mut mask = TokenMask::new(reasoned.rules.tokenizer.vocab_size());
            answer.mask(&mut mask);
            let ends = reasoned.rules.tokenizer.end_of_generation();
            reasoned.must_answer = !answer.finished() && !ends.iter().any(|&end| mask.is_allowed(end));
        }
        if reasoned.state == State::Reasoning {
            reasoned.answer = None;
        }
        reasoned.close_in_time();
        reasoned
    }

    /// A view of whether reasoning or answer were closed, to be kept while the engine has the constraint.
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }

    fn n_shortest(&self) -> usize {
        self.compiled.as_ref().map_or(0, |compiled| compiled.shortest())
    }

    fn begin_answer(&mut self) {
        self.answer = self.compiled.as_ref().map(|compiled| {
            let mut answer = compiled.constrain(self.n_left);
            answer.set_closing(self.closing.clone());
            answer
        });
    }

    /// Whether the model may open its reasoning, and be done with it in time.
    fn may_begin(&self, matched: usize) -> bool {
        let n_marks = self.rules.begin_tokens.len() - matched + self.rules.close_tokens.len();
        !self.must_answer || (self.rules.budget != Some(0) && self.n_left > n_marks + self.n_shortest())
    }

    /// Ends reasoning whose budget is spent, or behind which an answer would not fit.
    fn close_in_time(&mut self) {
        if self.state != State::Reasoning || !self.queue.is_empty() {
            return;
        }
        let is_spent = self.rules.budget.is_some_and(|budget| self.n_reasoning >= budget);
        let is_late = self.must_answer && self.n_left <= self.rules.close_tokens.len() + self.n_shortest();
        if is_spent || is_late {
            self.queue.extend(&self.rules.close_tokens);
            if is_late && !is_spent {
                self.closing.note();
            }
        }
    }

    /// Looks for marks behind the newest token.
    fn follow(&mut self, token: u32) {
        self.tail.extend_from_slice(self.rules.tokenizer.piece(token).unwrap_or_default());
        match self.state {
            State::Before { .. } => {
                let start =
                    self.tail.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(self.tail.len());
                let (text, begin) = (&self.tail[start..], self.rules.begin.as_bytes());
                if text.starts_with(begin) {
                    self.tail = text[begin.len()..].to_vec();
                    self.state = State::Reasoning;
                    self.answer = None;
                    self.look_for_end();
                } else if !begin.starts_with(text) {
                    self.state = State::Answer;
                }
            }
            State::Reasoning => {
                self.n_reasoning += 1;
                self.look_for_end();
            }
            State::Answer => {}
        }
    }

    fn look_for_end(&mut self) {
        let end = self.rules.end.as_bytes();
        let found = self.tail.windows(end.len().max(1)).position(|window| window == end);
        let Some(start) = found else {
            let n = self.tail.len().saturating_sub(end.len().saturating_sub(1));
            self.tail.drain(..n);
            return;
        };
        if !self.queue.is_empty() {
            // Tokens that close it are still to come.
            return;
        }
        let after = String::from_utf8_lossy(&self.tail[start + end.len()..]).into_owned();
        self.state = State::Answer;
        if self.must_answer {
            // An answer of a form begins where the model's answers do.
            let close = self.rules.close.split_once(&self.rules.end).map_or("", |split| split.1);
            let rest = close.strip_prefix(&after).unwrap_or_default();
            self.queue.extend(self.rules.tokenizer.encode_continuation(rest, Special::Recognise));
        }
        if self.queue.is_empty() {
            self.begin_answer();
        }
    }

    /// Takes a token that had no alternative.
    fn dequeue(&mut self, token: u32) -> bool {
        if self.queue.front() != Some(&token) {
            return false;
        }
        self.queue.pop_front();
        if self.state == State::Reasoning {
            self.n_reasoning += 1;
        }
        if self.queue.is_empty() {
            self.state = State::Answer;
            self.begin_answer();
        }
        true
    }
}

impl Grammar for Reasoned {
    fn mask(&mut self, mask: &mut TokenMask) {
        if let Some(&next) = self.queue.front() {
            let is_allowed = mask.is_allowed(next);
            mask.ban_all();
            if is_allowed {
                mask.allow(next);
            }
            return;
        }
        match self.state {
            State::Before { matched } => {
                let begin = matched.filter(|&n| self.may_begin(n)).map(|n| self.rules.begin_tokens.get(n));
                let begin = begin.flatten().copied().filter(|&token| mask.is_allowed(token));
                match &mut self.answer {
                    Some(answer) => answer.mask(mask),
                    // A part of the mark has come that the answer cannot begin with.
                    None if self.compiled.is_some() => mask.ban_all(),
                    None => {}
                }
                if let Some(begin) = begin {
                    mask.allow(begin);
                }
            }
            State::Reasoning => {
                self.rules.banned.iter().for_each(|&token| mask.ban(token));
                if self.must_answer {
                    self.rules.tokenizer.end_of_generation().iter().for_each(|&token| mask.ban(token));
                }
            }
            State::Answer => {
                if let Some(answer) = &mut self.answer {
                    answer.mask(mask);
                }
            }
        }
    }

    fn commit(&mut self, token: u32) {
        self.n_left = self.n_left.saturating_sub(1);
        if self.dequeue(token) {
            return;
        }
        match &mut self.state {
            State::Before { matched } => {
                let follows = matched.is_some_and(|n| self.rules.begin_tokens.get(n) == Some(&token));
                *matched = matched.filter(|_| follows).map(|n| n + 1);
                if let Some(answer) = &mut self.answer {
                    let mut mask = TokenMask::new(self.rules.tokenizer.vocab_size());
                    if follows {
                        answer.mask(&mut mask);
                    }
                    if mask.is_allowed(token) {
                        answer.commit(token);
                    } else {
                        self.answer = None;
                    }
                }
                self.follow(token);
            }
            State::Reasoning => self.follow(token),
            State::Answer => {
                if let Some(answer) = &mut self.answer {
                    answer.commit(token);
                }
            }
        }
        self.close_in_time();
    }

    fn forced(&mut self, tokens: &mut Vec<u32>) {
        if !self.queue.is_empty() {
            tokens.extend(&self.queue);
        } else if let (State::Answer, Some(answer)) = (self.state, &mut self.answer) {
            answer.forced(tokens);
        }
    }

    fn settle(&mut self, sampled: u32) -> u32 {
        let begins = matches!(self.state, State::Before { matched: Some(n) } if self.rules.begin_tokens.get(n) == Some(&sampled));
        match &mut self.answer {
            Some(answer) if self.queue.is_empty() && self.state != State::Reasoning && !begins => {
                answer.settle(sampled)
            }
            _ => sampled,
        }
    }

    fn failure(&self) -> Option<&str> {
        self.answer.as_ref().and_then(Grammar::failure)
    }

    fn finished(&self) -> bool {
        self.state != State::Reasoning
            && self.queue.is_empty()
            && self.answer.as_ref().is_some_and(Grammar::finished)
    }
}

impl fmt::Debug for Reasoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reasoned")
            .field("state", &self.state)
            .field("n_left", &self.n_left)
            .finish_non_exhaustive()
    }
}
