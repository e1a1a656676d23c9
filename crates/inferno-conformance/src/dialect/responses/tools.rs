//! Calls of tools, and their results.

use serde_json::{Value, json};

use super::streams::{in_order, recorded};
use super::{PATH, story_with};
use crate::dialect::rules::{ASK_WEATHER, WEATHER, is_city, merged, weather};
use crate::exchange::Answer;
use crate::probe::{Probe, Stop, Verdict, demand, fits};

fn tool() -> Value {
    json!({ "type": "function", "name": "get_weather", "description": WEATHER, "parameters": weather(), "strict": true })
}

fn request(probe: &Probe<'_>, more: &Value) -> Value {
    let base = json!({ "input": ASK_WEATHER, "tools": [tool()], "max_output_tokens": 192 });
    story_with(probe, &merged(base, more))
}

fn call_of(response: &Value) -> Result<Value, Stop> {
    let items = response["output"].as_array().cloned().unwrap_or_default();
    let Some(call) = items.into_iter().find(|item| item["type"] == "function_call") else {
        return Err(Stop::failed("`output` has no item of type `function_call`").at(&response["output"]));
    };
    fits("OutputItem", &call)?;
    demand!(call["name"] == "get_weather", "the call is of {}, which is not a tool", call["name"]);
    let text = call["arguments"].as_str().unwrap_or_default();
    let arguments: Value = serde_json::from_str(text)
        .map_err(|e| Stop::failed(format!("the arguments are not JSON: {e}")).at(text))?;
    is_city(&arguments)?;
    Ok(call)
}

fn call(answer: &Answer) -> Result<Value, Stop> {
    call_of(&answer.answered()?)
}

fn required() -> Value {
    json!({ "tool_choice": "required" })
}

pub(super) fn forced(probe: &Probe<'_>) -> Verdict {
    call(&*probe.post(PATH, &request(probe, &required()))?)?;
    let named = json!({ "tool_choice": { "type": "function", "name": "get_weather" } });
    call(&*probe.post(PATH, &request(probe, &named))?)?;
    Ok(())
}

pub(super) fn stream(probe: &Probe<'_>) -> Verdict {
    let whole = call(&*probe.post(PATH, &request(probe, &required()))?)?;
    let events = recorded(probe, &request(probe, &merged(required(), &json!({ "stream": true }))))?;
    in_order(&events)?;
    let added = events.iter().find(|event| {
        event["type"] == "response.output_item.added" && event["item"]["type"] == "function_call"
    });
    let Some(added) = added else { return Err(Stop::failed("no item of the stream is a `function_call`")) };
    demand!(added["item"]["name"] == "get_weather", "the call is added without its name: {}", added["item"]);
    let of_item =
        |event: &&Value, kind: &str| event["type"] == kind && event["item_id"] == added["item"]["id"];
    let deltas = events.iter().filter(|event| of_item(event, "response.function_call_arguments.delta"));
    let joined: String = deltas.filter_map(|event| event["delta"].as_str()).collect();
    let done = events.iter().find(|event| of_item(event, "response.function_call_arguments.done"));
    let Some(done) = done else { return Err(Stop::failed("no `response.function_call_arguments.done`")) };
    demand!(
        done["arguments"] == joined.as_str(),
        "the deltas are {joined:?}, the end has {}",
        done["arguments"]
    );
    demand!(
        whole["arguments"] == joined.as_str(),
        "the stream's arguments are {joined}, the whole answer's {}",
        whole["arguments"]
    );
    let end = events.iter().rfind(|event| event["type"] == "response.completed");
    let Some(end) = end else {
        return Err(Stop::failed("the stream does not end with `response.completed`"));
    };
    let last = call_of(&end["response"])?;
    demand!(last["call_id"] == added["item"]["call_id"], "the call has another `call_id` at the end");
    Ok(())
}

pub(super) fn round_trip(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &request(probe, &required()))?;
    let call = call(&answer)?;
    let mut input = vec![json!({ "role": "user", "content": ASK_WEATHER })];
    input.extend(answer.json()?["output"].as_array().cloned().unwrap_or_default());
    input.push(
        json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "clear, 21 degrees" }),
    );
    let more = json!({ "input": input, "max_output_tokens": 16 });
    probe.post(PATH, &request(probe, &more))?.answered()?;
    Ok(())
}

pub(super) fn unknown(probe: &Probe<'_>) -> Verdict {
    let custom = json!({ "type": "custom", "name": "apply_patch", "description": "A patch", "format": { "type": "text" } });
    let more = json!({ "tools": [tool(), { "type": "web_search" }, custom], "max_output_tokens": 16 });
    probe.post(PATH, &request(probe, &more))?.answered()?;
    Ok(())
}
