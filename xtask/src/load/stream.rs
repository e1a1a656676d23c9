//! The rules of a streamed chat completion, as OpenAI's API has them with `stream_options.include_usage`:
//!
//! ```text
//! role  text ... text  finish_reason  usage  [DONE]
//! ```

use std::sync::Arc;

use serde_json::Value as Json;

use super::client::excerpt;
use super::frame::Frame;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Seen {
    /// Text that is not empty.
    Text,
    Done,
    Other,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) prompt: u64,
    pub(super) completion: u64,
}

/// A stream as far as it has come. Errors name the broken rule and show the last events.
pub(super) struct Checker {
    max_tokens: u64,
    id: Option<String>,
    n_events: usize,
    n_texts: u64,
    /// What ended the text.
    finish: Option<String>,
    usage: Option<Usage>,
    is_done: bool,
    frame: Option<Frame>,
    text: Text,
    recent: [Vec<u8>; N_RECENT],
}

/// The text as JSON has it, however it was cut into events.
enum Text {
    /// Collected, as nothing is known of it.
    New(Vec<u8>),
    /// Compared with that of an undisturbed run, so far up to a byte.
    Known(Arc<[u8]>, usize),
}

/// So many events are shown with an error,
const N_RECENT: usize = 3;
/// and so much of each.
const MOST_SHOWN: usize = 300;

/// A broken rule.
type Broken = String;

impl Checker {
    /// Of an answer of at most `max_tokens` tokens, with the text that is known of it.
    pub(super) fn new(max_tokens: usize, known: Option<Arc<[u8]>>) -> Checker {
        Checker {
            max_tokens: max_tokens as u64,
            id: None,
            n_events: 0,
            n_texts: 0,
            finish: None,
            usage: None,
            is_done: false,
            frame: None,
            text: known.map_or_else(|| Text::New(Vec::new()), |text| Text::Known(text, 0)),
            recent: Default::default(),
        }
    }

    /// Bytes of text so far.
    pub(super) fn n_bytes(&self) -> usize {
        match &self.text {
            Text::New(text) => text.len(),
            Text::Known(_, at) => *at,
        }
    }

    fn add_text(&mut self, json: &[u8]) -> Result<(), Broken> {
        match &mut self.text {
            Text::New(text) => text.extend_from_slice(json),
            Text::Known(text, at) if text[*at..].starts_with(json) => *at += json.len(),
            Text::Known(text, at) => {
                let rest = &text[*at..];
                let [found, known] = [json, &rest[..rest.len().min(json.len())]].map(String::from_utf8_lossy);
                return Err(format!("another text than alone: `{found}` at byte {at}, not `{known}`"));
            }
        }
        Ok(())
    }

    pub(super) fn event(&mut self, data: &[u8]) -> Result<Seen, String> {
        let slot = &mut self.recent[self.n_events % N_RECENT];
        slot.clear();
        slot.extend_from_slice(&data[..data.len().min(MOST_SHOWN)]);
        self.n_events += 1;
        self.check(data).map_err(|broken| self.explain(&broken))
    }

    /// The usage of a stream that has ended, and its text as JSON has it.
    pub(super) fn end(self) -> Result<(Usage, Arc<[u8]>), String> {
        let usage = match self.usage {
            Some(usage) if self.is_done => usage,
            _ => return Err(self.explain("the stream ended without `[DONE]`")),
        };
        match self.text {
            Text::Known(ref text, at) if at < text.len() => {
                let (shorter, n) = (format!("another text than alone: it ends at byte {at}"), text.len());
                Err(self.explain(&format!("{shorter} of {n}")))
            }
            Text::Known(text, _) => Ok((usage, text)),
            Text::New(text) => Ok((usage, text.into())),
        }
    }

    /// The broken rule with the last events.
    pub(super) fn explain(&self, broken: &str) -> String {
        let mut text = format!("{broken}; events: {}, with text: {}", self.n_events, self.n_texts);
        for i in self.n_events.saturating_sub(N_RECENT)..self.n_events {
            let event = String::from_utf8_lossy(&self.recent[i % N_RECENT]);
            text.push_str(&format!("\n    {}: data: {}", i + 1, excerpt(&event)));
        }
        text
    }

    fn check(&mut self, data: &[u8]) -> Result<Seen, Broken> {
        if self.is_done {
            return Err("an event came after `[DONE]`".into());
        }
        if self.finish.is_none() {
            match self.frame.as_ref().and_then(|frame| frame.text(data)) {
                Some([]) => return Ok(Seen::Other),
                Some(text) => {
                    self.add_text(text)?;
                    self.n_texts += 1;
                    return Ok(Seen::Text);
                }
                None => {}
            }
        }
        if data == b"[DONE]" {
            self.is_done = true;
            return match (&self.finish, &self.usage) {
                (None, _) => Err("`[DONE]` came without a `finish_reason` before".into()),
                (_, None) => Err("`[DONE]` came without a chunk with `usage` before".into()),
                _ => Ok(Seen::Done),
            };
        }
        let chunk: Json = serde_json::from_slice(data).map_err(|e| format!("a chunk is not JSON: {e}"))?;
        self.envelope(&chunk)?;
        let choices = chunk["choices"].as_array().ok_or("a chunk has no array `choices`")?;
        match &choices[..] {
            [] => self.usage(&chunk["usage"]),
            _ if !chunk["usage"].is_null() => Err("a chunk has both a choice and `usage`".into()),
            [choice] => self.choice(choice, data),
            _ => Err("a chunk has more than one choice".into()),
        }
    }

    fn envelope(&mut self, chunk: &Json) -> Result<(), Broken> {
        if !chunk["error"].is_null() {
            return Err("the server reports an error".into());
        }
        if chunk["object"] != "chat.completion.chunk" {
            return Err("a chunk's `object` is not `chat.completion.chunk`".into());
        }
        let id = chunk["id"].as_str().ok_or("a chunk has no `id`")?;
        match &self.id {
            Some(first) if first != id => Err(format!("the id was `{first}` and is now `{id}`")),
            Some(_) => Ok(()),
            None => {
                self.id = Some(id.to_owned());
                Ok(())
            }
        }
    }

    fn choice(&mut self, choice: &Json, data: &[u8]) -> Result<Seen, Broken> {
        if self.finish.is_some() {
            return Err("a choice came after the `finish_reason`".into());
        }
        if choice["index"] != 0 {
            return Err("the only choice has not the index 0".into());
        }
        let delta = choice["delta"].as_object().ok_or("a choice has no `delta`")?;
        match (delta.get("role").filter(|role| !role.is_null()), self.n_events) {
            (Some(role), 1) if role != "assistant" => {
                return Err(format!("the role is {role}, not \"assistant\""));
            }
            (Some(_), 1) | (None, 2..) => {}
            (Some(_), _) => return Err("the role came again".into()),
            (None, _) => return Err("the first delta has no role".into()),
        }
        let text = match delta.get("content") {
            None | Some(Json::Null) => "",
            Some(content) => content.as_str().ok_or("`content` is not text")?,
        };
        if self.frame.is_none() && self.n_events > 1 && choice["finish_reason"].is_null() {
            self.frame = Frame::of(data, text);
        }
        let json = Json::from(text).to_string();
        self.add_text(&json.as_bytes()[1..json.len() - 1])?;
        self.n_texts += u64::from(!text.is_empty());
        match &choice["finish_reason"] {
            Json::Null => {}
            Json::String(why) if why == "stop" || why == "length" => self.finish = Some(why.clone()),
            other => return Err(format!("the `finish_reason` is {other}, not \"stop\" or \"length\"")),
        }
        Ok(if text.is_empty() { Seen::Other } else { Seen::Text })
    }

    fn usage(&mut self, usage: &Json) -> Result<Seen, Broken> {
        let finish =
            self.finish.as_deref().ok_or("a chunk without a choice came before the `finish_reason`")?;
        if self.usage.is_some() {
            return Err("the usage came again".into());
        }
        let number = |key: &str| usage[key].as_u64().ok_or_else(|| format!("the usage has no `{key}`"));
        let (prompt, completion) = (number("prompt_tokens")?, number("completion_tokens")?);
        let (total, most) = (number("total_tokens")?, self.max_tokens);
        if total != prompt + completion {
            return Err(format!("{prompt} + {completion} tokens are not {total}"));
        }
        if prompt == 0 {
            return Err("the prompt has no tokens".into());
        }
        if completion > most {
            return Err(format!("`max_tokens` is {most}, and there are {completion}"));
        }
        if finish == "length" && completion != most {
            return Err(format!("the `finish_reason` is `length` after {completion} of {most} tokens"));
        }
        // A token may have no text; what was held back until the end may come by itself.
        if self.n_texts > completion + 1 {
            return Err(format!("{completion} tokens came as {} pieces of text", self.n_texts));
        }
        self.usage = Some(Usage { prompt, completion });
        Ok(Seen::Other)
    }
}
