//! Log-probabilities of tokens, in the shape of chats and in that of completions.

use inferno_engine::TokenLogprob;
use inferno_reply::Shown;
use inferno_text::Tokenizer;
use serde::Serialize;
use serde_json::Value;

use crate::echo::Echo;
use crate::generation::Generation;

#[derive(Debug, Serialize)]
pub(crate) struct ChatLogprobs {
    content: Vec<ChatLogprob>,
    refusal: Option<Vec<ChatLogprob>>,
}

#[derive(Debug, Serialize)]
struct ChatLogprob {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
    top_logprobs: Vec<TopLogprob>,
}

#[derive(Debug, Serialize)]
struct TopLogprob {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// The shape that completions have had since before there were chats.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<Best>>,
    text_offset: Vec<usize>,
}

/// JSON has no infinity: OpenAI writes this.
pub(crate) const LEAST_LOGPROB: f32 = -9999.0;

/// Names of tokens in log-probabilities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    tokenizer: &'a Tokenizer,
    /// `token_id:7`, as vLLM writes it: the only name that no two tokens share.
    are_ids: bool,
}

impl<'a> Names<'a> {
    /// As its client wants them.
    pub(crate) fn of(generation: &'a Generation) -> Names<'a> {
        Names { tokenizer: &generation.app().text.tokenizer, are_ids: generation.options().tokens_as_ids }
    }

    fn bytes(&self, id: u32) -> &'a [u8] {
        self.tokenizer.piece(id).unwrap_or_default()
    }

    /// The token's text, whatever its name is.
    pub(super) fn text(&self, id: u32) -> String {
        String::from_utf8_lossy(self.bytes(id)).into_owned()
    }

    /// As text to look at.
    fn shown(&self, id: u32) -> String {
        match self.are_ids {
            true => format!("token_id:{id}"),
            false => self.text(id),
        }
    }

    /// As a key: what is no text by itself is written in bytes.
    fn key(&self, id: u32) -> String {
        match std::str::from_utf8(self.bytes(id)) {
            Ok(_) => self.shown(id),
            Err(_) if self.are_ids => self.shown(id),
            Err(_) => {
                self.bytes(id).iter().fold("bytes:".to_owned(), |name, b| name + &format!("\\x{b:02x}"))
            }
        }
    }
}

impl ChatLogprobs {
    pub(crate) fn new<'a>(tokens: impl IntoIterator<Item = &'a Shown>, names: Names<'_>) -> ChatLogprobs {
        let content = tokens.into_iter().filter_map(|token| {
            let logprob = token.logprob.as_ref()?;
            let id = token.span.token;
            let top = |&(id, logprob): &(u32, f32)| TopLogprob {
                token: names.shown(id),
                logprob: logprob.max(LEAST_LOGPROB),
                bytes: names.bytes(id).to_vec(),
            };
            Some(ChatLogprob {
                token: names.shown(id),
                logprob: logprob.logprob.max(LEAST_LOGPROB),
                bytes: names.bytes(id).to_vec(),
                top_logprobs: logprob.top.iter().map(top).collect(),
            })
        });
        ChatLogprobs { content: content.collect(), refusal: None }
    }

    /// The tokens one by one.
    pub(crate) fn into_values(self) -> impl Iterator<Item = Value> {
        self.content.into_iter().map(|token| serde_json::to_value(token).expect("what is answered is JSON"))
    }
}

impl TextLogprobs {
    /// Adds a token that starts at the character `offset` of the choice's text; the first of a prompt has no
    /// log-probability.
    pub(crate) fn push(&mut self, id: u32, logprob: Option<&TokenLogprob>, offset: usize, names: Names<'_>) {
        self.tokens.push(names.key(id));
        self.token_logprobs.push(logprob.map(|l| l.logprob.max(LEAST_LOGPROB)));
        self.top_logprobs.push(logprob.map(|l| Best::new(id, l, names)));
        self.text_offset.push(offset);
    }

    /// Adds tokens of a choice, whose text follows `echo`, if that is there.
    pub(crate) fn push_all<'a>(
        &mut self,
        tokens: impl IntoIterator<Item = &'a Shown>,
        echo: Option<&Echo>,
        names: Names<'_>,
    ) {
        let start = echo.map_or(0, Echo::n_chars);
        for Shown { span, logprob } in tokens {
            self.push(span.token, logprob.as_ref(), start + span.chars.start, names);
        }
    }
}

/// The best tokens and the one that came, by probability: an object in that order.
#[derive(Debug)]
struct Best(Vec<(String, f32)>);

impl Best {
    fn new(id: u32, logprob: &TokenLogprob, names: Names<'_>) -> Best {
        let own = (names.key(id), logprob.logprob);
        let mut all: Vec<(String, f32)> = logprob
            .top
            .iter()
            .filter(|top| top.0 == id || names.key(top.0) != own.0)
            .map(|&(id, logprob)| (names.key(id), logprob))
            .collect();
        if !logprob.top.iter().any(|top| top.0 == id) {
            let at = all.iter().position(|other| other.1 < own.1).unwrap_or(all.len());
            all.insert(at, own);
        }
        // Two tokens may have one name, which an object has once: the one that came counts, else the better one.
        let mut best: Vec<(String, f32)> = Vec::with_capacity(all.len());
        for (name, logprob) in all {
            if best.iter().all(|other| other.0 != name) {
                best.push((name, logprob.max(LEAST_LOGPROB)));
            }
        }
        Best(best)
    }
}

impl Serialize for Best {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, logprob)| (name, logprob)))
    }
}
