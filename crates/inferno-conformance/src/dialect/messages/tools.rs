//! Calls of tools, and their results.

use serde_json::{Value, json};

use super::streams::{in_order, recorded};
use super::{post, story_with};
use crate::dialect::rules::{ASK_WEATHER, WEATHER, is_city, merged, weather};
use crate::exchange::Answer;
use crate::probe::{Probe, Stop, Verdict, demand, fits};

fn request(probe: &Probe<'_>, more: &Value) -> Value {
    let base = json!({
        "messages": [{ "role": "user", "content": ASK_WEATHER }],
        "tools": [{ "name": "get_weather", "description": WEATHER, "input_schema": weather() }],
        "max_tokens": 192
    });
    story_with(probe, &merged(base, more))
}

fn forced(probe: &Probe<'_>, more: &Value) -> Value {
    request(probe, &merged(json!({ "tool_choice": { "type": "tool", "name": "get_weather" } }), more))
}

/// The block of a call.
fn call(answer: &Answer) -> Result<Value, Stop> {
    let body = answer.answered()?;
    let blocks = body["content"].as_array().cloned().unwrap_or_default();
    let Some(call) = blocks.into_iter().find(|block| block["type"] == "tool_use") else {
        return Err(Stop::failed("no block is of type `tool_use`"));
    };
    fits("ContentBlock", &call)?;
    demand!(call["name"] == "get_weather", "the call is of {}, which is not a tool", call["name"]);
    is_city(&call["input"])?;
    let reason = &body["stop_reason"];
    demand!(reason == "tool_use", "stop_reason is {reason}, expected \"tool_use\"");
    Ok(call)
}

pub(super) fn named(probe: &Probe<'_>) -> Verdict {
    call(&*post(probe, &forced(probe, &json!({})))?)?;
    Ok(())
}

pub(super) fn any(probe: &Probe<'_>) -> Verdict {
    call(&*post(probe, &request(probe, &json!({ "tool_choice": { "type": "any" } })))?)?;
    Ok(())
}

pub(super) fn stream(probe: &Probe<'_>) -> Verdict {
    let whole = call(&*post(probe, &forced(probe, &json!({})))?)?;
    let events = recorded(probe, &forced(probe, &json!({ "stream": true })))?;
    in_order(&events)?;
    let start =
        events.iter().map(|(_, event)| event).find(|event| event["content_block"]["type"] == "tool_use");
    let Some(start) = start else { return Err(Stop::failed("no block of the stream is of type `tool_use`")) };
    let input = &start["content_block"]["input"];
    demand!(
        *input == json!({}),
        "`input` of the block's start is {input}, which helpers put in front of the deltas"
    );
    let mut joined = String::new();
    for (_, event) in &events {
        if event["type"] == "content_block_delta" && event["index"] == start["index"] {
            let kind = &event["delta"]["type"];
            demand!(kind == "input_json_delta", "a delta of the call is of type {kind}");
            joined += event["delta"]["partial_json"].as_str().unwrap_or_default();
        }
    }
    let found: Value = serde_json::from_str(&joined)
        .map_err(|e| Stop::failed(format!("the joined `partial_json` is not JSON: {e}")).at(&joined))?;
    demand!(found == whole["input"], "the stream's input is {found}, the whole answer's {}", whole["input"]);
    Ok(())
}

fn result(id: &Value, content: &Value) -> Value {
    json!({ "type": "tool_result", "tool_use_id": id, "content": content })
}

pub(super) fn round_trip(probe: &Probe<'_>) -> Verdict {
    let answer = post(probe, &forced(probe, &json!({})))?;
    let call = call(&answer)?;
    let messages = json!([
        { "role": "user", "content": ASK_WEATHER },
        { "role": "assistant", "content": answer.json()?["content"] },
        { "role": "user", "content": [result(&call["id"], &json!("clear, 21 degrees"))] }
    ]);
    post(probe, &request(probe, &json!({ "messages": messages, "max_tokens": 16 })))?.answered()?;
    Ok(())
}

pub(super) fn parallel_results(probe: &Probe<'_>) -> Verdict {
    let call = |id: &str, city: &str| json!({ "type": "tool_use", "id": id, "name": "get_weather", "input": { "city": city } });
    let results = json!([
        result(&json!("toolu_a"), &json!([{ "type": "text", "text": "clear" }])),
        merged(result(&json!("toolu_b"), &json!("no such city")), &json!({ "is_error": true })),
        { "type": "text", "text": "Answer in one sentence.", "cache_control": { "type": "ephemeral" } }
    ]);
    let messages = json!([
        { "role": "user", "content": ASK_WEATHER },
        { "role": "assistant", "content": [call("toolu_a", "Paris"), call("toolu_b", "Rome")] },
        { "role": "user", "content": results }
    ]);
    post(probe, &request(probe, &json!({ "messages": messages, "max_tokens": 16 })))?.answered()?;
    Ok(())
}
