//! One answer while it grows: its tokens become parts, of which no part of a stop string is ever told.

use std::collections::VecDeque;
use std::sync::Arc;

use inferno_engine::{Finish, StopCondition, TokenLogprob};
use inferno_text::{CallIds, Piece, PieceKind, ReplyFormat, ReplyParser, ReplyStart, TokenKind};
use inferno_text::{TokenSpan, Tokenizer};

use crate::call_id::CallSeed;
use crate::completion_text::{CompletionText, TextRules};
use crate::part::{Delta, Ending, FinishReason, PartKind, ReplyError, Shown, StopReason};

/// Rules by which the tokens of an answer become parts.
#[derive(Debug, Clone)]
pub struct ReplyRules {
    /// Rules by which they become text. Control tokens that are marks of `format` must be shown: see [`mark_tokens`].
    pub text: TextRules,
    /// The strings that `text.stops` searches for. They are searched for in the whole text as the model writes it:
    /// reasoning, calls and marks included.
    pub stop_strings: Arc<[String]>,
    /// The model's own ends: other tokens that end an answer are stop conditions of the request.
    pub ends: Arc<[u32]>,
    /// The model's format; `None` where all is text.
    pub format: Option<Arc<ReplyFormat>>,
    /// Circumstances of the answer, which `format` needs.
    pub start: ReplyStart,
    /// Seed of the ids of calls.
    pub call_seed: CallSeed,
}

/// An answer while it grows.
#[derive(Debug)]
pub struct Reply {
    text: CompletionText,
    parser: Option<Parser>,
    stop_strings: Arc<[String]>,
    /// Tokens that end it and are no text.
    silent: Arc<[u32]>,
    ends: Arc<[u32]>,
    n_tokens: usize,
    n_reasoning: usize,
    n_calls: usize,
    /// Bytes of the decoded text that were told, and characters.
    n_told: usize,
    n_chars: usize,
    /// Spans that are known with the latest token, reused from token to token.
    spans: Vec<TokenSpan>,
    /// Log-probabilities of tokens whose place in the text is not known yet.
    unplaced: VecDeque<Option<TokenLogprob>>,
    /// Tokens whose text is held back.
    held: VecDeque<Shown>,
    /// The silent token that has come.
    end: Option<(u32, Option<TokenLogprob>)>,
    last: Option<u32>,
}

/// Splits the text of an answer.
#[derive(Debug)]
struct Parser {
    parser: ReplyParser,
    ids: CallIds,
    seed: CallSeed,
    /// The kind of the latest part.
    kind: PartKind,
    /// Reused from token to token.
    decoded: String,
    pieces: Vec<Piece>,
    /// Text that the parser holds back: its characters are counted when it is told.
    untold: String,
}

/// Control tokens of `tokenizer` that are marks of `format`, for [`ControlTokens::Only`](inferno_text::ControlTokens::Only).
/// Reads the vocabulary: once per model.
pub fn mark_tokens(format: &ReplyFormat, tokenizer: &Tokenizer) -> Arc<[u32]> {
    let marks = format.marks();
    let is_mark = |id: &u32| {
        tokenizer.token_kind(*id) == Some(TokenKind::Control)
            && tokenizer.token_text(*id).is_some_and(|text| marks.contains(&text))
    };
    (0..tokenizer.vocab_size() as u32).filter(is_mark).collect()
}

impl Reply {
    /// An answer to `prompt`, and the stop condition that its request needs if there are stop strings.
    pub fn new(rules: &ReplyRules, prompt: &[u32]) -> (Reply, Option<Box<dyn StopCondition>>) {
        let (text, stop) = CompletionText::new(&rules.text, prompt);
        let reply = Reply {
            text,
            parser: rules.format.as_ref().map(|format| Parser::new(format, rules)),
            stop_strings: Arc::clone(&rules.stop_strings),
            silent: Arc::clone(&rules.text.silent),
            ends: Arc::clone(&rules.ends),
            n_tokens: 0,
            n_reasoning: 0,
            n_calls: 0,
            n_told: 0,
            n_chars: 0,
            spans: Vec::new(),
            unplaced: VecDeque::new(),
            held: VecDeque::new(),
            end: None,
            last: None,
        };
        (reply, stop)
    }

    /// Takes a token, and appends what can be told now to `delta`.
    pub fn push(&mut self, id: u32, logprob: Option<TokenLogprob>, delta: &mut Delta) {
        self.n_tokens += 1;
        self.last = Some(id);
        if self.silent.contains(&id) {
            self.end = Some((id, logprob));
        } else {
            self.unplaced.push_back(logprob);
        }
        self.decode(delta, |text, out, spans| text.push(id, out, spans));
    }

    /// The end: what was held back is told, if it did not become a stop string.
    ///
    /// # Errors
    /// The answer failed, was cancelled or took too long.
    pub fn finish(&mut self, finish: Finish, delta: &mut Delta) -> Result<Ending, ReplyError> {
        let is_token = finish == Finish::Stop;
        let is_length = match finish {
            Finish::Stop | Finish::StopCondition | Finish::Grammar => false,
            Finish::Length => true,
            Finish::Cancelled => return Err(ReplyError::Cancelled),
            Finish::Deadline => return Err(ReplyError::Deadline),
            Finish::Failed(why) => return Err(ReplyError::Failed(why)),
        };
        self.decode(delta, CompletionText::finish);
        if let Some(mut parser) = self.parser.take() {
            parser.parser.finish(&mut parser.pieces);
            self.tell(&mut parser, delta);
            self.parser = Some(parser);
        }
        if let Some((id, logprob)) = self.end.take() {
            // It counts, but is no text: it stands behind all that is.
            let span =
                TokenSpan { token: id, bytes: self.n_told..self.n_told, chars: self.n_chars..self.n_chars };
            let kind = self.kind();
            self.count(&kind, 1);
            delta.part(kind).tokens.push(Shown { span, logprob });
        }
        let reason = match (is_length, self.n_calls) {
            (true, _) => FinishReason::Length,
            (false, 0) => FinishReason::Stop,
            (false, _) => FinishReason::ToolCalls,
        };
        Ok(Ending { reason, stop: self.stop_reason(is_token), closed_early: false })
    }

    /// Tokens so far, the one that ended it included.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Tokens of reasoning that were told, marks included.
    pub fn n_reasoning(&self) -> usize {
        self.n_reasoning
    }

    fn stop_reason(&self, is_token: bool) -> Option<StopReason> {
        match (self.text.matched(), self.last) {
            (Some(i), _) => Some(StopReason::String(self.stop_strings[i].clone())),
            (None, Some(id)) if is_token && !self.ends.contains(&id) => Some(StopReason::Token(id)),
            _ => None,
        }
    }

    /// Decodes more, and tells what is certain.
    fn decode(
        &mut self,
        delta: &mut Delta,
        more: impl FnOnce(&mut CompletionText, &mut String, &mut Vec<TokenSpan>),
    ) {
        match self.parser.take() {
            None => {
                let part = delta.part(PartKind::Text);
                let n_before = part.text.len();
                more(&mut self.text, &mut part.text, &mut self.spans);
                let text = &part.text[n_before..];
                self.n_told += text.len();
                self.n_chars += text.chars().count();
                self.hold();
                while let Some(token) = self.held.pop_front_if(|token| token.span.bytes.end <= self.n_told) {
                    part.tokens.push(token);
                }
            }
            Some(mut parser) => {
                parser.decoded.clear();
                more(&mut self.text, &mut parser.decoded, &mut self.spans);
                self.hold();
                parser.untold.push_str(&parser.decoded);
                parser.parser.push(&parser.decoded, &mut parser.pieces);
                self.tell(&mut parser, delta);
                self.parser = Some(parser);
            }
        }
    }

    /// Gives tokens whose span is known their log-probabilities.
    fn hold(&mut self) {
        for span in self.spans.drain(..) {
            let logprob = self.unplaced.pop_front().flatten();
            self.held.push_back(Shown { span, logprob });
        }
    }

    /// Tells the parser's pieces, each with its tokens.
    fn tell(&mut self, parser: &mut Parser, delta: &mut Delta) {
        for piece in parser.pieces.drain(..) {
            let n = piece.source.end - self.n_told;
            self.n_chars += parser.untold[..n].chars().count();
            parser.untold.drain(..n);
            self.n_told = piece.source.end;
            let kind = match piece.kind {
                PieceKind::Text => PartKind::Text,
                PieceKind::Reasoning => PartKind::Reasoning,
                PieceKind::Arguments { index } => PartKind::Arguments { index },
                PieceKind::ToolCall { index, id, name } => {
                    self.n_calls += 1;
                    let id = id.unwrap_or_else(|| parser.seed.id(index, parser.ids));
                    PartKind::ToolCall { index, id, name }
                }
            };
            let part = delta.part(kind.clone());
            part.text.push_str(&piece.text);
            let n_before = part.tokens.len();
            while let Some(token) = self.held.pop_front_if(|token| token.span.bytes.end <= self.n_told) {
                part.tokens.push(token);
            }
            let n_new = part.tokens.len() - n_before;
            self.count(&kind, n_new);
            parser.kind = kind.after();
        }
        // Tokens without text, which came behind all that was told.
        while let Some(token) = self.held.pop_front_if(|token| token.span.bytes.end <= self.n_told) {
            self.count(&parser.kind, 1);
            delta.part(parser.kind.clone()).tokens.push(token);
        }
    }

    fn count(&mut self, kind: &PartKind, n_tokens: usize) {
        if *kind == PartKind::Reasoning {
            self.n_reasoning += n_tokens;
        }
    }

    /// The kind that a token without text belongs to.
    fn kind(&self) -> PartKind {
        self.parser.as_ref().map_or(PartKind::Text, |parser| parser.kind.clone())
    }
}

impl Parser {
    fn new(format: &ReplyFormat, rules: &ReplyRules) -> Parser {
        let in_reasoning = rules.start.in_reasoning && rules.start.splits_reasoning;
        Parser {
            parser: ReplyParser::new(format, rules.start.clone()),
            ids: format.call_ids,
            seed: rules.call_seed,
            kind: if in_reasoning { PartKind::Reasoning } else { PartKind::Text },
            decoded: String::new(),
            pieces: Vec::new(),
            untold: String::new(),
        }
    }
}

impl PartKind {
    /// The kind of what follows without being anything else.
    fn after(self) -> PartKind {
        match self {
            PartKind::ToolCall { index, .. } => PartKind::Arguments { index },
            kind => kind,
        }
    }
}

#[cfg(test)]
mod tests;
