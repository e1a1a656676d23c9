//! Streams of events.

use serde_json::{Value, json};

use super::{post, story, story_with, text};
use crate::dialect::rules::has_type;
use crate::probe::{Probe, Stop, Verdict, demand, fits};

fn streamed(probe: &Probe<'_>) -> Value {
    story_with(probe, &json!({ "stream": true }))
}

/// Events without `ping`, each with its name.
pub(super) fn recorded(probe: &Probe<'_>, request: &Value) -> Result<Vec<(Option<String>, Value)>, Stop> {
    let mut events = Vec::new();
    for event in post(probe, request)?.events()? {
        let value = event.json()?;
        if value["type"] != "ping" {
            events.push((event.name, value));
        }
    }
    Ok(events)
}

pub(super) fn content_type(probe: &Probe<'_>) -> Verdict {
    has_type(&*post(probe, &streamed(probe))?, "text/event-stream")
}

pub(super) fn events(probe: &Probe<'_>) -> Verdict {
    for (name, event) in recorded(probe, &streamed(probe))? {
        fits("MessageEvent", &event)?;
        let kind = &event["type"];
        let is_named = name.as_deref().is_some_and(|name| kind == name);
        if !is_named {
            return Err(Stop::failed(format!("the event's name is {name:?}, its type {kind}")).at(event));
        }
    }
    Ok(())
}

pub(super) fn order(probe: &Probe<'_>) -> Verdict {
    in_order(&recorded(probe, &streamed(probe))?)
}

/// `message_start`, blocks one after another, `message_delta`, `message_stop`.
pub(super) fn in_order(events: &[(Option<String>, Value)]) -> Verdict {
    let mut open: Option<u64> = None;
    let mut n_blocks = 0;
    let mut seen: Vec<&str> = Vec::new();
    for (i, (_, event)) in events.iter().enumerate() {
        let kind = event["type"].as_str().unwrap_or_default();
        let index = event["index"].as_u64();
        let is_right = match kind {
            "message_start" => i == 0,
            "content_block_start" => {
                let is_next = open.is_none() && index == Some(n_blocks) && !seen.contains(&"message_delta");
                (open, n_blocks) = (index, n_blocks + 1);
                is_next
            }
            "content_block_delta" => open.is_some() && index == open,
            "content_block_stop" => open.is_some() && index == open.take(),
            "message_delta" => open.is_none() && !seen.contains(&"message_delta"),
            "message_stop" => open.is_none() && i + 1 == events.len() && seen.contains(&"message_delta"),
            _ => true,
        };
        let is_right = is_right && (i > 0 || kind == "message_start");
        if !is_right {
            return Err(
                Stop::failed(format!("event {} is `{kind}`, which is not its place", i + 1)).at(event)
            );
        }
        seen.push(kind);
    }
    demand!(seen.last() == Some(&"message_stop"), "the stream does not end with `message_stop`");
    Ok(())
}

pub(super) fn equals_whole(probe: &Probe<'_>) -> Verdict {
    let whole = post(probe, &story(probe))?;
    let (expected, body) = (text(&whole)?, whole.json()?);
    let events = recorded(probe, &streamed(probe))?;
    let deltas = events.iter().map(|(_, event)| &event["delta"]);
    let found: String =
        deltas.filter_map(|delta| delta["thinking"].as_str().or(delta["text"].as_str())).collect();
    demand!(found == expected, "the stream's text is {found:?}, the whole answer's {expected:?}");
    let end = events.iter().map(|(_, event)| event).find(|event| event["type"] == "message_delta");
    let Some(end) = end else { return Err(Stop::failed("the stream has no `message_delta`")) };
    let (reason, expected) = (&end["delta"]["stop_reason"], &body["stop_reason"]);
    demand!(reason == expected, "stop_reason is {reason} in the stream and {expected} in the whole answer");
    let (output, expected) = (&end["usage"]["output_tokens"], &body["usage"]["output_tokens"]);
    demand!(
        output == expected,
        "`output_tokens` is {output} in the stream and {expected} in the whole answer"
    );
    Ok(())
}
