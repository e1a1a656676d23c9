//! `/v1/responses`: OpenAI's Responses.
//!
//! An output is a list of items: reasoning, messages and calls in the order in which the model wrote them. Streams
//! have OpenAI's events, numbered from 0 on; an item has one id in all of them and in the whole answer. There is no
//! `[DONE]`: the last event is `response.completed`, `response.incomplete` or `response.failed`.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use inferno_reply::{Delta, Ending, FinishReason, Part, PartKind};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Dialect, Whole};
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, Totals};
use crate::options::Options;
use crate::responses::{Asked, EventLog, Kept, State, Style};
use crate::room::Share;
use crate::wire::{self, ChatLogprobs, Label, More, Names};

mod freeform;
mod item;
use item::{Item, Kind, LIVE};

/// Writes responses.
#[derive(Debug)]
pub(crate) struct ResponsesDialect {
    label: Label,
    style: Style,
    is_background: bool,
    /// Members that are known before the answer.
    echo: Map<String, Value>,
    /// Names of custom tools.
    custom: Vec<String>,
    warnings: Vec<String>,
    events: Events,
    /// The last one is open while its status is [`LIVE`].
    items: Vec<Item>,
    /// Log-probabilities of tokens whose text has not come.
    held: Vec<Value>,
    /// Reason for the end.
    reason: Option<FinishReason>,
    conversation: Option<Conversation>,
}

/// The conversation that is kept with the response.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) tenant: u32,
    pub(crate) items: Vec<Arc<Value>>,
    pub(crate) n_past: usize,
    /// Events of a stream in the background.
    pub(crate) log: Option<Arc<EventLog>>,
    /// Memory of the items.
    pub(crate) _share: Share,
}

/// Numbered events.
#[derive(Debug, Default)]
struct Events {
    n: u64,
    /// The answer is in one piece: there are none.
    is_silent: bool,
}

#[derive(Serialize)]
struct Event<'a, M> {
    r#type: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    members: M,
}

#[derive(Serialize)]
struct TextDelta<'a> {
    item_id: &'a str,
    output_index: usize,
    content_index: usize,
    delta: &'a str,
    logprobs: &'a [Value],
}

impl Events {
    fn write(&mut self, name: &str, members: impl Serialize, out: &mut Vec<u8>) {
        if self.is_silent {
            return;
        }
        let event = Event { r#type: name, sequence_number: self.n, members };
        self.n += 1;
        event.write(out);
    }
}

impl<M: Serialize> Event<'_, M> {
    fn write(&self, out: &mut Vec<u8>) {
        let _ = write!(out, "event: {}\ndata: ", self.r#type);
        serde_json::to_writer(&mut *out, self).expect("what is answered is JSON");
        out.extend_from_slice(b"\n\n");
    }
}

impl ResponsesDialect {
    /// Writes the answer to `asked`, whose chat has `options`. A response without a conversation is not kept.
    pub(crate) fn new(
        asked: &mut Asked,
        options: &Options,
        conversation: Option<Conversation>,
        app: &App,
    ) -> ResponsesDialect {
        let mut echo = std::mem::take(&mut asked.echo);
        echo.insert("temperature".into(), options.sampling.spec.temperature.into());
        echo.insert("top_p".into(), options.sampling.spec.top_p.into());
        ResponsesDialect {
            label: Label::new(app, "resp_"),
            style: asked.style,
            is_background: asked.is_background,
            echo,
            custom: std::mem::take(&mut asked.custom),
            warnings: asked.all_warnings(),
            events: Events::default(),
            items: Vec::new(),
            held: Vec::new(),
            reason: None,
            conversation,
        }
    }

    /// The response before there is any output, as it is answered and kept while it is computed in the background.
    pub(crate) fn unfinished(&self, status: &str) -> Vec<u8> {
        self.response(status, None, None).to_string().into_bytes()
    }

    /// Keeps the response in `state`, if it is to be kept.
    pub(crate) fn keep(&self, body: Vec<u8>, state: State, app: &App) {
        let Some(conversation) = &self.conversation else { return };
        let mut items = conversation.items.clone();
        let n_input = items.len() - conversation.n_past;
        items.extend(self.items.iter().map(|item| Arc::new(item.as_input(self.style))));
        let Conversation { tenant, n_past, log, .. } = conversation;
        let (tenant, n_past, log) = (*tenant, *n_past, log.clone());
        let kept = Kept { tenant, body: Bytes::from(body), items, n_past, n_input, log, state };
        match kept.state {
            State::BackgroundDone => app.responses.finish(&self.label.id, kept),
            _ => app.responses.keep(&self.label.id, kept),
        }
    }

    /// The response object; `ended` is the answer that has ended.
    fn response(&self, status: &str, ended: Option<&Generation>, error: Option<&ApiError>) -> Value {
        let is_incomplete = status == "incomplete";
        let completed = ended.filter(|_| status == "completed");
        // A failure leaves the last item open.
        let output = self.items.iter().map(|item| match error {
            Some(_) if item.status == LIVE => item.value_as("incomplete", self.style),
            _ => item.value(self.style),
        });
        let mut response = Map::new();
        let members = [
            ("id", json!(self.label.id)),
            ("object", json!("response")),
            ("created_at", json!(self.label.created)),
            ("status", json!(status)),
            ("background", json!(self.is_background)),
            ("completed_at", json!(completed.map(|answer| answer.app().now()))),
            ("error", error.map_or(Value::Null, failure)),
            ("incomplete_details", is_incomplete.then(|| json!({ "reason": "max_output_tokens" })).into()),
            ("model", json!(self.label.model)),
            ("output", output.collect()),
            ("usage", ended.map(|answer| usage(&answer.totals())).into()),
        ];
        response.extend(members.map(|(name, value)| (name.to_owned(), value)));
        response.extend(self.echo.clone());
        let more = ended.map(wire::closing).unwrap_or_default();
        let warnings = self.warnings.iter().cloned().chain(more.warnings).collect();
        if let Ok(Value::Object(more)) = serde_json::to_value(More { warnings, ..more }) {
            response.extend(more);
        }
        Value::Object(response)
    }

    fn part(&mut self, answer: &Generation, part: &Part, out: &mut Vec<u8>) {
        let options = answer.options();
        let kind = match &part.kind {
            PartKind::Reasoning if options.reply.hides_reasoning => return,
            PartKind::Text => Kind::Message,
            PartKind::Reasoning => Kind::Reasoning,
            PartKind::ToolCall { id, name, .. } => {
                let (id, name) = (id.clone(), name.clone());
                let is_custom = self.custom.contains(&name);
                if is_custom { Kind::Custom { id, name } } else { Kind::Call { id, name } }
            }
            PartKind::Arguments { .. } => return self.more(&part.text, out),
        };
        if kind == Kind::Message && options.sampling.logprobs.is_some() {
            let logprobs = ChatLogprobs::new(&part.tokens, Names::of(answer));
            self.held.extend(logprobs.into_values());
        }
        if part.text.is_empty() && !kind.is_call() {
            return;
        }
        let goes_on =
            self.items.last().is_some_and(|item| item.status == LIVE && item.kind == kind && !kind.is_call());
        if !goes_on {
            self.close("completed", out);
            self.open(kind, out);
        }
        self.more(&part.text, out);
    }

    /// Opens an item.
    fn open(&mut self, kind: Kind, out: &mut Vec<u8>) {
        let answer_id = self.label.id.strip_prefix("resp_").unwrap_or(&self.label.id);
        let output_index = self.items.len();
        let item = Item::new(kind, answer_id, output_index);
        let added = json!({ "output_index": output_index, "item": item.value(self.style) });
        self.events.write("response.output_item.added", added, out);
        if let Some((name, _)) = item.part_events(self.style) {
            self.events.write(name, item.part_event(output_index, self.style), out);
        }
        self.items.push(item);
    }

    /// Adds text to the open item.
    fn more(&mut self, text: &str, out: &mut Vec<u8>) {
        let Some(output_index) = self.items.len().checked_sub(1) else { return };
        let item = &mut self.items[output_index];
        let more = item.push(text);
        let text = &*more;
        if text.is_empty() {
            return;
        }
        let name = item.text_events(self.style).0;
        match item.kind {
            Kind::Message => {
                let delta = TextDelta {
                    item_id: &item.id,
                    output_index,
                    content_index: 0,
                    delta: text,
                    logprobs: &self.held,
                };
                self.events.write(name, delta, out);
                item.logprobs.append(&mut self.held);
            }
            _ => {
                let mut members = item.place(output_index, self.style);
                members.insert("delta".into(), text.into());
                self.events.write(name, members, out);
            }
        }
    }

    /// Closes the open item, if there is one.
    fn close(&mut self, status: &'static str, out: &mut Vec<u8>) {
        let Some(output_index) = self.items.len().checked_sub(1) else { return };
        let item = &mut self.items[output_index];
        if item.status != LIVE {
            return;
        }
        if item.kind == Kind::Message && !self.held.is_empty() {
            // Tokens behind the text, such as the model's end.
            let (item_id, logprobs) = (&*item.id, &*self.held);
            let delta = TextDelta { item_id, output_index, content_index: 0, delta: "", logprobs };
            self.events.write(item.text_events(self.style).0, delta, out);
            item.logprobs.append(&mut self.held);
        }
        item.status = status;
        if self.events.is_silent {
            return;
        }
        self.events.write(item.text_events(self.style).1, item.text_done(output_index, self.style), out);
        if let Some((_, name)) = item.part_events(self.style) {
            self.events.write(name, item.part_event(output_index, self.style), out);
        }
        let done = json!({ "output_index": output_index, "item": item.value(self.style) });
        self.events.write("response.output_item.done", done, out);
    }

    fn finish(&mut self, ending: &Ending, out: &mut Vec<u8>) {
        self.reason = Some(ending.reason);
        let status = self.status();
        if self.items.is_empty() {
            // An answer of nothing is a message of nothing.
            self.open(Kind::Message, out);
        }
        self.close(status, out);
    }

    fn status(&self) -> &'static str {
        if self.reason == Some(FinishReason::Length) { "incomplete" } else { "completed" }
    }

    /// The whole response, which is kept.
    fn ended(&self, answer: &Generation) -> Value {
        let response = self.response(self.status(), Some(answer), None);
        if self.conversation.is_some() {
            let state = if self.is_background { State::BackgroundDone } else { State::Done };
            self.keep(response.to_string().into_bytes(), state, answer.app());
        }
        response
    }
}

impl Dialect for ResponsesDialect {
    fn id(&self) -> &str {
        &self.label.id
    }

    fn begin(&mut self, _: &Generation, out: &mut Vec<u8>) {
        let response = self.response("in_progress", None, None);
        for name in ["response.created", "response.in_progress"] {
            self.events.write(name, json!({ "response": response }), out);
        }
    }

    fn piece(
        &mut self,
        answer: &Generation,
        _: usize,
        delta: &Delta,
        ending: Option<&Ending>,
        out: &mut Vec<u8>,
    ) {
        for part in &delta.parts {
            self.part(answer, part, out);
        }
        if let Some(ending) = ending {
            self.finish(ending, out);
        }
    }

    fn end(&mut self, answer: &Generation, out: &mut Vec<u8>) {
        let response = self.ended(answer);
        let name = if self.status() == "completed" { "response.completed" } else { "response.incomplete" };
        self.events.write(name, json!({ "response": response }), out);
    }

    fn whole(&mut self, answer: &Generation, choices: Vec<Whole>) -> Vec<u8> {
        self.events.is_silent = true;
        let mut unheard = Vec::new();
        for Whole { delta, ending, .. } in &choices {
            self.piece(answer, 0, delta, Some(ending), &mut unheard);
        }
        self.ended(answer).to_string().into_bytes()
    }

    fn fail(&self, error: &ApiError, out: &mut Vec<u8>) {
        failed(error, &self.response("failed", None, Some(error)), self.events.n, out);
    }
}

/// Writes the events of a failure, from number `n` on; `response` says so.
pub(crate) fn failed(error: &ApiError, response: &Value, n: u64, out: &mut Vec<u8>) {
    let members =
        json!({ "code": error.code.unwrap_or(error.kind), "message": error.message, "param": error.param });
    Event { r#type: "error", sequence_number: n, members }.write(out);
    let members = json!({ "response": response });
    Event { r#type: "response.failed", sequence_number: n + 1, members }.write(out);
}

/// An error as a response has it, with one of OpenAI's codes.
pub(crate) fn failure(error: &ApiError) -> Value {
    let code = match error.status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_exceeded",
        status if status.is_client_error() => "invalid_prompt",
        _ => "server_error",
    };
    json!({ "code": code, "message": error.message, "type": error.kind, "param": error.param })
}

fn usage(totals: &Totals) -> Value {
    json!({
        "input_tokens": totals.n_prompt,
        "input_tokens_details": { "cached_tokens": totals.n_cached, "cache_write_tokens": 0 },
        "output_tokens": totals.n_completion,
        "output_tokens_details": { "reasoning_tokens": totals.n_reasoning },
        "total_tokens": totals.n_prompt + totals.n_completion,
    })
}
