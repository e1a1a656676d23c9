//! Requests that must be refused, and how.

use serde_json::json;

use super::{PATH, story, story_with};
use crate::dialect::bodies::{self, Valid};
use crate::dialect::rules::{self, PROMPT, refused, without};
use crate::exchange::Request;
use crate::probe::{Probe, Stop, Verdict, demand, fits};

pub(super) fn bad_json(probe: &Probe<'_>) -> Verdict {
    refused(&*probe.ask(rules::bad_json(PATH))?, &[400, 422], "Error")
}

pub(super) fn missing(probe: &Probe<'_>) -> Verdict {
    refused(&*probe.post(PATH, &without(story(probe), "messages"))?, &[400, 422], "Error")
}

pub(super) fn wrong_type(probe: &Probe<'_>) -> Verdict {
    for more in [
        json!({ "messages": "Hi" }),
        json!({ "max_tokens": "many" }),
        json!({ "messages": [{ "role": "user", "content": 7 }] }),
    ] {
        refused(&*probe.post(PATH, &story_with(probe, &more))?, &[400, 422], "Error")?;
    }
    Ok(())
}

pub(super) fn range(probe: &Probe<'_>) -> Verdict {
    refused(&*probe.post(PATH, &story_with(probe, &json!({ "temperature": -3 })))?, &[400, 422], "Error")
}

pub(super) fn model(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &story_with(probe, &json!({ "model": "no-such-model" })))?;
    if answer.status == 200 {
        return Err(Stop::skipped("the server takes any name of a model"));
    }
    refused(&answer, &[400, 404], "Error")
}

pub(super) fn too_long(probe: &Probe<'_>) -> Verdict {
    let messages = json!([{ "role": "user", "content": rules::too_long(probe)? }]);
    let answer = probe.post(PATH, &story_with(probe, &json!({ "messages": messages })))?;
    rules::is_too_long(&answer, "Error")
}

pub(super) fn part(probe: &Probe<'_>) -> Verdict {
    let part = json!({ "type": "hologram", "hologram": { "data": "AAAA" } });
    let messages = json!([{ "role": "user", "content": [{ "type": "text", "text": "Look:" }, part] }]);
    refused(
        &*probe.post(PATH, &story_with(probe, &json!({ "messages": messages })))?,
        &[400, 415, 422],
        "Error",
    )
}

pub(super) fn encoding(probe: &Probe<'_>) -> Verdict {
    let request =
        Request::post_bytes(PATH, b"\x1f\x8b\x08 no gzip".to_vec()).with("content-encoding", "gzip");
    let answer = probe.ask(request)?;
    demand!(
        (400..500).contains(&answer.status),
        "status {}, expected 400 or 415: the body is neither gzip nor JSON",
        answer.status
    );
    Ok(())
}

pub(super) fn path(probe: &Probe<'_>) -> Verdict {
    refused(&*probe.get("/v1/no/such/path")?, &[404], "Error")
}

pub(super) fn stream(probe: &Probe<'_>) -> Verdict {
    let request = without(story_with(probe, &json!({ "stream": true })), "messages");
    refused(&*probe.post(PATH, &request)?, &[400, 422], "Error")
}

pub(super) fn key(probe: &Probe<'_>) -> Verdict {
    if !probe.has_key {
        return Err(Stop::skipped("no key is given (`--api-key`)"));
    }
    let answer = probe.ask(Request { has_wrong_key: true, ..Request::post(PATH, &story(probe)) })?;
    answer.refused(&[401, 403])?;
    fits("Error", &answer.json()?)
}

/// The request that bodies are made from.
fn valid(probe: &Probe<'_>) -> Valid<'static> {
    Valid { request: Request::post(PATH, &story(probe)), prompt: PROMPT, error: "Error" }
}

pub(super) fn nul(probe: &Probe<'_>) -> Verdict {
    bodies::nul(probe, &valid(probe))
}

pub(super) fn huge(probe: &Probe<'_>) -> Verdict {
    bodies::huge(probe, &valid(probe))
}
