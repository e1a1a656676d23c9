//! Chat templates: Jinja from the model's file, rendered straight to tokens.
//!
//! Two things are untrusted. The template is a program out of a file: it runs with a budget of steps, of output
//! and of recursion, and can reach nothing but its arguments. What one call of a filter or a method makes is
//! bounded too (`bounded.rs`). What operators (`~`, `+`, `*`, `in`, `==`) take is not, as the Jinja engine has no
//! hook for them, and deep expressions overflow the stack of the parser. A program that does not trust a template
//! runs it in a process with limits of memory, stack and time, which is what [`ChatRenderer`] is for.
//! The messages are a stranger's text: they may not produce a control token; `mark.rs` says how.

mod bounded;
mod error;
mod functions;
mod json;
mod mark;
mod profile;
mod source;
mod tokens;

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use inferno_format::{Metadata, MetadataError};
use minijinja::{Environment, Value, value::ValueKind};
use serde::{Deserialize, Serialize};

use crate::error::printable;
use crate::special::{Part, Set};
pub use error::TemplateError;
pub(crate) use mark::MARK;
use mark::{Marker, Reserved};
pub use profile::{ArgumentsForm, ContentForm, TemplateProfile};
pub use tokens::{Rendered, RenderedPart, TemplateTokens};

/// Steps a template may take.
const FUEL: u64 = 5_000_000;
/// How deep its blocks, macros and calls may nest.
const RECURSION: usize = 100;
/// Roles that a template may make control tokens of without naming them (`'<|' ~ role ~ '|>'`).
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
    environment: Environment<'static>,
    tokens: Arc<TemplateTokens>,
    /// Finds control tokens.
    reserved: Set,
    /// Their texts, which must not arise from a message.
    reserved_texts: Reserved,
    profile: TemplateProfile,
    /// The string constants in it: what it may look for in a message.
    literals: Vec<String>,
    /// Those, the names it may ask a message for, and roles, in lower case.
    words: HashSet<String>,
}

/// What goes into a prompt besides the messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenderOptions {
    /// Ends the prompt with the start of the model's answer.
    pub add_generation_prompt: bool,
    /// The tools the model may call: an array, in the form the template expects.
    pub tools: Option<serde_json::Value>,
    /// Further variables for the template, scalars only.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// What the template's `strftime_now` takes for now, in UTC.
    pub now: SystemTime,
    /// The most bytes of text the template may write. Four for each position of the context is ample.
    pub max_bytes: usize,
}

impl Default for RenderOptions {
    fn default() -> Self {
        RenderOptions {
            add_generation_prompt: true,
            tools: None,
            extra: serde_json::Map::new(),
            now: SystemTime::now(),
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
        if source.contains(MARK) {
            return Err(TemplateError::Noncharacter);
        }
        let mut environment = Environment::new();
        // As Hugging Face sets Jinja up.
        let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        bounded::add_to(&mut environment);
        functions::add_to(&mut environment);
        let literals = source::string_literals(source);
        let words = literals.iter().map(String::as_str).chain(source::attributes(source)).chain(ROLES);
        let words = words.map(str::to_lowercase).collect();
        let takes_developer = literals.iter().any(|literal| literal.contains("developer"));
        environment.add_template_owned("chat", source::without_generation_tags(source)).map_err(|error| {
            TemplateError::Syntax { line: error.line().unwrap_or(0), reason: reason(&error) }
        })?;
        let reserved = || tokens.reserved.iter().map(|(id, text)| (*id, text.as_str()));
        let mut template = ChatTemplate {
            environment,
            reserved: Set::of_texts(reserved()),
            reserved_texts: Reserved::new(reserved().map(|(_, text)| text)),
            tokens: Arc::clone(&tokens),
            profile: TemplateProfile::default(),
            literals,
            words,
        };
        template.profile = profile::probe(&template, takes_developer);
        Ok(template)
    }

    fn render_marked(
        &self,
        messages: &[serde_json::Value],
        options: &RenderOptions,
    ) -> Result<String, TemplateError> {
        let context = self.context(messages, options)?;
        let template = self.environment.get_template("chat").expect("it was added when this was made");
        let mut out = functions::Bounded { text: Vec::new(), left: options.max_bytes, is_full: false };
        let result = template.render_captured_to(context, &mut out).map(drop);
        if out.is_full {
            return Err(TemplateError::OutputTooLong { limit: options.max_bytes });
        }
        result.map_err(|error| stopped(&error))?;
        Ok(String::from_utf8(out.text).expect("templates write strings"))
    }

    fn context(
        &self,
        messages: &[serde_json::Value],
        options: &RenderOptions,
    ) -> Result<Value, TemplateError> {
        let marker = Marker::new(&self.reserved_texts, &self.literals, &self.words);
        let mut variables: Vec<(String, Value)> = Vec::new();
        let mut all = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            if !message["role"].as_str().is_some_and(is_role) {
                return Err(TemplateError::Role { index });
            }
            all.push(json::to_value(message, &marker)?);
        }
        variables.push(("messages".into(), Value::from(all)));
        variables.push(("add_generation_prompt".into(), options.add_generation_prompt.into()));
        let tools = options.tools.as_ref().map(|tools| json::to_value(tools, &marker)).transpose()?;
        variables.push(("tools".into(), tools.unwrap_or_else(|| Value::from(()))));
        let named = [
            ("bos_token", &self.tokens.bos),
            ("eos_token", &self.tokens.eos),
            ("unk_token", &self.tokens.unknown),
        ];
        for (name, text) in named {
            variables.extend(text.as_deref().map(|text| (name.into(), text.into())));
        }
        variables.push((functions::NOW.into(), functions::seconds(options.now).into()));
        let taken = |name: &str| {
            matches!(name, "bos_token" | "eos_token" | "unk_token" | "documents")
                || variables.iter().any(|(n, _)| n == name)
        };
        let mut extra = Vec::new();
        for (name, value) in &options.extra {
            if name.contains(MARK) {
                return Err(TemplateError::Noncharacter);
            }
            if value.is_array() || value.is_object() || taken(name) {
                return Err(TemplateError::Variable { name: printable(name) });
            }
            extra.push((name.clone(), json::to_value(value, &marker)?));
        }
        variables.extend(extra);
        Ok(Value::from_pairs(variables))
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
        let marked = self.render_marked(messages, options)?;
        let mut rendered = Rendered::default();
        for part in self.reserved.partition(&marked) {
            match part {
                Part::Token(id) => rendered.parts.push(RenderedPart::Token(id)),
                Part::Text(text) => match text.replace(MARK, "") {
                    text if text.is_empty() => {}
                    text => rendered.parts.push(RenderedPart::Text(text)),
                },
            }
        }
        Ok(rendered)
    }
}

fn is_role(role: &str) -> bool {
    (1..=64).contains(&role.len())
        && role.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// What a template's failure means.
fn stopped(error: &minijinja::Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = cause {
        if let Some(functions::Raised(words)) = e.downcast_ref() {
            return TemplateError::Refused { reason: shown(words) };
        }
        if let Some(e) = e.downcast_ref::<minijinja::Error>()
            && e.kind() == minijinja::ErrorKind::OutOfFuel
        {
            return TemplateError::OutOfFuel;
        }
        cause = e.source();
    }
    TemplateError::Stopped { line: error.line().unwrap_or(0), reason: reason(error) }
}

fn reason(error: &minijinja::Error) -> String {
    let detail = shown(error.detail().unwrap_or_default());
    match detail.is_empty() {
        true => error.kind().to_string(),
        false => format!("{}: {detail}", error.kind()),
    }
}

/// A template's words as a message may hold them: cut short, on one line, without marks.
fn shown(words: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().filter(|&c| c != MARK).take(200).map(printable).collect()
}

/// Whether a value is a mapping, for the functions that treat it apart.
fn is_map(value: &Value) -> bool {
    value.kind() == ValueKind::Map
}
