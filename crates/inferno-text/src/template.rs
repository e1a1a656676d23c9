//! Chat templates: Jinja from the model's file, rendered straight to tokens.
//!
//! Two things are untrusted. The template is a program out of a file: it runs with a budget of steps, of bytes and of
//! output, nests to a bounded depth, and can reach nothing but its arguments (`jinja.rs`).
//! The messages are a stranger's text: they may not produce a control token. Every character of the output is known to
//! be the template's or the messages', whatever the template did to it; control tokens are looked for in runs of the
//! template's own characters alone. Roles are the exception: templates make control tokens of them
//! (`'<|' ~ role ~ '|>'`), so the usual ones, and those that the template names, count as its own.

mod error;
mod profile;
mod reply;
mod source;
mod tokens;

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use inferno_format::{Metadata, MetadataError};
use serde::{Deserialize, Serialize};

use crate::error::printable;
use crate::jinja::{self, Fail, Limits, Template, Text, Value};
use crate::special::{Part, Set};
pub use error::TemplateError;
pub use profile::{ArgumentsForm, ContentForm, TemplateProfile, text_part};
pub use tokens::{Rendered, RenderedPart, TemplateTokens};

/// Steps of a template for a short conversation: half a second.
const FUEL: u64 = 20_000_000;
/// And for each pair of messages, as templates look through all of them for each.
const FUEL_PER_PAIR: u64 = 200;
/// Steps for the longest conversation.
const MOST_FUEL: u64 = 1_000_000_000;
/// Bytes of strings that a template may make for a short conversation, and per byte of a long one.
const BYTES: u64 = 256 << 20;
const BYTES_PER_BYTE: u64 = 64;
/// Roles that a template may make control tokens of without naming them.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// Renders messages as a model's prompt: a [`ChatTemplate`], or a process that runs one.
pub trait ChatRenderer: Debug + Send + Sync {
    /// The form of messages that the template expects.
    fn profile(&self) -> &TemplateProfile;

    /// The prompt for `messages`: objects with at least `role`, mostly also `content`. Only the template's own text
    /// becomes control tokens.
    ///
    /// # Errors
    /// The template refuses the messages, fails on them, or exceeds a limit.
    fn render(
        &self,
        messages: &[serde_json::Value],
        options: &RenderOptions,
    ) -> Result<Rendered, TemplateError>;
}

/// A chat template, parsed.
#[derive(Debug)]
pub struct ChatTemplate {
    template: Template,
    tokens: Arc<TemplateTokens>,
    /// Finds control tokens.
    reserved: Set,
    profile: TemplateProfile,
    /// Roles, and the words of the template, in lower case.
    words: HashSet<String>,
}

/// Inputs of a prompt besides the messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenderOptions {
    /// Ends the prompt with the start of the model's answer.
    pub add_generation_prompt: bool,
    /// The tools the model may call: an array, in the form the template expects.
    pub tools: Option<serde_json::Value>,
    /// Further variables for the template, scalars only.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// The time that the template's `strftime_now` writes.
    pub now: SystemTime,
    /// Seconds that the local time it writes is ahead of UTC.
    pub utc_offset: i32,
    /// Limit of the text the template may write, in bytes.
    pub max_bytes: usize,
}

impl Default for RenderOptions {
    fn default() -> Self {
        let now = SystemTime::now();
        RenderOptions {
            add_generation_prompt: true,
            tools: None,
            extra: serde_json::Map::new(),
            now,
            utc_offset: jinja::utc_offset(since_1970(now).0),
            max_bytes: 4 << 20,
        }
    }
}

/// A message of plain text.
pub fn message(role: &str, content: &str) -> serde_json::Value {
    serde_json::json!({ "role": role, "content": content })
}

/// The source of a file's chat template (`tokenizer.chat_template`), if it has one that is not empty.
///
/// # Errors
/// The key is not a string.
pub fn template_source(m: &Metadata) -> Result<Option<&str>, MetadataError> {
    Ok(m.opt_str("tokenizer.chat_template")?.filter(|source| !source.is_empty()))
}

impl ChatTemplate {
    /// Parses a template, and renders probe messages to find its [`profile`](Self::profile).
    ///
    /// # Errors
    /// The template does not parse.
    pub fn new(source: &str, tokens: Arc<TemplateTokens>) -> Result<ChatTemplate, TemplateError> {
        let template = Template::parse(source).map_err(|fail| match fail {
            Fail::Error { line, reason } => {
                TemplateError::Syntax { line: line as usize, reason: shown(&reason) }
            }
            _ => TemplateError::OutOfFuel,
        })?;
        let literals = source::string_literals(source);
        let words = literals.iter().map(String::as_str).chain(source::attributes(source)).chain(ROLES);
        let words = words.map(str::to_lowercase).collect();
        let takes_developer = literals.iter().any(|literal| literal.contains("developer"));
        let reserved = tokens.reserved.iter().map(|(id, text)| (*id, text.as_str()));
        let mut template = ChatTemplate {
            template,
            reserved: Set::of_texts(reserved),
            tokens: Arc::clone(&tokens),
            profile: TemplateProfile::default(),
            words,
        };
        template.profile = profile::probe(&template, takes_developer);
        let (format, arguments) = reply::recognize(&template, source);
        template.profile = TemplateProfile { reply: format, arguments, ..template.profile };
        Ok(template)
    }

    fn variables<'v>(
        &'v self,
        messages: &[serde_json::Value],
        options: &'v RenderOptions,
    ) -> Result<Vec<(&'v str, Value)>, TemplateError> {
        let mut all = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            if !message["role"].as_str().is_some_and(is_role) {
                return Err(TemplateError::Role { index });
            }
            all.push(self.message(message)?);
        }
        let tools = options.tools.as_ref().map_or(Ok(Value::None), to_value)?;
        let mut variables = vec![
            ("messages", Value::list(all).map_err(|fail| stopped(fail, options))?),
            ("add_generation_prompt", Value::Bool(options.add_generation_prompt)),
            ("tools", tools),
            ("documents", Value::None),
        ];
        let named = [
            ("bos_token", &self.tokens.bos),
            ("eos_token", &self.tokens.eos),
            ("unk_token", &self.tokens.unknown),
        ];
        for (name, text) in named {
            variables.extend(text.as_deref().map(|text| (name, Value::str(text))));
        }
        let taken = |name: &str| {
            matches!(name, "bos_token" | "eos_token" | "unk_token")
                || variables.iter().any(|(n, _)| *n == name)
        };
        let mut extra = Vec::new();
        for (name, value) in &options.extra {
            if value.is_array() || value.is_object() || taken(name) {
                return Err(TemplateError::Variable { name: printable(name) });
            }
            extra.push((name.as_str(), to_value(value)?));
        }
        variables.extend(extra);
        Ok(variables)
    }

    /// A message, whose role is the template's own if it knows it.
    fn message(&self, message: &serde_json::Value) -> Result<Value, TemplateError> {
        let Value::Dict(dict) = to_value(message)? else { return to_value(message) };
        let pairs = dict.pairs().iter().map(|(key, value)| match (key.as_text(), value.as_text()) {
            (Some(name), Some(role))
                if name.as_str() == "role" && self.words.contains(&role.as_str().to_lowercase()) =>
            {
                (key.clone(), Value::str(role.as_str()))
            }
            _ => (key.clone(), value.clone()),
        });
        Value::dict(pairs.collect()).map_err(too_deep)
    }

    fn limits(&self, messages: &[serde_json::Value], options: &RenderOptions) -> Limits {
        let n = messages.len() as u64;
        let n_bytes = (messages.iter().chain(&options.tools).map(size).sum::<usize>()) as u64;
        let fuel = FUEL
            .saturating_add(FUEL_PER_PAIR.saturating_mul(n.saturating_mul(n)))
            .saturating_add(n.saturating_mul(n_bytes) / 8);
        Limits {
            fuel: fuel.min(MOST_FUEL),
            output: options.max_bytes,
            bytes: BYTES + BYTES_PER_BYTE * n_bytes,
            now: since_1970(options.now),
            utc_offset: options.utc_offset,
        }
    }
}

/// Bytes of text in it, about.
fn size(value: &serde_json::Value) -> usize {
    use serde_json::Value as Json;
    match value {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(size).sum(),
        Json::Object(pairs) => pairs.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 8,
    }
}

/// Input of a template: all its strings and numbers are foreign.
pub(crate) fn to_value(json: &serde_json::Value) -> Result<Value, TemplateError> {
    use serde_json::Value as Json;
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => number(n),
        Json::String(text) => Value::Str(Text::foreign(text.as_str())),
        Json::Array(all) => {
            let items = all.iter().map(to_value).collect::<Result<_, _>>()?;
            Value::list(items).map_err(too_deep)?
        }
        Json::Object(pairs) => {
            let pair = |(key, value): (&String, &Json)| {
                Ok((Value::Str(Text::foreign(key.as_str())), to_value(value)?))
            };
            let pairs = pairs.iter().map(pair).collect::<Result<_, TemplateError>>()?;
            Value::dict(pairs).map_err(too_deep)?
        }
    })
}

/// Integers are exact to 128 bits, all others are floats.
fn number(n: &serde_json::Number) -> Value {
    match n.as_i128() {
        Some(n) => Value::Int(n, true),
        None => Value::Float(n.as_f64().unwrap_or(f64::NAN), true),
    }
}

/// Seconds and microseconds.
fn since_1970(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_micros()),
        Err(_) => (0, 0),
    }
}

impl ChatRenderer for ChatTemplate {
    fn profile(&self) -> &TemplateProfile {
        &self.profile
    }

    fn render(
        &self,
        messages: &[serde_json::Value],
        options: &RenderOptions,
    ) -> Result<Rendered, TemplateError> {
        let variables = self.variables(messages, options)?;
        let limits = self.limits(messages, options);
        let written = self.template.render(variables, limits).map_err(|fail| stopped(fail, options))?;
        let mut rendered = Rendered::default();
        for (run, is_foreign) in written.runs() {
            match is_foreign {
                true => rendered.push_text(run),
                false => self.reserved.partition(run).into_iter().for_each(|part| match part {
                    Part::Token(id) => rendered.parts.push(RenderedPart::Token(id)),
                    Part::Text(text) => rendered.push_text(text),
                }),
            }
        }
        Ok(rendered)
    }
}

fn is_role(role: &str) -> bool {
    (1..=64).contains(&role.len())
        && role.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// The error for a template's failure.
fn stopped(fail: Fail, options: &RenderOptions) -> TemplateError {
    match fail {
        Fail::Raised(words) => TemplateError::Refused { reason: shown(&words) },
        Fail::OutOfFuel => TemplateError::OutOfFuel,
        Fail::OutputTooLong => TemplateError::OutputTooLong { limit: options.max_bytes },
        Fail::Error { line, reason } => {
            TemplateError::Stopped { line: line as usize, reason: shown(&reason) }
        }
    }
}

/// Input that nests too deep.
fn too_deep(fail: Fail) -> TemplateError {
    match fail {
        Fail::Error { reason, .. } => TemplateError::Stopped { line: 0, reason },
        _ => TemplateError::OutOfFuel,
    }
}

/// A template's words as a message may hold them: cut short, on one line.
fn shown(words: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().take(200).map(printable).collect()
}
