//! Streams of events.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{PATH, story, story_with, text, text_of};
use crate::dialect::rules::has_type;
use crate::probe::{Probe, Stop, Verdict, demand, fits};
use crate::stream::Event;

fn streamed(probe: &Probe<'_>) -> Value {
    story_with(probe, &json!({ "stream": true }))
}

fn raw(probe: &Probe<'_>) -> Result<Vec<Event>, Stop> {
    let mut events = probe.post(PATH, &streamed(probe))?.events()?;
    events.retain(|event| event.data != "[DONE]");
    Ok(events)
}

pub(super) fn recorded(probe: &Probe<'_>, request: &Value) -> Result<Vec<Value>, Stop> {
    probe.post(PATH, request)?.chunks()
}

fn kind(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default()
}

/// Is this the last event of a stream?
fn is_end(event: &Value) -> bool {
    matches!(kind(event), "response.completed" | "response.incomplete" | "response.failed")
}

pub(super) fn content_type(probe: &Probe<'_>) -> Verdict {
    has_type(&*probe.post(PATH, &streamed(probe))?, "text/event-stream")
}

pub(super) fn events(probe: &Probe<'_>) -> Verdict {
    recorded(probe, &streamed(probe))?.iter().try_for_each(|event| fits("ResponseEvent", event))
}

pub(super) fn names(probe: &Probe<'_>) -> Verdict {
    for event in raw(probe)? {
        let value = event.json()?;
        let is_named = event.name.as_deref() == Some(kind(&value));
        demand!(is_named, "the event's name is {:?}, its type {}", event.name, value["type"]);
    }
    Ok(())
}

pub(super) fn sequence(probe: &Probe<'_>) -> Verdict {
    for (i, event) in recorded(probe, &streamed(probe))?.iter().enumerate() {
        let number = &event["sequence_number"];
        if number.as_u64() != Some(i as u64) {
            return Err(
                Stop::failed(format!("`sequence_number` of event {i} is {number}, from 0 on")).at(event)
            );
        }
    }
    Ok(())
}

pub(super) fn order(probe: &Probe<'_>) -> Verdict {
    in_order(&recorded(probe, &streamed(probe))?)
}

/// `response.created`, items one after another with their parts inside of them, the end.
pub(super) fn in_order(events: &[Value]) -> Verdict {
    let mut item: Option<u64> = None;
    let mut part: Option<u64> = None;
    let mut n_items = 0;
    for (i, event) in events.iter().enumerate() {
        let (at, within) = (event["output_index"].as_u64(), event["content_index"].as_u64());
        let is_right = match kind(event) {
            "response.created" => i == 0,
            "response.output_item.added" => {
                let is_next = item.is_none() && at == Some(n_items);
                (item, n_items) = (at, n_items + 1);
                is_next
            }
            "response.content_part.added" => {
                let is_next = item.is_some() && at == item && part.is_none();
                part = within;
                is_next
            }
            "response.output_text.delta" | "response.output_text.done" | "response.reasoning_text.delta" => {
                at == item && part.is_some() && within == part
            }
            "response.content_part.done" => at == item && part.is_some() && within == part.take(),
            "response.function_call_arguments.delta" | "response.function_call_arguments.done" => {
                item.is_some() && at == item
            }
            "response.output_item.done" => part.is_none() && item.is_some() && at == item.take(),
            _ if is_end(event) => item.is_none(),
            _ => true,
        };
        let is_right = is_right && (i > 0 || kind(event) == "response.created");
        if !is_right {
            let why = format!("event {i} is `{}`, which is not its place", kind(event));
            return Err(Stop::failed(why).at(event));
        }
    }
    demand!(n_items > 0, "no item was added");
    demand!(item.is_none(), "an item has no `response.output_item.done`");
    Ok(())
}

pub(super) fn ids(probe: &Probe<'_>) -> Verdict {
    let events = recorded(probe, &streamed(probe))?;
    let mut ids: HashMap<u64, &Value> = HashMap::new();
    let mut response = None;
    for event in &events {
        if let Some(id) = event["response"].get("id") {
            let known = *response.get_or_insert(id);
            demand!(id == known, "the response's id is {id} in `{}` and {known} before", kind(event));
        }
        let id = event["item"].get("id").or(event.get("item_id"));
        if let (Some(id), Some(index)) = (id, event["output_index"].as_u64()) {
            let known = *ids.entry(index).or_insert(id);
            demand!(id == known, "item {index} has the id {id} in `{}` and {known} before", kind(event));
        }
    }
    let end = events.iter().rfind(|event| is_end(event));
    let output = end.and_then(|event| event["response"]["output"].as_array()).cloned().unwrap_or_default();
    for (index, item) in output.iter().enumerate() {
        let known = ids.get(&(index as u64));
        let is_known = known.is_some_and(|id| **id == item["id"]);
        demand!(
            is_known,
            "item {index} has the id {} in the final response and {known:?} before",
            item["id"]
        );
    }
    Ok(())
}

pub(super) fn deltas(probe: &Probe<'_>) -> Verdict {
    let events = recorded(probe, &streamed(probe))?;
    let mut joined: HashMap<String, String> = HashMap::new();
    let mut n = 0;
    for event in &events {
        let place = format!("{} {}", event["item_id"], event["content_index"]);
        match kind(event) {
            "response.output_text.delta" => {
                *joined.entry(place).or_default() += event["delta"].as_str().unwrap_or_default();
            }
            "response.output_text.done" => {
                let found = joined.get(&place).map_or("", String::as_str);
                demand!(
                    event["text"] == found,
                    "the deltas are {found:?}, `output_text.done` has {}",
                    event["text"]
                );
                n += 1;
            }
            _ => {}
        }
    }
    if n == 0 {
        return Err(Stop::skipped("the answer has no text besides reasoning"));
    }
    let end = events.iter().rfind(|event| is_end(event)).map(|event| &event["response"]);
    let items = end.and_then(|response| response["output"].as_array()).cloned().unwrap_or_default();
    let messages: Vec<Value> = items.into_iter().filter(|item| item["type"] == "message").collect();
    let (whole, found) = (text_of(&json!({ "output": messages })), events.iter());
    let found: String = found
        .filter(|event| kind(event) == "response.output_text.done")
        .filter_map(|event| event["text"].as_str())
        .collect();
    demand!(whole == found, "the final response has {whole:?}, the stream {found:?}");
    Ok(())
}

pub(super) fn ends(probe: &Probe<'_>) -> Verdict {
    let events = recorded(probe, &streamed(probe))?;
    let n = events.iter().filter(|event| is_end(event)).count();
    demand!(n == 1, "{n} events end the response, expected one");
    let last = &events[events.len() - 1];
    demand!(is_end(last), "the last event is {}, expected the end of the response", last["type"]);
    let status = &last["response"]["status"];
    let expected = kind(last).trim_start_matches("response.");
    demand!(status == expected, "status is {status} in `{}`", kind(last));
    Ok(())
}

pub(super) fn equals_whole(probe: &Probe<'_>) -> Verdict {
    let whole = probe.post(PATH, &story(probe))?;
    let (expected, body) = (text(&whole)?, whole.json()?);
    let events = recorded(probe, &streamed(probe))?;
    let Some(end) = events.iter().rfind(|event| is_end(event)) else {
        return Err(Stop::failed("no event ends the response"));
    };
    let found = text_of(&end["response"]);
    demand!(found == expected, "the stream's text is {found:?}, the whole answer's {expected:?}");
    for name in ["input_tokens", "output_tokens"] {
        let (found, expected) = (&end["response"]["usage"][name], &body["usage"][name]);
        demand!(found == expected, "`{name}` is {found} in the stream and {expected} in the whole answer");
    }
    Ok(())
}
