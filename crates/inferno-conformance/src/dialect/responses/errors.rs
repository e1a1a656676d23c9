//! Requests that must be refused, and how.

use serde_json::json;

use super::{PATH, story, story_with};
use crate::dialect::bodies::{self, Valid};
use crate::dialect::rules::{self, PROMPT, refused};
use crate::exchange::Request;
use crate::probe::{Probe, Stop, Verdict};

pub(super) fn bad_json(probe: &Probe<'_>) -> Verdict {
    refused(&*probe.ask(rules::bad_json(PATH))?, &[400, 422], "Error")
}

pub(super) fn wrong_type(probe: &Probe<'_>) -> Verdict {
    for more in [json!({ "input": 7 }), json!({ "max_output_tokens": "many" })] {
        let answer = probe.post(PATH, &story_with(probe, &more))?;
        refused(&answer, &[400, 422], "Error")?;
    }
    Ok(())
}

pub(super) fn model(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &story_with(probe, &json!({ "model": "no-such-model" })))?;
    if answer.status == 200 {
        return Err(Stop::skipped("the server takes any name of a model"));
    }
    refused(&answer, &[400, 404], "Error")
}

pub(super) fn too_long(probe: &Probe<'_>) -> Verdict {
    let more = json!({ "input": rules::too_long(probe)? });
    rules::is_too_long(&*probe.post(PATH, &story_with(probe, &more))?, "Error")
}

pub(super) fn part(probe: &Probe<'_>) -> Verdict {
    let input = json!([{ "role": "user", "content": [{ "type": "input_hologram", "data": "AAAA" }] }]);
    refused(&*probe.post(PATH, &story_with(probe, &json!({ "input": input })))?, &[400, 415, 422], "Error")
}

pub(super) fn previous(probe: &Probe<'_>) -> Verdict {
    let more = json!({ "previous_response_id": "resp_00000000000000000000000000000000" });
    let answer = probe.post(PATH, &story_with(probe, &more))?;
    if answer.status == 501 {
        return Err(Stop::NotOffered(format!("501: {}", answer.message())));
    }
    refused(&answer, &[400, 404], "Error")
}

pub(super) fn stream(probe: &Probe<'_>) -> Verdict {
    refused(
        &*probe.post(PATH, &story_with(probe, &json!({ "input": 7, "stream": true })))?,
        &[400, 422],
        "Error",
    )
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
