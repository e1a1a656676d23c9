//! Requests that must be refused, and how.

use serde_json::json;

use super::{PATH, VERSION, post, request, story, story_with};
use crate::dialect::bodies::{self, Valid};
use crate::dialect::rules::{self, PROMPT, refused, without};
use crate::exchange::Request;
use crate::probe::{Probe, Stop, Verdict, fits};

pub(super) fn bad_json(probe: &Probe<'_>) -> Verdict {
    let request = rules::bad_json(PATH).with("anthropic-version", VERSION);
    refused(&*probe.ask(request)?, &[400], "MessageError")
}

pub(super) fn missing(probe: &Probe<'_>) -> Verdict {
    refused(&*post(probe, &without(story(probe), "max_tokens"))?, &[400], "MessageError")
}

pub(super) fn wrong_type(probe: &Probe<'_>) -> Verdict {
    for more in [json!({ "messages": "Hi" }), json!({ "max_tokens": "many" })] {
        let answer = post(probe, &story_with(probe, &more))?;
        refused(&answer, &[400], "MessageError")?;
    }
    Ok(())
}

pub(super) fn model(probe: &Probe<'_>) -> Verdict {
    let answer = post(probe, &story_with(probe, &json!({ "model": "no-such-model" })))?;
    if answer.status == 200 {
        return Err(Stop::skipped("the server takes any name of a model"));
    }
    refused(&answer, &[400, 404], "MessageError")
}

pub(super) fn too_long(probe: &Probe<'_>) -> Verdict {
    let messages = json!([{ "role": "user", "content": rules::too_long(probe)? }]);
    let answer = post(probe, &story_with(probe, &json!({ "messages": messages })))?;
    rules::is_too_long(&answer, "MessageError")
}

pub(super) fn block(probe: &Probe<'_>) -> Verdict {
    let messages = json!([{ "role": "user", "content": [{ "type": "hologram", "data": "AAAA" }] }]);
    refused(&*post(probe, &story_with(probe, &json!({ "messages": messages })))?, &[400], "MessageError")
}

pub(super) fn stream(probe: &Probe<'_>) -> Verdict {
    let body = without(story_with(probe, &json!({ "stream": true })), "messages");
    refused(&*post(probe, &body)?, &[400], "MessageError")
}

pub(super) fn key(probe: &Probe<'_>) -> Verdict {
    if !probe.has_key {
        return Err(Stop::skipped("no key is given (`--api-key`)"));
    }
    let answer = probe.ask(Request { has_wrong_key: true, ..request(PATH, &story(probe)) })?;
    answer.refused(&[401])?;
    fits("MessageError", &answer.json()?)
}

/// The request that bodies are made from.
fn valid(probe: &Probe<'_>) -> Valid<'static> {
    Valid { request: request(PATH, &story(probe)), prompt: PROMPT, error: "MessageError" }
}

pub(super) fn nul(probe: &Probe<'_>) -> Verdict {
    bodies::nul(probe, &valid(probe))
}

pub(super) fn huge(probe: &Probe<'_>) -> Verdict {
    bodies::huge(probe, &valid(probe))
}
