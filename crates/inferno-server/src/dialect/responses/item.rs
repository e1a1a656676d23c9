//! Items of an output, and the members of their events.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::freeform::Freeform;
use crate::responses::{PLAIN, Style};

/// Status of an item that more is to come of.
pub(super) const LIVE: &str = "in_progress";

/// An item of an output.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) kind: Kind,
    /// Text, reasoning, arguments, or the input of a custom tool.
    pub(super) text: String,
    freeform: Freeform,
    /// Log-probabilities of a message's tokens.
    pub(super) logprobs: Vec<Value>,
    pub(super) status: &'static str,
}

/// Kinds of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    /// The id is that of the call, which its result names.
    Call {
        id: String,
        name: String,
    },
    /// A call of a custom tool, whose input is a text.
    Custom {
        id: String,
        name: String,
    },
}

impl Kind {
    pub(super) fn is_call(&self) -> bool {
        matches!(self, Kind::Call { .. } | Kind::Custom { .. })
    }
}

impl Item {
    /// An empty item, the `index`th of the answer `answer_id`.
    pub(super) fn new(kind: Kind, answer_id: &str, index: usize) -> Item {
        let prefix = match kind {
            Kind::Message => "msg",
            Kind::Reasoning => "rs",
            Kind::Call { .. } => "fc",
            Kind::Custom { .. } => "ctc",
        };
        let id = format!("{prefix}_{answer_id}_{index}");
        let (text, freeform) = (String::new(), Freeform::default());
        Item { id, kind, text, freeform, logprobs: Vec::new(), status: LIVE }
    }

    /// Takes more of what the model wrote. Returns what that adds to the item's text.
    pub(super) fn push<'a>(&mut self, written: &'a str) -> Cow<'a, str> {
        let more: Cow<'a, str> = match self.kind {
            Kind::Custom { .. } => self.freeform.push(written).into(),
            _ => written.into(),
        };
        self.text.push_str(&more);
        more
    }

    /// The item as events and answers have it.
    pub(super) fn value(&self, style: Style) -> Value {
        self.value_as(self.status, style)
    }

    /// The item with another status. While it is open it has no text yet.
    pub(super) fn value_as(&self, status: &str, style: Style) -> Value {
        let Item { id, kind, text, .. } = self;
        let parts = || if status == LIVE { json!([]) } else { json!([self.part(style)]) };
        match kind {
            Kind::Message => {
                json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": parts() })
            }
            Kind::Reasoning => {
                let mut item = json!({ "id": id, "type": "reasoning", "status": status, "summary": [] });
                item[if style.summarizes { "summary" } else { "content" }] = parts();
                if style.encrypts {
                    item["encrypted_content"] = format!("{PLAIN}{text}").into();
                }
                item
            }
            Kind::Call { id: call_id, name } => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call_id, "name": name,
                "arguments": text,
            }),
            Kind::Custom { id: call_id, name } => json!({
                "id": id, "type": "custom_tool_call", "status": status, "call_id": call_id, "name": name,
                "input": text,
            }),
        }
    }

    /// The item as a later request has it.
    pub(super) fn as_input(&self, style: Style) -> Value {
        let mut item = self.value(style);
        if let Some(logprobs) = item.pointer_mut("/content/0/logprobs") {
            *logprobs = json!([]);
        }
        item
    }

    /// The one part of a message or of reasoning.
    fn part(&self, style: Style) -> Value {
        let Item { text, logprobs, .. } = self;
        match self.kind {
            Kind::Message => {
                json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": logprobs })
            }
            _ if style.summarizes => json!({ "type": "summary_text", "text": text }),
            _ => json!({ "type": "reasoning_text", "text": text }),
        }
    }

    /// Events of new text, and of its end.
    pub(super) fn text_events(&self, style: Style) -> (&'static str, &'static str) {
        match self.kind {
            Kind::Message => ("response.output_text.delta", "response.output_text.done"),
            Kind::Reasoning if style.summarizes => {
                ("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done")
            }
            Kind::Reasoning => ("response.reasoning_text.delta", "response.reasoning_text.done"),
            Kind::Call { .. } => {
                ("response.function_call_arguments.delta", "response.function_call_arguments.done")
            }
            Kind::Custom { .. } => {
                ("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done")
            }
        }
    }

    /// Events of the beginning and the end of its part, if it has parts.
    pub(super) fn part_events(&self, style: Style) -> Option<(&'static str, &'static str)> {
        match self.kind {
            Kind::Call { .. } | Kind::Custom { .. } => None,
            Kind::Reasoning if style.summarizes => {
                Some(("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"))
            }
            _ => Some(("response.content_part.added", "response.content_part.done")),
        }
    }

    /// Members of events that say where they belong.
    pub(super) fn place(&self, output_index: usize, style: Style) -> Map<String, Value> {
        let mut place = Map::new();
        place.insert("item_id".into(), self.id.as_str().into());
        place.insert("output_index".into(), output_index.into());
        match self.kind {
            Kind::Call { .. } | Kind::Custom { .. } => {}
            Kind::Reasoning if style.summarizes => drop(place.insert("summary_index".into(), 0.into())),
            _ => drop(place.insert("content_index".into(), 0.into())),
        }
        place
    }

    /// Members of the event of the beginning or the end of its part.
    pub(super) fn part_event(&self, output_index: usize, style: Style) -> Map<String, Value> {
        let mut members = self.place(output_index, style);
        members.insert("part".into(), self.part(style));
        members
    }

    /// Members of the event of the end of its text.
    pub(super) fn text_done(&self, output_index: usize, style: Style) -> Map<String, Value> {
        let mut members = self.place(output_index, style);
        match &self.kind {
            Kind::Message => {
                members.insert("text".into(), self.text.as_str().into());
                members.insert("logprobs".into(), self.logprobs.clone().into());
            }
            Kind::Reasoning => {
                members.insert("text".into(), self.text.as_str().into());
            }
            Kind::Call { name, .. } => {
                members.insert("name".into(), name.as_str().into());
                members.insert("arguments".into(), self.text.as_str().into());
            }
            Kind::Custom { .. } => {
                members.insert("input".into(), self.text.as_str().into());
            }
        }
        members
    }
}
