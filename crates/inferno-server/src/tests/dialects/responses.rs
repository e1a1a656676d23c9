//! OpenAI's Responses: items with ids, sequence numbers, a whole response at both ends.

use inferno_reply::{Delta, Ending, FinishReason, Part, PartKind};
use serde_json::{Map, Value, json};

use super::named;
use crate::app::App;
use crate::chat::Chat;
use crate::dialect::{Dialect, Reads, Whole};
use crate::error::ApiError;
use crate::generation::Generation;
use crate::wire::Label;

pub(super) struct Responses {
    label: Label,
    n_events: u64,
    /// Items so far; the last one is open while `is_open`.
    items: Vec<Value>,
    is_open: bool,
}

impl Responses {
    fn event(&mut self, name: &str, members: Value, out: &mut Vec<u8>) {
        let mut event = json!({ "type": name, "sequence_number": self.n_events });
        event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.n_events += 1;
        named(name, &event, out);
    }

    fn response(&self, answer: &Generation, status: &str) -> Value {
        let totals = answer.totals();
        json!({
            "id": self.label.id, "object": "response", "created_at": self.label.created, "model": self.label.model,
            "status": status, "output": self.items,
            "usage": (status != "in_progress").then(|| json!({
                "input_tokens": totals.n_prompt, "output_tokens": totals.n_completion,
                "output_tokens_details": { "reasoning_tokens": totals.n_reasoning },
            })),
            "temperature": answer.options().sampling.spec.temperature,
        })
    }

    fn at(&self) -> Value {
        let output_index = self.items.len() - 1;
        json!({ "item_id": self.items[output_index]["id"], "output_index": output_index, "content_index": 0 })
    }

    /// Opens the item that `part` belongs to, unless it is open.
    fn open(&mut self, part: &Part, out: &mut Vec<u8>) {
        let kind = match &part.kind {
            PartKind::Text => "message",
            PartKind::Reasoning => "reasoning",
            PartKind::ToolCall { .. } => "function_call",
            PartKind::Arguments { .. } => return,
        };
        let goes_on = kind != "function_call" && self.is_open && self.items.last().unwrap()["type"] == kind;
        if goes_on || part.text.is_empty() && kind != "function_call" {
            return;
        }
        self.close(out);
        let id = format!("{kind}_{}_{}", self.label.id, self.items.len());
        let item = match &part.kind {
            PartKind::ToolCall { id: call_id, name, .. } => {
                json!({ "id": id, "type": kind, "call_id": call_id, "name": name, "arguments": "" })
            }
            _ => json!({ "id": id, "type": kind, "content": [{ "text": "" }] }),
        };
        self.items.push(item.clone());
        self.is_open = true;
        let output_index = self.items.len() - 1;
        self.event("response.output_item.added", json!({ "output_index": output_index, "item": item }), out);
        if kind == "message" {
            self.event("response.content_part.added", self.at(), out);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let item = self.items.last().unwrap().clone();
        let mut done = self.at();
        let name = match item["type"].as_str().unwrap() {
            "function_call" => {
                done["arguments"] = item["arguments"].clone();
                "response.function_call_arguments.done"
            }
            "message" => {
                done["text"] = item["content"][0]["text"].clone();
                "response.output_text.done"
            }
            _ => "response.reasoning_text.done",
        };
        self.event(name, done, out);
        if item["type"] == "message" {
            self.event("response.content_part.done", self.at(), out);
        }
        let output_index = self.items.len() - 1;
        self.event("response.output_item.done", json!({ "output_index": output_index, "item": item }), out);
    }

    fn status(ending: &Ending) -> &'static str {
        if ending.reason == FinishReason::Length { "incomplete" } else { "completed" }
    }
}

impl Reads<Chat> for Responses {
    const ROUTE: &'static str = "/test/responses";

    fn read(mut body: Map<String, Value>, app: &App) -> Result<(Chat, Responses), ApiError> {
        let input = body.remove("input").unwrap_or_default();
        body.insert("messages".into(), json!([{ "role": "user", "content": input }]));
        if let Some(most) = body.remove("max_output_tokens") {
            body.insert("max_tokens".into(), most);
        }
        let label = Label::new(app, "resp_");
        Ok((Chat::read(body, app)?, Responses { label, n_events: 0, items: Vec::new(), is_open: false }))
    }

    fn error(error: &ApiError) -> Value {
        crate::dialect::error_body(error)
    }
}

impl Dialect for Responses {
    fn id(&self) -> &str {
        &self.label.id
    }

    fn begin(&mut self, answer: &Generation, out: &mut Vec<u8>) {
        for name in ["response.created", "response.in_progress"] {
            let response = self.response(answer, "in_progress");
            self.event(name, json!({ "response": response }), out);
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
            self.open(part, out);
            if part.text.is_empty() {
                continue;
            }
            let (name, place) = match part.kind {
                PartKind::Arguments { .. } => ("response.function_call_arguments.delta", "/arguments"),
                PartKind::Reasoning => ("response.reasoning_text.delta", "/content/0/text"),
                _ => ("response.output_text.delta", "/content/0/text"),
            };
            let text = self.items.last_mut().unwrap().pointer_mut(place).unwrap();
            *text = (text.as_str().unwrap().to_owned() + &part.text).into();
            let mut members = self.at();
            members["delta"] = part.text.as_str().into();
            self.event(name, members, out);
        }
        if let Some(ending) = ending {
            self.close(out);
            let status = Responses::status(ending);
            let response = self.response(answer, status);
            self.event(&format!("response.{status}"), json!({ "response": response }), out);
        }
    }

    fn end(&mut self, _: &Generation, _: &mut Vec<u8>) {}

    fn whole(&mut self, answer: &Generation, choices: Vec<Whole>) -> Vec<u8> {
        let mut unheard = Vec::new();
        let Whole { delta, ending, .. } = &choices[0];
        self.piece(answer, 0, delta, Some(ending), &mut unheard);
        self.response(answer, Responses::status(ending)).to_string().into_bytes()
    }

    fn fail(&self, error: &ApiError, out: &mut Vec<u8>) {
        let event = json!({ "type": "error", "sequence_number": self.n_events, "message": error.message });
        named("error", &event, out);
    }
}
