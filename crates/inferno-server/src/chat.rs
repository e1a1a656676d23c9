//! `POST /v1/chat/completions`: from messages to a prompt.

use std::sync::Arc;

use inferno_engine::{Distribution, Logprobs};
use inferno_grammar::{ReasoningCase, ReasoningRules};
use inferno_text::{
    ChatRenderer, RenderOptions, Rendered, RenderedPart, ReplyFormat, ReplyStart, Stopped, Tokenizer,
};
use serde_json::{Map, Value};

use crate::app::{App, Template, Text};
use crate::body::{self, Reading};
use crate::completion;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::json::Limits;
use crate::options::{self, Options, ReplyOptions};
use crate::settings::Settings;
use crate::unsupported;
use crate::workers::Cancel;

mod borders;
mod calls;
mod form;
mod messages;
mod prefill;
mod thinking;
mod tools;

pub use form::for_template;
pub(crate) use thinking::Thinking;
pub use tools::read_tools;
pub(crate) use tools::{SchemaPath, Tools};

/// What a template is given.
#[derive(Debug)]
pub(crate) struct Conversation {
    messages: Vec<Value>,
    pub(crate) tools: Option<Tools>,
    pub(crate) thinking: Thinking,
    add_generation_prompt: bool,
    /// Whether the answer goes on from the text of the last message.
    continues: bool,
    /// Whether that text is told in front of the answer.
    echoes: bool,
    variables: Map<String, Value>,
    /// Limits of JSON in strings.
    limits: Limits,
}

/// A prompt as the engine gets it.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) tokens: Vec<u32>,
    /// Its last text, control tokens included: it tells whether the answer begins within reasoning.
    pub(crate) tail: String,
    /// See [`inferno_engine::Request::borders`].
    pub(crate) borders: Vec<usize>,
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

/// Bytes of a prompt's end in which marks of reasoning are looked for.
const TAIL: usize = 256;

/// Bytes of text per token, at most.
const LONGEST_TOKEN: usize = 1024;

impl Prompt {
    /// Cuts the prompt as `options` ask for it, and notes it there; the context has `most_tokens` for it and its answer.
    ///
    /// # Errors
    /// 400: a longer prompt is wanted than there is room for.
    pub(crate) fn cut(&mut self, options: &mut Options, most_tokens: usize) -> Result<(), ApiError> {
        let Some(truncation) = options.truncation else { return Ok(()) };
        let most = truncation.most(most_tokens.saturating_sub(options.max_tokens.unwrap_or(1)).max(1))?;
        let Some((n_cut, note)) = truncation.cut(&mut self.tokens, most) else { return Ok(()) };
        options.notes.push(note);
        let n_tokens = self.tokens.len();
        let moved = self.borders.iter().filter_map(|border| border.checked_sub(n_cut));
        self.borders = moved.filter(|&border| border > 0 && border < n_tokens).collect();
        if truncation.cuts_end() {
            self.tail.clear();
        }
        Ok(())
    }
}

impl Chat {
    pub(crate) fn read(body: Map<String, Value>, app: &App) -> Result<Chat, ApiError> {
        let mut fields = Fields::new(body);
        let conversation = Conversation::read(&mut fields, &app.settings, &app.text)?;
        let mut options = Options::read(&mut fields, &app.settings, &app.text.tokenizer)?;
        if options.max_tokens == Some(0) && !options.only_reads {
            let message = "`max_tokens` is 0, expected 1 or more, or `n_predict: 0` to read the prompt alone";
            return Err(ApiError::invalid("max_tokens", message));
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
        let profile = text.template.renderer().map(ChatRenderer::profile);
        let mut thinking = thinking::read(fields)?;
        thinking.set(&mut variables, settings, profile);
        let tools = tools::read(fields, settings)?;
        let (add_generation_prompt, mut continues) = prefill::read(fields)?;
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
        let read = |(i, message)| messages::read(i, message, text.template.renderer());
        let mut messages = messages.into_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let limits = Limits::of(settings);
        calls::complete(&mut messages, limits)?;
        continues |= prefill::take_marks(&mut messages)?;
        prefill::check(&messages, continues)?;
        let echoes = prefill::echo(fields, &messages, add_generation_prompt)?;
        Ok(Conversation {
            messages,
            tools,
            thinking,
            add_generation_prompt,
            continues,
            echoes,
            variables,
            limits,
        })
    }

    /// The text in front of the answer, as `echo` asks for it: that of the last message, if it is the assistant's.
    pub(crate) fn echo(&self) -> Option<String> {
        let last = self.messages.last().filter(|_| self.echoes)?;
        Some(form::text_of(&last["content"])).filter(|text| !text.is_empty())
    }

    /// Rules by which the parts of the answer to a prompt that ends with `tail` are told.
    pub(crate) fn reply(&self, tail: &str, template: &Template) -> ReplyOptions {
        let format = template.renderer().map(|renderer| &renderer.profile().reply);
        let tools = self.tools.iter().flat_map(|tools| &tools.callable);
        ReplyOptions {
            start: ReplyStart {
                in_reasoning: format.is_some_and(|format| self.is_in_reasoning(tail, format)),
                splits_reasoning: self.thinking.splits == Some(true),
                tools: tools.map(|tool| (tool.name.clone(), tool.parameters.clone())).collect(),
            },
            hides_reasoning: !self.thinking.shows,
        }
    }

    /// Whether the answer begins within reasoning that the prompt has opened.
    fn is_in_reasoning(&self, tail: &str, format: &ReplyFormat) -> bool {
        let Some(marks) = format.reasoning.as_ref().filter(|_| self.continues) else {
            return format.opens_reasoning(tail);
        };
        // A text that goes on may have opened it long before its end.
        let content = self.messages.last().map(|last| form::text_of(&last["content"])).unwrap_or_default();
        let (begin, end) = (marks.begin.trim(), marks.end.trim());
        !begin.is_empty() && content.rfind(begin) > content.rfind(end)
    }

    /// The rules of reasoning before the answer, where it has a budget or a grammar follows it; `options` has the grammar and
    /// says how the answer begins.
    pub(crate) fn reasoning(&self, options: &Options, app: &App) -> Option<Arc<ReasoningRules>> {
        let marks = app.text.template.renderer()?.profile().reply.reasoning.as_ref()?;
        let in_reasoning = options.reply.start.in_reasoning;
        let budget = self.thinking.budget;
        let knows = app.card.template.as_ref().is_some_and(|source| source.contains(marks.end.trim()));
        let case = ReasoningCase {
            in_reasoning,
            can_open: knows && !self.continues,
            is_enabled: self.thinking.enabled,
            budget,
            has_grammar: options.grammar.is_some(),
        };
        let calls = self.tools.as_ref().is_some_and(|tools| !tools.callable.is_empty());
        case.needs_rules().then(|| {
            let rules = ReasoningRules::new(Arc::clone(&app.text.tokenizer), marks, in_reasoning, budget);
            Arc::new(if calls { rules.without_calls(&app.replies.format) } else { rules })
        })
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
        let tools = self.tools.iter().flat_map(|tools| &tools.shown);
        self.messages.iter().chain(tools).map(size).sum()
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
        // Only a template that takes tools is given them: others have them in a system message.
        let shown = self.tools.as_ref().map(|tools| &tools.shown[..]);
        let profile = template.profile();
        let options = RenderOptions {
            add_generation_prompt: self.add_generation_prompt && !self.continues,
            tools: shown.filter(|_| !profile.reply.needs_system_text).map(|tools| tools.to_vec().into()),
            extra: self.variables.clone(),
            max_bytes: self.most_bytes(text.context_len),
            ..RenderOptions::default()
        };
        let mut messages = form::of(&self.messages, shown, profile, self.limits);
        let rendered = match self.continues {
            true => {
                let mark = prefill::mark(&mut messages);
                template.render(&messages, &options).map(|rendered| prefill::cut(rendered, &mark))
            }
            false => template.render(&messages, &options).map(Ok),
        };
        rendered.map_err(|e| ApiError::template(&e, text.context_len))?
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
) -> Result<(Conversation, Prompt), ApiError> {
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
        let tokens = tokens.map_err(|stopped| ApiError::stopped(stopped, "messages", most_tokens))?;
        let borders = borders::borders(&conversation.messages, &rendered, &tokens);
        let prompt = Prompt { tokens, tail: tail(&rendered, &text.tokenizer), borders };
        Ok((conversation, prompt))
    };
    reading.run(app, size, work).await
}

/// The last text of a prompt, long enough for any mark.
fn tail(rendered: &Rendered, tokenizer: &Tokenizer) -> String {
    let mut tail = String::new();
    for part in rendered.parts.iter().rev() {
        let text = match part {
            &RenderedPart::Token(id) => tokenizer.token_text(id).unwrap_or_default(),
            RenderedPart::Text(text) => text,
        };
        let start =
            (0..=text.len().saturating_sub(TAIL)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        tail.insert_str(0, &text[start..]);
        if tail.len() >= TAIL {
            break;
        }
    }
    tail
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
