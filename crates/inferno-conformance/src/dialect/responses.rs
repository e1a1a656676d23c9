//! OpenAI's Responses.

mod answers;
mod background;
mod errors;
mod kept;
mod streams;
mod tools;

use serde_json::{Value, json};

use super::rules::{PROMPT, merged};
use crate::check::{Check, table};
use crate::exchange::Answer;
use crate::probe::{Probe, Stop};

const PATH: &str = "/v1/responses";

const OPENAI: &str = "openai-python";
const REFERENCE: &str = "OpenAI's reference";
const CODEX: &str = "Codex";
const AGENTS: &str = "openai-agents";

pub(super) const CHECKS: &[Check] = table! {
    "responses.answer.shape", OPENAI, answers::shape:
        "fields that its types promise are absent: AttributeError or None";
    "responses.answer.usage", REFERENCE, answers::usage:
        "costs and budgets are wrong";
    "responses.answer.incomplete", REFERENCE, answers::incomplete:
        "agents take a cut answer for a whole one";
    "responses.answer.items", REFERENCE, answers::items:
        "input as items has another answer than as a string";
    "responses.answer.instructions", CODEX, answers::instructions:
        "`instructions` are not the system message, or are not told again";
    "responses.answer.history", CODEX, answers::history:
        "assistant's items without id and status, as it sends them back, are refused";
    "responses.answer.fields", CODEX, answers::fields:
        "`store: false`, `include`, `reasoning` and `prompt_cache_key` are refused";
    "responses.answer.equals_chat", "users", answers::equals_chat:
        "the same model answers otherwise in another API";
    "responses.answer.schema", REFERENCE, answers::schema:
        "`responses.parse` and generateObject fail";
    "responses.stream.type", OPENAI, streams::content_type:
        "clients do not take it for a stream";
    "responses.stream.events", OPENAI, streams::events:
        "events that its types do not take raise, or lack fields";
    "responses.stream.names", CODEX, streams::names:
        "events are read by their name: others are dropped";
    "responses.stream.sequence", REFERENCE, streams::sequence:
        "clients that resume or sort by `sequence_number` lose events";
    "responses.stream.order", CODEX, streams::order:
        "an item without start or end: the client raises or shows nothing";
    "responses.stream.ids", CODEX, streams::ids:
        "an item has another id in the final response: it is shown twice";
    "responses.stream.deltas", "openai-python's stream helper", streams::deltas:
        "the text of the deltas is not that of the whole";
    "responses.stream.ends", CODEX, streams::ends:
        "\"stream closed before response.completed\", and the client retries";
    "responses.stream.equals_whole", REFERENCE, streams::equals_whole:
        "streaming changes answer or usage";
    "responses.tools.forced", AGENTS, tools::forced:
        "agents wait for a call that they have demanded";
    "responses.tools.stream", CODEX, tools::stream:
        "calls in streams are not assembled";
    "responses.tools.round_trip", AGENTS, tools::round_trip:
        "the second turn of every agent fails";
    "responses.tools.unknown", CODEX, tools::unknown:
        "a tool of another type (`web_search`, `custom`) refuses the whole request";
    "responses.kept.previous", REFERENCE, kept::previous:
        "conversations by `previous_response_id` have no memory";
    "responses.kept.get", REFERENCE, kept::get:
        "`responses.retrieve` fails";
    "responses.kept.items", REFERENCE, kept::items:
        "`responses.input_items.list` fails";
    "responses.kept.delete", REFERENCE, kept::delete:
        "`responses.delete` fails, or deletes nothing";
    "responses.kept.not_stored", REFERENCE, kept::not_stored:
        "a response with `store: false` is stored";
    "responses.background.begin", REFERENCE, background::begin:
        "clients that send `background` wait for the whole answer, and time out";
    "responses.background.retrieve", REFERENCE, background::retrieve:
        "a response in the background never ends, or is another one";
    "responses.background.cancel", REFERENCE, background::cancel:
        "a response that no client wants is computed to its end";
    "responses.error.bad_json", OPENAI, errors::bad_json:
        "no typed error: the client shows HTML or retries";
    "responses.error.wrong_type", OPENAI, errors::wrong_type:
        "wrong types are computed as something else, or a 500 that is retried";
    "responses.error.model", OPENAI, errors::model:
        "a mistyped model is answered by another without a word";
    "responses.error.too_long", CODEX, errors::too_long:
        "the client cannot tell that it must compact the conversation";
    "responses.error.part", REFERENCE, errors::part:
        "media that the model cannot read are left out without a word";
    "responses.error.previous", REFERENCE, errors::previous:
        "a conversation that is gone goes on without its start";
    "responses.error.nul", "RFC 8259", errors::nul:
        "a NUL byte ends a text, or is a 500 that is retried";
    "responses.error.huge", "RFC 9110", errors::huge:
        "a huge request is a 500 or a broken connection, and is sent again";
    "responses.error.stream", OPENAI, errors::stream:
        "an error of a stream comes as a success: clients do not raise";
};

/// A request for a story of 32 tokens at temperature 0, which is not stored.
fn story(probe: &Probe<'_>) -> Value {
    json!({ "model": probe.model, "input": PROMPT, "max_output_tokens": 32, "temperature": 0, "store": false })
}

fn story_with(probe: &Probe<'_>, more: &Value) -> Value {
    merged(story(probe), more)
}

/// Texts of reasoning and messages, in order.
fn text_of(response: &Value) -> String {
    let items = response["output"].as_array().into_iter().flatten();
    let parts = items.flat_map(|item| item["content"].as_array().into_iter().flatten());
    parts.filter_map(|part| part["text"].as_str()).collect()
}

fn text(answer: &Answer) -> Result<String, Stop> {
    let body = answer.ok()?.json()?;
    if !body["output"].is_array() {
        return Err(Stop::failed("`output` is not an array"));
    }
    Ok(text_of(&body))
}
