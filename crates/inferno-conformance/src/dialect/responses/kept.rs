//! Responses that the server keeps.

use serde_json::{Value, json};

use super::{PATH, story_with};
use crate::dialect::rules::PROMPT;
use crate::exchange::Request;
use crate::probe::{Probe, Stop, Verdict, demand};

/// A kept response, with its id.
fn kept(probe: &Probe<'_>) -> Result<(String, Value), Stop> {
    let body = probe.post(PATH, &story_with(probe, &json!({ "store": true })))?.ok()?.json()?;
    let id = body["id"].as_str().unwrap_or_default().to_owned();
    demand!(!id.is_empty(), "the response has no id");
    Ok((id, body))
}

pub(super) fn previous(probe: &Probe<'_>) -> Verdict {
    let (id, body) = kept(probe)?;
    let mut input = vec![json!({ "role": "user", "content": PROMPT })];
    input.extend(body["output"].as_array().cloned().unwrap_or_default());
    input.push(json!({ "role": "user", "content": "Go on." }));
    let whole = probe.post(PATH, &story_with(probe, &json!({ "input": input })))?;
    let expected = super::text(&whole)?;
    let more = json!({ "input": "Go on.", "previous_response_id": id });
    let answer = probe.post(PATH, &story_with(probe, &more))?;
    answer.offered()?;
    let found = super::text(&answer)?;
    demand!(
        found == expected,
        "with `previous_response_id` the answer is {found:?}, with all items {expected:?}"
    );
    Ok(())
}

pub(super) fn get(probe: &Probe<'_>) -> Verdict {
    let (id, body) = kept(probe)?;
    let answer = probe.get(&format!("{PATH}/{id}"))?;
    let found = answer.offered()?.answered()?;
    demand!(found["id"] == body["id"], "the id is {}, expected {}", found["id"], body["id"]);
    demand!(
        found["output"] == body["output"],
        "the output is {}, expected {}",
        found["output"],
        body["output"]
    );
    Ok(())
}

pub(super) fn items(probe: &Probe<'_>) -> Verdict {
    let (id, _) = kept(probe)?;
    let answer = probe.get(&format!("{PATH}/{id}/input_items"))?;
    let body = answer.offered()?.ok()?.json()?;
    demand!(body["object"] == "list", "`object` is {}, expected \"list\"", body["object"]);
    let items = body["data"].as_array().cloned().unwrap_or_default();
    demand!(items.len() == 1, "the request had one item, and {} are listed", items.len());
    demand!(items[0]["role"] == "user", "the item's role is {}, expected \"user\"", items[0]["role"]);
    Ok(())
}

pub(super) fn delete(probe: &Probe<'_>) -> Verdict {
    let body = probe
        .post(PATH, &story_with(probe, &json!({ "store": true, "max_output_tokens": 17 })))?
        .ok()?
        .json()?;
    let id = body["id"].as_str().unwrap_or_default().to_owned();
    let path = format!("{PATH}/{id}");
    let answer = probe.ask(Request { method: "DELETE", ..Request::get(&path) })?;
    let deleted = answer.offered()?.ok()?.json()?;
    demand!(deleted["deleted"] == true, "`deleted` is {}", deleted["deleted"]);
    probe.ask_again(Request::get(&path))?.refused(&[404])
}

pub(super) fn not_stored(probe: &Probe<'_>) -> Verdict {
    let body = probe.post(PATH, &super::story(probe))?.ok()?.json()?;
    let id = body["id"].as_str().unwrap_or_default();
    let answer = probe.get(&format!("{PATH}/{id}"))?;
    match answer.status {
        200..=299 => Err(Stop::failed("a response with `store: false` can be fetched")),
        _ => Ok(()),
    }
}
