//! Conversations in files: a JSON array of messages, as chat completions take them.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use inferno_text::message;
use serde_json::Value;

use super::Chat;
use crate::prompt::read_file;

impl Chat<'_> {
    /// Writes the conversation to a file that is not there yet; what to say of it.
    pub(super) fn save(&self, path: &Path) -> Result<String> {
        let system = self.system.iter().map(|text| message("system", text));
        let messages: Vec<Value> = system.chain(self.messages.iter().cloned()).collect();
        let name = path.display();
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| match e.kind() {
                ErrorKind::AlreadyExists => {
                    anyhow!("`{name}` exists and is kept: `/save` takes the name of a new file")
                }
                _ => anyhow!("`{name}`: cannot create: {e}"),
            })?;
        file.write_all(format!("{:#}\n", Value::from(messages)).as_bytes())
            .with_context(|| format!("`{name}`: cannot write"))?;
        Ok(format!("saved {} in `{name}`", turns(&self.messages)))
    }

    /// Takes the conversation of a file in place of this one; what to say of it.
    pub(super) fn load(&mut self, path: &Path) -> Result<String> {
        let name = path.display();
        let (system, messages) =
            conversation(&read_file(path)?).with_context(|| format!("`{name}` is no conversation"))?;
        self.system = system;
        self.messages = messages;
        Ok(format!("loaded {} of `{name}`", turns(&self.messages)))
    }
}

/// Number of turns in `messages`, in words.
pub(super) fn turns(messages: &[Value]) -> String {
    match messages.len() / 2 {
        1 => "1 turn".into(),
        n => format!("{n} turns"),
    }
}

/// The system message, and the messages of user and assistant in turn.
fn conversation(text: &str) -> Result<(Option<String>, Vec<Value>)> {
    let json: Value = serde_json::from_str(text).context("expected JSON")?;
    let list = json.get("messages").unwrap_or(&json).as_array().context("expected an array of messages")?;
    let (mut system, mut messages) = (None, Vec::new());
    for (i, item) in list.iter().enumerate() {
        let role = item["role"].as_str().unwrap_or_default();
        let content =
            item["content"].as_str().with_context(|| format!("message {i}: expected a text as `content`"))?;
        if i == 0 && role == "system" {
            system = Some(content.to_owned());
            continue;
        }
        let expected = if messages.len() % 2 == 0 { "user" } else { "assistant" };
        ensure!(role == expected, "message {i}: expected the role `{expected}`");
        messages.push(message(role, content));
    }
    ensure!(messages.len() % 2 == 0, "the last message has no answer");
    Ok((system, messages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_conversations_are_taken() {
        let user = r#"{"role": "user", "content": "Hi"}"#;
        let assistant = r#"{"role": "assistant", "content": "Hello!"}"#;
        let system = r#"{"role": "system", "content": "Be kind."}"#;
        let (found, messages) = conversation(&format!("[{system}, {user}, {assistant}]")).unwrap();
        assert_eq!((found.as_deref(), messages.len()), (Some("Be kind."), 2));
        assert_eq!(conversation(&format!("{{\"messages\": [{user}, {assistant}]}}")).unwrap().1.len(), 2);
        for text in
            ["", "3", "{}", &format!("[{user}]"), &format!("[{assistant}, {user}]"), r#"[{"role": "user"}]"#]
        {
            assert!(conversation(text).is_err(), "{text}");
        }
    }
}
