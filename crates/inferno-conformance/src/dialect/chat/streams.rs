//! Streams of chunks.

use serde_json::{Value, json};

use super::{
    PATH, content, deltas, finish_reasons, reasoning, story, story_with, stream_text, streamed, text,
};
use crate::dialect::rules::{has_type, is_wide, same_in_all, survives_leaving, wide};
use crate::exchange::Request;
use crate::probe::{Probe, Stop, Verdict, demand, fits};
use crate::stream;

/// The chunks of the stream that most checks look at.
fn recorded(probe: &Probe<'_>) -> Result<Vec<Value>, Stop> {
    probe.post(PATH, &streamed(probe))?.chunks()
}

pub(super) fn content_type(probe: &Probe<'_>) -> Verdict {
    has_type(&*probe.post(PATH, &streamed(probe))?, "text/event-stream")
}

pub(super) fn framing(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &streamed(probe))?;
    for event in answer.events()? {
        demand!(
            event.name.as_deref().is_none_or(|name| name == "message"),
            "an event has the name {:?}, which EventSource hides",
            event.name.unwrap_or_default()
        );
        if event.data != "[DONE]" {
            event.json()?;
        }
    }
    Ok(())
}

pub(super) fn chunks(probe: &Probe<'_>) -> Verdict {
    recorded(probe)?.iter().try_for_each(|chunk| fits("ChatChunk", chunk))
}

pub(super) fn ai_sdk(probe: &Probe<'_>) -> Verdict {
    recorded(probe)?.iter().try_for_each(|chunk| fits("AiSdkChunk", chunk))
}

pub(super) fn one_id(probe: &Probe<'_>) -> Verdict {
    same_in_all(&recorded(probe)?.iter().collect::<Vec<_>>(), "id")
}

pub(super) fn one_model(probe: &Probe<'_>) -> Verdict {
    let chunks = recorded(probe)?;
    let all: Vec<&Value> = chunks.iter().collect();
    same_in_all(&all, "model")?;
    same_in_all(&all, "created")
}

pub(super) fn role_first(probe: &Probe<'_>) -> Verdict {
    let chunks = recorded(probe)?;
    let deltas = deltas(&chunks, 0);
    let places: Vec<usize> = (0..deltas.len()).filter(|&i| !deltas[i]["role"].is_null()).collect();
    demand!(!places.is_empty(), "no chunk has `delta.role`");
    demand!(places[0] == 0, "`delta.role` comes in chunk {}, expected in the first", places[0] + 1);
    demand!(places.len() == 1, "{} chunks have `delta.role`, expected the first alone", places.len());
    Ok(())
}

pub(super) fn finish_once(probe: &Probe<'_>) -> Verdict {
    let chunks = recorded(probe)?;
    let reasons = finish_reasons(&chunks);
    demand!(reasons.len() == 1, "{} chunks have a `finish_reason`, expected one", reasons.len());
    let end = chunks.iter().position(|chunk| chunk["choices"][0]["finish_reason"].is_string());
    for chunk in chunks.iter().skip(end.map_or(0, |end| end + 1)) {
        let delta = &chunk["choices"][0]["delta"];
        let is_empty =
            content(delta).is_empty() && reasoning(delta).is_empty() && delta["tool_calls"].is_null();
        if !is_empty {
            return Err(Stop::failed("a delta comes behind `finish_reason`").at(chunk));
        }
    }
    Ok(())
}

pub(super) fn usage_last(probe: &Probe<'_>) -> Verdict {
    is_usage_last(&recorded(probe)?)
}

/// The last chunk alone has usage, and no choice.
pub(in crate::dialect) fn is_usage_last(chunks: &[Value]) -> Verdict {
    let with_usage: Vec<usize> = (0..chunks.len()).filter(|&i| !chunks[i]["usage"].is_null()).collect();
    demand!(!with_usage.is_empty(), "`stream_options.include_usage` is set, and no chunk has `usage`");
    demand!(with_usage.len() == 1, "{} chunks have `usage`, expected the last alone", with_usage.len());
    let last = &chunks[chunks.len() - 1];
    demand!(with_usage[0] == chunks.len() - 1, "the chunk with `usage` is not the last");
    demand!(
        last["choices"].as_array().is_some_and(Vec::is_empty),
        "`choices` of the chunk with `usage` is not empty"
    );
    Ok(())
}

pub(super) fn no_empty_choices(probe: &Probe<'_>) -> Verdict {
    let chunks = probe.post(PATH, &story_with(probe, &json!({ "stream": true })))?.chunks()?;
    let empty = chunks.iter().find(|chunk| chunk["choices"].as_array().is_some_and(Vec::is_empty));
    match empty {
        Some(chunk) => {
            let why = "a chunk has no choice, though `stream_options.include_usage` is not set";
            Err(Stop::failed(why).at(chunk))
        }
        None => Ok(()),
    }
}

pub(super) fn done(probe: &Probe<'_>) -> Verdict {
    ends_with_done(probe, PATH, &streamed(probe))
}

/// The last event of a stream is `[DONE]`, and no other is.
pub(in crate::dialect) fn ends_with_done(probe: &Probe<'_>, path: &str, request: &Value) -> Verdict {
    let events = probe.post(path, request)?.events()?;
    let n = events.iter().filter(|event| event.data == "[DONE]").count();
    let last = events.last().map_or("", |event| event.data.as_str());
    if n == 1 && last == "[DONE]" {
        return Ok(());
    }
    Err(Stop::failed(format!("the stream has {n} events `[DONE]`, expected one at its end")).at(last))
}

pub(super) fn equals_whole(probe: &Probe<'_>) -> Verdict {
    let whole = probe.post(PATH, &story(probe))?;
    let (expected, body) = (text(&whole)?, whole.json()?);
    let answer = probe.post(PATH, &streamed(probe))?;
    let found = stream_text(&answer)?;
    demand!(found == expected, "the stream's text is {found:?}, the whole answer's {expected:?}");
    let chunks = answer.chunks()?;
    let (reason, expected) = (finish_reasons(&chunks).join(", "), &body["choices"][0]["finish_reason"]);
    demand!(
        *expected == reason.as_str(),
        "finish_reason is {reason:?} in the stream and {expected} in the whole answer"
    );
    let usage = chunks.iter().map(|chunk| &chunk["usage"]).find(|usage| !usage.is_null());
    if let Some(usage) = usage {
        for name in ["prompt_tokens", "completion_tokens"] {
            let expected = &body["usage"][name];
            demand!(
                usage[name] == *expected,
                "`{name}` is {} in the stream and {expected} in the whole answer",
                usage[name]
            );
        }
    }
    Ok(())
}

pub(super) fn flows(probe: &Probe<'_>) -> Verdict {
    let options = json!({ "stream": true, "stream_options": { "include_usage": true }, "max_tokens": 96 });
    let request = Request::post(PATH, &story_with(probe, &options));
    let mut verdict = Ok(());
    // A moment in which the server's machine was busy is no buffer: three streams in turn are.
    for _ in 0..3 {
        let answer = probe.ask_again(request.clone())?;
        let mut times = Vec::new();
        let mut n_tokens = 0;
        for event in answer.events()? {
            let chunk = event.json().unwrap_or_default();
            let delta = &chunk["choices"][0]["delta"];
            if !content(delta).is_empty() || !reasoning(delta).is_empty() {
                times.push(event.at);
            }
            n_tokens = chunk["usage"]["completion_tokens"].as_u64().unwrap_or(n_tokens);
        }
        verdict = stream::flows(&times, n_tokens.max(times.len() as u64));
        if !matches!(verdict, Err(Stop::Failed { .. })) {
            return verdict;
        }
    }
    verdict
}

pub(super) fn utf8(probe: &Probe<'_>) -> Verdict {
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "wide", "strict": true, "schema": wide() } });
    let options = json!({ "stream": true, "response_format": format, "max_tokens": 256 });
    let answer = probe.post(PATH, &story_with(probe, &options))?;
    if !matches!(answer.status, 200..=299) {
        return Err(Stop::skipped(format!(
            "needs schemas, which are answered {}: {}",
            answer.status,
            answer.message()
        )));
    }
    let chunks = answer.chunks()?;
    let text: String = deltas(&chunks, 0).iter().map(|delta| content(delta)).collect();
    if finish_reasons(&chunks) == ["length"] {
        return Err(Stop::skipped("the model did not end within 256 tokens"));
    }
    is_wide(&text)
}

pub(super) fn leaving(probe: &Probe<'_>) -> Verdict {
    let long = Request::post(PATH, &story_with(probe, &json!({ "stream": true, "max_tokens": 400 })));
    survives_leaving(probe, long, Request::post(PATH, &story(probe)), text)
}
