//! `/api/chat` and `/api/generate`: Ollama's.
//!
//! - A stream is a JSON object a line, and the default; the last line has `done`, its reason and the times in nanoseconds.
//! - Calls come whole: a stream tells one when its arguments are complete.
//! - Errors are strings.

use std::marker::PhantomData;
use std::time::Duration;

use inferno_reply::{Delta, Ending, FinishReason, Part, PartKind};
use serde_json::{Map, Value, json};

use super::{Dialect, Reads, Whole};
use crate::app::App;
use crate::chat::Chat;
use crate::clock::{rfc3339, since_1970};
use crate::completion::Completion;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generation::Generation;
use crate::places::Place;
use crate::wire::{ChatLogprobs, Label, Names};

mod request;

pub(crate) use request::{AboutModel, asks_for_nothing, named, untagged};

/// Content type of streams.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// One of the two routes.
pub(crate) trait Route: Send + Sync + 'static {
    const PATH: &'static str;

    /// The members of a line that carry the answer.
    fn members(said: Said) -> Map<String, Value>;

    /// A request for a chat in the words of chats, and notes on what is not followed.
    ///
    /// # Errors
    /// 400: a field is malformed, or asks for what the server does not have.
    fn chat(fields: Fields) -> Result<(Map<String, Value>, Vec<String>), ApiError>;
}

/// `/api/chat`.
#[derive(Debug)]
pub(crate) struct Chats;

/// `/api/generate`.
#[derive(Debug)]
pub(crate) struct Generates;

/// Part of an answer that a line tells.
#[derive(Debug, Default)]
pub(crate) struct Said {
    text: String,
    reasoning: String,
    calls: Vec<Value>,
}

impl Said {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.reasoning.is_empty() && self.calls.is_empty()
    }
}

impl Route for Chats {
    const PATH: &'static str = "/api/chat";

    fn members(said: Said) -> Map<String, Value> {
        let mut message = json!({ "role": "assistant", "content": said.text });
        if !said.reasoning.is_empty() {
            message["thinking"] = said.reasoning.into();
        }
        if !said.calls.is_empty() {
            message["tool_calls"] = said.calls.into();
        }
        Map::from_iter([("message".to_owned(), message)])
    }

    fn chat(fields: Fields) -> Result<(Map<String, Value>, Vec<String>), ApiError> {
        request::chat(fields)
    }
}

impl Route for Generates {
    const PATH: &'static str = "/api/generate";

    fn members(said: Said) -> Map<String, Value> {
        let mut members = Map::from_iter([("response".to_owned(), said.text.into())]);
        if !said.reasoning.is_empty() {
            members.insert("thinking".into(), said.reasoning.into());
        }
        members
    }

    fn chat(fields: Fields) -> Result<(Map<String, Value>, Vec<String>), ApiError> {
        Ok((request::generate(fields)?, Vec::new()))
    }
}

/// Writes answers of a route.
#[derive(Debug)]
pub(crate) struct OllamaDialect<R> {
    id: String,
    /// Name of the model as the client has it.
    model: String,
    /// The call whose arguments are not complete.
    call: Option<Call>,
    route: PhantomData<R>,
}

#[derive(Debug)]
struct Call {
    index: u32,
    id: String,
    name: String,
    arguments: String,
}

impl Call {
    /// The call as clients take it; `None` where a limit has cut its arguments off, which cannot be told then.
    fn done(self) -> Option<Value> {
        let Call { index, id, name, arguments } = self;
        let arguments = match arguments.trim() {
            "" => Map::new(),
            text => serde_json::from_str(text).ok()?,
        };
        Some(json!({ "id": id, "function": { "index": index, "name": name, "arguments": arguments } }))
    }
}

/// Members that every line begins with.
pub(crate) fn line(model: &str, members: Map<String, Value>) -> Map<String, Value> {
    let start: [(String, Value); 2] =
        [("model".to_owned(), model.into()), ("created_at".to_owned(), rfc3339(since_1970()).into())];
    start.into_iter().chain(members).collect()
}

impl<R: Route> OllamaDialect<R> {
    fn new(app: &App, model: Option<&str>) -> OllamaDialect<R> {
        let model = model.unwrap_or(app.card.id()).to_owned();
        OllamaDialect { id: Label::new(app, "ollama-").id, model, call: None, route: PhantomData }
    }

    fn part(&mut self, part: &Part, said: &mut Said) {
        let text = part.text.as_str();
        let ends_call = match part.kind {
            PartKind::ToolCall { .. } => true,
            PartKind::Text | PartKind::Reasoning => !text.is_empty(),
            PartKind::Arguments { .. } => false,
        };
        if ends_call {
            said.calls.extend(self.call.take().and_then(Call::done));
        }
        match &part.kind {
            PartKind::Text => said.text.push_str(text),
            PartKind::Reasoning => said.reasoning.push_str(text),
            PartKind::ToolCall { index, id, name } => {
                let (id, name) = (id.clone(), name.clone());
                self.call = Some(Call { index: *index, id, name, arguments: String::new() });
            }
            PartKind::Arguments { .. } => {
                if let Some(call) = &mut self.call {
                    call.arguments.push_str(text);
                }
            }
        }
    }

    /// All parts of `delta`; with `is_end` the last call is complete.
    fn said(&mut self, answer: &Generation, delta: &Delta, is_end: bool) -> Said {
        let mut said = Said::default();
        for part in &delta.parts {
            self.part(part, &mut said);
        }
        if is_end {
            said.calls.extend(self.call.take().and_then(Call::done));
        }
        if answer.options().reply.hides_reasoning {
            said.reasoning.clear();
        }
        said
    }

    /// The line that tells `said`, without the members of the last line.
    fn line(&self, said: Said, logprobs: Option<Value>) -> Map<String, Value> {
        let mut line = line(&self.model, R::members(said));
        line.insert("done".into(), false.into());
        line.extend(logprobs.map(|logprobs| ("logprobs".to_owned(), logprobs)));
        line
    }
}

/// Log-probabilities of tokens, if they are wanted and there are any.
fn logprobs(answer: &Generation, delta: &Delta) -> Option<Value> {
    answer.options().sampling.logprobs?;
    let tokens = delta.parts.iter().flat_map(|part| &part.tokens);
    let all = serde_json::to_value(ChatLogprobs::new(tokens, Names::of(answer)));
    let all = all.expect("what is answered is JSON")["content"].take();
    all.as_array().is_some_and(|all| !all.is_empty()).then_some(all)
}

/// Adds the members of the last line.
fn finish(line: &mut Map<String, Value>, answer: &Generation, ending: &Ending) {
    let reason = if ending.reason == FinishReason::Length { "length" } else { "stop" };
    line.insert("done".into(), true.into());
    line.insert("done_reason".into(), reason.into());
    line.extend(numbers(answer));
    let warnings = answer.warnings();
    if !warnings.is_empty() {
        line.insert("warnings".into(), warnings.into());
    }
}

/// Numbers of tokens, and times in nanoseconds.
fn numbers(answer: &Generation) -> Map<String, Value> {
    let totals = answer.totals();
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let all: [(&str, u64); 6] = [
        ("total_duration", nanos(answer.elapsed())),
        // The model is loaded before the first request.
        ("load_duration", 0),
        ("prompt_eval_count", totals.n_prompt as u64),
        ("prompt_eval_duration", nanos(totals.prefill)),
        ("eval_count", totals.n_completion as u64),
        ("eval_duration", nanos(totals.decode)),
    ];
    all.into_iter().map(|(name, n)| (name.to_owned(), n.into())).collect()
}

fn write_line(line: &Map<String, Value>, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, line).expect("what is answered is JSON");
    out.push(b'\n');
}

impl<R: Route> Dialect for OllamaDialect<R> {
    fn id(&self) -> &str {
        &self.id
    }

    fn content_type(&self) -> &'static str {
        NDJSON
    }

    fn begin(&mut self, _answer: &Generation, _out: &mut Vec<u8>) {}

    fn piece(
        &mut self,
        answer: &Generation,
        _choice: usize,
        delta: &Delta,
        ending: Option<&Ending>,
        out: &mut Vec<u8>,
    ) {
        let (said, logprobs) = (self.said(answer, delta, ending.is_some()), logprobs(answer, delta));
        if !said.is_empty() || logprobs.is_some() {
            write_line(&self.line(said, logprobs), out);
        }
        if let Some(ending) = ending {
            // The last line has no text, as clients know it.
            let mut line = self.line(Said::default(), None);
            finish(&mut line, answer, ending);
            write_line(&line, out);
        }
    }

    /// A line without text: such streams have no comments.
    fn idle(&mut self, _answer: &Generation, _place: Option<Place>, out: &mut Vec<u8>) {
        write_line(&self.line(Said::default(), None), out);
    }

    fn end(&mut self, _answer: &Generation, _out: &mut Vec<u8>) {}

    fn whole(&mut self, answer: &Generation, choices: Vec<Whole>) -> Vec<u8> {
        let Some(Whole { delta, ending, .. }) = choices.into_iter().next() else { return Vec::new() };
        let said = self.said(answer, &delta, true);
        let mut line = self.line(said, logprobs(answer, &delta));
        finish(&mut line, answer, &ending);
        serde_json::to_vec(&line).expect("what is answered is JSON")
    }

    fn fail(&self, error: &ApiError, out: &mut Vec<u8>) {
        write_line(&Map::from_iter([("error".to_owned(), error.message.clone().into())]), out);
    }
}

impl<R: Route> Reads<Chat> for OllamaDialect<R> {
    const ROUTE: &'static str = R::PATH;

    fn read(body: Map<String, Value>, app: &App) -> Result<(Chat, OllamaDialect<R>), ApiError> {
        let mut fields = Fields::new(body);
        let model = named(&mut fields)?;
        let (body, notes) = R::chat(fields)?;
        let mut chat = Chat::read(request::with_model(body, model.as_deref(), app), app)?;
        chat.options.notes.extend(notes);
        // Errors name the fields of this dialect.
        if let Some(structure) = &mut chat.options.structure {
            structure.param = "format".to_owned();
        }
        chat.options.ends_with_context = true;
        Ok((chat, OllamaDialect::new(app, model.as_deref())))
    }

    fn error(error: &ApiError) -> Value {
        error_body(error)
    }
}

/// `/api/generate` with `raw`: the prompt is taken as it is.
impl Reads<Completion> for OllamaDialect<Generates> {
    const ROUTE: &'static str = Generates::PATH;

    fn read(body: Map<String, Value>, app: &App) -> Result<(Completion, OllamaDialect<Generates>), ApiError> {
        let mut fields = Fields::new(body);
        let model = named(&mut fields)?;
        let body = request::with_model(request::raw(fields)?, model.as_deref(), app);
        let mut completion = Completion::read(body, app)?;
        if let Some(structure) = &mut completion.options.structure {
            structure.param = "format".to_owned();
        }
        completion.options.ends_with_context = true;
        Ok((completion, OllamaDialect::new(app, model.as_deref())))
    }

    fn error(error: &ApiError) -> Value {
        error_body(error)
    }
}

/// An error as Ollama's clients read it.
pub(crate) fn error_body(error: &ApiError) -> Value {
    json!({ "error": error.message })
}
