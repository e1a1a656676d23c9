//! `/v1/chat/completions`: OpenAI's chat completions.
//!
//! - `logprobs.content` and `token_ids` have all tokens of a choice in order: those of reasoning, calls and marks too.
//! - A request with the older `functions` gets its one call as `function_call`.
//! - `echo` tells the last message's text in front of the content, as vLLM does; it has no tokens.
//! - Reasoning has both names that clients read: `reasoning_content` and `reasoning`.

use inferno_reply::{Delta, Ending, FinishReason, Part, PartKind, Shown};
use serde::Serialize;
use serde_json::{Map, Value};

use super::openai::{Envelope, error_body, stop_reason, wants};
use super::{Dialect, PromptNews, Reads, Whole, event};
use crate::app::App;
use crate::chat::Chat;
use crate::error::ApiError;
use crate::generation::Generation;
use crate::wire::{ChatLogprobs, Label, More, Names, PromptLogprobs};

/// Writes chat completions.
#[derive(Debug)]
pub(crate) struct ChatDialect {
    envelope: Envelope,
    /// The request has `functions`: a call is `function_call`.
    has_functions: bool,
    /// Text in front of every choice's.
    echo: Option<String>,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    message: Message,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
    /// vLLM's.
    stop_reason: Value,
    token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closed_early: bool,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    /// Null where there are only calls.
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<Function>,
}

#[derive(Debug, Serialize)]
struct Call {
    id: String,
    r#type: &'static str,
    function: Function,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    arguments: String,
}

#[derive(Debug, Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: ChatDelta<'a>,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
    /// Left out before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closed_early: bool,
}

#[derive(Debug, Default, Serialize)]
struct ChatDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionDelta<'a>>,
}

#[derive(Debug, Serialize)]
struct CallDelta<'a> {
    index: u32,
    /// In the first delta of a call, and there alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Debug, Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl ChatDialect {
    fn part(&mut self, answer: &Generation, choice: usize, part: &Part, out: &mut Vec<u8>) {
        let options = answer.options();
        self.envelope.told(choice).n_tokens += part.tokens.len();
        let hides = part.kind == PartKind::Reasoning && options.reply.hides_reasoning;
        let text = if hides { "" } else { &*part.text };
        // Tokens without text, as the one that ends an answer, are worth an event only to clients that count tokens.
        let tells_tokens = options.sampling.logprobs.is_some() || options.return_token_ids;
        let is_call = matches!(part.kind, PartKind::ToolCall { .. });
        let has_more = !text.is_empty() || is_call || tells_tokens && !part.tokens.is_empty();
        if !has_more {
            return;
        }
        let logprobs = options.sampling.logprobs.map(|_| ChatLogprobs::new(&part.tokens, Names::of(answer)));
        let token_ids = options.return_token_ids.then(|| ids(&part.tokens).collect());
        let delta = match &part.kind {
            PartKind::Reasoning if !hides => {
                ChatDelta { reasoning_content: Some(text), reasoning: Some(text), ..ChatDelta::default() }
            }
            PartKind::Text | PartKind::Reasoning => ChatDelta { content: Some(text), ..ChatDelta::default() },
            PartKind::ToolCall { index, id, name } => {
                let function = FunctionDelta { name: Some(name), arguments: text };
                self.call(CallDelta { index: *index, id: Some(id), r#type: Some("function"), function })
            }
            PartKind::Arguments { index } => {
                let function = FunctionDelta { name: None, arguments: text };
                self.call(CallDelta { index: *index, id: None, r#type: None, function })
            }
        };
        let part = ChunkChoice { logprobs, token_ids, ..ChunkChoice::new(choice, delta) };
        self.chunk(answer, part, More::default(), out);
    }

    fn call<'a>(&self, call: CallDelta<'a>) -> ChatDelta<'a> {
        match self.has_functions {
            true => ChatDelta { function_call: Some(call.function), ..ChatDelta::default() },
            false => ChatDelta { tool_calls: Some([call]), ..ChatDelta::default() },
        }
    }

    fn message(&self, delta: Delta, hides_reasoning: bool) -> Message {
        let message = Message::new(delta, hides_reasoning, self.has_functions);
        match &self.echo {
            Some(echo) => {
                Message { content: Some(format!("{echo}{}", message.content.unwrap_or_default())), ..message }
            }
            None => message,
        }
    }

    fn finish_reason(&self, ending: &Ending) -> &'static str {
        match ending.reason {
            FinishReason::ToolCalls if self.has_functions => "function_call",
            reason => reason.as_str(),
        }
    }

    fn chunk(&mut self, answer: &Generation, choice: ChunkChoice<'_>, more: More, out: &mut Vec<u8>) {
        // vLLM has the prompt's tokens in the first event of a chat.
        let tells = answer.options().return_token_ids && !self.envelope.told(0).has_prompt;
        self.envelope.told(0).has_prompt = true;
        let prompt = tells.then(|| answer.prompt_tokens(0));
        // As llama.cpp has it: nothing has taken any time before the first token.
        let more = if choice.delta.role.is_some() { more } else { self.envelope.timed(answer, more) };
        self.envelope.event(prompt.map(Some), &[choice], self.envelope.usage(answer), more, out);
    }
}

impl Dialect for ChatDialect {
    fn id(&self) -> &str {
        &self.envelope.label.id
    }

    /// Every choice appears once, in order: clients that count on it add new ones to the end of a list.
    fn begin(&mut self, answer: &Generation, out: &mut Vec<u8>) {
        for choice in 0..answer.n_choices() {
            let delta = ChatDelta { role: Some("assistant"), content: Some(""), ..ChatDelta::default() };
            self.chunk(answer, ChunkChoice::new(choice, delta), More::default(), out);
            if let Some(echo) = self.echo.clone() {
                let delta = ChatDelta { content: Some(&echo), ..ChatDelta::default() };
                self.chunk(answer, ChunkChoice::new(choice, delta), More::default(), out);
            }
        }
    }

    fn wants_progress(&self, answer: &Generation) -> bool {
        wants(answer).return_progress
    }

    fn prompt(&mut self, answer: &Generation, news: &PromptNews, out: &mut Vec<u8>) {
        if let PromptNews::Progress { prompt_idx, n_done } = *news {
            self.envelope.progress::<ChunkChoice<'_>>(answer, prompt_idx, n_done, out);
        }
    }

    fn piece(
        &mut self,
        answer: &Generation,
        choice: usize,
        delta: &Delta,
        ending: Option<&Ending>,
        out: &mut Vec<u8>,
    ) {
        for part in &delta.parts {
            self.part(answer, choice, part, out);
        }
        if let Some(ending) = ending {
            self.envelope.told(choice).n_tokens = answer.n_tokens(choice);
            let last = ChunkChoice {
                finish_reason: Some(self.finish_reason(ending)),
                stop_reason: Some(stop_reason(ending)),
                closed_early: ending.closed_early,
                ..ChunkChoice::new(choice, ChatDelta::default())
            };
            let more = self.envelope.end_of_choice(answer);
            self.chunk(answer, last, more, out);
        }
    }

    fn end(&mut self, answer: &Generation, out: &mut Vec<u8>) {
        self.envelope.end::<ChunkChoice<'_>>(answer, out);
    }

    fn whole(&mut self, answer: &Generation, mut choices: Vec<Whole>) -> Vec<u8> {
        // Those of every choice are the same.
        let scores = choices.first_mut().map(|whole| std::mem::take(&mut whole.prompt_logprobs));
        let scores = scores.unwrap_or_default();
        let options = answer.options();
        let names = Names::of(answer);
        let choice = |(index, Whole { delta, ending, .. }): (usize, Whole)| Choice {
            index,
            logprobs: options.sampling.logprobs.map(|_| ChatLogprobs::new(tokens(&delta), names)),
            token_ids: options.return_token_ids.then(|| ids(tokens(&delta)).collect()),
            message: self.message(delta, options.reply.hides_reasoning),
            finish_reason: self.finish_reason(&ending),
            stop_reason: stop_reason(&ending),
            closed_early: ending.closed_early,
        };
        let choices: Vec<Choice> = choices.into_iter().enumerate().map(choice).collect();
        let prompt = options.return_token_ids.then(|| answer.prompt_tokens(0));
        let prompt_logprobs = options
            .prompt_logprobs
            .map(|top| PromptLogprobs::new(answer.prompt_tokens(0), &scores, top, names));
        self.envelope.whole("chat.completion", answer, (Some(prompt), prompt_logprobs), &choices)
    }

    fn fail(&self, error: &ApiError, out: &mut Vec<u8>) {
        event(&error_body(error), out);
    }
}

impl Reads<Chat> for ChatDialect {
    const ROUTE: &'static str = "/v1/chat/completions";

    fn read(body: Map<String, Value>, app: &App) -> Result<(Chat, ChatDialect), ApiError> {
        let has_functions = body.get("functions").is_some_and(|functions| !functions.is_null());
        let envelope = Envelope::new(Label::new(app, "chatcmpl-"), "chat.completion.chunk");
        let chat = Chat::read(body, app)?;
        let echo = chat.conversation.echo();
        Ok((chat, ChatDialect { envelope, has_functions, echo }))
    }

    fn error(error: &ApiError) -> Value {
        error_body(error)
    }
}

impl Message {
    /// The parts of a choice, by kind.
    fn new(delta: Delta, hides_reasoning: bool, has_functions: bool) -> Message {
        let (mut content, mut reasoning, mut tool_calls) = (String::new(), String::new(), Vec::<Call>::new());
        for Part { kind, text, .. } in delta.parts {
            match kind {
                PartKind::Text => content.push_str(&text),
                PartKind::Reasoning => reasoning.push_str(&text),
                PartKind::ToolCall { id, name, .. } => {
                    tool_calls.push(Call {
                        id,
                        r#type: "function",
                        function: Function { name, arguments: text },
                    });
                }
                PartKind::Arguments { index } => {
                    if let Some(call) = tool_calls.get_mut(index as usize) {
                        call.function.arguments.push_str(&text);
                    }
                }
            }
        }
        let reasoning = Some(reasoning).filter(|text| !text.is_empty() && !hides_reasoning);
        let content = Some(content).filter(|text| !text.is_empty() || tool_calls.is_empty());
        let function_call = tool_calls.pop_if(|_| has_functions).map(|call| call.function);
        Message {
            role: "assistant",
            content,
            refusal: None,
            reasoning_content: reasoning.clone(),
            reasoning,
            tool_calls,
            function_call,
        }
    }
}

impl<'a> ChunkChoice<'a> {
    /// A part of a choice with nothing beside it.
    fn new(index: usize, delta: ChatDelta<'a>) -> ChunkChoice<'a> {
        ChunkChoice {
            index,
            delta,
            logprobs: None,
            finish_reason: None,
            stop_reason: None,
            token_ids: None,
            closed_early: false,
        }
    }
}

/// All tokens of a choice, in order.
fn tokens(delta: &Delta) -> impl Iterator<Item = &Shown> {
    delta.parts.iter().flat_map(|part| &part.tokens)
}

fn ids<'a>(tokens: impl IntoIterator<Item = &'a Shown>) -> impl Iterator<Item = u32> {
    tokens.into_iter().map(|token| token.span.token)
}
