//! `/v1/messages`: Anthropic's Messages.
//!
//! - A request becomes one of chats (`request.rs`): members that Messages does not have mean the same in both.
//! - Events number their blocks; a block is closed before the next one begins, and reasoning is signed when it is closed.
//! - Every uncached token counts as `input_tokens`; where the request has a `cache_control`, those of whole pages count as
//!   `cache_creation_input_tokens`, as the prefix cache stores all of them.

use inferno_engine::Miss;
use inferno_model::batch::PAGE_LEN;
use inferno_reply::{Delta, Ending, Part, PartKind};
use serde_json::{Map, Value, json};

use super::{Dialect, Reads, Whole, named_event};
use crate::app::App;
use crate::chat::{Chat, Conversation, SchemaPath};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generation::Generation;
use crate::options::{NAME_BYTES, check_model};
use crate::places::Place;
use crate::unsupported;
use crate::wire::Label;

mod blocks;
mod nonce;
mod request;
mod tools;
mod wire;

use request::Request;
use wire::{
    BlockDelta, BlockStart, Content, Message, More, OutputDetails, Signature, Stop, UsageBody, error_body,
};

/// Writes messages.
#[derive(Debug)]
pub(crate) struct MessagesDialect {
    label: Label,
    /// The request marks what is to be cached.
    marks_cache: bool,
    /// The request asks for edits of its context, of which none is made.
    edits_context: bool,
    /// The request asks how its prompt differs from that of an earlier answer, which is not kept.
    diagnoses: bool,
    /// Blocks so far; the last one is open while `open` is its kind.
    n_blocks: usize,
    open: Option<Kind>,
    signature: Signature,
}

/// Kinds of content blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    ToolUse,
}

impl MessagesDialect {
    /// Whether the fields of this dialect alone can be read: a test compares them with the API's description.
    #[cfg(test)]
    pub(crate) fn is_readable(body: Map<String, Value>, app: &App) -> bool {
        Request::read(body, app).is_ok()
    }

    /// The same of a request whose tokens are counted.
    #[cfg(test)]
    pub(crate) fn is_countable(body: Map<String, Value>, app: &App) -> bool {
        Request::read_counted(body, app).is_ok()
    }

    /// The conversation of a request whose tokens are counted: without `max_tokens`.
    ///
    /// # Errors
    /// 400: a field has a value that is not allowed. 404: it names another model.
    pub(crate) fn counted(body: Map<String, Value>, app: &App) -> Result<Conversation, ApiError> {
        let mut fields = Fields::new(Request::read_counted(body, app)?.chat);
        check_model(fields.string("model", NAME_BYTES)?.as_deref(), &app.card, &app.settings)?;
        let conversation = Conversation::read(&mut fields, &app.settings, &app.text)?;
        unsupported::check_prompt(&fields.into_rest())?;
        Ok(conversation)
    }

    fn part(&mut self, hides_reasoning: bool, part: &Part, out: &mut Vec<u8>) {
        let text = part.text.as_str();
        match &part.kind {
            PartKind::ToolCall { id, name, .. } => {
                let (id, name) = (id.clone(), name.clone());
                self.start(Kind::ToolUse, Content::ToolUse { id, name, input: json!({}) }, out);
            }
            _ if text.is_empty() => {}
            PartKind::Text => {
                if self.open != Some(Kind::Text) {
                    self.start(Kind::Text, Content::Text { text: String::new() }, out);
                }
                self.more(More::Text { text }, out);
            }
            PartKind::Reasoning => {
                if self.open != Some(Kind::Thinking) {
                    let content = Content::Thinking { thinking: String::new(), signature: String::new() };
                    self.start(Kind::Thinking, content, out);
                    self.signature = Signature::default();
                }
                self.signature.add(text);
                if !hides_reasoning {
                    self.more(More::Thinking { thinking: text }, out);
                }
            }
            PartKind::Arguments { .. } => self.more(More::InputJson { partial_json: text }, out),
        }
    }

    fn start(&mut self, kind: Kind, content_block: Content, out: &mut Vec<u8>) {
        self.close(out);
        let start = BlockStart { r#type: "content_block_start", index: self.n_blocks, content_block };
        named_event(start.r#type, &start, out);
        (self.n_blocks, self.open) = (self.n_blocks + 1, Some(kind));
    }

    fn more(&self, delta: More<'_>, out: &mut Vec<u8>) {
        let index = self.n_blocks.saturating_sub(1);
        let delta = BlockDelta { r#type: "content_block_delta", index, delta };
        named_event(delta.r#type, &delta, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(kind) = self.open.take() else { return };
        if kind == Kind::Thinking {
            self.more(More::Signature { signature: &self.signature.to_string() }, out);
        }
        let index = self.n_blocks - 1;
        named_event("content_block_stop", &json!({ "type": "content_block_stop", "index": index }), out);
    }

    fn message(
        &self,
        answer: &Generation,
        content: Vec<Content>,
        stop: Stop,
        n_output: usize,
    ) -> Message<'_> {
        let differs = self.diagnoses && matches!(answer.cached(), Some((_, Miss::DiffersAt(_))));
        let usage = UsageBody {
            service_tier: Some("standard"),
            cache_creation: Some(json!({
                "ephemeral_5m_input_tokens": self.usage(answer, n_output).cache_creation_input_tokens,
                "ephemeral_1h_input_tokens": 0,
            })),
            ..self.usage(answer, n_output)
        };
        Message {
            id: &self.label.id,
            r#type: "message",
            role: "assistant",
            model: &self.label.model,
            content,
            stop,
            usage,
            context_management: self.edits_context.then(|| json!({ "applied_edits": [] })),
            diagnostics: differs.then(|| json!({ "cache_miss_reason": { "type": "unavailable" } })),
            warnings: answer.warnings(),
        }
    }

    fn usage(&self, answer: &Generation, output_tokens: usize) -> UsageBody {
        let totals = answer.totals();
        let (n_prompt, cached) = (totals.n_prompt, totals.n_cached);
        let stored = if self.marks_cache { n_prompt / PAGE_LEN * PAGE_LEN } else { 0 };
        let created = stored.saturating_sub(cached);
        UsageBody {
            input_tokens: n_prompt - cached - created,
            cache_creation_input_tokens: created,
            cache_read_input_tokens: cached,
            output_tokens,
            output_tokens_details: OutputDetails { thinking_tokens: totals.n_reasoning.min(output_tokens) },
            cache_creation: None,
            service_tier: None,
        }
    }
}

impl Dialect for MessagesDialect {
    fn id(&self) -> &str {
        &self.label.id
    }

    fn begin(&mut self, answer: &Generation, out: &mut Vec<u8>) {
        let message = self.message(answer, Vec::new(), Stop::default(), 0);
        named_event("message_start", &json!({ "type": "message_start", "message": message }), out);
    }

    fn piece(
        &mut self,
        answer: &Generation,
        _choice: usize,
        delta: &Delta,
        ending: Option<&Ending>,
        out: &mut Vec<u8>,
    ) {
        let hides_reasoning = answer.options().reply.hides_reasoning;
        for part in &delta.parts {
            self.part(hides_reasoning, part, out);
        }
        if let Some(ending) = ending {
            self.close(out);
            let usage = self.usage(answer, answer.n_tokens(0));
            let delta = Stop::new(answer, ending);
            let event = json!({ "type": "message_delta", "delta": delta, "usage": usage });
            named_event("message_delta", &event, out);
        }
    }

    fn idle(&mut self, _answer: &Generation, _place: Option<Place>, out: &mut Vec<u8>) {
        named_event("ping", &json!({ "type": "ping" }), out);
    }

    fn end(&mut self, _answer: &Generation, out: &mut Vec<u8>) {
        named_event("message_stop", &json!({ "type": "message_stop" }), out);
    }

    fn whole(&mut self, answer: &Generation, choices: Vec<Whole>) -> Vec<u8> {
        let hides_reasoning = answer.options().reply.hides_reasoning;
        let mut choices = choices.into_iter();
        let Some(Whole { delta, ending, .. }) = choices.next() else { return Vec::new() };
        let (content, stop) = (wire::content(delta, hides_reasoning), Stop::new(answer, &ending));
        let message = self.message(answer, content, stop, answer.n_tokens(0));
        serde_json::to_vec(&message).expect("what is answered is JSON")
    }

    fn fail(&self, error: &ApiError, out: &mut Vec<u8>) {
        named_event("error", &error_body(error), out);
    }
}

impl Reads<Chat> for MessagesDialect {
    const ROUTE: &'static str = "/v1/messages";

    fn read(body: Map<String, Value>, app: &App) -> Result<(Chat, MessagesDialect), ApiError> {
        let Request { chat, marks_cache, edits_context, diagnoses, schema } = Request::read(body, app)?;
        let mut chat = Chat::read(chat, app)?;
        // Errors name the fields of this dialect.
        if let Some(tools) = &mut chat.conversation.tools {
            tools.schemas = SchemaPath { list: "tools", member: ".input_schema" };
        }
        if let (Some(structure), Some(param)) = (&mut chat.options.structure, schema) {
            structure.param = param.to_owned();
        }
        chat.options.ends_with_context = true;
        let label = Label::new(app, "msg_");
        let (n_blocks, open, signature) = (0, None, Signature::default());
        let dialect =
            MessagesDialect { label, marks_cache, edits_context, diagnoses, n_blocks, open, signature };
        Ok((chat, dialect))
    }

    fn error(error: &ApiError) -> Value {
        error_body(error)
    }
}
