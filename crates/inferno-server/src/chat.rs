//! `POST /v1/chat/completions`: from messages to a prompt.

use std::sync::Arc;

use inferno_engine::{Distribution, Logprobs};
use inferno_text::{
    ArgumentsForm, ChatRenderer, ContentForm, RenderOptions, Rendered, Stopped, TemplateError, Tokenizer,
    text_part,
};
use serde_json::{Map, Value};

use crate::app::{App, Template, Text};
use crate::body::{self, Reading};
use crate::completion;
use crate::error::ApiError;
use crate::fields::{Fields, expected_at};
use crate::json::Limits;
use crate::options::{self, Options};
use crate::settings::Settings;
use crate::unsupported;
use crate::workers::Cancel;

mod calls;
mod thinking;

/// What a template is given.
#[derive(Debug)]
pub(crate) struct Conversation {
    messages: Vec<Value>,
    add_generation_prompt: bool,
    variables: Map<String, Value>,
    /// Limits of JSON in strings.
    limits: Limits,
}

impl Conversation {
    /// The messages, for the log.
    pub(crate) fn messages_shown(&self) -> Value {
        Value::Array(self.messages.clone())
    }
}

/// A chat request.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) conversation: Conversation,
    pub(crate) options: Options,
}

/// Bytes of text per token, at most.
const LONGEST_TOKEN: usize = 1024;

/// Who may speak. `developer` is the newer name of `system`.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

impl Chat {
    pub(crate) fn read(body: Map<String, Value>, app: &App) -> Result<Chat, ApiError> {
        let mut fields = Fields::new(body);
        let mut options = Options::read(&mut fields, &app.settings, &app.text.tokenizer)?;
        if options.max_tokens == Some(0) {
            return Err(ApiError::invalid("max_tokens", "`max_tokens` is 0, expected 1 or more"));
        }
        let wants = fields.boolean("logprobs")?.unwrap_or(false);
        match options::top(&mut fields, "top_logprobs")? {
            Some(1..) if !wants => {
                let message = "`top_logprobs` is only allowed with `logprobs: true`";
                return Err(ApiError::invalid("top_logprobs", message));
            }
            top if wants => {
                options.sampling.logprobs = Some(Logprobs { top: top.unwrap_or(0), of: Distribution::Raw });
            }
            _ => {}
        }
        let conversation = Conversation::read(&mut fields, &app.settings, &app.text)?;
        // The start token is there once, whether template or tokenizer writes it.
        if fields.boolean("add_special_tokens")? == Some(false) && app.text.tokenizer.add_bos() {
            let message = "`add_special_tokens` is false, which is not supported here: chats of this model begin with its \
                           start token; use `/v1/completions`";
            return Err(ApiError::unsupported("add_special_tokens", message));
        }
        unsupported::check_chat(&fields.into_rest())?;
        Ok(Chat { conversation, options })
    }
}

impl Conversation {
    /// Reads `messages` and what else goes into a template.
    pub(crate) fn read(
        fields: &mut Fields,
        settings: &Settings,
        text: &Text,
    ) -> Result<Conversation, ApiError> {
        let mut variables = variables(fields, settings)?;
        let (thinks, effort) = thinking::read(fields)?;
        if let Some(effort) = effort {
            if effort == "none" {
                variables.entry("enable_thinking").or_insert(Value::Bool(false));
            }
            variables.entry("reasoning_effort").or_insert(Value::String(effort));
        }
        if let Some(thinks) = thinks {
            variables.insert("enable_thinking".into(), thinks.into());
        }
        let add_generation_prompt = fields.boolean("add_generation_prompt")?.unwrap_or(true);
        let messages = match fields.take("messages") {
            Some(Value::Array(messages)) => messages,
            Some(other) => return Err(fields.expected("messages", &other, "an array of messages")),
            None => return Err(ApiError::missing("messages", "`messages` is missing: an array of messages")),
        };
        let most = settings.messages;
        if !(1..=most).contains(&messages.len()) {
            let message = format!("`messages` has {} messages, expected 1 to {most}", messages.len());
            return Err(ApiError::invalid("messages", message));
        }
        let read = |(i, message)| self::message(i, message, text.template.renderer());
        let messages = messages.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Conversation { messages, add_generation_prompt, variables, limits: Limits::of(settings) })
    }

    /// Bytes of text in it, about.
    pub(crate) fn size(&self) -> usize {
        fn size(value: &Value) -> usize {
            match value {
                Value::String(text) => text.len(),
                Value::Array(items) => items.iter().map(size).sum(),
                Value::Object(pairs) => pairs.iter().map(|(key, value)| key.len() + size(value)).sum(),
                _ => 8,
            }
        }
        self.messages.iter().map(size).sum()
    }

    /// Refuses a conversation that cannot fit before it is rendered. Templates leave out thoughts of the assistant and the
    /// white space around a text, but no words of others.
    fn check_length(&self, tokenizer: &Tokenizer, most_tokens: usize) -> Result<(), ApiError> {
        let exact = completion::exact(most_tokens);
        if self.size() <= exact {
            return Ok(());
        }
        fn least(content: &Value, tokenizer: &Tokenizer) -> usize {
            match content {
                Value::String(text) => tokenizer.least_tokens(text.trim()),
                Value::Array(parts) => parts.iter().map(|part| least(&part["text"], tokenizer)).sum(),
                _ => 0,
            }
        }
        let others = self.messages.iter().filter(|message| message["role"] != "assistant");
        let at_least = others.map(|message| least(&message["content"], tokenizer)).sum();
        match at_least > exact {
            true => Err(ApiError::stopped(Stopped::TooMany { at_least }, "messages", most_tokens)),
            false => Ok(()),
        }
    }

    /// The prompt. It may take long: [`rendered`] has threads for it.
    pub(crate) fn render(&self, text: &Text) -> Result<Rendered, ApiError> {
        let template = match &text.template {
            Template::Usable(template) => template,
            Template::Unusable(reason) => return Err(ApiError::template_failed(reason)),
            Template::Missing(reason) => {
                let message =
                    format!("there is no chat template: {reason}; use `/v1/completions` with a text");
                return Err(ApiError::bad_request(message));
            }
        };
        let options = RenderOptions {
            add_generation_prompt: self.add_generation_prompt,
            extra: self.variables.clone(),
            max_bytes: self.most_bytes(text.context_len),
            ..RenderOptions::default()
        };
        let render = |messages: &[Value]| template.render(messages, &options);
        // Most templates write arguments as JSON themselves, some paste the text that clients send.
        let wants = template.profile().arguments;
        let converted = match wants {
            ArgumentsForm::Object => calls::with_objects(&self.messages, self.limits),
            ArgumentsForm::Text => calls::with_texts(&self.messages),
        };
        let first = converted.as_deref().map(render);
        let rendered = match first {
            Some(Err(TemplateError::Stopped { .. } | TemplateError::Refused { .. })) | None => {
                render(&self.messages)
            }
            Some(done) => done,
        };
        rendered.map_err(|e| ApiError::template(&e, text.context_len))
    }

    /// Limit of a prompt's text: more than any prompt that fits the context has, and room to show a longer one.
    fn most_bytes(&self, context_len: usize) -> usize {
        let fits = context_len.saturating_mul(LONGEST_TOKEN).min(32 << 20);
        fits.max(4 * self.size() + (4 << 20))
    }
}

/// The prompt as the template writes it, which is rendered on a thread for that when it is the request's turn.
pub(crate) async fn rendered(
    conversation: Conversation,
    app: &App,
    reading: &Reading,
) -> Result<(Conversation, Rendered), ApiError> {
    let (text, size) = (Arc::clone(&app.text), conversation.size());
    let work = move |_: &Cancel| {
        let rendered = conversation.render(&text)?;
        Ok((conversation, rendered))
    };
    reading.render(app, size, work).await
}

/// The prompt as tokens, of which `most_tokens` are of use: more are counted up to twice as many.
pub(crate) async fn prompt(
    conversation: Conversation,
    app: &App,
    reading: &Reading,
    most_tokens: usize,
) -> Result<(Conversation, Vec<u32>), ApiError> {
    let (text, size) = (Arc::clone(&app.text), conversation.size());
    let check =
        move |_: &Cancel| conversation.check_length(&text.tokenizer, most_tokens).map(|()| conversation);
    let conversation = reading.run(app, size, check).await?;
    let (conversation, rendered) = self::rendered(conversation, app, reading).await?;
    let text = Arc::clone(&app.text);
    let work = move |cancel: &Cancel| {
        let is_cancelled = || cancel.is_set();
        let bounds = body::bounds(completion::exact(most_tokens), &is_cancelled);
        let tokens = text.tokenizer.encode_rendered_within(&rendered, bounds);
        tokens.map_err(|stopped| ApiError::stopped(stopped, "messages", most_tokens))
    };
    let tokens = reading.run(app, size, work).await?;
    Ok((conversation, tokens))
}

fn variables(fields: &mut Fields, settings: &Settings) -> Result<Map<String, Value>, ApiError> {
    const NAME: &str = "chat_template_kwargs";
    let Some(value) = fields.take(NAME) else { return Ok(Map::new()) };
    let Value::Object(variables) = value else {
        return Err(fields.expected(NAME, &value, "an object of scalars"));
    };
    let n_bytes: usize =
        variables.iter().map(|(name, value)| name.len() + value.as_str().map_or(8, str::len)).sum();
    if variables.len() > settings.template_variables || n_bytes > settings.template_variable_bytes {
        let (n, bytes) = (settings.template_variables, settings.template_variable_bytes);
        let message =
            format!("`{NAME}` is too large, expected at most {n} variables of {bytes} bytes in all");
        return Err(ApiError::invalid(NAME, message));
    }
    // Names that steer the rendering elsewhere are not variables of a template.
    let reserved =
        ["tokenize", "add_generation_prompt", "chat_template", "continue_final_message", "template"];
    if let Some(name) = variables.keys().find(|name| reserved.contains(&name.as_str())) {
        return Err(ApiError::invalid(NAME, format!("`{NAME}` may not set `{name}`")));
    }
    Ok(variables)
}

/// Checks a message, and brings it into the form that templates know.
fn message(i: usize, message: Value, template: Option<&dyn ChatRenderer>) -> Result<Value, ApiError> {
    let path = |name: &str| format!("messages[{i}].{name}");
    let Value::Object(mut message) = message else {
        return Err(expected_at(&format!("messages[{i}]"), &message, "an object with `role` and `content`"));
    };
    // As DeepSeek, Mistral and Kimi ask that the answer go on from their words.
    for name in ["prefix", "partial"] {
        if message.get(name) == Some(&Value::Bool(true)) {
            let path = path(name);
            let message = format!(
                "`{path}` is not supported: use `/v1/completions` with the text of `/apply-template`"
            );
            return Err(ApiError::unsupported(path, message));
        }
    }
    let role = match message.get("role") {
        Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role.clone(),
        other => {
            let found = other.unwrap_or(&Value::Null);
            return Err(expected_at(&path("role"), found, &format!("one of {}", ROLES.join(", "))));
        }
    };
    let profile = template.map(ChatRenderer::profile);
    let is_system = role == "developer" && !profile.is_some_and(|profile| profile.takes_developer);
    let role = if is_system { "system" } else { role.as_str() };
    let calls = message.get("tool_calls").filter(|calls| !calls.is_null());
    if let Some(calls) = calls {
        calls::check(&path("tool_calls"), calls)?;
    }
    let form = profile.map_or(ContentForm::Text, |profile| profile.content(role));
    let refusal = message.get("refusal").filter(|refusal| refusal.is_string()).cloned();
    let content = match (message.get_mut("content").map(Value::take), refusal) {
        (Some(Value::String(text)), _) => form.of_text(text),
        (Some(Value::Array(parts)), _) => {
            let texts = texts(&path("content"), parts)?;
            match form {
                ContentForm::Text => Value::String(texts.join("\n")),
                ContentForm::Parts | ContentForm::Both => texts.into_iter().map(text_part).collect(),
            }
        }
        // The words in which OpenAI's models decline.
        (None | Some(Value::Null), Some(Value::String(refusal))) if role == "assistant" => {
            message.insert("refusal".into(), Value::Null);
            form.of_text(refusal)
        }
        // An answer of calls alone, of thoughts alone, or of nothing.
        (None | Some(Value::Null), _) if role == "assistant" => match form {
            ContentForm::Text | ContentForm::Both => "".into(),
            ContentForm::Parts => Value::Array(Vec::new()),
        },
        (None | Some(Value::Null), _) => {
            let message = format!("`{}` is missing: a string, or an array of text parts", path("content"));
            return Err(ApiError::missing(path("content"), message));
        }
        (Some(other), _) => {
            return Err(expected_at(&path("content"), &other, "a string or an array of text parts"));
        }
    };
    message.insert("role".into(), role.into());
    message.insert("content".into(), content);
    // Keys keep their order, which templates that write a whole message show. Of the two names for an assistant's
    // thoughts templates know the longer one.
    let has_both = message.get("reasoning_content").is_some_and(|thoughts| !thoughts.is_null());
    let known =
        message.into_iter().filter(|(key, value)| !(value.is_null() || has_both && key == "reasoning"));
    let renamed = known.map(|(key, value)| match key.as_str() {
        "reasoning" => ("reasoning_content".to_owned(), value),
        _ => (key, value),
    });
    Ok(Value::Object(renamed.collect()))
}

/// Kinds of parts that hold no text.
const MEDIA: [&str; 16] = [
    "image_url",
    "image",
    "input_image",
    "image_file",
    "image_embeds",
    "audio",
    "audio_url",
    "input_audio",
    "audio_embeds",
    "video",
    "video_url",
    "input_video",
    "file",
    "input_file",
    "file_url",
    "document",
];

/// The texts of parts.
fn texts(path: &str, parts: Vec<Value>) -> Result<Vec<String>, ApiError> {
    let text = |(i, part): (usize, Value)| {
        let path = format!("{path}[{i}]");
        let kind = part["type"].as_str();
        // Some clients leave the kind out, and name the member by it.
        let keys = part.as_object().into_iter().flat_map(|part| part.keys().map(String::as_str));
        if let Some(kind) = kind.into_iter().chain(keys).find(|kind| MEDIA.contains(kind)) {
            let message =
                format!("`{path}` is of type `{kind}`, which is not supported: the model reads text only");
            return Err(ApiError::unsupported(path, message));
        }
        match (kind, &part["text"], &part["refusal"]) {
            (Some("text" | "input_text" | "output_text"), Value::String(text), _)
            | (Some("refusal"), _, Value::String(text)) => Ok(text.clone()),
            _ => Err(expected_at(&path, &part, "a part like {\"type\": \"text\", \"text\": \"…\"}")),
        }
    };
    parts.into_iter().enumerate().map(text).collect()
}
