//! The text of a completion. Each token is decoded once: on the engine's thread where a stop string may end the completion,
//! else where the text is read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use inferno_engine::StopCondition;
use inferno_text::{ControlTokens, SpanDetokenizer, StopStrings, TokenSpan, Tokenizer};

/// Rules by which the tokens of a completion become text.
#[derive(Debug, Clone)]
pub struct TextRules {
    /// The model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Whether control tokens are part of the text.
    pub control: ControlTokens,
    /// Strings that end the completion; clones of it share the automaton.
    pub stops: StopStrings,
    /// No stop string begins in this number of tokens at the start.
    pub min_tokens: usize,
    /// Tokens that are no text, as they end the completion.
    pub silent: Arc<[u32]>,
}

/// The text of one completion, taken token by token. No part of a stop string is ever in it, unless the rules keep them.
///
/// ```text
/// without stop strings    engine ── tokens ──▶ CompletionText: decodes
/// with stop strings       engine ── tokens ──▶ CompletionText: takes the next piece
///                           └ StopCondition: decodes, searches, queues a piece per token ┘
/// ```
#[derive(Debug)]
pub struct CompletionText(Source);

#[derive(Debug)]
enum Source {
    Here(Box<Decoder>),
    Engine(Arc<Mutex<Shared>>),
}

/// Between the engine's thread, which adds a piece per token before it emits the token, and the reader.
#[derive(Debug)]
struct Shared {
    decoder: Decoder,
    pieces: VecDeque<Piece>,
    /// Reused from token to token.
    spans: Vec<TokenSpan>,
}

/// Text and places that come with a token.
#[derive(Debug)]
struct Piece {
    text: String,
    spans: Box<[TokenSpan]>,
}

/// From tokens to text that may be shown.
#[derive(Debug)]
struct Decoder {
    detokenizer: SpanDetokenizer<Arc<Tokenizer>>,
    stops: StopStrings,
    min_tokens: usize,
    silent: Arc<[u32]>,
    n_tokens: usize,
    /// The detokenizer's latest output, reused from token to token.
    decoded: String,
}

/// The engine's side of a [`CompletionText`] with stop strings.
struct StopAtText(Arc<Mutex<Shared>>);

impl CompletionText {
    /// The text of a completion of `prompt`, and the stop condition that its request needs if there are stop strings.
    pub fn new(rules: &TextRules, prompt: &[u32]) -> (CompletionText, Option<Box<dyn StopCondition>>) {
        let decoder = Decoder {
            detokenizer: SpanDetokenizer::after(Arc::clone(&rules.tokenizer), prompt, rules.control.clone()),
            stops: rules.stops.clone(),
            min_tokens: rules.min_tokens,
            silent: Arc::clone(&rules.silent),
            n_tokens: 0,
            decoded: String::new(),
        };
        if decoder.stops.is_empty() {
            return (CompletionText(Source::Here(Box::new(decoder))), None);
        }
        let shared = Shared { decoder, pieces: VecDeque::new(), spans: Vec::new() };
        let shared = Arc::new(Mutex::new(shared));
        (CompletionText(Source::Engine(Arc::clone(&shared))), Some(Box::new(StopAtText(shared))))
    }

    /// Takes the next token of the completion. Writes the text that may be shown with it to the end of `text`, and the
    /// places of tokens that are known with it to the end of `spans`.
    ///
    /// # Panics
    /// If the engine has not emitted this number of tokens, or has another vocabulary.
    pub fn push(&mut self, token: u32, text: &mut String, spans: &mut Vec<TokenSpan>) {
        match &mut self.0 {
            Source::Here(decoder) => decoder.push(token, text, spans),
            Source::Engine(shared) => {
                let piece = lock(shared).pieces.pop_front().expect("a token is decoded before it is emitted");
                text.push_str(&piece.text);
                spans.extend(piece.spans);
            }
        }
    }

    /// Writes the rest, once no more tokens will come: what was held back and did not become a stop string, and the places of
    /// all tokens that have none yet.
    pub fn finish(&mut self, text: &mut String, spans: &mut Vec<TokenSpan>) {
        match &mut self.0 {
            Source::Here(decoder) => decoder.finish(text, spans),
            Source::Engine(shared) => lock(shared).decoder.finish(text, spans),
        }
    }

    /// The stop string in the text, as an index into those of the rules. Known for certain after [`finish`](Self::finish).
    pub fn matched(&self) -> Option<usize> {
        match &self.0 {
            Source::Here(decoder) => decoder.stops.matched(),
            Source::Engine(shared) => lock(shared).decoder.stops.matched(),
        }
    }
}

impl Decoder {
    fn push(&mut self, token: u32, text: &mut String, spans: &mut Vec<TokenSpan>) {
        self.n_tokens += 1;
        if self.silent.contains(&token) {
            return;
        }
        let Decoder { detokenizer, stops, decoded, .. } = self;
        decoded.clear();
        detokenizer.push(token, decoded, spans).expect("the engine's tokens are the vocabulary's");
        if self.n_tokens <= self.min_tokens {
            // The completion may not end yet: no stop string counts that is here, nor one that begins here.
            text.push_str(decoded);
        } else {
            text.push_str(&stops.push(decoded));
        }
    }

    fn finish(&mut self, text: &mut String, spans: &mut Vec<TokenSpan>) {
        self.decoded.clear();
        self.detokenizer.finish(&mut self.decoded, spans);
        text.push_str(&self.stops.push(&self.decoded));
        text.push_str(&self.stops.finish());
    }
}

impl StopCondition for StopAtText {
    fn commit(&mut self, token: u32) {
        let mut shared = lock(&self.0);
        let Shared { decoder, pieces, spans } = &mut *shared;
        let mut text = String::new();
        decoder.push(token, &mut text, spans);
        pieces.push_back(Piece { text, spans: spans.drain(..).collect() });
    }

    fn finished(&self) -> bool {
        lock(&self.0).decoder.stops.matched().is_some()
    }
}

/// A panic of the decoder fails the sequence, whose text is not read any more.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests;
