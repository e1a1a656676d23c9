//! Parameters of sampling: stop sequences, log-probabilities, choices, seeds; the same bits under load.

use serde_json::{Value, json};

use super::{PATH, content, deltas, finish_reasons, reasoning, story, story_with, text};
use crate::dialect::rules::{same_under_load, stop_within};
use crate::exchange::Request;
use crate::probe::{Probe, Stop, Verdict, demand, fits};

/// Content of the story, a stop sequence within it, and the text before.
fn stopped(probe: &Probe<'_>) -> Result<(String, String), Stop> {
    let body = probe.post(PATH, &story(probe))?.ok()?.json()?;
    stop_within(content(&body["choices"][0]["message"]))
}

pub(super) fn stop(probe: &Probe<'_>) -> Verdict {
    let (stop, expected) = stopped(probe)?;
    let body = probe.post(PATH, &story_with(probe, &json!({ "stop": [stop] })))?.ok()?.json()?;
    let found = content(&body["choices"][0]["message"]);
    demand!(
        found == expected,
        "with the stop sequence {stop:?} the text is {found:?}, expected {expected:?}"
    );
    let reason = &body["choices"][0]["finish_reason"];
    demand!(reason == "stop", "finish_reason is {reason}, expected \"stop\"");
    Ok(())
}

pub(super) fn stop_stream(probe: &Probe<'_>) -> Verdict {
    let (stop, expected) = stopped(probe)?;
    let request = story_with(probe, &json!({ "stop": stop, "stream": true }));
    let chunks = probe.post(PATH, &request)?.chunks()?;
    let found: String = deltas(&chunks, 0).iter().map(|delta| content(delta)).collect();
    demand!(
        found == expected,
        "with the stop sequence {stop:?} the stream's text is {found:?}, expected {expected:?}"
    );
    let reasons = finish_reasons(&chunks);
    demand!(reasons == ["stop"], "finish_reason is {reasons:?}, expected \"stop\"");
    Ok(())
}

/// Scores that are those of a text, as far as they can be told without the model.
fn are_scores(scores: &[&Value], text: &str, n_best: usize) -> Verdict {
    demand!(!scores.is_empty(), "`logprobs.content` has no token");
    let mut bytes = Vec::new();
    for score in scores {
        let value = score["logprob"].as_f64().unwrap_or(f64::NAN);
        if value.is_nan() || value > 1e-6 {
            return Err(Stop::failed(format!(
                "a log-probability is {}, expected at most 0",
                score["logprob"]
            ))
            .at(score));
        }
        let best = score["top_logprobs"].as_array().map_or(0, Vec::len);
        if best != n_best {
            return Err(
                Stop::failed(format!("`top_logprobs` has {best} tokens, expected {n_best}")).at(score)
            );
        }
        match score["bytes"].as_array() {
            Some(all) => {
                bytes.extend(all.iter().filter_map(Value::as_u64).filter_map(|b| u8::try_from(b).ok()))
            }
            None => bytes.extend(score["token"].as_str().unwrap_or_default().bytes()),
        }
    }
    // The token that ends an answer may be there, and adds nothing to the text.
    let joined = String::from_utf8_lossy(&bytes);
    demand!(joined.starts_with(text), "the tokens with scores are {joined:?}, the text is {text:?}");
    Ok(())
}

pub(super) fn logprobs(probe: &Probe<'_>) -> Verdict {
    let request = story_with(probe, &json!({ "logprobs": true, "top_logprobs": 2 }));
    let body = probe.post(PATH, &request)?.answered()?;
    let choice = &body["choices"][0];
    if !reasoning(&choice["message"]).is_empty() {
        return Err(Stop::skipped("the answer is reasoning, whose scores no rule has"));
    }
    let scores: Vec<&Value> = choice["logprobs"]["content"].as_array().into_iter().flatten().collect();
    fits("ChoiceLogprobs", &choice["logprobs"])?;
    are_scores(&scores, content(&choice["message"]), 2)
}

pub(super) fn logprobs_stream(probe: &Probe<'_>) -> Verdict {
    let request = story_with(probe, &json!({ "logprobs": true, "top_logprobs": 2, "stream": true }));
    let chunks = probe.post(PATH, &request)?.chunks()?;
    let deltas = deltas(&chunks, 0);
    if deltas.iter().any(|delta| !reasoning(delta).is_empty()) {
        return Err(Stop::skipped("the answer is reasoning, whose scores no rule has"));
    }
    let text: String = deltas.iter().map(|delta| content(delta)).collect();
    let choices = chunks.iter().map(|chunk| &chunk["choices"][0]["logprobs"]["content"]);
    let scores: Vec<&Value> = choices.flat_map(|scores| scores.as_array().into_iter().flatten()).collect();
    are_scores(&scores, &text, 2)
}

pub(super) fn n(probe: &Probe<'_>) -> Verdict {
    let body = probe.post(PATH, &story_with(probe, &json!({ "n": 2, "max_tokens": 8 })))?.answered()?;
    let indices: Vec<Option<u64>> =
        body["choices"].as_array().into_iter().flatten().map(|choice| choice["index"].as_u64()).collect();
    demand!(indices == [Some(0), Some(1)], "`n` is 2, and the indices of the choices are {indices:?}");
    Ok(())
}

pub(super) fn n_stream(probe: &Probe<'_>) -> Verdict {
    let chunks = probe
        .post(PATH, &story_with(probe, &json!({ "n": 2, "max_tokens": 8, "stream": true })))?
        .chunks()?;
    let mut seen: Vec<u64> = Vec::new();
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().into_iter().flatten());
    for index in choices.filter_map(|choice| choice["index"].as_u64()) {
        if !seen.contains(&index) {
            seen.push(index);
        }
    }
    demand!(seen == [0, 1], "`n` is 2, and choices appear in the order {seen:?}");
    let n_reasons = finish_reasons(&chunks).len();
    demand!(n_reasons == 2, "{n_reasons} choices have a `finish_reason`, expected 2");
    Ok(())
}

pub(super) fn seed(probe: &Probe<'_>) -> Verdict {
    let request = story_with(probe, &json!({ "temperature": 1, "seed": 42 }));
    same_twice(probe, &request, "the same seed")
}

pub(super) fn greedy(probe: &Probe<'_>) -> Verdict {
    same_twice(probe, &story(probe), "temperature 0")
}

fn same_twice(probe: &Probe<'_>, request: &Value, how: &str) -> Verdict {
    let first = text(&*probe.post(PATH, request)?)?;
    let second = text(&*probe.ask_again(Request::post(PATH, request))?)?;
    demand!(second == first, "with {how} the second answer is {second:?}, the first {first:?}");
    Ok(())
}

pub(super) fn load(probe: &Probe<'_>) -> Verdict {
    let request = |subject: &str| {
        let messages = json!([{ "role": "user", "content": format!("Tell me a story about a {subject}.") }]);
        Request::post(PATH, &story_with(probe, &json!({ "messages": messages, "max_tokens": 24 })))
    };
    same_under_load(probe, request, text)
}
