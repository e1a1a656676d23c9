//! Anthropic's Messages.

mod answers;
mod errors;
mod streams;
mod tools;

use std::rc::Rc;

use serde_json::{Value, json};

use super::rules::{PROMPT, merged};
use crate::check::{Check, table};
use crate::exchange::{Answer, Request};
use crate::probe::{Probe, Stop};

const PATH: &str = "/v1/messages";
/// The version of the API that all clients ask for.
pub(super) const VERSION: &str = "2023-06-01";

const SDK: &str = "anthropic-sdk-python";
const REFERENCE: &str = "Anthropic's reference";
const CLAUDE_CODE: &str = "Claude Code";

pub(super) const CHECKS: &[Check] = table! {
    "messages.answer.shape", SDK, answers::shape:
        "fields that its types promise are absent: AttributeError or None";
    "messages.answer.usage", REFERENCE, answers::usage:
        "costs and the context meter are wrong";
    "messages.answer.length", REFERENCE, answers::length:
        "agents take a cut answer for a whole one";
    "messages.answer.blocks", REFERENCE, answers::blocks:
        "content as blocks has another answer than as a string";
    "messages.answer.system", CLAUDE_CODE, answers::system:
        "system blocks with `cache_control` are refused, or read in another way";
    "messages.answer.beta", CLAUDE_CODE, answers::beta:
        "its requests have `?beta=true` and a beta header: 404 or 400";
    "messages.answer.fields", CLAUDE_CODE, answers::fields:
        "fields about the caller are refused";
    "messages.answer.thinking_history", CLAUDE_CODE, answers::thinking_history:
        "every turn after one with thinking fails";
    "messages.answer.equals_chat", "users", answers::equals_chat:
        "the same model answers otherwise in another API";
    "messages.stop", REFERENCE, answers::stop:
        "text behind a stop sequence is shown, or the reason is not told";
    "messages.count", CLAUDE_CODE, answers::count:
        "conversations are compacted too early or too late";
    "messages.stream.type", SDK, streams::content_type:
        "clients do not take it for a stream";
    "messages.stream.events", SDK, streams::events:
        "events that its types do not know, or whose name is not their type, are dropped";
    "messages.stream.order", CLAUDE_CODE, streams::order:
        "the order message_start, blocks, message_delta, message_stop is broken: the client raises or waits";
    "messages.stream.equals_whole", REFERENCE, streams::equals_whole:
        "streaming changes answer, stop reason or usage";
    "messages.tools.named", REFERENCE, tools::named:
        "agents wait for a call that they have demanded";
    "messages.tools.any", REFERENCE, tools::any:
        "agents wait for a call that they have demanded";
    "messages.tools.stream", CLAUDE_CODE, tools::stream:
        "calls in streams are not assembled";
    "messages.tools.round_trip", CLAUDE_CODE, tools::round_trip:
        "the second turn of every agent fails";
    "messages.tools.parallel_results", CLAUDE_CODE, tools::parallel_results:
        "agents that call several tools at once fail";
    "messages.error.bad_json", SDK, errors::bad_json:
        "no typed error: the client shows a bare status";
    "messages.error.max_tokens", REFERENCE, errors::missing:
        "a request without `max_tokens` is not told from a failure";
    "messages.error.wrong_type", SDK, errors::wrong_type:
        "wrong types are computed as something else, or a 500 that is retried";
    "messages.error.model", SDK, errors::model:
        "a mistyped model is answered by another without a word";
    "messages.error.too_long", CLAUDE_CODE, errors::too_long:
        "the client cannot tell that it must compact the conversation";
    "messages.error.block", REFERENCE, errors::block:
        "media that the model cannot read are left out without a word";
    "messages.error.nul", "RFC 8259", errors::nul:
        "a NUL byte ends a text, or is a 500 that is retried";
    "messages.error.huge", "RFC 9110", errors::huge:
        "a huge request is a 500 or a broken connection, and is sent again";
    "messages.error.stream", SDK, errors::stream:
        "an error of a stream comes as a success: clients do not raise";
    "messages.error.key", SDK, errors::key:
        "a wrong key is not told from other errors, or is accepted";
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

fn story_with(probe: &Probe<'_>, more: &Value) -> Value {
    merged(story(probe), more)
}

fn request(path: &str, body: &Value) -> Request {
    Request::post(path, body).with("anthropic-version", VERSION)
}

fn post(probe: &Probe<'_>, body: &Value) -> Result<Rc<Answer>, Stop> {
    probe.ask(request(PATH, body))
}

/// Texts of the blocks, thinking included.
fn text(answer: &Answer) -> Result<String, Stop> {
    let body = answer.ok()?.json()?;
    let Some(blocks) = body["content"].as_array() else {
        return Err(Stop::failed("`content` is not an array"));
    };
    let texts = blocks.iter().filter_map(|block| block["thinking"].as_str().or(block["text"].as_str()));
    Ok(texts.collect())
}
