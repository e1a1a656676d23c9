//! One streamed chat, read leniently: servers differ in what else they send.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::Result;
use crate::load::client::{CHAT, Client, excerpt, explain};
use crate::load::http::Body;
use crate::load::sse::Events;
use crate::load::target::Target;

#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) system: Option<String>,
    pub(super) user: String,
    /// So many come: the end of a text does not end the answer.
    pub(super) n_tokens: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Answer {
    Done(Seen),
    /// A 429 or a 503.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// From the request to the first text; to the end if there was none.
    pub(super) first: Duration,
    /// As the server counts them.
    pub(super) prompt: u64,
    pub(super) tokens: u64,
}

/// Asks over a new connection, and closes it at `deadline`; that is an error.
pub(super) fn chat(target: &Target, question: &Question, deadline: Instant) -> Result<Answer> {
    let begun = Instant::now();
    let body = question.to_json(&target.model);
    let (mut connection, head) = Client::until(target, deadline).send("POST", CHAT, &body)?;
    let body = connection.body(&head).map_err(|e| explain(&e))?;
    match head.status {
        200 => {}
        429 | 503 => return body.text().map(|_| Answer::Refused).map_err(|e| explain(&e)),
        status => {
            let text = Body::text(body).map_err(|e| explain(&e))?;
            return Err(format!("status {status}: {}", excerpt(&text)));
        }
    }
    let mut events = Events::new(body);
    let (mut first, mut usage) = (None, None);
    while let Some(data) = events.next().map_err(|e| explain(&e))? {
        // Most events are looked at no further: reading them costs the servers' cores.
        if data == b"[DONE]" || (first.is_some() && !has(data, b"\"usage\":{") && !has(data, b"\"error\"")) {
            continue;
        }
        let now = begun.elapsed();
        let event: Json = serde_json::from_slice(data).map_err(|e| format!("an event is not JSON: {e}"))?;
        if !event["error"].is_null() {
            return Err(format!("the server reports an error: {}", excerpt(&event["error"].to_string())));
        }
        if first.is_none() && has_text(&event) {
            first = Some(now);
        }
        let number = |key: &str| event["usage"][key].as_u64();
        usage = number("prompt_tokens").zip(number("completion_tokens")).or(usage);
    }
    let (prompt, tokens) = usage.ok_or("the stream ended without `usage`")?;
    Ok(Answer::Done(Seen { first: first.unwrap_or_else(|| begun.elapsed()), prompt, tokens }))
}

impl Question {
    fn to_json(&self, model: &str) -> String {
        let system = self.system.as_ref().map(|text| json!({ "role": "system", "content": text }));
        let user = json!({ "role": "user", "content": self.user });
        let messages: Vec<_> = system.into_iter().chain([user]).collect();
        json!({
            "model": model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
            "max_tokens": self.n_tokens,
            "temperature": 0,
            "ignore_eos": true,
        })
        .to_string()
    }
}

/// A model may think or call a tool: that is text too.
fn has_text(event: &Json) -> bool {
    let delta = &event["choices"][0]["delta"];
    let is_text = |key: &str| delta[key].as_str().is_some_and(|text| !text.is_empty());
    is_text("content") || is_text("reasoning_content") || delta["tool_calls"].is_array()
}

fn has(data: &[u8], part: &[u8]) -> bool {
    data.windows(part.len()).any(|bytes| bytes == part)
}
