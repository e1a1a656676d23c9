//! Messages of a conversation, and which of them prompts contain.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use inferno_text::message;
use serde_json::Value;

/// Messages of a chat, and which of them prompts contain.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) system: Option<String>,
    /// Of user and assistant, in turn.
    messages: Vec<Value>,
    /// Number of oldest messages that are left out of prompts; even.
    n_dropped: usize,
    /// Texts of files, for the next message.
    pub(super) attached: Vec<String>,
    /// The file that it was saved in or loaded from last.
    pub(super) file: Option<PathBuf>,
}

impl Conversation {
    pub(super) fn new(system: Option<String>) -> Conversation {
        Conversation { system, ..Conversation::default() }
    }

    /// Reads a JSON array of messages, or an object with one, as chat completions take them.
    ///
    /// # Errors
    /// The text is something else, or users and assistants do not take turns.
    pub(super) fn from_json(text: &str) -> Result<Conversation> {
        let json: Value = serde_json::from_str(text).context("expected JSON")?;
        let list =
            json.get("messages").unwrap_or(&json).as_array().context("expected an array of messages")?;
        let (mut system, mut messages) = (None, Vec::new());
        for (i, item) in list.iter().enumerate() {
            let role = item["role"].as_str().unwrap_or_default();
            let calls = item.get("tool_calls").filter(|calls| role == "assistant" && calls.is_array());
            let content = match (&item["content"], calls) {
                (Value::Null, Some(_)) => "",
                (content, _) => {
                    content.as_str().with_context(|| format!("message {i}: expected a text as `content`"))?
                }
            };
            if i == 0 && role == "system" {
                system = Some(content.to_owned());
                continue;
            }
            let expected = if messages.len() % 2 == 0 { "user" } else { "assistant" };
            ensure!(role == expected, "message {i}: expected the role `{expected}`");
            let mut message = message(role, content);
            if let Some(calls) = calls {
                message["tool_calls"] = calls.clone();
            }
            messages.push(message);
        }
        ensure!(messages.len() % 2 == 0, "the last message has no answer");
        Ok(Conversation { system, messages, ..Conversation::default() })
    }

    /// All messages, including those left out of prompts.
    pub(super) fn to_json(&self) -> Value {
        let system = self.system.iter().map(|text| message("system", text));
        system.chain(self.messages.iter().cloned()).collect()
    }

    /// Messages of the next prompt, without the oldest `n` of them.
    pub(super) fn prompt(&self, n: usize) -> Vec<Value> {
        let system = self.system.iter().map(|text| message("system", text));
        system.chain(self.messages[self.n_dropped + n..].iter().cloned()).collect()
    }

    /// Leaves the oldest `n` messages of the prompt out of later prompts.
    pub(super) fn drop_oldest(&mut self, n: usize) {
        self.n_dropped += n;
    }

    /// Number of messages in the prompt, without the system message.
    pub(super) fn n_in_prompt(&self) -> usize {
        self.messages.len() - self.n_dropped
    }

    /// Adds a message of the user, with what was attached.
    pub(super) fn ask(&mut self, text: &str) {
        let parts: Vec<&str> =
            std::iter::once(text).chain(self.attached.iter().map(String::as_str)).collect();
        self.messages.push(message("user", &parts.join("\n\n")));
    }

    /// Removes the newest message and returns it.
    pub(super) fn take_last(&mut self) -> Option<Value> {
        let last = self.messages.pop();
        self.n_dropped = self.n_dropped.min(self.messages.len() / 2 * 2);
        last
    }

    pub(super) fn push(&mut self, message: Value) {
        self.messages.push(message);
    }

    /// Removes the newest turn; `false` if there is none.
    pub(super) fn undo(&mut self) -> bool {
        self.take_last().and_then(|_| self.take_last()).is_some()
    }

    /// Forgets all but the system message.
    pub(super) fn reset(&mut self) {
        *self = Conversation::new(self.system.take());
    }

    /// A copy in which one turn replaces all turns of the prompt except the newest.
    pub(super) fn with_summary(&self, ask: &str, summary: &str) -> Conversation {
        let newest = self.messages.len().saturating_sub(2).max(self.n_dropped);
        let mut messages = vec![message("user", ask), message("assistant", summary)];
        messages.extend_from_slice(&self.messages[newest..]);
        Conversation {
            system: self.system.clone(),
            messages,
            n_dropped: 0,
            attached: self.attached.clone(),
            file: None,
        }
    }

    /// Number of turns, in words.
    pub(super) fn turns(&self) -> String {
        turns(self.messages.len())
    }
}

/// Number of turns of `n_messages`, in words.
pub(super) fn turns(n_messages: usize) -> String {
    match n_messages / 2 {
        1 => "1 turn".into(),
        n => format!("{n} turns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = r#"{"role": "user", "content": "Hi"}"#;
    const ASSISTANT: &str = r#"{"role": "assistant", "content": "Hello!"}"#;

    #[test]
    fn only_conversations_are_taken() {
        let system = r#"{"role": "system", "content": "Be kind."}"#;
        let read = Conversation::from_json(&format!("[{system}, {USER}, {ASSISTANT}]")).unwrap();
        assert_eq!((read.system.as_deref(), read.turns().as_str()), (Some("Be kind."), "1 turn"));
        assert_eq!(Conversation::from_json(&read.to_json().to_string()).unwrap().to_json(), read.to_json());
        let read = Conversation::from_json(&format!("{{\"messages\": [{USER}, {ASSISTANT}]}}")).unwrap();
        assert_eq!(read.n_in_prompt(), 2);
        let call = r#"{"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}"#;
        let read = Conversation::from_json(&format!("[{USER}, {call}]")).unwrap();
        assert_eq!(read.to_json()[1]["tool_calls"][0]["id"], "1");
        for text in
            ["", "3", "{}", &format!("[{USER}]"), &format!("[{ASSISTANT}, {USER}]"), r#"[{"role": "user"}]"#]
        {
            assert!(Conversation::from_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dropped_turns_are_saved_and_come_back_by_no_undo() {
        let mut all = Conversation::default();
        for i in 0..3 {
            all.ask(&format!("question {i}"));
            all.push(message("assistant", "answer"));
        }
        all.drop_oldest(4);
        assert_eq!((all.prompt(0).len(), all.to_json().as_array().unwrap().len()), (2, 6));
        assert!(all.undo() && all.undo());
        assert_eq!((all.n_in_prompt(), all.turns().as_str()), (0, "1 turn"));
        assert!(all.undo() && !all.undo());
    }

    #[test]
    fn a_summary_replaces_all_turns_but_the_newest() {
        let mut all = Conversation::new(Some("Be kind.".into()));
        for i in 0..3 {
            all.ask(&format!("question {i}"));
            all.push(message("assistant", "answer"));
        }
        let contents = |all: &Conversation| -> Vec<String> {
            all.prompt(0).iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect()
        };
        let summary = all.with_summary("Summarize.", "Talk.");
        assert_eq!(contents(&summary), ["Be kind.", "Summarize.", "Talk.", "question 2", "answer"]);
    }
}
