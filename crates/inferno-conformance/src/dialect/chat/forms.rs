//! The form of an answer: schemas and JSON.

use serde_json::{Value, json};

use super::{PATH, content, deltas, story_with};
use crate::dialect::rules::{is_person, person};
use crate::exchange::Answer;
use crate::probe::{Probe, Stop, Verdict, demand};

fn request(probe: &Probe<'_>, format: &Value, is_stream: bool) -> Value {
    let messages = json!([{ "role": "user", "content": "Describe a member of the club as a JSON object." }]);
    let more =
        json!({ "messages": messages, "response_format": format, "max_tokens": 256, "stream": is_stream });
    story_with(probe, &more)
}

fn schema() -> Value {
    json!({ "type": "json_schema", "json_schema": { "name": "member", "strict": true, "schema": person() } })
}

fn text_of(answer: &Answer) -> Result<String, Stop> {
    let body = answer.ok()?.json()?;
    if body["choices"][0]["finish_reason"] == "length" {
        return Err(Stop::skipped("the model did not end within 256 tokens"));
    }
    Ok(content(&body["choices"][0]["message"]).to_owned())
}

pub(super) fn strict(probe: &Probe<'_>) -> Verdict {
    is_person(&text_of(&*probe.post(PATH, &request(probe, &schema(), false))?)?)
}

pub(super) fn stream(probe: &Probe<'_>) -> Verdict {
    let expected = text_of(&*probe.post(PATH, &request(probe, &schema(), false))?)?;
    let chunks = probe.post(PATH, &request(probe, &schema(), true))?.chunks()?;
    let found: String = deltas(&chunks, 0).iter().map(|delta| content(delta)).collect();
    demand!(found == expected, "the stream's text is {found:?}, the whole answer's {expected:?}");
    is_person(&found)
}

pub(super) fn json_object(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &request(probe, &json!({ "type": "json_object" }), false))?;
    let text = text_of(&answer)?;
    let value = serde_json::from_str::<Value>(text.trim());
    match value {
        Ok(value) if value.is_object() => Ok(()),
        Ok(_) => Err(Stop::failed("the text is not a JSON object").at(text)),
        Err(e) => Err(Stop::failed(format!("the text is not JSON: {e}")).at(text)),
    }
}

pub(super) fn bad(probe: &Probe<'_>) -> Verdict {
    let schema = json!({ "type": "object", "properties": { "name": { "type": "no-such-type" } } });
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "bad", "strict": true, "schema": schema } });
    crate::dialect::rules::refused(&*probe.post(PATH, &request(probe, &format, false))?, &[400, 422], "Error")
}
