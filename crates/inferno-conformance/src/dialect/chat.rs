//! OpenAI's chat completions, and the list of models.

mod answers;
mod errors;
mod forms;
mod sampling;
mod streams;
mod tools;

use serde_json::{Value, json};

pub(super) use answers::{adds_up, is_cut};
pub(super) use streams::{ends_with_done, is_usage_last};

use super::rules::{PROMPT, merged};
use crate::check::{Check, table};
use crate::exchange::Answer;
use crate::probe::{Probe, Stop};

const PATH: &str = "/v1/chat/completions";

const OPENAI: &str = "openai-python";
const REFERENCE: &str = "OpenAI's reference";

pub(super) const CHECKS: &[Check] = table! {
    "chat.models.list", OPENAI, answers::models:
        "clients cannot list models: Open WebUI and LibreChat show none";
    "chat.models.one", OPENAI, answers::one_model:
        "`models.retrieve` fails";
    "chat.answer.type", REFERENCE, answers::content_type:
        "clients that look at the content type refuse the answer";
    "chat.answer.shape", OPENAI, answers::shape:
        "fields that its types promise are absent: AttributeError or None";
    "chat.answer.usage", OPENAI, answers::usage:
        "costs and budgets are wrong";
    "chat.answer.length", REFERENCE, answers::length:
        "agents take a cut answer for a whole one";
    "chat.answer.max_completion_tokens", REFERENCE, answers::max_completion_tokens:
        "LangChain and agents send this name: answers have no limit";
    "chat.answer.content_parts", REFERENCE, answers::content_parts:
        "clients that send text as parts get another answer";
    "chat.answer.developer", REFERENCE, answers::developer:
        "openai-agents and Codex send the role `developer`: 400";
    "chat.answer.new_fields", OPENAI, answers::new_fields:
        "newer clients send fields that change no answer: 400";
    "chat.stream.type", REFERENCE, streams::content_type:
        "browsers' EventSource and proxies do not take it for a stream";
    "chat.stream.framing", "WHATWG HTML, server-sent events", streams::framing:
        "a client's parser drops or joins events";
    "chat.stream.chunks", OPENAI, streams::chunks:
        "fields that its types promise are absent, or `error` ends the stream";
    "chat.stream.ai_sdk", "AI SDK's zod schema", streams::ai_sdk:
        "the AI SDK ends the stream with a type validation error";
    "chat.stream.one_id", REFERENCE, streams::one_id:
        "clients that collect by id show several answers";
    "chat.stream.one_model", REFERENCE, streams::one_model:
        "clients that collect by model and time show several answers";
    "chat.stream.role_first", "openai-python's stream helper", streams::role_first:
        "the helper joins strings: role `assistantassistant`";
    "chat.stream.finish_once", REFERENCE, streams::finish_once:
        "clients stop reading too early, or never";
    "chat.stream.usage_last", REFERENCE, streams::usage_last:
        "usage is lost or counted twice";
    "chat.stream.no_empty_choices", "LangChain, older clients", streams::no_empty_choices:
        "`choices[0]` of a chunk without choices: IndexError";
    "chat.stream.done", OPENAI, streams::done:
        "clients wait for the end, or take the stream for broken";
    "chat.stream.equals_whole", REFERENCE, streams::equals_whole:
        "streaming changes answer, finish reason or usage";
    "chat.stream.flows", "users", streams::flows:
        "the text appears at once at the end";
    "chat.stream.utf8", "RFC 8259, WHATWG Encoding", streams::utf8:
        "characters of several tokens are shown as \u{fffd}";
    "chat.stream.leaving", "users", streams::leaving:
        "answers go on for clients that have left, and others wait";
    "chat.error.bad_json", OPENAI, errors::bad_json:
        "no typed error: the client shows HTML or retries";
    "chat.error.missing", OPENAI, errors::missing:
        "a request without messages is not told from a failure";
    "chat.error.wrong_type", OPENAI, errors::wrong_type:
        "wrong types are computed as something else, or a 500 that is retried";
    "chat.error.range", REFERENCE, errors::range:
        "a wrong value is silently replaced";
    "chat.error.model", OPENAI, errors::model:
        "a mistyped model is answered by another without a word";
    "chat.error.too_long", "LiteLLM, aider", errors::too_long:
        "clients cannot tell that they must shorten the conversation";
    "chat.error.part", REFERENCE, errors::part:
        "media that the model cannot read are left out without a word";
    "chat.error.encoding", "RFC 9110", errors::encoding:
        "a compressed body is a 500, and clients retry";
    "chat.error.nul", "RFC 8259", errors::nul:
        "a NUL byte ends a text, or is a 500 that is retried";
    "chat.error.huge", "RFC 9110", errors::huge:
        "a huge request is a 500 or a broken connection, and is sent again";
    "chat.error.path", OPENAI, errors::path:
        "a wrong base URL is not a typed error";
    "chat.error.stream", OPENAI, errors::stream:
        "an error of a stream comes as a success: clients do not raise";
    "chat.error.key", OPENAI, errors::key:
        "a wrong key is not told from other errors, or is accepted";
    "chat.tools.required", REFERENCE, tools::required:
        "agents wait for a call that they have demanded";
    "chat.tools.named", REFERENCE, tools::named:
        "instructor and LangChain demand a function by name";
    "chat.tools.none", REFERENCE, tools::none:
        "a call where none is allowed";
    "chat.tools.auto", REFERENCE, tools::auto:
        "agents with tools get errors, or calls they cannot read";
    "chat.tools.stream", "openai-python, AI SDK, LangChain", tools::stream:
        "calls in streams are not assembled";
    "chat.tools.round_trip", REFERENCE, tools::round_trip:
        "the second turn of every agent fails";
    "chat.tools.parallel_results", REFERENCE, tools::parallel_results:
        "agents that call several tools at once fail";
    "chat.tools.parallel_ids", REFERENCE, tools::parallel_ids:
        "results are given to the wrong call";
    "chat.tools.bad_history", "llama.cpp #25510", tools::bad_history:
        "one bad call in the history is a 500 in every later turn";
    "chat.schema.strict", REFERENCE, forms::strict:
        "`.parse()` and generateObject fail";
    "chat.schema.stream", REFERENCE, forms::stream:
        "streamObject fails";
    "chat.schema.json_object", REFERENCE, forms::json_object:
        "JSON mode gives no JSON";
    "chat.schema.bad", REFERENCE, forms::bad:
        "a wrong schema is ignored, or a 500";
    "chat.stop.whole", REFERENCE, sampling::stop:
        "text behind a stop sequence is shown";
    "chat.stop.stream", REFERENCE, sampling::stop_stream:
        "parts of a stop sequence are shown in streams";
    "chat.logprobs.whole", OPENAI, sampling::logprobs:
        "evaluations have no or wrong scores";
    "chat.logprobs.stream", REFERENCE, sampling::logprobs_stream:
        "streams lose scores of tokens";
    "chat.n.whole", REFERENCE, sampling::n:
        "one choice where several are asked for";
    "chat.n.stream", "openai-python's stream helper", sampling::n_stream:
        "choices are mixed up: it appends new ones in order of appearance";
    "chat.seed", REFERENCE, sampling::seed:
        "answers cannot be reproduced";
    "chat.greedy", "users", sampling::greedy:
        "the same request has another answer at temperature 0";
    "chat.load", "vLLM #5898, #15437", sampling::load:
        "answers depend on other users' requests";
};

/// A request for a story of 32 tokens at temperature 0.
fn story(probe: &Probe<'_>) -> Value {
    json!({
        "model": probe.model,
        "messages": [{ "role": "user", "content": PROMPT }],
        "max_tokens": 32,
        "temperature": 0
    })
}

/// [`story`] with other or further members.
fn story_with(probe: &Probe<'_>, more: &Value) -> Value {
    merged(story(probe), more)
}

/// [`story`] as a stream that ends with its usage.
fn streamed(probe: &Probe<'_>) -> Value {
    story_with(probe, &json!({ "stream": true, "stream_options": { "include_usage": true } }))
}

/// Text of a whole answer's first choice: reasoning, then content.
fn text(answer: &Answer) -> Result<String, Stop> {
    let body = answer.ok()?.json()?;
    let message = &body["choices"][0]["message"];
    if !message.is_object() {
        return Err(Stop::failed("`choices[0].message` is missing"));
    }
    Ok(reasoning(message) + content(message))
}

/// Text of a stream's first choice: reasoning, then content.
fn stream_text(answer: &Answer) -> Result<String, Stop> {
    let chunks = answer.chunks()?;
    let deltas = deltas(&chunks, 0);
    let thought: String = deltas.iter().map(|delta| reasoning(delta)).collect();
    Ok(thought + &deltas.iter().map(|delta| content(delta)).collect::<String>())
}

/// The deltas of a choice.
fn deltas(chunks: &[Value], index: u64) -> Vec<&Value> {
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().into_iter().flatten());
    choices.filter(|choice| choice["index"].as_u64() == Some(index)).map(|choice| &choice["delta"]).collect()
}

/// Reasoning of a message or delta, under either of its names.
fn reasoning(message: &Value) -> String {
    let text = message["reasoning_content"].as_str().or(message["reasoning"].as_str());
    text.unwrap_or_default().to_owned()
}

fn content(message: &Value) -> &str {
    message["content"].as_str().unwrap_or_default()
}

/// Reasons why a choice ended, in order.
fn finish_reasons(chunks: &[Value]) -> Vec<&str> {
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().into_iter().flatten());
    choices.filter_map(|choice| choice["finish_reason"].as_str()).collect()
}
