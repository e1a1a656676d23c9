//! Calls of tools, and their results.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{PATH, deltas, finish_reasons, story_with};
use crate::dialect::rules::{ASK_WEATHER, WEATHER, is_city, weather};
use crate::exchange::Answer;
use crate::probe::{Probe, Stop, Verdict, demand, fits};

fn request(probe: &Probe<'_>, more: &Value) -> Value {
    let function = json!({ "name": "get_weather", "description": WEATHER, "parameters": weather() });
    let base = json!({
        "messages": [{ "role": "user", "content": ASK_WEATHER }],
        "tools": [{ "type": "function", "function": function }],
        "max_tokens": 192
    });
    story_with(probe, &crate::dialect::rules::merged(base, more))
}

/// The call of an answer, each of whose calls is right, and the reason why it ended.
fn call(answer: &Answer) -> Result<(Value, String), Stop> {
    let body = answer.answered()?;
    let choice = &body["choices"][0];
    let calls = choice["message"]["tool_calls"].as_array().filter(|calls| !calls.is_empty());
    let Some(calls) = calls else {
        return Err(Stop::failed("the message has no `tool_calls`").at(choice));
    };
    for call in calls {
        fits("ToolCall", call)?;
        demand!(
            call["function"]["name"] == "get_weather",
            "the call is of {}, which is not a tool",
            call["function"]["name"]
        );
        arguments(call["function"]["arguments"].as_str().unwrap_or_default())?;
    }
    Ok((calls[0].clone(), choice["finish_reason"].as_str().unwrap_or_default().to_owned()))
}

fn arguments(text: &str) -> Verdict {
    let arguments: Value = serde_json::from_str(text)
        .map_err(|e| Stop::failed(format!("the arguments are not JSON: {e}")).at(text))?;
    is_city(&arguments)
}

pub(super) fn required(probe: &Probe<'_>) -> Verdict {
    let (_, reason) = call(&*probe.post(PATH, &request(probe, &json!({ "tool_choice": "required" })))?)?;
    demand!(reason == "tool_calls", "finish_reason is {reason:?}, expected \"tool_calls\"");
    Ok(())
}

pub(super) fn named(probe: &Probe<'_>) -> Verdict {
    let choice = json!({ "type": "function", "function": { "name": "get_weather" } });
    let (_, reason) = call(&*probe.post(PATH, &request(probe, &json!({ "tool_choice": choice })))?)?;
    // OpenAI's own servers say `stop` where the function is named.
    demand!(
        reason == "tool_calls" || reason == "stop",
        "finish_reason is {reason:?}, expected \"tool_calls\""
    );
    Ok(())
}

pub(super) fn none(probe: &Probe<'_>) -> Verdict {
    let more = json!({ "tool_choice": "none", "max_tokens": 32 });
    let body = probe.post(PATH, &request(probe, &more))?.answered()?;
    let calls = &body["choices"][0]["message"]["tool_calls"];
    let has_none = calls.is_null() || calls.as_array().is_some_and(Vec::is_empty);
    demand!(has_none, "`tool_choice` is none, and the message has a call");
    Ok(())
}

pub(super) fn auto(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &request(probe, &json!({ "tool_choice": "auto", "max_tokens": 128 })))?;
    let body = answer.answered()?;
    if body["choices"][0]["message"]["tool_calls"].as_array().is_none_or(Vec::is_empty) {
        return Err(Stop::skipped("the model called no tool"));
    }
    if body["choices"][0]["finish_reason"] == "length" {
        return Err(Stop::skipped("the model did not end within 128 tokens"));
    }
    // Free calls may have any arguments: a model is no grammar. They are JSON all the same.
    let arguments = body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str();
    let parsed = serde_json::from_str::<Value>(arguments.unwrap_or_default());
    demand!(parsed.is_ok_and(|value| value.is_object()), "the arguments are not a JSON object");
    let reason = &body["choices"][0]["finish_reason"];
    demand!(reason == "tool_calls", "finish_reason is {reason}, expected \"tool_calls\"");
    Ok(())
}

pub(super) fn stream(probe: &Probe<'_>) -> Verdict {
    let whole = call(&*probe.post(PATH, &request(probe, &json!({ "tool_choice": "required" })))?)?.0;
    let answer = probe.post(PATH, &request(probe, &json!({ "tool_choice": "required", "stream": true })))?;
    let chunks = answer.chunks()?;
    let mut calls: BTreeMap<u64, String> = BTreeMap::new();
    for delta in deltas(&chunks, 0) {
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let Some(index) = call["index"].as_u64() else {
                return Err(Stop::failed("a delta of `tool_calls` has no integer `index`").at(call));
            };
            let (id, name) = (call["id"].as_str(), call["function"]["name"].as_str());
            let text = call["function"]["arguments"].as_str().unwrap_or_default();
            match calls.get_mut(&index) {
                None => {
                    demand!(
                        id.is_some_and(|id| !id.is_empty()),
                        "the first delta of a call has no `id`: {call}"
                    );
                    demand!(
                        name == Some("get_weather"),
                        "the first delta of a call has no `function.name`: {call}"
                    );
                    demand!(call["type"] == "function", "the first delta of a call has no `type`: {call}");
                    calls.insert(index, text.to_owned());
                }
                Some(arguments) => {
                    let is_repeated = [id, name].into_iter().flatten().any(|text| !text.is_empty());
                    demand!(!is_repeated, "a later delta repeats `id` or `name`, which helpers join: {call}");
                    *arguments += text;
                }
            }
        }
    }
    let Some(found) = calls.get(&0) else {
        return Err(Stop::failed("the stream has no delta of a call with index 0"));
    };
    arguments(found)?;
    let expected = whole["function"]["arguments"].as_str().unwrap_or_default();
    demand!(found == expected, "the stream's arguments are {found}, the whole answer's {expected}");
    let reasons = finish_reasons(&chunks);
    demand!(reasons == ["tool_calls"], "finish_reason is {reasons:?}, expected \"tool_calls\"");
    Ok(())
}

pub(super) fn round_trip(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &request(probe, &json!({ "tool_choice": "required" })))?;
    let (call, _) = call(&answer)?;
    let message = answer.json()?["choices"][0]["message"].clone();
    let messages = json!([
        { "role": "user", "content": ASK_WEATHER },
        message,
        { "role": "tool", "tool_call_id": call["id"], "content": "{\"sky\": \"clear\", \"celsius\": 21}" }
    ]);
    let more = json!({ "messages": messages, "max_tokens": 16 });
    probe.post(PATH, &request(probe, &more))?.answered()?;
    Ok(())
}

pub(super) fn parallel_results(probe: &Probe<'_>) -> Verdict {
    let call = |id: &str, city: &str| json!({ "id": id, "type": "function", "function": { "name": "get_weather", "arguments": format!("{{\"city\": \"{city}\"}}") } });
    let messages = json!([
        { "role": "user", "content": "What is the weather in Paris and in Rome?" },
        { "role": "assistant", "content": null, "tool_calls": [call("call_a", "Paris"), call("call_b", "Rome")] },
        { "role": "tool", "tool_call_id": "call_a", "content": "clear" },
        { "role": "tool", "tool_call_id": "call_b", "content": "rain" }
    ]);
    probe.post(PATH, &request(probe, &json!({ "messages": messages, "max_tokens": 16 })))?.answered()?;
    Ok(())
}

pub(super) fn parallel_ids(probe: &Probe<'_>) -> Verdict {
    let messages = json!([{ "role": "user", "content": "What is the weather in Paris and in Rome? Call the tool for both at once." }]);
    let more = json!({ "messages": messages, "tool_choice": "required", "parallel_tool_calls": true });
    let body = probe.post(PATH, &request(probe, &more))?.answered()?;
    let calls = body["choices"][0]["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
    if calls.len() < 2 {
        return Err(Stop::skipped(format!("the model made {} call", calls.len())));
    }
    let mut ids: Vec<&str> = calls.iter().filter_map(|call| call["id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    demand!(ids.len() == calls.len(), "{} calls have {} ids", calls.len(), ids.len());
    Ok(())
}

pub(super) fn bad_history(probe: &Probe<'_>) -> Verdict {
    let call = json!({ "id": "call_a", "type": "function", "function": { "name": "get_weather", "arguments": "{\"city\": " } });
    let messages = json!([
        { "role": "user", "content": ASK_WEATHER },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call_a", "content": "clear" }
    ]);
    let answer = probe.post(PATH, &request(probe, &json!({ "messages": messages, "max_tokens": 8 })))?;
    answer.complete()?;
    demand!(
        answer.status < 500,
        "status {}: a client's mistake is told as the server's, and clients retry it",
        answer.status
    );
    Ok(())
}
