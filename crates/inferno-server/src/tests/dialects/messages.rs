//! Anthropic's Messages: numbered blocks, signed thoughts, the reason and the usage at the end.

use inferno_reply::{Delta, Ending, FinishReason, PartKind, StopReason};
use serde_json::{Map, Value, json};

use super::named;
use crate::app::App;
use crate::chat::Chat;
use crate::dialect::{Dialect, Reads, Whole};
use crate::error::ApiError;
use crate::generation::Generation;
use crate::places::Place;
use crate::wire::Label;

pub(super) struct Messages {
    label: Label,
    n_blocks: usize,
    /// Type of the open block.
    open: Option<&'static str>,
}

impl Messages {
    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(kind) = self.open.take() else { return };
        let index = self.n_blocks - 1;
        if kind == "thinking" {
            let delta = json!({ "type": "signature_delta", "signature": self.label.id });
            block("content_block_delta", index, "delta", &delta, out);
        }
        named("content_block_stop", &json!({ "type": "content_block_stop", "index": index }), out);
    }

    fn ending(ending: &Ending) -> Value {
        let reason = match (ending.reason, &ending.stop) {
            (FinishReason::ToolCalls, _) => "tool_use",
            (FinishReason::Length, _) => "max_tokens",
            (FinishReason::Stop, Some(_)) => "stop_sequence",
            (FinishReason::Stop, None) => "end_turn",
        };
        let sequence = match &ending.stop {
            Some(StopReason::String(text)) => Some(text),
            _ => None,
        };
        json!({ "stop_reason": reason, "stop_sequence": sequence })
    }
}

fn block(name: &str, index: usize, member: &str, value: &Value, out: &mut Vec<u8>) {
    named(name, &json!({ "type": name, "index": index, member: value }), out);
}

impl Reads<Chat> for Messages {
    const ROUTE: &'static str = "/test/messages";

    fn read(mut body: Map<String, Value>, app: &App) -> Result<(Chat, Messages), ApiError> {
        if let Some(tools) = body.get_mut("tools").and_then(Value::as_array_mut) {
            for tool in tools {
                let schema = tool.as_object_mut().and_then(|tool| tool.remove("input_schema"));
                let function = json!({ "name": tool["name"], "parameters": schema });
                *tool = json!({ "type": "function", "function": function });
            }
        }
        Ok((Chat::read(body, app)?, Messages { label: Label::new(app, "msg_"), n_blocks: 0, open: None }))
    }

    fn error(error: &ApiError) -> Value {
        let kind = match error.status.as_u16() {
            401 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            400..500 => "invalid_request_error",
            _ => "api_error",
        };
        json!({ "type": "error", "error": { "type": kind, "message": error.message } })
    }
}

impl Dialect for Messages {
    fn id(&self) -> &str {
        &self.label.id
    }

    fn begin(&mut self, answer: &Generation, out: &mut Vec<u8>) {
        let usage = json!({ "input_tokens": answer.totals().n_prompt, "output_tokens": 0 });
        let message = json!({ "id": self.label.id, "role": "assistant", "content": [], "usage": usage });
        named("message_start", &json!({ "type": "message_start", "message": message }), out);
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
            let (kind, delta_kind, member) = match part.kind {
                PartKind::Text => ("text", "text_delta", "text"),
                PartKind::Reasoning => ("thinking", "thinking_delta", "thinking"),
                PartKind::ToolCall { .. } => ("tool_use", "", ""),
                PartKind::Arguments { .. } => ("tool_use", "input_json_delta", "partial_json"),
            };
            let start = match &part.kind {
                PartKind::ToolCall { id, name, .. } => {
                    Some(json!({ "type": kind, "id": id, "name": name, "input": {} }))
                }
                PartKind::Text | PartKind::Reasoning if !part.text.is_empty() && self.open != Some(kind) => {
                    Some(json!({ "type": kind, member: "" }))
                }
                _ => None,
            };
            if let Some(start) = start {
                self.close(out);
                block("content_block_start", self.n_blocks, "content_block", &start, out);
                (self.n_blocks, self.open) = (self.n_blocks + 1, Some(kind));
            }
            if !part.text.is_empty() {
                let delta = json!({ "type": delta_kind, member: part.text });
                block("content_block_delta", self.n_blocks - 1, "delta", &delta, out);
            }
        }
        if let Some(ending) = ending {
            self.close(out);
            let usage = json!({ "output_tokens": answer.totals().n_completion });
            let delta = Messages::ending(ending);
            named("message_delta", &json!({ "type": "message_delta", "delta": delta, "usage": usage }), out);
        }
    }

    fn idle(&mut self, _: &Generation, _: Option<Place>, out: &mut Vec<u8>) {
        named("ping", &json!({ "type": "ping" }), out);
    }

    fn end(&mut self, _: &Generation, out: &mut Vec<u8>) {
        named("message_stop", &json!({ "type": "message_stop" }), out);
    }

    fn whole(&mut self, answer: &Generation, choices: Vec<Whole>) -> Vec<u8> {
        let Whole { delta, ending, .. } = &choices[0];
        let mut content: Vec<Value> = Vec::new();
        for part in &delta.parts {
            match &part.kind {
                PartKind::Text if part.text.is_empty() => {}
                PartKind::Text => content.push(json!({ "type": "text", "text": part.text })),
                PartKind::Reasoning => content.push(json!({ "type": "thinking", "thinking": part.text })),
                PartKind::ToolCall { id, name, .. } => {
                    content.push(json!({ "type": "tool_use", "id": id, "name": name, "input": {} }));
                }
                PartKind::Arguments { .. } => {
                    content.last_mut().unwrap()["input"] =
                        serde_json::from_str(&part.text).unwrap_or_default();
                }
            }
        }
        let mut message = Messages::ending(ending);
        message["content"] = content.into();
        message["usage"] = json!({ "output_tokens": answer.totals().n_completion });
        message.to_string().into_bytes()
    }

    fn fail(&self, error: &ApiError, out: &mut Vec<u8>) {
        named("error", &<Messages as Reads<Chat>>::error(error), out);
    }
}
