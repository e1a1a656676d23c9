//! Shapes that clients expect of requests, answers and errors: a file each.
//!
//! Below a dialect nothing knows of it: a [`Generation`] tells the parts of its choices ([`Part`](inferno_reply::Part)), and
//! an [`ApiError`] what went wrong. A dialect keeps what its events count (indices, sequence numbers, open blocks).

use std::io::Write;

use axum::body::Body;
use axum::response::Response;
use hyper::header::HeaderName;
use inferno_engine::TokenLogprob;
use inferno_reply::{Delta, Ending};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::echo::Echo;
use crate::error::{ApiError, Unshaped};
use crate::generation::Generation;
use crate::places::Place;

mod chat;
mod completion;
mod messages;
pub(crate) mod native;
pub(crate) mod ollama;
mod openai;
mod responses;

pub(crate) use chat::ChatDialect;
pub(crate) use completion::CompletionDialect;
pub(crate) use messages::MessagesDialect;
pub(crate) use openai::error_body;
pub(crate) use responses::{Conversation, ResponsesDialect, failed, failure};

/// Writes one answer, as a stream or in one piece.
///
/// ```text
/// stream   read, begin, (prompt | piece | idle)*, end   or fail after any of them
/// whole    read, whole                                  or error
/// ```
pub(crate) trait Dialect: Send + Sync {
    /// Id of the answer.
    fn id(&self) -> &str;

    /// Content type of its streams.
    fn content_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    /// Takes the prompts that completions start with, where a request asks for it.
    fn set_echo(&mut self, _echo: Vec<Echo>) {}

    /// Writes the events before all parts. The status line is out: what fails now is an event.
    fn begin(&mut self, answer: &Generation, out: &mut Vec<u8>);

    /// Whether events tell how much of the prompt is computed.
    fn wants_progress(&self, _answer: &Generation) -> bool {
        false
    }

    /// Writes news of a prompt.
    fn prompt(&mut self, _answer: &Generation, _news: &PromptNews, _out: &mut Vec<u8>) {}

    /// Writes new parts of a choice; the last of them come with its ending.
    fn piece(
        &mut self,
        answer: &Generation,
        choice: usize,
        delta: &Delta,
        ending: Option<&Ending>,
        out: &mut Vec<u8>,
    );

    /// Writes a sign of life where there has been no event for a while. `place` is the one in the queue.
    fn idle(&mut self, answer: &Generation, place: Option<Place>, out: &mut Vec<u8>) {
        let _ = match place {
            Some(Place { place, n_waiting, eta }) => {
                let place = place + 1;
                write!(out, ": queued {place}/{n_waiting} eta {:.1}s\n\n", eta.as_secs_f64())
            }
            None if answer.has_begun() => write!(out, ": keep-alive\n\n"),
            None => write!(out, ": reading the prompt, {:.1}s\n\n", answer.elapsed().as_secs_f64()),
        };
    }

    /// Writes the events after the end of all choices.
    fn end(&mut self, answer: &Generation, out: &mut Vec<u8>);

    /// The answer in one piece.
    fn whole(&mut self, answer: &Generation, choices: Vec<Whole>) -> Vec<u8>;

    /// Writes an error as the last event of a stream.
    fn fail(&self, error: &ApiError, out: &mut Vec<u8>);
}

/// A dialect whose requests ask for an `A`: a chat or a completion.
pub(crate) trait Reads<A>: Dialect + Sized + 'static {
    /// Path of its requests, as metrics and logs name it.
    const ROUTE: &'static str;

    /// Reads a request, and begins its answer.
    ///
    /// # Errors
    /// 400: a field has a value that is not allowed, or the server does not know it.
    fn read(body: Map<String, Value>, app: &App) -> Result<(A, Self), ApiError>;

    /// The body of a response that is an error.
    fn error(error: &ApiError) -> Value;
}

/// The body of a response that is an error.
pub(crate) type Shape = fn(&ApiError) -> Value;

/// Shapes of errors at paths, and below them, whose dialect has another than OpenAI's.
const SHAPES: &[(&str, Shape)] = &[
    (MessagesDialect::ROUTE, MessagesDialect::error),
    ("/api", ollama::error_body),
    ("/completion", native::error_body),
    ("/infill", native::error_body),
    ("/props", native::error_body),
    ("/slots", native::error_body),
    ("/lora-adapters", native::error_body),
    ("/v1/stream", native::error_body),
    ("/v1/streams", native::error_body),
];

/// The shape of errors at `path`: those of its handler, and of what stands before it (a wrong key or method, a full
/// queue, a path below that does not exist). `None` for OpenAI's.
pub(crate) fn shape_of(path: &str) -> Option<Shape> {
    let is_at =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    SHAPES.iter().find(|(root, _)| is_at(root)).map(|(_, shape)| *shape)
}

/// `response` with the body in `shape`, if it is an error that has OpenAI's for want of a dialect.
pub(crate) fn shaped(mut response: Response, shape: Option<Shape>) -> Response {
    let Some(Unshaped(error)) = response.extensions_mut().remove::<Unshaped>() else { return response };
    if let Some(shape) = shape {
        *response.body_mut() = Body::from(shape(&error).to_string());
    }
    response
}

/// News of a prompt.
#[derive(Debug)]
pub(crate) enum PromptNews {
    /// Tokens of it that are computed.
    Progress { prompt_idx: usize, n_done: usize },
    /// Log-probabilities of its next tokens, for one of its choices.
    Scores { choice: usize, logprobs: Vec<TokenLogprob> },
}

/// A choice that has ended.
#[derive(Debug)]
pub(crate) struct Whole {
    /// All of its parts; neighbours are of different kinds.
    pub(crate) delta: Delta,
    pub(crate) ending: Ending,
    pub(crate) prompt_logprobs: Vec<TokenLogprob>,
}

/// A header beside `x-request-id` in which clients of `path` look for the request's id.
pub(crate) fn request_id_of(path: &str) -> Option<HeaderName> {
    path.starts_with(MessagesDialect::ROUTE).then(|| HeaderName::from_static("request-id"))
}

/// Writes an event with a name.
pub(crate) fn named_event(name: &str, value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    event(value, out);
}

/// Writes an event without a name.
pub(crate) fn event(value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *out, value).expect("what is answered is JSON");
    out.extend_from_slice(b"\n\n");
}
