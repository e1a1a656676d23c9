//! OpenAI's completions.

use serde_json::{Value, json};

use super::bodies::{self, Valid};
use super::chat;
use super::rules::{self, has_type, merged, refused, same_in_all, same_under_load, stop_within, without};
use crate::check::{Check, table};
use crate::exchange::{Answer, Request};
use crate::probe::{Probe, Stop, Verdict, demand, fits};

const PATH: &str = "/v1/completions";
const PROMPT: &str = "Once upon a time";

const OPENAI: &str = "openai-python";
const REFERENCE: &str = "OpenAI's reference";

pub(super) const CHECKS: &[Check] = table! {
    "completions.answer.type", REFERENCE, content_type:
        "clients that look at the content type refuse the answer";
    "completions.answer.shape", OPENAI, shape:
        "fields that its types promise are absent: AttributeError or None";
    "completions.answer.usage", OPENAI, usage:
        "costs and budgets are wrong";
    "completions.answer.length", REFERENCE, length:
        "a cut text is taken for a whole one";
    "completions.answer.default_length", REFERENCE, default_length:
        "requests without `max_tokens` run to the end of the context";
    "completions.prompt.many", REFERENCE, many:
        "LangChain's `batch` and lm-eval get one text for several prompts";
    "completions.prompt.tokens", "vLLM's bench, lm-eval", tokens:
        "benchmarks and evaluations that send token ids fail";
    "completions.stream.type", REFERENCE, stream_type:
        "browsers' EventSource and proxies do not take it for a stream";
    "completions.stream.chunks", OPENAI, chunks:
        "fields that its types promise are absent, or `error` ends the stream";
    "completions.stream.one_id", REFERENCE, one_id:
        "clients that collect by id show several answers";
    "completions.stream.finish_once", REFERENCE, finish_once:
        "clients stop reading too early, or never";
    "completions.stream.usage_last", REFERENCE, usage_last:
        "usage is lost or counted twice: benchmarks report no tokens";
    "completions.stream.done", OPENAI, done:
        "clients wait for the end, or take the stream for broken";
    "completions.stream.equals_whole", REFERENCE, equals_whole:
        "streaming changes answer or usage";
    "completions.logprobs", REFERENCE, logprobs:
        "evaluations have no or wrong scores";
    "completions.echo", "lm-eval", echo:
        "a text cannot be scored: lm-eval's loglikelihood tasks fail";
    "completions.stop", REFERENCE, stop:
        "text behind a stop sequence is shown";
    "completions.n", REFERENCE, n:
        "one choice where several are asked for";
    "completions.seed", REFERENCE, seed:
        "answers cannot be reproduced";
    "completions.error.bad_json", OPENAI, bad_json:
        "no typed error: the client shows HTML or retries";
    "completions.error.missing", OPENAI, missing:
        "a request without a prompt is not told from a failure";
    "completions.error.wrong_type", OPENAI, wrong_type:
        "wrong types are computed as something else, or a 500 that is retried";
    "completions.error.too_long", "LiteLLM, aider", too_long:
        "clients cannot tell that they must shorten the prompt";
    "completions.error.nul", "RFC 8259", nul:
        "a NUL byte ends a text, or is a 500 that is retried";
    "completions.error.huge", "RFC 9110", huge:
        "a huge request is a 500 or a broken connection, and is sent again";
    "completions.error.stream", OPENAI, error_of_stream:
        "an error of a stream comes as a success: clients do not raise";
    "completions.load", "vLLM #5898, #15437", load:
        "answers depend on other users' requests";
};

fn base(probe: &Probe<'_>) -> Value {
    json!({ "model": probe.model, "prompt": PROMPT, "max_tokens": 32, "temperature": 0 })
}

fn base_with(probe: &Probe<'_>, more: &Value) -> Value {
    merged(base(probe), more)
}

fn streamed(probe: &Probe<'_>) -> Value {
    base_with(probe, &json!({ "stream": true, "stream_options": { "include_usage": true } }))
}

fn recorded(probe: &Probe<'_>) -> Result<Vec<Value>, Stop> {
    probe.post(PATH, &streamed(probe))?.chunks()
}

fn text(answer: &Answer) -> Result<String, Stop> {
    let body = answer.ok()?.json()?;
    let text = body["choices"][0]["text"].as_str();
    text.map(Into::into).ok_or_else(|| Stop::failed("`choices[0].text` is missing"))
}

fn stream_text(answer: &Answer) -> Result<String, Stop> {
    let chunks = answer.chunks()?;
    Ok(chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect())
}

fn content_type(probe: &Probe<'_>) -> Verdict {
    has_type(&*probe.post(PATH, &base(probe))?, "application/json")
}

fn shape(probe: &Probe<'_>) -> Verdict {
    probe.post(PATH, &base(probe))?.shaped("Completion")?;
    Ok(())
}

fn usage(probe: &Probe<'_>) -> Verdict {
    chat::adds_up(&probe.post(PATH, &base(probe))?.ok()?.json()?["usage"], 32)
}

fn length(probe: &Probe<'_>) -> Verdict {
    chat::is_cut(&probe.post(PATH, &base_with(probe, &json!({ "max_tokens": 3 })))?.ok()?.json()?, 3)
}

fn default_length(probe: &Probe<'_>) -> Verdict {
    let body = probe.post(PATH, &without(base(probe), "max_tokens"))?.ok()?.json()?;
    let used = &body["usage"]["completion_tokens"];
    demand!(
        used.as_u64().is_some_and(|n| n <= 16),
        "without `max_tokens` there are {used} tokens, the default is 16"
    );
    Ok(())
}

fn many(probe: &Probe<'_>) -> Verdict {
    let prompts = [PROMPT, "The king said"];
    let mut alone = Vec::new();
    for prompt in prompts {
        alone.push(text(
            &*probe.post(PATH, &base_with(probe, &json!({ "prompt": prompt, "max_tokens": 8 })))?,
        )?);
    }
    let answer = probe.post(PATH, &base_with(probe, &json!({ "prompt": prompts, "max_tokens": 8 })))?;
    let body = answer.answered()?;
    let choices = body["choices"].as_array().cloned().unwrap_or_default();
    demand!(choices.len() == 2, "2 prompts have {} choices", choices.len());
    for (i, alone) in alone.iter().enumerate() {
        let choice = choices.iter().find(|choice| choice["index"].as_u64() == Some(i as u64));
        let Some(choice) = choice else { return Err(Stop::failed(format!("no choice has the index {i}"))) };
        demand!(choice["text"] == alone.as_str(), "choice {i} is {}, alone {alone:?}", choice["text"]);
    }
    Ok(())
}

fn tokens(probe: &Probe<'_>) -> Verdict {
    let body = probe.post(PATH, &base_with(probe, &json!({ "prompt": [10, 11, 12], "max_tokens": 1 })))?;
    let body = body.answered()?;
    let n = &body["usage"]["prompt_tokens"];
    // A start token may be put in front.
    demand!(n.as_u64().is_some_and(|n| n == 3 || n == 4), "a prompt of 3 tokens counts {n}");
    Ok(())
}

fn stream_type(probe: &Probe<'_>) -> Verdict {
    has_type(&*probe.post(PATH, &streamed(probe))?, "text/event-stream")
}

fn chunks(probe: &Probe<'_>) -> Verdict {
    recorded(probe)?.iter().try_for_each(|chunk| fits("CompletionChunk", chunk))
}

fn one_id(probe: &Probe<'_>) -> Verdict {
    same_in_all(&recorded(probe)?.iter().collect::<Vec<_>>(), "id")
}

fn finish_once(probe: &Probe<'_>) -> Verdict {
    let chunks = recorded(probe)?;
    let ends: Vec<usize> =
        (0..chunks.len()).filter(|&i| chunks[i]["choices"][0]["finish_reason"].is_string()).collect();
    demand!(ends.len() == 1, "{} chunks have a `finish_reason`, expected one", ends.len());
    let late = chunks[ends[0] + 1..]
        .iter()
        .find(|chunk| chunk["choices"][0]["text"].as_str().is_some_and(|text| !text.is_empty()));
    match late {
        Some(chunk) => Err(Stop::failed("text comes behind `finish_reason`").at(chunk)),
        None => Ok(()),
    }
}

fn usage_last(probe: &Probe<'_>) -> Verdict {
    chat::is_usage_last(&recorded(probe)?)
}

fn done(probe: &Probe<'_>) -> Verdict {
    chat::ends_with_done(probe, PATH, &streamed(probe))
}

fn equals_whole(probe: &Probe<'_>) -> Verdict {
    let whole = probe.post(PATH, &base(probe))?;
    let (expected, body) = (text(&whole)?, whole.json()?);
    let answer = probe.post(PATH, &streamed(probe))?;
    let found = stream_text(&answer)?;
    demand!(found == expected, "the stream's text is {found:?}, the whole answer's {expected:?}");
    let chunks = answer.chunks()?;
    if let Some(usage) = chunks.iter().map(|chunk| &chunk["usage"]).find(|usage| !usage.is_null()) {
        let expected = &body["usage"]["completion_tokens"];
        let found = &usage["completion_tokens"];
        demand!(
            found == expected,
            "`completion_tokens` is {found} in the stream and {expected} in the whole answer"
        );
    }
    Ok(())
}

/// Scores in the old shape: lists of one length, log-probabilities of at most 0. Gives the tokens joined, unless one is a part of a
/// character.
fn scores(choice: &Value) -> Result<Option<String>, Stop> {
    let scores = &choice["logprobs"];
    fits("TextLogprobs", scores)?;
    let list = |name: &str| scores[name].as_array().cloned().unwrap_or_default();
    let tokens = list("tokens");
    for name in ["token_logprobs", "text_offset", "top_logprobs"] {
        let n = list(name).len();
        demand!(n == tokens.len(), "`tokens` has {} entries and `{name}` {n}", tokens.len());
    }
    demand!(!tokens.is_empty(), "no token has a score");
    let high =
        list("token_logprobs").into_iter().find(|value| value.as_f64().is_some_and(|value| value > 1e-6));
    demand!(high.is_none(), "a log-probability is {}, expected at most 0", high.unwrap_or_default());
    let offsets: Vec<u64> = list("text_offset").iter().filter_map(Value::as_u64).collect();
    demand!(offsets.is_sorted(), "`text_offset` goes back: {offsets:?}");
    let is_whole =
        tokens.iter().all(|token| token.as_str().is_some_and(|token| !token.starts_with("bytes:")));
    Ok(is_whole.then(|| tokens.iter().filter_map(Value::as_str).collect()))
}

fn logprobs(probe: &Probe<'_>) -> Verdict {
    let body = probe.post(PATH, &base_with(probe, &json!({ "logprobs": 2, "max_tokens": 8 })))?;
    let body = body.answered()?;
    let choice = &body["choices"][0];
    let text = choice["text"].as_str().unwrap_or_default();
    if let Some(joined) = scores(choice)? {
        demand!(joined.starts_with(text), "the tokens with scores are {joined:?}, the text is {text:?}");
    }
    let best = choice["logprobs"]["top_logprobs"][0].as_object().map_or(0, |best| best.len());
    demand!(best >= 2, "`logprobs` is 2, and `top_logprobs` has {best} tokens");
    Ok(())
}

fn echo(probe: &Probe<'_>) -> Verdict {
    let request = base_with(probe, &json!({ "echo": true, "logprobs": 1, "max_tokens": 1 }));
    let body = probe.post(PATH, &request)?.answered()?;
    let choice = &body["choices"][0];
    let text = choice["text"].as_str().unwrap_or_default();
    demand!(text.starts_with(PROMPT), "`echo` is true, and the text is {text:?}");
    if let Some(joined) = scores(choice)? {
        demand!(
            joined.contains(PROMPT),
            "the tokens with scores are {joined:?}, expected the prompt among them"
        );
    }
    let first = &choice["logprobs"]["token_logprobs"][0];
    demand!(first.is_null(), "the first token of the prompt has the score {first}, expected null");
    Ok(())
}

fn stop(probe: &Probe<'_>) -> Verdict {
    let (stop, expected) = stop_within(&text(&*probe.post(PATH, &base(probe))?)?)?;
    let body = probe.post(PATH, &base_with(probe, &json!({ "stop": stop })))?.ok()?.json()?;
    let (found, reason) = (&body["choices"][0]["text"], &body["choices"][0]["finish_reason"]);
    demand!(
        *found == expected.as_str(),
        "with the stop sequence {stop:?} the text is {found}, expected {expected:?}"
    );
    demand!(reason == "stop", "finish_reason is {reason}, expected \"stop\"");
    Ok(())
}

fn n(probe: &Probe<'_>) -> Verdict {
    let body = probe.post(PATH, &base_with(probe, &json!({ "n": 2, "max_tokens": 8 })))?.answered()?;
    let choices = body["choices"].as_array().cloned().unwrap_or_default();
    let indices: Vec<Option<u64>> = choices.iter().map(|choice| choice["index"].as_u64()).collect();
    demand!(indices == [Some(0), Some(1)], "`n` is 2, and the indices of the choices are {indices:?}");
    Ok(())
}

fn seed(probe: &Probe<'_>) -> Verdict {
    let request = Request::post(PATH, &base_with(probe, &json!({ "temperature": 1, "seed": 42 })));
    let (first, second) = (text(&*probe.ask(request.clone())?)?, text(&*probe.ask_again(request)?)?);
    demand!(first == second, "with the same seed the second answer is {second:?}, the first {first:?}");
    Ok(())
}

fn bad_json(probe: &Probe<'_>) -> Verdict {
    refused(&*probe.ask(rules::bad_json(PATH))?, &[400, 422], "Error")
}

fn missing(probe: &Probe<'_>) -> Verdict {
    refused(&*probe.post(PATH, &without(base(probe), "prompt"))?, &[400, 422], "Error")
}

fn wrong_type(probe: &Probe<'_>) -> Verdict {
    for more in [json!({ "prompt": { "text": "Hi" } }), json!({ "max_tokens": "many" })] {
        let answer = probe.post(PATH, &base_with(probe, &more))?;
        refused(&answer, &[400, 422], "Error")?;
    }
    Ok(())
}

fn too_long(probe: &Probe<'_>) -> Verdict {
    let answer = probe.post(PATH, &base_with(probe, &json!({ "prompt": rules::too_long(probe)? })))?;
    rules::is_too_long(&answer, "Error")
}

fn error_of_stream(probe: &Probe<'_>) -> Verdict {
    refused(&*probe.post(PATH, &without(streamed(probe), "prompt"))?, &[400, 422], "Error")
}

fn load(probe: &Probe<'_>) -> Verdict {
    let request = |subject: &str| {
        let more = json!({ "prompt": format!("The {subject} was"), "max_tokens": 24, "stream": true });
        Request::post(PATH, &base_with(probe, &more))
    };
    same_under_load(probe, request, stream_text)
}

/// The request that bodies are made from.
fn valid(probe: &Probe<'_>) -> Valid<'static> {
    Valid { request: Request::post(PATH, &base(probe)), prompt: PROMPT, error: "Error" }
}

fn nul(probe: &Probe<'_>) -> Verdict {
    bodies::nul(probe, &valid(probe))
}

fn huge(probe: &Probe<'_>) -> Verdict {
    bodies::huge(probe, &valid(probe))
}
