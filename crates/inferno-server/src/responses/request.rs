//! A request as the chat that it stands for.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::items::{self, Messages};
use super::store::weight;
use crate::app::App;
use crate::chat::Chat;
use crate::error::ApiError;

/// A request of `/v1/responses`.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Fields of the chat, except its messages.
    pub(super) chat: Map<String, Value>,
    pub(super) instructions: Option<String>,
    /// The conversation, oldest first: items of earlier responses, then those of the request.
    pub(crate) items: Vec<Arc<Value>>,
    /// Number of items of earlier responses.
    pub(crate) n_past: usize,
    /// Whether the input is a text in place of items.
    pub(super) is_text: bool,
    /// Places of the functions and custom tools among the request's tools.
    pub(super) tool_places: Vec<usize>,
    /// Names of custom tools.
    pub(crate) custom: Vec<String>,
    /// Whether items at the start may be left out where the conversation does not fit.
    pub(crate) truncates: bool,
    pub(crate) stores: bool,
    pub(crate) is_background: bool,
    pub(crate) style: Style,
    /// Fields of the request that its response repeats, and the values of those it does not have.
    pub(crate) echo: Map<String, Value>,
    /// Parts of the request that have no effect here.
    pub(crate) warnings: Vec<String>,
    /// Items that are left out behind the first instructions.
    pub(super) n_cut: usize,
    /// The messages of the latest chat, which names of fields refer to.
    pub(super) messages: Messages,
}

/// Form of the output's items.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Reasoning is told as a summary of one part.
    pub(crate) summarizes: bool,
    /// Items of reasoning have `encrypted_content`.
    pub(crate) encrypts: bool,
}

/// Names of a chat's fields and those of a response's.
const NAMES: [(&str, &str); 8] = [
    ("messages", "input"),
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("reasoning_effort", "reasoning.effort"),
    ("tool_choice.function", "tool_choice"),
    ("tool_choice.allowed_tools", "tool_choice"),
];

impl Asked {
    /// The chat: with all items, or without those that [`cut`](Self::cut) leaves out.
    ///
    /// # Errors
    /// 400: an item or a field is malformed; the error has the request's names.
    pub(crate) fn chat(&mut self, app: &App) -> Result<Chat, ApiError> {
        let mut messages = Messages::default();
        if let Some(text) = &self.instructions {
            messages.text("system", "instructions", text);
        }
        let n_fixed = self.n_fixed();
        let start = n_fixed + self.n_cut;
        // A result whose call is left out is left out too.
        let orphans = self.items[start..].iter().take_while(|item| self.n_cut > 0 && items::is_result(item));
        let left_out = n_fixed..start + orphans.count();
        for (i, item) in self.items.iter().enumerate().filter(|(i, _)| !left_out.contains(i)) {
            messages.push(&self.path(i), item)?;
        }
        if self.items.is_empty() {
            messages.text("user", "input", "");
        }
        let mut body = self.chat.clone();
        body.insert("messages".into(), Value::Array(std::mem::take(&mut messages.all)));
        self.messages = messages;
        Chat::read(body, app).map_err(|error| self.named(error))
    }

    /// Bytes that the items take in memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.items.iter().map(|item| weight(item)).sum()
    }

    /// Number of items that may be left out: all behind the first instructions, except the last.
    pub(crate) fn n_cuttable(&self) -> usize {
        (self.items.len() - self.n_fixed()).saturating_sub(1)
    }

    /// Leaves out the `n` oldest items behind the first instructions.
    pub(crate) fn cut(&mut self, n: usize) {
        self.n_cut = n;
    }

    /// Everything in the request that has no effect.
    pub(crate) fn all_warnings(&self) -> Vec<String> {
        let mut all = self.warnings.clone();
        all.extend_from_slice(&self.messages.warnings);
        if self.n_cut > 0 {
            let n = self.n_cut;
            all.push(format!(
                "`truncation` is \"auto\": the {n} oldest items of the conversation are left out"
            ));
        }
        all
    }

    /// An error of the chat with the request's names for the chat's fields.
    pub(crate) fn named(&self, error: ApiError) -> ApiError {
        let Some(param) = error.param.as_deref() else { return error };
        let Some(name) = self.name(param) else { return error };
        let message = error.message.replace(&format!("`{param}`"), &format!("`{name}`"));
        ApiError { message, param: Some(name.into_boxed_str()), ..error }
    }

    fn name(&self, param: &str) -> Option<String> {
        self.messages.name(param).or_else(|| self.tool_name(param)).or_else(|| {
            NAMES.iter().find_map(|(chat, own)| {
                let rest = param.strip_prefix(chat)?;
                (rest.is_empty() || rest.starts_with(['.', '['])).then(|| format!("{own}{rest}"))
            })
        })
    }

    /// Functions have their members beside their type, and tools of other types stand between them.
    fn tool_name(&self, param: &str) -> Option<String> {
        let (tool, rest) = param.strip_prefix("tools[")?.split_once(']')?;
        let place = self.tool_places.get(tool.parse::<usize>().ok()?)?;
        Some(format!("tools[{place}]{}", rest.strip_prefix(".function").unwrap_or(rest)))
    }

    fn path(&self, item: usize) -> String {
        match item.checked_sub(self.n_past) {
            None => "previous_response_id".to_owned(),
            Some(_) if self.is_text => "input".to_owned(),
            Some(i) => format!("input[{i}]"),
        }
    }

    /// Number of items at the start that instruct the model.
    fn n_fixed(&self) -> usize {
        self.items.iter().take_while(|item| items::is_instruction(item)).count()
    }
}
