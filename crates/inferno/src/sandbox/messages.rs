//! Messages between parent and child, as JSON.

use std::sync::Arc;

use inferno_text::{
    ChatRenderer, ChatTemplate, RenderOptions, Rendered, TemplateError, TemplateProfile, TemplateTokens,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message to the child; [`Asked`] as it is sent.
#[derive(Debug, Serialize)]
pub(super) enum Ask<'a> {
    /// Parses and probes a template: the first message.
    Load { source: &'a str, tokens: &'a TemplateTokens },
    /// Renders a conversation with it.
    Render { messages: &'a [Value], options: &'a RenderOptions },
}

/// The same as it is received.
#[derive(Debug, Deserialize)]
enum Asked {
    Load { source: String, tokens: TemplateTokens },
    Render { messages: Vec<Value>, options: RenderOptions },
}

impl Ask<'_> {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("its keys are strings")
    }
}

/// Reads an answer; `None` if it is none.
pub(super) fn read<T: DeserializeOwned>(answer: &[u8]) -> Option<Result<T, TemplateError>> {
    serde_json::from_slice(answer).ok()
}

/// The child's work: an answer to every message.
pub(crate) fn answerer() -> impl FnMut(&[u8]) -> Vec<u8> + Send + 'static {
    let mut loaded: Option<ChatTemplate> = None;
    move |message| {
        let answer = match serde_json::from_slice(message).expect("the parent sends what it should") {
            Asked::Load { source, tokens } => {
                let profile: Result<TemplateProfile, TemplateError> =
                    ChatTemplate::new(&source, Arc::new(tokens)).map(|template| {
                        let profile = template.profile().clone();
                        loaded = Some(template);
                        profile
                    });
                serde_json::to_vec(&profile)
            }
            Asked::Render { messages, options } => {
                let template = loaded.as_ref().expect("a template is loaded first");
                let rendered: Result<Rendered, TemplateError> = template.render(&messages, &options);
                serde_json::to_vec(&rendered)
            }
        };
        answer.expect("answers are plain data")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_child_renders_what_this_process_would() {
        let source = "{{ messages | tojson }}{{ bos_token }}{{ x }}{% if messages[1] %}<s>{% endif %}";
        let tokens = TemplateTokens {
            reserved: vec![(1, "<s>".into()), (2, "</s>".into())],
            bos: Some("<s>".into()),
            ..TemplateTokens::default()
        };
        let template = ChatTemplate::new(source, Arc::new(tokens.clone())).unwrap();
        let mut answer = answerer();
        let profile = read::<TemplateProfile>(&answer(&Ask::Load { source, tokens: &tokens }.to_bytes()));
        assert_eq!(profile, Some(Ok(template.profile().clone())));
        let numbers = json!([0.1, 1e-7, 1e300, -5, 12_345_678_901_234_567_890_u64, 5.551115123125783e-17]);
        let conversations = [
            json!([{ "role": "user", "content": "a <s> \u{0} \u{1f600}\n", "b": numbers, "a": null }]),
            json!([{ "role": "user", "content": "" }, { "role": "tool", "content": [{ "x": {} }] }]),
            json!([{ "role": "no role!" }]),
        ];
        let mut options = RenderOptions::default();
        options.extra.insert("x".into(), json!("<s>"));
        for messages in conversations.iter().filter_map(Value::as_array) {
            let rendered = read::<Rendered>(&answer(&Ask::Render { messages, options: &options }.to_bytes()));
            assert_eq!(rendered, Some(template.render(messages, &options)));
        }
    }
}
