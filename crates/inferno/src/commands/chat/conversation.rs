//! Messages of a conversation, and which of them prompts contain.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use inferno_text::message;
use serde_json::Value;

/// Messages of a chat, and which of them prompts contain.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) system: Option<String>,
    /// Turns: a message of the user, and the answer. Between an answer with calls and the next one are results of the calls.
    messages: Vec<Value>,
    /// Number of oldest messages that are left out of prompts: whole turns.
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
    /// The text is something else, or its messages are not in the order of a chat.
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
            let expected: &[&str] = match messages.last().map_or("", role_of) {
                "user" => &["assistant"],
                "tool" => &["tool", "assistant"],
                "assistant" if messages.last().is_some_and(|last| last.get("tool_calls").is_some()) => {
                    &["user", "tool"]
                }
                _ => &["user"],
            };
            ensure!(expected.contains(&role), "message {i}: expected the role `{}`", expected.join("` or `"));
            let mut message = message(role, content);
            if let Some(calls) = calls {
                message["tool_calls"] = calls.clone();
            }
            for key in ["tool_call_id", "name"] {
                if let Some(text) = item.get(key).filter(|text| role == "tool" && text.is_string()) {
                    message[key] = text.clone();
                }
            }
            messages.push(message);
        }
        ensure!(
            messages.last().is_none_or(|last| role_of(last) == "assistant"),
            "the last message has no answer"
        );
        Ok(Conversation { system, messages, ..Conversation::default() })
    }

    /// All messages, including those left out of prompts.
    pub(super) fn to_json(&self) -> Value {
        let system = self.system.iter().map(|text| message("system", text));
        system.chain(self.messages.iter().cloned()).collect()
    }

    /// Messages of the next prompt, without its oldest `n` turns.
    pub(super) fn prompt(&self, n: usize) -> Vec<Value> {
        let system = self.system.iter().map(|text| message("system", text));
        system.chain(self.messages[self.start_of(n)..].iter().cloned()).collect()
    }

    /// Leaves the oldest `n` turns of the prompt out of later prompts.
    pub(super) fn drop_oldest(&mut self, n: usize) {
        self.n_dropped = self.start_of(n);
    }

    /// Number of turns in the prompt.
    pub(super) fn n_in_prompt(&self) -> usize {
        count_turns(&self.messages[self.n_dropped..])
    }

    /// Number of messages of the newest turn.
    pub(super) fn n_newest(&self) -> usize {
        self.messages.len() - self.start_of_newest()
    }

    /// Index of the first message of the `n`-th turn in the prompt.
    fn start_of(&self, n: usize) -> usize {
        let mut starts =
            (self.n_dropped..self.messages.len()).filter(|&i| role_of(&self.messages[i]) == "user");
        starts.nth(n).unwrap_or(self.messages.len())
    }

    fn start_of_newest(&self) -> usize {
        self.messages.iter().rposition(|message| role_of(message) == "user").unwrap_or(0)
    }

    /// Adds a message of the user, with what was attached.
    pub(super) fn ask(&mut self, text: &str) {
        let parts: Vec<&str> =
            std::iter::once(text).chain(self.attached.iter().map(String::as_str)).collect();
        self.messages.push(message("user", &parts.join("\n\n")));
    }

    /// Removes the newest message and returns it.
    pub(super) fn take_last(&mut self) -> Option<Value> {
        let last = self.messages.pop()?;
        // A turn that has lost its answer is answered again.
        self.n_dropped = match role_of(&last) {
            "user" => self.n_dropped.min(self.messages.len()),
            _ => self.n_dropped.min(self.start_of_newest()),
        };
        Some(last)
    }

    /// The newest message, if there is one.
    pub(super) fn last(&self) -> Option<&Value> {
        self.messages.last()
    }

    pub(super) fn push(&mut self, message: Value) {
        self.messages.push(message);
    }

    /// Removes the newest turn; `false` if there is none.
    pub(super) fn undo(&mut self) -> bool {
        while let Some(message) = self.take_last() {
            if role_of(&message) == "user" {
                return true;
            }
        }
        false
    }

    /// Forgets all but the system message.
    pub(super) fn reset(&mut self) {
        *self = Conversation::new(self.system.take());
    }

    /// A copy in which one turn replaces all turns of the prompt except the newest.
    pub(super) fn with_summary(&self, ask: &str, summary: &str) -> Conversation {
        let newest = self.start_of_newest().max(self.n_dropped);
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
        turns(count_turns(&self.messages))
    }
}

/// A number of turns, in words.
pub(super) fn turns(n: usize) -> String {
    if n == 1 { "1 turn".into() } else { format!("{n} turns") }
}

fn count_turns(messages: &[Value]) -> usize {
    messages.iter().filter(|message| role_of(message) == "user").count()
}

fn role_of(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        assert_eq!(read.n_in_prompt(), 1);
        let call = r#"{"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}"#;
        let read = Conversation::from_json(&format!("[{USER}, {call}]")).unwrap();
        assert_eq!(read.to_json()[1]["tool_calls"][0]["id"], "1");
        let result = r#"{"role": "tool", "tool_call_id": "1", "name": "f", "content": "5"}"#;
        let read =
            Conversation::from_json(&format!("[{USER}, {call}, {result}, {result}, {ASSISTANT}]")).unwrap();
        assert_eq!(
            (read.to_json()[2]["tool_call_id"].as_str(), read.turns().as_str()),
            (Some("1"), "1 turn")
        );
        for text in [
            "",
            "3",
            "{}",
            &format!("[{USER}]"),
            &format!("[{ASSISTANT}, {USER}]"),
            r#"[{"role": "user"}]"#,
            &format!("[{USER}, {call}, {result}]"),
            &format!("[{USER}, {ASSISTANT}, {result}, {ASSISTANT}]"),
            &format!("[{USER}, {result}, {ASSISTANT}]"),
        ] {
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
        all.drop_oldest(2);
        assert_eq!((all.prompt(0).len(), all.to_json().as_array().unwrap().len()), (2, 6));
        assert!(all.undo() && all.undo());
        assert_eq!((all.n_in_prompt(), all.turns().as_str()), (0, "1 turn"));
        assert!(all.undo() && !all.undo());
    }

    #[test]
    fn results_of_calls_belong_to_their_turn() {
        let mut all = Conversation::default();
        for i in 0..3 {
            all.ask(&format!("question {i}"));
            all.push(json!({ "role": "assistant", "content": "", "tool_calls": [{ "id": "1" }] }));
            all.push(json!({ "role": "tool", "tool_call_id": "1", "content": "5" }));
            all.push(message("assistant", "five"));
        }
        assert_eq!((all.n_in_prompt(), all.n_newest(), all.turns().as_str()), (3, 4, "3 turns"));
        assert_eq!((all.prompt(1).len(), all.with_summary("Summarize.", "Talk.").prompt(0).len()), (8, 6));
        all.drop_oldest(2);
        assert_eq!((all.n_in_prompt(), all.prompt(0).len()), (1, 4));
        // Answered again from the result on.
        all.take_last();
        assert_eq!((all.n_in_prompt(), all.prompt(0).len()), (1, 3));
        assert!(all.undo());
        assert_eq!((all.n_in_prompt(), all.turns().as_str()), (0, "2 turns"));
        // The answer of a turn that was left out: its turn comes back.
        all.take_last();
        assert_eq!((all.n_in_prompt(), all.prompt(0).len()), (1, 3));
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
